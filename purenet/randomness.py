"""Keys: typed, passed in, split for layers and used again on purpose in the backward."""

from __future__ import annotations

from typing import Any

import jax

from .layer import Key


def split_key(key: Key, n: int) -> Any:
    """n keys, or n times None when there is no randomness."""
    return [None] * n if key is None else jax.random.split(key, n)


def clone_key(key: Key) -> Key:
    """The key for a second use on purpose: what was drawn forward is drawn again backward."""
    return None if key is None else jax.random.clone(key)
