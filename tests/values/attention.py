"""Attention, query by query and head by head."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.catalogue.draws import affine

from .embedding import turned

TIME, STEPS, SIZE = 5, 4, 6


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


def documents(params: Any, x: Any) -> Any:
    numbers = np.asarray(x[1])[:, None]
    same = (numbers[..., :, None] == numbers[..., None, :]) & (numbers[..., None] >= 0)
    return attention(*split(x[0], 4, 2, 2), seen=same & np.tri(TIME, dtype=bool), softcap=2.0)


def crossed_with_bias(params: Any, x: Any) -> Any:
    parts = split(x[0], 2)[0], split(x[1], 1)[0], split(x[2], 1)[0]
    return attention(*parts, np.tri(TIME, STEPS, 1, dtype=bool), np.asarray(x[3])[:, None])


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


VALUES = {
    "packed_attention": plain,
    "packed_attention, causal": lambda params, x: attention(*split(x, 2, 2, 2), seen=np.tri(TIME, dtype=bool)),
    "packed_attention, grouped": grouped_causal,
    "packed_attention, blocks": grouped_causal,
    "packed_attention, window, alibi and soft cap": windowed,
    "packed_attention, norm and rotary": normed_and_turned,
    "packed_attention, padding": padded,
    "packed_attention, bias": biased,
    "packed_attention, blocks and documents": documents,
    "dot_product_attention": crossed,
    "dot_product_attention, blocks, bias": crossed_with_bias,
    "self_attention": self_attended,
    "cross_attention": cross_attended,
    "multi_head_attention": multi_attended,
}
