"""What a diagnosis starts from, and when a hypothesis explains it.

A hypothesis predicts a gradient. It explains a wrong leaf when the prediction differs from your gradient by no more
than a millionth of what your gradient differs from the true one, at every probe point. Points differ in parameters,
inputs and cotangents, so that a coincidence at one of them explains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program
from ..program.sweep import Cotangents, gradients, sweep

EXPLAINED = 1e-6
ROUNDING = 1e-11

Leaves = list[Any]


class Point(NamedTuple):
    """One probe: inputs (parameters, then x), cotangents of the outputs, your gradient, the true one, and the
    recorded forward with its true cotangents, or None where it could not be recorded."""

    inputs: Leaves
    dys: Leaves
    yours: Leaves
    truth: Leaves
    program: Program | None
    cotangents: Cotangents

    @property
    def recorded(self) -> Program:
        """The recorded forward, where there is one."""
        assert self.program is not None
        return self.program


class Evidence(NamedTuple):
    """`names` of the leaves; `wrong` the indices of the wrong ones; `params` how many leaves are parameters;
    `hand(inputs, dys)` and `truth(inputs, dys)` the two gradients anywhere; `linear` whether yours is linear in dy;
    `data` names arrays that are not differentiated."""

    names: tuple[str, ...]
    params: int
    wrong: tuple[int, ...]
    points: tuple[Point, ...]
    hand: Callable[[Leaves, Leaves], Leaves]
    truth: Callable[[Leaves, Leaves], Leaves]
    linear: bool
    data: tuple[tuple[str, Any], ...] = ()

    @property
    def first(self) -> Point:
        return self.points[0]

    def label(self, leaves: Sequence[int]) -> str:
        return ", ".join(self.names[i] for i in leaves)

    @property
    def programs(self) -> bool:
        return all(point.program is not None for point in self.points)


class Match(NamedTuple):
    """A hypothesis that explains `leaves`; `whole`: all wrong ones, and it leaves the right ones right."""

    leaves: tuple[int, ...]
    residual: float
    whole: bool


class Diagnosis(NamedTuple):
    """One explanation of a wrong gradient.

    `kind` is for programs, `text` one sentence for people, `fix` what to do, `residual` the part of the error that
    is left unexplained (0 is exact), `leaves` the gradients it explains, `line` where in the forward; `rank` orders
    explanations, the simplest first.
    """

    kind: str
    text: str
    fix: str
    residual: float
    leaves: tuple[str, ...] = ()
    line: str = ""
    rank: float = 5.0


def norm(x: Any) -> float:
    return float(np.sqrt(np.sum(np.square(np.asarray(x, np.float64)))))


def distance(a: Any, b: Any) -> float:
    """Relative difference of two arrays."""
    difference = norm(np.asarray(a) - np.asarray(b))
    return 0.0 if difference == 0 else difference / max(norm(a), norm(b))


def residual(predicted: Any, yours: Any, truth: Any) -> float:
    """The part of (yours - truth) that the prediction leaves unexplained."""
    left = norm(np.asarray(predicted) - yours)
    if not np.isfinite(left):
        return np.inf
    error = norm(yours - truth)
    return 0.0 if left <= ROUNDING * norm(truth) * EXPLAINED else left / error if error else np.inf


def explains(evidence: Evidence, predict: Callable[[Point], Leaves | None]) -> Match | None:
    """How far a prediction of the whole gradient explains the wrong leaves; None if it explains none."""
    left: dict[int, float] = dict.fromkeys(evidence.wrong, 0.0)
    right = True
    for point in evidence.points:
        predicted = predict(point)
        if predicted is None:
            return None
        for i in list(left):
            part = residual(predicted[i], point.yours[i], point.truth[i])
            left[i] = max(left[i], part)
            if part > EXPLAINED:
                del left[i]
        if not left:
            return None
        right = right and all(
            distance(predicted[i], point.truth[i]) < 1e-6
            for i in range(len(evidence.names))
            if i not in evidence.wrong and norm(point.truth[i])
        )
    return Match(tuple(left), max(left.values()), right and len(left) == len(evidence.wrong))


def explains_scaled(
    evidence: Evidence, parts: Callable[[Point], tuple[Leaves, Leaves] | None]
) -> list[tuple[Match, float]]:
    """Predictions `base + c term` with the best c: for all wrong leaves together, or else for each alone."""
    start = parts(evidence.first)
    if start is None:
        return []
    base, term = start
    found = []
    groups = [evidence.wrong] if len(evidence.wrong) > 1 else []
    for group in [*groups, *((i,) for i in evidence.wrong)]:
        c = coefficient(evidence.first, base, term, group)
        if c is None or (found and found[0][0].whole):
            continue
        rest = [residual(base[i] + c * term[i], evidence.first.yours[i], evidence.first.truth[i]) for i in group]
        if max(rest) > EXPLAINED:
            continue

        def predict(point: Point, c: float = c) -> Leaves | None:
            both = parts(point)
            return None if both is None else [b + c * t for b, t in zip(*both, strict=True)]

        match = explains(evidence, predict)
        if match and set(group) <= set(match.leaves) and all(match.leaves != other.leaves for other, _ in found):
            found.append((match, c))
    return found


def coefficient(point: Point, base: Leaves, term: Leaves, group: Sequence[int]) -> float | None:
    sizes = [(norm(term[i]), norm(point.truth[i])) for i in group]
    if all(size <= 1e-9 * whole for size, whole in sizes):
        return None  # rounding, whose coefficient would be chance
    across = sum(float(np.sum((point.yours[i] - base[i]) * term[i])) for i in group)
    square = sum(float(np.sum(np.square(term[i]))) for i in group)
    return across / square if square > 0 and np.isfinite(across) and np.isfinite(square) else None


def retold(point: Point, changes: Any) -> Leaves:
    """The gradient with some local rules changed."""
    return gradients(point.recorded, sweep(point.recorded, point.dys, changes))
