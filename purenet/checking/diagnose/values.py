"""The values of the forward, and how to speak of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program
from ..program.source import op_name
from .evidence import Evidence, Point


def describe_value(evidence: Evidence, number: int) -> str:
    """A value by its leaf's name, its number, or the expression that makes it."""
    program = evidence.first.recorded
    if number in program.inputs:
        return evidence.names[program.inputs.index(number)]
    if number not in program.maker:
        value = np.asarray(program.values[number])
        return f"{float(value):.6g}" if value.ndim == 0 and value.dtype.kind == "f" else "a constant"
    step = program.steps[program.maker[number]]
    turn = f" in turn {', '.join(map(str, step.turn))}" if step.turn else ""
    if not step.line.text:
        return f"step {program.maker[number]}, {op_name(step.op)}{turn}"
    alone = last_of_line(program, program.maker[number])
    return f"{step.line}{turn}" if alone else f"{op_name(step.op)} in {step.line}{turn}"


def last_of_line(program: Program, k: int) -> bool:
    """Whether a step makes the value of its whole expression, not a part of it."""
    step = program.steps[k]
    later = program.steps[k + 1 :]
    return not any(set(step.outputs) & set(other.inputs) and other.line == step.line for other in later)


def candidates(program: Program) -> list[int]:
    """Floating values of the forward, one number for equal ones."""
    found: list[int] = []
    seen: set[bytes] = set()
    for number, value in enumerate(program.values):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 1:
            mark = str(value.shape).encode() + value.tobytes()
            if mark not in seen:
                seen.add(mark)
                found.append(number)
    return found


def known_values(evidence: Evidence) -> Iterator[tuple[str, str, Callable[[Point], Any]]]:
    """(description, fix, value) of what a gradient may be multiplied by: values of the forward, powers of them."""
    program = evidence.first.program
    if program is None:
        numbered = [(evidence.names[i], lambda point, i=i: point.inputs[i]) for i in range(len(evidence.names))]
    else:
        numbered = [
            (describe_value(evidence, number), lambda point, number=number: point.recorded.values[number])
            for number in candidates(program)
            if number not in program.outputs or number in program.maker
        ]
    forms: list[tuple[str, str, Callable[[Any], Any]]] = [
        ("{}", "remove the factor", lambda v: v),
        ("1 / ({})", "the factor is missing: multiply by it", lambda v: 1 / v),
        ("-({})", "remove the factor, and mind the sign", lambda v: -v),
        ("({})^2", "remove the factor, it is there twice too often", np.square),
        ("1 / ({})^2", "the factor is missing twice", lambda v: 1 / np.square(v)),
        ("exp({})", "an exponential is there too many: a minus in an exponent is left out or turned round", np.exp),
        (
            "exp(-({}))",
            "an exponential is missing: a minus in an exponent is left out or turned round",
            lambda v: np.exp(-v),
        ),
        ("exp(2 ({}))", "a sign in an exponent is turned round", lambda v: np.exp(2 * v)),
        ("1 - ({})", "the factor 1 - v stands where none belongs", lambda v: 1 - v),
        ("1 / (1 - ({}))", "a factor 1 - v is missing", lambda v: 1 / (1 - v)),
    ]
    yield from moved_factors(evidence)
    for name, value in numbered:
        for form, fix, change in forms:
            yield form.format(name), fix, lambda point, value=value, change=change: quiet(change, value(point))


MOVED: dict[str, Callable[[Any, Any], Any]] = {
    "sqrt": lambda x, e: np.sqrt(x) + e,
    "rsqrt": lambda x, e: 1 / (np.sqrt(x) + e),
    "log": lambda x, e: np.log(x) + e,
}


def constants_inside(program: Program) -> Iterator[tuple[int, int, int, str]]:
    """(x, the constant, f(x + constant), f) for every root or logarithm of a sum with a constant."""
    for k, step in enumerate(program.steps):
        literals = [number for number in step.inputs if number in program.literals]
        if step.op != "add" or not literals:
            continue
        inside = next((n for n in step.inputs if n not in literals), literals[0])
        for later in program.steps[k + 1 :]:
            if step.outputs[0] in later.inputs and later.op in MOVED:
                yield inside, literals[0], later.outputs[0], later.op


def moved_factors(evidence: Evidence) -> Iterator[tuple[str, str, Callable[[Point], Any]]]:
    """How a root changes when its constant (eps) stands outside, or is left out."""
    program = evidence.first.program
    for inside, literal, number, op in constants_inside(program) if program else ():
        for where, change in (
            ("outside", MOVED[op]),
            ("left out of", lambda x, e, op=op: MOVED[op](x, 0 * e)),
            ("inside and again outside", lambda x, e, op=op: MOVED[op](np.sqrt(x + e) ** 2, e)),
        ):
            if op == "log":
                continue

            def value(point: Point, change: Any = change, at: tuple = (inside, literal, number)) -> Any:
                x, e, y = (point.recorded.values[n] for n in at)
                return quiet(lambda v: change(v, e) / y, x)

            what = f"{describe_value(evidence, number)} with the constant (eps) {where} the root, over the right one"
            fix = "compute the saved value exactly as the forward does: 1 / sqrt(var + eps), not 1 / (sqrt(var) + eps)"
            yield what, fix, value


def quiet(function: Callable[[Any], Any], value: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(value)
