"""What every constructor of layers does before and after: look at its arguments, note how the layer was made.

    @constructor
    def dense(features: int, *, use_bias: bool = True) -> Layer: ...

Arguments are looked at by their annotations, which saves every constructor from doing it: an `int` is a whole number,
NumPy's included, and no bool; a `bool` is one; a `float` is a number, and no nan; a `Layer` has been called. The call
itself stays with the layer, which prints, compares and pickles by it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any, ParamSpec

import jax
import numpy as np

from .annotations import PyTree
from .call import Call
from .errors import LayerTypeError, layer_scope
from .layer import Key, Layer, Params, State
from .validation import describe, is_floating, is_key

Arguments = ParamSpec("Arguments")


def constructor(function: Callable[Arguments, Layer]) -> Callable[Arguments, Layer]:
    """The constructor, which checks its arguments and whose layers know how they were made."""

    @functools.wraps(function)
    def construct(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Layer:
        given = inspect.signature(function).bind(*args, **kwargs)
        for name, value in given.arguments.items():
            given.arguments[name] = checked(function.__name__, given.signature.parameters[name], value)
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


# Arguments.


def checked(name: str, parameter: inspect.Parameter, value: Any) -> Any:
    """The argument as its annotation says, or an error; an annotation that says something else is left alone."""
    kinds = [kind.strip() for kind in str(parameter.annotation).split("|")]
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple(as_kind(name, f"{parameter.name}[{k}]", kinds, each) for k, each in enumerate(value))
    if parameter.kind is parameter.VAR_KEYWORD:
        return {key: as_kind(name, key, kinds, each) for key, each in value.items()}
    return as_kind(name, parameter.name, kinds, value)


def as_kind(name: str, what: str, kinds: list[str], value: Any) -> Any:
    if (value is None and "None" in kinds) or not set(kinds) <= set(CHECKS) | {"None"}:
        return value
    for kind in kinds:
        if kind != "None" and (found := CHECKS[kind](value)) is not None:
            return found
    expected = " or ".join(EXPECTED[kind] for kind in kinds)
    if isinstance(value, (float, np.floating)) and math.isnan(value):
        raise ValueError(f"{name}: expected {what} as {expected}, got nan")
    hint = f": call it, {value.__name__}()" if callable(value) and hasattr(value, "__name__") else ""
    raise TypeError(f"{name}: expected {what} as {expected}, got {describe(value)}{hint}")


def whole_number(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool_)) or getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def number(value: Any) -> float | None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    return None if math.isnan(value) else value.item() if isinstance(value, np.generic) else value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "int": whole_number,
    "float": number,
    "bool": lambda value: bool(value) if isinstance(value, (bool, np.bool_)) else None,
    "Layer": lambda value: value if isinstance(value, Layer) else None,
}
EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "Layer": "a Layer",
    "None": "None",
}
