"""adaptive pooling: windows placed to give the requested output length, whatever the input's.

    n, m     length of x and of y along an axis; output i pools the bin floor(i n / m) .. ceil((i + 1) n / m) - 1
    adaptive_avg_pool  y = B x     dx = B^T dy along each axis, B [m, n] with 1 / length in its bin and 0 elsewhere
    adaptive_max_pool  y[i] = x[place[i]], the first largest of the bin
                       dx[j] = sum of dy[i] over the outputs with place[i] = j

x [..., spatial..., channels], y [..., output_size..., channels]. Bins overlap where m does not divide n.
Kept: for the mean the lengths of x, which cost nothing; for the maximum where in x each output was found.
PyTorch's AdaptiveAvgPool and AdaptiveMaxPool. He et al., *Spatial pyramid pooling in deep networks* (2014).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..annotations import Array, Float, Integer
from ..constructor import constructor
from ..layer import Layer
from ..precision import widen
from ..stateless import stateless
from ..static import Static
from .axis_matrix import multiply_axes
from .checks import checked_layer
from .conv_geometry import Sizes, is_sequence, per_axis
from .global_pool import check_spatial_axes

Images = Float[Array, "..."]
Lengths = tuple[int | None, ...]
Place = tuple[Integer[Array, "..."], Static]


def adaptive_avg_pool_forward(x: Images, output_size: Lengths) -> tuple[Images, Static]:
    sizes = x.shape[-1 - len(output_size) : -1]
    return multiply_axes(x, bin_matrices(sizes, output_size)), Static(sizes)


def adaptive_avg_pool_backward(sizes: Static, dy: Images, output_size: Lengths) -> Images:
    # y = B x along each axis
    return multiply_axes(dy, [matrix.T for matrix in bin_matrices(sizes.value, output_size)])


def adaptive_max_pool_forward(x: Images, output_size: Lengths) -> tuple[Images, Place]:
    sizes = x.shape[-1 - len(output_size) : -1]
    axes = range(x.ndim - 1 - len(sizes), x.ndim - 1)
    bins = [bin_places(n, m) for n, m in pair_up(sizes, output_size)]  # [m, longest bin] for each axis
    numbers = np.arange(math.prod(sizes), dtype=np.int32).reshape(sizes)
    y = place = None
    for k in itertools.product(*(range(bin.shape[1]) for bin in bins)):
        tap, number = x, numbers
        for axis, (bin, column) in enumerate(zip(bins, k, strict=True)):
            tap = jnp.take(tap, bin[:, column], axes[axis])  # [..., m..., channels]
            number = number.take(bin[:, column], axis)  # [m...]
        here = jnp.broadcast_to(jnp.asarray(number)[..., None], tap.shape)
        if y is None or place is None:
            y, place = tap, here
        else:
            better = ~(tap <= y) & (y == y)  # larger, or the first NaN
            y, place = jnp.where(better, tap, y), jnp.where(better, here, place)
    assert y is not None
    assert place is not None
    return y, (place, Static(sizes))


def adaptive_max_pool_backward(residuals: Place, dy: Images, output_size: Lengths) -> Images:
    place, sizes = residuals
    axes = range(dy.ndim - 1 - len(output_size), dy.ndim - 1)
    readers = [bin_readers(n, m) for n, m in pair_up(sizes.value, output_size)]  # [n, most bins] for each axis
    lead = dy.shape[: axes[0]]
    shape = (*lead, *sizes.value, dy.shape[-1])
    numbers = np.arange(math.prod(sizes.value), dtype=np.int32).reshape(sizes.value)
    here = jnp.broadcast_to(jnp.asarray(numbers)[..., None], shape)
    dx = jnp.zeros(shape, widen(dy).dtype)
    # y[i] = x[place[i]]: each element of x asks the bins that hold it
    for k in itertools.product(*(range(reader.shape[1]) for reader in readers)):
        found, given = place, widen(dy)
        asked = np.ones(sizes.value, bool)
        for axis, (reader, column) in enumerate(zip(readers, k, strict=True)):
            outputs = reader[:, column]
            found, given = (jnp.take(value, np.maximum(outputs, 0), axes[axis]) for value in (found, given))
            asked &= np.expand_dims(outputs >= 0, tuple(i for i in range(asked.ndim) if i != axis))
        chosen = (found == here) & jnp.broadcast_to(jnp.asarray(asked)[..., None], shape)
        dx = dx + jnp.where(chosen, given, 0)
    return dx.astype(dy.dtype)


# Bins along one axis.


def bin_range(i: int, n: int, m: int) -> range:
    return range(i * n // m, -(-(i + 1) * n // m))


def bin_places(n: int, m: int) -> np.ndarray:
    """The places of each bin, its last one repeated up to the longest bin's length, [m, longest]."""
    bins = [bin_range(i, n, m) for i in range(m)]
    longest = max(map(len, bins))
    return np.array([[bin[min(k, len(bin) - 1)] for k in range(longest)] for bin in bins])


def bin_readers(n: int, m: int) -> np.ndarray:
    """The bins that hold each place, filled up with -1, [n, most]."""
    readers = [[i for i in range(m) if j in bin_range(i, n, m)] for j in range(n)]
    most = max(map(len, readers))
    return np.array([reader + [-1] * (most - len(reader)) for reader in readers])


def bin_matrices(sizes: Sizes, output_size: Lengths) -> list[np.ndarray]:
    """B [m, n] for each axis."""
    matrices = [np.zeros((m, n)) for n, m in pair_up(sizes, output_size)]
    for matrix in matrices:
        m, n = matrix.shape
        for i in range(m):
            matrix[i, bin_range(i, n, m)] = 1 / len(bin_range(i, n, m))
    return matrices


def pair_up(sizes: Sizes, output_size: Lengths) -> list[tuple[int, int]]:
    """(length of x, of y) along each axis; None keeps the length."""
    return [(n, n if m is None else m) for n, m in zip(sizes, output_size, strict=True)]


def check_output_size(name: str, output_size: int | Sequence[int | None]) -> Lengths:
    lengths: tuple[Any, ...] = tuple(output_size) if is_sequence(output_size) else (output_size,)
    if not 1 <= len(lengths) <= 3:
        raise ValueError(f"{name}: expected output_size for 1, 2 or 3 spatial axes, got {output_size!r}")
    given = tuple(length for length in lengths if length is not None)
    per_axis(name, "output_size", given, len(given))
    return lengths


@constructor
def adaptive_avg_pool(output_size: int | Sequence[int | None]) -> Layer:
    """The means of x [..., spatial..., channels] over the requested number of bins, [..., output_size..., channels].

    output_size: an int for one spatial axis, or a tuple of 1, 2 or 3; None keeps the length of an axis.
    Raises unless x is floating-point with these axes.
    """
    lengths = check_output_size("adaptive_avg_pool", output_size)

    def forward(x: Images) -> tuple[Images, Static]:
        check_spatial_axes(x, len(lengths))
        return adaptive_avg_pool_forward(x, lengths)

    return stateless(
        forward,
        functools.partial(adaptive_avg_pool_backward, output_size=lengths),
        name="adaptive_avg_pool",
        needs=(),
        keeps=("shape",),
    )


@constructor
def adaptive_max_pool(output_size: int | Sequence[int | None]) -> Layer:
    """The maxima of x [..., spatial..., channels] over the requested number of bins, [..., output_size..., channels].

    output_size: an int for one spatial axis, or a tuple of 1, 2 or 3; None keeps the length of an axis.
    Among equal elements the first one of a bin takes its gradient. Raises unless x is floating-point with these axes.
    """
    lengths = check_output_size("adaptive_max_pool", output_size)
    return checked_layer(
        "adaptive_max_pool",
        lambda x: check_spatial_axes(x, len(lengths)),
        lambda x: adaptive_max_pool_forward(x, lengths),
        lambda residuals, dy: adaptive_max_pool_backward(residuals, dy, lengths),
        keeps=("place",),
    )
