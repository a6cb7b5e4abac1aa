"""Attention: of given queries, keys and values, and with projections and heads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .rows import Fault, Right, altered, normal

STEPS, KEY, VALUE = 5, 7, 11
QKV = {"q": normal(81, STEPS, KEY), "k": normal(82, STEPS, KEY), "v": normal(83, STEPS, VALUE)}


def earlier(steps: int, diagonal: int = 0) -> Any:
    """True where a query may look: at its own step and those before."""
    return jnp.tril(jnp.ones((steps, steps), bool), diagonal)


def attention(x: Any) -> Any:
    scores = x["q"] @ x["k"].T
    scaled = scores / math.sqrt(KEY)
    a = jax.nn.softmax(scaled, -1)
    y = a @ x["v"]
    return y, (x, scores, a)


def causal_attention(x: Any) -> Any:
    scores = x["q"] @ x["k"].T
    scaled = scores / math.sqrt(KEY)
    masked = jnp.where(earlier(STEPS), scaled, -1e30)
    a = jax.nn.softmax(masked, -1)
    y = a @ x["v"]
    return y, (x, scores, a)


def attention_backward(saved: Any, dy: Any) -> Any:
    x, _, a = saved
    dv = a.T @ dy
    da = dy @ x["v"].T
    ds = a * (da - jnp.sum(a * da, -1, keepdims=True)) / math.sqrt(KEY)
    return {"q": ds @ x["k"], "k": ds.T @ x["q"], "v": dv}


def with_leaves(**rules: Callable[..., Any]) -> Callable[..., Any]:
    """A rule gets (gradient, x, scores, a, dy)."""

    def backward(saved: Any, dy: Any) -> Any:
        right = attention_backward(saved, dy)
        return right | {leaf: rule(right[leaf], *saved, dy) for leaf, rule in rules.items()}

    return backward


def with_scores(slope: Callable[..., Any]) -> Callable[..., Any]:
    """The backward with ds = slope(a, da, scores), still to be divided by the root of the key's length."""

    def backward(saved: Any, dy: Any) -> Any:
        x, scores, a = saved
        ds = slope(a, dy @ x["v"].T, scores) / math.sqrt(KEY)
        return {"q": ds @ x["k"], "k": ds.T @ x["q"], "v": a.T @ dy}

    return backward


def softmax_slope(a: Any, da: Any) -> Any:
    return a * (da - jnp.sum(a * da, -1, keepdims=True))


def unmasked(saved: Any, dy: Any) -> Any:
    """a computed again in the backward, without the mask."""
    x, scores, _ = saved
    return attention_backward((x, scores, jax.nn.softmax(scores / math.sqrt(KEY), -1)), dy)


def misaligned(saved: Any, dy: Any) -> Any:
    """a computed again in the backward with a mask that lets a query look one step ahead."""
    x, scores, _ = saved
    masked = jnp.where(earlier(STEPS, 1), scores / math.sqrt(KEY), -1e30)
    return attention_backward((x, scores, jax.nn.softmax(masked, -1)), dy)


def fault(name: str, kinds: tuple[str, ...], says: str, backward: Any, forward: Any = attention) -> Fault:
    return Fault(f"attention: {name}", (forward, backward), QKV, None, kinds, says)


ROOT = math.sqrt(KEY)

FAULTS = [
    fault(
        "root of the key's length left out in dq",
        ("scaled",),
        r"sqrt|2\.64|root",
        with_leaves(q=lambda g, *_: g * ROOT),
    ),
    fault(
        "root of the key's length left out",
        ("scaled", "path_scaled"),
        r"sqrt|2\.64|root",
        with_leaves(q=lambda g, *_: g * ROOT, k=lambda g, *_: g * ROOT),
    ),
    fault(
        "divided by the length instead of its root",
        ("scaled",),
        r"sqrt|0\.37|root",
        with_leaves(k=lambda g, *_: g / ROOT),
    ),
    fault(
        "ds not transposed in dk",
        ("wrong_cotangent", "transposed", "coupling"),
        r"transpos|\.T",
        with_leaves(k=lambda g, x, s, a, dy: softmax_slope(a, dy @ x["v"].T) / ROOT @ x["q"]),
    ),
    fault(
        "a not transposed in dv",
        ("wrong_operand", "transposed", "coupling"),
        r"transpos|\.T",
        with_leaves(v=lambda g, x, s, a, dy: a @ dy),
    ),
    fault(
        "dv from the scores",
        ("wrong_operand",),
        "score|operand|value|before|softmax",
        with_leaves(v=lambda g, x, s, a, dy: s.T @ dy),
    ),
    fault(
        "softmax as a diagonal",
        ("diagonal", "local_derivative"),
        "diagonal",
        with_scores(lambda a, da, s: a * (1 - a) * da),
    ),
    fault(
        "sum of the softmax left out",
        ("path_missing",),
        "sum|div|normali|path|softmax|stop_gradient|exp",
        with_scores(lambda a, da, s: a * da),
    ),
    fault("softmax left out", ("local_derivative", "two_paths"), "", with_scores(lambda a, da, s: da)),
    fault(
        "softmax over the queries",
        ("coupling", "local_derivative", "wrong_operand"),
        "",
        with_scores(lambda a, da, s: a * (da - jnp.sum(a * da, 0, keepdims=True))),
    ),
    fault(
        "dq from the queries",
        ("wrong_operand",),
        r"\bq\b|\bk\b|operand",
        with_leaves(q=lambda g, x, s, a, dy: softmax_slope(a, dy @ x["v"].T) / ROOT @ x["q"]),
    ),
    fault(
        "dq and dk exchanged",
        ("swapped_leaves",),
        "swap|exchang",
        lambda saved, dy: (lambda g: g | {"q": g["k"], "k": g["q"]})(attention_backward(saved, dy)),
    ),
    fault("no gradient of the keys", ("zero",), r"zero|\b0\b", with_leaves(k=lambda g, *_: jnp.zeros_like(g))),
    fault(
        "last query forgotten",
        ("slices",),
        "last|axis 0|step|example",
        with_leaves(v=lambda g, x, s, a, dy: a[:-1].T @ dy[:-1]),
    ),
    fault(
        "mask left out",
        ("coupling", "forward_variant", "wrong_operand"),
        "mask|axis|coupl|feel|where|operand",
        unmasked,
        causal_attention,
    ),
    fault("mask one step off", ("coupling", "forward_variant", "wrong_operand"), "", misaligned, causal_attention),
    fault(
        "causal: a not transposed in dv",
        ("wrong_operand", "transposed", "coupling"),
        r"transpos|\.T",
        with_leaves(v=lambda g, x, s, a, dy: a @ dy),
        causal_attention,
    ),
]


# Self-attention with projections and heads.

BATCH, WIDTH, HEADS = 3, 14, 2
X = normal(84, BATCH, STEPS, WIDTH)
PARAMS = {name: normal(85 + k, WIDTH, WIDTH, scale=0.4) for k, name in enumerate(("query", "key", "value", "out"))}


def split_heads(x: Any) -> Any:
    heads = x.reshape(x.shape[0], x.shape[1], HEADS, -1)
    return jnp.transpose(heads, (0, 2, 1, 3))


def join_heads(x: Any) -> Any:
    steps = jnp.transpose(x, (0, 2, 1, 3))
    return steps.reshape(steps.shape[0], steps.shape[1], -1)


def multi_head(params: Any, x: Any) -> Any:
    q = split_heads(x @ params["query"])
    k = split_heads(x @ params["key"])
    v = split_heads(x @ params["value"])
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k)
    a = jax.nn.softmax(scores / math.sqrt(KEY), -1)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", a, v)
    joined = join_heads(mixed)
    y = joined @ params["out"]
    return y, (x, q, k, v, a, joined)


def kernel(x: Any, dy: Any) -> Any:
    return jnp.einsum("bti,bto->io", x, dy)


def multi_head_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, q, k, v, a, joined = saved
        dout = kernel(joined, dy)
        djoined = dy @ params["out"] if mistake == "out" else dy @ params["out"].T
        dmixed = split_heads(djoined)
        if mistake == "one head":
            dmixed = dmixed.at[:, 1].set(0.0)
        if mistake == "heads reversed":
            dmixed = dmixed[:, ::-1]
        if mistake == "order":
            dmixed = djoined.reshape(dmixed.shape)
        dv = jnp.einsum("bhqk,bhqd->bhkd", a, dmixed)
        da = jnp.einsum("bhqd,bhkd->bhqk", dmixed, v)
        ds = a * (da - jnp.sum(a * da, -1, keepdims=True))
        ds = ds / math.sqrt(WIDTH if mistake == "width" else KEY)
        dq = join_heads(jnp.einsum("bhqk,bhkd->bhqd", ds, k))
        dk = join_heads(jnp.einsum("bhqk,bhqd->bhkd", ds, q))
        dv = join_heads(dv)
        paths = {"query": dq @ params["query"].T, "key": dk @ params["key"].T, "value": dv @ params["value"].T}
        if mistake in paths:
            paths.pop(mistake)
        dx = sum(paths.values())
        if mistake == "value twice":
            dx = dx + paths["value"]
        if mistake == "mean of the paths":
            dx = dx / 3
        kernels = {"query": kernel(x, dq), "key": kernel(x, dk), "value": kernel(x, dv), "out": dout}
        if mistake == "value kernel":
            kernels["value"] = kernel(x, join_heads(dmixed))
        return kernels, dx

    return backward


def heads_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str) -> Fault:
    return Fault(f"multi-head attention: {name}", (multi_head, multi_head_with(mistake)), X, PARAMS, kinds, says)


FAULTS += [
    heads_fault("path through the queries left out of dx", ("path_missing",), r"quer|dot|path|\bq\b", "query"),
    heads_fault("path through the keys left out of dx", ("path_missing",), r"key|dot|path|\bk\b", "key"),
    heads_fault("path through the values left out of dx", ("path_missing",), r"value|dot|path|\bv\b", "value"),
    heads_fault("path through the values twice in dx", ("path_doubled",), "value|twice|doubl", "value twice"),
    heads_fault("paths averaged", ("scaled",), "1/3|0.33", "mean of the paths"),
    heads_fault("second head forgotten", ("slices", "path_missing"), "", "one head"),
    heads_fault("heads reversed", ("flipped", "wrong_cotangent", "permuted", "swapped_leaves"), "", "heads reversed"),
    heads_fault("reshaped without transposing", ("permuted", "wrong_cotangent"), "", "order"),
    heads_fault("root of the width instead of a head's", ("scaled", "path_scaled"), r"1/2|sqrt|0\.7", "width"),
    heads_fault("last kernel not transposed", ("wrong_operand", "transposed"), r"transpos|\.T", "out"),
    heads_fault(
        "value kernel from dy in front of the mixing", ("wrong_cotangent", "local_derivative"), "", "value kernel"
    ),
    Fault(
        "multi-head attention: query and key kernels exchanged",
        (
            multi_head,
            altered(
                multi_head_with(),
                query=lambda g, p, s, dy: multi_head_with()(p, s, dy)[0]["key"],
                key=lambda g, p, s, dy: multi_head_with()(p, s, dy)[0]["query"],
            ),
        ),
        X,
        PARAMS,
        ("swapped_leaves",),
        "swap|exchang|query.*key|key.*query",
    ),
]

LONGER = {"q": normal(89, 3, KEY), "k": normal(90, 4, KEY), "v": normal(91, 4, VALUE)}

RIGHTS = [
    Right("attention", (attention, attention_backward), QKV),
    Right("attention to other steps", (attention, attention_backward), LONGER),
    Right("attention to one step", (attention, attention_backward), {k: v[:1] for k, v in QKV.items()}),
    Right("attention, saturated", (attention, attention_backward), QKV | {"q": 30 * QKV["q"]}),
    Right("causal attention", (causal_attention, attention_backward), QKV),
    Right("multi-head attention", (multi_head, multi_head_with()), X, PARAMS),
    Right(
        "multi-head attention, one example, float32", (multi_head, multi_head_with()), X[:1].astype(np.float32), PARAMS
    ),
]
