"""Losses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special

from purenet.catalogue.draws import FEATURES


def head_value(
    params: Any, x: Any, weights: Any = 1.0, smoothing: float = 0.0, z_loss: float = 0.0, softcap: float | None = None
) -> Any:
    """Cross entropy of the logits of a dense layer, summed with weights."""
    hidden, labels = x
    logits = hidden @ params["kernel"] + params.get("bias", 0.0)
    logits = logits if softcap is None else softcap * jnp.tanh(logits / softcap)
    target = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing)
    penalty = z_loss * jax.nn.logsumexp(logits, -1) ** 2
    return jnp.sum(weights * (optax.softmax_cross_entropy(logits, target) + penalty))


def binary_cross_entropy(p: Any, t: Any) -> Any:
    return jnp.mean(-scipy.special.xlogy(t, p) - scipy.special.xlogy(1 - t, 1 - p))


def smoothed(x: Any, amount: float) -> Any:
    """An example each, of labels or probabilities."""
    logits, target = x
    target = jax.nn.one_hot(target, FEATURES, dtype=logits.dtype) if target.ndim < logits.ndim else target
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(target, amount))


def over_those_seen(x: Any, amount: float) -> Any:
    """Labels smoothed over the classes that are seen."""
    logits, (labels, seen) = x
    target = (1 - amount) * np.eye(FEATURES)[labels] + amount * seen / seen.sum(-1, keepdims=True)
    return optax.softmax_cross_entropy(logits, target * seen, where=seen)


def each(x: Any) -> Any:
    logits, (labels, where) = x
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels, where=where)


VALUES = {
    "binary_cross_entropy": lambda params, x: binary_cross_entropy(*x),
    "binary_cross_entropy, clip 0.1": lambda params, x: binary_cross_entropy(np.clip(x[0], 0.1, 0.9), x[1]),
    "softmax_cross_entropy, integer labels, smoothing": lambda params, x: jnp.mean(smoothed(x, 0.2)),
    "softmax_cross_entropy, distributions, smoothing": lambda params, x: jnp.mean(smoothed(x, 0.2)),
    "softmax_cross_entropy, where, examples": lambda params, x: jnp.sum(each(x)) / np.sum(x[1][1]),
    "softmax_cross_entropy, where, classes": lambda params, x: jnp.sum(each(x)),
    "softmax_cross_entropy, where, classes, smoothing": lambda params, x: jnp.mean(over_those_seen(x, 0.2)),
    "softmax_cross_entropy, ignore_index": lambda params, x: jnp.sum(smoothed(x, 0.1) * (x[1] >= 0)),
    "linear_cross_entropy, by tokens": lambda params, x: head_value(
        params, x, 1 / len(x[1]), smoothing=0.2, z_loss=0.05
    ),
    "linear_cross_entropy, by vocabulary": lambda params, x: head_value(params, x, x[1] >= 0, softcap=2.0),
    "linear_cross_entropy, where": lambda params, x: head_value(params, (x[0], x[1][0]), x[1][1] / np.sum(x[1][1])),
}
