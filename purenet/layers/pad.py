"""pad and crop: borders around the spatial axes of x [..., spatial..., channels].

    mode        before x[0] .. x[n-1]    after                    at most
    constant    value                    value                    any number
    edge        x[0] x[0] x[0]           x[n-1] x[n-1] x[n-1]     any number
    reflect     x[3] x[2] x[1]           x[n-2] x[n-3] x[n-4]     n - 1
    symmetric   x[2] x[1] x[0]           x[n-1] x[n-2] x[n-3]     n
    wrap        x[n-3] x[n-2] x[n-1]     x[0] x[1] x[2]           n

    y  = x with borders, one axis after another
    dx = dy without borders, each border's dy added where it was copied from, the axes in reverse

crop cuts borders off: its dx is dy padded with zeros. Kept: nothing but lengths.
Names as in `numpy.pad` (Harris et al., *Array Programming with NumPy*, 2020); PyTorch calls edge "replicate" and wrap
"circular".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer
from ..precision import widen
from ..stateless import stateless
from ..static import Static
from ..validation import describe
from .checks import checked_layer, spatial_sizes
from .conv_geometry import Pads, is_sequence, per_axis

Images = Float[Array, "..."]
Widths = int | Sequence[int | tuple[int, int]]
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad_forward(x: Images, widths: Pads, mode: str, value: float) -> Images:
    first = x.ndim - 1 - len(widths)
    if mode == "constant":
        borders = [(0, 0, 0)] * first + [(*pair, 0) for pair in widths] + [(0, 0, 0)]
        return lax.pad(x, jnp.asarray(value, x.dtype), borders)
    y = x
    for axis, pair in enumerate(widths, first):
        y = pad_axis(y, pair, mode, axis)
    return y


def pad_backward(dy: Images, widths: Pads, mode: str) -> Images:
    first = dy.ndim - 1 - len(widths)
    dx = widen(dy)
    for axis, pair in reversed(list(enumerate(widths, first))):
        dx = fold_axis(dx, pair, mode, axis)
    return dx.astype(dy.dtype)


def pad_axis(x: Images, pair: tuple[int, int], mode: str, axis: int) -> Images:
    """The borders are copies of parts of x, some of them backwards."""
    parts = [x]
    for side, width in enumerate(pair):
        if width:
            start, stop = copied(x.shape[axis], width, mode, side)
            border = lax.slice_in_dim(x, start, stop, axis=axis)
            if mode == "edge":
                border = jnp.broadcast_to(border, (*x.shape[:axis], width, *x.shape[axis + 1 :]))
            elif mode != "wrap":
                border = lax.rev(border, (axis,))
            parts.insert(len(parts) * side, border)
    return lax.concatenate(parts, axis)


def fold_axis(dy: Images, pair: tuple[int, int], mode: str, axis: int) -> Images:
    """The transpose of `pad_axis`: each border's dy is added to the part of x that was copied."""
    low, high = pair
    n = dy.shape[axis] - low - high
    dx = lax.slice_in_dim(dy, low, low + n, axis=axis)
    if mode == "constant":
        return dx
    for side, width in enumerate(pair):
        if width:
            start, stop = copied(n, width, mode, side)
            border = lax.slice_in_dim(dy, side * (low + n), side * (low + n) + width, axis=axis)
            if mode == "edge":
                border = jnp.sum(border, axis, keepdims=True)
            elif mode != "wrap":
                border = lax.rev(border, (axis,))
            around = [(0, 0, 0)] * dy.ndim
            around[axis] = (start, n - stop, 0)
            dx = dx + lax.pad(border, jnp.zeros((), dy.dtype), around)
    return dx


def copied(n: int, width: int, mode: str, side: int) -> tuple[int, int]:
    """The part start:stop of x[0:n] that a border of `width` in front (side 0) or behind (1) is made of."""
    if mode == "edge":
        return (n - 1, n) if side else (0, 1)
    behind = bool(side) != (mode == "wrap")
    gap = int(mode == "reflect")
    return (n - gap - width, n - gap) if behind else (gap, gap + width)


@constructor
def pad(widths: Widths, *, mode: str = "constant", value: float = 0) -> Layer:
    """Add borders around the spatial axes of x [..., spatial..., channels].

    widths: for each axis an int or a pair (low, high), as (1, 1) or ((1, 2), (0, 0)); an int alone is one axis.
    mode: "constant" (of `value`), "edge", "reflect", "symmetric" or "wrap", as in `numpy.pad`.
    Raises unless x is floating-point with these axes, as long as what a border copies.
    """
    pairs = check_widths("pad", widths)
    if mode not in MODES:
        raise ValueError(f"pad: expected mode in {MODES}, got {mode!r}")

    def check(x: Images) -> None:
        for axis, (n, pair) in enumerate(zip(spatial_sizes(x, len(pairs)), pairs, strict=True)):
            most = {"reflect": n - 1, "symmetric": n, "wrap": n, "edge": max(pair) if n else 0}.get(mode, max(pair))
            if max(pair) > most:
                raise LayerValueError(
                    f'expected widths of at most {most} for "{mode}" along spatial axis {axis} of x {describe(x)}, '
                    f"got {pair}"
                )

    forward = functools.partial(pad_forward, widths=pairs, mode=mode, value=value)
    return checked_layer("pad", check, forward, functools.partial(pad_backward, widths=pairs, mode=mode))


def crop_forward(x: Images, widths: Pads) -> Images:
    first = x.ndim - 1 - len(widths)
    starts = (*(0,) * first, *(low for low, _ in widths), 0)
    stops = (n - high for n, (_, high) in zip(x.shape[first:-1], widths, strict=True))
    return lax.slice(x, starts, (*x.shape[:first], *stops, x.shape[-1]))


def crop_backward(widths: Pads, dy: Images) -> Images:
    # y = x[low : n - high]
    return pad_forward(dy, widths, "constant", 0)


@constructor
def crop(widths: Widths | None = None, *, size: int | Sequence[int] | None = None) -> Layer:
    """y = x, `widths` cut off its spatial axes [..., spatial..., channels], or the middle `size` of it.

    widths: for each axis an int or a pair (low, high), as for `pad`. size: the lengths to keep, one for each axis;
    of an odd number to cut, the extra one goes at the end, as in ONNX's CenterCropPad. An int alone is one axis.
    Raises unless x is floating-point with these axes, longer than what is taken away.
    """
    if (widths is None) == (size is None):
        raise ValueError(f"crop: expected either widths or size, got widths={widths!r} and size={size!r}")
    pairs = None if widths is None else check_widths("crop", widths)
    lengths = () if size is None else per_axis("crop", "size", size, len(size) if is_sequence(size) else 1)

    def forward(x: Images) -> tuple[Images, Static]:
        sizes = spatial_sizes(x, len(pairs or lengths))
        taken = pairs or tuple(((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(sizes, lengths, strict=True))
        for axis, (n, (low, high)) in enumerate(zip(sizes, taken, strict=True)):
            if min(low, high) < 0 or low + high >= n:
                wanted = f"more than {low + high}" if pairs else f"at least {lengths[axis]}"
                raise LayerValueError(f"expected a length of {wanted} along spatial axis {axis}, got {describe(x)}")
        return crop_forward(x, taken), Static(taken)

    return stateless(
        forward,
        lambda taken, dy: crop_backward(taken.value, dy),
        name="crop",
        needs=(),
        keeps=("widths",),
        recompute=lambda x, taken: crop_forward(x, taken.value),
    )


def check_widths(name: str, widths: Widths) -> Pads:
    """A pair (low, high) for each axis."""
    each = widths if is_sequence(widths) else (widths,)
    pairs: tuple[Any, ...] = tuple(tuple(pair) if is_sequence(pair) else (pair, pair) for pair in each)
    numbers = [number for pair in pairs for number in pair]
    fits = all(isinstance(number, int) and number >= 0 for number in numbers)
    if not pairs or not fits or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"{name}: expected widths of at least 0, an int or a pair (low, high) for each axis, got {widths!r}"
        )
    return tuple((low, high) for low, high in pairs)
