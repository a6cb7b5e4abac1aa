"""Training: fit equals the pure run, seeds under vmap, no retracing, resuming, stopping, what a failure keeps."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import purenet as pn
from purenet.train import TrainState, fit, init_train_state, make_evaluate, make_run, make_step, train
from purenet.train.fit import chunk_lengths, equal_parts

GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(50, 6)).astype(np.float32)
TARGETS = (INPUTS[:, :3] * INPUTS[:, 3:]).argmax(1).astype(np.int32)
DATA = (INPUTS, TARGETS)


def objective(*, dropout: float = 0.0) -> pn.Layer:
    net = pn.serial(pn.dense(8), pn.tanh(), pn.dropout(dropout), pn.dense(3))
    return pn.objective(net, pn.losses.softmax_cross_entropy())


def assert_same(one: Any, other: Any, rtol: float = 0.0) -> None:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    for mine, theirs in leaves:
        if jnp.issubdtype(mine.dtype, jax.dtypes.prng_key):
            mine, theirs = jax.random.key_data(mine), jax.random.key_data(theirs)
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)


def test_step_is_the_gradient_step() -> None:
    net, optimizer = objective(), optax.sgd(0.1)
    state = init_train_state(net, optimizer, jax.random.key(0), DATA)
    after, metrics = jax.jit(make_step(net, optimizer))(state, DATA)
    loss, gradient = jax.value_and_grad(lambda p: net.predict(p, (), DATA))(state.params)
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-6)
    assert_same(after.params, jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient), 1e-6)
    assert int(after.step) == 1


def test_training_starts_from_given_parameters() -> None:
    net, optimizer = objective(), optax.trace(0.9)
    params = jax.tree.map(lambda leaf: leaf + 1, net.init(jax.random.key(5), DATA)[0])
    state = init_train_state(net, optimizer, jax.random.key(0), DATA, params=params)
    assert_same(state.params, params)
    assert_same(state.opt_state, optimizer.init(params))


@pytest.mark.parametrize("optimizer", [optax.adamw(1e-2), optax.lion(1e-3), optax.inject_hyperparams(optax.adam)(1e-2)])
def test_any_optax_optimizer_under_strict_promotion(optimizer: Any) -> None:
    _, history = fit(objective(), optimizer, DATA, key=jax.random.key(0), epochs=3, batch_size=10)
    assert history.epoch_loss[-1] < history.epoch_loss[0]


@pytest.mark.complete
def test_native_batch_equals_vmap_of_one_example() -> None:
    one = pn.objective(pn.serial(pn.dense(8), pn.tanh(), pn.dense(3)), pn.losses.softmax_cross_entropy())
    arguments: dict[str, Any] = {"epochs": 2, "batch_size": 10}
    native, _ = fit(one, optax.sgd(0.3), DATA, key=jax.random.key(1), **arguments)
    mapped, _ = fit(pn.per_example(one), optax.sgd(0.3), DATA, key=jax.random.key(1), **arguments)
    assert_same(native.params, mapped.params, 2e-6)

    gradient = pn.value_and_grad(one)
    params, state = one.init(jax.random.key(2), DATA)
    values, gradients = jax.vmap(gradient, (None, None, 0))(params, state, (jnp.array(INPUTS), jnp.array(TARGETS)))
    (value, _), expected = gradient(params, state, (jnp.array(INPUTS), jnp.array(TARGETS)))
    assert float(values[0].mean()) == pytest.approx(float(value), rel=1e-6)
    assert_same(jax.tree.map(lambda g: g.mean(0), gradients), expected, 1e-6)


def test_fit_is_the_pure_run_and_five_seeds_train_in_one_program() -> None:
    net, optimizer = objective(dropout=0.2), optax.adam(1e-2)
    keys = jax.random.split(jax.random.key(3), 5)
    data = jax.tree.map(jnp.asarray, DATA)

    def run(key: Any) -> Any:
        return train(net, optimizer, key, data, epochs=3, batch_size=10)

    states, metrics = jax.jit(jax.vmap(run))(jax.random.clone(keys))
    for seed in range(5):
        alone, history = fit(net, optimizer, DATA, key=keys[seed], epochs=3, batch_size=10)
        np.testing.assert_allclose(metrics["loss"][seed], history.loss, rtol=2e-5)
        assert_same(jax.tree.map(lambda leaf, seed=seed: leaf[seed], states.params), alone.params, 2e-5)


def test_nothing_is_traced_after_the_first_chunk() -> None:
    traces = []
    net = objective()

    def counted(*args: Any) -> Any:
        traces.append(1)
        return net.forward(*args)

    def after_each_chunk(train_state: TrainState, metrics: Any) -> None:
        counts.append(len(traces))

    counts: list[int] = []
    fit(
        net.replace(forward=counted),
        optax.adam(1e-2),
        DATA,
        key=jax.random.key(0),
        epochs=4,
        batch_size=10,
        validation=DATA,
        on_chunk=after_each_chunk,
    )
    assert len(counts) == 4
    assert counts[0] > 0
    assert len(set(counts)) == 1


@pytest.mark.parametrize("chunk_steps", [1, 2, 4, 5, 9, 10, 1000])
def test_chunks_do_not_change_the_run(chunk_steps: int) -> None:
    calls = []
    arguments: dict[str, Any] = {"epochs": 4, "batch_size": 12}
    whole, history = fit(objective(), optax.adam(1e-2), DATA, key=jax.random.key(0), **arguments)
    chunked, chunked_history = fit(
        objective(),
        optax.adam(1e-2),
        DATA,
        key=jax.random.key(0),
        chunk_steps=chunk_steps,
        on_chunk=lambda state, metrics: calls.append(len(metrics["loss"])),
        **arguments,
    )
    expected = {1: 1, 2: 2, 4: 4, 5: 4, 9: 8, 10: 8, 1000: 16}[chunk_steps]
    assert calls == [expected] * (16 // expected)
    assert_same(whole.params, chunked.params, 1e-6)
    np.testing.assert_allclose(history.loss, chunked_history.loss, rtol=1e-5)
    assert len(history.loss) == 16


@pytest.mark.parametrize(
    ("epochs", "epoch_steps", "expected"), [(30, 45, 15), (20_000, 1, 1000), (7, 200, 1), (3, 5000, 1)]
)
def test_chunks_by_default_are_equal(epochs: int, epoch_steps: int, expected: int) -> None:
    assert equal_parts(epochs, epoch_steps) == expected
    lengths = set(chunk_lengths(0, epochs * epoch_steps, epoch_steps, expected * epoch_steps))
    assert lengths == {expected * epoch_steps}


@pytest.mark.parametrize("chunk", [1, 3, 10, 25, 1000])
@pytest.mark.parametrize("offset", [0, 4])
def test_chunks_add_up_and_end_with_their_epoch(chunk: int, offset: int) -> None:
    lengths = list(chunk_lengths(offset, 30, 10, chunk))
    assert sum(lengths) == 30
    for start, length in zip(np.cumsum([offset, *lengths]), lengths, strict=False):
        within_one_epoch = start // 10 == (start + length - 1) // 10
        assert within_one_epoch or (start % 10 == 0 and length % 10 == 0)


@pytest.mark.complete
def test_going_on_from_a_state_is_the_longer_run() -> None:
    net, optimizer = objective(dropout=0.3), optax.adam(1e-2)
    arguments: dict[str, Any] = {"batch_size": 10}
    whole, _ = fit(net, optimizer, DATA, key=jax.random.key(4), epochs=4, **arguments)
    half, _ = fit(net, optimizer, DATA, key=jax.random.key(4), epochs=2, **arguments)
    rest, _ = fit(net, optimizer, DATA, train_state=half, epochs=2, **arguments)
    assert_same(whole, rest)
    assert int(half.step) == 10  # the caller's state is still there: nothing of it was donated


def test_every_example_is_seen_once_an_epoch_in_a_new_order() -> None:
    def forward(params: Any, state: Any, x: Any, key: Any) -> Any:
        return params["w"] * 0 + jnp.sum(x[0]), x[0][:, 0], ()

    probe = pn.Layer(
        init=lambda key, x: ({"w": jnp.zeros(())}, jnp.zeros(1)),
        forward=forward,
        backward=lambda params, x, y, residuals, dy: ({"w": jnp.zeros(())}, x),
        predict=lambda params, state, x: jnp.zeros(()),
        name="probe",
    )
    numbers = np.arange(20, dtype=np.float32)[:, None]
    seen = []
    arguments: dict[str, Any] = {"epochs": 3, "batch_size": 1, "chunk_steps": 1}
    for shuffle in (True, False):
        fit(
            probe,
            optax.sgd(0.1),
            (numbers, numbers),
            key=jax.random.key(0),
            shuffle=shuffle,
            on_chunk=lambda state, metrics: seen.append(float(state.state[0])),
            **arguments,
        )
    epochs = np.array(seen).reshape(2, 3, 20)
    np.testing.assert_array_equal(np.sort(epochs, -1), np.broadcast_to(np.arange(20), (2, 3, 20)))
    np.testing.assert_array_equal(epochs[1], np.broadcast_to(np.arange(20), (3, 20)))
    assert not np.array_equal(epochs[0, 0], epochs[0, 1])


def test_history_and_evaluation() -> None:
    def accuracy(params: Any, state: Any, batch: Any) -> Any:
        logits = net.parts[0][1].predict(params, state, batch[0])
        return jnp.mean((jnp.argmax(logits, -1) == batch[1]).astype(jnp.float32))

    net = objective()
    final, history = fit(
        net,
        optax.adam(3e-2),
        DATA,
        key=jax.random.key(0),
        epochs=6,
        batch_size=10,
        validation=DATA,
        metrics={"accuracy": accuracy},
        validation_batch_size=16,
    )
    assert history.loss.shape == (30,)
    assert history.epoch_loss.shape == (6,)
    assert set(history.validation) == {"loss", "accuracy"}
    assert history.validation["loss"].shape == (6,)
    np.testing.assert_allclose(history.validation["loss"][-1], net.predict(final.params, (), DATA), rtol=1e-5)
    np.testing.assert_allclose(history.validation["accuracy"][-1], accuracy(final.params, (), DATA), rtol=1e-5)
    assert history.best_epoch == int(np.argmin(history.validation["loss"])) + 1


@pytest.mark.parametrize("batch_size", [None, 7, 25, 50, 999])
def test_evaluation_in_batches_is_the_mean_over_all(batch_size: int | None) -> None:
    net = objective()
    params, state = net.init(jax.random.key(0), DATA)
    data = jax.tree.map(jnp.asarray, DATA)
    value = make_evaluate(net, batch_size=batch_size)(params, state, data)["loss"]
    np.testing.assert_allclose(value, net.predict(params, state, data), rtol=1e-6)


@pytest.mark.complete
def test_early_stopping_and_the_best_state() -> None:
    arguments: dict[str, Any] = {
        "batch_size": 10,
        "validation": (INPUTS[:10], TARGETS[::-1][:10]),
    }
    net, optimizer = objective(), optax.adam(0.1)
    best, history = fit(net, optimizer, DATA, key=jax.random.key(0), epochs=60, patience=3, keep_best=True, **arguments)
    losses = history.validation["loss"]
    assert history.stopped_early
    assert len(losses) == history.best_epoch + 3 < 60
    assert int(best.step) == 5 * history.best_epoch
    np.testing.assert_allclose(net.predict(best.params, (), arguments["validation"]), losses.min(), rtol=1e-5)
    _, whole = fit(net, optimizer, DATA, key=jax.random.key(0), epochs=len(losses), **arguments)
    np.testing.assert_allclose(whole.validation["loss"], losses, rtol=1e-5)
    assert not whole.stopped_early


def test_a_hook_can_stop() -> None:
    state, history = fit(
        objective(),
        optax.sgd(0.1),
        DATA,
        key=jax.random.key(0),
        epochs=9,
        batch_size=10,
        on_chunk=lambda s, m: np.bool_(s.step >= 10),
    )
    assert int(state.step) == 10
    assert history.stopped_early


def test_the_bar_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    arguments: dict[str, Any] = {"epochs": 2, "batch_size": 10}
    fit(objective(), optax.sgd(0.1), DATA, key=jax.random.key(0), **arguments)
    assert capsys.readouterr().err == ""
    fit(objective(), optax.sgd(0.1), DATA, key=jax.random.key(0), progress=True, **arguments)
    assert "10/10" in capsys.readouterr().err


def test_state_is_a_pytree_with_one_key() -> None:
    state = init_train_state(objective(), optax.adam(1e-3), jax.random.key(0), DATA)
    assert {field.name for field in dataclasses.fields(state)} == {"step", "params", "state", "opt_state", "key"}
    assert jax.tree.structure(jax.tree.map(lambda leaf: leaf, state)) == jax.tree.structure(state)
    assert state.step.dtype == jnp.int32


@pytest.mark.complete
@pytest.mark.parametrize("chunk_steps", [None, 1, 3, 10])
def test_going_on_from_within_an_epoch_is_the_longer_run(chunk_steps: int | None) -> None:
    net, optimizer = objective(dropout=0.2), optax.adam(1e-2)
    arguments: dict[str, Any] = {"batch_size": 5, "chunk_steps": chunk_steps}
    whole, history = fit(net, optimizer, DATA, key=jax.random.key(4), epochs=3, batch_size=5)
    seven, first = fit(
        net, optimizer, DATA, key=jax.random.key(4), epochs=1, batch_size=5, chunk_steps=7, on_chunk=lambda s, m: True
    )
    assert int(seven.step) == 7
    rest, after = fit(net, optimizer, DATA, train_state=seven, epochs=2, **arguments)
    np.testing.assert_allclose(np.concatenate([first.loss, after.loss]), history.loss[:27], rtol=1e-5)
    last, _ = fit(net, optimizer, DATA, train_state=rest, epochs=1, batch_size=5)
    assert int(last.step) == 37
    assert int(whole.step) == 30


def test_each_step_draws_its_own_randomness() -> None:
    def forward(params: Any, state: Any, x: Any, key: Any) -> Any:
        return jax.random.uniform(key) + 0 * params, state, ()

    noise = pn.Layer(
        init=lambda key, x: (jnp.zeros(()), ()),
        forward=forward,
        backward=lambda params, x, y, residuals, dy: (dy * 0, (x[0], None)),
        predict=lambda params, state, x: params,
        name="noise",
    )
    _, history = fit(noise, optax.sgd(0.1), DATA, key=jax.random.key(0), epochs=3, batch_size=10)
    assert len(set(history.loss.tolist())) == 15


@pytest.mark.parametrize(
    "optimizer", [optax.polyak_sgd(), optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau())]
)
def test_optimizers_that_look_at_the_loss(optimizer: Any) -> None:
    _, history = fit(objective(), optimizer, DATA, key=jax.random.key(0), epochs=3, batch_size=10)
    assert history.epoch_loss[-1] < history.epoch_loss[0]


def test_best_epoch_is_the_state_that_is_kept() -> None:
    validation = (INPUTS[:10], TARGETS[::-1][:10])
    net, optimizer = objective(), optax.adam(0.1)
    best, history = fit(
        net,
        optimizer,
        DATA,
        key=jax.random.key(0),
        epochs=8,
        batch_size=10,
        validation=validation,
        min_delta=10.0,
        keep_best=True,
    )
    assert int(best.step) == 5 * history.best_epoch
    np.testing.assert_allclose(net.predict(best.params, (), validation), history.validation["loss"].min(), rtol=1e-5)


def test_numpy_arrays_and_numbers_are_taken_by_the_pure_run() -> None:
    """float64, as NumPy makes it, is cast as JAX casts it, without a warning."""
    data = (INPUTS.astype(np.float64), TARGETS.astype(np.int64))
    net, optimizer, key = objective(), optax.sgd(0.1), jax.random.key(0)
    two, ten = cast(Any, np.int64(2)), cast(Any, np.int64(10))
    expected, losses = train(net, optimizer, key, jax.tree.map(jnp.asarray, DATA), epochs=2, batch_size=10)
    mine, metrics = train(net, optimizer, jax.random.clone(key), data, epochs=two, batch_size=ten)
    assert_same(mine, expected)
    assert_same(metrics, losses)
    start = init_train_state(net, optimizer, jax.random.clone(key), (data[0][:10], data[1][:10]))
    assert_same(make_run(net, optimizer, batch_size=ten)(start, data, ten)[0], expected)
    fitted, _ = fit(net, optimizer, data, key=jax.random.clone(key), epochs=two, batch_size=ten, patience=ten)
    assert_same(fitted.params, expected.params, 1e-6)
