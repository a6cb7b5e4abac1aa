"""The gradient by differences of the forward alone, element by element: the reference where jax.grad cannot go.

NumPy, SciPy, Python loops over numbers, callbacks, C code and `while_loop` have no derivative in JAX. A five-point
stencil in float64 at a step of 1e-4 of an element was right to 2e-10 of the largest on eleven smooth functions; an
element that a smaller step moves is near a kink, and the smaller step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arbiter import value_along
from .vocabulary import size_of

MOST = 4000  # numbers, each of which takes eight values of the forward
STEPS = 1e-4, 1e-6
TOLERANCE = 1e-6  # of a leaf's largest value


def differences(
    forward: Callable[..., list[Any]], leaves: Sequence[Any], dys: Sequence[Any], name: str = "the forward"
) -> tuple[list[Any], list[Any]]:
    """(outputs, the gradient of <dy, forward> by each leaf)."""
    leaves, dys = [np.asarray(leaf) for leaf in leaves], [np.asarray(dy) for dy in dys]
    count = sum(leaf.size for leaf in leaves)
    if count > MOST:
        raise ValueError(
            f"check: jax.grad cannot differentiate {name}, and differences of {count} numbers take {8 * count} of its "
            f"values: pass at most {MOST} numbers, or reference=..., a function that jax.grad differentiates"
        )
    coarse, fine = ([slopes(forward, leaves, dys, i, step) for i in range(len(leaves))] for step in STEPS)
    gradients = [
        np.where(np.abs(a - b) > TOLERANCE * np.max(np.abs(b), initial=0.0), b, a)
        for a, b in zip(coarse, fine, strict=True)
    ]
    return [np.asarray(y) for y in forward(*leaves)], gradients


def slopes(forward: Callable[..., list[Any]], leaves: list[Any], dys: list[Any], i: int, step: float) -> Any:
    """The slope by each element of leaf i."""
    leaf, found = leaves[i], np.zeros(leaves[i].shape)
    typical = 0.1 * size_of(leaf)
    for place in map(tuple, np.argwhere(np.isfinite(leaf))):
        direction = np.zeros(leaf.shape)
        direction[place] = 1.0
        value, h = value_along(forward, leaves, dys, i, direction), step * max(abs(float(leaf[place])), typical, 1e-3)
        found[place] = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
    return found
