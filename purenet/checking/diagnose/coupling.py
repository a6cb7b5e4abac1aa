"""Hypotheses about which input feels which output, and plain symptoms where nothing better is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..vocabulary import norm
from .evidence import EXPLAINED, Claim, Evidence, Leaves, Point, of_leaf, residual

MOST_OUTPUTS = 400


def jacobians(evidence: Evidence, point: Point, k: int) -> tuple[list[Any], list[Any]]:
    """(candidate, reference): for each leaf [outputs, leaf], by one backward an output element."""
    candidate, reference = [], []
    dy = point.dys[k]
    for place in range(dy.size):
        unit = np.zeros(dy.size)
        unit[place] = 1.0
        dys = [unit.reshape(dy.shape) if j == k else 0 * d for j, d in enumerate(point.dys)]
        candidate.append(evidence.candidate(point.inputs, dys))
        reference.append(evidence.reference(point.inputs, dys))
    return columns(candidate), columns(reference)


def columns(rows: list[Leaves]) -> list[Any]:
    return [np.stack([np.ravel(leaf) for leaf in column]) for column in zip(*rows, strict=True)]


def coupled(evidence: Evidence) -> Iterator[Claim]:
    """Compare the patterns of the two Jacobians: diagonal where it is full, other examples where there are none."""
    if not evidence.linear:
        return
    for k, dy in enumerate(evidence.first.dys):
        if not 1 < dy.size <= MOST_OUTPUTS:
            continue
        candidate, reference = jacobians(evidence, evidence.first, k)
        for i in evidence.wrong:
            shape = evidence.first.inputs[i].shape
            if len(evidence.first.dys) == 1 and shape == dy.shape and is_diagonal_of(candidate[i], reference[i]):
                yield diagonal(evidence, i)
            output = "the output" if len(evidence.first.dys) == 1 else f"output {k}"
            yield from patterns(evidence, i, candidate[i], reference[i], dy.shape, shape, output)


def is_diagonal_of(candidate: Any, reference: Any) -> bool:
    part = np.diag(np.diag(reference))
    return residual(part, candidate, reference) < EXPLAINED and norm(reference - part) > 1e-9 * norm(reference)


def diagonal(evidence: Evidence, i: int) -> Claim:
    text = (
        f"your gradient of {evidence.names[i]} uses the diagonal of the Jacobian alone, as if each output depended on "
        "its own input only: the terms that couple the elements are missing"
    )
    fix = "add the coupling term; for softmax dx = y (dy - sum(dy y)), for a normalisation the terms of its statistics"
    return Claim(
        "diagonal", text, fix, (evidence.names[i],), 1.0, of_leaf(i, lambda point: diagonal_of(evidence, point, i))
    )


def diagonal_of(evidence: Evidence, point: Point, i: int) -> Any:
    """The true gradient of leaf i without what couples its elements; for one output of its shape."""
    dy = point.dys[0]
    units = np.eye(dy.size).reshape(dy.size, *dy.shape)
    rows = [evidence.reference(point.inputs, [unit])[i] for unit in units]
    return sum(unit * row for unit, row in zip(units, rows, strict=True)) * dy


def patterns(
    evidence: Evidence,
    i: int,
    candidate: Any,
    reference: Any,
    out_shape: tuple[int, ...],
    in_shape: tuple[int, ...],
    output: str,
) -> Iterator[Claim]:
    for out_axis, size in enumerate(out_shape):
        for in_axis, length in enumerate(in_shape):
            if size != length or not 2 < size <= 64:
                continue
            first, second = (coupling(j, out_shape, in_shape, out_axis, in_axis) for j in (candidate, reference))
            if np.array_equal(first, second):
                continue
            named = pattern_name(first), pattern_name(second)
            missing, added = bool(np.any(second & ~first)), bool(np.any(first & ~second))
            text = f"your gradient of {evidence.names[i]} couples axis {in_axis} of {evidence.names[i]} with axis "
            text += f"{out_axis} of {output} {named[0]}, the true one {named[1]}: "
            what = {
                (True, False): "terms that connect different positions are missing",
                (False, True): "positions feel each other that must not: a sum, a mean or a mask over the wrong axis",
                (True, True): "the wrong positions feel each other: an axis, an order or a shift is wrong",
            }[missing, added]
            fix = "compare the axes of sums, means, masks and transposes in the backward with the forward's"
            yield Claim("coupling", text + what, fix, (evidence.names[i],), 4.0)


def coupling(jacobian: Any, out_shape: Any, in_shape: Any, out_axis: int, in_axis: int) -> Any:
    full = np.abs(jacobian).reshape(*out_shape, *in_shape)
    axes = tuple(a for a in range(full.ndim) if a not in (out_axis, len(out_shape) + in_axis))
    table = np.max(full, axes)
    return table > 1e-12 * np.max(table, initial=0.0)


def pattern_name(table: Any) -> str:
    n = len(table)
    for name, pattern in (
        ("one to one", np.eye(n, dtype=bool)),
        ("all with all", np.ones((n, n), bool)),
        ("causally (lower triangle)", np.tril(np.ones((n, n), bool))),
        ("anti-causally (upper triangle)", np.triu(np.ones((n, n), bool))),
    ):
        if np.array_equal(table, pattern):
            return name
    return f"in {int(np.sum(table))} of {n * n} pairs"


def support(evidence: Evidence) -> Iterator[Claim]:
    """Where your gradient is zero and the true one is not, and the other way round."""
    for i in evidence.wrong:
        point = evidence.first
        candidate, reference = point.candidate[i], point.reference[i]
        if not norm(reference) or (not np.any(reference == 0) and not np.any(candidate == 0)):
            continue
        extra, missing = (candidate != 0) & (reference == 0), (candidate == 0) & (reference != 0)
        if not np.any(extra) and not np.any(missing):
            continue
        facts = []
        if np.any(extra):
            facts.append(
                f"{int(np.sum(extra))} elements are not zero where the true gradient is (a gate, a mask or a "
                "clip is missing, or gates the wrong value)"
            )
        if np.any(missing):
            facts.append(f"{int(np.sum(missing))} are zero where the true one is not")
        elsewhere = ~extra & ~missing
        right = np.allclose(candidate[elsewhere], reference[elsewhere], rtol=1e-9, atol=1e-12 * norm(reference))
        text = f"in your gradient of {evidence.names[i]}, " + " and ".join(facts)
        text += "; elsewhere it is right" if right else ""
        fix = "multiply by the forward's gate (x > 0, inside the clip, the mask, the winner)"
        yield Claim("support", text, fix, (evidence.names[i],), 3.0 if right else 4.5)


def localised(evidence: Evidence) -> Iterator[Claim]:
    """Only some elements are wrong."""
    for i in evidence.wrong:
        wrong = np.any([point.is_wrong(i) for point in evidence.points], 0)
        share = float(np.mean(wrong)) if wrong.size else 0.0
        if not 0 < share < 0.9:
            continue
        text = f"only {int(np.sum(wrong))} of {wrong.size} elements of your gradient of {evidence.names[i]} are wrong"
        for axis in range(wrong.ndim):
            others = tuple(a for a in range(wrong.ndim) if a != axis)
            bad = np.flatnonzero(np.any(wrong, others))
            if len(bad) < wrong.shape[axis]:
                text += f"; along axis {axis} all at {', '.join(map(str, bad[:8]))}"
        fix = "look at what is special there: a border, a padding, the last step, a tie, a duplicate index"
        yield Claim("localised", text, fix, (evidence.names[i],), 5.0)
