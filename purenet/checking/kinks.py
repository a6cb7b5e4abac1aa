"""Kinks and ties: where the slopes to the two sides differ, every value between them is a right gradient.

relu at 0, a maximum of equal arguments and a norm at 0 have no derivative, and each program takes a value of its own:
0, 1/2, 1, or NaN. What differs from jax.grad is therefore asked of the forward, one element at a time: one-sided
differences to both sides, at steps of 1e-5 and 2e-5 of the leaf. Beside the kink the gradient has to be jax.grad's.
Clarke, *Optimization and Nonsmooth Analysis* (1983), chapter 2: the generalized gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arbiter import AGREES, QUICK, size_along, value_along
from .probe import Probe, as_arrays
from .structure import align
from .vocabulary import INTENDED, norm

MOST = 64  # elements that are looked at; of more, as many drawn


def kink_note(probe: Probe, i: int, candidate: Any, reference: Any) -> str:
    """What to say of leaf i if all of it that differs from jax.grad's is right at a kink; else nothing."""
    finite = np.where(np.isfinite(reference), np.abs(reference), 0)
    largest = float(np.max(finite, initial=0.0))
    with np.errstate(all="ignore"):
        differs = ~(np.abs(candidate - reference) <= probe.tolerance * largest)
    places = np.argwhere(differs)
    if not len(places) or not np.all(np.isfinite(candidate)) or probe.against == INTENDED:
        return ""
    if not right_nearby(probe, i):
        return ""
    chosen = [tuple(map(int, place)) for place in np.random.default_rng(0).permutation(places)[:MOST]]
    if not all(is_between(probe, i, place, candidate[place], reference[place], largest) for place in chosen):
        return ""
    place, (below, above) = chosen[0], slopes_at(probe, i, chosen[0])
    at = f"{probe.names[i]} {list(place)}" if place else probe.names[i]
    if not np.isfinite(reference[place]) and not is_bent(probe, below, above, largest):
        return f"{probe.against} is not finite at {at}, where yours is the forward's own slope, {above + 0.0:.6g}"
    sides = f"its slope is {below + 0.0:.6g} below and {above + 0.0:.6g} above. Any value between is right"
    values = f"yours is {candidate[place] + 0.0:.6g}, that of {probe.against} {reference[place] + 0.0:.6g}"
    return f"the forward has a kink at {at}: {sides}; {values}"


def is_between(probe: Probe, i: int, place: tuple[int, ...], yours: float, reference: float, largest: float) -> bool:
    """Whether an element of a gradient is between the slopes of a kink, or the slope where the reference has none."""
    below, above = slopes_at(probe, i, place)
    by, closer = margin(probe, below, above, largest), slopes_at(probe, i, place, QUICK / 16)
    if max(abs(closer[0] - below), abs(closer[1] - above)) > 0.1 * max(abs(below), abs(above)) + by:
        return False  # an infinite slope, which grows as the step shrinks
    if np.isfinite(reference) and not is_bent(probe, below, above, largest):
        return False
    return bool(min(below, above) - by <= yours <= max(below, above) + by)


def is_bent(probe: Probe, below: float, above: float, largest: float) -> bool:
    return abs(above - below) > 10 * margin(probe, below, above, largest)


def margin(probe: Probe, below: float, above: float, largest: float) -> float:
    """How well slopes are known."""
    return AGREES * max(abs(below), abs(above), largest) + floor(probe)


def right_nearby(probe: Probe, i: int) -> bool:
    """Whether the gradient is jax.grad's beside the kink, where it says something about the rule."""
    random = np.random.default_rng(1)
    leaves = [
        leaf + 0.05 * size_along(leaf, np.ones(())) * random.standard_normal(leaf.shape)
        for leaf in as_arrays(probe.leaves)
    ]
    reference = as_arrays(probe.reference(leaves, probe.dys)[1])
    candidate = align(probe, probe.candidate(leaves, probe.dys)[1], reference)[0]
    difference = np.inf if candidate[i] is None else norm(candidate[i] - reference[i])
    return bool(difference <= probe.tolerance * norm(reference[i]))


def slopes_at(probe: Probe, i: int, place: tuple[int, ...], step: float = QUICK) -> tuple[float, float]:
    """The slopes below and above one element of leaf i, by differences that a curvature does not move."""
    leaves, dys = as_arrays(probe.leaves), as_arrays(probe.dys)
    direction = np.zeros(leaves[i].shape)
    direction[place] = 1.0
    step *= size_along(leaves[i], np.ones(()))
    value = value_along(probe.forward, leaves, dys, i, direction)
    middle = value(0.0)
    below, above = ((4 * value(h) - value(2 * h) - 3 * middle) / (2 * h) for h in (-step, step))
    return below, above


def floor(probe: Probe) -> float:
    """What counts as no slope at all."""
    return 1e-8 * max((float(np.max(np.abs(np.asarray(dy)), initial=0.0)) for dy in probe.dys), default=0.0)
