"""per_example: the objective of one example, over a batch by `jax.vmap`.

y = mean_b f(params, x_b)        dparams = sum_b f'(x_b) dy / B
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..annotations import PyTree
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, is_stateless, run_backward
from ..validation import batch_size, check_scalar

PER_EXAMPLE = Kind("per_example", has_params=False)


@constructor
def per_example(objective: Layer, *, reduction: str = "mean") -> Layer:
    """An objective of a batch from the objective of one example: the values' "mean" or "sum" over the first axis.

    Use it for networks written for one example. State cannot be shared among examples, so there must be none.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f'per_example: expected reduction "mean" or "sum", got {reduction!r}')

    def reduce(values: Any) -> Any:
        return jnp.mean(values) if reduction == "mean" else jnp.sum(values)

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        with layer_scope("per_example"):
            batch_size(x)
            one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x)
            return objective.init(key, one)

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        def one(x: PyTree, key: Key) -> tuple[PyTree, Residuals]:
            value, _, residuals = objective.forward(params, (), x, key)
            check_scalar(value, objective.name)
            return value, residuals

        with layer_scope("per_example"):
            if not is_stateless(state):
                raise LayerValueError("expected an objective without state: examples cannot share one")
            keys = None if key is None else jax.random.split(key, batch_size(x))
            values, residuals = jax.vmap(one)(x, keys)
        return reduce(values), state, (residuals, values if "y" in objective.needs else None)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        saved, values = residuals
        size = batch_size(x)
        dvalue = dy / size if reduction == "mean" else dy

        def one(x: PyTree, value: PyTree, saved: Residuals) -> tuple[Params, PyTree]:
            return run_backward(objective, params, x, value, saved, dvalue)

        with layer_scope("per_example"):
            dparams, dx = jax.vmap(one)(x, values, saved)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, 0), dparams), dx

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        with layer_scope("per_example"):
            return reduce(jax.vmap(lambda x: objective.predict(params, (), x))(x))

    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        name="per_example",
        kind=PER_EXAMPLE,
        rules={"copies": lambda x: (1, batch_size(x))},
        parts=((".each", objective),),
        with_parts=lambda parts: per_example(*parts, reduction=reduction),
    )
