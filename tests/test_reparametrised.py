"""What weight_norm, weight_standardize and spectral_norm promise beyond the table."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, normal, pull_all

import purenet as pn


def reparametrised() -> list[pn.Layer]:
    return [
        wrap(layer)
        for wrap in (pn.weight_standardize, pn.weight_norm, pn.spectral_norm)
        for layer in (pn.dense(4), pn.conv(4, (3, 3)))
    ]


@pytest.mark.parametrize("layer", reparametrised(), ids=lambda layer: f"{layer.name} of {layer.parts[0][1].name}")
def test_the_length_of_the_kernel_does_not_matter(layer: pn.Layer) -> None:
    """A kernel three times as large gives the same y, so the gradient has nothing along the kernel."""
    with jax.enable_x64(True):
        x, dy = normal(2, 5, 5, 3), normal(2, 5, 5, 4, seed=1)
        params, state = layer.init(jax.random.key(0), x)
        y, _, dparams, dx = jax.jit(functools.partial(pull_all, layer))(params, state, x, dy)
        longer = {**params, "kernel": 3 * params["kernel"]}
        assert_close(jax.jit(layer.forward)(longer, state, x, None)[0], y, 1e-8)
        along = dparams["kernel"] * params["kernel"]
        assert abs(jnp.sum(along)) <= 1e-8 * jnp.sum(jnp.abs(along))
        gradients = jax.grad(lambda p, x: jnp.vdot(layer.forward(p, state, x, None)[0], dy), (0, 1))(params, x)
        assert_close((dparams, dx), gradients)


def test_weight_norm_starts_as_the_layer_itself() -> None:
    x, key = jnp.asarray(normal(5, 6), jnp.float32), jax.random.key(3)
    bare, normed = pn.dense(4), pn.weight_norm(pn.dense(4))
    (params, _), (normed_params, _) = bare.init(jax.random.clone(key), x), normed.init(key, x)
    assert_close(normed.predict(normed_params, (), x), bare.predict(params, (), x), 1e-6)


def test_weight_norm_takes_a_norm_below_eps_for_a_constant() -> None:
    with jax.enable_x64(True):
        x, dy, layer = normal(5, 6), normal(5, 4, seed=1), pn.weight_norm(pn.dense(4, use_bias=False))
        params = {"kernel": jnp.asarray(1e-14 * normal(6, 4, seed=2)), "scale": jnp.arange(1.0, 5.0)}
        y, _, dparams, _ = pull_all(layer, params, (), x, dy)
        assert_close(y, x @ np.asarray(params["kernel"]) / 1e-12 * np.arange(1, 5))
        assert_close(dparams["kernel"], x.T @ dy / 1e-12 * np.arange(1, 5))


@pytest.mark.parametrize("wrap", [pn.weight_standardize, pn.weight_norm, pn.spectral_norm])
def test_a_kernel_of_zeros_gives_finite_values_and_gradients(wrap: Any) -> None:
    x = jnp.asarray(normal(5, 6), jnp.float32)
    layer = wrap(pn.dense(4, kernel_init=jax.nn.initializers.zeros))
    params, state = layer.init(jax.random.key(0), x)
    assert all(
        bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(pull_all(layer, params, state, x, x[:, :4]))
    )


def test_spectral_norm_finds_the_largest_singular_value_in_training_alone() -> None:
    with jax.enable_x64(True):
        x = np.eye(6)
        layer = pn.spectral_norm(pn.dense(4, use_bias=False))
        params, state = layer.init(jax.random.key(0), x)
        params = {"kernel": jnp.asarray(normal(6, 4))}  # not the kernel that init saw
        forward = jax.jit(layer.forward)
        y, state, _ = forward(params, state, x, None)
        assert_close(layer.predict(params, state, x), y)  # by the vectors as they are, still far from singular ones
        for _ in range(60):
            y, state, _ = forward(params, state, x, None)
        assert_close(y, np.asarray(params["kernel"]) / np.linalg.norm(params["kernel"], 2), 1e-9)
        assert_close(layer.predict(params, state, x), y)
        assert_close(layer.predict({"kernel": 2 * params["kernel"]}, state, x), y)


@pytest.mark.parametrize("iterations", [1, 3])
def test_spectral_norm_equals_pytorchs_over_several_steps(iterations: int) -> None:
    """Values, gradients, and what evaluation takes; from the same vectors."""
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear(6, 4, dtype=torch.float64)
    theirs = torch.nn.utils.parametrizations.spectral_norm(linear, n_power_iterations=iterations)
    raw, vectors = theirs.parametrizations.weight.original, theirs.parametrizations.weight[0]
    with jax.enable_x64(True):
        layer = pn.spectral_norm(pn.dense(4), iterations=iterations)
        params = {"kernel": raw.detach().numpy().T, "bias": theirs.bias.detach().numpy()}
        state = {"kernel": {"u": vectors._u.numpy().copy(), "v": vectors._v.numpy().copy()}, "inside": ()}
        x, dy = normal(5, 6), normal(5, 4, seed=1)
        for _ in range(3):
            y, state, dparams, _ = pull_all(layer, params, state, x, dy)
            theirs.zero_grad()
            expected = theirs(torch.tensor(x))
            expected.backward(torch.tensor(dy))
            assert_close((y, dparams["kernel"]), (expected.detach(), raw.grad.numpy().T), 1e-12)
        theirs.eval()
        assert_close(layer.predict(params, state, x), theirs(torch.tensor(x)).detach(), 1e-12)


def test_weight_norm_equals_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(6, 4, dtype=torch.float64))
    scale, kernel = (value.detach().numpy() for value in theirs.parametrizations.weight.parameters())
    with jax.enable_x64(True):
        x = normal(5, 6)
        params = {"kernel": kernel.T, "scale": scale[:, 0], "bias": theirs.bias.detach().numpy()}
        assert_close(pn.weight_norm(pn.dense(4)).predict(params, (), x), theirs(torch.tensor(x)).detach(), 1e-12)
