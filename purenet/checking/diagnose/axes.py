"""Hypotheses about the axis of a reduction: softmax over the examples, statistics over the features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..program.record import Program, Step
from ..program.sweep import from_value, gradients, pull_from, rerun, sweep
from .evidence import Claim, Evidence, Leaves, Point, explains, reads_program
from .values import candidates, describe_value, quiet

REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")


@reads_program
def other_axes(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The gradient of the forward with its reductions over another axis: all of them, or those of one expression."""
    lines = list(dict.fromkeys(step.line for step in program.steps if step.op in REDUCTIONS))
    for chosen in [None, *lines] if len(lines) > 1 else [None]:
        for shape, own, other in axis_changes(program):

            def predict(point: Point, chosen: Any = chosen, change: Any = (shape, own, other)) -> Leaves | None:
                return quiet(lambda c: reduced_otherwise(point, chosen, c), change)

            if match := explains(evidence, predict):
                where = f" at {chosen}" if chosen is not None else ""
                text = f"your gradient of {match.label} is exactly that of a forward that reduces "
                text += f"over axis {other} instead of axis {own}{where}: "
                text += "it couples the examples" if other == 0 else "the wrong axis is summed"
                fix = f"sum over axis {own} in the backward, as the forward does"
                yield match.claim("coupling", text, fix, 1.5, 2.1, chosen)
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
    program = point.recorded
    shape, own, other = change
    lost = {own: shape[:own] + shape[own + 1 :], other: shape[:other] + shape[other + 1 :]}
    steps = tuple(
        with_other_axis(program, step, change, lost) if chosen is None or step.line == chosen else step
        for step in program.steps
    )
    try:
        again = rerun(program._replace(steps=steps), point.inputs)
        found = gradients(again, sweep(again, point.dys))
    except (ValueError, IndexError, TypeError):
        return None
    fits = all(np.shape(a) == np.shape(b) for a, b in zip(found, point.reference, strict=True))
    return found if fits else None


def with_other_axis(program: Program, step: Step, change: tuple[tuple[int, ...], int, int], lost: Any) -> Step:
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


# The sum that undoes a broadcast, along another axis.


@reads_program
def other_sums(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """A statistic [rows, 1] is used in [rows, columns]: its cotangent is a sum over columns. Over rows instead?"""
    for reduction, step in enumerate(program.steps):
        if step.op not in REDUCTIONS or len(step.params["axes"]) != 1 or step.outputs[0] not in program.active:
            continue
        shape, own = np.shape(program.values[step.inputs[0]]), step.params["axes"][0]
        for q, operand in broadcasts(program, reduction, shape, own):
            for other in range(len(shape)):
                for inside in thin_factors(program, shape, own) if other != own else ():

                    def predict(point: Point, at: tuple = (reduction, q, operand, own, other, inside)) -> Leaves | None:
                        return quiet(lambda place: summed_otherwise(point, *place), at)

                    if match := explains(evidence, predict):
                        text = f"in your gradient of {match.label}, the sum that belongs to "
                        text += (
                            f"{describe_value(evidence, step.outputs[0])} runs over axis {other} instead of axis {own}"
                        )
                        fix = f"sum over axis {own}, the axis that the forward reduces"
                        yield match.claim("coupling", text, fix, 1.5, 2.0, step.line)
                        return


Outside = tuple[bool, int, int, bool]  # (the reduction's own chain, a value of the rows or -1, its power, a mean)


def thin_factors(program: Program, shape: tuple[int, ...], own: int) -> list[Outside]:
    """Factors of each row that may stand before the sum instead of inside it."""
    thin = tuple(1 if axis == own else size for axis, size in enumerate(shape))
    numbers = [n for n in candidates(program) if np.shape(program.values[n]) == thin][:6]
    powers = [(-1, 1), *((n, power) for n in numbers for power in (1, 2, -1, -2))]
    return [(chain, n, power, mean) for mean in (False, True) for chain in (False, True) for n, power in powers]


def broadcasts(program: Program, reduction: int, shape: tuple[int, ...], own: int) -> list[tuple[int, int]]:
    """(step, operand) where something made of the reduction, with length 1 along its axis, meets the full shape."""
    thin = tuple(1 if axis == own else size for axis, size in enumerate(shape))
    made = set(program.steps[reduction].outputs)
    found = []
    for k in range(reduction + 1, len(program.steps)):
        step = program.steps[k]
        if not made.intersection(step.inputs):
            continue
        wide = np.shape(program.values[step.outputs[0]]) == shape
        meeting = [j for j, n in enumerate(step.inputs) if n in made and np.shape(program.values[n]) == thin]
        if wide and meeting:
            found += [(k, j) for j in meeting]
        elif not wide:
            made.update(step.outputs)
    return found


def summed_otherwise(
    point: Point, reduction: int, q: int, operand: int, own: int, other: int, outside: Outside
) -> Leaves | None:
    """The gradient with the sum at one meeting place along another axis, some factors of each row before the sum."""
    program = point.recorded
    step, meeting = program.steps[reduction], program.steps[q]
    values = [program.values[n] for n in meeting.inputs]
    number, shape = meeting.inputs[operand], np.shape(program.values[step.inputs[0]])
    if meeting.outputs[0] not in point.cotangents:
        return None
    full = [np.broadcast_to(v, shape) if np.ndim(v) else v for v in values]
    wide = meeting.rule.pull(
        meeting.params, operand, full, program.values[meeting.outputs[0]], point.cotangents[meeting.outputs[0]]
    )
    chain = pull_from(program, {number: np.ones_like(program.values[number])}, q, None).get(step.outputs[0])
    if chain is None:
        return None
    chain = np.broadcast_to(np.reshape(chain, np.shape(program.values[number])), shape)
    averaged = outside[3]
    outer = chain if outside[0] else np.ones(shape)
    if outside[1] >= 0:
        outer = outer * np.broadcast_to(program.values[outside[1]], shape) ** float(outside[2])
    inner = wide * chain / outer
    summed = outer * np.sum(inner, other, keepdims=True) * (shape[own] / shape[other] if averaged else 1.0)
    right = np.sum(wide * chain, own, keepdims=True)
    slope = step.rule.pull(
        step.params,
        0,
        [program.values[step.inputs[0]]],
        program.values[step.outputs[0]],
        np.ones_like(program.values[step.outputs[0]]),
    )
    extra = (np.broadcast_to(summed, shape) - np.broadcast_to(right, shape)) * slope
    return [t + e for t, e in zip(point.reference, from_value(program, step.inputs[0], extra), strict=True)]
