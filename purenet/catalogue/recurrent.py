"""Rows of recurrent networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import layers
from .draws import FEATURES, affine, normal, one, together
from .row import Row

TIME, UNITS = 5, 6
SERIES = normal(TIME, FEATURES)
STATES = together(SERIES, SERIES)


def lengths(random: np.random.Generator, batch: int) -> Any:
    """Of every size, none and all of the steps among them."""
    return np.arange(batch, dtype=np.int32) * 2 % (TIME + 1)


MASKED = together(SERIES, lengths)


def rows() -> list[Row]:
    return [*cells(), *with_lengths(), *recurrences()]


def cells() -> list[Row]:
    lstm, gru, rnn = layers.lstm, layers.gru, layers.rnn
    return [
        Row("rnn", rnn(UNITS), SERIES),
        Row("rnn, relu, reversed", rnn(UNITS, activation="relu", reverse=True), SERIES),
        Row("gru", gru(UNITS), SERIES),
        Row("lstm", lstm(UNITS), SERIES),
        Row("lstm, the last state", lstm(UNITS, last_only=True, use_bias=False), SERIES),
        Row("lstm, stateful", lstm(UNITS, stateful=True), SERIES, batched=False),
        Row("lstm, 40 steps of one example", lstm(UNITS), one(40, FEATURES), batched=False),
    ]


def with_lengths() -> list[Row]:
    lstm, gru = layers.lstm, layers.gru
    stacked = layers.stacked_rnn(lstm(4), layers.without_lengths(layers.tanh()), gru(UNITS, last_only=True))
    rows = [
        Row("gru, reset before the product", gru(UNITS, reset_after=False), MASKED),
        Row("gru, the last state, reversed", gru(UNITS, reverse=True, last_only=True), MASKED),
        Row("lstm, lengths", lstm(UNITS, unit_forget_bias=True), MASKED),
        Row("lstm, gates kept", lstm(UNITS, keep="gates", reverse=True), MASKED),
        Row("bidirectional", layers.bidirectional(gru(UNITS), lstm(4, reverse=True)), MASKED),
        Row("stacked_rnn", stacked, MASKED),
        Row(
            "without_lengths",
            layers.without_lengths(layers.dense(UNITS)),
            MASKED,
            lambda params, x: affine(params, x[0]),
        ),
    ]
    return [row._replace(alone=True) for row in rows]


def recurrences() -> list[Row]:
    recurrence = layers.linear_recurrence
    backwards = recurrence(method="sequential", reverse=True)
    from_a_state = together(SERIES, SERIES, normal(FEATURES))
    return [
        Row("linear_recurrence", recurrence(), STATES, alone=True),
        Row("linear_recurrence, sequential, reversed", backwards, from_a_state, alone=True),
    ]
