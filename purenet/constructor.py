"""What every constructor of layers does before and after: look at its arguments, note how the layer was made.

    @constructor
    def dense(features: PositiveInt, *, use_bias: bool = True) -> Layer: ...

The arguments are those that `arguments.py` lets through by their annotations. The call itself stays with the layer,
which prints, compares and pickles by it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .annotations import PyTree
from .arguments import Arguments, bound
from .call import Call
from .errors import LayerTypeError, layer_scope
from .layer import Key, Layer, Params, State
from .validation import describe, is_floating, is_key


def constructor(function: Callable[Arguments, Layer]) -> Callable[Arguments, Layer]:
    """The constructor, which checks its arguments and whose layers know how they were made."""

    @functools.wraps(function)
    def construct(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Layer:
        given = bound(function, *args, **kwargs)
        layer = function(*given.args, **given.kwargs)
        init = functools.partial(init_checked, layer)
        return dataclasses.replace(layer, init=init, call=Call.of(construct, given))

    return construct


def init_checked(layer: Layer, key: Key, x: PyTree) -> tuple[Params, State]:
    """`init` with a typed key, and with x in the dtypes that JAX has: NumPy's float64 is float32 unless x64 is on."""
    if key is not None and not is_key(key):
        with layer_scope(layer.name):
            raise LayerTypeError(f"expected a key such as jax.random.key(0), got {describe(key)}: init(key, x)")
    return layer.init(key, jax.tree.map(in_jax_dtype, x))


def in_jax_dtype(leaf: Any) -> Any:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    dtype = leaf.dtype if is_key(leaf) or not is_floating(leaf) else jax.dtypes.canonicalize_dtype(leaf.dtype)
    if dtype == leaf.dtype:
        return leaf
    return leaf.astype(dtype) if isinstance(leaf, np.ndarray) else jax.ShapeDtypeStruct(leaf.shape, dtype)
