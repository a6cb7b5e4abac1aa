"""Faulty backward passes as data, with their right twins: what a check must find, name and leave alone.

One module a subject; each has FAULTS and RIGHTS. A new mistake is one row.
"""

from . import (
    activations,
    attention,
    convolution,
    dense,
    embedding,
    misc,
    networks,
    norms,
    recurrent,
    softmax_and_losses,
)
from .rows import KINDS as KINDS, Fault as Fault, Right as Right

SUBJECTS = (
    dense,
    activations,
    norms,
    softmax_and_losses,
    attention,
    convolution,
    recurrent,
    embedding,
    networks,
    misc,
)
FAULTS: list[Fault] = [row for subject in SUBJECTS for row in subject.FAULTS]
RIGHTS: list[Right] = [row for subject in SUBJECTS for row in subject.RIGHTS]
