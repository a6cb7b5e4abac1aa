"""Layers as ordinary functions, and any JAX function as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from .annotations import PyTree
from .constructor import constructor
from .layer import Key, Layer, Params, Residuals, State, run_backward
from .stateless import no_params


def as_function(layer: Layer, *, has_state: bool = False) -> Callable[..., Any]:
    """An ordinary function under `jax.custom_vjp`, so that the hand-written backward serves inside `jax.grad`,
    Equinox, Flax or anything else.

    Returns `f(params, x, state=(), key=None) -> y`, or `-> (y, new_state)` with `has_state`.
    Gradients flow to params and x; state and key get none. As with every `custom_vjp`, forward mode is refused:
    for second order differentiate `value_and_grad` instead.
    """

    @jax.custom_vjp
    def call(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State]:
        y, state, _ = layer.forward(params, state, x, key)
        return y, state

    def call_forward(params: Params, state: State, x: PyTree, key: Key) -> Any:
        y, state, residuals = layer.forward(params, state, x, key)
        return (y, state), (params, x, y if "y" in layer.needs else None, residuals)

    def call_backward(saved: Any, cotangent: Any) -> Any:
        params, x, y, residuals = saved
        dparams, dx = run_backward(layer, params, x, y, residuals, cotangent[0])
        return dparams, None, dx, None

    call.defvjp(call_forward, call_backward)

    def function(params: Params, x: PyTree, state: State = (), key: Key = None) -> Any:
        y, state = call(params, state, x, key)
        return (y, state) if has_state else y

    return function


@constructor
def from_function(
    function: Callable[..., Any], *, init: Callable[[Any, Any], Params] | None = None, name: str | None = None
) -> Layer:
    """A layer of any JAX function `function(params, x) -> y`, its backward derived by `jax.vjp`.

    Nobody is locked in: what has no hand-written backward yet stands in `serial` beside what has.
    It keeps what autodiff keeps. `init(key, x) -> params`; without it the params are `()`.
    """

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, vjp = jax.vjp(function, params, x)
        return y, state, vjp

    def backward(params: Params, x: PyTree, y: PyTree, vjp: Any, dy: PyTree) -> tuple[Params, PyTree]:
        dparams, dx = vjp(dy)
        return dparams, jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, dx)

    return Layer(
        init=no_params if init is None else lambda key, x: (init(key, x), ()),
        forward=forward,
        backward=backward,
        predict=lambda params, state, x: function(params, x),
        needs=(),
        name=name or getattr(function, "__name__", "function"),
        keeps=("what jax.vjp keeps",),
    )
