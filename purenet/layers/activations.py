"""Elementwise activations; each constructor's docstring states its f.

    y = f(x),  dx = f'(x) dy             x and y [...] of any shape

Each derivative is written from the output y where y determines it, since the next layer keeps y anyway;
otherwise from the input x. Kept: y or x, whichever the backward takes, and nothing more.
Every rule is finite at both tails in every dtype. At a kink the derivative is that of the flat side
(relu, relu6, the hard ones); leaky_relu takes 1 at zero, as jax.nn does.

Rules for a layer of its own: `f_forward(x) -> y`, `f_backward(y or x, dy) -> dx`, then `activation(...)`.
Sources: jax.nn for names and defaults; Goodfellow, Bengio & Courville, *Deep Learning* (2016), chapter 6;
elu: Clevert et al. (2016); selu: Klambauer et al. (2017); gelu: Hendrycks & Gimpel (2016); mish: Misra (2019).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Bool, Float, PositiveFloat
from ..constructor import constructor
from ..layer import Layer
from ..precision import widen
from ..validation import check_floating
from .checks import checked_layer

Floats = Float[Array, "..."]
Signs = Bool[Array, "..."]


def activation(name: str, forward: Callable[..., Floats], backward: Callable[..., Floats], needs: str) -> Layer:
    """A layer of an elementwise function; `needs` is "y" or "x", whichever the backward takes first, or ""."""
    return checked_layer(name, check_floating, forward, backward, needs=tuple(needs))


def identity_forward(x: Floats) -> Floats:
    return x


def identity_backward(dy: Floats) -> Floats:
    return dy


@constructor
def identity() -> Layer:
    """y = x."""
    return activation("identity", identity_forward, identity_backward, needs="")


# From the output.


def sigmoid_forward(x: Floats) -> Floats:
    return lax.logistic(x)


def sigmoid_backward(y: Floats, dy: Floats) -> Floats:
    return y * (1 - y) * dy


@constructor
def sigmoid() -> Layer:
    """y = 1 / (1 + exp(-x)), in (0, 1)."""
    return activation("sigmoid", sigmoid_forward, sigmoid_backward, needs="y")


def tanh_forward(x: Floats) -> Floats:
    return jnp.tanh(x)


def tanh_backward(y: Floats, dy: Floats) -> Floats:
    return (1 + y) * (1 - y) * dy


@constructor
def tanh() -> Layer:
    """y = tanh(x), in (-1, 1)."""
    return activation("tanh", tanh_forward, tanh_backward, needs="y")


def relu_forward(x: Floats) -> Floats:
    return jnp.where(x <= 0, 0, x)


def relu_backward(y: Floats, dy: Floats) -> Floats:
    return jnp.where(y > 0, dy, 0)


@constructor
def relu() -> Layer:
    """y = max(x, 0)."""
    return activation("relu", relu_forward, relu_backward, needs="y")


def leaky_relu_forward(x: Floats, negative_slope: float) -> Floats:
    return jnp.where(x >= 0, x, negative_slope * x)


def leaky_relu_backward(positive: Signs, dy: Floats, negative_slope: float) -> Floats:
    return jnp.where(positive, dy, negative_slope * dy)


@constructor
def leaky_relu(negative_slope: float = 0.01) -> Layer:
    """y = x for x >= 0, else negative_slope * x.

    Kept: y, which has the sign of x when the slope is positive; with a slope of zero or less the signs of x alone.
    """
    forward = functools.partial(leaky_relu_forward, negative_slope=negative_slope)
    backward = functools.partial(leaky_relu_backward, negative_slope=negative_slope)
    if negative_slope > 0:
        return activation("leaky_relu", forward, lambda y, dy: backward(y >= 0, dy), needs="y")

    def forward_with_signs(x: Floats) -> tuple[Floats, Signs]:
        return forward(x), x >= 0

    return checked_layer("leaky_relu", check_floating, forward_with_signs, backward, keeps=("x >= 0",))


def elu_forward(x: Floats, alpha: float) -> Floats:
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x)))


def elu_backward(y: Floats, dy: Floats, alpha: float) -> Floats:
    # for x <= 0, y = alpha exp(x) - alpha
    return jnp.where(y > 0, dy, (y + alpha) * dy)


@constructor
def elu(alpha: PositiveFloat = 1.0) -> Layer:
    """y = x for x > 0, else alpha (exp(x) - 1); alpha > 0, so that y has the sign of x."""
    forward, backward = functools.partial(elu_forward, alpha=alpha), functools.partial(elu_backward, alpha=alpha)
    return activation("elu", forward, backward, needs="y")


def celu_forward(x: Floats, alpha: float) -> Floats:
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x) / alpha))


def celu_backward(y: Floats, dy: Floats, alpha: float) -> Floats:
    # for x <= 0, y = alpha exp(x / alpha) - alpha
    return jnp.where(y > 0, dy, (y / alpha + 1) * dy)


@constructor
def celu(alpha: PositiveFloat = 1.0) -> Layer:
    """y = x for x > 0, else alpha (exp(x / alpha) - 1); alpha > 0."""
    forward, backward = functools.partial(celu_forward, alpha=alpha), functools.partial(celu_backward, alpha=alpha)
    return activation("celu", forward, backward, needs="y")


SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu_forward(x: Floats) -> Floats:
    return jnp.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * jnp.expm1(jnp.where(x > 0, 0, x)))


def selu_backward(y: Floats, dy: Floats) -> Floats:
    # for x <= 0, y = scale alpha exp(x) - scale alpha
    return jnp.where(y > 0, SELU_SCALE * dy, (y + SELU_SCALE * SELU_ALPHA) * dy)


@constructor
def selu() -> Layer:
    """y = scale elu(x, alpha), with the two constants that keep activations at mean 0 and variance 1."""
    return activation("selu", selu_forward, selu_backward, needs="y")


def softplus_forward(x: Floats) -> Floats:
    return jnp.logaddexp(x, 0.0)


def softplus_backward(y: Floats, dy: Floats) -> Floats:
    # sigmoid(x) = 1 - exp(-y)
    return -jnp.expm1(-y) * dy


@constructor
def softplus() -> Layer:
    """y = log(1 + exp(x)), above 0."""
    return activation("softplus", softplus_forward, softplus_backward, needs="y")


def log_sigmoid_forward(x: Floats) -> Floats:
    return -jnp.logaddexp(-x, 0.0)


def log_sigmoid_backward(y: Floats, dy: Floats) -> Floats:
    # sigmoid(-x) = 1 - exp(y)
    return -jnp.expm1(y) * dy


@constructor
def log_sigmoid() -> Layer:
    """y = log(sigmoid(x)), below 0."""
    return activation("log_sigmoid", log_sigmoid_forward, log_sigmoid_backward, needs="y")


def softsign_forward(x: Floats) -> Floats:
    return x / (1 + jnp.abs(x))


def softsign_backward(y: Floats, dy: Floats) -> Floats:
    # 1 / (1 + |x|) = 1 - |y|
    return jnp.square(1 - jnp.abs(y)) * dy


@constructor
def softsign() -> Layer:
    """y = x / (1 + |x|), in (-1, 1)."""
    return activation("softsign", softsign_forward, softsign_backward, needs="y")


def relu6_forward(x: Floats) -> Floats:
    return jnp.where(x <= 0, 0, jnp.where(x >= 6, 6, x))


def relu6_backward(y: Floats, dy: Floats) -> Floats:
    return jnp.where((y > 0) & (y < 6), dy, 0)


@constructor
def relu6() -> Layer:
    """y = min(max(x, 0), 6)."""
    return activation("relu6", relu6_forward, relu6_backward, needs="y")


def hard_tanh_forward(x: Floats) -> Floats:
    return jnp.where(x <= -1, -1, jnp.where(x >= 1, 1, x))


def hard_tanh_backward(y: Floats, dy: Floats) -> Floats:
    return jnp.where(jnp.abs(y) < 1, dy, 0)


@constructor
def hard_tanh() -> Layer:
    """y = min(max(x, -1), 1)."""
    return activation("hard_tanh", hard_tanh_forward, hard_tanh_backward, needs="y")


def hard_sigmoid_forward(x: Floats) -> Floats:
    return relu6_forward(x + 3) / 6


def hard_sigmoid_backward(y: Floats, dy: Floats) -> Floats:
    return jnp.where((y > 0) & (y < 1), dy / 6, 0)


@constructor
def hard_sigmoid() -> Layer:
    """y = min(max(x + 3, 0), 6) / 6."""
    return activation("hard_sigmoid", hard_sigmoid_forward, hard_sigmoid_backward, needs="y")


# From the input: these are not one-to-one, or their inverse costs more than their value. In half precision their
# tails would cancel or vanish, so they are computed in float32.


def gelu_tanh_forward(x: Floats) -> Floats:
    wide = widen(x)
    y = 0.5 * wide * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide * wide * wide)))
    return y.astype(x.dtype)


def gelu_tanh_backward(x: Floats, dy: Floats) -> Floats:
    x = jnp.clip(widen(x), -10, 10)  # the slope is 0 or 1 to the last bit there; beyond, x * x may overflow
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    dinner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    t = jnp.tanh(inner)
    # y = 0.5 x (1 + t)
    return ((0.5 * (1 + t) + 0.5 * x * (1 + t) * (1 - t) * dinner) * widen(dy)).astype(dy.dtype)


def gelu_erf_forward(x: Floats) -> Floats:
    wide = widen(x)
    return (0.5 * wide * lax.erfc(-wide * math.sqrt(0.5))).astype(x.dtype)


def gelu_erf_backward(x: Floats, dy: Floats) -> Floats:
    wide, wide_dy = widen(x), widen(dy)
    z = -wide * math.sqrt(0.5)
    density = jnp.exp(-z * z) / math.sqrt(2 * math.pi)
    # y = x Phi(x), Phi(x) = erfc(z) / 2, Phi' = density; with dy multiplied in first XLA needs two arrays less
    dx = 0.5 * (lax.erfc(z) * wide_dy) + wide * (wide_dy * density)
    return dx.astype(dy.dtype)


@constructor
def gelu(approximate: bool = True) -> Layer:
    """y = x Phi(x), Phi the normal distribution; by default its tanh approximation, else by erf."""
    if approximate:
        return activation("gelu", gelu_tanh_forward, gelu_tanh_backward, needs="x")
    return activation("gelu", gelu_erf_forward, gelu_erf_backward, needs="x")


def silu_forward(x: Floats) -> Floats:
    wide = widen(x)
    return (wide * lax.logistic(wide)).astype(x.dtype)


def silu_backward(x: Floats, dy: Floats) -> Floats:
    wide = widen(x)
    s = lax.logistic(wide)
    # y = x s, s' = s (1 - s)
    return (s * (1 + wide * (1 - s)) * widen(dy)).astype(dy.dtype)


@constructor
def silu() -> Layer:
    """y = x sigmoid(x), also called swish."""
    return activation("silu", silu_forward, silu_backward, needs="x")


swish = silu


def mish_forward(x: Floats) -> Floats:
    wide = widen(x)
    return (wide * jnp.tanh(jnp.logaddexp(wide, 0.0))).astype(x.dtype)


def mish_backward(x: Floats, dy: Floats) -> Floats:
    wide = widen(x)
    t = jnp.tanh(jnp.logaddexp(wide, 0.0))
    # y = x t, t' = (1 - t^2) softplus'(x)
    return ((t + wide * ((1 + t) * (1 - t)) * lax.logistic(wide)) * widen(dy)).astype(dy.dtype)


@constructor
def mish() -> Layer:
    """y = x tanh(softplus(x))."""
    return activation("mish", mish_forward, mish_backward, needs="x")


def hard_swish_forward(x: Floats) -> Floats:
    return x * hard_sigmoid_forward(x)


def hard_swish_backward(x: Floats, dy: Floats) -> Floats:
    # between the kinks, y = x (x + 3) / 6
    slope = jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, widen(x) / 3 + 0.5))
    return (slope * widen(dy)).astype(dy.dtype)


@constructor
def hard_swish() -> Layer:
    """y = x min(max(x + 3, 0), 6) / 6."""
    return activation("hard_swish", hard_swish_forward, hard_swish_backward, needs="x")


def erf_sigmoid_forward(x: Floats) -> Floats:
    return 0.5 * lax.erfc(-x)  # 1 + erf(x), without its cancellation


def erf_sigmoid_backward(x: Floats, dy: Floats) -> Floats:
    slope = jnp.exp(-jnp.square(widen(x))) / math.sqrt(math.pi)
    return (slope * widen(dy)).astype(dy.dtype)


@constructor
def erf_sigmoid() -> Layer:
    """y = 0.5 (1 + erf(x)), a sigmoid with the tails of the normal distribution, in (0, 1)."""
    return activation("erf_sigmoid", erf_sigmoid_forward, erf_sigmoid_backward, needs="x")
