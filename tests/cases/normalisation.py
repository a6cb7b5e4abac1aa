"""Rows of normalising layers and weights."""

from __future__ import annotations

from .case import Case

ROWS: list[Case] = []
