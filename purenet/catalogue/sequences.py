"""Rows of embeddings, positions, attention and recurrent networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import layers
from .draws import FEATURES, SEQUENCES, integers, normal, one, together
from .row import Draw, Row

TIME, STEPS, SIZE, VOCABULARY, UNITS = 5, 4, 6, 6, 6
SERIES = normal(TIME, FEATURES)


def rows() -> list[Row]:
    attention = [*packed_attention(), *attention_with_more(), *other_attention()]
    return [*embeddings(), *positions(), *attention, *cells(), *with_lengths(), *recurrences()]


def embeddings() -> list[Row]:
    padded, ids = layers.embedding(VOCABULARY, FEATURES, padding_index=1), integers(VOCABULARY, TIME)
    rows = [Row("embedding", layers.embedding(VOCABULARY, FEATURES), ids), Row("embedding, padding", padded, ids)]
    return [row._replace(value=lambda params, x: np.asarray(params["embedding"])[x], alone=True) for row in rows]


def positions() -> list[Row]:
    heads = normal(TIME, 2, SIZE)
    neighbours = layers.rotary(base=100.0, dimensions=4, interleaved=True)
    return [
        Row("learned_positions", layers.learned_positions(2), SEQUENCES),
        Row("learned_positions, longer table", layers.learned_positions(4, offset=1), SEQUENCES),
        Row("sinusoidal_positions", layers.sinusoidal_positions(), normal(3, 6)),
        Row("rotary", layers.rotary(offset=2), heads),
        Row("rotary, neighbours, positions given", neighbours, together(heads, integers(40, TIME)), alone=True),
    ]


def seen(*shape: int) -> Draw:
    """Two of three are seen; the first example sees nothing."""

    def draw(random: np.random.Generator, batch: int) -> Any:
        return (random.random((batch, *shape)) < 2 / 3) & (np.arange(batch) > 0).reshape(-1, *[1] * len(shape))

    return draw


def documents(random: np.random.Generator, batch: int) -> Any:
    """Two documents and padding in each sequence."""
    return np.tile(np.array([3, 3, 0, 0, -1], np.int32), (batch, 1))


def packed_attention() -> list[Row]:
    attention = layers.packed_attention
    longer = normal(16, 64)  # where scores are few, XLA:CPU's copies of queries decide about the temporary bytes
    windowed = attention(3, window=1, alibi=True, softcap=1.5)
    normed = attention(2, kv_heads=1, qk_norm=layers.rms_norm(eps=1e-6), rotary=layers.rotary())
    return [
        Row("packed_attention", attention(2), normal(TIME, 6 * SIZE)),
        Row("packed_attention, causal", attention(2, causal=True), normal(TIME, 6 * SIZE)),
        Row("packed_attention, grouped", attention(4, kv_heads=2, causal=True), longer),
        Row("packed_attention, blocks", attention(4, kv_heads=2, causal=True, block=(5, 7)), longer),
        Row("packed_attention, window, alibi and soft cap", windowed, normal(TIME, 9 * SIZE)),
        Row("packed_attention, norm and rotary", normed, normal(TIME, 4 * SIZE)),
    ]


def attention_with_more() -> list[Row]:
    attention = layers.packed_attention
    by_document = attention(4, kv_heads=2, causal=True, softcap=2.0, block=2)
    packed = normal(TIME, 6 * SIZE)
    rows = [
        Row("packed_attention, padding", attention(2), together(packed, seen(TIME))),
        Row("packed_attention, bias", attention(2), together(packed, normal(2, TIME, TIME))),
        Row("packed_attention, blocks and documents", by_document, together(normal(TIME, 8 * SIZE), documents)),
    ]
    return [row._replace(alone=True) for row in rows]


def other_attention() -> list[Row]:
    attention, multi_head = layers.dot_product_attention, layers.multi_head_attention
    parts = normal(TIME, 2 * SIZE), normal(STEPS, SIZE), normal(STEPS, 3)
    # No bias: that of the keys moves all scores of a query alike, and its gradient is zero.
    cross = layers.cross_attention(2, use_bias=False)
    multi = multi_head(2, features=7, head_features=3, use_bias=False)
    three = together(normal(TIME, 8), normal(STEPS, 5), normal(STEPS, 7), seen(TIME, STEPS))
    end = attention(2, kv_heads=1, causal=True, offset="end")
    blocks = attention(2, kv_heads=1, causal=True, offset=1, block=(3, 2))
    rows = [
        Row("dot_product_attention", end, together(*parts)),
        Row("dot_product_attention, blocks, bias", blocks, together(*parts, normal(1, STEPS))),
        Row("cross_attention", cross, together(normal(TIME, 8), normal(STEPS, 5))),
        Row("multi_head_attention", multi, three),
    ]
    own = layers.self_attention(2, rotary=layers.rotary())
    return [Row("self_attention", own, normal(TIME, 2 * SIZE)), *(row._replace(alone=True) for row in rows)]


def lengths(random: np.random.Generator, batch: int) -> Any:
    """Of every size, none and all of the steps among them."""
    return np.arange(batch, dtype=np.int32) * 2 % (TIME + 1)


MASKED = together(SERIES, lengths)


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
        Row("without_lengths", layers.without_lengths(layers.dense(UNITS)), MASKED),
    ]
    return [row._replace(alone=True) for row in rows]


def recurrences() -> list[Row]:
    recurrence = layers.linear_recurrence
    backwards = recurrence(method="sequential", reverse=True)
    from_a_state = together(SERIES, SERIES, normal(FEATURES))
    return [
        Row("linear_recurrence", recurrence(), together(SERIES, SERIES), alone=True),
        Row("linear_recurrence, sequential, reversed", backwards, from_a_state, alone=True),
    ]
