"""What can be checked, in one form: `forward(params, x) -> (y, saved)` and `backward(params, x, y, saved, dy)`.

A target is a Layer (a network and an objective are layers too), or a pair of plain functions whose arguments say
what is kept, as in `purenet.stateless`:

    forward([params], x) -> y                                 or (y, residuals)
    backward([params], [x], [y], [residuals], dy) -> dx       or (dparams, dx) with params

`[params]` is there when forward takes two arguments. A backward argument called x or y is that value, any other one
stands for the residuals where forward returns them, and for x where it does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ..annotations import PyTree
from ..layer import Layer, describe, run_backward
from ..randomness import clone_key


class Target(NamedTuple):
    """`init(key, x) -> params` or None; `forward(params, x) -> (y, saved)`; `backward(params, x, y, saved, dy)`."""

    name: str
    init: Callable[..., Any] | None
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    has_params: bool


def as_target(target: Any, key: jax.Array) -> Target:
    """Give anything that can be checked its one form. Randomness is frozen: every call sees the same key."""
    if isinstance(target, Layer):
        return layer_target(target, key)
    if isinstance(target, (tuple, list)) and len(target) == 2 and all(map(callable, target)):
        return pair_target(*target)
    raise TypeError(f"check: expected a Layer, an objective or a pair (forward, backward), got {describe(target)}")


def layer_target(layer: Layer, key: jax.Array) -> Target:
    init_key, state_key, run_key = jax.random.split(key, 3)

    def state_of(x: PyTree) -> PyTree:
        return layer.init(clone_key(state_key), x)[1]

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        y, _, residuals = layer.forward(params, state_of(x), x, clone_key(run_key))
        return y, residuals

    def backward(params: PyTree, x: PyTree, y: PyTree, saved: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        return run_backward(layer, params, x, y, saved, dy)

    return Target(layer.name, lambda x: layer.init(init_key, x)[0], forward, backward, has_params=True)


def pair_target(forward: Callable[..., Any], backward: Callable[..., Any]) -> Target:
    name = getattr(forward, "__name__", "forward").removesuffix("_forward")
    arguments = positional(forward)
    if len(arguments) not in (1, 2):
        raise TypeError(f"check: expected forward(x) or forward(params, x), got forward({', '.join(arguments)})")
    has_params = len(arguments) == 2
    reads = positional(backward)[has_params:-1]

    def run(params: PyTree, x: PyTree) -> tuple[PyTree, PyTree, bool]:
        result = forward(params, x) if has_params else forward(x)
        saves = isinstance(result, tuple) and len(result) == 2
        return (*result, True) if saves else (result, (), False)

    def run_back(params: PyTree, x: PyTree, y: PyTree, saved: tuple[PyTree, bool], dy: PyTree) -> Any:
        residuals, saves = saved
        values = {"x": x, "y": y}
        read = [values.get(name, residuals if saves else x) for name in reads]
        result = backward(*((params,) if has_params else ()), *read, dy)
        if not has_params:
            return (), result
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(f"check: expected backward to return (dparams, dx), got {describe(result)}")
        return result

    def run_forward(params: PyTree, x: PyTree) -> tuple[PyTree, tuple[PyTree, bool]]:
        y, residuals, saves = run(params, x)
        return y, (residuals, saves)

    return Target(name, None, run_forward, run_back, has_params)


def positional(function: Callable[..., Any]) -> list[str]:
    """Names of the positional arguments without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise TypeError(f"check: cannot read the arguments of {function!r}: wrap it in a def or lambda") from error
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
