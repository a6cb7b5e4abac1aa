"""Hypotheses about what an operation reads: another value than the one saved, or another step's cotangent.

The gradient of one operand of a product reads the other one. It may have been transposed, stale, of another step, or
have a constant added; and what comes back may be the cotangent of another value. In a loop all turns are changed
together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program, Step, place_of
from ..program.rules import UNARY
from ..program.source import op_name
from ..program.sweep import pull
from .evidence import Claim, Evidence, Match, reads_program
from .local import Unit, active_operands, explains_local, units
from .local_rules import SELECTING, Local
from .values import candidates, describe_value

OUTPUT = -1


@reads_program
def operands(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The pull of one operand reads another one: it may have been transposed, stale, or of another step."""
    numbers = candidates(program)
    for unit in units(program):
        step = program.steps[unit.steps[-1]]
        for operand in active_operands(program, unit) if step.op not in SELECTING else ():
            for saved in saved_operands(step, operand):
                for what, fix, source, rank in replacements(evidence, unit, saved, numbers):
                    rule = reading(operand, saved, source)
                    for match, c in explains_local(evidence, unit, operand, rule):
                        if abs(c - 1) < 1e-6:
                            yield operand_diagnosis(evidence, step, saved, what, fix, match, rank)


def saved_operands(step: Step, operand: int) -> list[int]:
    """Which operands the gradient of `operand` reads; OUTPUT stands for the operation's own output."""
    if step.op in ("mul", "dot_general", "conv_general_dilated"):
        return [1 - operand] if len(step.inputs) == 2 else []
    if step.op == "div":
        return [1] if operand == 0 else [0, 1, OUTPUT]
    if step.op not in UNARY or step.op in ("neg", "stop_gradient", "abs", "sign"):
        return []
    return [0, OUTPUT] if UNARY[step.op].from_output is not None else [0]


Source = Callable[[Program, Step], Any]


def saved_number(step: Step, saved: int) -> int:
    return step.outputs[0] if saved == OUTPUT else step.inputs[saved]


def reading(operand: int, saved: int, source: Source) -> Local:
    def rule(program: Program, step: Step, dy: Any) -> Any:
        values = [program.values[number] for number in step.inputs]
        other = source(program, step)
        if other is None or np.shape(other) != np.shape(program.values[saved_number(step, saved)]):
            return None
        if step.op in UNARY:
            function = UNARY[step.op]
            if saved == OUTPUT and function.from_output is not None:
                return dy * function.from_output(other)
            return dy * function.slope(other, function.value(other))
        if saved == OUTPUT:
            return step.rule.pull(step.params, operand, values, other, dy)
        values[saved] = other
        y = values[0] / values[1] if step.op == "div" else program.values[step.outputs[0]]
        return step.rule.pull(step.params, operand, values, y, dy)

    return rule


def replacements(
    evidence: Evidence, unit: Unit, saved: int, numbers: list[int]
) -> Iterator[tuple[str, str, Source, float]]:
    """What may stand where a saved operand belongs. Of a loop the last turn is looked at: in the first, where the
    state is zero, different values are equal."""
    program = evidence.first.recorded
    step = program.steps[unit.steps[-1]]
    number = saved_number(step, saved)
    value = program.values[number]
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.size < 2:
        return
    for name, change in rearranged(value):
        arithmetic = name in ARITHMETIC
        fix = "read the value as the forward has it" if arithmetic else "compare the operand's axes with the forward's"
        yield f"{{}} {name}", fix, changed(saved, change), 1.95 if arithmetic else 1.5
    same_template = set(unit.steps)
    for other in numbers:
        if other == number or np.shape(program.values[other]) != value.shape:
            continue
        if saved == OUTPUT and program.maker.get(other, -1) in same_template and len(unit.steps) > 1:
            continue
        source = relative(program, step, other) if len(unit.steps) > 1 else constant(other)
        if source is not None:
            yield f"{describe_value(evidence, other)} in place of {{}}", SAVED, source, 1.7
    if step.op == "dot_general" and value.ndim >= 2:
        for other in numbers:
            if np.shape(program.values[other]) == (*value.shape[:-2], value.shape[-1], value.shape[-2]):
                what = f"{describe_value(evidence, other)} (transposed) in place of {{}}"
                yield what, SAVED, swapped_source(other), 1.8
    yield from sums_of_two(evidence, unit, saved, numbers)
    for turn in (-1, 1):
        if len(unit.steps) > 1:
            how = "the turn before" if turn < 0 else "the turn after"
            yield f"{{}} of {how}", "check which step's value the backward loop reads", earlier(saved, turn), 1.6
    for dy_number, dy in evidence.first.cotangents.items() if len(unit.steps) == 1 and step.op not in UNARY else ():
        if np.shape(dy) == value.shape:
            name = f"the cotangent of {describe_value(evidence, dy_number)} in place of {{}}"
            yield name, SAVED, cotangent(evidence, dy_number), 2.1


def sums_of_two(
    evidence: Evidence, unit: Unit, saved: int, numbers: list[int]
) -> Iterator[tuple[str, str, Source, float]]:
    """The saved operand with another value of its shape added or subtracted."""
    program = evidence.first.recorded
    step = program.steps[unit.steps[0]]
    number = saved_number(step, saved)
    shape = np.shape(program.values[number])
    for other in numbers if len(unit.steps) == 1 and step.op not in UNARY else ():
        if other != number and np.shape(program.values[other]) == shape:
            for sign, how in ((1, "plus"), (-1, "minus")):

                def source(program: Program, step: Step, other: int = other, sign: int = sign) -> Any:
                    return program.values[saved_number(step, saved)] + sign * program.values[other]

                yield f"{{}} {how} {describe_value(evidence, other)} in place of {{}}", SAVED, source, 2.2


SAVED = "save and read the value that the forward used at this place"


ARITHMETIC = ("plus 1", "minus 1", "taken from 1 (1 - v)", "squared", "taken as 1", "without its sign")


def rearranged(value: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    for a, b in itertools.combinations(range(value.ndim), 2):
        if value.shape[a] == value.shape[b] > 1:
            what = (
                "not transposed, or transposed once too often"
                if value.ndim == 2
                else f"transposed wrongly: axes {a} and {b} exchanged"
            )
            yield what, lambda v, a=a, b=b: np.swapaxes(v, a, b)
        elif value.ndim > 2 and min(value.shape[a], value.shape[b]) > 1:
            what = f"reshaped where axes {a} and {b} must be transposed first"
            yield what, lambda v, a=a, b=b: np.swapaxes(v, a, b).reshape(v.shape)
    for count in (1, 2, 3):
        for axes in itertools.combinations(range(value.ndim), count):
            if all(value.shape[a] > 1 for a in axes):
                where = f"axis {axes[0]}" if count == 1 else f"axes {axes}"
                yield f"flipped along {where}", lambda v, axes=axes: np.flip(v, axes)
    for axis in range(value.ndim):
        for shift in (-1, 1):
            if value.shape[axis] > 2:
                yield f"shifted by {shift} along axis {axis}", lambda v, s=shift, a=axis: np.roll(v, s, a)
    yield "plus 1", lambda v: v + 1
    yield "minus 1", lambda v: v - 1
    yield "taken from 1 (1 - v)", lambda v: 1 - v
    yield "squared", np.square
    yield "taken as 1", np.ones_like
    yield "without its sign", np.abs


def changed(saved: int, change: Callable[[Any], Any]) -> Source:
    return lambda program, step: change(program.values[saved_number(step, saved)])


def swapped_source(number: int) -> Source:
    return lambda program, step: np.swapaxes(program.values[number], -1, -2)


def constant(number: int) -> Source:
    return lambda program, step: program.values[number]


def cotangents_by_program(evidence: Evidence) -> dict[int, Any]:
    return {id(point.recorded): point.cotangents for point in (*evidence.points, *evidence.fresh)}


def cotangent(evidence: Evidence, number: int) -> Source:
    found = cotangents_by_program(evidence)
    return lambda program, step: found.get(id(program), {}).get(number)


def relative(program: Program, step: Step, other: int) -> Source | None:
    """The value that the other's operation makes in the turn of the step at hand."""
    if other not in program.maker:
        return constant(other)
    made = program.steps[program.maker[other]]
    if not made.turn:
        return constant(other)
    if made.turn != step.turn:
        return None
    j = made.outputs.index(other)

    def source(program: Program, step: Step) -> Any:
        k = program.places.get(place_of(made, step.turn))
        return None if k is None else program.values[program.steps[k].outputs[j]]

    return source


def earlier(saved: int, by: int) -> Source:
    """The same operand, of another turn; zeros where there is no such turn."""

    def source(program: Program, step: Step) -> Any:
        k = program.places.get(place_of(step, (*step.turn[:-1], step.turn[-1] + by)))
        other = None if k is None else program.steps[k]
        value = program.values[saved_number(step, saved)]
        return np.zeros_like(value) if other is None else program.values[saved_number(other, saved)]

    return source


def operand_diagnosis(
    evidence: Evidence, step: Step, saved: int, what: str, fix: str, match: Match, rank: float
) -> Claim:
    at = f" at {step.line}" if step.line.text else ""
    phrase = what.replace("{}", describe_value(evidence, saved_number(step, saved)))
    text = f"in your gradient of {match.label}, {op_name(step.op)}{at} reads {phrase}"
    return match.claim("wrong_operand", text, fix, rank, rank + 0.6, step.line)


# Another step's cotangent.


@reads_program
def other_cotangents(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The right rule of an operation, fed the cotangent of another value: db from dy where dz belongs."""
    for unit in units(program):
        step = program.steps[unit.steps[-1]]
        if len(step.outputs) != 1 or step.outputs[0] not in evidence.first.cotangents:
            continue
        shape = np.shape(program.values[step.outputs[0]])
        for operand in active_operands(program, unit):
            for other, dy in evidence.first.cotangents.items():
                if other == step.outputs[0] or np.shape(dy) != shape or np.size(dy) < 2:
                    continue
                source = same_turn_cotangent(evidence, program, step, other)
                if source is None or (len(unit.steps) > 1 and not in_same_turn(program, step, other)):
                    continue
                for match, c in explains_local(evidence, unit, operand, fed(operand, source)):
                    if abs(c - 1) < 1e-6:
                        yield cotangent_diagnosis(evidence, step, other, match)


def in_same_turn(program: Program, step: Step, other: int) -> bool:
    """Whether a value is made in the same turn of the loop as a step is in."""
    return other in program.maker and program.steps[program.maker[other]].turn == step.turn


def same_turn_cotangent(evidence: Evidence, program: Program, step: Step, other: int) -> Source | None:
    """The cotangent of a value, or of what its operation makes in the turn of the step at hand."""
    found = cotangents_by_program(evidence)
    if not in_same_turn(program, step, other) or not step.turn:
        return cotangent(evidence, other)
    made = program.steps[program.maker[other]]
    j = made.outputs.index(other)

    def source(program: Program, step: Step) -> Any:
        k = program.places.get(place_of(made, step.turn))
        return None if k is None else found.get(id(program), {}).get(program.steps[k].outputs[j])

    return source


def fed(operand: int, source: Source) -> Local:
    def rule(program: Program, step: Step, dy: Any) -> Any:
        other = source(program, step)
        return pull(program, step, operand, 0 * dy if other is None else other)  # a value without uses has none

    return rule


def cotangent_diagnosis(evidence: Evidence, step: Step, other: int, match: Match) -> Claim:
    program = evidence.first.recorded
    at = f" at {step.line}" if step.line.text else ""
    own = "dy" if other in program.outputs else f"the cotangent of {describe_value(evidence, other)}"
    text = f"your gradient of {match.label} passes {op_name(step.op)}{at} with {own} instead of the "
    text += f"cotangent of {describe_value(evidence, step.outputs[0])}: the wrong cotangent is propagated"
    fix = "use the cotangent of this operation's own output: pass dy back through everything behind it first"
    return match.claim("wrong_cotangent", text, fix, 1.85, 2.0, step.line)
