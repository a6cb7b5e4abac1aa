"""Embeddings and positions: what is out of range, sums in bfloat16, and what a rotation is for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.layer import run_backward

TABLE = {"embedding": jnp.arange(12.0).reshape(4, 3) + 1}


def gradient(layer: pn.Layer, params: Any, x: Any, dy: Any) -> Any:
    y, _, residuals = layer.forward(params, (), x, None)
    return y, run_backward(layer, params, x, y, residuals, dy)


def test_repeated_rows_add_up_and_the_indices_have_no_gradient() -> None:
    dy = jnp.array([[1.0, 2, 3], [10, 20, 30], [100, 200, 300]])
    _, (dparams, dx) = gradient(pn.embedding(4, 3), TABLE, jnp.array([2, 0, 2]), dy)
    np.testing.assert_array_equal(dparams["embedding"], [[10, 20, 30], [0, 0, 0], [101, 202, 303], [0, 0, 0]])
    assert dx is None


def test_bfloat16_sums_are_not_rounded_on_the_way() -> None:
    """In bfloat16 256 + 1 is 256, so that a sum of ones would stop there."""
    table = {"embedding": jnp.ones((2, 3), jnp.bfloat16)}
    _, (dparams, _) = gradient(pn.embedding(2, 3), table, jnp.zeros(1024, int), jnp.ones((1024, 3), jnp.bfloat16))
    np.testing.assert_array_equal(dparams["embedding"].astype(float)[0], 1024.0)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32])
@pytest.mark.parametrize("wrong", [-1, 4, 100])
def test_an_index_outside_the_table_is_nan_under_jit_and_moves_no_row(wrong: int, dtype: Any) -> None:
    layer, x = pn.embedding(4, 3), jnp.array([1, wrong], dtype)
    y, (dparams, _) = jax.jit(lambda x: gradient(layer, TABLE, x, jnp.ones((2, 3))))(x)
    np.testing.assert_array_equal(y, [[4, 5, 6], [np.nan] * 3])
    np.testing.assert_array_equal(dparams["embedding"], np.eye(4)[1][:, None] * np.ones(3))


def test_a_table_longer_than_the_indices_dtype() -> None:
    y = pn.embedding(300, 1).predict({"embedding": jnp.arange(300.0)[:, None]}, (), jnp.array([255, 3], jnp.uint8))
    np.testing.assert_array_equal(y[:, 0], [255, 3])


def test_padding_starts_at_zero_and_stays() -> None:
    layer, x = pn.embedding(4, 3, padding_index=2), jnp.array([2, 1, 2])
    params, _ = layer.init(jax.random.key(0), x)
    y, (dparams, _) = gradient(layer, params, x, jnp.ones((3, 3)))
    assert not np.any(y[0])
    np.testing.assert_array_equal(dparams["embedding"], np.eye(4)[1][:, None] * np.ones(3))


def test_embedding_equals_torch() -> None:
    torch = pytest.importorskip("torch")
    x, dy = np.array([[3, 2, 2], [0, 3, 3]]), np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    weight = torch.tensor(np.array(TABLE["embedding"]), requires_grad=True)
    expected = torch.nn.functional.embedding(torch.tensor(x), weight, padding_idx=2)
    expected.backward(torch.tensor(dy))
    y, (dparams, _) = gradient(pn.embedding(4, 3, padding_index=2), TABLE, jnp.array(x), jnp.array(dy))
    np.testing.assert_array_equal(y, expected.detach().numpy())
    np.testing.assert_allclose(dparams["embedding"], weight.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_scores_of_turned_heads_depend_on_distance_alone(interleaved: bool) -> None:
    q, k = jax.random.normal(jax.random.key(0), (2, 5, 1, 8))

    def scores(offset: int) -> Any:
        turn = pn.rotary(offset=offset, interleaved=interleaved).predict
        return jnp.einsum("thd,shd->ts", turn((), (), q), turn((), (), k))

    np.testing.assert_allclose(scores(0), scores(17), atol=1e-4)
    assert float(jnp.max(jnp.abs(scores(0) - jnp.einsum("thd,shd->ts", q, k)))) > 0.1


def test_given_positions_are_those_counted() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 4, 3, 6))
    counted = pn.rotary(offset=3).predict((), (), x)
    given = pn.rotary().predict((), (), (x, jnp.broadcast_to(jnp.arange(3, 7), (2, 4))))
    np.testing.assert_array_equal(given, counted)


def test_turning_back_is_the_gradient() -> None:
    x = jax.random.normal(jax.random.key(0), (4, 3, 6))
    y, (_, dx) = gradient(pn.rotary(), (), x, pn.rotary().predict((), (), x))
    np.testing.assert_allclose(dx, x, atol=1e-6)
    np.testing.assert_array_equal(y[0], x[0])


def test_sines_then_cosines() -> None:
    x = jnp.zeros((5, 7))
    by_pairs, by_halves = (pn.sinusoidal_positions(interleaved=i).predict((), (), x) for i in (True, False))
    np.testing.assert_array_equal(by_halves[:, :4], by_pairs[:, ::2])
    np.testing.assert_array_equal(by_halves[:, 4:], by_pairs[:, 1::2])


def test_positions_beyond_the_sequence_get_no_gradient() -> None:
    layer, x = pn.learned_positions(6, offset=1), jnp.ones((2, 3, 4))
    params, _ = layer.init(jax.random.key(0), x)
    _, (dparams, _) = gradient(layer, params, x, x)
    np.testing.assert_array_equal(dparams["embedding"][:, 0], [0, 2, 2, 2, 0, 0])
