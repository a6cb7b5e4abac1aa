"""Rows of convolutions and transposed convolutions."""

from __future__ import annotations

from .case import Case

ROWS: list[Case] = []
