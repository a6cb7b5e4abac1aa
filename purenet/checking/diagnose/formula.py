"""Elementwise formulas: what your derivative is, region by region, in terms of the values the forward makes.

Where dx = d(x) dy, your d can be read off. In each region of the forward's conditions (x > 0, inside a clip, the
elements that are wrong) it is compared with constants and with the forward's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program
from ..vocabulary import Diagnosis, norm
from .evidence import EXPLAINED, Evidence, Point, reads_program
from .values import candidates, describe_value

Region = Callable[[Point], Any]


@reads_program
def formulas(evidence: Evidence, program: Program) -> Iterator[Diagnosis]:
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
                phrase, rank = found
                text = f"your derivative of {evidence.names[i]} is {phrase}{name}"
                other = describe_rest(evidence, i, region)
                text += f", and {other} elsewhere" if other else ""
                fix = "compare this with the derivative of the forward in the same region"
                yield Diagnosis("local_derivative", text, fix, 0.0, (evidence.names[i],), "", 2.4 + rank)
                break


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


def describe(evidence: Evidence, i: int, region: Region) -> tuple[str, float] | None:
    """Your derivative in words: right up to a factor or a constant, or a multiple of a value of the forward."""
    candidate, reference = slopes(evidence, i, region)
    error = norm(candidate - reference)
    for what, basis, offset, rank in (
        ("{} times the right one", reference, 0.0, 0.0),
        ("the constant {}", np.ones_like(reference), 0.0, 0.1),
        ("the right one plus {}", np.ones_like(reference), reference, 0.1),
    ):
        c = fitted(candidate - offset, basis)
        if c is not None and norm(candidate - offset - c * basis) < EXPLAINED * error:
            return what.format(evidence.factor(c).text), rank
    program = evidence.first.recorded
    for number in candidates(program):
        if np.shape(program.values[number]) != evidence.first.inputs[i].shape:
            continue
        basis = np.concatenate([p.program.values[number][region(p)] for p in evidence.points if p.program])
        for what, offset in (("{} times {}", 0.0), ("the right one plus {} times {}", reference)):
            c = fitted(candidate - offset, basis)
            if c is not None and norm(candidate - offset - c * basis) < EXPLAINED * error:
                return what.format(evidence.factor(c).text, describe_value(evidence, number)), 0.2
    return None


def describe_rest(evidence: Evidence, i: int, region: Region) -> str:
    """Your derivative outside a region, if it is wrong there too and has a name."""

    def rest(point: Point) -> Any:
        return ~region(point) & point.is_wrong(i)

    if not np.any(rest(evidence.first)) or slopes(evidence, i, rest) is None:
        return ""
    found = describe(evidence, i, rest)
    return found[0] if found else ""


def fitted(target: Any, basis: Any) -> float | None:
    square = float(np.sum(basis * basis))
    return float(np.sum(target * basis)) / square if square > 0 and np.isfinite(square) else None
