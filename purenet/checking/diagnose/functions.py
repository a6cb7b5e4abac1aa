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


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, -1, keepdims=True))
    return e / np.sum(e, -1, keepdims=True)


def along_rows(y: Any, dy: Any) -> Any:
    return y * (dy - np.sum(y * dy, -1, keepdims=True))


ROW_RULES: list[tuple[str, Callable[[Any, Any, Any], Any]]] = [
    ("the rule of softmax", lambda x, y, dy: along_rows(softmax(x), dy) if x.ndim else None),
    ("the rule of softmax, with its output as probabilities,", lambda x, y, dy: along_rows(y, dy) if x.ndim else None),
    (
        "the rule of log_softmax",
        lambda x, y, dy: dy - softmax(x) * np.sum(dy, -1, keepdims=True) if x.ndim else None,
    ),
    (
        "the rule of log_softmax, with its output as probabilities,",
        lambda x, y, dy: dy - y * np.sum(dy, -1, keepdims=True) if x.ndim else None,
    ),
]
