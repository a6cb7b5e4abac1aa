"""How a function of arrays is run: as it is, compiled where it takes long, on NumPy's arrays where JAX cannot trace it.

Compiling a small function takes a hundred times as long as running it, and a check runs it a few times only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import LayerError
from .vocabulary import CANNOT_TRACE, MalformedRule

PATIENCE = 0.1  # seconds that a function may take before it is compiled


def economical(function: Callable[..., Any], *, traced: bool = False) -> Callable[..., Any]:
    """The function, compiled as soon as it has taken 0.1 seconds in all; `traced`: JAX is known to trace it."""
    way: Callable[..., Any] | None = on_jax(function) if traced else None
    compiles, spent = traced, 0.0

    def run(*arguments: Any) -> Any:
        nonlocal way, compiles, spent
        if way is None:
            way, compiles = runnable(function, arguments)
        if compiles and spent > PATIENCE:
            way, compiles = jax.jit(function), False
        start = time.perf_counter()
        result = way(*arguments)
        spent += time.perf_counter() - start
        return result

    return run


def runnable(function: Callable[..., Any], arguments: Any) -> tuple[Callable[..., Any], bool]:
    """The function as it runs, on JAX's arrays where JAX can trace it, else on NumPy's; and whether it can."""
    try:
        jax.eval_shape(function, *arguments)
    except (LayerError, MalformedRule):
        raise
    except Exception as error:
        return untraceable(function, arguments, error), False
    return on_jax(function), True


def untraceable(function: Callable[..., Any], arguments: Any, error: Exception) -> Callable[..., Any]:
    """The function as it runs where JAX cannot trace it: on copies as NumPy's arrays, or on JAX's."""
    for way in (on_numpy(function), on_jax(function)):
        try:
            way(*arguments)
        except Exception as failure:
            error = error if isinstance(failure, CANNOT_TRACE) or not isinstance(error, CANNOT_TRACE) else failure
        else:
            return way
    raise error


def on_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: function(*jax.tree.map(jnp.asarray, arguments))


def on_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on copies of its arguments that it may change in place."""
    return lambda *arguments: function(*jax.tree.map(as_numpy, arguments))


def as_numpy(leaf: Any) -> Any:
    plain = isinstance(leaf, (jax.Array, np.ndarray)) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return np.array(leaf) if plain else leaf
