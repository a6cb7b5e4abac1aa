"""Losses with one value an element: squared, absolute and robust errors of (predictions, targets)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .rows import Right
from .softmax import PAIR, fault

# Losses with one value an element.


def squared_error(x: Any) -> Any:
    predictions, targets = x
    error = predictions - targets
    square = error**2
    return jnp.mean(square)


def squared_error_backward(x: Any, dy: Any) -> Any:
    predictions, targets = x
    dpredictions = 2 * (predictions - targets) * dy / predictions.size
    return dpredictions, -dpredictions


def scaled_by(factor: Callable[[Any], float]) -> Any:
    """The squared error with both gradients too large by factor(predictions)."""

    def backward(x: Any, dy: Any) -> Any:
        dpredictions, dtargets = squared_error_backward(x, dy)
        return factor(x[0]) * dpredictions, factor(x[0]) * dtargets

    return squared_error, backward


def batch_squared_error(x: Any) -> Any:
    predictions, targets = x
    values = jnp.sum((predictions - targets) ** 2, -1)
    return 0.5 * jnp.mean(values)


def batch_squared_error_with(divisor: Callable[[Any], float]) -> Any:
    def backward(x: Any, dy: Any) -> Any:
        predictions, targets = x
        dpredictions = (predictions - targets) * dy / divisor(predictions)
        return dpredictions, -dpredictions

    return batch_squared_error, backward


def error_pair(forward: Callable[..., Any], slope: Callable[[Any], Any]) -> Any:
    """A loss of the error p - t, averaged, from its derivative."""

    def backward(x: Any, dy: Any) -> Any:
        predictions, targets = x
        dpredictions = slope(predictions - targets) * dy / predictions.size
        return dpredictions, -dpredictions

    return forward, backward


def huber(x: Any) -> Any:
    predictions, targets = x
    error = predictions - targets
    size = jnp.abs(error)
    inside = 0.5 * error**2
    outside = 0.6 * (size - 0.3)
    values = jnp.where(size <= 0.6, inside, outside)
    return jnp.mean(values)


def log_cosh(x: Any) -> Any:
    predictions, targets = x
    error = predictions - targets
    values = jnp.log(jnp.cosh(error))
    return jnp.mean(values)


def absolute_error(x: Any) -> Any:
    predictions, targets = x
    return jnp.mean(jnp.abs(predictions - targets))


FAULTS = [
    fault(
        "squared error: factor of the square missing",
        scaled_by(lambda p: 0.5),
        ("scaled", "path_scaled"),
        "1/2|0.5|half",
        PAIR,
    ),
    fault("squared error: mean forgotten", scaled_by(lambda p: p.size), ("scaled",), r"35|\b5\b|mean|number", PAIR),
    fault(
        "squared error: divided by the examples alone",
        scaled_by(lambda p: p.shape[1]),
        ("scaled",),
        r"\b7\b|feature",
        PAIR,
    ),
    fault("squared error: divided by the features alone", scaled_by(len), ("scaled",), r"\b5\b|example|batch", PAIR),
    fault("squared error: sign", scaled_by(lambda p: -1), ("scaled",), "sign|-1|negat", PAIR),
    fault(
        "squared error: same sign for the targets",
        (squared_error, lambda x, dy: (squared_error_backward(x, dy)[0],) * 2),
        ("scaled",),
        "sign|-1|negat",
        PAIR,
    ),
    fault(
        "squared error: no gradient of the targets",
        (squared_error, lambda x, dy: (squared_error_backward(x, dy)[0], None)),
        ("missing_gradient", "wrong_tree"),
        "missing|None",
        PAIR,
    ),
    fault(
        "squared error: targets held constant",
        (squared_error, lambda x, dy: (squared_error_backward(x, dy)[0], jnp.zeros_like(x[1]))),
        ("zero",),
        r"zero|\b0\b",
        PAIR,
    ),
    fault(
        "squared error: upstream gradient forgotten",
        (squared_error, lambda x, dy: squared_error_backward(x, 1.0)),
        ("cotangent_ignored",),
        "upstream|ignor",
        PAIR,
    ),
    fault(
        "squared error: upstream gradient twice",
        (squared_error, lambda x, dy: squared_error_backward(x, dy * dy)),
        ("not_linear",),
        "linear|twice|squar",
        PAIR,
    ),
    fault(
        "squared error: error forgotten",
        (squared_error, lambda x, dy: (2 * x[0] * dy / x[0].size, -2 * x[0] * dy / x[0].size)),
        ("wrong_operand", "extra_term", "local_derivative", "path_missing"),
        "",
        PAIR,
    ),
    fault(
        "squared error an example: divided by all elements",
        batch_squared_error_with(lambda p: p.size),
        ("scaled",),
        "1/7|feature",
        PAIR,
    ),
    fault(
        "squared error an example: not divided",
        batch_squared_error_with(lambda p: 1),
        ("scaled",),
        r"\b5\b|example|batch",
        PAIR,
    ),
    fault(
        "squared error an example: two kept",
        batch_squared_error_with(lambda p: 0.5 * len(p)),
        ("scaled",),
        r"\b2\b|twice|doubl",
        PAIR,
    ),
    fault(
        "absolute error: error instead of its sign",
        error_pair(absolute_error, lambda e: e),
        ("local_derivative", "wrong_operand"),
        "abs|sign|derivative|value",
        PAIR,
    ),
    fault(
        "huber: quadratic everywhere",
        error_pair(huber, lambda e: e),
        ("forward_variant", "local_derivative", "wrong_operand"),
        "",
        PAIR,
    ),
    fault(
        "huber: slope one outside",
        error_pair(huber, lambda e: jnp.where(jnp.abs(e) <= 0.6, e, jnp.sign(e))),
        ("path_scaled",),
        r"5/3|1\.6|abs|where|path|0\.6",
        PAIR,
    ),
    fault(
        "huber: sign forgotten outside",
        error_pair(huber, lambda e: jnp.where(jnp.abs(e) <= 0.6, e, 0.6)),
        ("local_derivative",),
        "abs|sign",
        PAIR,
    ),
    fault(
        "huber: another delta",
        error_pair(huber, lambda e: jnp.clip(e, -1.0, 1.0)),
        ("forward_variant", "local_derivative"),
        "",
        PAIR,
    ),
    fault(
        "huber: gate upside down",
        error_pair(huber, lambda e: jnp.where(jnp.abs(e) > 0.6, e, 0.6 * jnp.sign(e))),
        ("local_derivative", "two_paths"),
        "",
        PAIR,
    ),
    fault(
        "log_cosh: tanh of half",
        error_pair(log_cosh, lambda e: jnp.tanh(0.5 * e)),
        ("local_derivative", "forward_variant"),
        "",
        PAIR,
    ),
    fault("log_cosh: sinh alone", error_pair(log_cosh, jnp.sinh), ("local_derivative",), "log|derivative|div", PAIR),
    fault("log_cosh: reciprocal", error_pair(log_cosh, lambda e: 1 / jnp.tanh(e)), ("local_derivative",), "", PAIR),
]

RIGHTS: list[Right] = []
