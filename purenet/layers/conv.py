"""conv: a kernel slides over one, two or three spatial axes; each output is the kernel applied to one window of x.

    y[t]  = sum_j x[s t + d j - p] W[j] + b                    x [..., spatial..., in], y [..., spatial..., out]
    dx[i] = sum_(t, j: s t + d j - p = i) dy[t] W[j]^T
    dW[j] = sum_t x[s t + d j - p]^T dy[t]                     W [spatial..., in / groups, out]
    db    = sum_t dy[t]                                        b [out]

along every spatial axis, with stride s, dilation d and p zeros before x. Both gradients are convolutions. dx: of dy
with s - 1 zeros between its elements, the kernel reversed, for s t = i + d (K - 1 - j) - (d (K - 1) - p) where
the kernel has length K. dW: of x with dy as the kernel, s and d in each other's place, the examples summed as channels
are in y. With groups an output sees the inputs of its own group alone. Kept: x.
Goodfellow, Bengio & Courville, *Deep Learning* (2016), sections 9.1 and 9.5.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, Float, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Shaped
from ..validation import describe
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


def conv_forward(
    params: dict[str, Array], x: Float[Array, "... in_features"], window: Window
) -> Float[Array, "... out_features"]:
    axes = len(window.strides)
    y = convolve(as_batch(x, axes), params["kernel"], window)  # [examples, spatial..., out]
    if "bias" in params:
        y = y + jnp.broadcast_to(params["bias"], y.shape)
    return y.reshape(*x.shape[: -axes - 1], *y.shape[1:])


def conv_backward(
    params: dict[str, Array], x: Float[Array, "... in_features"], dy: Float[Array, "... out_features"], window: Window
) -> tuple[dict[str, Array], Float[Array, "... in_features"]]:
    axes, kernel = len(window.strides), params["kernel"]
    images, dys = as_batch(x, axes), as_batch(dy, axes)
    # y = convolve(x, kernel) + bias
    dparams = {"kernel": kernel_gradient(images, dys, kernel.shape[:axes], window)}
    if "bias" in params:
        dparams["bias"] = jnp.sum(dy, range(dy.ndim - 1))  # [out]
    dx = input_gradient(kernel, dys, images.shape[1:-1], window)
    return dparams, dx.reshape(x.shape)


# The convolution, linear in x and in the kernel, and its two adjoints; conv_transpose is made of the same three.


def convolve(x: Array, kernel: Array, window: Window) -> Array:
    """[examples, spatial..., in] and [spatial..., in / groups, out] to [examples, spatial..., out]."""
    strides, pads, dilation, groups = window
    space = "DHW"[-len(strides) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
    )


def input_gradient(kernel: Array, dy: Array, sizes: Sizes, window: Window) -> Array:
    """dy [examples, spatial..., out] to dx [examples, *sizes, in]."""
    strides, _, dilation, groups = window
    space = "DHW"[-len(strides) :]
    # dx[i] = sum_j (dilated dy)[i + d j - before] W[K - 1 - j]^T
    pads = input_pads(sizes, dy.shape[1:-1], kernel.shape[: len(sizes)], window)
    return lax.conv_general_dilated(
        dy,
        turned(kernel, groups),  # [spatial..., out / groups, in]
        (1,) * len(sizes),
        pads,
        lhs_dilation=strides,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
    )


def turned(kernel: Array, groups: int) -> Array:
    """The kernel reversed along its spatial axes, in and out exchanged within each group; twice is the kernel again."""
    *spatial, inputs, outputs = kernel.shape
    grouped = kernel.reshape(*spatial, inputs, groups, outputs // groups)
    exchanged = jnp.swapaxes(grouped, -1, -3).reshape(*spatial, outputs // groups, groups * inputs)
    return jnp.flip(exchanged, range(len(spatial)))


def kernel_gradient(x: Array, dy: Array, kernel_size: Sizes, window: Window) -> Array:
    """x [examples, spatial..., in], dy [examples, spatial..., out] to dW [*kernel_size, in / groups, out]."""
    strides, pads, dilation, groups = window
    space = "DHW"[-len(strides) :]
    if dy.size == 0:
        return jnp.zeros((*kernel_size, x.shape[-1] // groups, dy.shape[-1]), dy.dtype)
    # dW[j] = sum_t x[d j + s t - p]^T dy[t]: the examples are summed, as channels are in y
    sizes = zip(x.shape[1:], dy.shape[1:], kernel_size, strides, pads, dilation, strict=False)
    correlate = functools.partial(
        lax.conv_general_dilated,
        window_strides=dilation,
        padding=[(p, d * (k - 1) + s * (m - 1) + 1 - n - p) for n, m, k, s, (p, _), d in sizes],
        rhs_dilation=strides,
        dimension_numbers=(f"C{space}N", f"I{space}O", f"{space}NC"),
    )

    if groups == 1:
        return correlate(x, dy)

    def by_examples(x: Array, dy: Array) -> Array:
        return correlate(groups_of_examples(x, groups), dy, feature_group_count=groups)

    # XLA's CPU code for groups of the batch, which are x's channels here, multiplies every group by every other.
    by_channels = functools.partial(correlate, batch_group_count=groups)
    return lax.platform_dependent(x, dy, cpu=by_examples, default=by_channels)


def groups_of_examples(x: Array, groups: int) -> Array:
    """[examples, spatial..., in] to [groups * examples, spatial..., in / groups]."""
    grouped = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0)
    return grouped.reshape(-1, *grouped.shape[2:])


@constructor
def conv(
    features: PositiveInt,
    kernel_size: PerAxis,
    *,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    groups: PositiveInt = 1,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Convolve x [..., spatial..., in] to [..., spatial..., features], over as many axes as kernel_size has lengths.

    kernel_size: an int for one spatial axis, or a tuple of 1, 2 or 3. strides, dilation: an int, or one for each axis.
    padding: "SAME" (ONNX's SAME_UPPER), "SAME_LOWER", "VALID", "CAUSAL" (one axis: nothing sees what comes later), an
    int, or for each axis an int or a pair (before, after), negative to crop. groups: in and features are split into so
    many equal groups. Parameters: kernel [spatial..., in / groups, features], not reversed, and bias [features].
    Raises if the kernel is larger than the padded x or the groups do not divide the channels.
    """
    shape = geometry("conv", kernel_size, strides, padding, dilation)
    check_features("conv", features, groups)

    def shapes(x: Shaped) -> dict[str, Sizes]:
        conv_window(x, shape, groups)
        check_groups(x, groups)
        kernel = (*shape.kernel_size, x.shape[-1] // groups, features)
        return {"kernel": kernel, "bias": (features,)} if use_bias else {"kernel": kernel}

    def forward(params: dict[str, Array], x: Array) -> Array:
        return conv_forward(params, x, conv_window(x, shape, groups))

    def backward(params: dict[str, Array], x: Array, dy: Array) -> tuple[dict[str, Array], Array]:
        return conv_backward(params, x, dy, conv_window(x, shape, groups))

    return kernel_layer("conv", forward, backward, shapes, kernel_init, bias_init)


def check_features(name: str, features: int, groups: int) -> None:
    if features % groups:
        raise ValueError(f"{name}: expected groups that divide the {features} features, got {groups}")


def check_groups(x: Shaped, groups: int) -> None:
    if x.shape[-1] == 0 or x.shape[-1] % groups:
        raise LayerValueError(f"expected x [..., channels] with channels in {groups} equal groups, got {describe(x)}")
