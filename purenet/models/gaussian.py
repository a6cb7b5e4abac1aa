"""A normal distribution for each example: a sample of it, and how far it is from N(0, 1).

    x = (mean, log_variance), side by side [..., 2 latent]; s = exp(log_variance / 2)

    gaussian_sample   z = mean + s n,  n ~ N(0, 1)                              z [..., latent]
                      dmean = dz,  dlog_variance = dz s n / 2
    gaussian_kl       value = sum_latent (mean^2 + s^2 - 1 - log_variance) / 2   value [...]
                      dmean = mean dvalue,  dlog_variance = (s^2 - 1) dvalue / 2

The sample as a function of mean and variance, the noise apart, is what lets a gradient through (reparametrisation).
Kept: x and the key, from which n is drawn again. n is float32 in every dtype. Arithmetic is at least float32.
Kingma & Welling, *Auto-Encoding Variational Bayes* (2014), section 2.4 and appendix B.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Layer, Params, Residuals, Shaped, State
from ..layers.dropout import check_key
from ..losses.reduction import check_predictions, check_reduction, divisor_of, reduce_backward, reduce_forward
from ..precision import widen
from ..stateless import stateless
from ..validation import check_floating, describe

Moments = Float[Array, "... two_latent"]
Latent = Float[Array, "... latent"]


def mean_and_log_variance(x: Moments) -> tuple[Latent, Latent]:
    mean, log_variance = jnp.split(widen(x), 2, -1)
    return mean, log_variance


def draw_noise(key: Array, like: Latent) -> Latent:
    """The same numbers with and without x64 and in every dtype, up to rounding."""
    return jax.random.normal(key, like.shape, jnp.float32).astype(like.dtype)


def gaussian_sample_forward(x: Moments, key: Array) -> Latent:
    mean, log_variance = mean_and_log_variance(x)
    return (mean + jnp.exp(log_variance / 2) * draw_noise(key, mean)).astype(x.dtype)


def gaussian_sample_backward(x: Moments, key: Array, dz: Latent) -> Moments:
    _, log_variance = mean_and_log_variance(x)
    dz = dz.astype(log_variance.dtype)
    noise = draw_noise(jax.random.clone(key), dz)  # drawn again on purpose
    # z = mean + exp(log_variance / 2) * noise
    return jnp.concatenate([dz, dz * noise * jnp.exp(log_variance / 2) / 2], -1).astype(x.dtype)


@constructor
def gaussian_sample() -> Layer:
    """z = mean + exp(log_variance / 2) n in training, the mean in `predict`: [..., 2 latent] to [..., latent].

    x holds the means first, then the logarithms of the variances. `forward` needs a key.
    """

    def init(key: Key, x: Shaped) -> tuple[Params, State]:
        with layer_scope("gaussian_sample"):
            check_moments(x)
        return (), ()

    def forward(params: Params, state: State, x: Moments, key: Key) -> tuple[Latent, State, Residuals]:
        with layer_scope("gaussian_sample"):
            check_moments(x)
            drawn = check_key(key)
            saved = jax.random.clone(drawn)
            return gaussian_sample_forward(x, drawn), state, saved

    def backward(params: Params, x: Moments, y: None, key: Residuals, dy: Latent) -> tuple[Params, Moments]:
        with layer_scope("gaussian_sample"):
            return (), gaussian_sample_backward(x, key, dy)

    def recompute(params: Params, x: Moments, key: Residuals) -> Latent:
        with layer_scope("gaussian_sample"):
            return gaussian_sample_forward(x, jax.random.clone(key))

    def predict(params: Params, state: State, x: Moments) -> Latent:
        with layer_scope("gaussian_sample"):
            check_moments(x)
            return x[..., : x.shape[-1] // 2]

    return Layer(init, forward, backward, predict, recompute=recompute, name="gaussian_sample", keeps=("key",))


def gaussian_kl_forward(x: Moments) -> Float[Array, ...]:
    mean, log_variance = mean_and_log_variance(x)
    return jnp.sum(jnp.square(mean) + jnp.expm1(log_variance) - log_variance, -1) / 2


def gaussian_kl_backward(x: Moments, dvalues: Float[Array, ...]) -> Moments:
    # value = sum(mean^2 + exp(log_variance) - 1 - log_variance) / 2; in one pass over x, not in halves to be joined
    wide, is_mean = widen(x), jnp.broadcast_to(jnp.arange(x.shape[-1]) < x.shape[-1] // 2, x.shape)
    slope = jnp.where(is_mean, wide, jnp.expm1(jnp.where(is_mean, 0, wide)) / 2)
    return (slope * jnp.broadcast_to(dvalues[..., None], x.shape)).astype(x.dtype)


@constructor
def gaussian_kl(reduction: str = "mean") -> Layer:
    """KL(N(mean, variance) || N(0, 1)) of x [..., 2 latent], means first, then the logarithms of the variances.

    Summed over the latent axis; over examples "mean" or "sum".
    """
    check_reduction("gaussian_kl", reduction)
    divisor = functools.partial(divisor_of, reduction, per_example=True)

    def forward(x: Moments) -> Float[Array, ""]:
        check_predictions(x, "x")
        check_moments(x)
        return reduce_forward(gaussian_kl_forward(x), divisor(x.shape[:-1])).astype(x.dtype)

    def backward(x: Moments, dy: Float[Array, ""]) -> Moments:
        examples = x.shape[:-1]
        return gaussian_kl_backward(x, reduce_backward(widen(dy), divisor(examples), examples))

    return stateless(forward, backward, name="gaussian_kl")


def check_moments(x: Shaped) -> None:
    check_floating(x)
    if x.ndim == 0 or x.shape[-1] % 2 or not x.shape[-1]:
        raise LayerValueError(f"expected x [..., 2 latent], means and log-variances side by side, got {describe(x)}")
