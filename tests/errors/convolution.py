"""Bad input to convolutions and transposed convolutions."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
