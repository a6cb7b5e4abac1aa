"""weight_standardize: a layer whose kernel is centred and scaled over all axes but the last, an output feature each.

    W  = (V - mean) rstd,  mean = E[V],  rstd = 1 / sqrt(E[(V - mean)^2] + eps),  V [..., in, out],  E over [..., in]
    dV = rstd (dW - E[dW] - W E[dW W])

Kept: the two statistics [out]. At least float32 inside.
Qiao et al., *Micro-Batch Training with Batch-Channel Normalization and Weight Standardization* (2019).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, NonNegativeFloat
from ..constructor import constructor
from ..layer import Layer
from ..precision import widen
from .reparametrised import Reparametrisation, reparametrised

Kernel = Float[Array, "... out_features"]
Statistics = tuple[Float[Array, "... out_features"], Float[Array, "... out_features"]]


def weight_standardize_forward(v: Kernel, eps: NonNegativeFloat = 1e-10) -> tuple[Kernel, Statistics]:
    wide, axes = widen(v), tuple(range(v.ndim - 1))
    mean = jnp.mean(wide, axes, keepdims=True)  # [1..., out]
    variance = jnp.mean(jnp.square(wide - mean), axes, keepdims=True)  # [1..., out]
    statistics = mean, lax.rsqrt(variance + eps)
    return weight_standardize_recompute(v, statistics), statistics


def weight_standardize_recompute(v: Kernel, statistics: Statistics) -> Kernel:
    mean, rstd = statistics
    return ((v.astype(mean.dtype) - mean) * rstd).astype(v.dtype)  # [..., in, out]


def weight_standardize_backward(v: Kernel, statistics: Statistics, dkernel: Kernel) -> Kernel:
    mean, rstd = statistics
    axes = tuple(range(v.ndim - 1))
    kernel, dkernel = (v.astype(mean.dtype) - mean) * rstd, dkernel.astype(mean.dtype)  # [..., in, out]
    # kernel = (v - mean) * rstd, where mean and rstd depend on v too
    dmean = jnp.mean(dkernel, axes, keepdims=True)  # [1..., out]
    drstd = jnp.mean(dkernel * kernel, axes, keepdims=True)  # [1..., out]
    dv = rstd * (dkernel - dmean - kernel * drstd)  # [..., in, out]
    return dv.astype(v.dtype)


@constructor
def weight_standardize(layer: Layer, *, eps: NonNegativeFloat = 1e-10) -> Layer:
    """`layer`, any with a kernel [..., in, out] such as dense or conv, run with the kernel standardised.

    Parameters: the layer's own; gradients are those of the kernel as it is stored. eps, at least 0, is added to the
    variance inside the root; it is small, since the variance of a kernel is about 1 / in. Raises at a layer without
    a kernel.
    """

    def forward(own: dict[str, Array], state: tuple) -> tuple[Kernel, tuple, Statistics]:
        kernel, statistics = weight_standardize_forward(own["kernel"], eps)
        return kernel, state, statistics

    how = Reparametrisation(
        name="weight_standardize",
        init=lambda key, kernel: ({"kernel": kernel}, ()),
        forward=forward,
        recompute=lambda own, statistics: weight_standardize_recompute(own["kernel"], statistics),
        backward=lambda own, statistics, dkernel: {
            "kernel": weight_standardize_backward(own["kernel"], statistics, dkernel)
        },
        predict=lambda own, state: forward(own, state)[0],
        keeps=("mean", "rstd"),
    )
    return reparametrised(layer, how, lambda parts: weight_standardize(*parts, eps=eps))
