"""Pooling on a grid of sizes, windows, strides, dilations and paddings, values and gradients against loops.

The loops are the definition: which places of x each window sees, one window at a time. Nothing here is chosen.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.layer import run_backward


class Geometry(NamedTuple):
    """One axis: its length and how windows lie on it."""

    size: int
    window: int
    stride: int
    dilation: int
    low: int
    high: int

    def windows(self) -> list[list[int]]:
        """What each window sees: places of x, of the padding below 0 and from `size` on."""
        last = self.size + self.high - (self.window - 1) * self.dilation - 1
        starts = range(-self.low, last + 1, self.stride)
        return [[start + k * self.dilation for k in range(self.window)] for start in starts]

    def is_valid(self) -> bool:
        """Whether there is a window, and each reaches into x."""
        windows = self.windows()
        return bool(windows) and all(any(0 <= place < self.size for place in window) for window in windows)

    def is_side_by_side(self) -> bool:
        """Whether each window begins where the one before ends: where a shorter way is open."""
        return self.stride == self.window and self.dilation == 1

    def is_again(self) -> bool:
        """Whether another geometry has the same windows: one place has no dilation, one window no stride."""
        lone = len(self.windows()) == 1 and self.stride not in (1, self.window)
        return lone or (self.window == 1 and self.dilation > 1)


GRID = [
    Geometry(*numbers)
    for numbers in itertools.product(range(1, 10), range(1, 5), range(1, 5), (1, 2), range(3), range(3))
]
VALID = [geometry for geometry in GRID if geometry.is_valid() and not geometry.is_again()]
P = 3
KINDS = ("max", "mean", "mean of x", "norm")


def layers(axes: tuple[Geometry, ...]) -> dict[str, pn.Layer]:
    window, strides, dilation = (tuple(getattr(a, n) for a in axes) for n in ("window", "stride", "dilation"))
    options: dict[str, Any] = {
        "strides": strides,
        "dilation": dilation,
        "padding": tuple((a.low, a.high) for a in axes),
    }
    made = (
        pn.max_pool(window, **options),
        pn.avg_pool(window, **options),
        pn.avg_pool(window, **options, count_include_pad=False),
        pn.lp_pool(window, P, **options),
    )
    return dict(zip(KINDS, made, strict=True))


def loop(kind: str, axes: tuple[Geometry, ...], x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, dx) for x [spatial..., channels], a window and a channel at a time."""
    y, dx = np.zeros_like(dy), np.zeros_like(x)
    sights = [list(enumerate(axis.windows())) for axis in axes]
    for outputs in itertools.product(*sights):
        number, windows = zip(*outputs, strict=True)
        seen = list(itertools.product(*windows))
        places = [p for p in seen if all(0 <= i < axis.size for i, axis in zip(p, axes, strict=True))]
        for channel in range(x.shape[-1]):
            values = [x[(*p, channel)] for p in places]
            value, slopes = one_window(kind, np.array(values), len(seen))
            y[(*number, channel)] = value
            for place, slope in zip(places, slopes, strict=True):
                dx[(*place, channel)] += slope * dy[(*number, channel)]
    return y, dx


def one_window(kind: str, values: np.ndarray, count: int) -> tuple[float, np.ndarray]:
    """The value of a window of `count` places that sees `values` of x, and its derivative by each of them."""
    if kind == "max":
        return values.max(), np.arange(len(values)) == values.argmax()
    if kind == "norm":
        norm = (np.abs(values) ** P).sum() ** (1 / P)
        return norm, np.sign(values) * np.abs(values) ** (P - 1) / (norm ** (P - 1) if norm else 1)
    divisor = count if kind == "mean" else len(values)
    return values.sum() / divisor, np.full(len(values), 1 / divisor)


def compare(kind: str, axes: tuple[Geometry, ...], x: np.ndarray, dy: np.ndarray) -> None:
    layer = layers(axes)[kind]
    y, _, residuals = layer.forward((), (), jnp.asarray(x), None)
    _, dx = run_backward(layer, (), jnp.asarray(x), y, residuals, jnp.asarray(dy))
    for found, expected in zip((y, dx), loop(kind, axes, x, dy), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14, err_msg=f"{kind} {axes}")


def numbers(axes: tuple[Geometry, ...], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x of few values, so that some are equal and some zero, and dy."""
    x = random.integers(-2, 3, (*(axis.size for axis in axes), 1)).astype(np.float64)
    return x, random.normal(size=(*(len(axis.windows()) for axis in axes), 1))


@pytest.mark.complete
def test_one_axis_of_every_geometry() -> None:
    """Each geometry with one kind of pooling in turn, and with all where windows lie side by side."""
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        for number, geometry in enumerate(VALID):
            for kind in KINDS if geometry.is_side_by_side() else KINDS[number % len(KINDS) :][:1]:
                compare(kind, (geometry,), *numbers((geometry,), random))


@pytest.mark.parametrize("kind", KINDS)
def test_two_axes_of_geometries_drawn_from_the_grid(kind: str) -> None:
    random = np.random.default_rng(1)
    with jax.enable_x64(True):
        small = [geometry for geometry in VALID if geometry.window < 4]
        for geometries in (small, [geometry for geometry in small if geometry.is_side_by_side()]):
            for first, second in random.integers(0, len(geometries), (4, 2)):
                axes = geometries[first], geometries[second]
                compare(kind, axes, *numbers(axes, random))


def test_geometries_without_a_window_in_x_are_refused() -> None:
    for number, geometry in enumerate(geometry for geometry in GRID if not geometry.is_valid()):
        layer = layers((geometry,))[KINDS[number % len(KINDS)]]
        with pytest.raises(pn.LayerValueError, match=r"expected (a window of at most|every window to reach)"):
            layer.forward((), (), jnp.zeros((geometry.size, 1)), None)
