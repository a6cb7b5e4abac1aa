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

from ..annotations import Array, Bool, Int, PositiveInt, PyTree
from ..arguments import as_kind, checks_arguments
from ..objective import Objective
from ..validation import describe
from .state import TrainState, init_train_state
from .step import EPOCH_STREAM, Metrics, make_step, stream_key

Run = Callable[..., tuple[TrainState, Metrics]]
Guarded = tuple[TrainState, Bool[Array, ""]]


@checks_arguments
def make_run(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    batch_size: PositiveInt,
    shuffle: bool = True,
    guard: bool = False,
) -> Run:
    """`run(train_state, data, steps) -> (train_state, metrics)`, metrics stacked [steps].

    An epoch is floor(examples / batch_size) steps over a permutation of the data; what does not fill a batch waits
    for another epoch's permutation. `steps` is static: some that are left of the epoch in which the state stands, or
    whole epochs from the start of one.
    With `guard` the state stands still from the first step on after which the loss, or a number that was finite
    before, is not finite.
    """
    step = make_step(objective, optimizer)

    def rows(train_state: TrainState, examples: int) -> Int[Array, "steps batch"]:
        epoch_steps = examples // batch_size
        order = jnp.arange(examples)
        if shuffle:
            key = stream_key(train_state.key, EPOCH_STREAM, train_state.step // epoch_steps)
            order = jax.random.permutation(key, order)
        return order[: epoch_steps * batch_size].reshape(epoch_steps, batch_size)

    def part(carry: Guarded, data: PyTree, steps: int) -> tuple[Guarded, Metrics]:
        """`steps` steps within one epoch."""
        now, _ = carry
        order = rows(now, count_examples(data))
        if steps < len(order):
            order = lax.dynamic_slice_in_dim(order, now.step % len(order), steps)

        def on_batch(carry: Guarded, row: Int[Array, " batch"]) -> tuple[Guarded, Metrics]:
            before, alive = carry
            after, metrics = step(before, jax.tree.map(lambda leaf: leaf.at[row].get(mode="promise_in_bounds"), data))
            if guard:
                alive = alive & stays_finite(metrics["loss"], before, after)
                after = select(alive, after, before)
            return (after, alive), metrics

        return lax.scan(on_batch, carry, order)

    def run(train_state: TrainState, data: PyTree, steps: int) -> tuple[TrainState, Metrics]:
        data = jax.tree.map(jnp.asarray, data)
        epoch_steps = count_examples(data) // batch_size
        check_steps(steps, epoch_steps)
        carry = train_state, jnp.array(True)
        if steps <= epoch_steps:
            (train_state, _), metrics = part(carry, data, steps)
            return train_state, metrics
        epochs = steps // epoch_steps
        (train_state, _), metrics = lax.scan(lambda now, _: part(now, data, epoch_steps), carry, length=epochs)
        return train_state, jax.tree.map(lambda leaf: leaf.reshape(steps, *leaf.shape[2:]), metrics)

    return run


@checks_arguments
def train(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    key: Array,
    data: PyTree,
    *,
    epochs: PositiveInt,
    batch_size: PositiveInt,
    shuffle: bool = True,
) -> tuple[TrainState, Metrics]:
    """A whole training run as one pure function of key and data: what `fit` does, without the host.

    `jax.vmap(lambda key: train(objective, optimizer, key, data, ...))(keys)` trains a seed a key in one program.
    """
    data = jax.tree.map(jnp.asarray, data)
    train_state = init_train_state(objective, optimizer, key, batch_of(data, batch_size))
    run = make_run(objective, optimizer, batch_size=batch_size, shuffle=shuffle)
    return run(train_state, data, epochs * (count_examples(data) // batch_size))


def select(alive: Bool[Array, ""], after: TrainState, before: TrainState) -> TrainState:
    """One state or the other; the key is the same in both."""
    states = (dataclasses.replace(train_state, key=()) for train_state in (after, before))
    chosen = jax.tree.map(lambda new, old: jnp.where(alive, new, old), *states)
    return dataclasses.replace(chosen, key=before.key)


def stays_finite(loss: Array, before: TrainState, after: TrainState) -> Bool[Array, ""]:
    """Whether the loss is finite, and everything in the state that was: an optimizer's best loss may begin infinite."""
    kept = [jnp.all(jnp.isfinite(new) | ~jnp.isfinite(old)) for old, new in floating_pairs(before, after)]
    return jnp.all(jnp.array([jnp.isfinite(loss), *kept]))


def floating_pairs(before: TrainState, after: TrainState) -> list[tuple[Array, Array]]:
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return [pair for pair in pairs if jnp.issubdtype(pair[0].dtype, jnp.floating)]


def count_examples(data: PyTree) -> int:
    return jax.tree.leaves(data)[0].shape[0]


def batch_of(data: PyTree, batch_size: int) -> PyTree:
    """The shapes of one batch."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype), data)


def check_steps(steps: int, epoch_steps: int) -> None:
    if epoch_steps < 1:
        raise ValueError("expected at least one batch of data: the batch size is above the number of examples")
    as_kind("run", "steps", ["PositiveInt"], steps)
    if steps > epoch_steps and steps % epoch_steps:
        raise ValueError(
            f"expected steps of one epoch, at most {epoch_steps}, or of whole epochs, got {describe(steps)}"
        )
