"""Recurrent networks: the equations of PyTorch's and ONNX's documentation, one example and one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from purenet.catalogue.draws import affine

TIME, UNITS = 5, 6

Step = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def blocks(matrix: Any, count: int) -> list[Any]:
    return np.split(matrix, count, -1)


def rnn_step(params: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    return np.tanh(x @ params["kernel"] + params["bias"] + h @ params["recurrent_kernel"]), c


def relu_step(params: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    return np.maximum(0, x @ params["kernel"] + params["bias"] + h @ params["recurrent_kernel"]), c


def gru_step(params: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    w_r, w_z, w_n = blocks(params["kernel"], 3)
    u_r, u_z, u_n = blocks(params["recurrent_kernel"], 3)
    b_r, b_z, b_n = blocks(params["bias"], 3)
    r, z = expit(x @ w_r + h @ u_r + b_r), expit(x @ w_z + h @ u_z + b_z)
    if "recurrent_bias" in params:
        n = np.tanh(x @ w_n + b_n + r * (h @ u_n + params["recurrent_bias"]))
    else:
        n = np.tanh(x @ w_n + b_n + (r * h) @ u_n)
    return (1 - z) * n + z * h, c


def lstm_step(params: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    each = zip(blocks(params["kernel"], 4), blocks(params["recurrent_kernel"], 4), strict=True)
    z_i, z_f, z_g, z_o = (x @ w + h @ u for w, u in each)
    b_i, b_f, b_g, b_o = blocks(params["bias"], 4) if "bias" in params else [0, 0, 0, 0]
    c = expit(z_f + b_f) * c + expit(z_i + b_i) * np.tanh(z_g + b_g)
    return expit(z_o + b_o) * np.tanh(c), c


def unrolled(step: Step, *, reverse: bool = False, last_only: bool = False) -> Callable[[Any, Any], Any]:
    def value(params: Any, x: Any) -> Any:
        params = {name: np.asarray(value) for name, value in params.items()}
        x, lengths = x if isinstance(x, tuple) else (x, [x.shape[1]] * len(x))
        units = len(params["recurrent_kernel"])
        y, last = np.zeros((*x.shape[:2], units)), np.zeros((len(x), units))
        for example, length in enumerate(np.asarray(lengths)):
            h = c = np.zeros(units)
            for t in reversed(range(length)) if reverse else range(length):
                h, c = step(params, np.asarray(x[example, t]), h, c)
                y[example, t] = h
            last[example] = h
        return last if last_only else y

    return value


def one_state_after_the_other(params: Any, x: Any) -> Any:
    (a, b), h = map(np.asarray, x[:2]), np.asarray(x[2]) if len(x) > 2 else 0
    y = np.zeros_like(b)
    for t in range(TIME):
        y[:, t] = h = a[:, t] * h + b[:, t]
    return y


def backwards(value: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def reversed_value(params: Any, x: Any) -> Any:
        a, b, *h = x
        return np.flip(value(params, (np.flip(a, 1), np.flip(b, 1), *h)), 1)

    return reversed_value


def both_ways(params: Any, x: Any) -> Any:
    there, back = unrolled(gru_step), unrolled(lstm_step, reverse=True)
    return np.concatenate([there(params["forward"], x), back(params["backward"], x)], -1)


def on_top(params: Any, x: Any) -> Any:
    between = np.tanh(unrolled(lstm_step)(params[0], x))
    return unrolled(gru_step, last_only=True)(params[2], (between, x[1]))


VALUES = {
    "without_lengths": lambda params, x: (affine(params, x[0]), x[1]),
    "rnn": unrolled(rnn_step),
    "rnn, relu, reversed": unrolled(relu_step, reverse=True),
    "gru": unrolled(gru_step),
    "gru, reset before the product": unrolled(gru_step),
    "gru, the last state, reversed": unrolled(gru_step, reverse=True, last_only=True),
    "lstm": unrolled(lstm_step),
    "lstm, the last state": unrolled(lstm_step, last_only=True),
    "lstm, stateful": unrolled(lstm_step),
    "lstm, 40 steps of one example": lambda params, x: unrolled(lstm_step)(params, x[None])[0],
    "lstm, lengths": unrolled(lstm_step),
    "lstm, gates kept": unrolled(lstm_step, reverse=True),
    "bidirectional": both_ways,
    "stacked_rnn": on_top,
    "linear_recurrence": one_state_after_the_other,
    "linear_recurrence, sequential, reversed": backwards(one_state_after_the_other),
}
