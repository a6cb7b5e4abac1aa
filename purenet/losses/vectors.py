"""Losses with one value per example, over the last axis: predictions and targets [..., features], values [...].

    kl_divergence      value = sum_k t_k (log t_k - p_k)      of log-probabilities p and probabilities t
    cosine_similarity  value = a b / (|a| |b|)
    cosine_distance    value = 1 - cosine_similarity

Kept: predictions and targets.
Kullback & Leibler (1951); values and names as in optax.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp

from ..annotations import Array, Float, NonNegativeFloat
from ..constructor import constructor
from ..layer import Layer
from .reduction import loss_layer

Vectors = Float[Array, "... features"]
Values = Float[Array, "..."]


def kl_divergence_forward(log_predictions: Vectors, targets: Vectors) -> Values:
    log_targets = jnp.log(jnp.where(targets == 0, 1, targets))
    return jnp.sum(jnp.where(targets == 0, 0, targets * (log_targets - log_predictions)), -1)


def kl_divergence_backward(log_predictions: Vectors, targets: Vectors, dvalues: Values) -> tuple[Vectors, Vectors]:
    dvalues = dvalues[..., None]  # [..., 1]
    log_targets = jnp.log(jnp.where(targets == 0, 1, targets))
    # value = sum targets (log targets - log_predictions), and 0 log 0 = 0
    return -targets * dvalues, jnp.where(targets == 0, 0, log_targets + 1 - log_predictions) * dvalues


@constructor
def kl_divergence(reduction: str = "mean") -> Layer:
    """KL(t || exp(p)) of log-probabilities p (from log_softmax) and probabilities t; the slope in t is 0 at t = 0."""
    return loss_layer("kl_divergence", kl_divergence_forward, kl_divergence_backward, reduction, per_example=True)


def cosine_similarity_forward(predictions: Vectors, targets: Vectors, epsilon: float) -> Values:
    lengths = length(predictions, epsilon) * length(targets, epsilon)  # [..., 1]
    return jnp.sum(predictions * targets, -1) / jnp.squeeze(lengths, -1)


def cosine_similarity_backward(
    predictions: Vectors, targets: Vectors, dvalues: Values, epsilon: float
) -> tuple[Vectors, Vectors]:
    a, b = predictions, targets
    a_length, b_length = length(a, epsilon), length(b, epsilon)  # [..., 1]
    cosine = jnp.sum(a * b, -1, keepdims=True) / (a_length * b_length)  # [..., 1]
    dcosine = dvalues[..., None]  # [..., 1]
    # cosine = a b / (|a| |b|), where a length that epsilon holds is a constant
    da = (b / b_length - cosine * moving(a, epsilon) * a / a_length) * dcosine / a_length
    db = (a / a_length - cosine * moving(b, epsilon) * b / b_length) * dcosine / b_length
    return da, db


@constructor
def cosine_similarity(reduction: str = "mean", *, epsilon: NonNegativeFloat = 1e-12) -> Layer:
    """The cosine of the angle between predictions and targets: 1 where they point the same way.

    Squared lengths below `epsilon` count as `epsilon`. To pull vectors together minimise `cosine_distance`.
    """
    forward = functools.partial(cosine_similarity_forward, epsilon=epsilon)
    backward = functools.partial(cosine_similarity_backward, epsilon=epsilon)
    return loss_layer("cosine_similarity", forward, backward, reduction, per_example=True)


def cosine_distance_forward(predictions: Vectors, targets: Vectors, epsilon: float) -> Values:
    return 1 - cosine_similarity_forward(predictions, targets, epsilon)


def cosine_distance_backward(
    predictions: Vectors, targets: Vectors, dvalues: Values, epsilon: float
) -> tuple[Vectors, Vectors]:
    return cosine_similarity_backward(predictions, targets, -dvalues, epsilon)


@constructor
def cosine_distance(reduction: str = "mean", *, epsilon: NonNegativeFloat = 1e-12) -> Layer:
    """1 - cosine_similarity: 0 where predictions and targets point the same way."""
    forward = functools.partial(cosine_distance_forward, epsilon=epsilon)
    backward = functools.partial(cosine_distance_backward, epsilon=epsilon)
    return loss_layer("cosine_distance", forward, backward, reduction, per_example=True)


def length(vector: Vectors, epsilon: float) -> Float[Array, "... 1"]:
    squared = jnp.sum(jnp.square(vector), -1, keepdims=True)  # [..., 1]
    return jnp.sqrt(jnp.where(squared <= epsilon, epsilon, squared))


def moving(vector: Vectors, epsilon: float) -> Float[Array, "... 1"]:
    """1 where the length follows the vector, 0 where epsilon holds it."""
    return (jnp.sum(jnp.square(vector), -1, keepdims=True) > epsilon).astype(vector.dtype)  # [..., 1]
