"""Independent values of the catalogue's forward passes that are longer than a line, under the names of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from purenet.catalogue import Row

from . import (
    attention,
    convolution,
    embedding,
    losses,
    models,
    networks,
    normalisation,
    pooling,
    recurrent,
    resizing,
    units,
)

SUBJECTS = (
    attention,
    convolution,
    embedding,
    losses,
    models,
    networks,
    normalisation,
    pooling,
    recurrent,
    resizing,
    units,
)
VALUES: dict[str, Callable[[Any, Any], Any]] = {
    name: value for subject in SUBJECTS for name, value in subject.VALUES.items()
}

# They hand values from one layer to the next; the layers have rows of their own. spectral_norm divides by what a power
# iteration in its state has found, which params and x do not say.
COMPOSED = {
    "serial, named",
    "serial, nested",
    "serial, with dropout",
    "residual",
    "residual, of what reads its output",
    "parallel, sum",
    "parallel, mean",
    "parallel, concatenate",
    "parallel, concatenate examples",
    "parallel, of recomputed outputs",
    "compose",
    "repeat",
    "repeat, of what reads its output",
    "repeat, remat",
    "repeat, nested",
    "repeat, reversible",
    "remat",
    "remat, with dropout",
    "frozen, inside",
    "tied, three uses",
    "with_dtype, repeat",
    "with_dtype, of what reads its output",
    "objective",
    "objective, predictions recomputed",
    "objective, predictions kept",
    "objective, of a vae",
    "head_objective",
    "spectral_norm",
}


def value_of(row: Row) -> Callable[[Any, Any], Any] | None:
    """What `predict` gives, by something that is not purenet."""
    return row.value or VALUES.get(row.name)
