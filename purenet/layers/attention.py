"""attention: each query's mean of the values, weighted by the softmax of its scores with the keys.

    q [..., T, heads, d],  k [..., S, kv_heads, d],  v [..., S, kv_heads, dv],  o [..., T, heads, dv]
    s = scale q k^T + bias,  lse = log sum_S exp(s),  p = exp(s - lse),  o = p v
    dv = p^T do,  dp = do v^T,  ds = p (dp - D),  dq = scale ds k,  dk = scale ds^T q,  dbias = ds
    D  = sum over S of p dp = sum over dv of do o

Kept: q, k, v, o and lse, one number per query and head. p is recomputed and D is taken from o, so that nothing of size
T x S lives between forward and backward. A masked key has s = -inf; a query that sees no key gets o = 0 (lse = inf) and
no gradient. heads / kv_heads queries share a key and value head, which is not repeated.
Vaswani et al. (2017); the backward: Dao et al., *FlashAttention* (2022); groups: Ainslie et al., *GQA* (2023).
"""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Bool, Float, Integer
from ..precision import wide_dtype, widen
from .attention_masks import Offset, Position, Window, alibi_bias, same_segment, visible_keys

Queries = Float[Array, "... T heads d"]
Keys = Float[Array, "... S kv_heads d"]
Values = Float[Array, "... S kv_heads dv"]
Outputs = Float[Array, "... T heads dv"]
Statistics = Float[Array, "... heads T"]
Scores = Float[Array, "... heads T S"]
Segments = tuple[Integer[Array, "... _"], Integer[Array, "... _"]]  # of the queries and of the keys
Mask = Bool[Array, "..."] | Segments | None
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
    scores, _ = attention_scores(q, k, mask, bias, **options)  # [..., heads, T, S]
    weights, largest = exponentials(scores)
    total = jnp.sum(weights, -1, keepdims=True)  # [..., heads, T, 1]
    sees_nothing = total == 0
    total = jnp.where(sees_nothing, 1, total)
    lse = jnp.where(sees_nothing, jnp.inf, largest + jnp.log(total))
    # Divided after the product, where there are dv numbers a query instead of S.
    o = apart(product("...ts,...sd->...td", together(weights, v).astype(v.dtype), by_head(v)), q) / total
    return by_time(o).astype(v.dtype), lse[..., 0]


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
    # As in the forward, which XLA may still have; exp(s - lse) would be a second array of T x S.
    weights, largest = exponentials(scores)  # [..., heads, T, S]
    share = jnp.exp(largest - lse[..., None])  # [..., heads, T, 1]
    do_share = together(by_head(do) * share.astype(do.dtype), k)  # [..., kv_heads, group T, dv]
    # o = share * (weights v), p = share * weights
    dv = product("...ts,...td->...sd", together(weights, k).astype(v.dtype), do_share)
    dweights = apart(product("...td,...sd->...ts", do_share, by_head(v)), q)
    # p = softmax(s)
    mean = by_head(jnp.sum(widen(do) * widen(o), -1, keepdims=True))  # D [..., heads, T, 1]
    ds = weights * (dweights - mean * share)
    dbias = None if bias is None else sum_to(ds, bias)
    # s = softcap(scale q k^T) + bias
    ds = together(ds if slope is None else ds * slope, k).astype(q.dtype)
    scale = scale_of(q, options.get("scale"))
    dq = apart(product("...ts,...sd->...td", ds, by_head(k)), q) * scale
    dk = product("...ts,...td->...sd", ds, together(by_head(q), k)) * scale
    return by_time(dq).astype(q.dtype), by_time(dk).astype(k.dtype), by_time(dv).astype(v.dtype), dbias


def attention_scores(
    q: Queries,
    k: Keys,
    mask: Mask = None,
    bias: Bias = None,
    *,
    scale: float | None = None,
    causal: bool = False,
    window: Window = None,
    offset: Position = 0,
    alibi: bool = False,
    softcap: float | None = None,
) -> tuple[Scores, Scores | None]:
    """(s, derivative of the soft cap or None): s = softcap tanh(scale q k^T / softcap) + bias, -inf where not seen.

    mask and bias broadcast to [..., heads, T, S]; a mask of two arrays are the segments of queries and keys.
    scale is 1 / sqrt(d) by default.
    """
    # Scaled after the product: q would be rounded once more.
    scores = apart(product("...td,...sd->...ts", together(by_head(q), k), by_head(k)), q) * scale_of(q, scale)
    slope, (heads, queries, keys) = None, scores.shape[-3:]
    if softcap is not None:
        capped = jnp.tanh(scores / softcap)
        scores, slope = softcap * capped, (1 + capped) * (1 - capped)
    if alibi:
        scores = scores + jnp.broadcast_to(alibi_bias(heads, queries, keys, offset, scores.dtype), scores.shape)
    if bias is not None:
        scores = scores + jnp.broadcast_to(bias.astype(scores.dtype), scores.shape)
    allowed = same_segment(*mask) if isinstance(mask, tuple) else mask
    for seen in (visible_keys(queries, keys, causal, window, offset), allowed):
        if seen is not None:
            scores = jnp.where(jnp.broadcast_to(seen, scores.shape), scores, -jnp.inf)
    return scores, slope


def exponentials(scores: Scores) -> tuple[Scores, Float[Array, "... heads T 1"]]:
    """exp(s - largest) and the largest score of each query, taken as 0 where it sees nothing."""
    largest = lax.stop_gradient(jnp.max(scores, -1, keepdims=True, initial=-jnp.inf))
    largest = jnp.where(jnp.isneginf(largest), 0, largest)
    return jnp.exp(scores - largest), largest


def scale_of(q: Any, scale: float | None) -> float:
    return q.shape[-1] ** -0.5 if scale is None else scale


def product(indices: str, a: Array, b: Array) -> Array:
    """A product of matrices in their own dtype, summed in float32 at least."""
    return jnp.einsum(indices, a, b, preferred_element_type=wide_dtype(a.dtype))


def by_head(x: Queries) -> Float[Array, "... heads T d"]:
    return jnp.swapaxes(x, -2, -3)


def by_time(x: Float[Array, "... heads T d"]) -> Queries:
    return jnp.swapaxes(x, -2, -3)


def together(x: Float[Array, "... heads T n"], k: Keys) -> Float[Array, "... kv_heads group_T n"]:
    """The rows of all heads that share a head of k, as those of one matrix."""
    heads, time, features = x.shape[-3:]
    return x.reshape(*x.shape[:-3], k.shape[-2], heads // k.shape[-2] * time, features)


def apart(x: Float[Array, "... kv_heads group_T n"], q: Queries) -> Float[Array, "... heads T n"]:
    return x.reshape(*x.shape[:-3], q.shape[-2], q.shape[-3], x.shape[-1])


def sum_to(ds: Scores, bias: Array) -> Array:
    """The transpose of broadcasting a bias to the scores: the sum over the axes in which it is the same."""
    shape = (1,) * (ds.ndim - bias.ndim) + bias.shape
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return jnp.sum(ds, axes, keepdims=True).reshape(bias.shape).astype(bias.dtype)
