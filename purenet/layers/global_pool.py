"""global pooling: the maximum, mean or p-norm of each channel over all spatial axes.

    global_max_pool  y = max_i x_i               dx_i = dy for the first i with x_i = y, else 0
    global_avg_pool  y = 1/n sum_i x_i           dx_i = dy / n
    global_lp_pool   y = (sum_i |x_i|^p)^(1/p)   dx_i = dy y^(1-p) sign(x_i) |x_i|^(p-1), zero where y is

x [..., spatial..., channels]; y [..., channels], or [..., 1..., channels] with keepdims. Kept, a number a channel or
less: the place of the maximum; for the mean only the shape of x; for the norm x and y^(1-p), at least float32.
Sums are at least float32. Lin, Chen & Yan, *Network in network* (2014), section 3.2.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, Integer
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Shaped
from ..precision import widen
from ..static import Static
from ..validation import describe
from .checks import checked_layer, spatial_sizes
from .lp_pool import check_exponent, power, power_slope, root, root_slope

Images = Float[Array, "..."]
Slope = Float[Array, "..."]
Place = tuple[Integer[Array, "... 1 channels"], Static]


def global_max_pool_forward(x: Images, dimensions: int, keepdims: bool) -> tuple[Images, Place]:
    rows = lax.collapse(x, x.ndim - 1 - dimensions, x.ndim - 1)  # [..., places, channels]
    largest = lax.stop_gradient(jnp.max(rows, -2, keepdims=True))  # [..., 1, channels]
    # Two passes over x, which XLA runs several times as fast as one argmax.
    here = (rows == jnp.broadcast_to(largest, rows.shape)) | jnp.isnan(rows)
    number = lax.broadcasted_iota(jnp.int32, rows.shape, rows.ndim - 2)  # [..., places, channels]
    place = jnp.min(jnp.where(here, number, rows.shape[-2] - 1), -2, keepdims=True)  # [..., 1, channels]
    y = jnp.take_along_axis(rows, place, -2)  # [..., 1, channels]
    return y.reshape(pooled_shape(x.shape, dimensions, keepdims)), (place, Static(x.shape))


def global_max_pool_backward(residuals: Place, dy: Images, dimensions: int) -> Images:
    place, x_shape = residuals
    shape = (*place.shape[:-2], math.prod(x_shape.value[-1 - dimensions : -1]), place.shape[-1])
    # y = rows[place]
    number = lax.broadcasted_iota(jnp.int32, shape, len(shape) - 2)  # [..., places, channels]
    drows = jnp.where(number == jnp.broadcast_to(place, shape), jnp.broadcast_to(dy.reshape(place.shape), shape), 0)
    return drows.reshape(x_shape.value)


def global_avg_pool_forward(x: Images, dimensions: int, keepdims: bool) -> tuple[Images, Static]:
    y = jnp.mean(widen(x), spatial_axes(x.ndim, dimensions), keepdims=keepdims)
    return y.astype(x.dtype), Static(x.shape)


def global_avg_pool_backward(x_shape: Static, dy: Images, dimensions: int) -> Images:
    shape = x_shape.value
    # y = sum(x) / n
    share = dy / math.prod(shape[-1 - dimensions : -1])
    return jnp.broadcast_to(share.reshape(pooled_shape(shape, dimensions, True)), shape)


def global_lp_pool_forward(x: Images, dimensions: int, keepdims: bool, p: float) -> tuple[Images, Slope]:
    s = jnp.sum(power(widen(x), p), spatial_axes(x.ndim, dimensions), keepdims=True)  # [..., 1..., channels]
    return root(s, p).reshape(pooled_shape(x.shape, dimensions, keepdims)).astype(x.dtype), root_slope(s, p)


def global_lp_pool_backward(x: Images, slope: Slope, dy: Images, p: float) -> Images:
    # y = s^(1/p), s = sum(|x|^p)
    dsum = widen(dy).reshape(slope.shape) * slope  # p ds
    return (jnp.broadcast_to(dsum, x.shape) * power_slope(widen(x), p)).astype(x.dtype)


def spatial_axes(ndim: int, dimensions: int) -> tuple[int, ...]:
    return tuple(range(ndim - 1 - dimensions, ndim - 1))


def pooled_shape(shape: tuple[int, ...], dimensions: int, keepdims: bool) -> tuple[int, ...]:
    return (*shape[: -1 - dimensions], *(1,) * (dimensions * keepdims), shape[-1])


def check_spatial_axes(x: Shaped, dimensions: int) -> None:
    """Raise unless x has `dimensions` spatial axes, none of them empty."""
    if 0 in spatial_sizes(x, dimensions):
        raise LayerValueError(f"expected at least one element to pool, got {describe(x)}")


def check_dims(name: str, dimensions: int) -> None:
    if isinstance(dimensions, bool) or dimensions not in (1, 2, 3):
        raise ValueError(f"{name}: expected dimensions, the number of spatial axes, of 1, 2 or 3, got {dimensions!r}")


@constructor
def global_max_pool(*, dimensions: int = 2, keepdims: bool = False) -> Layer:
    """The maximum of each channel over `dimensions` spatial axes: [..., spatial..., channels] to [..., channels].

    With `keepdims` the spatial axes stay with length 1, as in ONNX and PyTorch. Among equal elements the first one
    takes the gradient. Raises unless x is floating-point with these axes.
    """
    check_dims("global_max_pool", dimensions)
    return checked_layer(
        "global_max_pool",
        lambda x: check_spatial_axes(x, dimensions),
        lambda x: global_max_pool_forward(x, dimensions, keepdims),
        lambda residuals, dy: global_max_pool_backward(residuals, dy, dimensions),
        keeps=("place",),
    )


@constructor
def global_avg_pool(*, dimensions: int = 2, keepdims: bool = False) -> Layer:
    """The mean of each channel over `dimensions` spatial axes: [..., spatial..., channels] to [..., channels].

    With `keepdims` the spatial axes stay with length 1, as in ONNX and PyTorch. Raises unless x is
    floating-point with these axes.
    """
    check_dims("global_avg_pool", dimensions)
    return checked_layer(
        "global_avg_pool",
        lambda x: check_spatial_axes(x, dimensions),
        lambda x: global_avg_pool_forward(x, dimensions, keepdims),
        lambda x_shape, dy: global_avg_pool_backward(x_shape, dy, dimensions),
        keeps=("shape",),
    )


@constructor
def global_lp_pool(p: float = 2, *, dimensions: int = 2, keepdims: bool = False) -> Layer:
    """(sum |x|^p)^(1/p) of each channel over `dimensions` spatial axes: [..., spatial..., channels] to [..., channels].

    With `keepdims` the spatial axes stay with length 1, as in ONNX. p is at least 1. Raises unless x is
    floating-point with these axes.
    """
    check_exponent("global_lp_pool", p)
    check_dims("global_lp_pool", dimensions)
    return checked_layer(
        "global_lp_pool",
        lambda x: check_spatial_axes(x, dimensions),
        lambda x: global_lp_pool_forward(x, dimensions, keepdims, p),
        lambda x, slope, dy: global_lp_pool_backward(x, slope, dy, p),
        needs=("x",),
        keeps=("y^(1-p)",),
    )
