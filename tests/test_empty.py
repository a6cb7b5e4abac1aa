"""Size 0: an empty batch gives empty results and zero gradients; another empty axis that, or purenet's own error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.catalogue import Row, catalogue, input_of, networks
from purenet.errors import LayerError
from purenet.layer import run_backward

BATCH = 13  # no other axis of the table is that long
COMPOSED = [row.name for row in networks.rows()]


def drawn(row: Row) -> Any:
    """The shapes of the row's input."""
    return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, input_of(row, batch=BATCH)))


ROWS = [row for row in catalogue() if any(BATCH in leaf.shape for leaf in jax.tree.leaves(drawn(row)))]


def emptied(x: Any, length: int) -> Any:
    """x with every axis of this length empty."""
    return jax.tree.map(lambda leaf: jnp.zeros([0 if n == length else n for n in leaf.shape], leaf.dtype), x)


def pull(layer: pn.Layer, params: Any, state: Any, x: Any) -> Any:
    """Forward, predict and backward."""
    y, new_state, residuals = layer.forward(params, state, x, jax.random.key(11))
    predicted = layer.predict(params, state, x)
    dparams, dx = run_backward(layer, params, x, y, residuals, jax.tree.map(jnp.ones_like, y))
    return y, new_state, predicted, dparams, dx


def fresh_pull(layer: pn.Layer, x: Any) -> Any:
    params, state = initial(layer, x)
    return pull(layer, params, state, x)


def initial(layer: pn.Layer, x: Any) -> tuple[Any, Any]:
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    params, state = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
    return params, state


def by_name(rows: list[Row]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


def takes_statistics(row: Row) -> bool:
    return row.statistics and row.constructor.endswith("batch_norm")


def is_loss(row: Row) -> bool:
    """A mean or a sum over the examples."""
    y = jax.eval_shape(lambda: fresh_pull(row.layer, drawn_zeros(row))[0])
    return jax.tree.map(jnp.shape, y) == ()


def drawn_zeros(row: Row) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), drawn(row))


@by_name(ROWS)
def test_an_empty_batch_gives_empty_results(row: Row) -> None:
    """A mean over no examples, as a loss or a statistic, is an error."""
    x = emptied(drawn(row), BATCH)
    if is_loss(row):
        with pytest.raises(ValueError, match="expected at least one example, got an empty batch"):
            jax.eval_shape(lambda: fresh_pull(row.layer, x))
        return
    params, state = initial(row.layer, x)
    if takes_statistics(row):
        assert row.layer.predict(params, state, x).size == 0
        with pytest.raises(ValueError, match="expected at least 2 values a channel in training, got 0"):
            jax.eval_shape(lambda: pull(row.layer, params, state, x))
        return
    y, new_state, predicted, dparams, dx = jax.jit(pull, static_argnums=0)(row.layer, params, state, x)
    assert jax.tree.map(jnp.shape, predicted) == jax.tree.map(jnp.shape, y)
    for leaf in jax.tree.leaves(dparams):
        np.testing.assert_array_equal(leaf, 0)
    for leaf in jax.tree.leaves((y, dx, new_state)):
        assert leaf.size == 0 or np.all(np.isfinite(leaf))


def lengths_of(x: Any) -> Iterator[int]:
    yield from sorted({length for leaf in jax.tree.leaves(x) for length in leaf.shape} - {BATCH})


@by_name([row for row in ROWS if row.name not in COMPOSED])
def test_any_other_empty_axis_gives_a_result_or_an_error_of_purenets_own(row: Row) -> None:
    for length in lengths_of(drawn(row)):
        x = emptied(drawn(row), length)
        with contextlib.suppress(LayerError):
            jax.eval_shape(lambda x=x: fresh_pull(row.layer, x))
