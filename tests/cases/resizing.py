"""Rows of upsampling, pixel shuffling, padding and cropping."""

from __future__ import annotations

from .case import Case

ROWS: list[Case] = []
