"""frozen: the same y, the parameters taken for constants.

y = f(stop_gradient(params), x)        dparams = 0,  dx = f'(dy)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import PyTree
from ..constructor import constructor
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..planning import DROPPED, sides
from .named import at_step

FROZEN = Kind("frozen", has_params=False)


@constructor
def frozen(layer: Layer, *, freeze_state: bool = False) -> Layer:
    """The same layer with zero gradients for its parameters; the gradient flows on to x.

    The products that would give those gradients are dead code, and so is what only they read: compiling removes both,
    inside scans too. With `freeze_state` the state stays as it is as well (a normalisation then takes the statistics
    of the batch and updates none).

    A zero gradient is not yet no update: weight decay shrinks these parameters all the same. Mask them in optax,
    `optax.adamw(1e-3, mask=trained)` with a tree of bools, or give them `optax.set_to_zero()` by `optax.partition`,
    which saves their moments too.
    """

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, new_state, residuals = at_step("frozen", layer.forward)(lax.stop_gradient(params), state, x, key)
        return y, state if freeze_state else new_state, residuals

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        _, dx = at_step("frozen", run_backward)(layer, lax.stop_gradient(params), x, y, residuals, dy)
        return jax.tree.map(no_gradient, params), dx

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        assert layer.recompute is not None
        return at_step("frozen", layer.recompute)(lax.stop_gradient(params), x, residuals)

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        return at_step("frozen", layer.predict)(lax.stop_gradient(params), state, x)

    why = "zeros: compiling removes their products and what only those read"
    return Layer(
        init=at_step("frozen", layer.init),
        forward=forward,
        backward=backward,
        predict=predict,
        needs=layer.needs,
        recompute=None if layer.recompute is None else recompute,
        recompute_needs=layer.recompute_needs,
        name="frozen",
        kind=FROZEN,
        parts=(("", layer),),
        plan=(*sides(layer), Value("gradients of the parameters", DROPPED, why)),
        # What looks inside a network does so by the states of its layers, which a frozen state hides.
        with_parts=None if freeze_state else lambda parts: frozen(*parts),
    )


def no_gradient(leaf: jax.Array) -> jax.Array | None:
    return jnp.zeros_like(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else None
