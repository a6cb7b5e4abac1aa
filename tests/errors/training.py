"""Bad input to per-example gradients and to the step that updates as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import purenet as pn
from purenet import losses
from purenet.train import init_train_state, make_fused_step

from .calls import Table

X = jnp.ones((4, 6))
STACK = pn.repeat(pn.serial(pn.dense(6), pn.tanh()), 2)


def norms(net: pn.Layer, x: Any = (X, X)) -> Callable[[], Any]:
    objective = pn.objective(net, losses.squared_error())
    params, state = objective.init(jax.random.key(0), (X, X))
    return lambda: jax.jit(pn.per_example_norms(objective))(params, state, x)


def fused(net: pn.Layer, optimizer: Any) -> Callable[[], Any]:
    objective = pn.objective(net, losses.squared_error())
    state = jax.eval_shape(lambda key: init_train_state(objective, optimizer, key, (X, X)), jax.random.key(0))
    return lambda: jax.eval_shape(make_fused_step(objective, optimizer), state, (X, X))


ELEMENTWISE = "expected an optimizer that updates every number by its own gradient alone"
TABLE: Table = {
    "per-example norms with a state": (
        norms(pn.serial(pn.dense(6), pn.batch_norm())),
        ValueError,
        "per_example_norms: expected an objective without state: examples cannot share one",
    ),
    "per-example norms of unequal halves": (
        norms(pn.dense(6), (X, X[:3])),
        ValueError,
        "per_example_norms: expected leaves with one common first axis",
    ),
    "clipping to nothing": (
        lambda: pn.clipped_value_and_grad(pn.objective(STACK, losses.squared_error()), 0),
        ValueError,
        "clipped_value_and_grad: expected max_norm above 0, got 0",
    ),
    "fused step without a stack": (fused(pn.dense(6), optax.sgd(1.0)), ValueError, "expected a network with a repeat"),
    "fused step in what is frozen": (
        fused(pn.frozen(STACK), optax.sgd(1.0)),
        ValueError,
        "expected a network with a repeat",
    ),
    "fused step that clips by the norm of all": (
        fused(STACK, optax.chain(optax.clip_by_global_norm(1e6), optax.sgd(1.0))),
        ValueError,
        ELEMENTWISE,
    ),
    "fused step by norms of layers": (fused(STACK, optax.lamb(1e-3)), ValueError, ELEMENTWISE),
    "fused step that skips what is not finite": (
        fused(STACK, optax.apply_if_finite(optax.sgd(1.0), 3)),
        ValueError,
        ELEMENTWISE,
    ),
    "fused step with ties into a stack": (
        fused(pn.tied(pn.serial(a=STACK, b=STACK), {"b.0.kernel": "a.0.kernel"}), optax.sgd(1.0)),
        ValueError,
        r"tied: expected the path of a parameter, got 'b.0.kernel'",
    ),
}
