"""Rows of embeddings and positions."""

from __future__ import annotations

from .case import Case

ROWS: list[Case] = []
