"""The next token of logits: the most likely one, or one drawn from the most likely.

    p = softmax(logits / temperature), of the top_k most likely, of these the fewest whose p add up to top_p at least

Top-k: Fan, Lewis & Dauphin, *Hierarchical Neural Story Generation* (2018); top-p: Holtzman et al., *The Curious Case
of Neural Text Degeneration* (2020). Of equal logits the first come first.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ...annotations import Array, Float, Int
from ...precision import widen

Logits = Float[Array, "... vocabulary"]
Tokens = Int[Array, "..."]
Number = float | Array


def greedy(logits: Logits) -> Tokens:
    return jnp.argmax(logits, -1).astype(jnp.int32)


def sample(
    logits: Logits, key: Array, temperature: Number = 1.0, top_k: int | None = None, top_p: Number | None = None
) -> Tokens:
    """One token for each of the leading axes, drawn independently."""
    logits = widen(logits)
    logits = logits / jnp.asarray(temperature, logits.dtype)
    if top_k is None and top_p is None:
        return jax.random.categorical(key, logits).astype(jnp.int32)
    vocabulary = logits.shape[-1]
    likely, tokens = lax.top_k(logits, vocabulary if top_k is None else min(top_k, vocabulary))  # [..., k], falling
    if top_p is not None:
        likely = jnp.where(nucleus(likely, top_p), likely, -jnp.inf)
    drawn = jax.random.categorical(key, likely)[..., None]  # [..., 1]
    return jnp.take_along_axis(tokens, drawn, -1)[..., 0].astype(jnp.int32)


def nucleus(falling: Logits, top_p: Number) -> Array:
    """True for the first of falling logits until their probabilities add up to top_p; for one at least."""
    p = jax.nn.softmax(falling)
    before = jnp.cumsum(p, -1) - p  # what the more likely ones add up to
    return (before < top_p).at[..., 0].set(True)
