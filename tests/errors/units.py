"""Bad input to gated, mixed and other composed units, and random layers."""

from __future__ import annotations

from .calls import Table

TABLE: Table = {}
