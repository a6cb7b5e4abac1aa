"""Hypotheses about the forward: your gradient is exactly that of a slightly different function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program, is_floating
from ..program.rules import Rule
from ..program.source import op_name
from ..program.sweep import gradients, rerun, sweep
from .evidence import Claim, Evidence, Leaves, Match, Point, explains, in_time, of_leaf, reads_program, regradient
from .functions import FUNCTIONS
from .operands import rearranged
from .values import describe_value, quiet

TRIALS = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0)
TRIVIAL = (-1.0, 0.0, 1.0)


def gradient_at(point: Point, program: Program) -> Leaves:
    return gradients(program, sweep(program, point.dys))


@reads_program
def through_stops(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The gradient of the forward without its stop_gradients."""
    if not any(step.op == "stop_gradient" for step in program.steps):
        return
    match = explains(evidence, lambda point: gradient_at(point, without_stops(point.recorded)))
    if match:
        at = next(step.line for step in program.steps if step.op == "stop_gradient")
        text = f"your gradient of {match.label} is that of the forward without the stop_gradient at "
        text += f"{at}: it flows through it, where jax.grad stops"
        fix = "drop the term that comes through it, if the stop is meant"
        yield match.claim("stop_gradient", text, fix, 0.5, line=at)


def without_stops(program: Program) -> Program:
    same = Rule(lambda params, x: x, lambda params, k, operands, y, dy: dy)
    steps = [s._replace(op="copy", rule=same) if s.op == "stop_gradient" else s for s in program.steps]
    active = set(program.inputs)
    for step in steps:
        if active.intersection(step.inputs):
            active.update(v for v in step.outputs if is_floating(program.values[v]))
    return program._replace(steps=tuple(steps), active=frozenset(active))


@reads_program
def other_constants(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The gradient of the forward with one of its constants changed, wherever it stands or at one place."""
    for numbers in constant_groups(program):
        value = float(program.values[numbers[0]])
        for trial in trials(evidence, numbers, value):

            def predict(point: Point, numbers: tuple[int, ...] = numbers, trial: float = trial) -> Leaves:
                return changed_gradient(point, dict.fromkeys(numbers, trial))

            if match := explains(evidence, predict):
                yield constant_diagnosis(evidence, numbers[0], trial, match)
                break


def constant_groups(program: Program) -> list[tuple[int, ...]]:
    """Constants written in the forward: those of one value together, then each alone."""
    by_value: dict[float, list[int]] = {}
    for number in program.literals:
        value = np.asarray(program.values[number])
        if not value.ndim and value.dtype.kind == "f" and np.isfinite(value) and used(program, number):
            by_value.setdefault(float(value), []).append(number)
    together = [tuple(numbers) for numbers in by_value.values()]
    return together + [(number,) for numbers in together if len(numbers) > 1 for number in numbers]


def used(program: Program, number: int) -> bool:
    return any(number in step.inputs for step in program.steps)


def changed_gradient(point: Point, changed: dict[int, Any]) -> Leaves:
    """The gradient of the forward with some values replaced."""
    return quiet(lambda c: gradient_at(point, rerun(point.recorded, point.inputs, c)), changed)


def trials(evidence: Evidence, numbers: tuple[int, ...], value: float) -> Iterator[float]:
    """Numbers people write instead, and the one that a secant finds."""
    for trial in [*TRIALS, 2 * value, value / 2, -value, 1 / value if value else 0.0, value**2, 1 - value, 10 * value]:
        if abs(trial - value) > 1e-12 * abs(value):
            yield trial
    solved = solve_constant(evidence, numbers, value)
    if solved is not None:
        yield solved


def solve_constant(evidence: Evidence, numbers: tuple[int, ...], value: float) -> float | None:
    """The constant that makes the gradient most like yours, by Gauss-Newton on the first point."""
    point = evidence.first
    candidate = np.concatenate([np.ravel(point.candidate[i]) for i in evidence.wrong])

    def at(c: float) -> Any:
        leaves = changed_gradient(point, dict.fromkeys(numbers, c))
        return np.concatenate([np.ravel(leaves[i]) for i in evidence.wrong])

    c, step = value, 1e-6 * max(abs(value), 1e-3)
    for _ in range(12):
        here = at(c)
        slope = (at(c + step) - here) / step
        square = float(slope @ slope)
        if not np.isfinite(square) or square == 0 or not np.all(np.isfinite(candidate)):
            return None
        move = float(slope @ (candidate - here)) / square
        c += move
        if not np.isfinite(c) or abs(c) > 1e6:
            return None
        if abs(move) <= 1e-13 * max(abs(c), 1e-6):
            break
    return c if abs(c - value) > 1e-9 * max(abs(value), 1e-9) else None


def constant_diagnosis(evidence: Evidence, number: int, trial: float, match: Match) -> Claim:
    program = evidence.first.recorded
    step = next(s for s in program.steps if number in s.inputs)
    value = float(program.values[number])
    text = f"your gradient of {match.label} is exactly that of a forward with {trial:.6g} in place "
    text += f"of the constant {value:.6g} at {step.line}"
    fix = f"use {value:.6g} in the backward too, at the same place"
    rank = (1.5 if value not in TRIVIAL else 3.2) + (0.0 if trial in TRIALS else 0.3)
    return match.claim("forward_variant", text, fix, rank, rank + 0.6, step.line)


@reads_program
def open_gates(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The gradient of the forward without one of its masks or clips: where, maximum, minimum or clamp left out."""
    for step in program.steps:
        if step.op not in ("select_n", "max", "min", "clamp") or step.outputs[0] not in program.active:
            continue
        for number in step.inputs:
            if number not in program.active:
                continue

            def predict(point: Point, output: int = step.outputs[0], number: int = number) -> Leaves:
                value = np.broadcast_to(point.recorded.values[number], np.shape(point.recorded.values[output]))
                return ungated(point, output, number, value)

            if match := explains(evidence, predict):
                text = f"your gradient of {match.label} is exactly that of a forward without the "
                text += f"{op_name(step.op)} at {step.line}: its mask (or clip) is ignored"
                fix = "apply the forward's mask in the backward too, where it recomputes and where it passes dy on"
                yield match.claim("forward_variant", text, fix, 1.5, 2.1, step.line)


@reads_program
def open_clips(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """Both ends of a clip open: all maxima, minima and clamps of one line pass everything."""
    by_line: dict[Any, list[int]] = {}
    for k, step in enumerate(program.steps):
        if step.op in ("max", "min", "clamp") and step.outputs[0] in program.active and step.line.text:
            by_line.setdefault(step.line, []).append(k)
    for line, steps in by_line.items():

        def predict(point: Point, steps: list[int] = steps) -> Leaves:
            return regradient(point, {(k, j): through_gate for k in steps for j in range(3)})

        if match := explains(evidence, predict):
            text = f"your gradient of {match.label} passes dy through {line} where the clip is active: "
            text += "there the derivative is 0"
            fix = "multiply by the clip's gate: 1 inside, 0 where the value is held"
            yield match.claim("support", text, fix, 1.55, 2.0, line)


def through_gate(dy: Any) -> Any:
    return dy


def ungated(point: Point, output: int, number: int, value: Any) -> Leaves:
    """The gradient with a selection replaced by one of its cases, forward and backward."""
    program = point.recorded
    through = Rule(lambda params, x: x, lambda params, k, operands, y, dy: dy)
    steps = tuple(
        s._replace(op="copy", inputs=(number,), rule=through) if s.outputs == (output,) else s for s in program.steps
    )
    if np.shape(program.values[number]) != np.shape(value):
        return point.reference
    return quiet(lambda p: gradient_at(point, rerun(p, point.inputs)), program._replace(steps=steps))


@reads_program
def swapped_values(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """A value of the forward computed or arranged a little differently in the backward."""
    numbers = [n for n in (*program.inputs, *program.maker) if n in program.active and n not in program.outputs]
    for number in numbers[:MOST_VALUES]:
        value = program.values[number]
        if number in program.maker and program.steps[program.maker[number]].turn:
            continue
        changes = [(f"{{}} {name}", change) for name, change in rearranged(value)] if np.size(value) > 1 else []
        for what, change in [*changes, *VALUE_CHANGES]:

            def predict(point: Point, number: int = number, change: Any = change) -> Leaves | None:
                value = quiet(change, point.recorded.values[number])
                return changed_gradient(point, {number: value}) if np.all(np.isfinite(value)) else None

            if match := explains(evidence, predict):
                text = f"your gradient of {match.label} is exactly that of a forward with "
                text += f"{what.format(describe_value(evidence, number))}"
                fix = "use the forward's value in the backward"
                line = program.steps[program.maker[number]].line if number in program.maker else ""
                yield match.claim("forward_variant", text, fix, 2.0, 2.4, line)


MOST_VALUES = 60

VALUE_CHANGES: list[tuple[str, Callable[[Any], Any]]] = [
    ("the square of {} in its place", np.square),
    ("the square root of {} in its place", np.sqrt),
    ("the reciprocal of {} in its place", lambda v: 1 / v),
    ("the negative of {} in its place", np.negative),
    ("twice {} in its place", lambda v: 2 * v),
    ("half of {} in its place", lambda v: v / 2),
    ("0 in place of {}", np.zeros_like),
    ("the mean over the first axis of {} in its place", lambda v: mean_over(v, 0)),
    ("the mean over the last axis of {} in its place", lambda v: mean_over(v, -1)),
]


def mean_over(value: Any, axis: int) -> Any:
    return np.broadcast_to(np.mean(value, axis, keepdims=True), np.shape(value)) if np.ndim(value) else value


def known_functions(evidence: Evidence) -> Iterator[Claim]:
    """dx = f'(x) dy with the derivative of another function people know."""
    for i in evidence.wrong:
        fits = [dy.shape == evidence.first.inputs[i].shape for dy in evidence.first.dys]
        if len(fits) != 1 or not fits[0]:
            continue
        for name, slope in FUNCTIONS:
            in_time(evidence)
            if all(p.unexplained(i, quiet(slope, p.inputs[i]) * p.dys[0]) < 1e-6 for p in evidence.points):
                text = f"your gradient of {evidence.names[i]} is exactly that of {name}"
                fix = "differentiate the function that the forward computes"
                predict = of_leaf(i, lambda p, i=i, slope=slope: quiet(slope, p.inputs[i]) * p.dys[0])
                yield Claim("forward_variant", text, fix, (evidence.names[i],), 2.2, predict)
