"""Size 0: an empty batch gives empty results and zero gradients; another empty axis that, or purenet's own error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, Case, combinators, models, networks

import purenet as pn
from purenet.errors import LayerError
from purenet.layer import run_backward

BATCH = 13  # no other axis of the table is that long
COMPOSED = [row.name for subject in (combinators, networks, models) for row in subject.ROWS]
OTHERS = ("per_example", "gaussian_sample", "gaussian_kl", "vae", "vae_objective")  # these refuse one in other words
# What a mean over no examples would be is refused.
STATISTICS = ("batch_norm", "batch_norm_plain", "activated_batch_norm")
OBJECTIVES = ("objective", "objective_recomputed", "head_objective", "negative_elbo", "ce_masked_examples")


def drawn(case: Case) -> Any:
    """The shapes of the row's input."""
    return jax.eval_shape(lambda: case.x(jax.random.key(0), BATCH))


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


def by_name(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def is_loss(case: Case) -> bool:
    return case.reduction is not None or case.name in OBJECTIVES


@by_name([case for case in CASES if not is_loss(case) and case.name not in STATISTICS + OTHERS])
def test_an_empty_batch_gives_empty_results(case: Case) -> None:
    x = emptied(drawn(case), BATCH)
    params, state = initial(case.layer, x)
    y, new_state, predicted, dparams, dx = jax.jit(pull, static_argnums=0)(case.layer, params, state, x)
    assert jax.tree.map(jnp.shape, predicted) == jax.tree.map(jnp.shape, y)
    for leaf in jax.tree.leaves(dparams):
        np.testing.assert_array_equal(leaf, 0)
    for leaf in jax.tree.leaves((y, dx, new_state)):
        assert leaf.size == 0 or np.all(np.isfinite(leaf))


@by_name([case for case in CASES if is_loss(case)])
def test_an_empty_batch_has_no_loss(case: Case) -> None:
    x = emptied(drawn(case), BATCH)
    with pytest.raises(ValueError, match="expected at least one example, got an empty batch"):
        jax.eval_shape(lambda: fresh_pull(case.layer, x))


@by_name([case for case in CASES if case.name in STATISTICS])
def test_an_empty_batch_has_no_statistics(case: Case) -> None:
    x = emptied(drawn(case), BATCH)
    params, state = initial(case.layer, x)
    assert case.layer.predict(params, state, x).size == 0
    with pytest.raises(ValueError, match="expected at least 2 values a channel in training, got 0"):
        jax.eval_shape(lambda: pull(case.layer, params, state, x))


def lengths_of(x: Any) -> Iterator[int]:
    yield from sorted({length for leaf in jax.tree.leaves(x) for length in leaf.shape} - {BATCH})


@by_name([case for case in CASES if case.name not in COMPOSED])
def test_any_other_empty_axis_gives_a_result_or_an_error_of_purenets_own(case: Case) -> None:
    for length in lengths_of(drawn(case)):
        x = emptied(drawn(case), length)
        with contextlib.suppress(LayerError):
            jax.eval_shape(lambda x=x: fresh_pull(case.layer, x))
