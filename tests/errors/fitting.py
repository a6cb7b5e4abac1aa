"""Bad input to training."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from purenet import losses
from purenet.train import fit, init_train_state, make_run, make_step

from .calls import Table, params_of

X = jnp.ones((4, 6))
NET = pn.serial(pn.dense(8), pn.relu(), pn.dense(3))
OBJECTIVE = pn.objective(NET, losses.softmax_cross_entropy())
INPUTS, LABELS = np.ones((20, 6), np.float32), np.zeros(20, np.int32)
SQUARED = pn.objective(NET, losses.squared_error())


def run_fit(objective: Any = OBJECTIVE, optimizer: Any = None, data: Any = (INPUTS, LABELS), **changes: Any) -> Any:
    arguments: dict[str, Any] = {"key": jax.random.key(0), "epochs": 1, "batch_size": 5} | changes
    return lambda: fit(objective, optimizer or optax.sgd(0.1), data, **arguments)


NAN = INPUTS.copy()
NAN[3, 2] = np.nan
INFINITE = INPUTS.copy()
INFINITE[7, 0] = np.inf

TABLE: Table = {
    # Training.
    "inputs and targets": (
        run_fit(data=(INPUTS, LABELS[:-1])),
        ValueError,
        "fit: expected one number of examples, got {'data inputs': 20, 'data targets': 19}",
    ),
    "no data": (run_fit(data=(INPUTS[:0], LABELS[:0])), ValueError, "fit: expected at least one example"),
    "batch size above the data": (
        run_fit(batch_size=21),
        ValueError,
        "fit: expected a batch_size of at most the 20 examples, got 21",
    ),
    "batch size 0": (run_fit(batch_size=0), ValueError, "fit: expected batch_size of at least 1, got 0"),
    "batch size float": (
        run_fit(batch_size=4.0),
        TypeError,
        "fit: expected batch_size as a whole number, got float 4.0",
    ),
    "epochs": (run_fit(epochs=0), ValueError, "fit: expected epochs of at least 1"),
    "nan": (
        run_fit(data=(NAN, LABELS)),
        ValueError,
        r"fit: expected finite data inputs, got nan at \[3, 2\] \(1 in all\)",
    ),
    "infinity": (
        run_fit(validation=(INFINITE, LABELS)),
        ValueError,
        r"fit: expected finite validation inputs, got inf at \[7, 0\]",
    ),
    "data without targets": (run_fit(data=INPUTS), TypeError, r"fit: expected data as a pair \(inputs, targets\)"),
    "lists": (run_fit(data=([1.0, 2.0], LABELS)), TypeError, "fit: expected data inputs.0 as an array"),
    "no optimizer": (run_fit(optimizer="adam"), TypeError, "expected an optax optimizer such as optax.adam"),
    "no optimizer in a step": (lambda: make_step(OBJECTIVE, cast(Any, 0.1)), TypeError, "expected an optax optimizer"),
    "key and state": (run_fit(key=None), TypeError, "fit: expected either key=.* or train_state="),
    "legacy key": (
        run_fit(key=jnp.zeros(2, jnp.uint32)),
        TypeError,
        "expected one typed key from jax.random.key, got uint32",
    ),
    "metrics without data": (run_fit(metrics={"a": lambda *_: 0}), TypeError, "pass validation="),
    "metric named loss": (
        run_fit(validation=(INPUTS, LABELS), metrics={"loss": lambda *_: 0}),
        ValueError,
        'expected metrics besides "loss"',
    ),
    "wrong features in data": (
        run_fit(data=(INPUTS[:, 0], LABELS)),
        ValueError,
        "softmax_cross_entropy: expected labels as integers",
    ),
    "targets of another kind": (
        run_fit(objective=SQUARED),
        TypeError,
        "squared_error: expected targets of a floating dtype",
    ),
    "metric that is no scalar": (
        run_fit(validation=(INPUTS, LABELS), metrics={"rows": lambda params, state, batch: batch[0].sum(1)}),
        ValueError,
        "fit: expected metric 'rows' as a scalar",
    ),
    "validation of another width": (
        run_fit(validation=(INPUTS[:, :3], LABELS)),
        ValueError,
        r"serial\[0\].dense: expected x",
    ),
    "validation batch size": (
        run_fit(validation=(INPUTS, LABELS), validation_batch_size=-5),
        ValueError,
        "fit: expected validation_batch_size of at least 1, got -5",
    ),
    "parameters as a state": (
        run_fit(key=None, train_state=params_of(NET)),
        TypeError,
        "fit: expected a TrainState to go on from, got list of 3",
    ),
    "steps": (
        lambda: make_run(OBJECTIVE, optax.sgd(0.1), batch_size=5)(
            init_train_state(OBJECTIVE, optax.sgd(0.1), jax.random.key(0), (INPUTS, LABELS)), (X[:0], X[:0]), 3
        ),
        ValueError,
        "expected at least one batch",
    ),
}
