"""Which operation makes the first NaN or infinity, in a forward or in a backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .program.record import TooLong, is_floating, record
from .program.source import op_name


def first_not_finite(function: Callable[..., list[Any]], leaves: Sequence[Any]) -> str:
    """Where a function of finite arrays stops being finite, in words; empty where that cannot be told."""
    try:
        program = record(function, leaves)
    except (TooLong, *UNRECORDED):
        return ""
    for step in program.steps:
        for number in step.outputs:
            value = program.values[number]
            if is_floating(value) and not np.all(np.isfinite(value)):
                return sentence(program, step, value)
    return ""


UNRECORDED = (TypeError, ValueError, NotImplementedError, AttributeError, KeyError, IndexError)


def sentence(program: Any, step: Any, value: Any) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
    inputs = [program.values[number] for number in step.inputs]
    operands = [f"{float(np.broadcast_to(v, value.shape)[index]):.6g}" for v in inputs if fits(v, value)]
    at = f" at {step.line}" if step.line.text else ""
    of = f" of {' and '.join(operands)}" if operands else ""
    where = f", index {list(index)}" if index else ""
    return f"{op_name(step.op)}{of}{at}{where} gives {float(value[index]):.6g}"


def fits(operand: Any, value: Any) -> bool:
    if not is_floating(operand):
        return False
    try:
        return np.broadcast_shapes(operand.shape, value.shape) == value.shape
    except ValueError:
        return False
