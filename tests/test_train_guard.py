"""Training that stops being finite: what is caught, what the error holds, what it advises."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_train import DATA, INPUTS, TARGETS, assert_same, objective

import purenet as pn
from purenet.train import NonFiniteError, fit, init_train_state, make_run


@pytest.mark.parametrize("chunk_steps", [1, 5, 50])
def test_a_non_finite_loss_stops_and_keeps_the_last_finite_state(chunk_steps: int) -> None:
    net = pn.objective(pn.serial(pn.dense(8), pn.dense(3)), pn.losses.squared_error("sum"))
    data = (INPUTS, INPUTS[:, :3])
    optimizer = optax.sgd(0.5)
    with pytest.raises(NonFiniteError, match="lower the learning rate") as caught:
        fit(net, optimizer, data, key=jax.random.key(0), epochs=10, batch_size=10, chunk_steps=chunk_steps)
    error = caught.value
    kept = error.train_state
    assert error.step == int(kept.step) == len(error.history.loss)
    assert np.all(np.isfinite(error.history.loss))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((kept.params, kept.opt_state)))
    run = make_run(net, optimizer, batch_size=10)
    state = init_train_state(net, optimizer, jax.random.key(0), data)
    expected, _ = jax.jit(run, static_argnums=2)(state, jax.tree.map(jnp.asarray, data), 50)
    assert not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(expected.params))


@pytest.mark.parametrize("chunk_steps", [None, 4, 1])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_first_step_that_fails_is_named_whatever_the_chunks(chunk_steps: int | None, shuffle: bool) -> None:
    targets = TARGETS.copy()
    targets[24] = 9  # in the third batch, where nothing is shuffled
    with pytest.raises(NonFiniteError) as caught:
        fit(
            objective(),
            optax.adam(1e-2),
            (INPUTS, targets),
            key=jax.random.key(0),
            epochs=3,
            batch_size=10,
            shuffle=shuffle,
            chunk_steps=chunk_steps,
        )
    error = caught.value
    assert error.step == int(error.train_state.step) == len(error.history.loss)
    assert np.isfinite(error.history.loss).all()
    state = init_train_state(objective(), optax.adam(1e-2), jax.random.key(0), (INPUTS, targets))
    run = make_run(objective(), optax.adam(1e-2), batch_size=10, shuffle=shuffle)
    losses = jax.jit(run, static_argnums=2)(state, (INPUTS, targets), 15)[1]["loss"]
    assert error.step == int(np.argmin(np.isfinite(losses)))
    assert shuffle or error.step == 2
    np.testing.assert_allclose(error.history.loss, losses[: error.step], rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            TARGETS + 1,
            r"the loss of step 0 is not finite \(it was the first\): labels are 0..classes-1, the targets hold "
            r"1..3 \(from 1\? subtract 1: 0..2\); if they are right, lower the learning rate",
        ),
        (TARGETS - 1, r"step 0 .* the targets hold -1..1; if they are right, lower"),
    ],
)
def test_labels_are_looked_at_before_the_learning_rate(labels: Any, message: str) -> None:
    with pytest.raises(NonFiniteError, match=message):
        fit(objective(), optax.sgd(0.1), (INPUTS, labels), key=jax.random.key(0), epochs=1, batch_size=50)


def overflowing_moments() -> tuple[pn.Layer, Any, Any]:
    return objective(), optax.chain(optax.scale(1e25), optax.adam(1e-3)), DATA


def overflowing_statistics() -> tuple[pn.Layer, Any, Any]:
    net = pn.serial(pn.dense(4), pn.batch_norm(), pn.dense(3))
    inputs = INPUTS * np.array([1e25, 1, 1, 1, 1, 1], np.float32)
    return pn.objective(net, pn.losses.softmax_cross_entropy()), optax.sgd(1e-3), (inputs, TARGETS)


@pytest.mark.parametrize("chunk_steps", [None, 1])
@pytest.mark.parametrize("run", [overflowing_moments, overflowing_statistics])
def test_an_optimizers_or_a_layers_state_that_overflows_is_caught(run: Any, chunk_steps: int | None) -> None:
    net, optimizer, data = run()
    arguments: dict[str, Any] = {"epochs": 2, "batch_size": 10, "chunk_steps": chunk_steps}
    with pytest.raises(NonFiniteError, match="the parameters, the layers' state or the optimizer's state") as caught:
        fit(net, optimizer, data, key=jax.random.key(0), **arguments)
    assert caught.value.step == 0
    kept = caught.value.train_state
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((kept.params, kept.state, kept.opt_state)))


def test_a_state_that_begins_infinite_is_no_failure() -> None:
    optimizer = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))
    start = init_train_state(objective(), optimizer, jax.random.key(0), DATA)
    assert not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(start.opt_state))
    state = jax.jit(make_run(objective(), optimizer, batch_size=10, guard=True), static_argnums=2)(start, DATA, 5)[0]
    assert int(state.step) == 5
    fit(objective(), optimizer, DATA, key=jax.random.key(0), epochs=2, batch_size=10, chunk_steps=1)


def test_an_update_that_overflows_is_caught_though_its_loss_was_finite() -> None:
    net, optimizer = pn.objective(pn.dense(3), pn.losses.squared_error("sum")), optax.sgd(3e38)
    data = (INPUTS, INPUTS[:, :3])
    with pytest.raises(NonFiniteError) as caught:
        fit(net, optimizer, data, key=jax.random.key(0), epochs=1, batch_size=50)
    assert caught.value.step == 0
    start = init_train_state(net, optimizer, jax.random.key(0), data)
    assert_same(caught.value.train_state.params, start.params)
