"""Bad input to upsampling, pixel shuffling, padding and cropping."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
