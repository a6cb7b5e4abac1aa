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

from ..annotations import Array, Bool, Float, Int, Integer
from ..errors import LayerTypeError, LayerValueError
from ..validation import describe

Window = int | tuple[int | None, int | None] | None
Offset = int | str
Position = Offset | Int[Array, ""]  # of a block, known at run time


def visible_keys(
    queries: int, keys: int, causal: bool, window: Window, offset: Position
) -> Bool[Array, "queries keys"] | None:
    """True where the causal rule and the window let a query see a key; None where every query sees all."""
    before, after = reach(causal, window)
    ahead = distances(queries, keys, offset)
    rules = [] if before is None else [ahead >= -before]
    rules += [] if after is None else [ahead <= after]
    return functools.reduce(operator.and_, rules) if rules else None


def reach(causal: bool, window: Window) -> tuple[int | None, int | None]:
    """How many keys before and after its own position a query sees; None for all."""
    before, after = window if isinstance(window, tuple) else (window, window)
    return before, 0 if causal else after


def distances(queries: int, keys: int, offset: Position) -> Int[Array, "queries keys"]:
    """How far each key stands ahead of each query, s - (t + offset)."""
    t = first_position(queries, keys, offset) + jnp.arange(queries, dtype=jnp.int32)
    s = jnp.arange(keys, dtype=jnp.int32)
    return s[None] - t[:, None]


def first_position(queries: int, keys: int, offset: Position) -> Any:
    """Where the first query stands among the keys; "end" puts the last query at the last key."""
    return keys - queries if isinstance(offset, str) else offset


def same_segment(queries: Integer[Array, "... _"], keys: Integer[Array, "... _"]) -> Bool[Array, "... 1 _ _"]:
    """True where a query and a key have the same segment, of which those below 0 are padding."""
    t, s = queries[..., None, :, None], keys[..., None, None, :]
    shape = jnp.broadcast_shapes(t.shape, s.shape)
    return (jnp.broadcast_to(t, shape) == jnp.broadcast_to(s, shape)) & jnp.broadcast_to(t >= 0, shape)


def alibi_slopes(heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ... for n heads; where n is no power of two those of the one below it, then every other
    one of the power of two above it."""
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2.0 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)]
    return slopes + between[: heads - power]


def alibi_bias(heads: int, queries: int, keys: int, offset: Position, dtype: Any) -> Float[Array, "heads queries keys"]:
    shape = (heads, queries, keys)
    slopes = jnp.asarray(np.array(alibi_slopes(heads)), dtype)[:, None, None]
    distance = jnp.abs(distances(queries, keys, offset)).astype(dtype)[None]
    return -jnp.broadcast_to(slopes, shape) * jnp.broadcast_to(distance, shape)


def split_mask(mask: Any, q: Any, k: Any) -> tuple[Any, Array | None]:
    """(boolean mask, segments or None, additive bias or None), arrays with the rank of the scores
    [..., heads, queries, keys].

    The mask given is [..., keys], [..., queries, keys] or [..., heads, queries, keys], any length of which may be 1;
    segments are a pair [..., queries], [..., keys] of integers.
    """
    if mask is None:
        return None, None
    leading = len(q.shape) - 3
    shape = (*q.shape[:-3], q.shape[-2], q.shape[-3], k.shape[-3])
    if isinstance(mask, tuple):
        check_segments(mask, (*shape[:leading], shape[-2]), (*shape[:leading], shape[-1]))
        return mask, None
    if not hasattr(mask, "dtype") or not (mask.dtype == bool or jnp.issubdtype(mask.dtype, jnp.floating)):
        raise LayerTypeError(
            "expected a mask, boolean (True: seen), floating (added) or a pair of integer arrays (the segments of "
            f"queries and keys), got {describe(mask)}"
        )
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


def check_segments(segments: tuple[Any, ...], queries: tuple[int, ...], keys: tuple[int, ...]) -> None:
    if len(segments) != 2 or not all(is_integer(ids) for ids in segments):
        raise LayerTypeError(
            f"expected the segments of queries and keys as two integer arrays, got {describe(segments)}"
        )
    for ids, shape, what in zip(segments, (queries, keys), ("queries", "keys"), strict=True):
        if ids.ndim != len(shape) or any(have not in (1, want) for have, want in zip(ids.shape, shape, strict=True)):
            raise LayerValueError(
                f"expected the segments of {what} {list(shape)}, any length of which may be 1, got {describe(ids)}"
            )


def is_integer(mask: Any) -> bool:
    return hasattr(mask, "dtype") and jnp.issubdtype(mask.dtype, jnp.integer)


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
