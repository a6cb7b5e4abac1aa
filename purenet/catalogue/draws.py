"""Inputs that several rows draw, `draw(random, batch) -> x`, and values that several rows have."""

from __future__ import annotations

from typing import Any

import numpy as np

from .row import Draw

FEATURES = 7


def normal(*shape: int) -> Draw:
    return lambda random, batch: random.normal(size=(batch, *shape))


def one(*shape: int) -> Draw:
    """A single example, or an array whose first axis is none of examples."""
    return lambda random, batch: random.normal(size=shape)


def integers(below: int, *shape: int) -> Draw:
    return lambda random, batch: random.integers(0, below, (batch, *shape)).astype(np.int32)


def together(*draws: Draw) -> Draw:
    return lambda random, batch: tuple(draw(random, batch) for draw in draws)


def spread(random: np.random.Generator, batch: int) -> Any:
    """Values from -8 to 8 in equal steps, shaken and shuffled: both sides of 0, 1, 3 and 6, and both tails."""
    values = np.linspace(-8, 8, batch * FEATURES) + random.uniform(-0.2, 0.2, batch * FEATURES)
    return random.permutation(values).reshape(batch, FEATURES)


def unit_interval(random: np.random.Generator, batch: int) -> Any:
    """From 0.02 to 0.98, on both sides of a clip at 0.1 and 0.9."""
    return random.permutation(np.linspace(0.02, 0.98, batch * FEATURES)).reshape(batch, FEATURES)


def hard_and_soft(random: np.random.Generator, batch: int) -> Any:
    """Labels in [0, 1], half of them 0 or 1 themselves."""
    soft = random.uniform(size=(batch, FEATURES))
    return np.where(random.random(soft.shape) < 0.5, np.round(soft), soft)


def signs(random: np.random.Generator, batch: int) -> Any:
    return random.choice([-1.0, 1.0], (batch, FEATURES))


def counts(random: np.random.Generator, batch: int) -> Any:
    return random.integers(0, 6, (batch, FEATURES)).astype(float)


def distributions(random: np.random.Generator, batch: int) -> Any:
    return random.dirichlet(np.ones(FEATURES), batch)


def log_distributions(random: np.random.Generator, batch: int) -> Any:
    return np.log(random.dirichlet(np.ones(FEATURES), batch))


def labels(random: np.random.Generator, batch: int) -> Any:
    """Integer classes; the first and the last one are among them."""
    inner = random.integers(0, FEATURES, max(batch - 2, 0))
    return random.permutation([0, FEATURES - 1, *inner])[:batch].astype(np.int32)


def one_hot(random: np.random.Generator, batch: int) -> Any:
    return np.eye(FEATURES)[labels(random, batch)]


def some_ignored(random: np.random.Generator, batch: int) -> Any:
    return np.where(np.arange(batch) % 2 == 1, -1, labels(random, batch)).astype(np.int32)


def masked_examples(random: np.random.Generator, batch: int) -> Any:
    return labels(random, batch), np.arange(batch) % 3 != 1


def masked_classes(random: np.random.Generator, batch: int) -> Any:
    """Two classes are left out, another two in each example; the label's own never is."""
    chosen = labels(random, batch)
    hidden = (chosen[:, None] + np.array([2, 4])) % FEATURES
    return chosen, ~np.any(np.arange(FEATURES) == hidden[..., None], 1)


ROWS = normal(FEATURES)
SEQUENCES = normal(2, FEATURES)


def identity(params: Any, x: Any) -> Any:
    return x


def affine(params: Any, x: Any) -> Any:
    y = np.einsum("...i,io->...o", x, params["kernel"])
    return y + np.asarray(params["bias"]) if "bias" in params else y
