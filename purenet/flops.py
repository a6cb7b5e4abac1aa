"""How many floating-point operations a traced function needs: those of its matrix products and convolutions.

Counted on the jaxpr, a scan's body as often as it runs; of a `cond` the dearest branch, of a `while`, whose length is
not known, one round. What nobody reads is dead code, which compiling removes: it counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any


def matmul_flops(jaxpr: Any, read: Sequence[bool] | None = None) -> int:
    """The FLOPs behind the outputs of a jaxpr that are `read`, by default all: two for a multiplication and a sum."""
    read = [True] * len(jaxpr.outvars) if read is None else read
    wanted = {
        variable for variable, is_read in zip(jaxpr.outvars, read, strict=True) if is_read and is_variable(variable)
    }
    total = 0
    for equation in reversed(jaxpr.eqns):
        live = [variable in wanted for variable in equation.outvars]
        if any(live) or equation.effects:
            total += equation_flops(equation, live)
            wanted.update(filter(is_variable, equation.invars))
    return total


def equation_flops(equation: Any, live: list[bool]) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        lengths = [equation.invars[0].aval.shape[axis] for axis in contracted]
        return 2 * math.prod(lengths) * math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        out_features = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // out_features
    if name == "scan":
        body = params["jaxpr"].jaxpr
        # What is carried has the rank it has outside, what is stacked one axis less; scan's own counts changed names.
        outputs = zip(live, equation.outvars, body.outvars, strict=True)
        read = [is_read or len(outer.aval.shape) == len(inner.aval.shape) for is_read, outer, inner in outputs]
        return params["length"] * matmul_flops(body, read)
    found = [matmul_flops(inner, live if len(inner.outvars) == len(live) else None) for inner in inner_jaxprs(params)]
    return max(found, default=0) if name == "cond" else sum(found)


def inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for inner in value if isinstance(value, (list, tuple)) else [value]:
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield inner


def is_variable(atom: Any) -> bool:
    """Whether this is a variable: literals stand in an equation as they are."""
    return not hasattr(atom, "val")
