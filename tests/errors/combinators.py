"""Bad input to combinators around one layer."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
