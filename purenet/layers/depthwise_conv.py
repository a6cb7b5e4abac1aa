"""depthwise_conv: each channel is convolved by itself, with `multiplier` kernels of its own.

    y[t, o]  = sum_j xpad[s t + d j, c] W[j, o] + b[o]       c = o // multiplier;  x [..., spatial..., channels]
    dx[i, c] = sum_(o of c) sum_j dypad[i + d j, o] W[K - 1 - j, o]
    dW[j, o] = sum_t xpad[s t + d j, c] dy[t, o]             W [spatial..., 1, channels * multiplier]
    db[o]    = sum_t dy[t, o]                                b [channels * multiplier]

along every spatial axis, with stride s and dilation d; xpad is x with its padding, dypad is dy with s - 1 zeros between
its elements and the padding that makes dx as long as x. No matrices are multiplied: each tap j is a shifted x times one
number a channel, and XLA makes one pass over memory of all of them, where its convolution in as many groups as channels
takes up to thirty times as long on a CPU. Kept: x.
Howard et al., *MobileNets* (2017), section 3.1, after Sifre (2014).
"""

from __future__ import annotations

import functools
import itertools

import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, Float, PositiveInt
from ..constructor import constructor
from ..layer import Layer, Shaped
from ..precision import widen
from .conv import check_groups
from .conv_geometry import (
    Padding,
    PerAxis,
    Sizes,
    Window,
    as_batch,
    conv_window,
    geometry,
    input_pads,
    kernel_layer,
)


def depthwise_conv_forward(
    params: dict[str, Array], x: Float[Array, "... channels"], window: Window
) -> Float[Array, "... out_features"]:
    axes, kernel = len(window.strides), params["kernel"]
    images = as_batch(x, axes)[..., None]  # [examples, spatial..., channels, 1]
    rows = kernel.reshape(-1, x.shape[-1], kernel.shape[-1] // x.shape[-1])  # [taps, channels, multiplier]
    y = weigh(taps(images, kernel.shape[:axes], window), rows)  # [examples, spatial..., channels, multiplier]
    y = y.reshape(*x.shape[: -axes - 1], *y.shape[1:-2], kernel.shape[-1])
    if "bias" in params:
        y = y + jnp.broadcast_to(params["bias"].astype(y.dtype), y.shape)
    return y.astype(x.dtype)


def depthwise_conv_backward(
    params: dict[str, Array], x: Float[Array, "... channels"], dy: Float[Array, "... out_features"], window: Window
) -> tuple[dict[str, Array], Float[Array, "... channels"]]:
    axes, kernel = len(window.strides), params["kernel"]
    size = kernel.shape[:axes]
    images = as_batch(x, axes)[..., None]  # [examples, spatial..., channels, 1]
    dys = as_batch(dy, axes)
    dys = dys.reshape(*dys.shape[:-1], x.shape[-1], dy.shape[-1] // x.shape[-1])  # [..., channels, multiplier]
    # y = sum_j tap_j(x) * kernel[j] + bias
    dkernel = correlate(taps(images, size, window), dys)  # [taps, channels, multiplier]
    dparams = {"kernel": dkernel.reshape(kernel.shape).astype(kernel.dtype)}
    if "bias" in params:
        dparams["bias"] = jnp.sum(dy, range(dy.ndim - 1))  # [out]
    pads = input_pads(images.shape[1:-2], dys.shape[1:-2], size, window)
    given = taps(dys, size, Window((1,) * axes, pads, window.dilation), apart=window.strides)
    turned = jnp.flip(kernel, range(axes)).reshape(dkernel.shape)
    dx = functools.reduce(jnp.add, jnp.unstack(weigh(given, turned), axis=-1))  # [examples, spatial..., channels]
    return dparams, dx.astype(x.dtype).reshape(x.shape)


def taps(x: Array, kernel_size: Sizes, window: Window, apart: Sizes | None = None) -> list[Array]:
    """What each element of the kernel is multiplied by: x [examples, spatial..., channels, copies], its elements moved
    `apart` by zeros between them, padded, shifted and thinned by the strides."""
    strides, pads, dilation, _ = window
    around = [(*pad, step - 1) for pad, step in zip(pads, apart or (1,) * len(pads), strict=True)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0), (0, 0, 0)])
    reaches = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    seen = []
    for offsets in itertools.product(*(range(0, r + 1, d) for r, d in zip(reaches, dilation, strict=True))):
        ends = [n - r + o for n, r, o in zip(padded.shape[1:], reaches, offsets, strict=False)]
        tap = lax.slice(padded, (0, *offsets, 0, 0), (len(x), *ends, *x.shape[-2:]), (1, *strides, 1, 1))
        seen.append(widen(tap))
    return seen


def weigh(seen: list[Array], rows: Array) -> Array:
    """The sum of the taps, each times its row of the kernel [taps, channels, multiplier]."""
    shape = (*seen[0].shape[:-1], rows.shape[-1])
    total = jnp.zeros(shape, seen[0].dtype)
    for tap, row in zip(seen, widen(rows), strict=True):
        total = total + jnp.broadcast_to(tap, shape) * jnp.broadcast_to(row, shape)
    return total


def correlate(seen: list[Array], dy: Array) -> Array:
    """The sum over all positions of each tap times dy, in one pass over memory for all taps."""
    products = [jnp.broadcast_to(tap, dy.shape) * widen(dy) for tap in seen]
    zeros = [jnp.zeros((), product.dtype) for product in products]
    sums = lax.reduce(products, zeros, lambda a, b: [p + q for p, q in zip(a, b, strict=True)], range(dy.ndim - 2))
    return jnp.stack(sums)


@constructor
def depthwise_conv(
    kernel_size: PerAxis,
    *,
    multiplier: PositiveInt = 1,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Convolve each channel of x [..., spatial..., channels] by itself, to [..., spatial..., channels * multiplier].

    Outputs c * multiplier to (c + 1) * multiplier - 1 belong to channel c. It is conv in as many groups as channels;
    the other arguments are conv's. Every tap is an operation of its own: beyond some hundred of them take conv.
    Parameters: kernel [spatial..., 1, channels * multiplier], bias [channels * multiplier].
    """
    shape = geometry("depthwise_conv", kernel_size, strides, padding, dilation)

    def shapes(x: Shaped) -> dict[str, Sizes]:
        conv_window(x, shape)
        check_groups(x, 1)
        features = x.shape[-1] * multiplier
        kernel = (*shape.kernel_size, 1, features)
        return {"kernel": kernel, "bias": (features,)} if use_bias else {"kernel": kernel}

    def forward(params: dict[str, Array], x: Array) -> Array:
        return depthwise_conv_forward(params, x, conv_window(x, shape))

    def backward(params: dict[str, Array], x: Array, dy: Array) -> tuple[dict[str, Array], Array]:
        return depthwise_conv_backward(params, x, dy, conv_window(x, shape))

    return kernel_layer("depthwise_conv", forward, backward, shapes, kernel_init, bias_init)
