"""A cheap test that most hypotheses fail, before the gradient that they predict is worked out.

A hypothesis puts another cotangent in the place of a value's own. What that changes in the gradient of a leaf, along a
direction u, is <change, v'>, v' being the value's slope along u: two products instead of reverse mode through all of
the forward. The slopes of all values are differences of two runs; two directions a leaf leave one unknown factor free.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..program.sweep import rerun
from ..vocabulary import size_of
from .evidence import Evidence

STEP = 1e-6  # of a leaf's size
AGREES = 1e-3

Slopes = list[Any]


class Screen(NamedTuple):
    """By wrong leaf: the slopes of all values along two directions, and your error along them."""

    slopes: dict[int, tuple[Slopes, Slopes]]
    errors: dict[int, tuple[float, float]]

    def passes(self, number: int, own: Any, other: Any) -> bool:
        """Whether c times `other` in place of a value's `own` cotangent may give the error of some leaf, for some c."""
        return any(self.may_explain(i, number, own, other) for i in self.slopes)

    def may_explain(self, i: int, number: int, own: Any, other: Any) -> bool:
        (a, b), (first, second) = self.errors[i], (slopes[number] for slopes in self.slopes[i])
        if first is None or second is None:
            return True
        own_a, own_b, other_a, other_b = (dot(x, y) for x in (own, other) for y in (first, second))
        gap = (a + own_a) * other_b - (b + own_b) * other_a
        scale = (abs(a) + abs(own_a)) * abs(other_b) + (abs(b) + abs(own_b)) * abs(other_a)
        return not abs(gap) > AGREES * scale


def dot(a: Any, b: Any) -> float:
    return float(np.vdot(np.ravel(a), np.ravel(b)))


def screen_of(evidence: Evidence) -> Screen:
    """The screen at the first point."""
    point, random = evidence.first, np.random.default_rng(0)
    slopes, errors = {}, {}
    for i in evidence.wrong:
        directions = [random.standard_normal(point.inputs[i].shape) for _ in range(2)]
        slopes[i] = tuple(slopes_along(evidence, i, direction) for direction in directions)
        error = point.candidate[i] - point.reference[i]
        errors[i] = tuple(dot(error, direction) for direction in directions)
    return Screen(slopes, errors)


def slopes_along(evidence: Evidence, i: int, direction: Any) -> Slopes:
    """The slope of every active value along a direction of leaf i; None for the others, and where it is not finite.

    What a stop_gradient gives stands still, as it does in the gradient."""
    point = evidence.first
    program, leaf = point.recorded, point.inputs[i]
    step = STEP * (size_of(leaf) or 1.0)
    stopped = [number for each in program.steps if each.op == "stop_gradient" for number in each.outputs]
    still = {number: program.values[number] for number in stopped}
    above, below = (
        rerun(program, [leaf + h * direction if k == i else leaf for k, leaf in enumerate(point.inputs)], still).values
        for h in (step, -step)
    )

    def slope(number: int) -> Any:
        if number not in program.active:
            return None
        found = (np.asarray(above[number]) - below[number]) / (2 * step)
        return found.astype(np.float32) if np.all(np.isfinite(found)) else None

    return [slope(number) for number in range(len(program.values))]
