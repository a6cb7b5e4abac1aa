"""What a row says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..annotations import PyTree
from ..layer import Layer

BATCH = 5

Draw = Callable[[np.random.Generator, int], Any]
Value = Callable[[Any, Any], Any]


class Row(NamedTuple):
    """One layer and one way through it.

    `name` is that of the constructor, with the variant after a comma. `x(random, batch)` draws an input from NumPy: on
    both sides of every kink, into both tails, and on no kink. `value(params, x) -> y` is what `predict` gives,
    computed by something that is not purenet; the longer ones stand in tests/values under the row's name.

    `batched`: x has a leading axis of independent examples, so that vmap over it must give the same.
    `random`: forward draws, so that it differs from predict. `statistics`: forward takes those of the batch, predict
    frozen ones. `reduction`: of a loss, how examples are combined. `bound` of the gradient's relative error in
    float64, at most 1e-12. `vacuous`: some gradients are zero by design. `alone`: input or output is not one floating
    array, so that no dense layer can stand beside it.
    """

    name: str
    layer: Layer
    x: Draw
    value: Value | None = None
    batched: bool = True
    random: bool = False
    statistics: bool = False
    reduction: str | None = None
    bound: float = 1e-13
    vacuous: bool = False
    alone: bool = False

    @property
    def constructor(self) -> str:
        return self.name.split(",")[0]


def input_of(row: Row, seed: int = 0, batch: int = BATCH) -> PyTree:
    """Its input, from a generator of its own, so that no row changes when another one is added."""
    return row.x(np.random.default_rng([seed, *row.name.encode()]), batch)
