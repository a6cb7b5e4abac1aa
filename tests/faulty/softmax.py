"""softmax and log_softmax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenet.layers.softmax import log_softmax_forward, softmax_forward

from .rows import Fault, Right, integers, normal, uniform

X = normal(61, 5, 7, scale=1.5)
TARGETS = normal(62, 5, 7)
PAIR = (X, TARGETS)
SIGNS = np.where(normal(63, 5, 7) > 0, 1.0, -1.0)
COUNTS = integers(64, 5, 7, below=6).astype(np.float64)
UNIT = uniform(65, 5, 7, low=0.02, high=0.98)
SOFT = uniform(66, 5, 7, low=0.05, high=0.95)
LABELS = np.array([3, 0, 6, 3, 1])
WEIGHTS = normal(67, 5, 7) ** 2
DISTRIBUTIONS = WEIGHTS / np.sum(WEIGHTS, -1, keepdims=True)
LOG_PROBABILITIES = X - np.log(np.sum(np.exp(X), -1, keepdims=True))


def fault(name: str, pair: Any, kinds: tuple[str, ...], says: str, x: Any = X) -> Fault:
    return Fault(name, pair, x, None, kinds, says)


def total(x: Any) -> Any:
    return jnp.sum(x, -1, keepdims=True)


# softmax


def softmax(x: Any) -> Any:
    largest = jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True))
    e = jnp.exp(x - largest)
    normalizer = jnp.sum(e, -1, keepdims=True)
    return e / normalizer


def softmax_backward(y: Any, dy: Any) -> Any:
    return y * (dy - total(y * dy))


def twice(y: Any, dy: Any) -> Any:
    return softmax_backward(y, softmax_backward(y, dy))


def batch_softmax(y: Any, dy: Any) -> Any:
    return y * (dy - jnp.sum(y * dy, 0, keepdims=True))


def with_temperature(x: Any) -> Any:
    scaled = x / 2.5
    return jax.nn.softmax(scaled, -1)


def log_softmax_backward(y: Any, dy: Any) -> Any:
    return dy - jnp.exp(y) * total(dy)


SOFTMAX, LOG_SOFTMAX = (lambda x: softmax_forward(x, -1)), (lambda x: log_softmax_forward(x, -1))

FAULTS = [
    fault("softmax: Jacobian's diagonal alone", (softmax, lambda y, dy: y * (1 - y) * dy), ("diagonal",), "diagonal"),
    fault(
        "softmax: sum left out", (softmax, lambda y, dy: y * dy), ("path_missing", "diagonal"), "sum|div|normali|path"
    ),
    fault("softmax: sum over the batch", (softmax, batch_softmax), ("coupling",), "batch|example|axis"),
    fault(
        "softmax: mean instead of sum",
        (softmax, lambda y, dy: y * (dy - jnp.mean(y * dy, -1, keepdims=True))),
        ("path_scaled",),
        "1/7|sum|mean",
    ),
    fault(
        "softmax: sum of dy alone",
        (softmax, lambda y, dy: y * (dy - total(dy))),
        ("wrong_operand", "path_scaled", "local_derivative", "wrong_cotangent"),
        "",
    ),
    fault(
        "softmax: sign of the sum", (softmax, lambda y, dy: y * (dy + total(y * dy))), ("path_sign",), "sign|negat|-1"
    ),
    fault("softmax: applied twice", (softmax, twice), ("local_derivative", "path_doubled"), "twice|again|squar|doubl"),
    fault(
        "softmax: not multiplied by y",
        (softmax, lambda y, dy: dy - total(y * dy)),
        ("local_derivative", "wrong_operand"),
        "",
    ),
    fault(
        "purenet's softmax: Jacobian's diagonal alone",
        (SOFTMAX, lambda y, dy: y * (1 - y) * dy),
        ("diagonal",),
        "diagonal",
    ),
    fault("purenet's softmax: sum over the batch", (SOFTMAX, batch_softmax), ("coupling",), "batch|example|axis"),
    fault(
        "softmax with temperature: temperature forgotten",
        (with_temperature, softmax_backward),
        ("scaled",),
        r"2\.5|5/2",
    ),
    fault(
        "softmax with temperature: temperature multiplied",
        (with_temperature, lambda y, dy: 2.5 * softmax_backward(y, dy)),
        ("scaled",),
        r"6\.25|25/4|2\.5",
    ),
    fault(
        "log_softmax: sum left out",
        (LOG_SOFTMAX, lambda dy: dy),
        ("path_missing", "diagonal", "two_paths"),
        "sum|exp|path|normali|diagonal",
    ),
    fault(
        "log_softmax: exp forgotten",
        (LOG_SOFTMAX, lambda y, dy: dy - y * total(dy)),
        ("local_derivative", "wrong_operand"),
        "exp|log|derivative|operand",
    ),
    fault(
        "log_softmax: backward of softmax",
        (LOG_SOFTMAX, lambda y, dy: softmax_backward(jnp.exp(y), dy)),
        ("local_derivative",),
        "log|derivative",
    ),
    fault(
        "log_softmax: sum over the batch",
        (LOG_SOFTMAX, lambda y, dy: dy - jnp.exp(y) * jnp.sum(dy, 0, keepdims=True)),
        ("coupling",),
        "batch|example|axis",
    ),
]

RIGHTS: list[Right] = []
