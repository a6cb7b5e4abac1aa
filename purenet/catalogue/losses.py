"""Rows of the losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from .. import losses
from ..layer import Layer
from . import draws
from .draws import FEATURES, ROWS, SEQUENCES, integers, labels, spread, together
from .row import Draw, Row


def mean(name: str, loss: Layer, x: Draw, value: Callable[..., Any] | None = None) -> Row:
    """A loss that is the mean of values an element or an example."""
    means = value and (lambda params, x: jnp.mean(value(*x)))
    return Row(name, loss, x, means, reduction="mean")


def rows() -> list[Row]:
    return [*elementwise(), *vectors(), *cross_entropies(), *fused_cross_entropies()]


def elementwise() -> list[Row]:
    both, bits = together(ROWS, ROWS), together(draws.unit_interval, draws.hard_and_soft)
    scores, far = together(spread, draws.hard_and_soft), together(spread, ROWS)
    binary, half = losses.sigmoid_binary_cross_entropy(), losses.half_squared_error("batch_mean")
    total = Row("squared_error, sum", losses.squared_error("sum"), both, reduction="sum")
    return [
        mean("squared_error", losses.squared_error(), both, optax.squared_error),
        total._replace(value=lambda params, x: jnp.sum(optax.squared_error(*x))),
        mean("half_squared_error, batch_mean", half, both, lambda p, t: jnp.sum(optax.l2_loss(p, t), -1)),
        mean("absolute_error", losses.absolute_error(), both, lambda p, t: np.abs(p - t)),
        mean("huber", losses.huber(delta=0.6), far, lambda p, t: optax.huber_loss(p, t, delta=0.6)),
        mean("log_cosh", losses.log_cosh(), far, optax.log_cosh),
        mean("sigmoid_binary_cross_entropy", binary, scores, optax.sigmoid_binary_cross_entropy),
        mean("binary_cross_entropy", losses.binary_cross_entropy(), bits),
        mean("binary_cross_entropy, clip 0.1", losses.binary_cross_entropy(clip=0.1), bits),
        mean("hinge", losses.hinge(), together(spread, draws.signs), optax.hinge_loss),
        mean("poisson_nll", losses.poisson_nll(), together(ROWS, draws.counts), lambda p, t: np.exp(p) - t * p),
    ]


def vectors() -> list[Row]:
    both, cosine = together(ROWS, ROWS), optax.cosine_similarity
    soft, hard = (together(draws.log_distributions, draw) for draw in (draws.distributions, draws.one_hot))
    held = losses.cosine_similarity(epsilon=7.0)
    return [
        mean("kl_divergence", losses.kl_divergence(), soft, optax.kl_divergence),
        mean("kl_divergence, one of each", losses.kl_divergence(), hard, optax.kl_divergence),
        mean("cosine_similarity", losses.cosine_similarity(), both, cosine),
        mean("cosine_similarity, some lengths held", held, both, lambda p, t: cosine(p, t, epsilon=7.0)),
        mean("cosine_distance", losses.cosine_distance(), both, optax.cosine_distance),
    ]


def cross_entropies() -> list[Row]:
    loss, integer = losses.softmax_cross_entropy, optax.softmax_cross_entropy_with_integer_labels
    of_labels, of_classes = together(spread, labels), together(spread, draws.distributions)
    smoothing, series = loss(label_smoothing=0.2), together(SEQUENCES, integers(FEATURES, 2))
    classes, examples = together(spread, draws.masked_classes), together(spread, draws.masked_examples)
    ignoring, some = loss("sum", ignore_index=-1, label_smoothing=0.1), together(spread, draws.some_ignored)
    rows = [
        mean("integer labels", loss(), of_labels, integer),
        mean("integer labels, batch_mean", loss("batch_mean"), series, integer),
        mean("integer labels, smoothing", smoothing, of_labels),
        mean("distributions", loss(), of_classes, optax.softmax_cross_entropy),
        mean("distributions, smoothing", smoothing, of_classes),
        Row("where, examples", loss(), examples, batched=False),
        Row("where, classes", loss("sum"), classes, reduction="sum"),
        mean("where, classes, smoothing", smoothing, classes),
        Row("ignore_index", ignoring, some, reduction="sum"),
    ]
    return [row._replace(name=f"softmax_cross_entropy, {row.name}") for row in rows]


def fused_cross_entropies() -> list[Row]:
    loss = losses.linear_cross_entropy
    by_tokens = loss(11, chunk=2, use_bias=True, label_smoothing=0.2, z_loss=0.05)
    options = {"reduction": "sum", "ignore_index": -1, "softcap": 2.0, "transposed": True}
    by_vocabulary = loss(11, by="vocabulary", chunk=4, use_bias=True, **options)
    rows = [
        mean("linear_cross_entropy, by tokens", by_tokens, together(ROWS, labels)),
        Row("linear_cross_entropy, by vocabulary", by_vocabulary, together(ROWS, draws.some_ignored), reduction="sum"),
        Row("linear_cross_entropy, where", loss(11, chunk=2), together(ROWS, draws.masked_examples), batched=False),
    ]
    return [row._replace(alone=True) for row in rows]
