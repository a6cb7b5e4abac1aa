"""Bad input to normalising layers and weights."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
