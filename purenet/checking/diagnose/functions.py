"""Elementwise functions people know, by their derivatives: which other function is your gradient the gradient of?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..program.rules import erf, logistic, smooth_gauss

ROOT = math.sqrt(2 / math.pi)


def tanh_gelu_slope(x: Any) -> Any:
    inner = ROOT * (x + 0.044715 * x**3)
    t = np.tanh(inner)
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT * (1 + 3 * 0.044715 * x * x)


def erf_gelu_slope(x: Any) -> Any:
    return 0.5 * (1 + erf(x / math.sqrt(2))) + 0.5 * x * smooth_gauss(x / math.sqrt(2)) / math.sqrt(2)


def swish_slope(x: Any, beta: float = 1.0) -> Any:
    s = logistic(beta * x)
    return s + beta * x * s * (1 - s)


def mish_slope(x: Any) -> Any:
    t = np.tanh(np.log1p(np.exp(x)))
    return t + x * (1 - t * t) * logistic(x)


FUNCTIONS: list[tuple[str, Callable[[Any], Any]]] = [
    ("GELU by tanh", tanh_gelu_slope),
    ("the exact GELU (erf)", erf_gelu_slope),
    ("GELU by the sigmoid of 1.702 x", lambda x: swish_slope(x, 1.702)),
    ("swish (silu)", swish_slope),
    ("mish", mish_slope),
    ("relu", lambda x: (x > 0).astype(float)),
    ("the step at x >= 0 with both sides swapped", lambda x: (x < 0).astype(float)),
    ("the sigmoid", lambda x: logistic(x) * (1 - logistic(x))),
    ("tanh", lambda x: 1 - np.tanh(x) ** 2),
    ("softplus", logistic),
    ("elu", lambda x: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0)))),
    ("selu", lambda x: 1.0507009873554805 * np.where(x > 0, 1.0, 1.6732632423543772 * np.exp(np.minimum(x, 0)))),
    ("softsign", lambda x: 1 / np.square(1 + np.abs(x))),
    ("erf", smooth_gauss),
    ("the identity", np.ones_like),
    ("exp", np.exp),
    ("the square", lambda x: 2 * x),
    ("the normal distribution function", lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
    ("the square root", lambda x: 0.5 / np.sqrt(x)),
    ("the logarithm", lambda x: 1 / x),
]


def softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - np.max(x, axis, keepdims=True))
    return e / np.sum(e, axis, keepdims=True)


def row_rules(x: Any, y: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    """Rules of softmax and log_softmax, whole and with something left out, along every axis: (name, dy -> dx).

    p is the output where it sums to 1 along an axis, else softmax of the input, along that axis.
    """
    found: list[tuple[str, Callable[[Any], Any]]] = []
    for axis in range(x.ndim):
        p = y if np.allclose(np.sum(y, axis), 1) and np.all(y >= 0) else softmax(x, axis)
        logs = np.allclose(np.sum(np.exp(np.minimum(y, 1)), axis), 1)
        for source, values in (("", p), *((("its output as p: ", y),) if logs else ())):
            found += [(f"{source}{name} along axis {axis}", rule) for name, rule in softmax_rules(values, axis)]
        if p is y:
            found += crossed_rules(p, axis)
    return found


def crossed_rules(p: Any, axis: int) -> list[tuple[str, Callable[[Any], Any]]]:
    """softmax along one axis, the sum in its rule along another."""
    return [
        (
            f"p (dy - sum(p dy)) with the sum along axis {other} instead of {axis}",
            lambda dy, other=other: p * (dy - np.sum(p * dy, other, keepdims=True)),
        )
        for other in range(p.ndim)
        if other != axis
    ]


def softmax_rules(p: Any, axis: int) -> list[tuple[str, Callable[[Any], Any]]]:
    def total(v: Any) -> Any:
        return np.sum(v, axis, keepdims=True)

    return [
        ("the rule of softmax, p (dy - sum(p dy)),", lambda dy: p * (dy - total(p * dy))),
        ("the rule of log_softmax, dy - p sum(dy),", lambda dy: dy - p * total(dy)),
        ("softmax without the factor p in front, dy - sum(p dy),", lambda dy: dy - total(p * dy)),
        ("softmax without p inside the sum, p (dy - sum(dy)),", lambda dy: p * (dy - total(dy))),
        (
            "softmax with a mean for the sum, p (dy - mean(p dy)),",
            lambda dy: p * (dy - np.mean(p * dy, axis, keepdims=True)),
        ),
        ("softmax with p squared in front, p^2 (dy - sum(p dy)),", lambda dy: p * p * (dy - total(p * dy))),
        ("softmax with a plus, p (dy + sum(p dy)),", lambda dy: p * (dy + total(p * dy))),
        ("softmax without the factor dy in the first term, p - p sum(p dy),", lambda dy: p - p * total(p * dy)),
        ("softmax without its first term, -p sum(p dy),", lambda dy: -p * total(p * dy)),
        ("softmax without its second term, p dy,", lambda dy: p * dy),
        ("log_softmax without its first term, -p sum(dy),", lambda dy: -p * total(dy)),
        ("log_softmax with a plus, dy + p sum(dy),", lambda dy: dy + p * total(dy)),
        ("log_softmax without the sum, dy - p dy,", lambda dy: dy - p * dy),
    ]
