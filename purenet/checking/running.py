"""How a function of arrays is run: as it is, compiled where it takes long, on NumPy's arrays where JAX cannot trace it.

Compiling a small function takes a hundred times as long as running it, and a check runs it a few times only.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

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
    """The function as it runs where JAX cannot trace it: on copies as NumPy's arrays, on JAX's, or on PyTorch's."""
    for way in (on_numpy(function), on_jax(function), *([on_torch(function)] if "torch" in sys.modules else [])):
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
    return lambda *arguments: from_torch(function(*jax.tree.map(as_numpy, arguments)))


def on_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on PyTorch's tensors, what it gives as NumPy's arrays."""
    torch: Any = sys.modules["torch"]

    def as_tensor(leaf: Any) -> Any:
        array = as_numpy(leaf)
        return torch.from_numpy(array) if isinstance(array, np.ndarray) else array

    return lambda *arguments: from_torch(function(*jax.tree.map(as_tensor, arguments)))


def taking_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that may be PyTorch's, as one of arrays."""
    if "torch" not in sys.modules:
        return function

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        try:
            return from_torch(function(*arguments))
        except (TypeError, AttributeError):
            if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
                raise
            return on_torch(function)(*arguments)

    return run


def from_torch(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.detach().cpu().numpy() if hasattr(leaf, "detach") else leaf, tree)


def as_numpy(leaf: Any) -> Any:
    plain = isinstance(leaf, (jax.Array, np.ndarray)) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return np.array(leaf) if plain else leaf
