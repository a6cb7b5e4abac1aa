"""Positions."""

from __future__ import annotations

from typing import Any

import numpy as np

VOCABULARY, TIME, HEADS, SIZE = 6, 5, 2, 6


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


def learned(params: Any, x: Any) -> Any:
    """The table as long as x, or x in it from the second place on."""
    table = np.asarray(params["embedding"])
    return np.asarray(x) + (table if len(table) == x.shape[-2] else table[1 : 1 + x.shape[-2]])


VALUES = {
    "learned_positions": learned,
    "learned_positions, longer table": learned,
    "sinusoidal_positions": sinusoidal,
    "rotary": turned_halves,
    "rotary, neighbours, positions given": turned_neighbours,
}
