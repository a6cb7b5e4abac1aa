"""Finite differences: the second leg of a gradient that agrees with jax.grad, the arbiter of one that does not.

Of two gradients that differ the forward itself decides, along the direction in which they differ most: a five-point
stencil in float64, at a ladder of steps; the step whose neighbour changes it least is taken, and that change is its
error estimate. A gradient that agrees is compared with two values of the forward, along one random direction a leaf,
and with the stencil only where those disagree.
Fornberg, *Generation of finite difference formulas on arbitrarily spaced grids* (1988).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .vocabulary import JAX, norm, size_of

LADDER = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
SETTLED = 1e-9  # a change that makes a smaller step needless
QUICK, AGREES = 1e-5, 1e-4  # the step of two values, relative to the leaf, and how well they must agree

YOURS, NEITHER = "yours", "neither"


class Ruling(NamedTuple):
    """Whom finite differences side with, in one leaf; `error` is their own, relative to the disagreement."""

    side: str
    error: float


def arbitrate(
    forward: Callable[..., list[Any]], leaves: Sequence[Any], dys: Sequence[Any], i: int, candidate: Any, reference: Any
) -> Ruling:
    """Whose gradient of leaf i is the derivative of the forward."""
    difference = np.where(np.isfinite(reference), candidate - np.where(np.isfinite(reference), reference, 0), candidate)
    if not np.all(np.isfinite(difference)) or not norm(difference):
        return Ruling(NEITHER, np.inf)
    direction = difference / norm(difference)
    slope, error = slope_along(forward, leaves, dys, i, direction)
    candidate_slope, finite = float(np.sum(direction * candidate)), bool(np.all(np.isfinite(reference)))
    reference_slope = float(np.sum(direction * reference)) if finite else 0.0
    gap = abs(candidate_slope - reference_slope)
    if not np.isfinite(slope) or error > 0.05 * gap:
        return Ruling(NEITHER, error / gap if gap else np.inf)
    if abs(slope - candidate_slope) <= 0.05 * gap:
        return Ruling(YOURS, error / gap)
    agrees = finite and abs(slope - reference_slope) <= 0.05 * gap
    return Ruling(JAX if agrees else NEITHER, error / gap)


def sides(
    forward: Callable[..., list[Any]], leaves: Sequence[Any], dys: Sequence[Any], i: int, direction: Any, middle: float
) -> tuple[float, float]:
    """The slopes below and above leaf i along a direction, from two values of the forward and <dy, y> itself."""
    step, value = QUICK * size_along(leaves[i], direction), value_along(forward, leaves, dys, i, direction)
    return (middle - value(-step)) / step, (value(step) - middle) / step


def contradicted(
    forward: Callable[..., list[Any]], leaves: Sequence[Any], dys: Sequence[Any], i: int, gradient: Any, direction: Any
) -> tuple[float, float] | None:
    """(the forward's slope along a direction of leaf i, the gradient's) where they differ for certain; else None."""
    claimed = float(np.sum(direction * gradient))
    slope, error = slope_along(forward, leaves, dys, i, direction)
    close = abs(slope - claimed) <= max(100 * error, AGREES * max(abs(claimed), abs(slope)))
    return None if close or not np.isfinite(slope) else (slope, claimed)


def size_along(leaf: Any, direction: Any) -> float:
    return max(size_of(leaf), 1e-3) * float(np.sqrt(np.size(direction)))


def value_along(
    forward: Callable[..., list[Any]], leaves: Sequence[Any], dys: Sequence[Any], i: int, direction: Any
) -> Callable[[float], float]:
    """<dy, forward> as a function of the step in a direction of leaf i."""

    def value(step: float) -> float:
        moved = [leaf + step * direction if k == i else leaf for k, leaf in enumerate(leaves)]
        return inner(forward(*moved), dys)

    return value


def inner(outputs: Sequence[Any], dys: Sequence[Any]) -> float:
    """<dy, y>, where y may be infinite if nothing is asked of it."""
    products = (np.where(dy == 0, 0, np.asarray(y) * dy) for y, dy in zip(outputs, dys, strict=True))
    return sum(float(np.sum(product)) for product in products)


def slope_along(
    forward: Callable[..., list[Any]], leaves: Sequence[Any], dys: Sequence[Any], i: int, direction: Any
) -> tuple[float, float]:
    """(derivative of <dy, forward> along a direction of leaf i, its error)."""
    size, value = size_along(leaves[i], direction), value_along(forward, leaves, dys, i, direction)
    found = []
    for rung in LADDER:
        h = rung * size
        near, far = value(h) - value(-h), value(2 * h) - value(-2 * h)
        found.append((8 * near - far) / (12 * h))
        if len(found) > 1 and abs(found[-1] - found[-2]) <= SETTLED * abs(found[-1]):
            break
    changes = [abs(a - b) for a, b in itertools.pairwise(found)]
    if not np.any(np.isfinite(changes)):
        return np.nan, np.inf
    best = int(np.nanargmin(changes))
    return found[best + 1], changes[best]
