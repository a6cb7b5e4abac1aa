"""max_pool: the largest element of each window, a channel at a time.

    y[o]  = max_k x[o s + k d - low]          over the places k of the window, padding being -inf
    dx[i] = sum of dy[o] over the windows o whose first largest element is x[i]

x [..., spatial..., channels], y [..., outputs..., channels], one to three spatial axes.
Among equal elements the first in the window's order (row by row) takes the gradient, as with jax.grad of
`lax.reduce_window`; the first NaN of a window is its maximum.
Kept: which place of the window was the largest, one byte an output (windows of up to 256 places), and nothing of x.
LeCun et al., *Gradient-based learning applied to document recognition* (1998); Goodfellow et al., *Deep Learning*, 9.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ..annotations import Array, Float, Integer
from ..constructor import constructor
from ..layer import Layer
from ..precision import widen
from ..static import Static
from .checks import checked_layer
from .conv_geometry import Padding, PerAxis
from .windows import Axis, Windows, check_spatial, check_windows, count_places, lay, taps, tile, untap, untile

Images = Float[Array, "..."]
Residuals = tuple[Integer[Array, "..."], Static]


def max_pool_forward(x: Images, windows: Windows) -> tuple[Images, Residuals]:
    sizes = x.shape[-1 - len(windows.lengths) : -1]
    axes = lay(windows, sizes)
    first, *others = taps(x, axes, -jnp.inf)
    y, place = first, jnp.zeros(first.shape, place_dtype(axes))  # [..., outputs..., channels]
    for k, tap in enumerate(others, 1):
        better = ~(tap <= y) & (y == y)  # larger, or the first NaN
        y, place = jnp.where(better, tap, y), jnp.where(better, jnp.asarray(k, place.dtype), place)
    return y, (place, Static(sizes))


def max_pool_backward(residuals: Residuals, dy: Images, windows: Windows) -> Images:
    place, sizes = residuals
    axes = lay(windows, sizes.value)
    wide = widen(dy)
    # y = tap number `place`
    if tile(axes):
        numbers = np.arange(count_places(axes)).reshape([axis.window for axis in axes])
        number = jnp.asarray(np.tile(numbers, [axis.outputs for axis in axes])[..., None], place.dtype)
        chosen = untile(place, axes) == jnp.broadcast_to(
            number, (*dy.shape[: -1 - len(axes)], *sizes.value, dy.shape[-1])
        )
        dx = jnp.where(chosen, untile(wide, axes), 0)  # [..., sizes..., channels]
    else:
        taken = (jnp.where(place == jnp.asarray(k, place.dtype), wide, 0) for k in range(count_places(axes)))
        dx = untap(taken, axes)  # [..., sizes..., channels]
    return dx.astype(dy.dtype)


def place_dtype(axes: Sequence[Axis]) -> np.dtype:
    """The smallest unsigned integer that counts the places of a window."""
    return np.min_scalar_type(count_places(axes) - 1)


@constructor
def max_pool(
    window: PerAxis,
    *,
    strides: PerAxis | None = None,
    padding: Padding = "VALID",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The maximum of each window of x [..., spatial..., channels]; `window` says which axes: (2, 2) for images.

    strides: None means 1 along each axis, as in Flax and ONNX (PyTorch's default is the window itself).
    padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL", an int, or an int or a pair (low, high) for each axis.
    ceil_mode: the last window may extend past the end, as in PyTorch and ONNX.
    A window of many places is cheaper as two: `max_pool((1, 13))` then `max_pool((13, 1))` is `max_pool((13, 13))`.
    Raises unless x is floating-point with these axes, and every window fits and reaches into x.
    """
    windows = check_windows("max_pool", window, strides, dilation, padding, ceil_mode)
    return checked_layer(
        "max_pool",
        lambda x: check_spatial(windows, x),
        lambda x: max_pool_forward(x, windows),
        lambda residuals, dy: max_pool_backward(residuals, dy, windows),
        keeps=("place",),
    )
