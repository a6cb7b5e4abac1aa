"""Mixture of experts: choices at ties, blocks of uneven length, Switch and Mixtral gates, and the router's losses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import purenet as pn
from purenet.layers.experts import LARGEST_BLOCK, group
from purenet.layers.routing import (
    load_balancing_backward,
    load_balancing_forward,
    router_z_backward,
    router_z_forward,
    routing_backward,
    routing_forward,
)

LOGITS = np.array([[0.3, 2.0, -1.0, 0.9], [1.5, 0.1, 0.2, -0.4], [0.0, 0.5, 1.0, 0.7]])
SKEWED = {
    "all to one": np.zeros((300, 1), np.int32) + 2,
    "two in a block": np.concatenate([np.full((129, 1), 1), np.full((3, 1), 3)]).astype(np.int32),
    "one choice": np.array([[3]], np.int32),
    "fewer choices than experts": np.array([[2, 0], [3, 2]], np.int32) % 4,
    "many": np.random.default_rng(0).integers(0, 4, (700, 2)).astype(np.int32),
}


@pytest.mark.parametrize("name", SKEWED)
def test_every_choice_has_one_place_in_a_block_of_its_expert(name: str) -> None:
    chosen = SKEWED[name]
    blocks = jax.jit(lambda chosen: group(chosen, 4))(chosen)
    choice, place = np.asarray(blocks.choice), np.asarray(blocks.place)
    np.testing.assert_array_equal(choice.reshape(-1)[place.reshape(-1)], np.arange(chosen.size))
    np.testing.assert_array_equal(np.asarray(blocks.expert)[place // choice.shape[1]], chosen)
    assert np.sum(choice < chosen.size) == chosen.size
    assert choice.shape[1] <= LARGEST_BLOCK
    assert choice.size < chosen.size + min(4, chosen.size) * choice.shape[1]


def test_equal_logits_choose_the_first_experts() -> None:
    _, chosen = routing_forward(jnp.zeros((2, 5)), 3, False)
    np.testing.assert_array_equal(chosen, [[0, 1, 2]] * 2)


@pytest.mark.parametrize("renormalise", [True, False])
def test_routing_equals_numpy_and_autodiff(renormalise: bool) -> None:
    with jax.enable_x64(True):
        logits, dgates = jnp.asarray(LOGITS), jnp.asarray([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25]])
        gates, chosen = routing_forward(logits, 2, renormalise)
        probabilities = scipy.special.softmax(LOGITS, -1)
        np.testing.assert_array_equal(chosen, [[1, 3], [0, 2], [2, 3]])
        top = np.take_along_axis(probabilities, np.asarray(chosen), -1)
        np.testing.assert_allclose(gates, top / top.sum(-1, keepdims=True) if renormalise else top, rtol=1e-14)
        expected = jax.vjp(lambda logits: routing_forward(logits, 2, renormalise)[0], logits)[1](dgates)[0]
        mine = routing_backward(logits, chosen, dgates, renormalise)
        np.testing.assert_allclose(mine, expected, rtol=1e-13, atol=1e-16)


@pytest.mark.complete
def test_losses_of_the_router() -> None:
    with jax.enable_x64(True):
        logits, chosen = jnp.asarray(LOGITS), jnp.asarray([[1, 3], [0, 2], [2, 3]])
        shares = np.array([1, 1, 2, 2]) / 3
        balance = 4 * np.sum(shares * scipy.special.softmax(LOGITS, -1).mean(0))
        np.testing.assert_allclose(load_balancing_forward(logits, chosen), balance, rtol=1e-14)
        z = np.mean(scipy.special.logsumexp(LOGITS, -1) ** 2)
        np.testing.assert_allclose(router_z_forward(logits), z, rtol=1e-14)
        expected = jax.grad(load_balancing_forward)(logits, chosen)
        dloss = jnp.asarray(0.7)
        np.testing.assert_allclose(load_balancing_backward(logits, chosen, dloss), 0.7 * expected, rtol=1e-13)
        expected = jax.grad(router_z_forward)(logits)
        np.testing.assert_allclose(router_z_backward(logits, dloss), 0.7 * expected, rtol=1e-13)


def test_a_uniform_router_balances_at_k() -> None:
    logits = jnp.zeros((4, 4))
    for k in (1, 2, 4):
        chosen = (jnp.arange(4)[:, None] + jnp.arange(k)[None]) % 4
        np.testing.assert_allclose(load_balancing_forward(logits, chosen), k, rtol=1e-6)


def dense_mixture(params: Any, x: Any, k: int) -> Any:
    """Every expert on every token, the gates of those not chosen zero: an oracle for values and gradients."""
    probabilities = jax.nn.softmax(x @ params["router"]["kernel"])
    threshold = jnp.sort(probabilities)[:, -k][:, None]
    gates = jnp.where(probabilities >= jnp.broadcast_to(threshold, probabilities.shape), probabilities, 0)
    gates = gates / jnp.sum(gates, -1, keepdims=True)
    hidden = jax.nn.relu(jnp.einsum("ti,eih->eth", x, params["up"]["kernel"]) + params["up"]["bias"][:, None])
    out = jnp.einsum("eth,eho->eto", hidden, params["down"]["kernel"]) + params["down"]["bias"][:, None]
    return jnp.einsum("te,eto->to", gates, out)


@pytest.mark.complete
def test_blocks_of_many_tokens_equal_every_expert_on_every_token() -> None:
    """More tokens than a block holds, with experts of very different popularity."""
    layer = pn.mixture_of_experts(3, 5, top_k=2, features=4, activation="relu", gated=False, use_bias=True)
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        keys = jax.random.split(jax.random.key(0), 4)
        x = jax.random.normal(keys[0], (300, 6)) + jax.random.normal(keys[1], (1, 6))
        params, _ = layer.init(keys[2], x)
        params = jax.tree.map(lambda p: p + 0.3 * jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
        dy = jax.random.normal(keys[3], (300, 4))

        @jax.jit
        def pull(params: Any, x: Any) -> Any:
            y, _, saved = layer.forward(params, (), x, None)
            return y, layer.backward(params, x, None, saved, dy)

        @jax.jit
        def oracle(params: Any, x: Any) -> Any:
            y, vjp = jax.vjp(lambda params, x: dense_mixture(params, x, 2), params, x)
            return y, vjp(dy)

        for mine, theirs in zip(jax.tree.leaves(pull(params, x)), jax.tree.leaves(oracle(params, x)), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-13 * np.max(np.abs(theirs)))


@pytest.mark.complete
def test_switch_keeps_the_gate_so_that_its_router_learns() -> None:
    x = jax.random.normal(jax.random.key(0), (6, 4))
    for renormalise in (False, True):
        layer = pn.mixture_of_experts(3, 4, top_k=1, renormalise=renormalise)
        params, _ = layer.init(jax.random.key(1), x)
        y, _, saved = layer.forward(params, (), x, None)
        gradients, _ = layer.backward(params, x, None, saved, jnp.ones_like(y))
        learns = bool(np.max(np.abs(gradients["router"]["kernel"])) > 1e-4)
        assert learns != renormalise


def test_products_are_those_of_the_chosen_experts_alone() -> None:
    """The rows that are multiplied: at most k a token and one block of padding an expert, not every expert's."""
    layer = pn.mixture_of_experts(8, 16, top_k=2)
    x = jax.ShapeDtypeStruct((2048, 4), jnp.float32)
    params, _ = jax.eval_shape(layer.init, jax.random.key(0), x)
    h = jax.eval_shape(lambda params, x: layer.forward(params, (), x, None)[2][2], params, x)
    assert h.shape[0] * h.shape[1] <= 2 * 2048 + 8 * LARGEST_BLOCK
