"""pixel_shuffle: channels become pixels, each element of an r1 x r2 block from a channel of its own.

    pixel_shuffle    y[..., h r1 + i, w r2 + j, c] = x[..., h, w, channel(c, i, j)]
    pixel_unshuffle  y[..., h, w, channel(c, i, j)] = x[..., h r1 + i, w r2 + j, c]
    channel(c, i, j) = c r1 r2 + i r2 + j   "CRD", PyTorch's order         (i r2 + j) C + c   "DCR", ONNX's default

x [..., H, W, C r1 r2], y [..., H r1, W r2, C]; likewise with one or three spatial axes. A permutation: dx is
`pixel_unshuffle` of dy, and vice versa. Kept: nothing.
Shi et al., *Real-time single image and video super-resolution using an efficient sub-pixel network* (2016).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax.numpy as jnp

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer
from ..validation import describe
from .checks import checked_layer, spatial_sizes
from .conv_geometry import PerAxis, Sizes, is_sequence, per_axis

Images = Float[Array, "..."]


def pixel_shuffle_forward(x: Images, factors: Sizes, mode: str) -> Images:
    n, lead = len(factors), x.ndim - 1 - len(factors)
    sizes, channels = x.shape[lead:-1], x.shape[-1] // math.prod(factors)
    split = (channels, *factors) if mode == "CRD" else (*factors, channels)
    blocks = x.reshape(*x.shape[:-1], *split)  # [..., sizes..., split...]
    block = x.ndim - 1 + (mode == "CRD")  # the axis of the first factor
    woven = [axis for k in range(n) for axis in (lead + k, block + k)]
    channel = blocks.ndim - 1 if mode == "DCR" else x.ndim - 1
    y = jnp.transpose(blocks, (*range(lead), *woven, channel))  # [..., H, r1, W, r2, C]
    return y.reshape(*x.shape[:lead], *(size * r for size, r in zip(sizes, factors, strict=True)), channels)


def pixel_unshuffle_forward(x: Images, factors: Sizes, mode: str) -> Images:
    n, lead = len(factors), x.ndim - 1 - len(factors)
    sizes = tuple(size // r for size, r in zip(x.shape[lead:-1], factors, strict=True))
    tiles = [length for pair in zip(sizes, factors, strict=True) for length in pair]
    blocks = x.reshape(*x.shape[:lead], *tiles, x.shape[-1])  # [..., H, r1, W, r2, C]
    places, within, channel = (
        [lead + 2 * k for k in range(n)],
        [lead + 2 * k + 1 for k in range(n)],
        [blocks.ndim - 1],
    )
    order = channel + within if mode == "CRD" else within + channel
    y = jnp.transpose(blocks, (*range(lead), *places, *order))  # [..., H, W, split...]
    return y.reshape(*x.shape[:lead], *sizes, x.shape[-1] * math.prod(factors))


def pixel_shuffle_backward(dy: Images, factors: Sizes, mode: str) -> Images:
    return pixel_unshuffle_forward(dy, factors, mode)


def pixel_unshuffle_backward(dy: Images, factors: Sizes, mode: str) -> Images:
    return pixel_shuffle_forward(dy, factors, mode)


@constructor
def pixel_shuffle(factor: PerAxis, *, mode: str = "CRD") -> Layer:
    """[..., H, W, C r r] to [..., H r, W r, C]; `factor` is r for images, or a tuple for 1, 2 or 3 spatial axes.

    mode: "CRD" as PyTorch's PixelShuffle, "DCR" as ONNX's DepthToSpace by default. Raises unless x is
    floating-point with these axes and the block divides its channels.
    """
    factors = check_shuffle("pixel_shuffle", factor, mode)

    def check(x: Images) -> None:
        spatial_sizes(x, len(factors))
        if x.shape[-1] % math.prod(factors):
            raise LayerValueError(f"expected a multiple of {math.prod(factors)} channels, got {describe(x)}")

    twins = pixel_shuffle_forward, pixel_shuffle_backward
    return checked_layer("pixel_shuffle", check, *(functools.partial(f, factors=factors, mode=mode) for f in twins))


@constructor
def pixel_unshuffle(factor: PerAxis, *, mode: str = "CRD") -> Layer:
    """[..., H r, W r, C] to [..., H, W, C r r]; `factor` is r for images, or a tuple for 1, 2 or 3 spatial axes.

    mode: "CRD" as PyTorch's PixelUnshuffle, "DCR" as ONNX's SpaceToDepth. Raises unless x is floating-point
    with these axes and the block divides its lengths.
    """
    factors = check_shuffle("pixel_unshuffle", factor, mode)

    def check(x: Images) -> None:
        if any(size % r for size, r in zip(spatial_sizes(x, len(factors)), factors, strict=True)):
            raise LayerValueError(f"expected spatial lengths that {list(factors)} divide, got {describe(x)}")

    twins = pixel_unshuffle_forward, pixel_unshuffle_backward
    return checked_layer("pixel_unshuffle", check, *(functools.partial(f, factors=factors, mode=mode) for f in twins))


def check_shuffle(name: str, factor: int | Sequence[int], mode: str) -> Sizes:
    if mode not in ("CRD", "DCR"):
        raise ValueError(f'{name}: expected mode "CRD" or "DCR", got {mode!r}')
    axes = len(factor) if is_sequence(factor) else 2
    if not 1 <= axes <= 3:
        raise ValueError(f"{name}: expected a factor for 1, 2 or 3 spatial axes, got {factor!r}")
    return per_axis(name, "factor", factor, axes)
