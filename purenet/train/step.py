"""make_step: one update as a pure function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import optax

from ..annotations import Array, PyTree
from ..objective import Objective, value_and_grad
from .state import TrainState, check_optimizer, network_named

Metrics = dict[str, Array]
Step = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]

STEP_STREAM, EPOCH_STREAM = 0, 1


def make_step(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """`step(train_state, batch) -> (train_state, metrics)`: gradients by the hand-written backward, one update.

    metrics: {"loss": the objective at the parameters before the update}. Jit it, scan it, vmap it. Any optax
    optimizer that needs no more than gradients, parameters and the loss (L-BFGS with a line search evaluates the
    function again: not here). Its update runs under JAX's standard dtype promotion, which several of them need.
    """
    check_optimizer(optimizer)
    optimizer = optax.with_extra_args_support(optimizer)
    gradient = value_and_grad(objective)

    def step(train_state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = stream_key(train_state.key, STEP_STREAM, train_state.step)
        with network_named(objective, batch):
            (loss, state), gradients = gradient(train_state.params, train_state.state, batch, key)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(
                gradients, train_state.opt_state, train_state.params, value=loss, grad=gradients
            )
            params = optax.apply_updates(train_state.params, updates)
        after = dataclasses.replace(
            train_state, step=train_state.step + 1, params=params, state=state, opt_state=opt_state
        )
        return after, {"loss": loss}

    return step


def stream_key(key: Array, stream: int, number: Array) -> Array:
    """The key of one step, or of one epoch, of a run."""
    return jax.random.fold_in(jax.random.fold_in(key, stream), number)
