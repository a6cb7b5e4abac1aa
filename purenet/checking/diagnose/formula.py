"""Elementwise formulas: what your derivative is, region by region, in terms of the values the forward makes.

Where dx = d(x) dy, your d can be read off. In each region of the forward's conditions (x > 0, inside a clip, the
elements that are wrong) it is compared with constants and with the forward's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .evidence import EXPLAINED, Diagnosis, Evidence, Point, norm
from .naming import Factor, decode
from .values import candidates, describe_value

Region = Callable[[Point], Any]


def formulas(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    point = evidence.first
    if point.program is None or len(point.dys) != 1:
        return
    for i in evidence.wrong:
        if point.dys[0].shape not in ((), point.inputs[i].shape) or point.inputs[i].size < 4:
            continue
        for name, region in regions(evidence, i):
            whole = slopes(evidence, i, region)
            if whole is None:
                continue
            said = describe(evidence, known, i, region)
            if said is not None:
                text = f"your derivative of {evidence.names[i]} is {said[0]}{name}"
                other = describe_rest(evidence, known, i, region)
                text += f", and {other} elsewhere" if other else ""
                fix = "compare this with the derivative of the forward in the same region"
                yield Diagnosis("local_derivative", text, fix, 0.0, (evidence.names[i],), "", 2.4 + said[1])
                break


def regions(evidence: Evidence, i: int) -> Iterator[tuple[str, Region]]:
    """Where the gradient is wrong everywhere: all elements, or those of a condition, the rest being right."""

    def wrong(point: Point) -> Any:
        return np.abs(point.yours[i] - point.truth[i]) > 1e-9 * np.max(np.abs(point.truth[i]), initial=1e-300)

    program = evidence.first.program
    assert program is not None
    bad = wrong(evidence.first)
    if np.all(bad):
        yield "", lambda point: np.ones(point.inputs[i].shape, bool)
    yield " where it is wrong", wrong
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
    yours, truth = [], []
    for point in evidence.points:
        mask = region(point)
        dy = np.broadcast_to(point.dys[0], mask.shape)
        yours.append((point.yours[i] / dy)[mask])
        truth.append((point.truth[i] / dy)[mask])
    both = np.concatenate(yours), np.concatenate(truth)
    return both if both[0].size >= 4 and np.all(np.isfinite(both[0])) else None


def describe(evidence: Evidence, known: list[Factor], i: int, region: Region) -> tuple[str, float] | None:
    """Your derivative in words: right up to a factor or a constant, or a multiple of a value of the forward."""
    mine, true = slopes(evidence, i, region)
    error = norm(mine - true)
    for what, basis, offset, rank in (
        ("{} times the right one", true, 0.0, 0.0),
        ("the constant {}", np.ones_like(true), 0.0, 0.1),
        ("the right one plus {}", np.ones_like(true), true, 0.1),
    ):
        c = fitted(mine - offset, basis)
        if c is not None and norm(mine - offset - c * basis) < EXPLAINED * error:
            return what.format(decode(c, known).text), rank
    program = evidence.first.program
    assert program is not None
    for number in candidates(program):
        if np.shape(program.values[number]) != evidence.first.inputs[i].shape:
            continue
        basis = np.concatenate([p.program.values[number][region(p)] for p in evidence.points if p.program])
        for what, offset in (("{} times {}", 0.0), ("the right one plus {} times {}", true)):
            c = fitted(mine - offset, basis)
            if c is not None and norm(mine - offset - c * basis) < EXPLAINED * error:
                return what.format(decode(c, known).text, describe_value(evidence, number)), 0.2
    return None


def describe_rest(evidence: Evidence, known: list[Factor], i: int, region: Region) -> str:
    """Your derivative outside a region, if it is wrong there too and has a name."""

    def rest(point: Point) -> Any:
        bad = np.abs(point.yours[i] - point.truth[i]) > 1e-9 * np.max(np.abs(point.truth[i]), initial=1e-300)
        return ~region(point) & bad

    if not np.any(rest(evidence.first)) or slopes(evidence, i, rest) is None:
        return ""
    said = describe(evidence, known, i, rest)
    return said[0] if said else ""


def fitted(target: Any, basis: Any) -> float | None:
    square = float(np.sum(basis * basis))
    return float(np.sum(target * basis)) / square if square > 0 and np.isfinite(square) else None
