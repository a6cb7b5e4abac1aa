"""Rows of the losses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special

from purenet import losses

from .case import (
    FEATURES,
    Case,
    counts,
    features,
    ignored,
    labels,
    log_probabilities,
    masked_classes,
    masked_examples,
    mean_loss,
    open_interval,
    pair,
    probabilities,
    signs,
    wide,
)


def head_value(
    params: Any, x: Any, weights: Any = 1.0, smoothing: float = 0.0, z_loss: float = 0.0, softcap: float | None = None
) -> Any:
    """Cross entropy of the logits of a dense layer, summed with weights."""
    hidden, labels = x
    logits = hidden @ params["kernel"] + params["bias"]
    logits = logits if softcap is None else softcap * jnp.tanh(logits / softcap)
    target = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing)
    penalty = z_loss * jax.nn.logsumexp(logits, -1) ** 2
    return jnp.sum(weights * (optax.softmax_cross_entropy(logits, target) + penalty))


ROWS = [
    mean_loss(losses.squared_error(), pair(features, features), optax.squared_error),
    Case(
        "squared_error_sum",
        losses.squared_error("sum"),
        pair(features, features),
        lambda params, x: jnp.sum(optax.squared_error(*x)),
        reduction="sum",
    ),
    Case(
        "half_squared_error",
        losses.half_squared_error("batch_mean"),
        pair(features, features),
        lambda params, x: jnp.mean(jnp.sum(optax.l2_loss(*x), -1)),
        reduction="mean",
    ),
    mean_loss(losses.absolute_error(), pair(features, features), lambda p, t: np.abs(p - t)),
    mean_loss(losses.huber(delta=0.6), pair(features, features), lambda p, t: optax.huber_loss(p, t, delta=0.6)),
    mean_loss(losses.log_cosh(), pair(wide, features), optax.log_cosh),
    mean_loss(losses.sigmoid_binary_cross_entropy(), pair(wide, open_interval), optax.sigmoid_binary_cross_entropy),
    mean_loss(
        losses.binary_cross_entropy(clip=0.1),
        pair(open_interval, open_interval),
        lambda p, t: (
            -scipy.special.xlogy(t, np.clip(p, 0.1, 0.9)) - scipy.special.xlogy(1 - t, 1 - np.clip(p, 0.1, 0.9))
        ),
    ),
    mean_loss(losses.hinge(), pair(features, signs), optax.hinge_loss),
    mean_loss(losses.poisson_nll(), pair(features, counts), lambda p, t: np.exp(p) - t * p),
    mean_loss(losses.kl_divergence(), pair(log_probabilities, probabilities), optax.kl_divergence),
    mean_loss(losses.cosine_similarity(), pair(features, features), optax.cosine_similarity),
    mean_loss(
        losses.cosine_similarity(epsilon=7.0),
        pair(features, features),
        lambda p, t: optax.cosine_similarity(p, t, epsilon=7.0),
        name="cosine_similarity_held",
    ),
    mean_loss(losses.cosine_distance(), pair(features, features), optax.cosine_distance),
    mean_loss(
        losses.softmax_cross_entropy(),
        pair(wide, labels),
        optax.softmax_cross_entropy_with_integer_labels,
        name="ce_integer",
    ),
    mean_loss(
        losses.softmax_cross_entropy(), pair(wide, probabilities), optax.softmax_cross_entropy, name="ce_one_hot"
    ),
    mean_loss(
        losses.softmax_cross_entropy(label_smoothing=0.2),
        pair(wide, labels),
        lambda z, t: optax.softmax_cross_entropy(
            z, optax.smooth_labels(jax.nn.one_hot(t, FEATURES, dtype=z.dtype), 0.2)
        ),
        name="ce_smoothed",
    ),
    mean_loss(
        losses.softmax_cross_entropy(label_smoothing=0.2),
        pair(wide, probabilities),
        lambda z, t: optax.softmax_cross_entropy(z, optax.smooth_labels(t, 0.2)),
        name="ce_smoothed_distribution",
    ),
    Case(
        "ce_masked_examples",
        losses.softmax_cross_entropy(),
        pair(wide, masked_examples),
        lambda params, x: (
            jnp.sum(optax.softmax_cross_entropy_with_integer_labels(x[0], x[1][0], where=x[1][1])) / np.sum(x[1][1])
        ),
        batched=False,
    ),
    Case(
        "ce_masked_classes",
        losses.softmax_cross_entropy("sum"),
        pair(wide, masked_classes),
        lambda params, x: jnp.sum(optax.softmax_cross_entropy_with_integer_labels(x[0], x[1][0], where=x[1][1])),
        reduction="sum",
    ),
    Case(
        "ce_ignored",
        losses.softmax_cross_entropy("sum", ignore_index=-1, label_smoothing=0.1),
        pair(wide, ignored),
        lambda params, x: jnp.sum(
            optax.softmax_cross_entropy(
                x[0], optax.smooth_labels(jax.nn.one_hot(x[1], FEATURES, dtype=x[0].dtype), 0.1)
            )
            * (x[1] >= 0)
        ),
        reduction="sum",
    ),
    Case(
        "linear_ce_by_tokens",
        losses.linear_cross_entropy(11, chunk=2, use_bias=True, label_smoothing=0.2, z_loss=0.05),
        pair(features, labels),
        lambda params, x: head_value(params, x, 1 / len(x[1]), smoothing=0.2, z_loss=0.05),
        reduction="mean",
        alone=True,
    ),
    Case(
        "linear_ce_by_vocabulary",
        losses.linear_cross_entropy(
            11, by="vocabulary", chunk=4, use_bias=True, reduction="sum", ignore_index=-1, softcap=2.0, transposed=True
        ),
        pair(features, ignored),
        lambda params, x: head_value(params, x, x[1] >= 0, softcap=2.0),
        reduction="sum",
        alone=True,
    ),
]
