"""Rows of recurrent networks. Values: the equations of PyTorch's and ONNX's documentation, one example and one step
at a time in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.special import expit

import purenet as pn

from .case import FEATURES, Case

TIME, UNITS = 5, 6

Step = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def series(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, TIME, FEATURES))


def masked_series(key: Any, batch: int) -> Any:
    """Lengths of every size, none and all of the steps among them."""
    return series(key, batch), jax.numpy.arange(batch, dtype=np.int32) * 2 % (TIME + 1)


def states(key: Any, batch: int) -> Any:
    """(a, b) and the state before the first step."""
    a, b, h = (series(k, batch) for k in jax.random.split(key, 3))
    return a, b, h[:, 0]


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


ROWS = [
    Case("rnn", pn.rnn(UNITS), series, unrolled(rnn_step)),
    Case("rnn_relu", pn.rnn(UNITS, activation="relu", reverse=True), series, unrolled(relu_step, reverse=True)),
    Case("gru", pn.gru(UNITS), series, unrolled(gru_step)),
    Case("gru_reset_before", pn.gru(UNITS, reset_after=False), masked_series, unrolled(gru_step), alone=True),
    Case(
        "gru_last_backwards",
        pn.gru(UNITS, reverse=True, last_only=True),
        masked_series,
        unrolled(gru_step, reverse=True, last_only=True),
        alone=True,
    ),
    Case("lstm_last", pn.lstm(UNITS, last_only=True, use_bias=False), series, unrolled(lstm_step, last_only=True)),
    Case("lstm", pn.lstm(UNITS), series, unrolled(lstm_step)),
    Case("lstm_lengths", pn.lstm(UNITS, unit_forget_bias=True), masked_series, unrolled(lstm_step), alone=True),
    Case(
        "lstm_gates_kept",
        pn.lstm(UNITS, keep="gates", reverse=True),
        masked_series,
        unrolled(lstm_step, reverse=True),
        alone=True,
    ),
    Case("lstm_stateful", pn.lstm(UNITS, stateful=True), series, unrolled(lstm_step), batched=False),
    Case(
        "bidirectional", pn.bidirectional(pn.gru(UNITS), pn.lstm(4, reverse=True)), masked_series, both_ways, alone=True
    ),
    Case(
        "linear_recurrence",
        pn.linear_recurrence(),
        lambda key, batch: states(key, batch)[:2],
        one_state_after_the_other,
        alone=True,
    ),
    Case(
        "linear_recurrence_sequential",
        pn.linear_recurrence(method="sequential", reverse=True),
        states,
        backwards(one_state_after_the_other),
        alone=True,
    ),
    Case(
        "stacked_rnn",
        pn.stacked_rnn(pn.lstm(4), pn.without_lengths(pn.tanh()), pn.gru(UNITS, last_only=True)),
        masked_series,
        on_top,
        alone=True,
    ),
]
