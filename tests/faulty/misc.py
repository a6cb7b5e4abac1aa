"""Everything else: infinities, what is lost, other trees."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import purenet as pn

from .blocks import BLOCK, GLU, X, block, block_with, fault, swiglu, swiglu_with
from .rows import Right, normal
from .stopped import dropout, stopped, straight_through, target_network, target_with
from .sums import BILINEAR, BOTH, QUADRATIC, bilinear, bilinear_backward, quadratic, quadratic_with

# Numerics: infinities, and what is lost.


def safe_root(x: Any) -> Any:
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def entropy(x: Any) -> Any:
    positive = x > 0
    logarithm = jnp.log(jnp.where(positive, x, 1.0))
    return -jnp.sum(x * logarithm, -1)


def big_softplus(x: Any) -> Any:
    return jnp.logaddexp(x, 0.0)


NONNEGATIVE = np.maximum(normal(196, 5, 7), 0.0)
TAILS = np.array([[-900.0, -2.0, 0.5, 3.0, 800.0, 1.0, -1.0]])
CALLS = itertools.count(1)

FAULTS = [
    fault(
        "root: infinity at zero",
        safe_root,
        lambda x, dy: 0.5 * dy / jnp.sqrt(jnp.maximum(x, 0.0)),
        None,
        ("nonfinite",),
        "inf|nan|finite",
        NONNEGATIVE,
    ),
    fault(
        "root: zero times infinity",
        safe_root,
        lambda x, dy: (x > 0).astype(dy.dtype) * 0.5 * dy / jnp.sqrt(x),
        None,
        ("nonfinite",),
        "inf|nan|finite",
        NONNEGATIVE,
    ),
    fault(
        "entropy: logarithm of zero",
        entropy,
        lambda x, dy: -(jnp.log(x) + 1) * dy[:, None],
        None,
        ("nonfinite",),
        "inf|nan|finite",
        NONNEGATIVE,
    ),
    fault(
        "softplus: exp overflows",
        big_softplus,
        lambda x, dy: jnp.exp(x) / (1 + jnp.exp(x)) * dy,
        None,
        ("nonfinite",),
        "inf|nan|finite",
        TAILS,
    ),
    fault(
        "tanh: noise",
        jnp.tanh,
        lambda y, dy: (1 - y**2) * dy * (1 + 1e-3 * next(CALLS)),
        None,
        ("nondeterministic",),
        "twice|differ|random|determin|again",
    ),
    fault(
        "tanh: slope in float32",
        jnp.tanh,
        lambda y, dy: (1 - y**2).astype(jnp.float32).astype(dy.dtype) * dy,
        None,
        ("low_precision",),
        "precision|float32|round",
    ),
    fault(
        "cumulative sum: in the forward's order",
        lambda x: jnp.cumsum(x, 1),
        lambda dy: jnp.cumsum(dy, 1),
        None,
        ("local_derivative", "flipped", "transposed", "coupling"),
        "",
    ),
    fault(
        "cumulative sum: left out",
        lambda x: jnp.cumsum(x, 1),
        lambda dy: dy,
        None,
        ("diagonal", "path_missing", "coupling"),
        "",
    ),
    fault(
        "sort: not put back", lambda x: jnp.sort(x, -1), lambda dy: dy, None, ("permuted",), "order|permut|place|sort"
    ),
    fault(
        "mean over the features: over the batch",
        lambda x: jnp.mean(x, 1),
        lambda x, dy: jnp.broadcast_to(dy[None, :], x.shape) / 7,
        None,
        ("transposed", "coupling"),
        "",
        normal(197, 7, 7),
    ),
    fault(
        "variance: mean held constant twice",
        lambda x: jnp.mean((x - jnp.mean(x, 1, keepdims=True)) ** 2, 1),
        lambda x, dy: 2 * x * dy[:, None] / 7,
        None,
        ("wrong_operand", "path_missing"),
        "",
    ),
    fault(
        "product of features: value as derivative",
        lambda x: jnp.prod(x, 1),
        lambda y, dy: jnp.broadcast_to((y * dy)[:, None], (5, 7)),
        None,
        ("local_derivative",),
        "prod|derivative|value",
    ),
    fault(
        "maximum of two: both get it",
        lambda x: jnp.maximum(x["a"], x["b"]),
        lambda dy: {"a": dy, "b": dy},
        None,
        ("support", "local_derivative"),
        r"max|zero|\b0\b|gate",
        {"a": X, "b": normal(198, 5, 7)},
    ),
]


def quotient(x: Any) -> Any:
    return x["a"] / x["b"]


def quotient_with(power: int, sign: int = -1) -> Callable[..., Any]:
    return lambda x, dy: {"a": dy / x["b"], "b": sign * x["a"] / x["b"] ** power * dy}


QUOTIENT = {"a": X, "b": normal(199, 5, 7) ** 2 + 0.5}
NESTED = {"first": (X, normal(200, 3)), "second": [normal(201, 2, 5), np.array([4, 2])]}


def nested(x: Any) -> Any:
    matrix, vector = x["first"]
    other, counts = x["second"]
    sums = {"vector": jnp.sin(vector), "rows": jnp.sum(matrix**2, -1)}
    return {"sums": sums, "other": [other * counts[:, None].astype(other.dtype)]}


def nested_backward(x: Any, dy: Any) -> Any:
    matrix, vector = x["first"]
    dmatrix = 2 * matrix * dy["sums"]["rows"][:, None]
    dvector = jnp.cos(vector) * dy["sums"]["vector"]
    dother = dy["other"][0] * x["second"][1][:, None].astype(matrix.dtype)
    return {"first": (dmatrix, dvector), "second": [dother, None]}


def nested_doubled(x: Any, dy: Any) -> Any:
    dx = nested_backward(x, dy)
    return dx | {"first": (dx["first"][0], 2 * dx["first"][1])}


def nested_as_list(x: Any, dy: Any) -> Any:
    dx = nested_backward(x, dy)
    return dx | {"first": list(dx["first"])}


FAULTS += [
    fault("quotient: sign", quotient, quotient_with(2, 1), None, ("scaled",), "sign|-1|negat", QUOTIENT),
    fault(
        "quotient: square forgotten",
        quotient,
        quotient_with(1),
        None,
        ("local_derivative",),
        "div|derivative",
        QUOTIENT,
    ),
    fault("nested trees: vector doubled", nested, nested_doubled, None, ("scaled",), r"\b2\b|twice|doubl", NESTED),
    fault(
        "nested trees: list for a tuple",
        nested,
        nested_as_list,
        None,
        ("wrong_tree",),
        "tree|list|tuple|structure",
        NESTED,
    ),
]

RIGHTS = [
    Right("residual block", (block, block_with()), X, BLOCK),
    Right("swiglu", (swiglu, swiglu_with()), X, GLU),
    Right("bilinear", (bilinear, bilinear_backward), BOTH, BILINEAR),
    Right("quadratic form", (quadratic, quadratic_with()), X, QUADRATIC),
    Right("dropout", (dropout, lambda mask, dy: jnp.where(mask, dy / 0.7, 0.0)), X),
    Right("pn.dropout", pn.dropout(0.3), X),
    Right("pn.dropout, rate 0", pn.dropout(0.0), X),
    Right("stop_gradient", (stopped, lambda saved, dy: saved[1] * dy), X),
    Right("straight through", (straight_through, lambda dy: dy), X),
    Right("target network", (target_network, target_with(False)), X, {"kernel": normal(195, 7, 3)}),
    Right(
        "root at zero",
        (safe_root, lambda x, dy: jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0) * dy),
        NONNEGATIVE,
    ),
    Right("cumulative sum", (lambda x: jnp.cumsum(x, 1), lambda dy: jnp.cumsum(dy[:, ::-1], 1)[:, ::-1]), X),
    Right("quotient", (quotient, quotient_with(2)), QUOTIENT),
    Right("quotient, badly scaled", (quotient, quotient_with(2)), {"a": X * 1e8, "b": QUOTIENT["b"] * 1e-5}),
    Right("nested trees", (nested, nested_backward), NESTED),
    Right(
        "params that are an array", (lambda p, x: p * x, lambda p, x, dy: (jnp.sum(x * dy), p * dy)), X, np.float64(1.7)
    ),
]
