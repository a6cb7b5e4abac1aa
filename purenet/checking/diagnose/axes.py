"""Hypotheses about the axis of a reduction: softmax over the examples, statistics over the features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..program.record import Program, Step
from ..program.sweep import gradients, rerun, sweep
from .evidence import Diagnosis, Evidence, Leaves, Point, explains
from .leafwise import names
from .naming import Factor
from .values import quiet

REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")


def other_axes(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """The gradient of the forward with its reductions over another axis: all of them, or those of one expression."""
    program = evidence.first.program
    if program is None:
        return
    lines = list(dict.fromkeys(step.line for step in program.steps if step.op in REDUCTIONS))
    for chosen in [None, *lines] if len(lines) > 1 else [None]:
        for shape, own, other in axis_changes(program):

            def predict(point: Point, chosen: Any = chosen, change: Any = (shape, own, other)) -> Leaves | None:
                return quiet(lambda c: reduced_otherwise(point, chosen, c), change)

            match = explains(evidence, predict)
            if match:
                where = f" at {chosen}" if chosen is not None else ""
                text = f"your gradient of {evidence.label(match.leaves)} is exactly that of a forward that reduces "
                text += f"over axis {other} instead of axis {own}{where}: "
                text += "it couples the examples" if other == 0 else "the wrong axis is summed"
                fix = f"sum over axis {own} in the backward, as the forward does"
                rank = 1.5 if match.whole else 2.1
                leaves = names(evidence, match)
                yield Diagnosis("coupling", text, fix, match.residual, leaves, str(chosen or ""), rank)
                return


def axis_changes(program: Program) -> list[tuple[tuple[int, ...], int, int]]:
    """(shape, axis that is reduced, another axis) of all reductions over one axis."""
    found = []
    for step in program.steps:
        shape = np.shape(program.values[step.inputs[0]]) if step.op in REDUCTIONS else ()
        if len(shape) > 1 and len(step.params["axes"]) == 1:
            own = step.params["axes"][0]
            found += [(shape, own, other) for other in range(len(shape)) if other != own]
    return list(dict.fromkeys(found))


def reduced_otherwise(point: Point, chosen: Any, change: tuple[tuple[int, ...], int, int]) -> Leaves | None:
    program = point.program
    assert program is not None
    shape, own, other = change
    lost = {own: shape[:own] + shape[own + 1 :], other: shape[:other] + shape[other + 1 :]}
    steps = tuple(
        turned_step(program, step, change, lost) if chosen is None or step.line == chosen else step
        for step in program.steps
    )
    try:
        again = rerun(program._replace(steps=steps), point.inputs)
        found = gradients(again, sweep(again, point.dys))
    except (ValueError, IndexError, TypeError):
        return None
    fits = all(np.shape(a) == np.shape(b) for a, b in zip(found, point.truth, strict=True))
    return found if fits else None


def turned_step(program: Program, step: Step, change: tuple[tuple[int, ...], int, int], lost: Any) -> Step:
    shape, own, other = change
    operand = np.shape(program.values[step.inputs[0]]) if step.inputs else ()
    if step.op in REDUCTIONS and operand == shape and step.params["axes"] == (own,):
        return step._replace(params={**step.params, "axes": (other,)})
    if step.op == "broadcast_in_dim" and operand == lost[own]:
        kept = tuple(1 if axis == own else size for axis, size in enumerate(shape))
        if step.params["shape"] in (kept, shape):
            size = (
                shape if step.params["shape"] == shape else tuple(1 if a == other else n for a, n in enumerate(shape))
            )
            dimensions = tuple(axis for axis in range(len(shape)) if axis != other)
            return step._replace(params={**step.params, "shape": size, "broadcast_dimensions": dimensions})
    return step
