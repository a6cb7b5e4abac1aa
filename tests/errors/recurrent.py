"""Bad input to recurrent networks."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
