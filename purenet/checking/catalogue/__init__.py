"""Everything purenet has a backward for, each with an input at which its gradient says something.

`python -m purenet check` checks these on the machine it runs on. An entry is named after its constructor, with the
variant after a comma. Inputs lie on both sides of every kink and reach into both tails; no value of them lies on a
kink. They come from NumPy, one generator an entry, so that no entry changes when another one is added, and JAX is
asked for nothing before the first check.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...annotations import PyTree
from ...layer import Layer
from . import (
    activations,
    attention,
    combinators,
    convolution,
    embedding,
    layers,
    losses,
    networks,
    normalisation,
    pooling,
    recurrent,
    resizing,
    units,
)

SUBJECTS = (
    activations,
    layers,
    convolution,
    pooling,
    resizing,
    normalisation,
    embedding,
    attention,
    recurrent,
    units,
    losses,
    networks,
    combinators,
)


class Entry(NamedTuple):
    """One check of the catalogue: `purenet.check(target, x)`."""

    name: str
    target: Layer
    x: PyTree


def catalogue(seed: int = 0) -> list[Entry]:
    """One entry for every public layer, loss and combinator, and for the variants that take another way through it."""
    rows = [row for subject in SUBJECTS for row in subject.rows()]
    return [Entry(name, target, draw(generator(seed, name))) for name, target, draw in rows]


def constructor(entry: Entry) -> str:
    """The public name an entry is about."""
    return entry.name.split(",")[0]


def generator(seed: int, name: str) -> np.random.Generator:
    """The source of one entry's input, which depends on no other entry."""
    return np.random.default_rng([seed, *name.encode()])
