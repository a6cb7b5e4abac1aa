"""The verdict on each leaf: PASS, WRONG, PRECISION, UNRESOLVED or VACUOUS.

In float64 a right rule agrees with jax.vjp to about 1e-15 of a leaf's largest value; the subtlest mistakes sit near
1e-6, so that 1e-9 tells them apart at any size and depth. What is small beside the rest of its leaf, or zero up to
rounding, has no such scale: it is judged by noise, how far the true gradient moves when parameters and input move by
some units in the last place. No absolute tolerance is ever added to a relative one, so none can certify.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .report import PASS, UNRESOLVED, VACUOUS, WRONG, LeafReport

TOLERANCE = 1e-9
SMALL_TOLERANCE = 1e-6
ROUNDING = 1e-13
NOISES = 100

Noise = Callable[[], list[np.ndarray]]


def noise_of(truth: Callable[[list, list], tuple[list, list]], leaves: list, dys: list, seed: int) -> Noise:
    """How far each element of the true gradient moves when the inputs move by rounding: four draws, when asked."""

    @functools.cache
    def noise() -> list[np.ndarray]:
        random = np.random.default_rng(seed)
        before = [np.asarray(leaf) for leaf in truth(leaves, dys)[1]]
        squares = []
        for _ in range(4):
            moved = [
                (np.asarray(m) * (1 + ROUNDING * random.standard_normal(np.shape(m)))).astype(m.dtype) for m in leaves
            ]
            after = truth(moved, dys)[1]
            squares.append([np.square(np.asarray(a) - b) for a, b in zip(after, before, strict=True)])
        return [np.sqrt(np.mean(each, 0)) for each in zip(*squares, strict=True)]

    return noise


def compare(index: int, path: str, yours: Any, truth: Any, noise: Noise, largest: float) -> LeafReport:
    """The verdict on one leaf; `yours` is None where nothing comparable came. `largest` is the largest true gradient
    of all leaves."""
    if yours is None:
        return LeafReport(path, truth.shape, np.inf, WRONG, (), np.nan, np.nan)
    if not truth.size:
        return LeafReport(path, truth.shape, 0.0, VACUOUS, (), 0.0, 0.0)
    with np.errstate(invalid="ignore"):
        difference = np.where(np.isfinite(yours), np.abs(yours - truth), np.inf)
    scale = float(np.max(np.abs(truth)))
    worst = np.unravel_index(int(np.argmax(difference)), truth.shape)
    error = ratio(difference[worst], scale)
    verdict = PASS if error <= TOLERANCE else WRONG
    if scale == 0 and verdict == PASS:
        verdict = VACUOUS
    elif verdict == WRONG and float(np.max(np.abs(yours))) <= ROUNDING * largest:
        verdict = VACUOUS if scale <= 10 * float(np.max(noise()[index])) else WRONG
    elif verdict == WRONG and np.all(np.isfinite(difference)) and np.all(difference <= NOISES * noise()[index]):
        verdict = UNRESOLVED
    elif verdict == PASS and np.any(difference > SMALL_TOLERANCE * np.abs(truth)):
        # Right beside the leaf's largest value; the small ones must be right as well, up to noise.
        moves = np.maximum(noise()[index], 1e-3 * np.sqrt(np.mean(np.square(noise()[index]))))
        excess = np.where(difference > SMALL_TOLERANCE * np.abs(truth), difference - NOISES * moves, -1)
        if np.any(excess > 0):
            verdict, worst = WRONG, np.unravel_index(int(np.argmax(excess)), truth.shape)
            error = ratio(difference[worst], abs(truth[worst]))
    at = tuple(int(i) for i in worst)
    return LeafReport(path, truth.shape, error, verdict, at, float(yours[worst]), float(truth[worst]))


def compare_all(names: tuple[str, ...], yours: list[Any], truth: list[Any], noise: Noise) -> tuple[LeafReport, ...]:
    largest = max((float(np.max(np.abs(leaf))) for leaf in truth if leaf.size), default=0.0)
    rows = enumerate(zip(names, yours, truth, strict=True))
    return tuple(compare(index, path, mine, leaf, noise, largest) for index, (path, mine, leaf) in rows)


def ratio(difference: Any, scale: Any) -> float:
    return float(difference) / float(scale) if scale else (np.inf if difference else 0.0)
