"""Windows that slide over the spatial axes of x [..., spatial..., channels]: where they lie, known while tracing.

    n           length of x along an axis           w, s, d     length, stride and dilation of the window
    e = (w - 1) d + 1                               places that a window spans
    low, high   m = floor((low + n + high - e) / s) + 1 windows; with ceil_mode ceil, less those that start behind x
    VALID       low = high = 0                      CAUSAL      low = e - 1, high = 0
    SAME        m = ceil(n / s), low + high = (m - 1) s + e - n, the odd one behind; SAME_LOWER: in front

A tap is what one place of the window sees as the window slides: a strided slice of the padded x, [..., m..., channels].
Pooling reduces over the taps; its backward adds them up where they came from (`untap`, the transpose).
Output lengths as in ONNX (MaxPool, AveragePool) and PyTorch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..annotations import Array
from ..errors import LayerValueError
from ..layer import Shaped
from ..validation import describe
from .checks import spatial_sizes
from .conv_geometry import Padding, Pads, PerAxis, Sizes, check_padding, is_sequence, per_axis, split_pads


class Windows(NamedTuple):
    """A window and how it slides: a number for each spatial axis. `padding` is a name or pairs (low, high)."""

    lengths: Sizes
    strides: Sizes
    dilations: Sizes
    padding: str | Pads
    ceil_mode: bool


class Axis(NamedTuple):
    """The windows along one axis of x: `outputs` of them, the first one `low` places in front of x."""

    size: int
    window: int
    stride: int
    dilation: int
    low: int
    high: int
    outputs: int

    @property
    def reach(self) -> int:
        """Places from the first window's first to the last window's last."""
        return (self.outputs - 1) * self.stride + (self.window - 1) * self.dilation + 1


def check_windows(
    name: str, window: PerAxis, strides: PerAxis | None, dilation: PerAxis, padding: Padding, ceil_mode: bool
) -> Windows:
    """The hyper-parameters of layer `name`, a number for each spatial axis, or ValueError."""
    axes = len(window) if is_sequence(window) else 1
    if not 1 <= axes <= 3:
        raise ValueError(f"{name}: expected a window for 1, 2 or 3 spatial axes, got {window!r}")
    pads = check_padding(name, padding, axes)
    if not isinstance(pads, str) and min(min(pair) for pair in pads) < 0:
        raise ValueError(f"{name}: expected padding of at least 0, got {padding!r}: crop x before")
    return Windows(
        lengths=per_axis(name, "window", window, axes),
        strides=per_axis(name, "strides", 1 if strides is None else strides, axes),
        dilations=per_axis(name, "dilation", dilation, axes),
        padding=pads,
        ceil_mode=ceil_mode,
    )


# Where the windows lie on x.


def lay(windows: Windows, sizes: Sequence[int]) -> tuple[Axis, ...]:
    """The windows along each spatial axis of lengths `sizes`."""
    lengths, strides, dilations, padding, ceil_mode = windows
    pads = [padding] * len(sizes) if isinstance(padding, str) else padding
    each = zip(sizes, lengths, strides, dilations, pads, strict=True)
    return tuple(lay_axis(*numbers, ceil_mode) for numbers in each)


def lay_axis(
    size: int, window: int, stride: int, dilation: int, padding: str | tuple[int, int], ceil_mode: bool
) -> Axis:
    span = (window - 1) * dilation + 1
    if padding in ("SAME", "SAME_LOWER"):
        outputs = -(-size // stride)
        low, high = split_pads(max((outputs - 1) * stride + span - size, 0), padding == "SAME_LOWER")
        return Axis(size, window, stride, dilation, low, high, outputs)
    low, high = (span - 1 if padding == "CAUSAL" else 0, 0) if isinstance(padding, str) else padding
    free = low + size + high - span
    outputs = (-(-free // stride) if ceil_mode else free // stride) + 1
    if ceil_mode and (outputs - 1) * stride >= low + size:
        outputs -= 1  # it would start behind x
    return Axis(size, window, stride, dilation, low, high, outputs if free >= 0 else 0)


def check_spatial(windows: Windows, x: Shaped) -> None:
    """Raise unless x has the spatial axes and every window reaches into it."""
    sizes = spatial_sizes(x, len(windows.lengths))
    for axis, (size, one) in enumerate(zip(sizes, lay(windows, sizes), strict=True)):
        where = f"along spatial axis {axis} of x {describe(x)}"
        if one.outputs < 1:
            raise LayerValueError(
                f"expected a window of at most the padded length {one.low + size + one.high} {where}, "
                f"got one that spans {(one.window - 1) * one.dilation + 1}: pad more, or take a smaller window"
            )
        if not np.all(in_x(one).any(1)):
            raise LayerValueError(f"expected every window to reach into x, got padding {one.low, one.high} {where}")


def positions(axis: Axis) -> np.ndarray:
    """Where each place of each window lies in x, [outputs, window]; below 0 and from `size` on is padding."""
    starts = np.arange(axis.outputs) * axis.stride - axis.low
    return starts[:, None] + np.arange(axis.window)[None] * axis.dilation


def in_x(axis: Axis) -> np.ndarray:
    """Which places of which window lie in x, [outputs, window]."""
    return (positions(axis) >= 0) & (positions(axis) < axis.size)


# Taps, and back.


def places(axes: Sequence[Axis]) -> Iterator[tuple[int, ...]]:
    """The places of a window, the last axis fastest."""
    return itertools.product(*(range(axis.window) for axis in axes))


def count_places(axes: Sequence[Axis]) -> int:
    return math.prod(axis.window for axis in axes)


def taps(x: Array, axes: Sequence[Axis], fill: float) -> Iterator[Array]:
    """What each place of the window sees, [..., outputs..., channels]; padding is `fill`."""
    lead = x.ndim - 1 - len(axes)
    x = pad_spatial(x, [(axis.low, max(axis.reach - axis.low - axis.size, 0), 0) for axis in axes], fill)
    for place in places(axes):
        starts = [k * axis.dilation for k, axis in zip(place, axes, strict=True)]
        stops = [k + (axis.outputs - 1) * axis.stride + 1 for k, axis in zip(starts, axes, strict=True)]
        yield lax.slice(
            x,
            (0,) * lead + (*starts, 0),
            (*x.shape[:lead], *stops, x.shape[-1]),
            (1,) * lead + (*(axis.stride for axis in axes), 1),
        )


def untap(pieces: Iterable[Array], axes: Sequence[Axis]) -> Array:
    """The transpose of `taps`: each place's piece [..., outputs..., channels] added up where the place was in x."""
    extents = [max(axis.reach, axis.low + axis.size) for axis in axes]
    total = None
    for place, piece in zip(places(axes), pieces, strict=False):
        borders = []
        for k, axis, extent in zip(place, axes, extents, strict=True):
            start = k * axis.dilation
            stop = start + (axis.outputs - 1) * axis.stride + 1
            borders.append((start, extent - stop, axis.stride - 1))
        spread = pad_spatial(piece, borders)
        total = spread if total is None else total + spread
    assert total is not None
    return pad_spatial(total, [(-a.low, a.low + a.size - extent, 0) for a, extent in zip(axes, extents, strict=True)])


def spread(dy: Array, axes: Sequence[Axis]) -> Array:
    """`untap` of the same piece at every place."""
    return untile(dy, axes) if tile(axes) else untap(itertools.repeat(dy), axes)


def tile(axes: Sequence[Axis]) -> bool:
    """Whether each element of x lies in one window, and each window in x."""
    return all(a.stride == a.window and a.dilation == 1 and a.low == 0 and a.size == a.reach for a in axes)


def untile(value: Array, axes: Sequence[Axis]) -> Array:
    """What belongs to a window [..., outputs..., channels], given to each of its elements: the windows tile x."""
    lead = value.ndim - 1 - len(axes)
    within = tuple(lead + 2 * k + 1 for k in range(len(axes)))
    pairs = [length for axis in axes for length in (axis.outputs, axis.window)]
    whole = jnp.broadcast_to(jnp.expand_dims(value, within), (*value.shape[:lead], *pairs, value.shape[-1]))
    return whole.reshape(*value.shape[:lead], *(axis.size for axis in axes), value.shape[-1])


def pad_spatial(x: Array, borders: Sequence[tuple[int, int, int]], fill: float = 0) -> Array:
    """(low, high, between) elements of `fill` along each spatial axis; negative numbers take away."""
    if not any(map(any, borders)):
        return x
    lead = x.ndim - 1 - len(borders)
    return lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0)] * lead + [*borders, (0, 0, 0)])
