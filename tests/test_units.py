"""Gates, maxout, prelu and random layers: conventions at ties and kinks, what is drawn together, and PyTorch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.layers.maxout import maxout_backward, maxout_forward
from purenet.layers.prelu import prelu_backward, prelu_forward

ONES = jnp.ones((6, 4, 5, 3))


def drawn(layer: pn.Layer, x: Any, key: Any = None) -> tuple[Any, Any]:
    """Forward of x, and backward of a cotangent of ones."""
    y, _, saved = layer.forward((), (), x, jax.random.key(3) if key is None else key)
    return np.asarray(y), np.asarray(layer.backward((), None, None, saved, jnp.ones_like(y))[1])


def test_the_order_of_gate_and_value() -> None:
    x = jnp.array([1.0, 2.0, -3.0, 0.5])
    value, gate = x[:2], x[2:]
    np.testing.assert_allclose(pn.glu().predict((), (), x), value * jax.nn.sigmoid(gate), rtol=1e-6)
    np.testing.assert_allclose(pn.glu().predict((), (), x), jax.nn.glu(x), rtol=1e-6)
    np.testing.assert_allclose(pn.glu(gate_first=True).predict((), (), x), gate * jax.nn.sigmoid(value), rtol=1e-6)
    np.testing.assert_allclose(pn.swiglu().predict((), (), x), jax.nn.silu(value) * gate, rtol=1e-6)
    np.testing.assert_allclose(pn.swiglu(gate_first=False).predict((), (), x), value * jax.nn.silu(gate), rtol=1e-6)


def test_a_gated_mlp_keeps_its_input_and_the_pair_alone() -> None:
    for layer in (pn.gated_mlp(5), pn.gated_mlp(5, features=2)):
        assert [(value.label, value.fate) for value in layer.plan] == [
            ("input", "kept"),
            (".up dense -> .act gated", "kept"),
            (".act gated -> .down dense", "recomputed"),
            ("output", "dropped"),
        ]


def test_a_gated_mlp_has_the_features_of_its_input() -> None:
    x = jnp.ones((2, 3, 7))
    params, _ = pn.gated_mlp(5).init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, params["down"]) == {"kernel": (5, 7)}
    assert pn.gated_mlp(5).predict(params, (), x).shape == x.shape


def test_of_equal_pieces_the_first_gets_the_gradient() -> None:
    params, x = {"kernel": jnp.ones((2, 3, 1))}, jnp.array([1.0, -4.0])
    y, winner = maxout_forward(params, x)
    dparams, dx = maxout_backward(params, x, winner, jnp.array([2.0]))
    assert y == -3
    np.testing.assert_array_equal(dparams["kernel"][..., 0], [[2, 0, 0], [-8, 0, 0]])
    np.testing.assert_array_equal(dx, [2, 2])


def test_maxout_remembers_the_winner_in_a_byte() -> None:
    params, _ = pn.maxout(3, 200).init(jax.random.key(0), jnp.ones((2, 4)))
    assert maxout_forward(params, jnp.ones((2, 4)))[1].dtype == jnp.uint8


def test_prelu_at_zero_is_the_identity() -> None:
    params, x = {"slope": jnp.array(0.25)}, jnp.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(prelu_forward(params, x), [-0.5, 0, 3])
    dparams, dx = prelu_backward(params, x, jnp.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(dx, [0.25, 10, 100])
    assert dparams["slope"] == -2


def test_prelu_with_a_slope_an_element() -> None:
    x = jnp.array([[-1.0, 2.0], [-3.0, -4.0]])
    layer = pn.prelu(init=0.5, axes=2)
    params, _ = layer.init(jax.random.key(0), x)
    assert params["slope"].shape == (2, 2)
    np.testing.assert_array_equal(layer.predict(params, (), x), [[-0.5, 2], [-1.5, -2]])


CONSTANT = {
    "dropout along an axis": (pn.dropout(0.5, broadcast_dims=(1, -1)), (1, 3)),
    "channels": (pn.spatial_dropout(0.5), (1, 2)),
    "channels of volumes": (pn.spatial_dropout(0.5, dimensions=3), (0, 1, 2)),
    "examples": (pn.drop_path(0.5), (1, 2, 3)),
    "examples of two axes": (pn.drop_path(0.5, dimensions=1), (2, 3)),
    "one example": (pn.drop_path(0.5, dimensions=3), (0, 1, 2, 3)),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_what_is_dropped_together(name: str) -> None:
    """Along these axes all or nothing, along the others both; what is kept is doubled, and so is its gradient."""
    layer, axes = CONSTANT[name]
    y, dx = drawn(layer, ONES)
    np.testing.assert_array_equal(dx, y)
    assert set(np.unique(y)) <= {0.0, 2.0}
    np.testing.assert_array_equal(np.min(y, axes), np.max(y, axes))
    for axis in set(range(4)) - set(axes):
        assert np.any(np.min(y, axis) != np.max(y, axis))


def test_one_example_is_dropped_under_vmap_as_in_a_batch() -> None:
    layer = pn.drop_path(0.5, dimensions=1)
    keys = jax.random.split(jax.random.key(0), 8)
    y = jax.vmap(lambda x, key: layer.forward((), (), x, key)[0])(jnp.ones((8, 4, 3)), keys)
    np.testing.assert_array_equal(np.min(y, (1, 2)), np.max(y, (1, 2)))
    assert len(np.unique(y)) == 2


def test_mean_and_variance_are_kept() -> None:
    x = jax.random.normal(jax.random.key(1), (200_000,))
    y, dx = drawn(pn.alpha_dropout(0.3), x)
    assert abs(np.mean(y)) < 0.01
    assert abs(np.var(y) - 1) < 0.02
    assert np.mean(dx == 0) == pytest.approx(0.3, abs=0.01)
    noisy, _ = drawn(pn.gaussian_noise(0.5), x)
    noise = (noisy - np.asarray(x)) / 0.5
    np.testing.assert_allclose(np.quantile(noise, [0.02, 0.2, 0.5, 0.9]), [-2.054, -0.842, 0, 1.282], atol=0.02)
    factor, dx = drawn(pn.gaussian_dropout(0.2), jnp.ones_like(x))
    assert np.mean(factor) == pytest.approx(1, abs=0.01)
    assert np.var(factor) == pytest.approx(0.2 / 0.8, abs=0.01)
    np.testing.assert_array_equal(dx, factor)


NOTHING_DRAWN = [
    pn.dropout(0.0),
    pn.spatial_dropout(0.0),
    pn.drop_path(0.0),
    pn.alpha_dropout(0.0),
    pn.gaussian_noise(0.0),
    pn.gaussian_dropout(0.0),
]


@pytest.mark.parametrize("layer", NOTHING_DRAWN, ids=[layer.name for layer in NOTHING_DRAWN])
def test_without_randomness_no_key_is_asked_for(layer: pn.Layer) -> None:
    y, _, saved = layer.forward((), (), ONES, None)
    assert y is ONES
    assert saved == ()


def test_noise_is_the_same_in_every_precision() -> None:
    layer, x = pn.gaussian_noise(1.0), np.zeros(50)
    with jax.enable_x64(True):
        wide, _ = drawn(layer, jnp.asarray(x))
    narrow, _ = drawn(layer, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(wide, narrow, rtol=1e-5)


def test_values_and_gradients_equal_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    theirs = torch.tensor(x, requires_grad=True)
    slope = torch.full((6,), 0.3, requires_grad=True)
    (torch.nn.functional.prelu(theirs, slope).sin().sum() + torch.nn.functional.glu(theirs).sin().sum()).backward()

    def total(params: Any, x: Any) -> Any:
        kinked = pn.as_function(pn.prelu(axes=1))(params, x)
        gated = pn.as_function(pn.glu())((), x)
        return jnp.sum(jnp.sin(kinked)) + jnp.sum(jnp.sin(gated))

    dparams, dx = jax.grad(total, (0, 1))({"slope": jnp.full(6, 0.3)}, jnp.asarray(x))
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dparams["slope"], slope.grad.numpy(), rtol=1e-5, atol=1e-6)
