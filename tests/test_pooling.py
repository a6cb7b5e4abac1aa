"""Pooling: ties, NaN, zeros, and windows of every geometry against loops."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import pull_x
from jax import lax
from values.pooling import largest, mean, norm, pooled

import purenet as pn


def gradient(layer: pn.Layer, x: Any) -> np.ndarray:
    dy = jnp.ones(jax.eval_shape(lambda x: layer.predict((), (), x), x).shape, x.dtype)
    return np.asarray(pull_x(layer, x, dy)[1])


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (2, 3)])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_first_of_equal_elements_takes_the_gradient_as_with_reduce_window(shape: Any, strides: int) -> None:
    x = jax.random.randint(jax.random.key(0), (1, 6, 6, 2), 0, 3).astype(jnp.float32)
    lengths, steps = (1, *shape, 1), (1, strides, strides, 1)
    y, vjp = jax.vjp(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, lengths, steps, "VALID"), x)
    dy = jax.random.normal(jax.random.key(1), y.shape)
    mine, dx = pull_x(pn.max_pool(shape, strides=strides), x, dy)
    np.testing.assert_array_equal(mine, y)
    np.testing.assert_allclose(dx, vjp(dy)[0], rtol=1e-6)


@pytest.mark.parametrize("layer", [pn.max_pool(3), pn.global_max_pool(dimensions=1), pn.adaptive_max_pool(1)])
@pytest.mark.parametrize(
    ("x", "chosen"),
    [([1.0, 2.0, 2.0], 1), ([3.0, 3.0, 3.0], 0), ([1.0, jnp.nan, jnp.nan], 1), ([jnp.nan, 5.0, 1.0], 0)],
)
def test_first_largest_or_first_nan_is_the_maximum(layer: pn.Layer, x: list[float], chosen: int) -> None:
    column = jnp.array(x)[:, None]
    assert np.array_equal(np.ravel(layer.predict((), (), column)), [x[chosen]], equal_nan=True)
    np.testing.assert_array_equal(gradient(layer, column)[:, 0], np.eye(3)[chosen])


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_p_norm_of_zeros_has_gradient_zero(p: float) -> None:
    for layer in (pn.lp_pool(2, p, padding=1), pn.global_lp_pool(p, dimensions=1)):
        np.testing.assert_array_equal(gradient(layer, jnp.zeros((4, 1))), 0)
        _, tangent = jax.jvp(lambda x, f=layer: f.predict((), (), x), (jnp.zeros((4, 1)),), (jnp.ones((4, 1)),))
        assert not np.any(tangent)


def test_places_of_large_windows_are_told_apart() -> None:
    for window, dtype in (((16, 16), jnp.uint8), ((257,), jnp.uint16)):
        x = jax.ShapeDtypeStruct((*window, 1), jnp.float32)
        place, _ = jax.eval_shape(lambda x, w=window: pn.max_pool(w).forward((), (), x, None)[2], x)
        assert place.dtype == dtype


GEOMETRIES = [
    (window, strides, pads, dilation, ceil)
    for window, strides, pads, dilation, ceil in itertools.product((1, 2, 3), (1, 2, 3), (0, 1), (1, 2), (False, True))
    if 2 * pads <= window
][::4]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_geometry_against_loops(geometry: Any) -> None:
    """Values against loops in NumPy, gradients against jax.vjp; one axis, since axes do not see each other."""
    window, strides, pads, dilation, ceil = geometry
    options = {"strides": strides, "padding": pads, "dilation": dilation, "ceil_mode": ceil}
    layers = {
        largest: pn.max_pool(window, **options),
        mean: pn.avg_pool(window, **options, count_include_pad=False),
        norm(3): pn.lp_pool(window, 3, **options),
    }
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (2, 7, 2))

        def run(x: Any) -> list[Any]:
            found = []
            for layer in layers.values():
                y, vjp = jax.vjp(lambda x, f=layer: f.predict((), (), x), x)
                found.append((*pull_x(layer, x, jnp.cos(y)), vjp(jnp.cos(y))[0]))
            return found

        for reduce, (y, dx, expected) in zip(layers, jax.jit(run)(x), strict=True):
            value = pooled(reduce, (window,), strides, pads, dilation, ceil)((), x)
            np.testing.assert_allclose(y, value, rtol=1e-14, atol=1e-15)
            np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-14)


def test_what_counts_in_a_mean() -> None:
    x = jnp.ones((3, 1))
    counted = pn.avg_pool(2, strides=2, padding=1, ceil_mode=True).predict((), (), x)
    np.testing.assert_allclose(counted[:, 0], [0.5, 1.0])
    hanging = pn.avg_pool(3, strides=2, padding=(1,), ceil_mode=True).predict((), (), jnp.ones((4, 1)))
    # Windows at -1, 1 and 3: the last one holds one of x, one of the padding, and one that is neither.
    np.testing.assert_allclose(hanging[:, 0], [2 / 3, 1.0, 1 / 2])
    alone = pn.avg_pool(3, strides=2, padding=(1,), ceil_mode=True, count_include_pad=False)
    np.testing.assert_allclose(alone.predict((), (), jnp.ones((4, 1)))[:, 0], 1.0)


def test_flax_paddings() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    for padding in ("SAME", "VALID"):
        expected = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 2, 1), padding)
        mine = pn.max_pool((3, 2), strides=2, padding=padding).predict((), (), x)
        np.testing.assert_array_equal(mine, expected)
    lower = pn.max_pool(2, padding="SAME_LOWER").predict((), (), jnp.array([1.0, 3.0, 2.0])[:, None])
    np.testing.assert_array_equal(lower[:, 0], [1, 3, 3])
    causal = pn.max_pool(2, dilation=2, padding="CAUSAL").predict((), (), jnp.array([5.0, 3.0, 2.0, 4.0])[:, None])
    np.testing.assert_array_equal(causal[:, 0], [5, 3, 5, 4])
