"""Convolution, pooling, upsampling and flattening of images and sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

import purenet as pn

from .rows import Fault, Right, altered, normal

# One dimension, same padding, written as a sum over the taps.

SEQUENCE = normal(101, 5, 7, 3)
TAPS = {"kernel": normal(102, 3, 3, 11), "bias": normal(103, 11)}
SQUARE_TAPS = {"kernel": normal(104, 3, 3, 3), "bias": normal(105, 3)}


def padded(x: Any) -> Any:
    return jnp.pad(x, ((0, 0), (1, 1), (0, 0)))


def conv1d(params: Any, x: Any) -> Any:
    steps = x.shape[1]
    wide = padded(x)
    before = wide[:, 0:steps] @ params["kernel"][0]
    here = wide[:, 1 : steps + 1] @ params["kernel"][1]
    after = wide[:, 2 : steps + 2] @ params["kernel"][2]
    return before + here + after + params["bias"][None, None, :]


def conv1d_backward(params: Any, x: Any, dy: Any) -> Any:
    steps = x.shape[1]
    wide, dwide = padded(x), padded(dy)
    taps = [jnp.einsum("bti,bto->io", wide[:, k : k + steps], dy) for k in range(3)]
    dx = sum(dwide[:, 2 - k : 2 - k + steps] @ params["kernel"][k].T for k in range(3))
    return {"kernel": jnp.stack(taps), "bias": jnp.sum(dy, (0, 1))}, dx


def unrotated(g: Any, params: Any, x: Any, dy: Any) -> Any:
    dwide = padded(dy)
    return sum(dwide[:, k : k + x.shape[1]] @ params["kernel"][k].T for k in range(3))


def untransposed(g: Any, params: Any, x: Any, dy: Any) -> Any:
    dwide = padded(dy)
    return sum(dwide[:, 2 - k : 2 - k + x.shape[1]] @ params["kernel"][k] for k in range(3))


def without_border(g: Any, params: Any, x: Any, dy: Any) -> Any:
    inner = slice(1, -1)
    taps = [jnp.einsum("bti,bto->io", x[:, k : k + x.shape[1] - 2], dy[:, inner]) for k in range(3)]
    return jnp.stack(taps)


def tap_fault(name: str, kinds: tuple[str, ...], says: str, params: Any = TAPS, **rules: Callable[..., Any]) -> Fault:
    return Fault(f"conv1d: {name}", (conv1d, altered(conv1d_backward, **rules)), SEQUENCE, params, kinds, says)


FAULTS = [
    tap_fault(
        "kernel not rotated in dx",
        ("wrong_operand", "flipped", "two_paths"),
        "flip|rotat|revers|order|kernel",
        x=unrotated,
    ),
    tap_fault(
        "kernel not transposed in dx", ("wrong_operand", "transposed"), r"transpos|\.T", SQUARE_TAPS, x=untransposed
    ),
    tap_fault("kernel reversed", ("flipped",), "flip|revers|rotat", kernel=lambda g, *_: g[::-1]),
    tap_fault(
        "kernel's channels exchanged",
        ("transposed",),
        r"transpos|\.T|swap|axes",
        SQUARE_TAPS,
        kernel=lambda g, *_: jnp.swapaxes(g, 1, 2),
    ),
    tap_fault(
        "kernel shifted by one tap", ("shifted",), "shift|roll|by one|by 1", kernel=lambda g, *_: jnp.roll(g, 1, 0)
    ),
    tap_fault("dx shifted by one step", ("shifted",), "shift|roll|by one|by 1", x=lambda g, *_: jnp.roll(g, 1, 1)),
    tap_fault("border left out of the kernel", ("slices",), "border|edge|first|last|step|axis", kernel=without_border),
    tap_fault("bias averaged over the steps", ("scaled",), "1/7|step", bias=lambda g, *_: g / 7),
    tap_fault(
        "bias not summed over the steps",
        ("not_summed", "wrong_shape"),
        "sum|axis",
        bias=lambda g, p, x, dy: jnp.sum(dy, 0),
    ),
    tap_fault(
        "last tap forgotten in dx",
        ("path_missing",),
        "path|after|dot|kernel",
        x=lambda g, p, x, dy: g - padded(dy)[:, 0:7] @ p["kernel"][2].T,
    ),
    tap_fault(
        "middle tap twice in dx",
        ("path_doubled",),
        "twice|doubl|here|dot",
        x=lambda g, p, x, dy: g + dy @ p["kernel"][1].T,
    ),
]

# Two dimensions: [batch, height, width, channels].

IMAGES = normal(106, 2, 7, 5, 3)
KERNEL = {"kernel": normal(107, 3, 3, 3, 11, scale=0.5)}
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv2d(params: Any, x: Any) -> Any:
    return lax.conv_general_dilated(x, params["kernel"], (1, 1), "VALID", dimension_numbers=DIMENSIONS)


def strided(params: Any, x: Any) -> Any:
    return lax.conv_general_dilated(x, params["kernel"], (2, 2), "VALID", dimension_numbers=DIMENSIONS)


def windows(x: Any, row: int, column: int, size: tuple[int, ...], stride: int) -> Any:
    """What tap (row, column) of the kernel sees, [batch, height, width, channels] of the output's size."""
    height, width = size
    return x[:, row : row + stride * height : stride, column : column + stride * width : stride][:, :height, :width]


def conv2d_with(stride: int = 1, mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, x: Any, dy: Any) -> Any:
        kernel = params["kernel"]
        if mistake == "rotation":
            kernel = kernel[::-1, ::-1]
        if mistake == "axes":
            kernel = jnp.swapaxes(kernel, 0, 1)
        size = dy.shape[1:3]
        dkernel, dx = jnp.zeros_like(kernel), jnp.zeros_like(x)
        for row in range(3):
            for column in range(3):
                seen = windows(x, row, column, size, stride)
                dkernel = dkernel.at[row, column].set(jnp.einsum("bhwi,bhwo->io", seen, dy))
                given = dy @ kernel[row, column].T
                rows = row + stride * np.arange(size[0])
                columns = column + stride * np.arange(size[1])
                at = dx.at[:, rows[:, None], columns[None, :]]
                dx = at.set(given) if mistake == "set" else at.add(given)
        if mistake == "kernel axes":
            dkernel = jnp.swapaxes(dkernel, 0, 1)
        if mistake == "positions":
            dkernel = dkernel / (size[0] * size[1])
        return {"kernel": dkernel}, dx

    return backward


def image_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str, stride: int = 1) -> Fault:
    forward = conv2d if stride == 1 else strided
    return Fault(f"conv2d: {name}", (forward, conv2d_with(stride, mistake)), IMAGES, KERNEL, kinds, says)


FAULTS += [
    image_fault("kernel rotated once too often", ("wrong_operand", "flipped"), "flip|rotat|revers|kernel", "rotation"),
    image_fault(
        "height and width of the kernel exchanged in dx",
        ("wrong_operand", "transposed"),
        "transpos|axes|swap|kernel",
        "axes",
    ),
    image_fault(
        "height and width of the kernel's gradient exchanged", ("transposed",), "transpos|axes|swap", "kernel axes"
    ),
    image_fault("kernel averaged over the positions", ("scaled",), r"1/15|\b5\b|\b3\b", "positions"),
    image_fault(
        "overlapping windows overwritten",
        ("slices", "path_missing", "support", "coupling", "local_derivative"),
        "",
        "set",
    ),
    image_fault(
        "stride 2: overlapping windows overwritten",
        ("slices", "path_missing", "support", "coupling", "local_derivative"),
        "",
        "set",
        2,
    ),
    image_fault("stride 2: kernel rotated once too often", ("wrong_operand", "flipped"), "", "rotation", 2),
]

# Pooling over windows of two steps, [batch, steps, channels].

STEPS = normal(108, 5, 6, 7)


def pairs_of_steps(x: Any) -> Any:
    return x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2])


def max_pool(x: Any) -> Any:
    pairs = pairs_of_steps(x)
    return jnp.max(pairs, 2)


def max_pool_with(route: Callable[[Any], Any]) -> Any:
    """route(pairs) is 1 where the gradient goes."""

    def backward(x: Any, dy: Any) -> Any:
        routed = route(pairs_of_steps(x)).astype(dy.dtype) * dy[:, :, None]
        return routed.reshape(x.shape)

    return max_pool, backward


def winner(pairs: Any) -> Any:
    return pairs == jnp.max(pairs, 2, keepdims=True)


def average_pool(x: Any) -> Any:
    pairs = pairs_of_steps(x)
    return jnp.mean(pairs, 2)


def average_pool_with(factor: float, shift: int = 0) -> Any:
    def backward(x: Any, dy: Any) -> Any:
        return jnp.roll(jnp.repeat(dy, 2, axis=1) * factor, shift, 1)

    return average_pool, backward


def global_average(x: Any) -> Any:
    return jnp.mean(x, (1, 2))


def global_average_with(divisor: int) -> Any:
    return global_average, lambda x, dy: jnp.broadcast_to(dy[:, None, None, :] / divisor, x.shape)


def global_max(x: Any) -> Any:
    return jnp.max(x, 1)


def upsample(x: Any) -> Any:
    return jnp.repeat(x, 2, axis=1)


def flatten(x: Any) -> Any:
    return x.reshape(x.shape[0], -1)


def channels_first(x: Any, dy: Any) -> Any:
    batch, height, width, channels = x.shape
    return jnp.transpose(dy.reshape(batch, channels, height, width), (0, 2, 3, 1))


FAULTS += [
    Fault(
        "max pool: to all",
        max_pool_with(jnp.ones_like),
        STEPS,
        None,
        ("support", "local_derivative"),
        r"max|winner|zero|\b0\b",
    ),
    Fault(
        "max pool: to the loser",
        max_pool_with(lambda p: ~winner(p)),
        STEPS,
        None,
        ("support", "permuted", "local_derivative"),
        "max|winner|wrong|zero|place",
    ),
    Fault(
        "max pool: to the first of each window",
        max_pool_with(lambda p: jnp.zeros_like(p).at[:, :, 0].set(1.0)),
        STEPS,
        None,
        ("support", "permuted", "local_derivative"),
        "max|winner|wrong|zero|place",
    ),
    Fault(
        "max pool: divided among all",
        max_pool_with(lambda p: jnp.full_like(p, 0.5)),
        STEPS,
        None,
        ("support", "local_derivative", "forward_variant"),
        r"max|winner|mean|zero|\b0\b",
    ),
    Fault("average pool: mean forgotten", average_pool_with(1.0), STEPS, None, ("scaled",), r"\b2\b|twice|doubl"),
    Fault(
        "average pool: windows one step off",
        average_pool_with(0.5, 1),
        STEPS,
        None,
        ("shifted",),
        "shift|roll|by one|by 1",
    ),
    Fault(
        "average pool: tiled instead of repeated",
        (average_pool, lambda x, dy: jnp.tile(dy, (1, 2, 1)) * 0.5),
        STEPS,
        None,
        ("permuted", "coupling"),
        "order|permut|place|axis",
    ),
    Fault("global average: divided by the height alone", global_average_with(7), IMAGES, None, ("scaled",), r"\b5\b"),
    Fault("global average: mean forgotten", global_average_with(1), IMAGES, None, ("scaled",), r"35|\b7\b|\b5\b"),
    Fault(
        "global max: to the last step",
        (global_max, lambda x, dy: jnp.zeros_like(x).at[:, -1].set(dy)),
        STEPS,
        None,
        ("support", "permuted", "local_derivative"),
        "max|winner|wrong|zero|place",
    ),
    Fault(
        "global max: winner over the batch",
        (global_max, lambda x, dy: jnp.where(x == jnp.max(x, 0, keepdims=True), dy[:, None], 0.0)),
        STEPS,
        None,
        ("support", "coupling", "local_derivative"),
        "",
    ),
    Fault(
        "upsampling: first copy alone", (upsample, lambda dy: dy[:, ::2]), STEPS, None, ("slices", "path_missing"), ""
    ),
    Fault(
        "upsampling: averaged",
        (upsample, lambda dy: 0.5 * (dy[:, ::2] + dy[:, 1::2])),
        STEPS,
        None,
        ("scaled",),
        "1/2|0.5|half",
    ),
    Fault(
        "flatten: channels first", (flatten, channels_first), IMAGES, None, ("permuted",), "order|permut|place|reshape"
    ),
    Fault("flatten: not given its shape again", (flatten, lambda dy: dy), IMAGES, None, ("wrong_shape",), "shape"),
    Fault(
        "pn.reshape: order of the columns",
        pn.reshape(11, 3).replace(
            backward=lambda p, x, y, r, dy: ((), jnp.swapaxes(dy, 1, 2).reshape(dy.shape[0], -1))
        ),
        normal(109, 5, 33),
        None,
        ("permuted",),
        "order|permut|place|reshape",
    ),
]

RIGHTS = [
    Right("conv1d", (conv1d, conv1d_backward), SEQUENCE, TAPS),
    Right("conv1d, one step", (conv1d, conv1d_backward), SEQUENCE[:, :1], TAPS),
    Right("conv2d", (conv2d, conv2d_with()), IMAGES, KERNEL),
    Right("conv2d, stride 2", (strided, conv2d_with(2)), IMAGES, KERNEL),
    Right("max pool", max_pool_with(winner), STEPS),
    Right("average pool", average_pool_with(0.5), STEPS),
    Right("global average", global_average_with(35), IMAGES),
    Right("upsampling", (upsample, lambda dy: dy[:, ::2] + dy[:, 1::2]), STEPS),
    Right("flatten", (flatten, lambda x, dy: dy.reshape(x.shape)), IMAGES),
    Right("pn.flatten", pn.flatten(-2), normal(110, 2, 3, 5, 7)),
]
