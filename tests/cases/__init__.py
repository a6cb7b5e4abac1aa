"""The one table: a row a layer, a loss or a combination. Every property in test_properties.py runs over every row.

A new layer is one row in the file of its subject: its constructor, the input it takes, and an independent function
for its forward values.
"""

from __future__ import annotations

from . import (
    activations,
    attention,
    combinators,
    convolution,
    embedding,
    layers,
    losses,
    models,
    networks,
    normalisation,
    pooling,
    recurrent,
    resizing,
    units,
)
from .case import FEATURES as FEATURES, Case as Case

ACTIVATIONS = activations.ROWS

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
    combinators,
    networks,
    models,
    losses,
)
CASES = [row for subject in SUBJECTS for row in subject.ROWS]
