"""lp_pool: the p-norm of each window, a channel at a time.

    s[o]  = sum_k |x[o s + k d - low]|^p              over the places k of the window, padding being 0
    y[o]  = s[o]^(1/p)
    dx[i] = sign(x[i]) |x[i]|^(p-1) sum of dy[o] y[o]^(1-p) over the places of windows o that are x[i]

x [..., spatial..., channels], y [..., outputs..., channels], one to three spatial axes. A window of zeros has y = 0
and gives the gradient 0, the shortest subgradient. Kept: x; y is recomputed, since in bfloat16 it is too coarse to
divide by. Sums are at least float32. ONNX's LpPool; PyTorch's lp_pool is without the absolute value.
Boureau, Ponce & LeCun, *A theoretical analysis of feature pooling in visual recognition* (2010).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float
from ..constructor import constructor
from ..layer import Layer
from ..precision import widen
from .avg_pool import sum_taps
from .checks import checked_layer
from .conv_geometry import Padding, PerAxis
from .windows import Windows, check_spatial, check_windows, lay, spread

Images = Float[Array, "..."]


def lp_pool_forward(x: Images, windows: Windows, p: float) -> Images:
    return root(sum_of_powers(x, windows, p), p).astype(x.dtype)


def lp_pool_backward(x: Images, dy: Images, windows: Windows, p: float) -> Images:
    axes = lay(windows, x.shape[-1 - len(windows.lengths) : -1])
    # y = s^(1/p)
    dsum = widen(dy) * root_slope(sum_of_powers(x, windows, p), p)  # p ds, [..., outputs..., channels]
    # s = sum of the taps of |x|^p
    dpowers = spread(dsum, axes)  # [..., sizes..., channels]
    return (dpowers * power_slope(widen(x), p)).astype(x.dtype)


def sum_of_powers(x: Images, windows: Windows, p: float) -> Images:
    """s, at least float32, [..., outputs..., channels]."""
    axes = lay(windows, x.shape[-1 - len(windows.lengths) : -1])
    return sum_taps(power(widen(x), p), axes)


# The p-norm in two steps, s = sum |x|^p and y = s^(1/p), with derivatives that are finite at zero.


def power(x: Images, p: float) -> Images:
    """|x|^p."""
    return jnp.square(x) if p == 2 else jnp.abs(x) if p == 1 else jnp.power(jnp.abs(x), p)


def power_slope(x: Images, p: float) -> Images:
    """sign(x) |x|^(p-1), the derivative of |x|^p / p."""
    return x if p == 2 else jnp.sign(x) if p == 1 else jnp.sign(x) * jnp.power(jnp.abs(x), p - 1)


def root(s: Images, p: float) -> Images:
    """y = s^(1/p); at zero a constant."""
    positive = jnp.where(s > 0, s, 1)
    return jnp.where(s > 0, jnp.sqrt(positive) if p == 2 else jnp.power(positive, 1 / p), 0)


def root_slope(s: Images, p: float) -> Images:
    """y^(1-p), the derivative of p s^(1/p); zero where s is."""
    positive = jnp.where(s > 0, s, 1)
    return jnp.where(s > 0, lax.rsqrt(positive) if p == 2 else jnp.power(positive, 1 / p - 1), 0)


def check_exponent(name: str, p: float) -> None:
    if not 1 <= p < float("inf"):
        raise ValueError(f"{name}: expected a finite exponent p of at least 1, got {p!r}")


@constructor
def lp_pool(
    window: PerAxis,
    p: float = 2,
    *,
    strides: PerAxis | None = None,
    padding: Padding = "VALID",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Layer:
    """(sum |x|^p)^(1/p) of each window of x [..., spatial..., channels]; (2, 2) for images.

    p: at least 1. strides: None means 1 along each axis, as in ONNX (PyTorch's default is the window itself).
    padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL", an int, or an int or a pair (low, high) for each axis.
    ceil_mode: the last window may extend past the end, as in PyTorch and ONNX.
    Raises unless x is floating-point with these axes, and every window fits and reaches into x.
    """
    check_exponent("lp_pool", p)
    windows = check_windows("lp_pool", window, strides, dilation, padding, ceil_mode)
    return checked_layer(
        "lp_pool",
        lambda x: check_spatial(windows, x),
        lambda x: lp_pool_forward(x, windows, p),
        lambda x, dy: lp_pool_backward(x, dy, windows, p),
        needs=("x",),
    )
