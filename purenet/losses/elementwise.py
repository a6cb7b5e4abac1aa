"""Losses with one value per element: the twins are unreduced, the constructors take the reduction.

    y = sum(values) / divisor,  values = f(predictions, targets),  dpredictions = f'(predictions, targets) dy / divisor
    f_forward(predictions, targets) -> values                               all [..., features]
    f_backward(predictions, targets, dvalues) -> (dpredictions, dtargets)

Kept: predictions and targets, which their makers hold anyway. Names and values are optax's where optax has the loss.
Bishop, *Pattern Recognition and Machine Learning* (2006), sections 1.5 and 4.3; huber: Huber (1964).
"""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, Int, PositiveFloat
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer
from .reduction import loss_layer

Floats = Float[Array, "..."]
Signs = Int[Array, "..."]


def squared_error_forward(predictions: Floats, targets: Floats) -> Floats:
    return jnp.square(predictions - targets)


def squared_error_backward(predictions: Floats, targets: Floats, dvalues: Floats) -> tuple[Floats, Floats]:
    dpredictions = 2 * (predictions - targets) * dvalues
    return dpredictions, -dpredictions


@constructor
def squared_error(reduction: str = "mean") -> Layer:
    """value = (p - t)^2. The summed squared error is reduction="sum", the mean over all elements "mean"."""
    return loss_layer("squared_error", squared_error_forward, squared_error_backward, reduction)


def half_squared_error_forward(predictions: Floats, targets: Floats) -> Floats:
    return 0.5 * jnp.square(predictions - targets)


def half_squared_error_backward(predictions: Floats, targets: Floats, dvalues: Floats) -> tuple[Floats, Floats]:
    dpredictions = (predictions - targets) * dvalues
    return dpredictions, -dpredictions


@constructor
def half_squared_error(reduction: str = "mean") -> Layer:
    """value = (p - t)^2 / 2. With "batch_mean": half the squared length of the error, averaged over the batch."""
    return loss_layer("half_squared_error", half_squared_error_forward, half_squared_error_backward, reduction)


def absolute_error_forward(predictions: Floats, targets: Floats) -> tuple[Floats, Signs]:
    error = predictions - targets
    # Without the select jax.grad of |error| would be 1 at 0.
    return jnp.where(error == 0, 0, jnp.abs(error)), jnp.sign(error).astype(jnp.int8)


def absolute_error_backward(sign: Signs, dvalues: Floats) -> tuple[Floats, Floats]:
    dpredictions = jnp.where(sign == 0, 0, jnp.where(sign > 0, dvalues, -dvalues))
    return dpredictions, -dpredictions


@constructor
def absolute_error(reduction: str = "mean") -> Layer:
    """value = |p - t|, with slope 0 where they are equal. Kept: the sign of p - t, a byte each."""
    return loss_layer("absolute_error", absolute_error_forward, absolute_error_backward, reduction, keeps=("sign",))


def huber_forward(predictions: Floats, targets: Floats, delta: float) -> Floats:
    size = jnp.abs(predictions - targets)
    quadratic = jnp.minimum(size, delta)
    return 0.5 * jnp.square(quadratic) + delta * (size - quadratic)


def huber_backward(predictions: Floats, targets: Floats, dvalues: Floats, delta: float) -> tuple[Floats, Floats]:
    dpredictions = jnp.clip(predictions - targets, -delta, delta) * dvalues
    return dpredictions, -dpredictions


@constructor
def huber(reduction: str = "mean", *, delta: PositiveFloat = 1.0) -> Layer:
    """value = (p - t)^2 / 2 up to |p - t| = delta, then linear with slope delta > 0."""
    forward, backward = functools.partial(huber_forward, delta=delta), functools.partial(huber_backward, delta=delta)
    return loss_layer("huber", forward, backward, reduction)


def log_cosh_forward(predictions: Floats, targets: Floats) -> Floats:
    # log(cosh(e)) = |e| + log(1 + exp(-2 |e|)) - log(2), where nothing overflows
    distance = jnp.abs(predictions - targets)
    return distance + jnp.log1p(jnp.exp(-2 * distance)) - math.log(2)


def log_cosh_backward(predictions: Floats, targets: Floats, dvalues: Floats) -> tuple[Floats, Floats]:
    dpredictions = jnp.tanh(predictions - targets) * dvalues
    return dpredictions, -dpredictions


@constructor
def log_cosh(reduction: str = "mean") -> Layer:
    """value = log(cosh(p - t)): quadratic near 0, |p - t| - log 2 far away."""
    return loss_layer("log_cosh", log_cosh_forward, log_cosh_backward, reduction)


def sigmoid_binary_cross_entropy_forward(logits: Floats, labels: Floats) -> Floats:
    # softplus(z) = max(z, 0) + log(1 + exp(-|z|)), where nothing overflows
    return jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits))) - labels * logits


def sigmoid_binary_cross_entropy_backward(logits: Floats, labels: Floats, dvalues: Floats) -> tuple[Floats, Floats]:
    # value = softplus(logits) - labels * logits
    return (lax.logistic(logits) - labels) * dvalues, -logits * dvalues


@constructor
def sigmoid_binary_cross_entropy(reduction: str = "mean") -> Layer:
    """value = -t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z)) of logits z and labels t in [0, 1]."""
    forward, backward = sigmoid_binary_cross_entropy_forward, sigmoid_binary_cross_entropy_backward
    return loss_layer("sigmoid_binary_cross_entropy", forward, backward, reduction)


def binary_cross_entropy_forward(probabilities: Floats, labels: Floats, clip: float) -> Floats:
    p = clip_probabilities(probabilities, clip)
    return -labels * jnp.log(p) - (1 - labels) * jnp.log1p(-p)


def binary_cross_entropy_backward(
    probabilities: Floats, labels: Floats, dvalues: Floats, clip: float
) -> tuple[Floats, Floats]:
    p = clip_probabilities(probabilities, clip)
    # value = -labels log(p) - (1 - labels) log(1 - p)
    dp = (p - labels) / (p * (1 - p)) * dvalues
    dlabels = (jnp.log1p(-p) - jnp.log(p)) * dvalues
    # p = clip(probabilities): no gradient where the clip is active
    inside = (probabilities > clip) & (probabilities < 1 - clip)
    return jnp.where(inside, dp, 0), dlabels


@constructor
def binary_cross_entropy(reduction: str = "mean", *, clip: float = 1e-7) -> Layer:
    """value = -t log(p) - (1 - t) log(1 - p) of probabilities p clipped to [clip, 1 - clip], and labels t in [0, 1].

    The gradient is zero where the clip is active: prefer `sigmoid_binary_cross_entropy`, which has no such region.
    Raises if the clip is so small that 1 - clip rounds to 1 in the dtype of the arithmetic (float32 at least).
    """
    if not 0 < clip < 0.5:
        raise ValueError(f"binary_cross_entropy: expected clip in (0, 0.5), got {clip!r}")
    forward = functools.partial(binary_cross_entropy_forward, clip=clip)
    backward = functools.partial(binary_cross_entropy_backward, clip=clip)
    return loss_layer("binary_cross_entropy", forward, backward, reduction)


def clip_probabilities(probabilities: Floats, clip: float) -> Floats:
    dtype = probabilities.dtype
    if dtype.type(1) - dtype.type(clip) == 1:
        smallest = jnp.finfo(dtype).eps
        raise LayerValueError(f"1 - {clip:g} rounds to 1 in {dtype}: expected clip of at least {smallest:.1g}")
    return jnp.where(probabilities <= clip, clip, jnp.where(probabilities >= 1 - clip, 1 - clip, probabilities))


def hinge_forward(scores: Floats, signs: Floats) -> Floats:
    margin = 1 - scores * signs
    return jnp.where(margin <= 0, 0, margin)


def hinge_backward(scores: Floats, signs: Floats, dvalues: Floats) -> tuple[Floats, Floats]:
    # value = 1 - scores * signs inside the margin
    dmargin = jnp.where(scores * signs < 1, dvalues, 0)
    return -signs * dmargin, -scores * dmargin


@constructor
def hinge(reduction: str = "mean") -> Layer:
    """value = max(0, 1 - s t) of scores s and signs t, -1 or 1."""
    return loss_layer("hinge", hinge_forward, hinge_backward, reduction)


def poisson_nll_forward(predictions: Floats, counts: Floats) -> Floats:
    return jnp.exp(predictions) - counts * predictions


def poisson_nll_backward(predictions: Floats, counts: Floats, dvalues: Floats) -> tuple[Floats, Floats]:
    # value = exp(predictions) - counts * predictions
    return (jnp.exp(predictions) - counts) * dvalues, -predictions * dvalues


@constructor
def poisson_nll(reduction: str = "mean") -> Layer:
    """value = exp(p) - t p of log rates p and counts t: the Poisson negative log-likelihood without log(t!)."""
    return loss_layer("poisson_nll", poisson_nll_forward, poisson_nll_backward, reduction)
