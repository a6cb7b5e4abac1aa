"""Whether a claim holds where nothing was fitted to it: at other leaves and other cotangents.

A sentence with numbers in it may be true of the points its numbers were taken from and of no other. So every claim
that predicts a gradient is tried at fresh points, its numbers frozen, and is dropped where it fails at one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..points import moved
from ..program.record import Program
from ..program.sweep import gradients, rerun, sweep
from ..vocabulary import Diagnosis, distance, norm
from .evidence import EXPLAINED, Claim, Evidence, Leaves, Point

FRESH = 2
MOVES = (0.2, 0.05, 0.01)  # smaller ones where a forward leaves its domain
MANY = 200_000  # numbers, among which no coincidence lasts: one point does
SEEN = 1e-10  # what is wrong by less is rounding, and tries nothing


def with_fresh_points(evidence: Evidence) -> Evidence:
    count = FRESH if sum(leaf.size for leaf in evidence.first.inputs) <= MANY else 1
    found = (fresh_point(evidence, 1000 + k) for k in range(count))
    return evidence._replace(fresh=tuple(point for point in found if point is not None))


def fresh_point(evidence: Evidence, seed: int) -> Point | None:
    """A point with other leaves and cotangents, the largest move that the forward stands."""
    random = np.random.default_rng(seed)
    start = evidence.first
    dys = [random.standard_normal(dy.shape) for dy in start.dys] if reads_dy(evidence) else start.dys
    for by in MOVES:
        point = point_at(evidence, moved(start.inputs, seed, by), dys)
        if point is not None:
            return point
    return None


def reads_dy(evidence: Evidence) -> bool:
    """Whether the wrong gradients depend on the cotangent; a gradient function takes none."""
    point = evidence.first
    twice = evidence.candidate(point.inputs, [2 * dy for dy in point.dys])
    return any(distance(twice[i], point.candidate[i]) > 1e-12 for i in evidence.wrong)


def point_at(evidence: Evidence, inputs: Leaves, dys: Leaves) -> Point | None:
    try:
        candidate, reference = evidence.candidate(inputs, dys), evidence.reference(inputs, dys)
        program = program_at(evidence.first.program, inputs, dys, reference)
    except Exception:  # whatever the caller's functions raise at other numbers than their own
        return None
    wrong = [leaf for i in evidence.wrong for leaf in (candidate[i], reference[i])]
    if not all(np.all(np.isfinite(leaf)) for leaf in wrong) or (program is None and evidence.first.program):
        return None
    return Point(inputs, dys, candidate, reference, program, sweep(program, dys) if program else {})


def program_at(program: Program | None, inputs: Leaves, dys: Leaves, reference: Leaves) -> Program | None:
    """The recorded forward there, if it takes the same branches."""
    if program is None:
        return None
    again = rerun(program, inputs)
    found = gradients(again, sweep(again, dys))
    same = all(norm(a - b) <= 1e-8 * norm(b) + 1e-300 for a, b in zip(found, reference, strict=True))
    return again if same else None


def confirmed(evidence: Evidence, claim: Claim) -> Diagnosis | None:
    """The claim as a diagnosis, with the fresh points at which it held; None where it fails at one of them."""
    told = Diagnosis(claim.kind, claim.text, claim.fix, 0.0, claim.leaves, claim.line, claim.rank)
    if claim.predict is None:
        return told
    chosen = [i for i in evidence.wrong if evidence.names[i] in claim.leaves]
    left = [unexplained(point, chosen, claim.predict(point)) for point in evidence.fresh]
    worst = max((part for parts in left for part in parts if part is not None), default=0.0)
    held = min((sum(part is not None for part in parts) for parts in zip(*left, strict=True)), default=0)
    if not worst <= EXPLAINED or (claim.fitted and not held):
        return None
    return told._replace(residual=worst, held=held)


def unexplained(point: Point, chosen: Sequence[int], predicted: Leaves | None) -> list[float | None]:
    """What a prediction leaves of each leaf's error; None for a leaf that is right there, which tries nothing."""

    def part(i: int) -> float | None:
        if norm(point.candidate[i] - point.reference[i]) <= SEEN * norm(point.reference[i]):
            return None
        return np.inf if predicted is None else point.unexplained(i, predicted[i])

    return [part(i) for i in chosen]
