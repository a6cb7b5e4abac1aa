"""linear_cross_entropy a chunk of tokens, or of the vocabulary, at a time, so that no more logits exist at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float
from ..precision import wide_dtype
from .chunks import Chunks, add_at, equal_chunks, slice_at
from .linear_logits import (
    Head,
    Hidden,
    Scalar,
    Targets,
    Terms,
    Tokens,
    linear_cross_entropy_forward,
    logits_backward,
    logits_forward,
    narrowed,
    scaled,
    values_backward,
    values_forward,
    weighted_sum,
    weighted_sum_backward,
)

# By tokens: the plain rule for each chunk of tokens, its gradients computed in the forward.


def linear_cross_entropy_by_tokens_forward(
    params: Head, hidden: Hidden, targets: Targets, chunk: int, terms: Terms
) -> tuple[Scalar, tuple[Head, Hidden]]:
    """The loss and its gradients for dy = 1, those of the parameters in at least float32."""
    chunks = equal_chunks(hidden.shape[0], chunk)

    def step(sums: tuple[Scalar, Head, Hidden], k: Any) -> tuple[tuple[Scalar, Head, Hidden], None]:
        y, dparams, dhidden = sums
        rows, part = chunk_of_tokens(hidden, targets, chunks, k)
        value, residuals = linear_cross_entropy_forward(params, rows, part, terms)
        more, drows = weighted_sum_backward(params, rows, part, *residuals, terms)
        drows = (drows / targets.divisor).astype(hidden.dtype)
        return (y + value, jax.tree.map(jnp.add, dparams, more), add_at(dhidden, drows, chunks, k)), None

    wide = wide_dtype(hidden.dtype)
    zeros = jnp.zeros((), wide), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, wide), params), jnp.zeros_like(hidden)
    (y, dparams, dhidden), _ = lax.scan(step, zeros, chunks.numbers)
    return y, (scaled(dparams, 1 / targets.divisor), dhidden)


def linear_cross_entropy_by_tokens_backward(
    params: Head, gradients: tuple[Head, Hidden], dy: Scalar
) -> tuple[Head, Hidden]:
    return narrowed(scaled(gradients, dy), params, gradients[1].dtype)


def linear_cross_entropy_by_tokens_predict(
    params: Head, hidden: Hidden, targets: Targets, chunk: int, terms: Terms
) -> Scalar:
    """The loss alone, without gradients."""
    chunks = equal_chunks(hidden.shape[0], chunk)

    def step(y: Scalar, k: Any) -> tuple[Scalar, None]:
        return y + linear_cross_entropy_forward(params, *chunk_of_tokens(hidden, targets, chunks, k), terms)[0], None

    return lax.scan(step, jnp.zeros((), wide_dtype(hidden.dtype)), chunks.numbers)[0]


def chunk_of_tokens(
    hidden: Hidden, targets: Targets, chunks: Chunks, k: Any
) -> tuple[Float[Array, "size features"], Targets]:
    """The tokens of chunk k; those that were in the chunk before weigh nothing."""
    labels, weights = (slice_at(x, chunks, k) for x in targets[:2])
    return slice_at(hidden, chunks, k), Targets(labels, jnp.where(chunks.is_new(k), weights, 0), targets.divisor)


# By vocabulary: the normaliser in a running sum over chunks of columns, which the backward recomputes.


def linear_cross_entropy_by_vocabulary_forward(
    params: Head, hidden: Hidden, targets: Targets, chunk: int, terms: Terms
) -> tuple[Scalar, Tokens]:
    chunks = columns_of(params, chunk)
    tokens = jnp.zeros(hidden.shape[:1], wide_dtype(hidden.dtype))
    lowest = jnp.full_like(tokens, jnp.finfo(tokens.dtype).min)

    def step(sums: tuple[Tokens, Tokens, Tokens, Tokens], k: Any) -> tuple[tuple[Tokens, Tokens, Tokens, Tokens], None]:
        largest, exponentials, label_logit, logit_sum = sums
        logits = logits_forward(chunk_of_columns(params, chunks, k), hidden, terms.softcap)  # [tokens, length]
        is_new = chunks.is_new(k)[None]  # [1, length]
        new_largest = jnp.maximum(largest, jnp.max(logits, -1))
        new_exponentials = jnp.sum(jnp.where(is_new, jnp.exp(logits - new_largest[:, None]), 0), -1)
        exponentials = exponentials * jnp.exp(largest - new_largest) + new_exponentials
        local = targets.labels - chunks.start(k)
        found = jnp.take_along_axis(logits, local[:, None], -1, mode="clip")[:, 0]
        label_logit = jnp.where((local >= 0) & (local < chunks.length), found, label_logit)
        if terms.label_smoothing:
            logit_sum = logit_sum + jnp.sum(jnp.where(is_new, logits, 0), -1)
        return (new_largest, exponentials, label_logit, logit_sum), None

    sums, _ = lax.scan(step, (lowest, tokens, tokens, tokens), chunks.numbers)
    largest, exponentials, label_logit, logit_sum = sums
    log_normalizer = largest + jnp.log(exponentials)
    values = values_forward(log_normalizer, label_logit, logit_sum / chunks.size, terms)
    return weighted_sum(values, targets.weights) / targets.divisor, log_normalizer


def linear_cross_entropy_by_vocabulary_backward(
    params: Head, hidden: Hidden, targets: Targets, log_normalizer: Tokens, dy: Scalar, chunk: int, terms: Terms
) -> tuple[Head, Hidden]:
    chunks = columns_of(params, chunk)
    factor = dy.astype(targets.divisor.dtype) / targets.divisor

    def step(sums: tuple[Head, Hidden], k: Any) -> tuple[tuple[Head, Hidden], None]:
        dparams, dhidden = sums
        columns = chunk_of_columns(params, chunks, k)
        logits = logits_forward(columns, hidden, terms.softcap)  # [tokens, length]
        dlogits = values_backward(logits, targets, log_normalizer, chunks.size, terms, chunks.start(k))
        dlogits = jnp.where(chunks.is_new(k)[None], dlogits, 0)
        more, dpart = logits_backward(columns, hidden, logits, dlogits, terms.softcap)
        more, _ = narrowed((scaled(more, factor), dpart), columns, hidden.dtype)
        dparams = {name: add_at(leaf, more[name], chunks, k, axis_of(name)) for name, leaf in dparams.items()}
        return (dparams, dhidden + dpart), None

    zeros = jax.tree.map(jnp.zeros_like, params), jnp.zeros(hidden.shape, log_normalizer.dtype)
    (dparams, dhidden), _ = lax.scan(step, zeros, chunks.numbers)
    return dparams, scaled(dhidden, factor).astype(hidden.dtype)


def columns_of(params: Head, chunk: int) -> Chunks:
    name, leaf = next(iter(params.items()))
    return equal_chunks(leaf.shape[axis_of(name)], chunk)


def chunk_of_columns(params: Head, chunks: Chunks, k: Any) -> Head:
    return {name: slice_at(leaf, chunks, k, axis_of(name)) for name, leaf in params.items()}


def axis_of(name: str) -> int:
    """The axis of the vocabulary."""
    return 1 if name == "kernel" else 0
