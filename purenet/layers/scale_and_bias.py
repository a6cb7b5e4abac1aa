"""Scale and bias: what a normalising layer ends with, in whose dtype the parameters come and the sums are taken.

    y = scale xhat + bias
    dscale = sum dy xhat,  dbias = sum dy,  both over the leading axes,  dxhat = scale dy

Either parameter, or both, may be missing.
"""

from __future__ import annotations

import jax.numpy as jnp

from ..annotations import Array, Float
from ..errors import LayerValueError
from ..layer import Params, Shaped
from ..validation import describe
from .checks import check_names

Floats = Float[Array, "..."]


def scale_and_bias_forward(params: dict[str, Array], xhat: Floats) -> Floats:
    y = xhat
    if "scale" in params:
        y = y * jnp.broadcast_to(params["scale"].astype(y.dtype), y.shape)
    if "bias" in params:
        y = y + jnp.broadcast_to(params["bias"].astype(y.dtype), y.shape)
    return y


def scale_and_bias_backward(params: dict[str, Array], xhat: Floats, dy: Floats) -> tuple[dict[str, Array], Floats]:
    """(dparams, dxhat), dxhat in xhat's dtype."""
    dxhat = dy = dy.astype(xhat.dtype)
    dparams = {}
    # y = scale * xhat + bias
    if "bias" in params:
        leading = tuple(range(dy.ndim - params["bias"].ndim))
        dparams["bias"] = jnp.sum(dy, leading).astype(params["bias"].dtype)  # [features]
    if "scale" in params:
        leading = tuple(range(dy.ndim - params["scale"].ndim))
        dparams["scale"] = jnp.sum(dy * xhat, leading).astype(params["scale"].dtype)  # [features]
        dxhat = dy * jnp.broadcast_to(params["scale"].astype(dy.dtype), dy.shape)
    return dparams, dxhat


def names_of(use_scale: bool, use_bias: bool) -> tuple[str, ...]:
    return ("scale",) * use_scale + ("bias",) * use_bias


def init_scale_and_bias(names: tuple[str, ...], x: Shaped, axes: int = 1) -> Params:
    """Scales of ones and biases of zeros over the last `axes` axes of x."""
    initial = {"scale": jnp.ones, "bias": jnp.zeros}
    return {name: initial[name](x.shape[x.ndim - axes :], x.dtype) for name in names}


def check_scale_and_bias(params: Params, names: tuple[str, ...], x: Shaped, axes: int = 1) -> None:
    check_names(params, names)
    for name, value in params.items():
        if value.shape != x.shape[x.ndim - axes :]:
            features = ", ".join(map(str, value.shape))
            raise LayerValueError(f"expected x [..., {features}] for {name} {list(value.shape)}, got {describe(x)}")
