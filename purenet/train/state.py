"""TrainState: everything a training run is, in one pytree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ..annotations import Array, Int, PyTree
from ..layer import Layer, Params, State
from ..objective import Objective
from ..validation import describe, leaves_with_paths


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The run after `step` updates. The key never changes: what a step or an epoch draws is folded in from its number,
    so that a run goes on the same way from any of its states."""

    step: Int[Array, ""]
    params: Params
    state: State
    opt_state: PyTree
    key: Array


def init_train_state(
    objective: Objective, optimizer: optax.GradientTransformation, key: Array, batch: PyTree, *, params: PyTree = None
) -> TrainState:
    """The state before the first step, with the objective's own initial parameters or with `params`.

    `batch` (inputs, targets) tells the shapes; its values are not looked at.
    """
    check_optimizer(optimizer)
    check_key(key)
    init_key, run_key = jax.random.split(key)
    shapes = jax.eval_shape(lambda batch: batch, batch)
    with network_named(objective, shapes):
        own_params, state = objective.init(init_key, shapes)
    if params is not None:
        check_params(params, own_params)
    params, state = jax.tree.map(strong, (own_params if params is None else params, state))
    with jax.numpy_dtype_promotion("standard"):  # several optax transformations mix dtypes
        opt_state = optimizer.init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, state, opt_state, run_key)


def strong(leaf: Any) -> Array:
    """Without weak type: a state of another type than its successor would be traced twice."""
    return jnp.asarray(leaf, leaf.dtype)


def check_params(params: Params, own: Params) -> None:
    """Raise unless `params` have the tree and the shapes of the objective's own."""
    if jax.tree.structure(params) != jax.tree.structure(own):
        raise ValueError(f"expected parameters of the objective's tree, {describe(own)}, got {describe(params)}")
    for (path, leaf), (_, given) in zip(leaves_with_paths(own), leaves_with_paths(params), strict=True):
        if jnp.shape(given) != leaf.shape:
            raise ValueError(f"expected parameter {path} as {describe(leaf)}, got {describe(given)}")


@contextmanager
def network_named(objective: Any, batch: PyTree) -> Iterator[None]:
    """Whatever fails inside fails since `objective` is a network, where it is one."""
    make = "make one with pn.objective(net, loss), such as pn.objective(net, pn.losses.softmax_cross_entropy())"
    if not isinstance(objective, Layer):
        raise TypeError(f"expected an objective, got {describe(objective)}: {make}")
    try:
        yield
    except Exception as error:
        if is_network(objective, batch):
            raise TypeError(f"expected an objective, got the network {objective.name}: {make}") from error
        raise


def is_network(layer: Layer, batch: PyTree) -> bool:
    """Whether the layer takes the inputs alone, and gives no scalar for them."""
    try:
        params, state = jax.eval_shape(layer.init, jax.random.key(0), batch[0])
        value = jax.eval_shape(layer.predict, params, state, batch[0])
    except Exception:
        return False
    return jax.tree.leaves(value)[0].shape != ()


def check_optimizer(optimizer: Any) -> None:
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise TypeError(f"expected an optax optimizer such as optax.adam(1e-3), got {describe(optimizer)}")


def check_key(key: Any) -> None:
    if not hasattr(key, "dtype") or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim != 0:
        raise TypeError(f"expected one typed key from jax.random.key, got {describe(key)}")
