"""rms_norm: each example scaled over its last axis by its root mean square, then by a learned scale; not centred.

    xhat = x rstd,  rstd = 1 / sqrt(E[x^2] + eps),  E over the last axis
    y    = scale xhat
    dscale = sum dy xhat over the leading axes
    dx     = rstd dxhat - x rstd^3 E[dxhat x],  dxhat = scale dy

The second term of dx is the path through rstd. Kept: x and rstd, one number per example; y is recomputed from them.
Statistics and sums are at least float32. Zhang & Sennrich, *Root Mean Square Layer Normalization* (2019).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, NonNegativeFloat
from ..constructor import constructor
from ..layer import Layer, Params, Shaped
from ..precision import widen
from ..stateless import stateless
from .checks import check_features
from .scale_and_bias import (
    check_scale_and_bias,
    init_scale_and_bias,
    names_of,
    scale_and_bias_backward,
    scale_and_bias_forward,
)


def rms_norm_forward(
    params: dict[str, Array], x: Float[Array, "... features"], eps: float = 1e-6
) -> tuple[Float[Array, "... features"], Float[Array, "... 1"]]:
    mean_square = jnp.mean(jnp.square(widen(x)), -1, keepdims=True)  # [..., 1]
    rstd = lax.rsqrt(mean_square + eps)  # [..., 1]
    return rms_norm_recompute(params, x, rstd), rstd


def rms_norm_recompute(
    params: dict[str, Array], x: Float[Array, "... features"], rstd: Float[Array, "... 1"]
) -> Float[Array, "... features"]:
    xhat = x.astype(rstd.dtype) * rstd  # [..., features]
    return scale_and_bias_forward(params, xhat).astype(x.dtype)


def rms_norm_backward(
    params: dict[str, Array],
    x: Float[Array, "... features"],
    rstd: Float[Array, "... 1"],
    dy: Float[Array, "... features"],
) -> tuple[dict[str, Array], Float[Array, "... features"]]:
    wide = x.astype(rstd.dtype)
    # y = scale * xhat
    dparams, dxhat = scale_and_bias_backward(params, wide * rstd, dy)
    # xhat = x * rstd, where rstd = (E[x^2] + eps)^(-1/2) depends on x too
    drstd = jnp.mean(dxhat * wide, -1, keepdims=True)  # [..., 1]
    dx = rstd * dxhat - wide * (drstd * rstd * rstd * rstd)  # [..., features]
    return dparams, dx.astype(x.dtype)


@constructor
def rms_norm(*, eps: NonNegativeFloat = 1e-6, use_scale: bool = True) -> Layer:
    """Divide [..., features] by its root mean square over the last axis. Parameter: scale [features] of ones.

    eps, at least 0, is added to the mean square inside the root. Raises unless x is floating-point with last axis
    scale.shape[0].
    """
    names = names_of(use_scale, use_bias=False)

    def init(key: Array, x: Shaped) -> Params:
        check_features(x)
        return init_scale_and_bias(names, x)

    def forward(
        params: Params, x: Float[Array, "... features"]
    ) -> tuple[Float[Array, "... features"], Float[Array, "... 1"]]:
        check_features(x)
        check_scale_and_bias(params, names, x)
        return rms_norm_forward(params, x, eps)

    return stateless(
        forward, rms_norm_backward, name="rms_norm", init=init, keeps=("rstd",), recompute=rms_norm_recompute
    )
