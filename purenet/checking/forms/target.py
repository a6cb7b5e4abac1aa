"""What is checked, in one form: `forward(params, x) -> (y, saved)` and `backward(params, x, y, saved, dy)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ...annotations import PyTree
from ...layer import Layer
from ...randomness import clone_key
from ...validation import describe


class Target(NamedTuple):
    """`params` as init gives them, or None; `forward(params, x) -> (y, saved)`; `backward(params, x, y, saved, dy)`
    gives (dparams, dx); `reference(params, x) -> y` is what jax.vjp differentiates. `layer`, `state` and `key` for a
    Layer, to look into its parts. `own_rule`: the reference is the function itself, which has to have a rule.
    `lenient`: the gradient may have axes of length 1 more or less, as NumPy's broadcasting forgives.
    `intended(params, x, dy)` gives (dparams, dx) that is meant instead of the derivative."""

    name: str
    params: PyTree
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    reference: Callable[..., Any]
    has_params: bool
    layer: Layer | None = None
    state: PyTree = ()
    key: jax.Array | None = None
    own_rule: bool = False
    lenient: bool = False
    intended: Callable[..., Any] | None = None


def nameless(name: str) -> Target:
    """What stands for a target where only a gradient is given."""

    def unused(*arguments: Any) -> Any:
        raise AssertionError("a gradient function has no forward and backward of its own")

    return Target(name, None, unused, unused, unused, False)


def layer_target(layer: Layer, key: jax.Array, x: PyTree) -> Target:
    init_key, run_key = jax.random.split(key)
    try:
        params, state = jax.jit(lambda key: layer.init(key, x))(init_key)
    except jax.errors.ConcretizationTypeError:
        params, state = layer.init(clone_key(init_key), x)
    return layer_at(layer, params, state, run_key)


def layer_at(layer: Layer, params: PyTree, state: PyTree, run_key: jax.Array | None) -> Target:
    """A layer with the parameters and state of its init, and the key of its randomness."""

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        y, _, residuals = layer.forward(params, state, x, clone_key(run_key))
        return y, residuals

    def backward(params: PyTree, x: PyTree, y: PyTree, saved: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        read = (x if "x" in layer.needs else None), (y if "y" in layer.needs else None)
        return two(layer.backward(params, *read, saved, dy))

    def reference(params: PyTree, x: PyTree) -> PyTree:
        return forward(params, x)[0]

    return Target(layer.name, params, forward, backward, reference, True, layer, state, run_key)


def two(result: Any) -> tuple[PyTree, PyTree]:
    if not (isinstance(result, (tuple, list)) and len(result) == 2):
        raise TypeError(f"check: expected backward to return (dparams, dx), got {describe(result)}")
    return result[0], result[1]
