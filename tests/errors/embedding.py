"""Bad input to embeddings and positions."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
