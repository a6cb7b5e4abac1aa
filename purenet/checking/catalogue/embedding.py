"""Entries of embeddings and positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import layers
from .inputs import SEQUENCES, Row, normal

VOCABULARY = 5


def tokens(random: np.random.Generator) -> Any:
    """Integers with repetitions; the first and the last one are among them."""
    inner = random.integers(0, VOCABULARY, 10)
    return random.permutation([0, VOCABULARY - 1, *inner]).reshape(3, 4).astype(np.int32)


def placed_heads(random: np.random.Generator) -> Any:
    return random.normal(size=(3, 4, 2, 6)), random.integers(0, 40, (3, 4)).astype(np.int32)


HEADS = normal(3, 4, 2, 6)


def rows() -> list[Row]:
    neighbours = layers.rotary(dimensions=4, interleaved=True)
    return [
        ("embedding", layers.embedding(VOCABULARY, 3), tokens),
        ("embedding, padding", layers.embedding(VOCABULARY, 3, padding_index=0), tokens),
        ("learned_positions", layers.learned_positions(2), SEQUENCES),
        ("learned_positions, longer table", layers.learned_positions(5, offset=1), SEQUENCES),
        ("sinusoidal_positions", layers.sinusoidal_positions(), SEQUENCES),
        ("rotary", layers.rotary(), HEADS),
        ("rotary, neighbours", neighbours, HEADS),
        ("rotary, positions given", layers.rotary(base=100.0), placed_heads),
    ]
