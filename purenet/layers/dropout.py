"""dropout: in training each element is dropped with probability `rate`, the others divided by 1 - rate.

    mask ~ Bernoulli(1 - rate)
    y  = mask x / (1 - rate)
    dx = mask dy / (1 - rate)

Kept: the key alone. The backward draws the same mask again. `predict` is the identity.
Srivastava et al., *Dropout* (2014), in the inverted form.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..annotations import Array, Float
from ..errors import LayerTypeError, at
from ..layer import Key, Layer, Params, Residuals, State, check_floating, describe, no_params

Floats = Float[Array, "..."]


def dropout_forward(x: Floats, key: Array, rate: float) -> Floats:
    # The dtype of the probability decides how bits become a mask: float32 draws the same mask with and without x64.
    mask = jax.random.bernoulli(key, jnp.float32(1 - rate), x.shape)
    return jnp.where(mask, x / (1 - rate), 0)


def dropout_backward(key: Array, dy: Floats, rate: float) -> Floats:
    # y = mask * x / (1 - rate), linear in x: dx is dropout of dy with the same mask, drawn again on purpose
    return dropout_forward(dy, jax.random.clone(key), rate)


def dropout(rate: float) -> Layer:
    """Drop each element with probability `rate` in [0, 1) while training; x [...] of any shape, y the same.

    `forward` needs a key unless the rate is 0. Raises if the rate is outside [0, 1) or the key is missing.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: expected a rate in [0, 1), the part that is dropped, got {rate!r}")

    def forward(params: Params, state: State, x: Floats, key: Key) -> tuple[Floats, State, Residuals]:
        with at("dropout"):
            check_floating(x)
            if rate == 0:
                return x, state, ()
            drawn = check_key(key)
            saved = jax.random.clone(drawn)
            return dropout_forward(x, drawn, rate), state, saved

    def backward(params: Params, x: None, y: None, key: Residuals, dy: Floats) -> tuple[Params, Floats]:
        with at("dropout"):
            return (), dy if rate == 0 else dropout_backward(key, dy, rate)

    def rebuild(params: Params, x: Floats, key: Residuals) -> Floats:
        with at("dropout"):
            return x if rate == 0 else dropout_forward(x, jax.random.clone(key), rate)

    return Layer(
        init=no_params,
        forward=forward,
        backward=backward,
        predict=lambda params, state, x: x,
        needs=(),
        rebuild=rebuild,
        name="dropout",
        keeps=("key",) if rate else (),
    )


def check_key(key: Key) -> Array:
    if key is None:
        raise LayerTypeError("expected a key, got None: pass jax.random.key(...) to forward, or call predict")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise LayerTypeError(f"expected a typed key from jax.random.key, got {describe(key)}")
    return key
