"""Entries of recurrent networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import layers
from .inputs import BATCH, FEATURES, Row, normal

TIME, UNITS = 4, 5

SERIES = normal(BATCH, TIME, FEATURES)


def masked(random: np.random.Generator) -> Any:
    return SERIES(random), np.array([TIME, 0, 1, 3, 2], np.int32)


def states(random: np.random.Generator) -> Any:
    return SERIES(random), SERIES(random), random.normal(size=(BATCH, FEATURES))


def rows() -> list[Row]:
    lstm, gru = layers.lstm(UNITS), layers.gru(UNITS)
    sequential = layers.linear_recurrence(method="sequential", reverse=True)
    return [
        ("rnn", layers.rnn(UNITS), SERIES),
        ("rnn, relu, reversed, lengths", layers.rnn(UNITS, activation="relu", reverse=True), masked),
        ("gru", gru, SERIES),
        ("gru, reset before the product", layers.gru(UNITS, reset_after=False), SERIES),
        ("lstm", lstm, SERIES),
        ("lstm, lengths", lstm, masked),
        ("lstm, gates kept", layers.lstm(UNITS, keep="gates"), SERIES),
        ("lstm, the last state", layers.lstm(UNITS, last_only=True), masked),
        ("lstm, 40 steps of one example", lstm, normal(40, FEATURES)),
        ("linear_recurrence", layers.linear_recurrence(), states),
        ("linear_recurrence, sequential, reversed", sequential, lambda random: states(random)[:2]),
        ("bidirectional", layers.bidirectional(gru, layers.lstm(UNITS, reverse=True)), masked),
        ("stacked_rnn", layers.stacked_rnn(lstm, gru), masked),
        ("without_lengths", layers.without_lengths(layers.dense(UNITS)), masked),
    ]
