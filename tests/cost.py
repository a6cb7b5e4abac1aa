"""What a jitted function costs before it runs, both deterministic: temporary bytes and matmul FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from compile_flags import AS_FOR_USERS

from purenet.flops import matmul_flops


class Cost(NamedTuple):
    temporary: int
    flops: int


def cost(function: Callable[..., Any], *args: Any) -> Cost:
    """Compile `function` for arrays or shapes and read what it takes; nothing is run."""
    traced = jax.jit(function).trace(*args)
    memory = traced.lower().compile(compiler_options=AS_FOR_USERS).memory_analysis()
    assert memory is not None
    return Cost(memory.temp_size_in_bytes, matmul_flops(traced.jaxpr.jaxpr))


def shapes_of(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def kept_bytes(layer: Any, params: Any, state: Any, x: Any, key: Any, free: Any = ()) -> tuple[int, int]:
    """(by hand, by jax.vjp): what stands between forward and backward beside the parameters, the state and the output.

    The input counts where it is read, but for the leaves of x where `free` is True: data, such as a loss's targets.
    """

    def by_hand(params: Any, x: Any, state: Any, key: Any) -> Any:
        y, _, residuals = layer.forward(params, state, x, key)
        return y, (residuals, x if "x" in layer.needs else None)

    def by_autodiff(params: Any, x: Any, state: Any, key: Any) -> Any:
        leaves, structure = jax.tree.flatten((params, x))
        moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

        def value(inexact: Any) -> Any:
            given = iter(inexact)
            filled = [next(given) if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
            params, x = jax.tree.unflatten(structure, filled)
            return layer.forward(params, state, x, key)[0]

        return jax.vjp(value, [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves])

    def kept(function: Callable[..., Any]) -> int:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(params, x, state, key)
        outputs = len(jax.tree.leaves(shapes[0]))
        variables = closed.jaxpr.outvars
        given = iter(closed.jaxpr.invars)
        p_x_s = [[next(given) for _ in jax.tree.leaves(tree)] for tree in (params, x, state)]
        taken = jax.tree.leaves(free)  # True where a leaf of x is data
        data = [variable for variable, is_data in zip(p_x_s[1], taken, strict=False) if is_data]
        aside = {id(variable) for variable in [*p_x_s[0], *data, *p_x_s[2], *variables[:outputs]]}
        held = {id(variable): variable.aval for variable in variables[outputs:] if id(variable) not in aside}
        return sum(aval.size * aval.dtype.itemsize for aval in held.values())

    return kept(by_hand), kept(by_autodiff)
