"""What a diagnosis starts from, and when a hypothesis explains it.

A hypothesis predicts a gradient. It explains a wrong leaf when the prediction differs from your gradient by no more
than a millionth of what your gradient differs from the true one, at every probe point. Points differ in parameters,
inputs and cotangents, so that a coincidence at one of them explains nothing.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program
from ..program.sweep import Cotangents, gradients, sweep
from ..vocabulary import OutOfTime, distance, norm

EXPLAINED = 1e-6
ROUNDING = 1e-11

Leaves = list[Any]


class Point(NamedTuple):
    """One probe: inputs (parameters, then x), cotangents of the outputs, the candidate (your gradient), the reference
    (the true one), and the recorded forward with its true cotangents, or None where it could not be recorded."""

    inputs: Leaves
    dys: Leaves
    candidate: Leaves
    reference: Leaves
    program: Program | None
    cotangents: Cotangents

    @property
    def recorded(self) -> Program:
        """The recorded forward, where there is one."""
        assert self.program is not None
        return self.program

    def is_wrong(self, i: int) -> Any:
        """Which elements of leaf i are wrong."""
        largest = np.max(np.abs(self.reference[i]), initial=1e-300)
        return np.abs(self.candidate[i] - self.reference[i]) > 1e-9 * largest

    def unexplained(self, i: int, predicted: Any) -> float:
        """The part of leaf i's error that a prediction leaves unexplained."""
        return residual(predicted, self.candidate[i], self.reference[i])


Predict = Callable[[Point], Leaves | None]


class Factor(NamedTuple):
    """A number with a name; `rank` 0 for the plainest."""

    value: float
    text: str
    rank: float
    cause: str = ""


class Evidence(NamedTuple):
    """`names` of the leaves; `wrong` the indices of the wrong ones; `params` how many leaves are parameters;
    `candidate(inputs, dys)` and `reference(inputs, dys)` the two gradients anywhere; `linear` whether yours is linear
    in dy; `data` names arrays that are not differentiated; `named_factors` are the numbers that have a name here;
    `fresh` are points that no hypothesis was fitted to; `deadline` is when the search ends, by
    time.monotonic; `screen` leaves out what cannot be (see screen.py)."""

    names: tuple[str, ...]
    params: int
    wrong: tuple[int, ...]
    points: tuple[Point, ...]
    candidate: Callable[[Leaves, Leaves], Leaves]
    reference: Callable[[Leaves, Leaves], Leaves]
    linear: bool
    data: tuple[tuple[str, Any], ...] = ()
    named_factors: tuple[Factor, ...] = ()
    fresh: tuple[Point, ...] = ()
    deadline: float = math.inf
    screen: Any = None

    @property
    def first(self) -> Point:
        return self.points[0]

    def label(self, leaves: Sequence[int]) -> str:
        return ", ".join(self.names[i] for i in leaves)

    def factor(self, value: float) -> Factor:
        """The plainest name of a number, or its digits."""
        near = [factor for factor in self.named_factors if abs(value - factor.value) <= 1e-8 * abs(factor.value)]
        named = min(near, key=lambda factor: factor.rank, default=None)
        return named or Factor(value, digits(value), 2.0)


def of_leaf(i: int, value: Callable[[Point], Any]) -> Predict:
    """A prediction of one leaf, the others as they are."""

    def predict(point: Point) -> Leaves | None:
        found = value(point)
        return None if found is None else [found if k == i else leaf for k, leaf in enumerate(point.reference)]

    return predict


def digits(value: float) -> str:
    """A number that has no name; what is nearly 1 with as many digits as tell it from 1."""
    gap = abs(value - 1)
    if gap == 0 or gap > 1e-3:
        return f"{value:.6g}"
    return f"{value:.{min(3 - math.floor(math.log10(gap)), 15)}f}".rstrip("0")


class Claim(NamedTuple):
    """A diagnosis before it is tested. `predict` gives the gradient that it says is yours, with every number that was
    `fitted` frozen; a plain symptom predicts nothing."""

    kind: str
    text: str
    fix: str
    leaves: tuple[str, ...]
    rank: float
    predict: Predict | None = None
    line: str = ""
    fitted: int = 0


class Match(NamedTuple):
    """A hypothesis that explains `leaves`, by their `names`, by what it predicts after some numbers were `fitted`;
    `whole`: all wrong ones, and it leaves the right ones right."""

    leaves: tuple[int, ...]
    names: tuple[str, ...]
    whole: bool
    predict: Predict
    fitted: int = 0

    @property
    def label(self) -> str:
        return ", ".join(self.names)

    def claim(self, kind: str, text: str, fix: str, rank: float, partial: float | None = None, line: Any = "") -> Claim:
        """The explanation, at `rank`, or at `partial` where it does not explain all that is wrong."""
        chosen = rank if self.whole or partial is None else partial
        return Claim(kind, text, fix, self.names, chosen, self.predict, str(line or ""), self.fitted)


Family = Callable[[Evidence], Iterator[Claim]]


def reads_program(family: Callable[[Evidence, Program], Iterator[Claim]]) -> Family:
    """A family of hypotheses about the recorded forward: it explains nothing where there is none."""

    @functools.wraps(family)
    def explain(evidence: Evidence) -> Iterator[Claim]:
        program = evidence.first.program
        return iter(()) if program is None else family(evidence, program)

    return explain


def residual(predicted: Any, candidate: Any, reference: Any) -> float:
    """The part of (candidate - reference) that the prediction leaves unexplained."""
    left = norm(np.asarray(predicted) - candidate)
    if not np.isfinite(left):
        return np.inf
    error = norm(candidate - reference)
    return 0.0 if left <= ROUNDING * norm(reference) * EXPLAINED else left / error if error else np.inf


def in_time(evidence: Evidence) -> None:
    if time.monotonic() > evidence.deadline:
        raise OutOfTime


def explains(evidence: Evidence, predict: Predict) -> Match | None:
    """How far a prediction of the whole gradient explains the wrong leaves; None if it explains none."""
    in_time(evidence)
    left, right = set(evidence.wrong), True
    for point in evidence.points:
        predicted = predict(point)
        if predicted is None:
            return None
        left = {i for i in left if not point.unexplained(i, predicted[i]) > EXPLAINED}
        if not left:
            return None
        right = right and all(
            distance(predicted[i], point.reference[i]) < 1e-6
            for i in range(len(evidence.names))
            if i not in evidence.wrong and norm(point.reference[i])
        )
    leaves = tuple(sorted(left))
    names = tuple(evidence.names[i] for i in leaves)
    return Match(leaves, names, right and len(left) == len(evidence.wrong), predict)


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
        rest = [evidence.first.unexplained(i, base[i] + c * term[i]) for i in group]
        if max(rest) > EXPLAINED:
            continue

        def predict(point: Point, c: float = c) -> Leaves | None:
            both = parts(point)
            return None if both is None else [b + c * t for b, t in zip(*both, strict=True)]

        match = explains(evidence, predict)
        if match and set(group) <= set(match.leaves) and all(match.leaves != other.leaves for other, _ in found):
            found.append((match._replace(fitted=1), c))
    return found


def coefficient(point: Point, base: Leaves, term: Leaves, group: Sequence[int]) -> float | None:
    sizes = [(norm(term[i]), norm(point.reference[i])) for i in group]
    if all(size <= 1e-9 * whole for size, whole in sizes):
        return None  # rounding, whose coefficient would be chance
    across = sum(float(np.sum((point.candidate[i] - base[i]) * term[i])) for i in group)
    square = sum(float(np.sum(np.square(term[i]))) for i in group)
    return across / square if square > 0 and np.isfinite(across) and np.isfinite(square) else None


def regradient(point: Point, changes: Any) -> Leaves:
    """The gradient with some local rules changed."""
    return gradients(point.recorded, sweep(point.recorded, point.dys, changes))
