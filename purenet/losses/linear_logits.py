"""The logits of a head and their cross entropy, all at once: the plain twin of linear_cross_entropy, and its parts.

z        = softcap tanh((h W + b) / softcap)                   [tokens, columns]
value    = n - sum_k t_k z_k + z_loss n^2                      n = log sum_k exp(z_k)
dz       = (softmax(z) (1 + 2 z_loss n) - t) dvalue            d(h W + b) = dz (1 - (z / softcap)^2)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..annotations import Array, Float, Integer
from ..precision import wide_dtype, widen

# kernel [d, vocabulary] or its transpose as embedding [vocabulary, d], and perhaps bias [vocabulary]
Head = dict[str, Array]
Hidden = Float[Array, "tokens features"]
Logits = Float[Array, "tokens columns"]
Tokens = Float[Array, " tokens"]
Scalar = Float[Array, ""]


class Terms(NamedTuple):
    """What the loss depends on besides logits and labels."""

    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None


class Targets(NamedTuple):
    """The label and the weight of each token: 1, 0 where it is left out, NaN where the label is out of range.

    The loss is the weighted sum over the tokens by `divisor`, which the gradients are divided by after they are summed:
    what is rounded to half precision before a product is then not small for the number of tokens alone.
    """

    labels: Integer[Array, " tokens"]
    weights: Tokens
    divisor: Scalar


# The logits of some tokens and some columns.


def logits_forward(params: Head, hidden: Hidden, softcap: float | None) -> Logits:
    kernel = params["kernel"] if "kernel" in params else params["embedding"].T  # [d, columns]
    logits = jnp.matmul(hidden, kernel, preferred_element_type=wide_dtype(hidden.dtype))  # [tokens, columns]
    if "bias" in params:
        logits = logits + jnp.broadcast_to(widen(params["bias"]), logits.shape)
    return logits if softcap is None else softcap * jnp.tanh(logits / softcap)


def logits_backward(
    params: Head, hidden: Hidden, logits: Logits, dlogits: Logits, softcap: float | None
) -> tuple[Head, Hidden]:
    """The gradients in at least float32; the factors of the products are in the dtype of `hidden`."""
    wide = dlogits.dtype
    if softcap is not None:
        # logits = softcap * tanh(logits / softcap)
        dlogits = dlogits * (1 - jnp.square(logits / softcap))
    narrow = dlogits.astype(hidden.dtype)  # [tokens, columns]
    # logits = hidden @ kernel + bias, embedding = kernel^T
    if "kernel" in params:
        kernel = params["kernel"]
        dparams = {"kernel": jnp.matmul(hidden.T, narrow, preferred_element_type=wide)}  # [d, columns]
    else:
        kernel = params["embedding"].T
        dparams = {"embedding": jnp.matmul(narrow.T, hidden, preferred_element_type=wide)}  # [columns, d]
    if "bias" in params:
        dparams["bias"] = jnp.sum(dlogits, 0)  # [columns]
    return dparams, jnp.matmul(narrow, kernel.T, preferred_element_type=wide)  # [tokens, d]


# The loss of each token, from what a pass over its logits leaves.


def values_forward(log_normalizer: Tokens, label_logit: Tokens, mean_logit: Tokens | float, terms: Terms) -> Tokens:
    target_logit = (1 - terms.label_smoothing) * label_logit + terms.label_smoothing * mean_logit  # sum_k t_k z_k
    return log_normalizer - target_logit + terms.z_loss * jnp.square(log_normalizer)


def values_backward(
    logits: Logits, targets: Targets, log_normalizer: Tokens, vocabulary: int, terms: Terms, first: Any = 0
) -> Logits:
    """The gradient of the weighted sum; the columns start with number `first` of the vocabulary."""
    columns = first + jnp.arange(logits.shape[-1], dtype=jnp.int32)
    is_label = targets.labels[:, None] == columns[None]  # [tokens, columns]
    target = jnp.where(is_label, 1 - terms.label_smoothing, 0.0).astype(logits.dtype)
    # values = log_normalizer + z_loss * log_normalizer^2 - sum target * logits, log_normalizer = log sum exp(logits)
    probabilities = jnp.exp(logits - log_normalizer[:, None]) * (1 + 2 * terms.z_loss * log_normalizer)[:, None]
    dlogits = probabilities - target - terms.label_smoothing / vocabulary
    weights = targets.weights[:, None]
    return jnp.where(weights == 0, 0, dlogits * weights)


def weighted_sum(values: Tokens, weights: Tokens) -> Scalar:
    return jnp.sum(jnp.where(weights == 0, 0, values * weights))


# Plain: the twin that the other two must equal.


def linear_cross_entropy_forward(
    params: Head, hidden: Hidden, targets: Targets, terms: Terms
) -> tuple[Scalar, tuple[Logits, Tokens]]:
    logits = logits_forward(params, hidden, terms.softcap)  # [tokens, vocabulary]
    log_normalizer = jax.nn.logsumexp(logits, -1)  # [tokens]
    label_logit = jnp.take_along_axis(logits, targets.labels[:, None], -1)[:, 0]
    mean_logit = jnp.mean(logits, -1) if terms.label_smoothing else 0.0
    values = values_forward(log_normalizer, label_logit, mean_logit, terms)
    return weighted_sum(values, targets.weights) / targets.divisor, (logits, log_normalizer)


def linear_cross_entropy_backward(
    params: Head, hidden: Hidden, targets: Targets, residuals: tuple[Logits, Tokens], dy: Scalar, terms: Terms
) -> tuple[Head, Hidden]:
    gradients = weighted_sum_backward(params, hidden, targets, *residuals, terms)
    # y = weighted sum / divisor
    return narrowed(scaled(gradients, dy.astype(targets.divisor.dtype) / targets.divisor), params, hidden.dtype)


def weighted_sum_backward(
    params: Head, hidden: Hidden, targets: Targets, logits: Logits, log_normalizer: Tokens, terms: Terms
) -> tuple[Head, Hidden]:
    dlogits = values_backward(logits, targets, log_normalizer, logits.shape[-1], terms)
    return logits_backward(params, hidden, logits, dlogits, terms.softcap)


def scaled(gradients: Any, factor: Scalar) -> Any:
    return jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), gradients)


def narrowed(gradients: tuple[Head, Hidden], params: Head, dtype: Any) -> tuple[Head, Hidden]:
    """Each gradient in the dtype of what it belongs to."""
    dparams, dhidden = gradients
    return jax.tree.map(lambda gradient, own: gradient.astype(own.dtype), dparams, params), dhidden.astype(dtype)
