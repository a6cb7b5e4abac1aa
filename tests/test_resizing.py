"""Upsampling against jax.image, its conventions, and padding, cropping and shuffling and their inverses."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import pull_x

import purenet as pn

IMAGES = (2, 5, 6, 3)


def images() -> Any:
    return jax.random.normal(jax.random.key(0), IMAGES)


@functools.partial(jax.jit, static_argnums=0)
def autodiff(layer: pn.Layer, x: Any, dy: Any) -> Any:
    return jax.vjp(lambda x: layer.predict((), (), x), x)[1](dy)[0]


@pytest.mark.parametrize("size", [(5, 9), (10, 12), (7, 3), (20, 40)], ids=str)
@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_values_are_those_of_jax_image(method: str, size: tuple[int, int]) -> None:
    with jax.enable_x64(True):
        x = images()
        expected = jax.image.resize(x, (2, *size, 3), method, antialias=False)
        y, dx = pull_x(pn.upsample(size=size, method=method), x, jnp.cos(expected))
        np.testing.assert_allclose(y, expected, atol=1e-14)
        expected_dx = autodiff(pn.upsample(size=size, method=method), x, jnp.cos(expected))
        np.testing.assert_allclose(dx, expected_dx, atol=1e-13)


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_antialias_excluding_the_outside_is_that_of_jax_image(method: str) -> None:
    with jax.enable_x64(True):
        x = images()
        expected = jax.image.resize(x, (2, 3, 2, 3), method, antialias=True)
        layer = pn.upsample(size=(3, 2), method=method, antialias=True, exclude_outside=True, cubic_a=-0.5)
        np.testing.assert_allclose(layer.predict((), (), x), expected, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"factor": 2}, [0, 0, 1, 1, 2, 2, 3, 3]),
        ({"factor": 0.5}, [1, 3]),
        ({"factor": 0.5, "rounding": "round_prefer_floor"}, [0, 2]),
        ({"factor": 0.5, "coordinates": "asymmetric"}, [0, 2]),
        ({"size": 7, "coordinates": "asymmetric", "rounding": "floor"}, [0, 0, 1, 1, 2, 2, 3]),
        ({"size": 3, "method": "linear", "coordinates": "align_corners"}, [0, 1.5, 3]),
        ({"size": 8, "method": "linear"}, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]),
        ({"size": 1, "method": "linear"}, [1.5]),
        ({"size": 1, "method": "linear", "coordinates": "pytorch_half_pixel"}, [0]),
        ({"size": 1, "method": "linear", "coordinates": "align_corners"}, [0]),
        ({"factor": 0.6, "method": "linear", "coordinates": "half_pixel_symmetric"}, [2 / 3, 7 / 3]),
    ],
    ids=str,
)
def test_where_outputs_lie(options: dict[str, Any], expected: list[float]) -> None:
    y = pn.upsample(**options).predict((), (), jnp.arange(4.0)[:, None])
    np.testing.assert_allclose(y[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("widths", [((1, 2), (0, 3)), ((4, 4), (2, 0)), (0, 0)], ids=str)
def test_padding_is_that_of_numpy(mode: str, widths: Any) -> None:
    with jax.enable_x64(True):
        x, layer = images(), pn.pad(widths, mode=mode)
        pairs = [(0, 0), *((pair, pair) if isinstance(pair, int) else pair for pair in widths), (0, 0)]
        expected = np.pad(x, pairs, mode)  # type: ignore[call-overload]
        y, dx = pull_x(layer, x, jnp.cos(expected))
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_allclose(dx, autodiff(layer, x, jnp.cos(expected)), atol=1e-14)


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
@pytest.mark.parametrize("factor", [2, (3,), (2, 1), (1, 2, 3)], ids=str)
def test_shuffling_and_back_is_the_identity(factor: Any, mode: str) -> None:
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 12))
    y = pn.pixel_shuffle(factor, mode=mode).predict((), (), x)
    assert y.size == x.size
    np.testing.assert_array_equal(pn.pixel_unshuffle(factor, mode=mode).predict((), (), y), x)


def test_cropping_takes_padding_away_and_keeps_the_middle() -> None:
    x = images()
    padded = pn.pad(((1, 2), 3), value=7.0).predict((), (), x)
    np.testing.assert_array_equal(pn.crop(((1, 2), 3)).predict((), (), padded), x)
    np.testing.assert_array_equal(pn.crop(size=(2, 3)).predict((), (), x), x[:, 1:3, 1:4])


def test_infinite_elements_spread_no_nan_to_others() -> None:
    x = jnp.zeros((4, 1)).at[3].set(jnp.inf)
    y = pn.upsample(2, method="linear").predict((), (), x)[:, 0]
    assert np.all(np.isfinite(y[:5]))
    assert np.isinf(pn.upsample(2).predict((), (), x)[-1, 0])


def test_methods_have_the_names_of_jax_image() -> None:
    x = jnp.arange(12.0).reshape(3, 4, 1)
    resized = jax.image.resize(x, (6, 8, 1), "bilinear")
    assert np.allclose(pn.upsample((2, 2), method="bilinear").predict((), (), x), resized, rtol=1e-6)
