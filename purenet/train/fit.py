"""fit: the loop on the host around compiled chunks of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..annotations import Array, NonNegativeFloat, PositiveInt, PyTree
from ..arguments import checks_arguments
from ..objective import Objective
from .arguments import check_data, check_metrics, check_start
from .evaluate import Metric, make_evaluate
from .history import History, NonFiniteError, Record
from .progress import progress_bar
from .run import Run, batch_of, count_examples, floating_pairs, make_run
from .state import TrainState, check_optimizer, init_train_state
from .stopping import Stopping

Hook = Callable[[TrainState, dict[str, np.ndarray]], Any]


class FitResult(NamedTuple):
    train_state: TrainState
    history: History


@checks_arguments
def fit(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: PyTree,
    *,
    epochs: PositiveInt,
    batch_size: PositiveInt,
    key: Array | None = None,
    train_state: TrainState | None = None,
    shuffle: bool = True,
    validation: PyTree | None = None,
    metrics: Mapping[str, Metric] | None = None,
    validation_batch_size: PositiveInt | None = None,
    patience: PositiveInt | None = None,
    min_delta: NonNegativeFloat = 0.0,
    keep_best: bool = False,
    chunk_steps: PositiveInt | None = None,
    on_chunk: Hook | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Train on data (inputs, targets) that fits on the device; returns (train_state, history).

    Each chunk is one compiled program: a scan over a permutation drawn on the device, the state donated. It is an
    epoch by default, or several short ones up to 1,000 steps where nothing happens between them. Between chunks the
    host collects the metrics, and between epochs it evaluates.

    - Start from `key`, or go on from `train_state` for `epochs` more. The same key gives the same run as `train`.
    - `validation` (inputs, targets) is evaluated after every epoch: the loss, and `metrics`, functions
      (params, state, batch) -> mean, in batches of `validation_batch_size` (default: all at once).
    - With `patience` training stops after so many epochs without a loss `min_delta` below the best one (validation
      loss, or training loss without validation); `keep_best` returns the best epoch's state instead of the last.
    - `chunk_steps` is a part of an epoch, or rounded down to whole ones. A chunk ends where its epoch ends, so that
      one more program is compiled for a shorter one at the end.
    - `on_chunk(train_state, metrics)` is called after every chunk; returning something true stops. The state it sees
      is donated to the next chunk: read it or copy it, do not keep it.
    - `progress`: None shows a bar when a terminal is attached.

    Data is checked once on the host: lengths, emptiness, NaN and infinity. A step whose loss is not finite, or that
    makes something in the state infinite, raises `NonFiniteError` with the state before it: each chunk's first state
    waits in host memory, and the failing chunk is run again from there with a guard at every step.
    """
    check_optimizer(optimizer)
    check_start(key, train_state)
    data = check_data(data, "data", batch_size)
    if validation is not None:
        validation = check_data(validation, "validation")
    elif metrics:
        raise TypeError("fit: metrics are evaluated on validation data: pass validation=(inputs, targets)")
    if key is not None:
        train_state = init_train_state(objective, optimizer, key, batch_of(data, batch_size))
    now, run_key = own_arrays(train_state)
    epoch_steps = count_examples(data) // batch_size
    total = epochs * epoch_steps
    between_epochs = validation is not None or patience is not None or keep_best
    if chunk_steps is None:
        chunk_steps = epoch_steps * (1 if between_epochs or on_chunk is not None else equal_parts(epochs, epoch_steps))
    elif between_epochs:
        chunk_steps = min(chunk_steps, epoch_steps)
    offset, done = int(now.step) % epoch_steps, 0
    chunk = compile_chunks(objective, optimizer, batch_size, shuffle)
    evaluate = jax.jit(make_evaluate(objective, metrics, batch_size=validation_batch_size))
    if validation is not None:
        check_metrics(jax.eval_shape(evaluate, now.params, now.state, validation))
    record = Record(epoch_steps)
    stopping, best = Stopping(), None

    with progress_bar(total, progress) as advance:
        before = to_host(now)
        for steps in chunk_lengths(offset, total, epoch_steps, chunk_steps):
            now, chunk_metrics = chunk(now, data, steps)
            after = to_host(now)
            if not finite_on_host(chunk_metrics["loss"], before, after):
                replay = compile_chunks(objective, optimizer, batch_size, shuffle, guard=True)
                now, chunk_metrics = replay(from_host(before, run_key), data, steps)
                done = int(now.step) - int(before.step)
                record.add(chunk_metrics, done)
                raise NonFiniteError(int(now.step), now, record.history(), float(chunk_metrics["loss"][done]), data[1])
            before = after
            record.add(chunk_metrics, steps)
            done += steps
            if between_epochs and (offset + done) % epoch_steps == 0:
                if validation is not None:
                    record.evaluated(evaluate(now.params, now.state, validation))
                stopping = stopping.update(record.watched(), min_delta)
                if keep_best and record.is_best():
                    best = after
            advance(steps, record.latest())
            stop = on_chunk is not None and bool(on_chunk(now, record.metrics[-1]))
            if stop or (patience is not None and stopping.waited >= patience):
                record.stopped_early = done < total
                break
    return FitResult(now if best is None else from_host(best, run_key), record.history())


def compile_chunks(
    objective: Objective, optimizer: optax.GradientTransformation, batch_size: int, shuffle: bool, guard: bool = False
) -> Run:
    """`make_run` under jit, the state donated."""
    run = make_run(objective, optimizer, batch_size=batch_size, shuffle=shuffle, guard=guard)
    return jax.jit(run, static_argnums=2, donate_argnums=0)


def own_arrays(train_state: Any) -> tuple[TrainState, Array]:
    """(the state in arrays of its own, its key apart).

    What is donated must hold each array once and none of the caller's; the key never changes, so one copy will do.
    """
    return jax.tree.map(jnp.copy, train_state), jnp.copy(train_state.key)


def equal_parts(epochs: int, epoch_steps: int) -> int:
    """How many epochs go into one of equal chunks of at most 1,000 steps: equal, so that one program serves all."""
    most = max(1, min(epochs, 1000 // epoch_steps))
    return next(size for size in range(most, 0, -1) if epochs % size == 0)


def chunk_lengths(offset: int, total: int, epoch_steps: int, chunk_steps: int) -> Iterator[int]:
    """Lengths that add up to `total`, from `offset` within an epoch: parts of one epoch, or whole epochs."""
    done = 0
    while done < total:
        left = epoch_steps - (offset + done) % epoch_steps
        whole = min(chunk_steps, total - done) // epoch_steps * epoch_steps
        steps = whole if whole and left == epoch_steps else min(chunk_steps, left, total - done)
        done += steps
        yield steps


def to_host(train_state: TrainState) -> TrainState:
    """A copy in host memory, so that the device holds the state once; without the key, which never changes."""
    return jax.tree.map(
        lambda leaf: jnp.copy(leaf) if is_key(leaf) else np.array(leaf), dataclasses.replace(train_state, key=None)
    )


def from_host(train_state: TrainState, run_key: Array) -> TrainState:
    return dataclasses.replace(jax.tree.map(jnp.copy, train_state), key=run_key)


def is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def finite_on_host(loss: Array, before: TrainState, after: TrainState) -> bool:
    """`stays_finite` of a whole chunk, in host memory."""
    kept = ((np.isfinite(new) | ~np.isfinite(old)).all() for old, new in floating_pairs(before, after))
    return bool(np.isfinite(loss).all()) and all(map(bool, kept))
