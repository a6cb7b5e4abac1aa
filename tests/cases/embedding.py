"""Rows of embeddings and positions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn

from .case import FEATURES, Case, sequence

VOCABULARY, TIME, HEADS, SIZE = 6, 5, 2, 6


def tokens(key: Any, batch: int) -> Any:
    return jax.random.randint(key, (batch, TIME), 0, VOCABULARY, jnp.int32)


def heads(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, TIME, HEADS, SIZE))


def placed_heads(key: Any, batch: int) -> Any:
    return heads(key, batch), jax.random.randint(jax.random.fold_in(key, 1), (batch, TIME), 0, 40, jnp.int32)


def looked_up(params: Any, x: Any) -> Any:
    one_hot = np.eye(VOCABULARY)[np.asarray(x)]
    return one_hot @ np.asarray(params["embedding"])


def learned(params: Any, x: Any) -> Any:
    return np.asarray(x) + np.asarray(params["embedding"])[1 : 1 + x.shape[-2]]


def sinusoidal(params: Any, x: Any) -> Any:
    time, features = x.shape[-2:]
    table = np.zeros((time, features))
    for t in range(time):
        for i in range(features):
            angle = t / 10000 ** (2 * (i // 2) / features)
            table[t, i] = np.cos(angle) if i % 2 else np.sin(angle)
    return np.asarray(x) + table


def turned(x: Any, positions: Any, pairs: list[tuple[int, int]], base: float) -> Any:
    """Each pair as a complex number, times exp(i angle)."""
    y = np.array(x)
    for i, (first, second) in enumerate(pairs):
        angle = np.asarray(positions) / base ** (i / len(pairs))
        turned = (y[..., first] + 1j * y[..., second]) * np.exp(1j * angle)[..., None]
        y[..., first], y[..., second] = turned.real, turned.imag
    return y


def turned_halves(params: Any, x: Any) -> Any:
    return turned(x, np.arange(TIME) + 2, [(0, 3), (1, 4), (2, 5)], 10000)


def turned_neighbours(params: Any, x: Any) -> Any:
    return turned(x[0], x[1], [(0, 1), (2, 3)], 100)


NEIGHBOURS = pn.rotary(base=100.0, dimensions=4, interleaved=True)

ROWS = [
    Case("embedding", pn.embedding(VOCABULARY, FEATURES), tokens, looked_up, alone=True),
    Case("embedding_padding", pn.embedding(VOCABULARY, FEATURES, padding_index=1), tokens, looked_up, alone=True),
    Case("learned_positions", pn.learned_positions(4, offset=1), sequence, learned),
    Case("sinusoidal_positions", pn.sinusoidal_positions(), sequence, sinusoidal),
    Case("rotary", pn.rotary(offset=2), heads, turned_halves),
    Case("rotary_interleaved", NEIGHBOURS, placed_heads, turned_neighbours, alone=True),
]
