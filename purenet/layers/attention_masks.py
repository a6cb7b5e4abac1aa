"""Which keys a query sees, and the bias of its distance to them.

Query t stands at position t + offset among the keys. It sees key s where the causal rule, the window and the boolean
mask all allow it. ALiBi adds -slope |t + offset - s| to the scores, with a slope for each head.
Sliding window: Beltagy et al., *Longformer* (2020); ALiBi: Press, Smith & Lewis, *Train Short, Test Long* (2022).
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..annotations import Array, Bool, Float, Int
from ..errors import LayerTypeError, LayerValueError
from ..layer import describe

Window = int | tuple[int | None, int | None] | None
Offset = int | str


def visible_keys(
    queries: int, keys: int, causal: bool, window: Window, offset: Offset
) -> Bool[Array, "queries keys"] | None:
    """True where the causal rule and the window let a query see a key; None where every query sees all."""
    before, after = window if isinstance(window, tuple) else (window, window)
    ahead = distances(queries, keys, offset)
    rules = [] if not causal else [ahead <= 0]
    rules += [] if before is None else [ahead >= -before]
    rules += [] if after is None else [ahead <= after]
    return functools.reduce(operator.and_, rules) if rules else None


def distances(queries: int, keys: int, offset: Offset) -> Int[Array, "queries keys"]:
    """How far each key stands ahead of each query, s - (t + offset); "end" puts the last query at the last key."""
    start = keys - queries if isinstance(offset, str) else offset
    t, s = (lax.broadcasted_iota(jnp.int32, (queries, keys), axis) for axis in (0, 1))
    return s - t - start


def alibi_slopes(heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ... for n heads; where n is no power of two those of the one below it, then every other
    one of the power of two above it."""
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2.0 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)]
    return slopes + between[: heads - power]


def alibi_bias(heads: int, queries: int, keys: int, offset: Offset, dtype: Any) -> Float[Array, "heads queries keys"]:
    shape = (heads, queries, keys)
    slopes = jnp.asarray(np.array(alibi_slopes(heads)), dtype)[:, None, None]
    distance = jnp.abs(distances(queries, keys, offset)).astype(dtype)[None]
    return -jnp.broadcast_to(slopes, shape) * jnp.broadcast_to(distance, shape)


def split_mask(mask: Any, q: Array, k: Array) -> tuple[Array | None, Array | None]:
    """(boolean mask or None, additive bias or None), with the rank of the scores [..., heads, queries, keys].

    The mask given is [..., keys], [..., queries, keys] or [..., heads, queries, keys], any length of which may be 1.
    """
    if mask is None:
        return None, None
    leading = q.ndim - 3
    shape = (*q.shape[:-3], q.shape[-2], q.shape[-3], k.shape[-3])
    if not hasattr(mask, "dtype") or not (mask.dtype == bool or jnp.issubdtype(mask.dtype, jnp.floating)):
        raise LayerTypeError(f"expected a mask, boolean (True: seen) or floating (added), got {describe(mask)}")
    axes = mask.ndim - leading
    full = mask.shape
    if axes in (1, 2):
        full = (*mask.shape[:leading], *((1,) * (3 - axes)), *mask.shape[leading:])
    if axes not in (1, 2, 3) or any(have not in (1, want) for have, want in zip(full, shape, strict=True)):
        batch, (heads, queries, keys) = list(shape[:leading]), shape[leading:]
        raise LayerValueError(
            f"expected a mask {[*batch, keys]}, {[*batch, queries, keys]} or {[*batch, heads, queries, keys]}, "
            f"any length of which may be 1, got {describe(mask)}"
        )
    mask = mask.reshape(full)
    return (mask, None) if mask.dtype == bool else (None, mask)


def check_window(name: str, window: Any) -> None:
    sides = window if isinstance(window, tuple) and len(window) == 2 else None
    single = isinstance(window, int) and not isinstance(window, bool) and window >= 1
    if window is None or single:
        return
    if sides is None or not all(side is None or (isinstance(side, int) and side >= 0) for side in sides):
        raise ValueError(
            f"{name}: expected a window of at least 1 key to each side, or a pair (before, after) of lengths of at "
            f"least 0 or None, got {window!r}"
        )


def check_offset(name: str, offset: Any) -> None:
    if offset != "end" and not isinstance(offset, int):
        raise ValueError(f'{name}: expected an offset as an integer or "end", got {offset!r}')
