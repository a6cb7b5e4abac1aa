"""layer_norm: each example centred and scaled over its last axis, then an affine map.

    xhat = (x - mean) rstd,  mean = E[x],  rstd = 1 / sqrt(E[(x - mean)^2] + eps),  E over the last axis
    y    = scale xhat + bias
    dscale = sum dy xhat,  dbias = sum dy,  both over the leading axes
    dx     = rstd dxhat - rstd E[dxhat] - (x - mean) rstd^3 E[dxhat (x - mean)],  dxhat = scale dy

The second and third term of dx are the paths through mean and rstd. Kept: x and the two statistics, one number per
example each; y is recomputed from them. Statistics and sums are at least float32.
Ba, Kiros & Hinton, *Layer Normalization* (2016).
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

Statistics = tuple[Float[Array, "... 1"], Float[Array, "... 1"]]


def layer_norm_forward(
    params: dict[str, Array], x: Float[Array, "... features"], eps: float = 1e-5
) -> tuple[Float[Array, "... features"], Statistics]:
    wide = widen(x)
    mean = jnp.mean(wide, -1, keepdims=True)  # [..., 1]
    variance = jnp.mean(jnp.square(wide - mean), -1, keepdims=True)  # [..., 1]
    rstd = lax.rsqrt(variance + eps)  # [..., 1]
    return layer_norm_recompute(params, x, (mean, rstd)), (mean, rstd)


def layer_norm_recompute(
    params: dict[str, Array], x: Float[Array, "... features"], statistics: Statistics
) -> Float[Array, "... features"]:
    mean, rstd = statistics
    xhat = (x.astype(mean.dtype) - mean) * rstd  # [..., features]
    return scale_and_bias_forward(params, xhat).astype(x.dtype)


def layer_norm_backward(
    params: dict[str, Array], x: Float[Array, "... features"], statistics: Statistics, dy: Float[Array, "... features"]
) -> tuple[dict[str, Array], Float[Array, "... features"]]:
    mean, rstd = statistics
    centred = x.astype(mean.dtype) - mean  # [..., features]
    # y = scale * xhat + bias
    dparams, dxhat = scale_and_bias_backward(params, centred * rstd, dy)
    # xhat = (x - mean) * rstd, where mean and rstd depend on x too
    dmean = jnp.mean(dxhat, -1, keepdims=True)  # [..., 1]
    drstd = jnp.mean(dxhat * centred, -1, keepdims=True)  # [..., 1]
    dx = rstd * dxhat - rstd * dmean - centred * (drstd * rstd * rstd * rstd)  # [..., features]
    return dparams, dx.astype(x.dtype)


@constructor
def layer_norm(*, eps: NonNegativeFloat = 1e-5, use_scale: bool = True, use_bias: bool = True) -> Layer:
    """Normalise [..., features] over the last axis. Parameters: scale [features] of ones, bias [features] of zeros.

    eps, at least 0, is added to the variance inside the root. Raises unless x is floating-point with last axis
    scale.shape[0].
    """
    names = names_of(use_scale, use_bias)

    def init(key: Array, x: Shaped) -> Params:
        check_features(x)
        return init_scale_and_bias(names, x)

    def forward(params: Params, x: Float[Array, "... features"]) -> tuple[Float[Array, "... features"], Statistics]:
        check_features(x)
        check_scale_and_bias(params, names, x)
        return layer_norm_forward(params, x, eps)

    return stateless(
        forward,
        layer_norm_backward,
        name="layer_norm",
        init=init,
        keeps=("mean", "rstd"),
        recompute=layer_norm_recompute,
    )
