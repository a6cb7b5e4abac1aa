"""What a diagnosis starts from, and when a hypothesis explains it.

A hypothesis predicts a gradient. It explains a wrong leaf when the prediction differs from your gradient by no more
than a millionth of what your gradient differs from the true one, at every probe point. Points differ in parameters,
inputs and cotangents, so that a coincidence at one of them explains nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program
from ..program.sweep import Cotangents, gradients, sweep
from ..vocabulary import Diagnosis, distance, norm

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


class Factor(NamedTuple):
    """A number with a name; `rank` 0 for the plainest."""

    value: float
    text: str
    rank: float
    cause: str = ""


class Evidence(NamedTuple):
    """`names` of the leaves; `wrong` the indices of the wrong ones; `params` how many leaves are parameters;
    `candidate(inputs, dys)` and `reference(inputs, dys)` the two gradients anywhere; `linear` whether yours is linear
    in dy; `data` names arrays that are not differentiated; `named_factors` are the numbers that have a name here."""

    names: tuple[str, ...]
    params: int
    wrong: tuple[int, ...]
    points: tuple[Point, ...]
    candidate: Callable[[Leaves, Leaves], Leaves]
    reference: Callable[[Leaves, Leaves], Leaves]
    linear: bool
    data: tuple[tuple[str, Any], ...] = ()
    named_factors: tuple[Factor, ...] = ()

    @property
    def first(self) -> Point:
        return self.points[0]

    def label(self, leaves: Sequence[int]) -> str:
        return ", ".join(self.names[i] for i in leaves)

    def factor(self, value: float) -> Factor:
        """The plainest name of a number, or its digits."""
        near = [factor for factor in self.named_factors if abs(value - factor.value) <= 1e-6 * abs(factor.value)]
        named = min(near, key=lambda factor: factor.rank, default=None)
        return named or Factor(value, f"{value:.6g}", 2.0)


class Match(NamedTuple):
    """A hypothesis that explains `leaves`, by their `names`; `whole`: all wrong ones, and it leaves the right ones
    right."""

    leaves: tuple[int, ...]
    names: tuple[str, ...]
    residual: float
    whole: bool

    @property
    def label(self) -> str:
        return ", ".join(self.names)

    def diagnosis(
        self, kind: str, text: str, fix: str, rank: float, partial: float | None = None, line: Any = ""
    ) -> Diagnosis:
        """The explanation, at `rank`, or at `partial` where it does not explain all that is wrong."""
        chosen = rank if self.whole or partial is None else partial
        return Diagnosis(kind, text, fix, self.residual, self.names, str(line or ""), chosen)


Family = Callable[[Evidence], Iterator[Diagnosis]]


def reads_program(family: Callable[[Evidence, Program], Iterator[Diagnosis]]) -> Family:
    """A family of hypotheses about the recorded forward: it explains nothing where there is none."""

    @functools.wraps(family)
    def explain(evidence: Evidence) -> Iterator[Diagnosis]:
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


def explains(evidence: Evidence, predict: Callable[[Point], Leaves | None]) -> Match | None:
    """How far a prediction of the whole gradient explains the wrong leaves; None if it explains none."""
    left: dict[int, float] = dict.fromkeys(evidence.wrong, 0.0)
    right = True
    for point in evidence.points:
        predicted = predict(point)
        if predicted is None:
            return None
        for i in list(left):
            part = point.unexplained(i, predicted[i])
            left[i] = max(left[i], part)
            if part > EXPLAINED:
                del left[i]
        if not left:
            return None
        right = right and all(
            distance(predicted[i], point.reference[i]) < 1e-6
            for i in range(len(evidence.names))
            if i not in evidence.wrong and norm(point.reference[i])
        )
    names = tuple(evidence.names[i] for i in left)
    return Match(tuple(left), names, max(left.values()), right and len(left) == len(evidence.wrong))


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
            found.append((match, c))
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
