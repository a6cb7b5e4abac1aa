"""Hypotheses about one operation: its derivative is another one.

In a loop all turns of an operation are changed together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program, Step
from ..program.source import op_name
from ..program.sweep import Change, from_value, out_cotangent, pull
from ..vocabulary import norm
from .evidence import Claim, Evidence, Leaves, Match, Point, explains, explains_scaled, reads_program, regradient
from .local_rules import Local, local_rules
from .values import quiet

MOST_ALONE = 120


class Unit(NamedTuple):
    """An operation of the source: one step, or the steps of all turns of a loop together."""

    steps: Sequence[int]


def units(program: Program) -> list[Unit]:
    grouped: dict[tuple, list[int]] = {}
    for k, step in enumerate(program.steps):
        if any(output in program.active for output in step.outputs):
            grouped.setdefault((step.template, step.op), []).append(k)
    groups = [Unit(tuple(steps)) for steps in grouped.values()]
    alone = [Unit((k,)) for unit in groups if len(unit.steps) > 1 for k in unit.steps if by_hand(program.steps[k])]
    return groups + alone if len(program.steps) <= MOST_ALONE else groups


def active_operands(program: Program, unit: Unit) -> list[int]:
    """Operands that carry a gradient in some turn (the first state of a loop is a constant)."""
    first = program.steps[unit.steps[0]]
    return [
        j for j in range(len(first.inputs)) if any(program.steps[k].inputs[j] in program.active for k in unit.steps)
    ]


def by_hand(step: Step) -> bool:
    """Whether a step's loop is Python's, or no loop at all but the same line met twice: turns may differ there."""
    return isinstance(step.template[0], tuple)


# Wrong local derivatives.


@reads_program
def derivatives(evidence: Evidence, program: Program) -> Iterator[Claim]:
    for unit in units(program):
        step = program.steps[unit.steps[0]]
        for operand in active_operands(program, unit):
            for what, fix, rule, rank in local_rules(step, operand):
                for match, c in explains_local(evidence, unit, operand, rule):
                    if abs(c) > 1e-9 and evidence.factor(c).rank < 2:
                        yield local_diagnosis(evidence, step, what, fix, match, c, rank)


def explains_local(evidence: Evidence, unit: Unit, operand: int, rule: Local) -> list[tuple[Match, float]]:
    """Your gradient with this local rule, and for a single step with any constant before it."""
    if len(unit.steps) > 1:
        for sign in (1.0, -1.0):

            def predict(point: Point, sign: float = sign) -> Leaves | None:
                changes = {(k, operand): bind(point.recorded, k, operand, rule) for k in unit.steps}
                return regradient(point, {edge: signed(change, sign) for edge, change in changes.items()})

            if match := explains(evidence, predict):
                return [(match, sign)]
        return []
    k = unit.steps[0]

    def parts(point: Point) -> tuple[Leaves, Leaves] | None:
        program = point.recorded
        step = program.steps[k]
        if not any(output in point.cotangents for output in step.outputs):
            return None
        dy = out_cotangent(program, step, point.cotangents)
        right, other = pull(program, step, operand, dy), applied(program, k, operand, rule, dy)
        if other is None or right is None or not np.all(np.isfinite(other)):
            return None
        if proportional(other, right):  # a matter of a factor, which path attribution names
            return None
        number = step.inputs[operand]
        if point is evidence.first and not evidence.screen.passes(number, right, other):
            return None
        through = from_value(program, number, right)
        base = [t - c for t, c in zip(point.reference, through, strict=True)]
        return base, from_value(program, number, other)

    return explains_scaled(evidence, parts)


def proportional(a: Any, b: Any) -> bool:
    size = float(np.sum(a * a))
    if np.size(a) == 1 and size:
        return False
    return not size or norm(b - a * (float(np.sum(a * b)) / size)) <= 1e-9 * norm(b)


def signed(change: Change, sign: float) -> Change:
    return lambda dy: sign * change(dy)


def applied(program: Program, k: int, operand: int, rule: Local, dy: Any) -> Any:
    """What a rule gives at a step; None where it does not fit the operand's shape."""
    step = program.steps[k]
    dx = quiet(lambda d: rule(program, step, d), dy)
    return None if dx is None or np.shape(dx) != np.shape(program.values[step.inputs[operand]]) else dx


def bind(program: Program, k: int, operand: int, rule: Local) -> Change:
    """The rule at a step. Where it does not fit it makes NaN, which explains nothing: to leave the path out would be
    another hypothesis."""

    def change(dy: Any) -> Any:
        dx = applied(program, k, operand, rule, dy)
        return np.full(np.shape(program.values[program.steps[k].inputs[operand]]), np.nan) if dx is None else dx

    return change


def local_diagnosis(
    evidence: Evidence,
    step: Step,
    what: str,
    fix: str,
    match: Match,
    c: float,
    rank: float,
) -> Claim:
    factor = evidence.factor(c)
    times = "" if abs(c - 1) < 1e-6 else f", times {factor.text}"
    at = f" at {step.line}" if step.line.text else ""
    text = f"in your gradient of {match.label}, {op_name(step.op)}{at}: {what}{times}"
    rank += 0.5 + factor.rank if times else 0.0
    return match.claim("local_derivative", text, fix, rank, rank + 0.6, step.line)
