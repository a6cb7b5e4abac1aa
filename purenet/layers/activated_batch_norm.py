"""activated_batch_norm: batch norm and a leaky relu in one, whose backward reads the output alone.

    z = scale xhat + bias,  xhat = (x - mean) rstd                     as in batch_norm
    y = z where z >= 0, else slope z
    dz   = dy where y >= 0, else slope dy
    xhat = (z - bias) / scale,  z = y where y >= 0, else y / slope     and from there on as in batch_norm

Kept: y, which the convolution after it keeps anyway as its input, and the variance [channels]. Both steps forward can
be undone, so neither x nor z nor a mask is kept. But y is rounded: xhat comes back with an error of up to
u (|xhat| + |bias / scale|), u the distance from 1 to the next number in y's dtype. Where |scale| < u |bias|, y is
therefore computed with a scale as large as that, which is no more than y's own rounding: see `legible_scale`.
Rota Bulo, Porzi & Kontschieder, *In-Place Activated BatchNorm* (2018), who add a constant to every |scale|.
"""

from __future__ import annotations

from collections.abc import Hashable

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, NonNegativeFloat
from ..constructor import constructor
from ..layer import Layer, Params
from ..precision import widen
from .batch_norm import Batch, Statistics, batch_statistics, normalise, normalised_backward, with_running_statistics
from .scale_and_bias import names_of, scale_and_bias_forward

Channels = Float[Array, " channels"]


def activated_batch_norm_forward(
    params: dict[str, Array], x: Batch, negative_slope: float = 0.01, eps: float = 1e-5, axis_name: Hashable = None
) -> tuple[Batch, Statistics]:
    statistics = batch_statistics(x, axis_name)
    return activated_batch_norm_frozen(params, x, statistics, negative_slope, eps), statistics


def activated_batch_norm_frozen(
    params: dict[str, Array], x: Batch, statistics: Statistics, negative_slope: float = 0.01, eps: float = 1e-5
) -> Batch:
    xhat, _ = normalise(x, statistics, eps)
    z = scale_and_bias_forward({**params, "scale": legible_scale(params, x)}, xhat)  # [..., channels]
    return jnp.where(z >= 0, z, negative_slope * z).astype(x.dtype)


def activated_batch_norm_backward(
    params: dict[str, Array],
    y: Batch,
    variance: Channels,
    dy: Batch,
    negative_slope: float = 0.01,
    eps: float = 1e-5,
    axis_name: Hashable = None,
) -> tuple[dict[str, Array], Batch]:
    wide, negative = widen(y), jnp.signbit(y)  # of -0.0 too, to which a small z is rounded
    dy = dy.astype(wide.dtype)
    # y = z or negative_slope * z, which has the sign of z
    z = jnp.where(negative, wide / negative_slope, wide)
    dz = jnp.where(negative, negative_slope * dy, dy)
    # z = scale * xhat + bias
    if "bias" in params:
        z = z - jnp.broadcast_to(params["bias"].astype(z.dtype), z.shape)
    xhat = z / jnp.broadcast_to(legible_scale(params, y), z.shape)  # [..., channels]
    rstd = lax.rsqrt(variance.astype(z.dtype) + eps)  # [channels]
    dparams, dx = normalised_backward(params, xhat, rstd, dz, axis_name)
    return dparams, dx.astype(y.dtype)


def legible_scale(params: dict[str, Array], y: Batch) -> Channels:
    """The scale, but as large as it takes for the rounded y to show xhat. Its derivative is that of the scale.

    Beside the bias y has steps of u |bias|, so with |scale| >= u |bias| a step of xhat is at most 1. Beside a bias of
    zero any xhat is shown, unless y leaves the range of the dtype.
    """
    limits = jnp.finfo(y.dtype)
    scale = widen(params["scale"]) if "scale" in params else jnp.ones(y.shape[-1:], widen(y).dtype)
    bias = widen(params["bias"]) if "bias" in params else jnp.zeros_like(scale)
    within_range = min(float(limits.tiny) / float(limits.eps), 2.0**-14)  # float16 has no smaller normal number
    least = jnp.maximum(float(limits.eps) * jnp.abs(bias), within_range)
    rounded = jnp.where(scale < 0, -least, least)
    return jnp.where(jnp.abs(scale) < least, scale + lax.stop_gradient(rounded - scale), scale)


@constructor
def activated_batch_norm(
    *,
    negative_slope: float = 0.01,
    momentum: float = 0.9,
    eps: NonNegativeFloat = 1e-5,
    use_scale: bool = True,
    use_bias: bool = True,
    unbiased: bool = False,
    axis_name: Hashable = None,
) -> Layer:
    """`batch_norm` and `leaky_relu` of [..., channels] that keep one array, the output, in place of both inputs.

    `repeat(serial(conv(64, (3, 3)), activated_batch_norm()), 8)` keeps one array a block and runs nothing twice.
    Values, parameters, state and options are those of `batch_norm(...)` followed by `leaky_relu(negative_slope)`;
    negative_slope is from 0.001 to 1, since the backward undoes it (relu, 0, cannot be undone).

    xhat comes back from the rounded y, so the gradient of a channel's scale has an error of about |bias / scale|
    roundings: with |scale| a thousandth of |bias| 1e-4 in float32, 2e-13 in float64. It is never worse than with a
    scale of one rounding of the bias (2^-23, 2^-52; 2^-7 in bfloat16), where it is as noisy as xhat with its last
    digit before the point; dx has scale times this error. At scale = bias = 0, where all values stand on the kink,
    it is the gradient of a scale just above 0.
    """
    if not 0.001 <= negative_slope <= 1:
        raise ValueError(
            "activated_batch_norm: expected a negative_slope from 0.001 to 1, which can be undone, "
            f"got {negative_slope!r}"
        )

    def backward(params: Params, x: None, y: Batch, residuals: tuple[Channels], dy: Batch) -> tuple[Params, Batch]:
        return activated_batch_norm_backward(params, y, *residuals, dy, negative_slope, eps, axis_name)

    return with_running_statistics(
        "activated_batch_norm",
        lambda params, x: activated_batch_norm_forward(params, x, negative_slope, eps, axis_name),
        lambda params, x, statistics: activated_batch_norm_frozen(params, x, statistics, negative_slope, eps),
        backward,
        needs=("y",),
        keeps=("variance",),
        names=names_of(use_scale, use_bias),
        momentum=momentum,
        eps=eps,
        unbiased=unbiased,
        axis_name=axis_name,
    )
