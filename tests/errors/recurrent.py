"""Bad input to recurrent networks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn

from .calls import Table, forward, fresh, init, params_of

X = jnp.ones((4, 5, 7))
LSTM = pn.lstm(6)


def lengths(*values: int) -> Any:
    return X, np.array(values)


def init_and_run(x: Any) -> Any:
    """Of the linear recurrence, which has no parameters."""
    return forward(pn.linear_recurrence(), (), x)


TABLE: Table = {
    "rnn: no features": (lambda: pn.rnn(0), ValueError, "rnn: expected features of at least 1, got 0"),
    "rnn: unknown activation": (
        lambda: pn.rnn(6, activation="gelu"),
        ValueError,
        'rnn: expected activation "tanh" or "relu", got \'gelu\'',
    ),
    "gru: stateful and reversed": (
        lambda: pn.gru(6, reverse=True, stateful=True),
        ValueError,
        "gru: expected reverse or stateful, got both",
    ),
    "lstm: forget bias without bias": (
        lambda: pn.lstm(6, use_bias=False, unit_forget_bias=True),
        ValueError,
        "lstm: expected use_bias with unit_forget_bias",
    ),
    "lstm: unknown to keep": (
        lambda: pn.lstm(6, keep="inputs"),
        ValueError,
        'lstm: expected keep="states" or "gates", got \'inputs\'',
    ),
    "lstm: no time axis": (
        init(LSTM, jnp.ones(7)),
        ValueError,
        r"lstm: expected x \[..., time, in\] with at least one step and feature, got float32 \[7\]",
    ),
    "lstm: no step": (
        fresh(LSTM, X, X[:, :0]),
        ValueError,
        r"with at least one step and feature, got float32 \[4, 0, 7\]",
    ),
    "lstm: integers": (fresh(LSTM, X, X.astype(int)), TypeError, "lstm: expected x of a floating dtype, got int32"),
    "lstm: another number of features": (
        fresh(LSTM, X, X[..., :3]),
        ValueError,
        r"lstm: expected x \[..., time, 7\] for kernel \[7, 24\], got float32 \[4, 5, 3\]",
    ),
    "lstm: another cell's parameters": (
        forward(LSTM, params_of(pn.gru(6), X), X),
        ValueError,
        r"lstm: expected parameters \['bias', 'kernel', 'recurrent_kernel'\], got dict with",
    ),
    "lstm: another width's parameters": (
        forward(LSTM, params_of(pn.lstm(5), X), X),
        ValueError,
        r"lstm: expected bias \[24\] for 6 features, got float32 \[20\]",
    ),
    "lstm: three in x": (
        fresh(LSTM, X, (X, X, X)),
        TypeError,
        r"expected x as one array or a pair \(inputs, lengths\)",
    ),
    "lstm: lengths of another shape": (
        fresh(LSTM, X, lengths(1, 2, 3)),
        ValueError,
        r"lstm: expected lengths \[4\] for inputs \[4, 5, 7\], got int\d+ \[3\]",
    ),
    "lstm: floating lengths": (
        fresh(LSTM, X, (X, jnp.ones(4))),
        TypeError,
        r"lstm: expected lengths of an integer dtype, got float32 \[4\]",
    ),
    "lstm: lengths in a list": (
        lambda: LSTM.init(jax.random.key(0), (X, [1, 2, 3, 4])),
        TypeError,
        "lstm: expected lengths as one array of integers, got list of 4",
    ),
    "lstm: too long": (
        lambda: LSTM.init(jax.random.key(0), lengths(5, 6, 0, 1)),
        ValueError,
        r"lstm: expected lengths in 0..5, got 6 at \(",
    ),
    "lstm: negative lengths": (
        lambda: LSTM.init(jax.random.key(0), lengths(5, -1, 0, 1)),
        ValueError,
        r"expected lengths in 0..5, got -1 at \(",
    ),
    "lstm: state of another batch": (
        fresh(pn.lstm(6, stateful=True), X, X[:3]),
        ValueError,
        r"lstm: expected x with leading axes \[4\], those of the state, got float32 \[3, 5, 7\]: a state belongs",
    ),
    "lstm: another layer's state": (
        forward(pn.lstm(6, stateful=True), params_of(LSTM, X), X, jnp.zeros((4, 6))),
        ValueError,
        "lstm: expected the state that init gives, tuple of 2",
    ),
    "linear_recurrence: method": (
        lambda: pn.linear_recurrence(method="scan"),
        ValueError,
        'linear_recurrence: expected method "associative" or "sequential", got \'scan\'',
    ),
    "linear_recurrence: one array": (
        init_and_run(X),
        TypeError,
        r"linear_recurrence: expected x as \(a, b\) or \(a, b, h\), got float32 \[4, 5, 7\]",
    ),
    "linear_recurrence: a of each feature": (
        init_and_run((X[0, 0], X)),
        ValueError,
        r"linear_recurrence: expected a \[..., time, features\] with at least one step, got float32 \[7\]",
    ),
    "linear_recurrence: a of each example": (
        init_and_run((X[:, :, :1], X)),
        ValueError,
        r"expected a and b of one shape, got float32 \[4, 5, 1\] and float32 \[4, 5, 7\]: broadcast them",
    ),
    "linear_recurrence: h of one example": (
        init_and_run((X, X, X[0, 0])),
        ValueError,
        r"linear_recurrence: expected h \[4, 7\] for a \[4, 5, 7\], got float32 \[7\]",
    ),
    "linear_recurrence: integers": (init_and_run((X, X.astype(int))), TypeError, "expected b of a floating dtype"),
    "linear_recurrence: two dtypes": (
        init_and_run((X, X.astype(jnp.bfloat16))),
        TypeError,
        "linear_recurrence: expected a, b and h of one dtype",
    ),
    "linear_recurrence: no step": (
        init_and_run((X[:, :0], X[:, :0])),
        ValueError,
        r"with at least one step, got float32 \[4, 0, 7\]",
    ),
    "bidirectional: twice the same way": (
        lambda: pn.bidirectional(pn.lstm(6), pn.lstm(6)),
        ValueError,
        "bidirectional: expected a layer and then one with reverse=True, got lstm and lstm",
    ),
    "bidirectional: the first reversed": (
        lambda: pn.bidirectional(pn.gru(6, reverse=True), pn.gru(6, reverse=True)),
        ValueError,
        "bidirectional: expected a layer and then one with reverse=True, got reversed_gru and reversed_gru",
    ),
    "stacked: no layers": (lambda: pn.stacked_rnn(), ValueError, "stacked_rnn: expected at least one layer, got none"),
    "stacked: the path": (
        init(pn.stacked_rnn(pn.lstm(6), pn.rnn(6)), lengths(1, 2)),
        ValueError,
        r"serial\[0\].lstm: expected lengths \[4\]",
    ),
    "without_lengths: dense alone takes no pair": (
        init(pn.stacked_rnn(pn.dense(6), pn.rnn(6)), lengths(1, 2, 3, 4)),
        TypeError,
        r"serial\[0\].dense: expected x as one array, got tuple of 2",
    ),
}
