"""What a diagnosis starts from: your gradient and the true one at several points, and the recorded forward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .diagnose.evidence import Evidence, Point
from .diagnose.fresh import MANY
from .diagnose.linearity import is_linear
from .points import moved
from .probe import Probe, as_arrays
from .program.record import record
from .program.sweep import gradients, sweep
from .structure import align
from .vocabulary import norm

POINTS = 3
MOVES = 0.05


def gather(
    probe: Probe, candidate: list[Any], reference: list[Any], wrong: list[int], deadline: float = math.inf
) -> Evidence:
    """Your gradient and the true one at several points, and the recorded forward, until the deadline."""
    shapes = [leaf.shape for leaf in reference]

    def candidate_at(leaves: list[Any], dys: list[Any]) -> list[Any]:
        found = align(probe, probe.candidate(leaves, dys)[1], reference)[0]
        return [np.full(s, np.nan) if leaf is None else leaf for leaf, s in zip(found, shapes, strict=True)]

    def reference_at(leaves: list[Any], dys: list[Any]) -> list[Any]:
        return as_arrays(probe.reference(leaves, dys)[1])

    start = [np.asarray(leaf) for leaf in probe.leaves]
    dys = [np.asarray(dy) for dy in probe.dys]
    program = recorded(probe, start, dys, reference)
    filled = [np.full(s, np.nan) if leaf is None else leaf for leaf, s in zip(candidate, shapes, strict=True)]
    points = [point(start, dys, filled, reference, program, deadline)]
    for k in range(1, POINTS if sum(leaf.size for leaf in start) <= MANY else 2):
        leaves = moved(start, k, MOVES)
        random = np.random.default_rng(100 + k)
        others = [random.standard_normal(dy.shape) if probe.linear_in_dy else dy for dy in dys]
        there = candidate_at(leaves, others), reference_at(leaves, others)
        if usable(*there, wrong):
            again = recorded(probe, leaves, others, there[1]) if program is not None else None
            points.append(point(leaves, others, *there, again if same_steps(program, again) else None, deadline))
    if program is not None and any(p.program is None for p in points):
        points = [p for p in points if p.program is not None]
    evidence = Evidence(
        probe.names, probe.params, tuple(wrong), tuple(points), candidate_at, reference_at, True, probe.data
    )._replace(deadline=deadline)
    return evidence._replace(linear=not probe.linear_in_dy or is_linear(evidence))


def point(
    leaves: list[Any], dys: list[Any], candidate: list[Any], reference: list[Any], program: Any, deadline: float
) -> Point:
    cotangents = sweep(program, dys) if program is not None else {}
    return Point(leaves, dys, candidate, reference, program and program._replace(deadline=deadline), cotangents)


def usable(candidate: list[Any], reference: list[Any], wrong: list[int]) -> bool:
    """A point counts if everything is finite there and the wrong leaves are wrong there too."""
    finite = all(np.all(np.isfinite(candidate[i])) and np.all(np.isfinite(reference[i])) for i in wrong)
    return finite and all(norm(candidate[i] - reference[i]) > 1e-10 * norm(reference[i]) for i in wrong)


def recorded(probe: Probe, leaves: list[Any], dys: list[Any], reference: list[Any]) -> Any:
    """The recorded forward, if reverse mode over it gives jax's gradient; else the diagnosis does without."""
    try:
        program = record(probe.forward, leaves)
        found = gradients(program, sweep(program, dys))
    except Exception:  # whatever an operation that cannot be run or differentiated alone may raise
        return None
    close = all(norm(a - b) <= 1e-8 * norm(b) + 1e-300 for a, b in zip(found, reference, strict=True))
    return program if close else None


def same_steps(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return False
    pairs = zip(first.steps, second.steps, strict=False)
    return len(first.steps) == len(second.steps) and all(a.op == b.op for a, b in pairs)
