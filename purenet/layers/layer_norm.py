"""layer_norm: each example centred and scaled over its last axis, then an affine map.

    xhat = (x - mean) rstd,  mean = E[x],  rstd = 1 / sqrt(E[(x - mean)^2] + eps),  E over the last axis
    y    = scale xhat + bias
    dscale = sum dy xhat,  dbias = sum dy,  both over the leading axes
    dx     = rstd dxhat - rstd E[dxhat] - (x - mean) rstd^3 E[dxhat (x - mean)],  dxhat = scale dy

The second and third term of dx are the paths through mean and rstd. Kept: x and the two statistics, one number each
an example; y is recomputed from them. Statistics and sums are at least float32.
Ba, Kiros & Hinton, *Layer Normalization* (2016).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float
from ..errors import LayerValueError
from ..layer import Layer, Params, Shaped
from ..precision import widen
from ..stateless import stateless
from ..validation import check_floating, describe

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
    y = (x.astype(mean.dtype) - mean) * rstd  # [..., features]
    if "scale" in params:
        y = y * jnp.broadcast_to(params["scale"].astype(y.dtype), y.shape)
    if "bias" in params:
        y = y + jnp.broadcast_to(params["bias"].astype(y.dtype), y.shape)
    return y.astype(x.dtype)


def layer_norm_backward(
    params: dict[str, Array], x: Float[Array, "... features"], statistics: Statistics, dy: Float[Array, "... features"]
) -> tuple[dict[str, Array], Float[Array, "... features"]]:
    mean, rstd = statistics
    examples = tuple(range(dy.ndim - 1))
    dxhat = dy = dy.astype(mean.dtype)
    centred = x.astype(mean.dtype) - mean  # [..., features]
    xhat = centred * rstd  # [..., features]
    dparams = {}
    # y = scale * xhat + bias
    if "bias" in params:
        dparams["bias"] = jnp.sum(dy, examples).astype(params["bias"].dtype)  # [features]
    if "scale" in params:
        dparams["scale"] = jnp.sum(dy * xhat, examples).astype(params["scale"].dtype)  # [features]
        dxhat = dy * jnp.broadcast_to(params["scale"].astype(dy.dtype), dy.shape)
    # xhat = (x - mean) * rstd, where mean and rstd depend on x too
    dmean = jnp.mean(dxhat, -1, keepdims=True)  # [..., 1]
    drstd = jnp.mean(dxhat * centred, -1, keepdims=True)  # [..., 1]
    dx = rstd * dxhat - rstd * dmean - centred * (drstd * rstd * rstd * rstd)  # [..., features]
    return dparams, dx.astype(x.dtype)


def layer_norm(*, eps: float = 1e-5, use_scale: bool = True, use_bias: bool = True) -> Layer:
    """Normalise [..., features] over the last axis. Parameters: scale [features] of ones, bias [features] of zeros.

    eps, at least 0, is added to the variance inside the root. Raises if x is no floating array with a last axis of
    the parameters' length.
    """
    if not eps >= 0:
        raise ValueError(f"layer_norm: expected eps of at least 0, got {eps!r}")
    names = {name for name, used in (("scale", use_scale), ("bias", use_bias)) if used}

    def init(key: Array, x: Shaped) -> Params:
        check_input(x)
        initial = {"scale": jnp.ones, "bias": jnp.zeros}
        return {name: make(x.shape[-1:], x.dtype) for name, make in initial.items() if name in names}

    def forward(params: Params, x: Float[Array, "... features"]) -> tuple[Float[Array, "... features"], Statistics]:
        check_input(x)
        if not isinstance(params, dict) or set(params) != names:
            raise LayerValueError(f"expected parameters {sorted(names)}, got {describe(params)}")
        for name, value in params.items():
            if value.shape != x.shape[-1:]:
                raise LayerValueError(
                    f"expected x [..., {value.shape[0]}] for {name} {list(value.shape)}, got {describe(x)}"
                )
        return layer_norm_forward(params, x, eps)

    return stateless(
        forward,
        layer_norm_backward,
        name="layer_norm",
        init=init,
        keeps=("mean", "rstd"),
        recompute=layer_norm_recompute,
    )


def check_input(x: Shaped) -> None:
    check_floating(x)
    if x.ndim == 0:
        raise LayerValueError(f"expected x [..., features], got {describe(x)}")
