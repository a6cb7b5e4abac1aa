"""Faulty backward passes as data, with their right twins: what a check must find, name and leave alone.

One module a subject; each has FAULTS and RIGHTS. A new mistake is one row.
"""

from . import (
    activations,
    attention,
    binary_losses,
    blocks,
    class_losses,
    combinators,
    convolution,
    dense,
    dense_activations,
    embedding,
    gated_activations,
    library_losses,
    misc,
    networks,
    norms,
    recurrent,
    regression_losses,
    softmax,
    stopped,
    sums,
)
from .rows import KINDS as KINDS, Fault as Fault, Right as Right

SUBJECTS = (
    dense,
    activations,
    gated_activations,
    dense_activations,
    norms,
    softmax,
    regression_losses,
    binary_losses,
    class_losses,
    library_losses,
    attention,
    convolution,
    recurrent,
    embedding,
    networks,
    combinators,
    blocks,
    sums,
    stopped,
    misc,
)
FAULTS: list[Fault] = [row for subject in SUBJECTS for row in subject.FAULTS]
RIGHTS: list[Right] = [row for subject in SUBJECTS for row in subject.RIGHTS]
