"""Bad input to per-example gradients and to the step that updates as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from purenet import losses
from purenet.train import fit, init_train_state, make_evaluate, make_fused_step, make_run, make_step, train

from .calls import Table

X = jnp.ones((4, 6))
ROWS, LABELS = np.ones((8, 6), np.float32), np.zeros(8, np.int32)
BATCH = ROWS, LABELS
NET = pn.serial(pn.dense(5), pn.dense(3))
OBJECTIVE, SGD = pn.objective(NET, losses.softmax_cross_entropy()), optax.sgd(0.1)
STACK = pn.repeat(pn.serial(pn.dense(6), pn.tanh()), 2)
KERNELS = pn.repeat(pn.dense(6, use_bias=False), 2)


def norms(net: pn.Layer, x: Any = (X, X)) -> Callable[[], Any]:
    objective = pn.objective(net, losses.squared_error())
    params, state = objective.init(jax.random.key(0), (X, X))
    return lambda: jax.jit(pn.per_example_norms(objective))(params, state, x)


def fused(net: pn.Layer, optimizer: Any) -> Callable[[], Any]:
    objective = pn.objective(net, losses.squared_error())
    state = jax.eval_shape(lambda key: init_train_state(objective, optimizer, key, (X, X)), jax.random.key(0))
    return lambda: jax.eval_shape(make_fused_step(objective, optimizer), state, (X, X))


def fitted(**options: Any) -> Callable[[], Any]:
    return lambda: fit(OBJECTIVE, SGD, BATCH, key=jax.random.key(0), epochs=1, batch_size=4, progress=False, **options)


def wider() -> Any:
    return pn.serial(pn.dense(6), pn.dense(3)).init(jax.random.key(0), X)[0]


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
        "clipped_value_and_grad: expected a finite max_norm above 0, got 0",
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
        "expected a repeat whose parameters are all its own, got some that a layer around it makes of others, as tied",
    ),
    "fused step with a tie into a stack of one parameter": (
        fused(pn.tied(pn.serial(a=KERNELS, b=KERNELS), {"b.kernel": "a.kernel"}), optax.sgd(1.0)),
        ValueError,
        "tied: expected the path of a parameter, got 'b.kernel'",
    ),
    "fused step without parameters in its stack": (
        fused(pn.serial(pn.dense(6), pn.repeat(pn.tanh(), 2)), optax.sgd(1.0)),
        ValueError,
        "expected a network with a repeat of layers with parameters, whose blocks are updated",
    ),
    "fit of a network": (
        lambda: fit(NET, SGD, BATCH, key=jax.random.key(0), epochs=1, batch_size=4),
        TypeError,
        r"expected an objective, got the network serial: make one with pn.objective\(net, loss\)",
    ),
    "fit of a network without parameters": (
        lambda: fit(pn.tanh(), SGD, (ROWS, ROWS), key=jax.random.key(0), epochs=1, batch_size=4),
        TypeError,
        r"expected an objective, got the network tanh: make one with pn.objective\(net, loss\)",
    ),
    "step of a network": (
        lambda: make_step(NET, SGD)(init_train_state(OBJECTIVE, SGD, jax.random.key(0), BATCH), BATCH),
        TypeError,
        "expected an objective, got the network serial",
    ),
    "fit of a function": (
        lambda: fit(cast(Any, jnp.sum), SGD, BATCH, key=jax.random.key(0), epochs=1, batch_size=4),
        TypeError,
        r"expected an objective, got .*: make one with pn.objective\(net, loss\)",
    ),
    "targets of an objective": (
        lambda: fit(OBJECTIVE, SGD, (ROWS, ROWS), key=jax.random.key(0), epochs=1, batch_size=4),
        ValueError,
        "softmax_cross_entropy: expected",
    ),
    "another network's parameters": (
        lambda: init_train_state(OBJECTIVE, SGD, jax.random.key(0), BATCH, params={"kernel": ROWS}),
        ValueError,
        r"expected parameters of the objective's tree, list of 2: .*, got dict with \['kernel'\]",
    ),
    "parameters of another width": (
        lambda: init_train_state(OBJECTIVE, SGD, jax.random.key(0), BATCH, params=wider()),
        ValueError,
        r"expected parameter 0.bias as float32 \[5\], got float32 \[6\]",
    ),
    "epochs of train": (
        lambda: train(OBJECTIVE, SGD, jax.random.key(0), BATCH, epochs=cast(Any, True), batch_size=4),
        TypeError,
        "train: expected epochs as a whole number, got bool True",
    ),
    "batch size of a run": (
        lambda: make_run(OBJECTIVE, SGD, batch_size=0),
        ValueError,
        "make_run: expected batch_size of at least 1, got 0",
    ),
    "batch size of an evaluation": (
        lambda: make_evaluate(OBJECTIVE, batch_size=cast(Any, 2.5)),
        TypeError,
        "make_evaluate: expected batch_size as a whole number or None, got float 2.5",
    ),
    "min_delta": (fitted(patience=1, min_delta=jnp.nan), ValueError, "fit: expected min_delta as a number, got nan"),
    "shuffle": (fitted(shuffle="no"), TypeError, "fit: expected shuffle as True or False, got str 'no'"),
    "keep_best": (fitted(keep_best=1), TypeError, "fit: expected keep_best as True or False, got int 1"),
    "patience": (fitted(patience=True), TypeError, "fit: expected patience as a whole number or None, got bool True"),
}
