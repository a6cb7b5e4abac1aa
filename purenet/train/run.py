"""A whole run as a pure function: scans of steps over permutations drawn on the device.

Jit it, donate its state, or `jax.vmap` it over keys to train several seeds in one program; `fit` is the loop on the
host around it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ..annotations import Array, Bool, Int, PyTree
from ..layer import Layer
from ..validation import describe
from .state import TrainState, init_train_state
from .step import EPOCH_STREAM, Metrics, Step, make_step, stream_key

Run = Callable[..., tuple[TrainState, Metrics]]


def make_run(
    objective: Layer,
    optimizer: optax.GradientTransformation,
    *,
    batch_size: int,
    shuffle: bool = True,
    guard: bool = False,
) -> Run:
    """`run(train_state, data, steps) -> (train_state, metrics)`, metrics stacked [steps].

    An epoch is floor(examples / batch_size) steps over a permutation of the data; what does not fill a batch waits
    for another epoch's permutation. `steps` is static: some that are left of the epoch in which the state stands, or
    whole epochs from the start of one.
    With `guard` the state stands still from the first step on whose loss or new parameters are not finite.
    """
    step = make_step(objective, optimizer)

    def rows(train_state: TrainState, examples: int) -> Int[Array, "steps batch"]:
        epoch_steps = examples // batch_size
        order = jnp.arange(examples)
        if shuffle:
            key = stream_key(train_state.key, EPOCH_STREAM, train_state.step // epoch_steps)
            order = jax.random.permutation(key, order)
        return order[: epoch_steps * batch_size].reshape(epoch_steps, batch_size)

    def part(train_state: TrainState, data: PyTree, steps: int) -> tuple[TrainState, Metrics]:
        """`steps` steps within one epoch."""
        order = rows(train_state, count_examples(data))
        if steps < len(order):
            order = lax.dynamic_slice_in_dim(order, train_state.step % len(order), steps)

        def on_batch(train_state: TrainState, row: Int[Array, " batch"]) -> tuple[TrainState, Metrics]:
            return step(train_state, jax.tree.map(lambda leaf: leaf.at[row].get(mode="promise_in_bounds"), data))

        return scan_guarded(on_batch, train_state, order) if guard else lax.scan(on_batch, train_state, order)

    def run(train_state: TrainState, data: PyTree, steps: int) -> tuple[TrainState, Metrics]:
        epoch_steps = count_examples(data) // batch_size
        check_steps(steps, epoch_steps)
        if steps <= epoch_steps:
            return part(train_state, data, steps)
        epochs = steps // epoch_steps
        train_state, metrics = lax.scan(lambda now, _: part(now, data, epoch_steps), train_state, length=epochs)
        return train_state, jax.tree.map(lambda leaf: leaf.reshape(steps, *leaf.shape[2:]), metrics)

    return run


def train(
    objective: Layer,
    optimizer: optax.GradientTransformation,
    key: Array,
    data: PyTree,
    *,
    epochs: int,
    batch_size: int,
    shuffle: bool = True,
) -> tuple[TrainState, Metrics]:
    """A whole training run as one pure function of key and data: what `fit` does, without the host.

    `jax.vmap(lambda key: train(objective, optimizer, key, data, ...))(keys)` trains a seed a key in one program.
    """
    train_state = init_train_state(objective, optimizer, key, batch_of(data, batch_size))
    run = make_run(objective, optimizer, batch_size=batch_size, shuffle=shuffle)
    return run(train_state, data, epochs * (count_examples(data) // batch_size))


def scan_guarded(step: Step, train_state: TrainState, batches: PyTree) -> tuple[TrainState, Metrics]:
    """`lax.scan`, but the state stands still from the first step on whose loss or new parameters are not finite."""

    def on(carry: tuple[TrainState, Bool[Array, ""]], batch: PyTree) -> tuple[tuple, Metrics]:
        before, alive = carry
        after, metrics = step(before, batch)
        alive = alive & all_finite((metrics["loss"], after.params))
        return (select(alive, after, before), alive), metrics

    (train_state, _), metrics = lax.scan(on, (train_state, jnp.array(True)), batches)
    return train_state, metrics


def select(alive: Bool[Array, ""], after: TrainState, before: TrainState) -> TrainState:
    """One state or the other; the key is the same in both."""
    states = (dataclasses.replace(train_state, key=()) for train_state in (after, before))
    chosen = jax.tree.map(lambda new, old: jnp.where(alive, new, old), *states)
    return dataclasses.replace(chosen, key=before.key)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


def count_examples(data: PyTree) -> int:
    return jax.tree.leaves(data)[0].shape[0]


def batch_of(data: PyTree, batch_size: int) -> PyTree:
    """The shapes of one batch."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype), data)


def check_steps(steps: int, epoch_steps: int) -> None:
    if epoch_steps < 1:
        raise ValueError("expected at least one batch of data: the batch size is above the number of examples")
    if steps < 1 or (steps > epoch_steps and steps % epoch_steps):
        raise ValueError(
            f"expected steps of one epoch, at most {epoch_steps}, or of whole epochs, got {describe(steps)}"
        )
