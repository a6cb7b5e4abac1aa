"""Rows of attention."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import purenet as pn

from .case import Case, Draw
from .embedding import turned

TIME, STEPS, SIZE = 5, 4, 6


def packed(heads: int) -> Draw:
    return lambda key, batch: jax.random.normal(key, (batch, TIME, heads * SIZE))


def with_mask(draw: Draw, *shape: int) -> Draw:
    """Two of three are seen; the first example sees nothing."""

    def drawn(key: Any, batch: int) -> Any:
        seen = jax.random.bernoulli(jax.random.fold_in(key, 1), 2 / 3, (batch, *shape))
        x = draw(key, batch)
        return (*(x if isinstance(x, tuple) else (x,)), seen.at[0].set(False))

    return drawn


def with_bias(draw: Draw, *shape: int) -> Draw:
    return lambda key, batch: (draw(key, batch), jax.random.normal(jax.random.fold_in(key, 1), (batch, *shape)))


def parts(*shapes: tuple[int, int]) -> Draw:
    """Arrays [batch, steps, features]."""

    def drawn(key: Any, batch: int) -> Any:
        keys = jax.random.split(key, len(shapes))
        return tuple(jax.random.normal(k, (batch, *shape)) for k, shape in zip(keys, shapes, strict=True))

    return drawn


def attention(q: Any, k: Any, v: Any, seen: Any = True, bias: Any = 0.0, softcap: float | None = None) -> Any:
    """Query by query and head by head; q [batch, time, heads, d], seen and bias [..., heads, queries, keys]."""
    q, k, v = (np.asarray(part) for part in (q, k, v))
    shape = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    seen, bias = np.broadcast_to(np.asarray(seen), shape), np.broadcast_to(np.asarray(bias), shape)
    o = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h, t in np.ndindex(shape[:3]):
        keys, values = (part[b, :, h * k.shape[2] // q.shape[2]][seen[b, h, t]] for part in (k, v))
        scores = keys @ q[b, t, h] / np.sqrt(q.shape[-1])
        scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
        weights = np.exp(scores + bias[b, h, t][seen[b, h, t]])
        o[b, t, h] = weights / max(weights.sum(), 1e-300) @ values
    return o.reshape(*o.shape[:2], -1)


def split(x: Any, *heads: int) -> list[Any]:
    """The features in as many heads, group after group."""
    return np.split(np.asarray(x).reshape(*x.shape[:2], sum(heads), -1), np.cumsum(heads)[:-1], 2)


def plain(params: Any, x: Any) -> Any:
    return attention(*split(x, 2, 2, 2))


def grouped_causal(params: Any, x: Any) -> Any:
    return attention(*split(x, 4, 2, 2), seen=np.tri(x.shape[1], dtype=bool))


def longer(key: Any, batch: int) -> Any:
    """Where scores are few, XLA:CPU's copies of queries and outputs, not scores, decide about the temporary bytes."""
    return jax.random.normal(key, (batch, 16, 64))


def windowed(params: Any, x: Any) -> Any:
    t, s = np.ogrid[:TIME, :TIME]
    slopes = np.array([1 / 16, 1 / 256, 1 / 4])[:, None, None]  # Press et al.: of 2 heads, then the first of 4
    seen = (s <= t + 1) & (s >= t - 1)
    return attention(*split(x, 3, 3, 3), seen=seen, bias=-slopes * abs(t - s), softcap=1.5)


def padded(params: Any, x: Any) -> Any:
    return attention(*split(x[0], 2, 2, 2), seen=np.asarray(x[1])[:, None, None, :])


def biased(params: Any, x: Any) -> Any:
    return attention(*split(x[0], 2, 2, 2), bias=x[1])


def normed_and_turned(params: Any, x: Any) -> Any:
    def prepared(part: Any, scale: Any) -> Any:
        normed = part / np.sqrt(np.mean(part**2, -1, keepdims=True) + 1e-6) * np.asarray(scale)
        return turned(normed, np.arange(TIME), [(0, 3), (1, 4), (2, 5)], 10000)

    q, k, v = split(x, 2, 1, 1)
    return attention(prepared(q, params["query"]["norm"]["scale"]), prepared(k, params["key"]["norm"]["scale"]), v)


def crossed(params: Any, x: Any) -> Any:
    t, s = np.ogrid[:TIME, :STEPS]
    return attention(split(x[0], 2)[0], split(x[1], 1)[0], split(x[2], 1)[0], s <= t + STEPS - TIME)


def packed_documents(key: Any, batch: int) -> Any:
    """Two documents and padding in each sequence."""
    numbers = np.tile(np.array([3, 3, 0, 0, -1], np.int32), (batch, 1))
    return packed(8)(key, batch), jax.numpy.asarray(numbers)


def documents(params: Any, x: Any) -> Any:
    numbers = np.asarray(x[1])[:, None]
    same = (numbers[..., :, None] == numbers[..., None, :]) & (numbers[..., None] >= 0)
    return attention(*split(x[0], 4, 2, 2), seen=same & np.tri(TIME, dtype=bool), softcap=2.0)


def crossed_with_bias(params: Any, x: Any) -> Any:
    parts = split(x[0], 2)[0], split(x[1], 1)[0], split(x[2], 1)[0]
    return attention(*parts, np.tri(TIME, STEPS, 1, dtype=bool), np.asarray(x[3])[:, None])


def affine(params: Any, x: Any) -> Any:
    y = np.asarray(x) @ np.asarray(params["kernel"])
    return y + np.asarray(params["bias"]) if "bias" in params else y


def self_attended(params: Any, x: Any) -> Any:
    q, k, v = split(affine(params["project"]["qkv"], x), 2, 2, 2)
    q, k = (turned(part, np.arange(TIME), [(0, 3), (1, 4), (2, 5)], 10000) for part in (q, k))
    return affine(params["out"], attention(q, k, v))


def cross_attended(params: Any, x: Any) -> Any:
    return multi_attended(params, (x[0], x[1], x[1]))


def multi_attended(params: Any, x: Any) -> Any:
    q, k, v = (affine(params["project"][name], part) for name, part in zip(("query", "key", "value"), x, strict=False))
    seen = np.asarray(x[3])[:, None] if len(x) == 4 else True
    return affine(params["out"], attention(split(q, 2)[0], split(k, 2)[0], split(v, 2)[0], seen))


NORMED = pn.packed_attention(2, kv_heads=1, qk_norm=pn.rms_norm(eps=1e-6), rotary=pn.rotary())
SELF = pn.self_attention(2, rotary=pn.rotary())
# Without a bias: that of the keys moves all scores of a query alike, and its gradient is zero.
CROSS = pn.cross_attention(2, use_bias=False)
MULTI = pn.multi_head_attention(2, features=7, head_features=3, use_bias=False)
THREE = with_mask(parts((TIME, 8), (STEPS, 5), (STEPS, 7)), TIME, STEPS)


def biased_parts(key: Any, batch: int) -> Any:
    bias = jax.random.normal(jax.random.fold_in(key, 1), (batch, 1, STEPS))
    return (*parts((TIME, 2 * SIZE), (STEPS, SIZE), (STEPS, 3))(key, batch), bias)


ROWS = [
    Case("packed_attention", pn.packed_attention(2), packed(6), plain),
    Case("attend_grouped_causal", pn.packed_attention(4, kv_heads=2, causal=True), longer, grouped_causal),
    Case("attend_window", pn.packed_attention(3, window=1, alibi=True, softcap=1.5), packed(9), windowed),
    Case("attend_padding", pn.packed_attention(2), with_mask(packed(6), TIME), padded, alone=True),
    Case("attend_bias", pn.packed_attention(2), with_bias(packed(6), 2, TIME, TIME), biased, alone=True),
    Case("attend_norm_rotary", NORMED, packed(4), normed_and_turned),
    Case(
        "dot_product_attention",
        pn.dot_product_attention(2, kv_heads=1, causal=True, offset="end"),
        parts((TIME, 2 * SIZE), (STEPS, SIZE), (STEPS, 3)),
        crossed,
        alone=True,
    ),
    Case("attend_blocks", pn.packed_attention(4, kv_heads=2, causal=True, block=(5, 7)), longer, grouped_causal),
    Case(
        "attend_blocks_documents",
        pn.packed_attention(4, kv_heads=2, causal=True, softcap=2.0, block=2),
        packed_documents,
        documents,
        alone=True,
    ),
    Case(
        "cross_attend_blocks",
        pn.dot_product_attention(2, kv_heads=1, causal=True, offset=1, block=(3, 2)),
        biased_parts,
        crossed_with_bias,
        alone=True,
    ),
    Case("self_attention", SELF, packed(2), self_attended),
    Case("cross_attention", CROSS, parts((TIME, 8), (STEPS, 5)), cross_attended, alone=True),
    Case("multi_head_attention", MULTI, THREE, multi_attended, alone=True),
]
