"""Hypotheses about the sum that undoes a broadcast: along another axis than the forward reduces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..program.record import Program
from ..program.sweep import from_value, pull_from
from .evidence import Claim, Evidence, Leaves, Point, explains, reads_program
from .values import candidates, describe_value, quiet

REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")


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
