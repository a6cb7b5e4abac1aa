"""reshape, flatten, swap_axes: the same elements in another shape or order.

    y  = x.reshape(shape),    dx = dy.reshape(x.shape)
    y  = swap(x),             dx = swap(dy)

Kept: the shape of x, which costs nothing at run time, or nothing.
Harris et al., *Array Programming with NumPy* (2020), whose names these are.
"""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp

from ..annotations import Array
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer
from ..static import Static
from ..validation import describe
from .checks import checked_layer


def reshape_forward(x: Array, shape: tuple[int, ...], start: int) -> tuple[Array, Static]:
    lead, taken = x.shape[:start], x.shape[start:]
    if -1 in shape:  # counted here: an empty x leaves it open
        length = math.prod(taken) // math.prod(size for size in shape if size >= 0)
        shape = tuple(length if size < 0 else size for size in shape)
    return x.reshape(lead + shape), Static(x.shape)


def reshape_backward(x_shape: Static, dy: Array) -> Array:
    return dy.reshape(x_shape.value)


@constructor
def reshape(*shape: int, start: int = 1) -> Layer:
    """The axes from `start` on take the new `shape`, of which one length may be -1; the axes before stay.

    The default keeps the first axis, the batch. A negative start counts from the end and takes any number of leading
    axes: `reshape(8, 8, 1, start=-1)` works on one example [64] as on a batch [..., 64].
    """
    if not all(isinstance(size, int) and size >= -1 for size in shape) or shape.count(-1) > 1:
        raise ValueError(f"reshape: expected lengths, at most one of them -1, got {shape!r}")
    return shaped("reshape", shape, start)


@constructor
def flatten(start: int = 1) -> Layer:
    """The axes from `start` on become one: [batch, height, width] -> [batch, height * width].

    `flatten(-2)` takes images [height, width] with any leading axes, none included.
    """
    return shaped("flatten", (-1,), start)


def shaped(name: str, shape: tuple[int, ...], start: int) -> Layer:
    def check(x: Array) -> None:
        if not -x.ndim <= start < max(x.ndim, 1):
            raise LayerValueError(f"expected x with an axis {start} to start from, got {describe(x)}")
        taken = x.shape[start:]
        known = math.prod(size for size in shape if size >= 0)
        fits = known == math.prod(taken) if -1 not in shape else known > 0 and math.prod(taken) % known == 0
        if not fits:
            raise LayerValueError(f"cannot give axes {list(taken)} the shape {list(shape)}: x is {describe(x)}")

    forward = functools.partial(reshape_forward, shape=shape, start=start)
    return checked_layer(name, check, forward, reshape_backward, keeps=("shape",))


def swap_axes_forward(x: Array, first: int, second: int) -> Array:
    return jnp.swapaxes(x, first, second)


def swap_axes_backward(dy: Array, first: int, second: int) -> Array:
    # y = swap(x), which is its own inverse
    return jnp.swapaxes(dy, first, second)


@constructor
def swap_axes(first: int, second: int) -> Layer:
    """y = x, two axes exchanged. `swap_axes(-1, -2)`: [..., time, features] to [..., features, time], with any leading
    axes. Raises if x has no such axes."""
    for axis in (first, second):
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise ValueError(f"swap_axes: expected axes as numbers, got {first!r} and {second!r}")

    def check(x: Array) -> None:
        if not all(-x.ndim <= axis < x.ndim for axis in (first, second)):
            raise LayerValueError(f"expected x with axes {first} and {second} to exchange, got {describe(x)}")

    twins = (functools.partial(f, first=first, second=second) for f in (swap_axes_forward, swap_axes_backward))
    return checked_layer("swap_axes", check, *twins)
