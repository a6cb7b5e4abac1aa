"""Bad input to pooling."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
