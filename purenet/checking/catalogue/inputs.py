"""Inputs that several entries draw, all from NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...layer import Layer

BATCH, FEATURES = 5, 7

Draw = Callable[[np.random.Generator], Any]
Row = tuple[str, Layer, Draw]


def normal(*shape: int) -> Draw:
    return lambda random: random.normal(size=shape)


def spread(random: np.random.Generator) -> Any:
    """Values from -8 to 8 in equal steps, shaken and shuffled: both sides of 0, 1, 3 and 6, and both tails."""
    values = np.linspace(-8, 8, BATCH * FEATURES) + random.uniform(-0.2, 0.2, BATCH * FEATURES)
    return random.permutation(values).reshape(BATCH, FEATURES)


def pair(predictions: Draw, targets: Draw) -> Draw:
    return lambda random: (predictions(random), targets(random))


def unit_interval(random: np.random.Generator) -> Any:
    """From 0.02 to 0.98, on both sides of a clip at 0.1 and 0.9."""
    return random.permutation(np.linspace(0.02, 0.98, BATCH * FEATURES)).reshape(BATCH, FEATURES)


def hard_and_soft(random: np.random.Generator) -> Any:
    """Labels in [0, 1], half of them 0 or 1 themselves."""
    soft = random.uniform(size=(BATCH, FEATURES))
    return np.where(random.random(soft.shape) < 0.5, np.round(soft), soft)


def signs(random: np.random.Generator) -> Any:
    return random.choice([-1.0, 1.0], (BATCH, FEATURES))


def counts(random: np.random.Generator) -> Any:
    return random.integers(0, 6, (BATCH, FEATURES)).astype(float)


def distributions(random: np.random.Generator) -> Any:
    return random.dirichlet(np.ones(FEATURES), BATCH)


def log_distributions(random: np.random.Generator) -> Any:
    return np.log(random.dirichlet(np.ones(FEATURES), BATCH))


def one_hot(random: np.random.Generator) -> Any:
    return np.eye(FEATURES)[labels(random)]


def labels(random: np.random.Generator) -> Any:
    """Integer classes; the first and the last one are among them."""
    inner = random.integers(0, FEATURES, BATCH - 2)
    return random.permutation([0, FEATURES - 1, *inner]).astype(np.int32)


def sequence_labels(random: np.random.Generator) -> Any:
    return random.integers(0, FEATURES, (3, 2)).astype(np.int32)


def some_ignored(random: np.random.Generator) -> Any:
    return np.where(np.arange(BATCH) % 2 == 1, -1, labels(random)).astype(np.int32)


def masked_examples(random: np.random.Generator) -> Any:
    return labels(random), np.arange(BATCH) % 3 != 1


def masked_classes(random: np.random.Generator) -> Any:
    """Two classes are left out, another two in each example; the label's own never is."""
    chosen = labels(random)
    hidden = (chosen[:, None] + np.array([2, 4])) % FEATURES
    return chosen, ~np.any(np.arange(FEATURES) == hidden[..., None], 1)


FEATURE_ROWS = normal(BATCH, FEATURES)
SEQUENCES = normal(3, 2, FEATURES)
