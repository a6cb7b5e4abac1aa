"""Rows of combinators around one layer."""

from __future__ import annotations

from .case import Case

ROWS: list[Case] = []
