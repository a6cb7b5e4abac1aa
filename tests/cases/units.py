"""Rows of gated, mixed and other composed units, and random layers."""

from __future__ import annotations

from .case import Case

ROWS: list[Case] = []
