"""Activations at their tails and kinks, in every dtype."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.catalogue import features
from purenet.layer import run_backward

ROWS = features.activations()

layers = pytest.mark.parametrize("layer", [row.layer for row in ROWS], ids=[row.name for row in ROWS])


def gradient(layer: pn.Layer, x: Any) -> tuple[Any, Any]:
    y, _, residuals = layer.forward((), (), x, None)
    return y, run_backward(layer, (), x, y, residuals, jnp.ones_like(x))[1]


@layers
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_gradient_is_finite_wherever_the_value_is(layer: pn.Layer, dtype: Any) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        largest = float(jnp.finfo(dtype).max)
        tails = [largest, largest / 4, largest**0.5, 1e4, 300.0, 100.0, 30.0, 12.0, 10.0, 9.5, 3.0, 0.0]
        x = jnp.array([sign * tail for tail in tails for sign in (1, -1)], dtype)[:, None]
        y, dx = gradient(layer, x)
        assert y.dtype == dx.dtype == dtype
        finite = jnp.isfinite(y)
        assert bool(jnp.all(jnp.isfinite(dx) | ~finite)), np.array([x, y, dx])[:, ~np.isfinite(np.asarray(dx))]


@layers
def test_nan_stays_nan(layer: pn.Layer) -> None:
    y, dx = gradient(layer, jnp.array([[jnp.nan, jnp.nan]]))
    assert bool(jnp.all(jnp.isnan(y)))
    assert dx.shape == y.shape


@pytest.mark.parametrize(
    ("layer", "x", "slope"),
    [
        (pn.relu(), 0.0, 0),
        (pn.relu6(), 0.0, 0),
        (pn.relu6(), 6.0, 0),
        (pn.leaky_relu(0.3), 0.0, 1),
        (pn.hard_tanh(), 1.0, 0),
        (pn.hard_tanh(), -1.0, 0),
        (pn.hard_sigmoid(), 3.0, 0),
        (pn.hard_swish(), 3.0, 1),
        (pn.hard_swish(), -3.0, 0),
        (pn.elu(2.0), 0.0, 2),
    ],
)
def test_slope_at_a_kink_is_the_documented_one_and_autodiffs(layer: pn.Layer, x: float, slope: float) -> None:
    at = jnp.array([x])
    assert float(gradient(layer, at)[1][0]) == slope
    assert float(jax.grad(lambda x: layer.predict((), (), x)[0])(at)[0]) == slope


def test_what_each_activation_keeps() -> None:
    reads = {row.name: "".join(row.layer.needs) for row in ROWS}
    from_input = {"gelu", "gelu, exact", "silu", "swish", "mish", "hard_swish", "erf_sigmoid"}
    assert {name for name, needs in reads.items() if needs == "x"} == from_input
    assert {name for name, needs in reads.items() if needs == ""} == {"identity", "leaky_relu, falling"}
    for row in ROWS:
        kept = jax.tree.leaves(row.layer.forward((), (), jnp.ones((2, 3)), None)[2])
        assert [leaf.dtype for leaf in kept] == [jnp.bool_] * (row.name == "leaky_relu, falling")
        assert row.layer.recompute is not None


@pytest.mark.parametrize("make", [lambda: pn.elu(0.0), lambda: pn.celu(-1.0), lambda: pn.elu(float("nan"))])
def test_alpha_must_be_positive(make: Any) -> None:
    with pytest.raises(ValueError, match=r"expected alpha (above 0|as a number)"):
        make()


@layers
def test_large_cotangents_do_not_overflow_in_between(layer: pn.Layer) -> None:
    """Loss scaling in float16: dy of a thousand at the tails."""
    x = jnp.array([300.0, 70.0, 5.0, -5.0, -70.0, -300.0], jnp.float16)[:, None]
    y, _, residuals = layer.forward((), (), x, None)
    dx = run_backward(layer, (), x, y, residuals, jnp.full_like(x, 1000.0))[1]
    assert bool(jnp.all(jnp.isfinite(dx)))


def halves(dtype: Any) -> Any:
    """Every number of a half-precision dtype from -30 to 30."""
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    return every[np.abs(every.astype(np.float32)) <= 30]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["gelu", "gelu, exact", "silu", "mish", "hard_swish", "erf_sigmoid"])
def test_half_precision_is_right_at_every_number(name: str, dtype: Any) -> None:
    layer = next(row.layer for row in ROWS if row.name == name)
    x = halves(dtype)
    y, dx = jax.jit(lambda x: gradient(layer, x))(x)
    with jax.enable_x64(True):
        exact_y, exact_dx = gradient(layer, jnp.asarray(x.astype(np.float64)))
    rounding = float(jnp.finfo(dtype).eps)
    y, dx = np.asarray(y, np.float64), np.asarray(dx, np.float64)
    np.testing.assert_allclose(y, exact_y, rtol=2 * rounding, atol=1e-6)
    np.testing.assert_allclose(dx, exact_dx, rtol=rounding, atol=1e-5)  # 1 + tanh cancels in float32
