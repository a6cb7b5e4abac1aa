"""What a jitted function costs before it runs, both deterministic: temporary bytes and matmul FLOPs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Cost(NamedTuple):
    temporary: int
    flops: int


def cost(function: Callable[..., Any], *args: Any) -> Cost:
    """Compile `function` for arrays or shapes and read what it takes; nothing is run."""
    traced = jax.jit(function).trace(*args)
    memory = traced.lower().compile().memory_analysis()
    assert memory is not None
    return Cost(memory.temp_size_in_bytes, matmul_flops(traced.jaxpr.jaxpr))


def matmul_flops(jaxpr: Any) -> int:
    """FLOPs of the matrix products of a jaxpr, a scan's body counted as often as it runs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            lengths = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += 2 * math.prod(lengths) * math.prod(equation.outvars[0].aval.shape)
            continue
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += times * matmul_flops(inner)
    return total


def shapes_of(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
