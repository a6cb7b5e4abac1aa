"""Bad input to attention."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
