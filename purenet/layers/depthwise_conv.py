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

import itertools

import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, Float
from ..layer import Layer, Shaped
from ..precision import widen
from .conv import check_groups
from .conv_geometry import (
    Padding,
    PerAxis,
    Sizes,
    Window,
    as_batch,
    check_count,
    conv_window,
    geometry,
    input_pads,
    kernel_layer,
)


def depthwise_conv_forward(
    params: dict[str, Array], x: Float[Array, "... channels"], window: Window
) -> Float[Array, "... out_features"]:
    axes, kernel = len(window.strides), params["kernel"]
    images = spread(as_batch(x, axes), kernel.shape[-1])  # [examples, spatial..., out]
    y = weigh(taps(images, kernel.shape[:axes], window), kernel)
    if "bias" in params:
        y = y + jnp.broadcast_to(params["bias"].astype(y.dtype), y.shape)
    return y.astype(x.dtype).reshape(*x.shape[: -axes - 1], *y.shape[1:])


def depthwise_conv_backward(
    params: dict[str, Array], x: Float[Array, "... channels"], dy: Float[Array, "... out_features"], window: Window
) -> tuple[dict[str, Array], Float[Array, "... channels"]]:
    axes, kernel = len(window.strides), params["kernel"]
    images, dys = as_batch(x, axes), as_batch(dy, axes)
    # y = sum_j tap_j(x) * kernel[j] + bias
    seen = taps(spread(images, kernel.shape[-1]), kernel.shape[:axes], window)
    dparams = {"kernel": correlate(seen, dys).reshape(kernel.shape).astype(kernel.dtype)}
    if "bias" in params:
        dparams["bias"] = jnp.sum(dy, range(dy.ndim - 1))  # [out]
    pads = input_pads(images.shape[1:-1], dys.shape[1:-1], kernel.shape[:axes], window)
    returned = taps(dys, kernel.shape[:axes], Window((1,) * axes, pads, window.dilation), dilated=window.strides)
    dx = weigh(returned, jnp.flip(kernel, range(axes)))  # [examples, spatial..., out]
    dx = jnp.sum(dx.reshape(*images.shape, -1), -1)
    return dparams, dx.astype(x.dtype).reshape(x.shape)


def spread(x: Array, features: int) -> Array:
    """[..., channels] to [..., features]: every channel next to itself as often as it has kernels."""
    copies = features // x.shape[-1]
    return jnp.broadcast_to(x[..., None], (*x.shape, copies)).reshape(*x.shape[:-1], features)


def taps(x: Array, kernel_size: Sizes, window: Window, dilated: Sizes | None = None) -> list[Array]:
    """What each element of the kernel is multiplied by: x, padded, shifted and thinned by the strides."""
    strides, pads, dilation, _ = window
    inner = dilated or (1,) * len(strides)
    around = [(before, after, step - 1) for (before, after), step in zip(pads, inner, strict=True)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    reaches = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    seen = []
    for offsets in itertools.product(*(range(0, r + 1, d) for r, d in zip(reaches, dilation, strict=True))):
        ends = [n - r + o for n, r, o in zip(padded.shape[1:], reaches, offsets, strict=False)]
        limits = (x.shape[0], *ends, x.shape[-1])
        seen.append(widen(lax.slice(padded, (0, *offsets, 0), limits, (1, *strides, 1))))
    return seen


def weigh(seen: list[Array], kernel: Array) -> Array:
    """The sum of the taps, each times its row of the kernel."""
    rows = widen(kernel).reshape(-1, kernel.shape[-1])
    total = jnp.zeros(seen[0].shape, rows.dtype)
    for tap, row in zip(seen, rows, strict=True):
        total = total + tap * jnp.broadcast_to(row, tap.shape)
    return total


def correlate(seen: list[Array], dy: Array) -> Array:
    """The sum over all positions of each tap times dy, [taps, out], in one pass over memory for all taps."""
    products = [tap * widen(dy) for tap in seen]
    zeros = [jnp.zeros((), product.dtype) for product in products]
    sums = lax.reduce(products, zeros, lambda a, b: [p + q for p, q in zip(a, b, strict=True)], range(dy.ndim - 1))
    return jnp.stack(sums)


def depthwise_conv(
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Convolve each channel of x [..., spatial..., channels] by itself, to [..., spatial..., channels * multiplier].

    Outputs c * multiplier to (c + 1) * multiplier - 1 belong to channel c. It is conv in as many groups as channels;
    the other arguments are conv's. Parameters: kernel [spatial..., 1, channels * multiplier], bias [channels *
    multiplier].
    """
    shape = geometry("depthwise_conv", kernel_size, strides, padding, dilation)
    check_count("depthwise_conv", "multiplier", multiplier)

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
