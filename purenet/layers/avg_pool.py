"""avg_pool: the mean of each window, a channel at a time.

    y[o]  = 1 / count[o] sum_k x[o s + k d - low]     over the places k of the window, padding being 0
    dx[i] = sum of dy[o] / count[o] over the places of windows o that are x[i]

x [..., spatial..., channels], y [..., outputs..., channels], one to three spatial axes. count is the number of places
of a window that lie in x, or with `count_include_pad` in x and its padding; what hangs over in `ceil_mode` is neither.
Kept: the spatial lengths of x, which cost nothing. Sums are at least float32.
LeCun et al., *Handwritten digit recognition with a back-propagation network* (1990), subsampling.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ..annotations import Array, Float
from ..constructor import constructor
from ..layer import Layer
from ..precision import widen
from ..static import Static
from .checks import checked_layer
from .conv_geometry import Padding, PerAxis
from .windows import Axis, Windows, check_spatial, check_windows, in_x, lay, positions, spread, taps

Images = Float[Array, "..."]


def avg_pool_forward(x: Images, windows: Windows, count_include_pad: bool) -> tuple[Images, Static]:
    sizes = x.shape[-1 - len(windows.lengths) : -1]
    axes = lay(windows, sizes)
    total = sum_taps(widen(x), axes)  # [..., outputs..., channels]
    y = total / count_like(total, axes, count_include_pad)
    return y.astype(x.dtype), Static(sizes)


def avg_pool_backward(sizes: Static, dy: Images, windows: Windows, count_include_pad: bool) -> Images:
    axes = lay(windows, sizes.value)
    # y = total / count
    dtotal = widen(dy) / count_like(widen(dy), axes, count_include_pad)  # [..., outputs..., channels]
    # total = sum of the taps
    dx = spread(dtotal, axes)  # [..., sizes..., channels]
    return dx.astype(dy.dtype)


def sum_taps(x: Images, axes: Sequence[Axis]) -> Images:
    return functools.reduce(jnp.add, taps(x, axes, 0))


def count_like(total: Images, axes: Sequence[Axis], count_include_pad: bool) -> Array:
    """How many places of each window count, broadcast to `total` [..., outputs..., channels]."""
    counts = np.ones(())
    for axis in axes:
        place = positions(axis)
        counted = (place >= -axis.low) & (place < axis.size + axis.high) if count_include_pad else in_x(axis)
        counts = counts[..., None] * counted.sum(1)
    if np.all(counts == counts.flat[0]):
        return jnp.full(total.shape, counts.flat[0], total.dtype)
    return jnp.broadcast_to(jnp.asarray(counts, total.dtype)[..., None], total.shape)


@constructor
def avg_pool(
    window: PerAxis,
    *,
    strides: PerAxis | None = None,
    padding: Padding = "VALID",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Layer:
    """The mean of each window of x [..., spatial..., channels]; `window` says which axes: (2, 2) for images.

    strides: None means 1 along each axis, as in Flax and ONNX (PyTorch's default is the window itself).
    padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL", an int, or an int or a pair (low, high) for each axis.
    ceil_mode: the last window may extend past the end, as in PyTorch and ONNX.
    count_include_pad: zeros of the padding count, as in Flax and PyTorch (ONNX's default is False).
    Raises unless x is floating-point with these axes, and every window fits and reaches into x.
    """
    windows = check_windows("avg_pool", window, strides, dilation, padding, ceil_mode)
    return checked_layer(
        "avg_pool",
        lambda x: check_spatial(windows, x),
        lambda x: avg_pool_forward(x, windows, count_include_pad),
        lambda sizes, dy: avg_pool_backward(sizes, dy, windows, count_include_pad),
        keeps=("shape",),
    )
