"""gaussian_noise, gaussian_dropout: in training, noise is added to x or multiplies it.

    gaussian_noise    y = x + stddev n                      dx = dy
    gaussian_dropout  y = x (1 + sqrt(rate / (1 - rate)) n) dx = dy (1 + sqrt(rate / (1 - rate)) n)

with n ~ N(0, 1) for each element. The second has the mean and the variance of dropout with the same rate.
Kept: the key, from which n is drawn again. `predict` is the identity.
Srivastava et al., *Dropout* (2014), section 10; Bishop, *Training with Noise* (1995).
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, NonNegativeFloat
from ..constructor import constructor
from ..layer import Layer
from ..precision import wide_dtype
from .dropout import check_rate, random_layer

Floats = Float[Array, "..."]


def draw_normal(key: Array, x: Floats) -> Floats:
    # Bits become a number in float32, so that the noise is the same with and without x64 and in every dtype of x up to
    # rounding. Both steps before erf_inv are exact; jax.random.normal in float32 would round otherwise under jit.
    uniform = jax.random.uniform(key, x.shape, jnp.float32)  # k / 2^23, from 0 to below 1
    centred = 2 * uniform.astype(wide_dtype(x.dtype)) - (1 - 2.0**-23)  # above -1, below 1
    return (math.sqrt(2) * lax.erf_inv(centred)).astype(x.dtype)


def gaussian_noise_forward(x: Floats, key: Array, stddev: float) -> Floats:
    return x + stddev * draw_normal(key, x)


def gaussian_noise_backward(dy: Floats) -> Floats:
    return dy


@constructor
def gaussian_noise(stddev: NonNegativeFloat) -> Layer:
    """y = x + stddev n while training, n ~ N(0, 1) for each element; x [...] of any shape, y the same.

    `forward` needs a key unless stddev is 0. Raises if stddev is below 0 or the key is missing.
    """
    forward = functools.partial(gaussian_noise_forward, stddev=stddev)
    return random_layer("gaussian_noise", forward, lambda key, dy: gaussian_noise_backward(dy), draws=stddev > 0)


def gaussian_dropout_forward(x: Floats, key: Array, rate: float) -> Floats:
    return x * (1 + math.sqrt(rate / (1 - rate)) * draw_normal(key, x))


def gaussian_dropout_backward(key: Array, dy: Floats, rate: float) -> Floats:
    # y = factor * x, linear in x: the same factor, drawn again on purpose
    return gaussian_dropout_forward(dy, jax.random.clone(key), rate)


@constructor
def gaussian_dropout(rate: float) -> Layer:
    """y = x (1 + sqrt(rate / (1 - rate)) n) while training, n ~ N(0, 1) for each element; x [...] of any shape.

    `forward` needs a key unless the rate is 0. Raises if the rate is outside [0, 1) or the key is missing.
    """
    check_rate("gaussian_dropout", rate)
    forward, backward = (functools.partial(f, rate=rate) for f in (gaussian_dropout_forward, gaussian_dropout_backward))
    return random_layer("gaussian_dropout", forward, backward, draws=rate > 0)
