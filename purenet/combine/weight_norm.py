"""weight_norm: a layer whose kernel has its length and its direction as parameters of their own.

    W  = g V / |V|,  V [..., in, out],  g [out],  the norm over [..., in], an output feature each
    dg = sum dW V / |V|,  dV = g / |V| (dW - V / |V| dg)

Kept: the squared norms [out]. At least float32 inside; a norm below eps counts as eps, a constant.
Salimans & Kingma, *Weight Normalization* (2016), equation 3.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float
from ..constructor import constructor
from ..layer import Key, Layer
from ..precision import widen
from .reparametrised import Reparametrisation, reparametrised

Kernel = Float[Array, "... out_features"]
Features = Float[Array, " out_features"]

EPS = 1e-12


def weight_norm_forward(params: dict[str, Array]) -> tuple[Kernel, Features]:
    v = params["kernel"]
    squares = jnp.sum(jnp.square(widen(v)), tuple(range(v.ndim - 1)))  # [out]
    return weight_norm_recompute(params, squares), squares


def weight_norm_recompute(params: dict[str, Array], squares: Features) -> Kernel:
    v, scale = params["kernel"], params["scale"].astype(squares.dtype)
    gain = scale * inverse_norm(squares)  # [out]
    return (v.astype(gain.dtype) * jnp.broadcast_to(gain, v.shape)).astype(v.dtype)  # [..., in, out]


def weight_norm_backward(params: dict[str, Array], squares: Features, dkernel: Kernel) -> dict[str, Array]:
    v, scale = params["kernel"], params["scale"].astype(squares.dtype)
    inverse, dkernel = inverse_norm(squares), dkernel.astype(squares.dtype)  # [out], [..., in, out]
    direction = v.astype(inverse.dtype) * jnp.broadcast_to(inverse, v.shape)  # [..., in, out]
    # kernel = scale * direction
    dscale = jnp.sum(dkernel * direction, tuple(range(v.ndim - 1)))  # [out]
    # direction = v * inverse, where inverse depends on v too unless it is clamped
    along = jnp.where(squares > EPS**2, dscale, 0)  # [out]
    gain, along = (jnp.broadcast_to(value, v.shape) for value in (scale * inverse, along))
    dv = gain * (dkernel - direction * along)  # [..., in, out]
    return {"kernel": dv.astype(v.dtype), "scale": dscale.astype(params["scale"].dtype)}


def inverse_norm(squares: Features) -> Features:
    return lax.rsqrt(jnp.maximum(squares, EPS**2))


@constructor
def weight_norm(layer: Layer) -> Layer:
    """`layer`, any with a kernel [..., in, out] such as dense or conv, run with the kernel scale * kernel / |kernel|.

    Parameters: the layer's own and scale [out], at first the norms of the kernel, so that the layer starts as it is.
    Raises at a layer without a kernel, or with a parameter "scale" already.
    """

    def init(key: Key, kernel: Kernel) -> tuple[dict[str, Array], tuple]:
        norms = jnp.sqrt(jnp.sum(jnp.square(widen(kernel)), tuple(range(kernel.ndim - 1))))
        return {"kernel": kernel, "scale": norms.astype(kernel.dtype)}, ()

    def forward(own: dict[str, Array], state: tuple) -> tuple[Kernel, tuple, Features]:
        kernel, squares = weight_norm_forward(own)
        return kernel, state, squares

    how = Reparametrisation(
        name="weight_norm",
        init=init,
        forward=forward,
        recompute=weight_norm_recompute,
        backward=weight_norm_backward,
        predict=lambda own, state: forward(own, state)[0],
        keeps=("squared norm",),
        own=("kernel", "scale"),
    )
    return reparametrised(layer, how, lambda parts: weight_norm(*parts))
