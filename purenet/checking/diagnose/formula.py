"""Elementwise formulas: what your derivative is, region by region, in terms of the values the forward makes.

Where dx = d(x) dy, your d can be read off. In each region of the forward's conditions (x > 0, inside a clip, the
elements that are wrong) it is compared with constants and with the forward's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program
from ..vocabulary import norm
from .evidence import EXPLAINED, Claim, Evidence, Point, of_leaf, reads_program
from .values import candidates, describe_value

Region = Callable[[Point], Any]


class Formula(NamedTuple):
    """A derivative in words, how far from plain they are, and the gradient of leaf i that it makes."""

    phrase: str
    rank: float
    gradient: Callable[[Point, int], Any]


@reads_program
def formulas(evidence: Evidence, program: Program) -> Iterator[Claim]:
    point = evidence.first
    if len(point.dys) != 1:
        return
    for i in evidence.wrong:
        if point.dys[0].shape not in ((), point.inputs[i].shape) or point.inputs[i].size < 4:
            continue
        for name, region in regions(evidence, i):
            whole = slopes(evidence, i, region)
            if whole is None:
                continue
            found = describe(evidence, i, region)
            if found is not None:
                text = f"your derivative of {evidence.names[i]} is {found.phrase}{name}"
                other = describe_rest(evidence, i, region)
                text += f", and {other.phrase} elsewhere" if other else ""
                fix = "compare this with the derivative of the forward in the same region"
                predict = of_leaf(i, lambda p, i=i, r=region, f=found, o=other: in_regions(p, i, r, f, o))
                name = (evidence.names[i],)
                yield Claim("local_derivative", text, fix, name, 2.4 + found.rank, predict, fitted=2 if other else 1)
                break


def in_regions(point: Point, i: int, region: Region, inside: Formula, outside: Formula | None) -> Any:
    """The gradient of leaf i with one formula in a region; elsewhere with another, or nothing is said."""
    rest = point.candidate[i] if outside is None else outside.gradient(point, i)
    rest = np.where(point.is_wrong(i), rest, point.reference[i])
    return np.where(region(point), inside.gradient(point, i), rest)


def regions(evidence: Evidence, i: int) -> Iterator[tuple[str, Region]]:
    """Where the gradient is wrong everywhere: all elements, or those of a condition, the rest being right."""

    program = evidence.first.recorded
    bad = evidence.first.is_wrong(i)
    if np.all(bad):
        yield "", lambda point: np.ones(point.inputs[i].shape, bool)
    yield " where it is wrong", lambda point: point.is_wrong(i)
    for number, value in enumerate(program.values):
        if isinstance(value, np.ndarray) and value.dtype == bool and value.shape == bad.shape and np.any(value):
            for holds in (True, False):
                mask = value == holds
                if np.any(mask) and not np.all(mask) and np.all(bad[mask]):
                    state = "holds" if holds else "does not hold"
                    name = f" where {describe_value(evidence, number)} {state}"
                    yield name, lambda point, n=number, h=holds: point.recorded.values[n] == h


def slopes(evidence: Evidence, i: int, region: Region) -> Any:
    """(your derivative, the true one) in a region, over all points; None where there are too few elements."""
    candidate, reference = [], []
    for point in evidence.points:
        mask = region(point)
        dy = np.broadcast_to(point.dys[0], mask.shape)
        candidate.append((point.candidate[i] / dy)[mask])
        reference.append((point.reference[i] / dy)[mask])
    both = np.concatenate(candidate), np.concatenate(reference)
    return both if both[0].size >= 4 and np.all(np.isfinite(both[0])) else None


Basis = Callable[[Point, int], Any]


def bases(evidence: Evidence, i: int) -> Iterator[tuple[str, Basis, float]]:
    """(words, what a derivative may be a multiple of, times dy, rank); "plus" in the words: beside the right one."""
    yield "{} times the right one", lambda point, i: point.reference[i], 0.0
    yield "the constant {}", times_dy(lambda point: 1.0), 0.1
    yield "the right one plus {}", times_dy(lambda point: 1.0), 0.1
    program = evidence.first.recorded
    for number in candidates(program):
        if np.shape(program.values[number]) == evidence.first.inputs[i].shape:
            name, value = describe_value(evidence, number), times_dy(lambda point, n=number: point.recorded.values[n])
            yield f"{{}} times {name}", value, 0.2
            yield f"the right one plus {{}} times {name}", value, 0.2


def times_dy(value: Callable[[Point], Any]) -> Basis:
    return lambda point, i: np.broadcast_to(point.dys[0] * value(point), point.reference[i].shape)


def describe(evidence: Evidence, i: int, region: Region) -> Formula | None:
    """Your derivative in words: right up to a factor or a constant, or a multiple of a value of the forward."""

    def inside(gradient: Basis) -> Any:
        return np.concatenate([(gradient(p, i) / p.dys[0])[region(p)] for p in evidence.points])

    candidate, reference = slopes(evidence, i, region)
    error = norm(candidate - reference)
    for what, basis, rank in bases(evidence, i):
        added, column = "plus" in what.partition("{}")[0], inside(basis)
        target = candidate - reference if added else candidate
        c = fitted(target, column)
        if c is None or not norm(target - c * column) < EXPLAINED * error:
            continue

        def gradient(point: Point, i: int, c: float = c, basis: Basis = basis, added: bool = added) -> Any:
            return c * basis(point, i) + (point.reference[i] if added else 0.0)

        return Formula(what.format(evidence.factor(c).text), rank, gradient)
    return None


def describe_rest(evidence: Evidence, i: int, region: Region) -> Formula | None:
    """Your derivative outside a region, if it is wrong there too and has a name."""

    def rest(point: Point) -> Any:
        return ~region(point) & point.is_wrong(i)

    if not np.any(rest(evidence.first)) or slopes(evidence, i, rest) is None:
        return None
    return describe(evidence, i, rest)


def fitted(target: Any, basis: Any) -> float | None:
    square = float(np.sum(basis * basis))
    return float(np.sum(target * basis)) / square if square > 0 and np.isfinite(square) else None
