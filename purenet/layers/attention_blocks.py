"""Attention a block of queries and a block of keys at a time: the twins of attention.py without scores of T x S.

    forward, row by row    s = scale q_i k_j^T + bias,  m' = max(m, max s),  w = exp(s - m'),  c = exp(m - m')
                           total = c total + sum w,  a = c a + w v_j;    o_i = a / total,  lse_i = m' + log total
    backward, by columns   p = exp(s - lse_i),  ds = p (do_i v_j^T - D_i)
                           dv_j += p^T do_i,  dk_j += scale ds^T q_i,  dq_i += scale ds k_j

One scan over the pairs (i, j) that the causal rule, the window and the offset leave: a list known before anything is
traced, so that what no query of a block sees costs nothing. Kept: q, k, v, o and lse, as in attention.py. Everything
between is float32 at least, w, p and ds too: bfloat16 rounds what comes in and goes out, nothing else. Sums over
pairs are of one block, a, dk_j and dv_j, but for dq, which every column adds to.
Lengths need not divide into blocks: the last block starts early enough to be full and leaves to the one before it
what they share. Milakov & Gimelshein, *Online Normalizer Calculation for Softmax* (2018); Dao et al.,
*FlashAttention* (2022); the list of pairs: Dao, *FlashAttention-2* (2023), section 3.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..annotations import Array, Int
from ..errors import LayerValueError
from ..precision import wide_dtype, widen
from .attention import (
    Bias,
    Keys,
    Mask,
    Outputs,
    Queries,
    ScoreOptions,
    Scores,
    Statistics,
    Values,
    apart,
    attention_scores,
    by_head,
    by_time,
    product,
    scale_of,
    sum_to,
    together,
)
from .attention_masks import Offset, Window, first_position, reach

Block = int | tuple[int, int]


def block_attention_forward(
    q: Queries | HeadRange,
    k: Keys | HeadRange,
    v: Values | HeadRange,
    mask: Mask = None,
    bias: Bias = None,
    *,
    block: Block,
    **options: Unpack[ScoreOptions],
) -> tuple[Outputs, Statistics]:
    queries, keys, values = (heads_of(part) for part in (q, k, v))
    rows, columns = block_sizes(q, k, block)
    wide, (*batch, heads) = wide_dtype(q.dtype), (*q.shape[:-3], q.shape[-2])

    def step(carry: Any, pair: Pair) -> tuple[Any, None]:
        o, lse, (largest, total, summed) = carry
        q_i, k_j, v_j = queries.block(pair.t, rows), keys.block(pair.s, columns), values.block(pair.s, columns)
        scores, _ = block_scores(q, k, q_i, k_j, mask, bias, pair, **options)  # [..., heads, rows, columns]
        largest, total, summed = (
            jnp.where(pair.first, start, running)
            for start, running in zip((-jnp.inf, 0, 0), (largest, total, summed), strict=True)
        )
        highest = jnp.maximum(largest, lax.stop_gradient(jnp.max(scores, -1, keepdims=True)))
        base = jnp.where(jnp.isneginf(highest), 0, highest)
        weights, shrink = jnp.exp(scores - base), jnp.exp(largest - base)
        total = shrink * total + jnp.sum(weights, -1, keepdims=True)  # [..., heads, rows, 1]
        seen = product("...ts,...sd->...td", together(weights, v_j), widen(by_head(v_j)))
        summed = shrink * summed + apart(seen, q_i)  # [..., heads, rows, dv]
        sees_nothing = total == 0
        divisor = jnp.where(sees_nothing, 1, total)
        o = put(o, flat(by_time(summed / divisor)), -2, pair.t)
        lse = put(lse, jnp.where(sees_nothing, jnp.inf, base + jnp.log(divisor))[..., 0], -1, pair.t)
        return (o, lse, (highest, total, summed)), None

    o = jnp.zeros((*q.shape[:-2], heads * v.shape[-1]), v.dtype)
    lse = jnp.full((*batch, heads, q.shape[-3]), jnp.inf, wide)
    sums = tuple(jnp.zeros((*batch, heads, rows, size), wide) for size in (1, 1, v.shape[-1]))
    (o, lse, _), _ = lax.scan(step, (o, lse, sums), visible_pairs(q, k, (rows, columns), "rows", **options))
    return o.reshape(*q.shape[:-1], v.shape[-1]), lse


def block_attention_backward(
    q: Queries | HeadRange,
    k: Keys | HeadRange,
    v: Values | HeadRange,
    mask: Mask,
    bias: Bias,
    o: Outputs,
    lse: Statistics,
    do: Outputs,
    *,
    block: Block,
    **options: Unpack[ScoreOptions],
) -> tuple[Queries, Keys, Values, Bias]:
    rows, columns = block_sizes(q, k, block)
    wide, scale = wide_dtype(q.dtype), scale_of(q, options.get("scale"))
    mean = jnp.swapaxes(jnp.sum(widen(do) * widen(o), -1), -1, -2)  # D [..., heads, T]
    queries, keys, values, cotangents = (heads_of(part) for part in (q, k, v, do))

    def step(carry: Any, pair: Pair) -> tuple[Any, None]:
        dq, dk, dv, dbias, (dk_j, dv_j) = carry
        q_i, k_j, v_j = queries.block(pair.t, rows), keys.block(pair.s, columns), values.block(pair.s, columns)
        lse_i, mean_i = (take(statistic, -1, pair.t, rows)[..., None] for statistic in (lse, mean))
        do_i = together(by_head(cotangents.block(pair.t, rows)), k_j)  # [..., kv_heads, group rows, dv]
        scores, slope = block_scores(q, k, q_i, k_j, mask, bias, pair, **options)
        p = jnp.exp(scores - lse_i)  # [..., heads, rows, columns]
        dk_j, dv_j = (jnp.where(pair.first, 0, summed) for summed in (dk_j, dv_j))
        # o_i = sum over j of p v_j
        dv_j = dv_j + product("...ts,...td->...sd", together(p, k_j), widen(do_i))
        dp = apart(product("...td,...sd->...ts", do_i, by_head(v_j)), q_i)
        # p = softmax(s)
        ds = p * (dp - mean_i)
        dbias = None if bias is None else add_block(dbias, ds, pair)
        # s = softcap(scale q_i k_j^T) + bias
        ds = together(ds if slope is None else ds * slope, k_j)
        dq_i = by_time(apart(product("...ts,...sd->...td", ds, widen(by_head(k_j))), q_i)) * scale
        dk_j = dk_j + product("...ts,...td->...sd", ds, widen(together(by_head(q_i), k_j))) * scale
        dq = put(dq, take(dq, -2, pair.t, rows) + flat(dq_i), -2, pair.t)
        dk, dv = put(dk, flat(by_time(dk_j)), -2, pair.s), put(dv, flat(by_time(dv_j)), -2, pair.s)
        return (dq, dk, dv, dbias, (dk_j, dv_j)), None

    sums = tuple(jnp.zeros((*k.shape[:-3], k.shape[-2], columns, part.shape[-1]), wide) for part in (k, v))
    dbias = None if bias is None else jnp.zeros(bias.shape, wide)
    dtypes = (wide, k.dtype, v.dtype)
    summed = (jnp.zeros(flat_shape(part), dtype) for part, dtype in zip((q, k, v), dtypes, strict=True))
    carry = *summed, dbias, sums
    pairs = visible_pairs(q, k, (rows, columns), "columns", **options)
    (dq, dk, dv, dbias, _), _ = lax.scan(step, carry, pairs)
    dq, dk, dv = dq.astype(q.dtype).reshape(q.shape), dk.reshape(k.shape), dv.reshape(v.shape)
    return dq, dk, dv, None if dbias is None or bias is None else dbias.astype(bias.dtype)


class Pair(NamedTuple):
    """A block of queries and one of keys: where they start, where their own part starts, and whether the pair is the
    first of its row or column."""

    t: Int[Array, ...]
    s: Int[Array, ...]
    own_t: Int[Array, ...]
    own_s: Int[Array, ...]
    first: Int[Array, ...]


def visible_pairs(
    q: Queries | HeadRange,
    k: Keys | HeadRange,
    sizes: tuple[int, int],
    by: str,
    *,
    causal: bool = False,
    window: Window = None,
    offset: Offset = 0,
    **others: Any,
) -> Pair:
    """The pairs in which some query sees some key, row by row or column by column.

    From the last row or column to the first: what two share is written last by the one that it belongs to.
    """
    (queries, keys), (rows, columns) = (q.shape[-3], k.shape[-3]), sizes
    start, (before, after) = first_position(queries, keys, offset), reach(causal, window)
    found = []
    for own_t in range(0, queries, rows):
        for own_s in range(0, keys, columns):
            t, s = min(own_t, queries - rows), min(own_s, keys - columns)
            nearest, farthest = own_s - (t + rows - 1) - start, s + columns - 1 - own_t - start
            if (before is None or farthest >= -before) and (after is None or nearest <= after):
                found.append((t, s, own_t, own_s))
    key = 2 if by == "rows" else 3
    found.sort(key=lambda pair: -pair[key])
    first = [n == 0 or pair[key] != found[n - 1][key] for n, pair in enumerate(found)]
    table = np.array(found, np.int32).reshape(-1, 4)
    return Pair(*(jnp.asarray(column) for column in table.T), first=jnp.asarray(np.array(first, bool)))


def block_scores(
    q: Queries | HeadRange,
    k: Keys | HeadRange,
    q_i: Queries,
    k_j: Keys,
    mask: Mask,
    bias: Bias,
    pair: Pair,
    **options: Unpack[ScoreOptions],
) -> tuple[Scores, Scores | None]:
    """`attention_scores` of a pair of blocks, -inf also where the pair before it in either direction has them."""
    rows, columns = q_i.shape[-3], k_j.shape[-3]
    start = first_position(q.shape[-3], k.shape[-3], options.get("offset", 0))
    of_block: Any = {**options, "offset": start + pair.t - pair.s}
    masks = None if mask is None else take_mask(mask, pair, rows, columns)
    bias = None if bias is None else take_scores(bias, pair, rows, columns)
    scores, slope = attention_scores(q_i, k_j, masks, bias, **of_block)
    if q.shape[-3] % rows or k.shape[-3] % columns:
        t, s = (lax.broadcasted_iota(jnp.int32, (rows, columns), axis) for axis in (0, 1))
        own = (t >= pair.own_t - pair.t) & (s >= pair.own_s - pair.s)
        scores = jnp.where(jnp.broadcast_to(own, scores.shape), scores, -jnp.inf)
    return scores, slope


def block_sizes(q: Any, k: Any, block: Block) -> tuple[int, int]:
    if not q.shape[-3] or not k.shape[-3]:
        raise LayerValueError(f"expected at least one query and one key, got {q.shape[-3]} and {k.shape[-3]}")
    rows, columns = block if isinstance(block, tuple) else (block, block)
    return balanced(q.shape[-3], rows), balanced(k.shape[-3], columns)


def balanced(length: int, size: int) -> int:
    """The size of the blocks when they are as few as `size` allows and as equal as they can be."""
    number = -(-length // size)
    return -(-length // number)


class HeadRange(NamedTuple):
    """Some heads of an array [..., time, features], the queries of packed ones for instance.

    Only blocks are copied, and only a block has an axis of heads: with one, XLA would transpose the whole array
    head by head, the layout that products want.
    """

    packed: Array
    first: int  # feature
    heads: int
    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.packed.shape[:-1], self.heads, self.size)

    @property
    def dtype(self) -> Any:
        return self.packed.dtype

    def block(self, start: Any, length: int) -> Queries:
        return self._replace(packed=take(self.packed, -2, start, length)).whole()

    def whole(self) -> Queries:
        return self.packed[..., self.first : self.first + self.heads * self.size].reshape(self.shape)


def heads_of(x: Any) -> HeadRange:
    return x if isinstance(x, HeadRange) else HeadRange(flat(x), 0, *x.shape[-2:])


def flat(x: Queries) -> Array:
    return x.reshape(flat_shape(x))


def flat_shape(x: Any) -> tuple[int, ...]:
    return (*x.shape[:-2], x.shape[-2] * x.shape[-1])


def take(x: Array, axis: int, start: Any, size: int) -> Array:
    return lax.dynamic_slice_in_dim(x, start, size, axis, allow_negative_indices=False)


def put(x: Array, part: Array, axis: int, start: Any) -> Array:
    return lax.dynamic_update_slice_in_dim(x, part.astype(x.dtype), start, axis, allow_negative_indices=False)


def take_scores(x: Array, pair: Pair, rows: int, columns: int) -> Array:
    """The block of a mask or bias [..., heads, T, S], any length of which may be 1."""
    x = x if x.shape[-2] == 1 else take(x, -2, pair.t, rows)
    return x if x.shape[-1] == 1 else take(x, -1, pair.s, columns)


def take_mask(mask: Any, pair: Pair, rows: int, columns: int) -> Any:
    if not isinstance(mask, tuple):
        return take_scores(mask, pair, rows, columns)
    sides = zip(mask, (pair.t, pair.s), (rows, columns), strict=True)
    return tuple(ids if ids.shape[-1] == 1 else take(ids, -1, start, size) for ids, start, size in sides)


def add_block(dbias: Array, ds: Scores, pair: Pair) -> Array:
    """dbias with the gradient of one block added."""
    part = take_scores(dbias, pair, *ds.shape[-2:])
    part = part + sum_to(ds, part)
    t, s = (start if size > 1 else 0 for start, size in zip((pair.t, pair.s), dbias.shape[-2:], strict=True))
    starts = [jnp.asarray(start, jnp.int32) for start in (*(0 for _ in dbias.shape[:-2]), t, s)]
    return lax.dynamic_update_slice(dbias, part, starts, allow_negative_indices=False)
