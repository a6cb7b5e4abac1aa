"""Reverse mode over a recorded program, with any local rule changed.

A hypothesis about a wrong backward is a set of `Changes`: for some (step, operand) another function from the
cotangent of the step's output to that of the operand. `sweep` gives all cotangents, `from_value` what one extra
cotangent at one value contributes to the inputs' gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..vocabulary import OutOfTime
from .record import Program, Step, as_value

Edge = tuple[int, int]
Change = Callable[[Any], Any]
Changes = Mapping[Edge, Change]
Cotangents = dict[int, Any]


def sweep(program: Program, cotangents: Sequence[Any], changes: Changes | None = None) -> Cotangents:
    """The cotangents of all active values, the outputs' given."""
    seeds: Cotangents = {}
    for number, dy in zip(program.outputs, cotangents, strict=True):
        if number in program.active:
            seeds[number] = seeds[number] + dy if number in seeds else dy
    return pull_from(program, seeds, len(program.steps), changes)


def from_value(program: Program, number: int, cotangent: Any) -> list[Any]:
    """The gradients of the inputs when this value alone has a cotangent."""
    found = pull_from(program, {number: cotangent}, program.maker.get(number, -1) + 1, None)
    return gradients(program, found)


def pull_from(program: Program, seeds: Cotangents, start: int, changes: Changes | None) -> Cotangents:
    found = dict(seeds)
    with np.errstate(all="ignore"):
        for k in reversed(range(start)):
            step = program.steps[k]
            if any(output in found for output in step.outputs):
                for operand, number in enumerate(step.inputs):
                    if number in program.active:
                        change = changes.get((k, operand)) if changes else None
                        dy = out_cotangent(program, step, found)
                        dx = change(dy) if change else pull(program, step, operand, dy)
                        if dx is not None:
                            found[number] = found[number] + dx if number in found else dx
    return found


def out_cotangent(program: Program, step: Step, found: Cotangents) -> Any:
    """The cotangent of a step's output; a list where the step has several outputs."""
    if len(step.outputs) == 1:
        return found[step.outputs[0]]
    return [found.get(output) for output in step.outputs]


def pull(program: Program, step: Step, operand: int, dy: Any, operands: Sequence[Any] | None = None) -> Any:
    """The step's own rule, or with other operands than the forward's."""
    in_time(program)
    if step.op == "stop_gradient":
        return None
    values = [program.values[number] for number in step.inputs] if operands is None else operands
    outputs = [program.values[number] for number in step.outputs]
    return step.rule.pull(step.params, operand, values, outputs[0] if len(outputs) == 1 else outputs, dy)


def in_time(program: Program) -> None:
    if time.monotonic() > program.deadline:
        raise OutOfTime


def gradients(program: Program, found: Cotangents) -> list[Any]:
    """The gradients of the program's inputs."""
    return [found.get(number, np.zeros_like(program.values[number])) for number in program.inputs]


def rerun(
    program: Program,
    inputs: Sequence[Any],
    changed: Mapping[int, Any] | None = None,
    alter: Callable[[Step, Any], Any] = lambda step, value: value,
) -> Program:
    """The same steps at other inputs; `changed` replaces some values (constants of the forward), and `alter` what a
    step makes."""
    values = list(program.values)
    for number, value in zip(program.inputs, inputs, strict=True):
        values[number] = np.asarray(value)
    for number, value in (changed or {}).items():
        values[number] = np.asarray(value, values[number].dtype)
    fixed = changed or {}
    with np.errstate(all="ignore"):
        for step in program.steps:
            in_time(program)
            result = step.rule.run(step.params, *(values[number] for number in step.inputs))
            for number, value in zip(step.outputs, result if isinstance(result, list) else [result], strict=True):
                values[number] = values[number] if number in fixed else as_value(alter(step, value))
    return program._replace(values=values)
