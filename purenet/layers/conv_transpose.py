"""conv_transpose: the transpose of a convolution as a linear map, which spreads each element of x over a window of y.

    y[i]  = sum_(t, j: s t + d j - p = i) x[t] W[j]^T + b      x [..., spatial..., in], y [..., spatial..., out]
    dx[t] = sum_j dy[s t + d j - p] W[j]
    dW[j] = sum_t dy[s t + d j - p]^T x[t]                     W [spatial..., out / groups, in]
    db    = sum_i dy[i]                                        b [out]

with stride s, dilation d and p elements of y cut off before it. This is conv's backward run forward: y is conv's dx,
so dx is conv itself, and dW is conv's dW with x and dy exchanged. W is the kernel of that convolution
(from y to x); JAX and Flax keep it reversed, [spatial..., in / groups, out], unless `transpose_kernel`. Kept: x.
Dumoulin & Visin, *A guide to convolution arithmetic for deep learning* (2016), chapter 4.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, Float, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Shaped
from ..validation import describe
from .checks import spatial_sizes
from .conv import check_features, check_groups, convolve, input_gradient, kernel_gradient, turned
from .conv_geometry import (
    Geometry,
    Padding,
    PerAxis,
    Sizes,
    Window,
    as_batch,
    geometry,
    kernel_layer,
    per_axis,
    split_pads,
)


def conv_transpose_forward(
    params: dict[str, Array], x: Float[Array, "... in_features"], sizes: Sizes, window: Window, transpose_kernel: bool
) -> Float[Array, "... out_features"]:
    axes = len(sizes)
    kernel = params["kernel"] if transpose_kernel else turned(params["kernel"], window.groups)
    y = input_gradient(kernel, as_batch(x, axes), sizes, window)  # [examples, *sizes, out]
    if "bias" in params:
        y = y + jnp.broadcast_to(params["bias"], y.shape)
    return y.reshape(*x.shape[: -axes - 1], *y.shape[1:])


def conv_transpose_backward(
    params: dict[str, Array],
    x: Float[Array, "... in_features"],
    dy: Float[Array, "... out_features"],
    window: Window,
    transpose_kernel: bool,
) -> tuple[dict[str, Array], Float[Array, "... in_features"]]:
    axes = len(window.strides)
    kernel = params["kernel"] if transpose_kernel else turned(params["kernel"], window.groups)
    images, dys = as_batch(x, axes), as_batch(dy, axes)
    # y = input_gradient(kernel, x) + bias
    dkernel = kernel_gradient(dys, images, kernel.shape[:axes], window)  # [spatial..., out / groups, in]
    dparams = {"kernel": dkernel if transpose_kernel else turned(dkernel, window.groups)}
    if "bias" in params:
        dparams["bias"] = jnp.sum(dy, range(dy.ndim - 1))  # [out]
    dx = convolve(dys, kernel, window)
    return dparams, dx.reshape(x.shape)


@constructor
def conv_transpose(
    features: PositiveInt,
    kernel_size: PerAxis,
    *,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    groups: PositiveInt = 1,
    output_padding: PerAxis = 0,
    output_shape: PerAxis | None = None,
    transpose_kernel: bool = False,
    use_consistent_padding: bool = True,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Transposed convolution of x [..., spatial..., in] to [..., spatial..., features]. Along each axis

        output = (input - 1) stride + dilation (kernel - 1) + 1 + output_padding - before - after

    kernel_size, strides, dilation, groups: as of conv. padding: an int, or for each axis an int or a pair (before,
    after), is cut off the output, as in PyTorch and ONNX; output_padding is added after it. "SAME": cut to
    output = input * stride, half on each side, the odd one after ("SAME_LOWER": before), zeros after where there is too
    little. "VALID": nothing is cut, and the output has at least input * stride elements: max(stride - dilation (kernel
    - 1) - 1, 0) zeros come after it. Both are `jax.lax.conv_transpose`'s; ONNX's SAME_UPPER is "SAME", its VALID is 0.
    output_shape: the lengths to cut to instead of input * stride; for ONNX without auto_pad, with "SAME_LOWER".

    Parameters: kernel [spatial..., in / groups, features], as JAX and Flax keep it; with `transpose_kernel`
    [spatial..., features / groups, in] and reversed, which is PyTorch's and ONNX's [in, features / groups,
    spatial...] with its axes moved; bias [features]. kernel_init sees the first of the two shapes either way.
    `use_consistent_padding=False`: numbers pad x, dilated by the stride, as in `jax.lax` and Flax by default.
    """
    name = "conv_transpose"
    shape = geometry(name, kernel_size, strides, padding, dilation)
    axes = len(shape.kernel_size)
    check_features(name, features, groups)
    extra = per_axis(name, "output_padding", output_padding, axes, least=0)
    wanted = None if output_shape is None else per_axis(name, "output_shape", output_shape, axes)
    if shape.padding == "CAUSAL":
        raise ValueError(f'{name}: expected padding "SAME", "SAME_LOWER", "VALID" or numbers, got "CAUSAL"')
    if wanted and shape.padding not in ("SAME", "SAME_LOWER"):
        raise ValueError(f'{name}: expected padding "SAME" or "SAME_LOWER" with output_shape, got {padding!r}')
    if not use_consistent_padding and not isinstance(shape.padding, str):
        reach = zip(shape.reach, shape.padding, strict=True)
        shape = shape._replace(padding=tuple((d - before, d - after) for d, (before, after) in reach))

    def resolve(x: Shaped) -> tuple[Sizes, Window]:
        return transposed_window(x, shape, groups, extra, wanted)

    def shapes(x: Shaped) -> dict[str, Sizes]:
        resolve(x)
        check_groups(x, groups)
        inputs, outputs = (features, x.shape[-1]) if transpose_kernel else (x.shape[-1], features)
        kernel = (*shape.kernel_size, inputs // groups, outputs)
        return {"kernel": kernel, "bias": (features,)} if use_bias else {"kernel": kernel}

    def turned_init(key: Array, sizes: Sizes, dtype: jnp.dtype) -> Array:
        *spatial, inputs, outputs = sizes
        return turned(kernel_init(key, (*spatial, outputs // groups, groups * inputs), dtype), groups)

    def forward(params: dict[str, Array], x: Array) -> Array:
        return conv_transpose_forward(params, x, *resolve(x), transpose_kernel)

    def backward(params: dict[str, Array], x: Array, dy: Array) -> tuple[dict[str, Array], Array]:
        return conv_transpose_backward(params, x, dy, resolve(x)[1], transpose_kernel)

    return kernel_layer(name, forward, backward, shapes, turned_init if transpose_kernel else kernel_init, bias_init)


def transposed_window(
    x: Shaped, geometry: Geometry, groups: int, output_padding: Sizes, output_shape: Sizes | None
) -> tuple[Sizes, Window]:
    """The lengths of y, and the window of the convolution from y to x, which this one transposes.

    What is cut off y is that convolution's padding; what is added to y after, a padding less than 0.
    """
    sizes, padding = spatial_sizes(x, len(geometry.kernel_size)), geometry.padding
    strides, reach = geometry.strides, geometry.reach
    full = tuple(
        s * (n - 1) + r + 1 + extra for n, s, r, extra in zip(sizes, strides, reach, output_padding, strict=True)
    )
    if padding == "VALID":
        pads = tuple((0, min(r + 1 - s, 0)) for s, r in zip(strides, reach, strict=True))
    elif isinstance(padding, str):
        wanted = output_shape or tuple(n * s for n, s in zip(sizes, strides, strict=True))
        totals = [length - want for length, want in zip(full, wanted, strict=True)]
        halves = [split_pads(max(total, 0), padding == "SAME_LOWER") for total in totals]
        pads = tuple((before, total - before) for (before, _), total in zip(halves, totals, strict=True))
    else:
        pads = padding
    y_sizes = tuple(length - sum(pad) for length, pad in zip(full, pads, strict=True))
    if min(y_sizes) < 1:
        raise LayerValueError(
            f"expected an output with elements, got lengths {list(y_sizes)} from {describe(x)}: cut less"
        )
    pads = tuple((before, after - extra) for (before, after), extra in zip(pads, output_padding, strict=True))
    return y_sizes, Window(strides, pads, geometry.dilation, groups)
