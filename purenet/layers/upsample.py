"""upsample: x [..., spatial..., channels] resized along its spatial axes, [..., size..., channels].

    n, m, r    length of x and of y along an axis, and their ratio (the factor, or m / n for a size)
    c(i)       where output i lies on x: half_pixel (i + 1/2) / r - 1/2, asymmetric i / r,
               align_corners i (n - 1) / (n r - 1)
    y = M x    along each axis, M [m, n] with a row for each output: nearest 1 at the rounded c,
               linear max(0, 1 - |j - c|) at each place j, cubic Keys' cubic of |j - c|, four entries
    dx = M^T dy

Outside x its edge is repeated. With `antialias` the row of a shrinking axis is 1 / r times as wide.
Kept: the lengths of x, which cost nothing. ONNX's Resize and PyTorch's interpolate.
Keys, *Cubic convolution interpolation for digital image processing* (1981).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer
from ..static import Static
from .axis_matrix import multiply_axes
from .checks import checked_layer
from .conv_geometry import Sizes, is_sequence, per_axis
from .global_pool import check_spatial_axes

Images = Float[Array, "..."]
METHODS = ("nearest", "linear", "cubic")
OTHER_NAMES = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic", "tricubic": "cubic"}
COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_ceil", "round_prefer_floor", "floor", "ceil")


class Resizing(NamedTuple):
    """The hyper-parameters: either a factor or a size for each axis, and how outputs read x."""

    factors: tuple[float, ...] | None
    size: Sizes | None
    method: str
    coordinates: str
    rounding: str
    cubic_a: float
    antialias: bool
    exclude_outside: bool

    @property
    def axes(self) -> int:
        return len(self.factors or self.size or ())


def upsample_forward(x: Images, resizing: Resizing) -> tuple[Images, Static]:
    sizes = x.shape[-1 - resizing.axes : -1]
    return multiply_axes(x, matrices(sizes, resizing)), Static(sizes)


def upsample_backward(sizes: Static, dy: Images, resizing: Resizing) -> Images:
    # y = M x along each axis
    return multiply_axes(dy, [matrix.T for matrix in matrices(sizes.value, resizing)])


def output_sizes(sizes: Sizes, resizing: Resizing) -> Sizes:
    if resizing.factors is None:
        return resizing.size or ()
    return tuple(math.floor(n * factor) for n, factor in zip(sizes, resizing.factors, strict=True))


# One row of M for each output, all along one axis.


def matrices(sizes: Sizes, resizing: Resizing) -> list[np.ndarray]:
    """M [m, n] for each axis."""
    outputs = output_sizes(sizes, resizing)
    ratios = resizing.factors or [m / n for n, m in zip(sizes, outputs, strict=True)]
    return [matrix(n, m, ratio, resizing) for n, m, ratio in zip(sizes, outputs, ratios, strict=True)]


def matrix(n: int, m: int, ratio: float, resizing: Resizing) -> np.ndarray:
    # A size gives the ratio m / n, by which one divides exactly.
    inverse = 1 / ratio if resizing.size is None else n / m
    centre = coordinates(n, m, ratio, resizing)  # [m]
    if resizing.method == "nearest":
        nearest = np.clip(round_half(centre, resizing.rounding), 0, n - 1)
        return (nearest[:, None] == np.arange(n)[None]).astype(float)
    stretch = max(inverse, 1.0) if resizing.antialias else 1.0
    reach = math.ceil((1 if resizing.method == "linear" else 2) * stretch) + 1
    places = np.floor(centre)[:, None] + np.arange(-reach, reach + 1)[None]  # [m, places]
    distance = np.abs(places - centre[:, None]) / stretch
    weights = np.maximum(0, 1 - distance) if resizing.method == "linear" else cubic(distance, resizing.cubic_a)
    if resizing.exclude_outside:
        weights = np.where((places >= 0) & (places < n), weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    rows = np.zeros((m, n))
    np.add.at(rows, (np.arange(m)[:, None], np.clip(places, 0, n - 1).astype(int)), weights)
    return rows


def coordinates(n: int, m: int, ratio: float, resizing: Resizing) -> np.ndarray:
    """c(i), where output i lies on x, [m]."""
    i = np.arange(m)
    mode = resizing.coordinates
    if mode == "align_corners":
        length = m if resizing.factors is None else n * ratio
        return i * (n - 1) / (length - 1 if m > 1 else 1)
    scaled = (lambda t: t * n / m) if resizing.factors is None else (lambda t: t / ratio)
    if mode == "asymmetric":
        return scaled(i)
    if mode == "pytorch_half_pixel" and m == 1:
        return np.zeros(1)
    half_pixel = scaled(i + 0.5) - 0.5
    # A length that was rounded down would sit off the middle of x.
    return half_pixel + (n - m / ratio) / 2 if mode == "half_pixel_symmetric" else half_pixel


def round_half(value: np.ndarray, rounding: str) -> np.ndarray:
    if rounding in ("floor", "ceil"):
        return np.floor(value) if rounding == "floor" else np.ceil(value)
    return np.ceil(value - 0.5) if rounding == "round_prefer_floor" else np.floor(value + 0.5)


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel: 1 at 0, 0 at 1 and from 2 on."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


@constructor
def upsample(
    factor: float | Sequence[float] | None = None,
    *,
    size: int | Sequence[int] | None = None,
    method: str = "nearest",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_ceil",
    cubic_a: float = -0.75,
    antialias: bool = False,
    exclude_outside: bool = False,
) -> Layer:
    """Resize the spatial axes of x [..., spatial..., channels] by a factor, or to a size, for each of 1 to 3 axes.

    factor: positive numbers, (2, 2) for images; an output length is rounded down. size: the lengths themselves.
    An int or float alone is one axis. method: "nearest", "linear" or "cubic" (with `cubic_a`) along every axis, also
    called "bilinear", "bicubic" and so on, as in `jax.image.resize`.
    coordinates, rounding (of "nearest"), antialias and exclude_outside as in ONNX's Resize. The defaults are those of
    `jax.image.resize`, enlarging. PyTorch: "nearest" is coordinates="asymmetric", rounding="floor", "nearest-exact"
    the default; align_corners=True is coordinates="align_corners" with a size; antialias goes with exclude_outside.
    Raises unless x is floating-point with these axes and no output length is 0.
    """
    if (factor is None) == (size is None):
        raise ValueError(f"upsample: expected either a factor or a size, got factor={factor!r} and size={size!r}")
    method = OTHER_NAMES.get(method, method)
    for what, value, known in (
        ("method", method, METHODS),
        ("coordinates", coordinates, COORDINATES),
        ("rounding", rounding, ROUNDINGS),
    ):
        if value not in known:
            raise ValueError(f"upsample: expected {what} in {known}, got {value!r}")
    factors = None if factor is None else check_factors(factor)
    lengths = None if size is None else per_axis("upsample", "size", size, len(size) if is_sequence(size) else 1)
    resizing = Resizing(factors, lengths, method, coordinates, rounding, cubic_a, antialias, exclude_outside)
    if not 1 <= resizing.axes <= 3:
        raise ValueError(f"upsample: expected a factor or size for 1, 2 or 3 spatial axes, got {factor or size!r}")

    def check(x: Images) -> None:
        check_spatial_axes(x, resizing.axes)
        outputs = output_sizes(x.shape[-1 - resizing.axes : -1], resizing)
        if 0 in outputs:
            raise LayerValueError(f"expected lengths of at least 1 after resizing, got {list(outputs)} from {x.shape}")

    forward, backward = (functools.partial(f, resizing=resizing) for f in (upsample_forward, upsample_backward))
    return checked_layer("upsample", check, forward, backward, keeps=("shape",))


def check_factors(factor: float | Sequence[float]) -> tuple[float, ...]:
    factors: tuple[Any, ...] = tuple(factor) if is_sequence(factor) else (factor,)
    if not all(isinstance(value, (int, float)) and 0 < value < math.inf for value in factors):
        raise ValueError(f"upsample: expected a positive factor, or one for each spatial axis, got {factor!r}")
    return factors
