"""attention: each query's mean of the values, weighted by the softmax of its scores with the keys.

    q [..., T, heads, d],  k [..., S, kv_heads, d],  v [..., S, kv_heads, dv],  o [..., T, heads, dv]
    s = scale q k^T + bias,  lse = log sum_S exp(s),  p = exp(s - lse),  o = p v
    dv = p^T do,  dp = do v^T,  ds = p (dp - D),  dq = scale ds k,  dk = scale ds^T q,  dbias = ds
    D  = sum over S of p dp = sum over dv of do o

Kept: q, k, v, o and lse, one number a query and head. p is computed again from lse and D from o, so that nothing of
size T x S lives between forward and backward. What a query does not see has s = -inf; a query that sees nothing gets
o = 0 (lse = inf) and no gradient. heads / kv_heads queries share a key and value head, which is not repeated.
Vaswani et al. (2017); the backward: Dao et al., *FlashAttention* (2022); groups: Ainslie et al., *GQA* (2023).
"""

from __future__ import annotations

from typing import TypedDict, Unpack

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Bool, Float
from ..precision import wide_dtype
from .attention_masks import Offset, Window, alibi_bias, visible_keys

Queries = Float[Array, "... T heads d"]
Keys = Float[Array, "... S kv_heads d"]
Values = Float[Array, "... S kv_heads dv"]
Outputs = Float[Array, "... T heads dv"]
Statistics = Float[Array, "... heads T"]
Scores = Float[Array, "... kv_heads group T S"]
Mask = Bool[Array, "..."] | None
Bias = Float[Array, "..."] | None


class ScoreOptions(TypedDict, total=False):
    """How scores are made: the keywords of `attention_scores`."""

    scale: float | None
    causal: bool
    window: Window
    offset: Offset
    alibi: bool
    softcap: float | None


def attention_forward(
    q: Queries, k: Keys, v: Values, mask: Mask = None, bias: Bias = None, **options: Unpack[ScoreOptions]
) -> tuple[Outputs, Statistics]:
    scores, _ = attention_scores(q, k, mask, bias, **options)
    largest = lax.stop_gradient(jnp.max(scores, -1, keepdims=True, initial=-jnp.inf))
    largest = jnp.where(jnp.isneginf(largest), 0, largest)
    weights = jnp.exp(scores - largest)  # [..., kv_heads, group, T, S]
    total = jnp.sum(weights, -1, keepdims=True)  # [..., kv_heads, group, T, 1]
    sees_nothing = total == 0
    total = jnp.where(sees_nothing, 1, total)
    lse = jnp.where(sees_nothing, jnp.inf, largest + jnp.log(total))
    # Divided after the product, where there are dv numbers a query instead of S.
    o = product("...kgts,...skd->...kgtd", weights.astype(v.dtype), v) / total
    return by_time(o).astype(v.dtype), lse.reshape(*q.shape[:-3], q.shape[-2], q.shape[-3])


def attention_backward(
    q: Queries,
    k: Keys,
    v: Values,
    mask: Mask,
    bias: Bias,
    o: Outputs,
    lse: Statistics,
    do: Outputs,
    **options: Unpack[ScoreOptions],
) -> tuple[Queries, Keys, Values, Bias]:
    scores, slope = attention_scores(q, k, mask, bias, **options)
    p = jnp.exp(scores - lse.reshape(*scores.shape[:-1], 1))  # [..., kv_heads, group, T, S]
    do_heads = by_head(do, k)  # [..., kv_heads, group, T, dv]
    # o = p v
    dv = product("...kgts,...kgtd->...skd", p.astype(v.dtype), do_heads)
    dp = product("...kgtd,...skd->...kgts", do_heads, v)
    # p = softmax(s)
    mean = jnp.sum(do_heads.astype(p.dtype) * by_head(o, k).astype(p.dtype), -1, keepdims=True)  # D
    ds = p * (dp - mean)
    dbias = None if bias is None else sum_to(ds, bias, q.shape[-2])
    # s = softcap(scale q k^T) + bias
    ds = ds if slope is None else ds * slope
    ds = (ds * scale_of(q, options.get("scale"))).astype(q.dtype)
    dq = product("...kgts,...skd->...kgtd", ds, k)
    dk = product("...kgts,...kgtd->...skd", ds, by_head(q, k))
    return by_time(dq).astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), dbias


def attention_scores(
    q: Queries,
    k: Keys,
    mask: Mask = None,
    bias: Bias = None,
    *,
    scale: float | None = None,
    causal: bool = False,
    window: Window = None,
    offset: Offset = 0,
    alibi: bool = False,
    softcap: float | None = None,
) -> tuple[Scores, Scores | None]:
    """(s, derivative of the soft cap or None): s = softcap tanh(scale q k^T / softcap) + bias, -inf where not seen.

    mask and bias broadcast to [..., heads, T, S]; scale is 1 / sqrt(d) by default.
    """
    scores = product("...kgtd,...skd->...kgts", by_head(q, k), k) * scale_of(q, scale)
    slope, heads = None, q.shape[-2]
    queries, keys = scores.shape[-2:]
    if softcap is not None:
        capped = jnp.tanh(scores / softcap)
        scores, slope = softcap * capped, (1 + capped) * (1 - capped)
    if alibi:
        bias_of_distance = alibi_bias(heads, queries, keys, offset, scores.dtype)
        scores = scores + grouped(bias_of_distance, scores, heads)
    if bias is not None:
        scores = scores + grouped(bias.astype(scores.dtype), scores, heads)
    for seen in (visible_keys(queries, keys, causal, window, offset), mask):
        if seen is not None:
            scores = jnp.where(grouped(seen, scores, heads), scores, -jnp.inf)
    return scores, slope


def scale_of(q: Queries, scale: float | None) -> float:
    return q.shape[-1] ** -0.5 if scale is None else scale


def product(indices: str, a: Array, b: Array) -> Array:
    """A product of matrices in their own dtype, summed in float32 at least."""
    return jnp.einsum(indices, a, b, preferred_element_type=wide_dtype(a.dtype))


def by_head(q: Queries, k: Keys) -> Float[Array, "... kv_heads group T d"]:
    """[..., T, heads, d] as the groups of heads that share a head of k."""
    groups = q.reshape(*q.shape[:-2], k.shape[-2], -1, q.shape[-1])
    return jnp.moveaxis(groups, -4, -2)


def by_time(o: Float[Array, "... kv_heads group T dv"]) -> Outputs:
    o = jnp.moveaxis(o, -2, -4)  # [..., T, kv_heads, group, dv]
    return o.reshape(*o.shape[:-3], -1, o.shape[-1])


def grouped(mask: Array, scores: Scores, heads: int) -> Array:
    """What broadcasts to [..., heads, T, S], broadcast to the scores' [..., kv_heads, group, T, S]."""
    lead, (kv_heads, group) = scores.shape[:-4], scores.shape[-4:-2]
    mask = mask.reshape((1,) * (len(lead) + 3 - mask.ndim) + mask.shape)
    split = (kv_heads, group) if mask.shape[-3] == heads else (1, 1)
    return jnp.broadcast_to(mask.reshape(*mask.shape[:-3], *split, *mask.shape[-2:]), scores.shape)


def sum_to(ds: Scores, bias: Array, heads: int) -> Array:
    """The transpose of `grouped`: the sum over the axes in which the bias was broadcast."""
    ds = ds.reshape(*ds.shape[:-4], heads, *ds.shape[-2:])  # [..., heads, T, S]
    shape = (1,) * (ds.ndim - bias.ndim) + bias.shape
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return jnp.sum(ds, axes, keepdims=True).reshape(bias.shape).astype(bias.dtype)
