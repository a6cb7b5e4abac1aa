"""Top-k routing: which experts a token goes to, with what weight, and two losses that keep the router healthy.

    p = softmax(logits) [..., experts],  chosen = the k largest, of equal ones the first      [..., k]
    g = p[chosen], divided by their sum with `renormalise` (Mixtral), or as they are (Switch)  [..., k]
    balance = experts sum_i f_i P_i,  f_i the part of the tokens that chose i,  P_i the mean of p_i
    z       = mean of logsumexp(logits)^2

No gradient flows through the choice: `chosen` and f are constants; the balance acts on the router through P.
With k choices a token the f_i add up to k, which is what a uniform router's balance is. Both are at least float32.
Fedus, Zoph & Shazeer, *Switch Transformers* (2021), balance; Zoph et al., *ST-MoE* (2022), z.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, Int
from ..precision import widen
from .softmax import softmax_backward

Logits = Float[Array, "... experts"]
Chosen = Int[Array, "... k"]
Gates = Float[Array, "... k"]
Scalar = Float[Array, ""]


def routing_forward(logits: Logits, top_k: int, renormalise: bool) -> tuple[Gates, Chosen]:
    _, chosen = lax.top_k(jax.nn.softmax(widen(logits)), top_k)  # [..., k]
    return routing_recompute(logits, chosen, renormalise), chosen


def routing_recompute(logits: Logits, chosen: Chosen, renormalise: bool) -> Gates:
    top = jnp.take_along_axis(jax.nn.softmax(widen(logits)), chosen, -1)  # [..., k]
    return top / jnp.sum(top, -1, keepdims=True) if renormalise else top


def routing_backward(logits: Logits, chosen: Chosen, dgates: Gates, renormalise: bool) -> Logits:
    probabilities = jax.nn.softmax(widen(logits))  # [..., experts]
    dtop = dgates
    if renormalise:
        top = jnp.take_along_axis(probabilities, chosen, -1)
        total = jnp.sum(top, -1, keepdims=True)
        # gates = top / total, where every gate feels every top through total
        dtop = (dgates - jnp.sum(dgates * top, -1, keepdims=True) / total) / total
    # top = probabilities[chosen]
    picked = jax.nn.one_hot(chosen, logits.shape[-1], dtype=dtop.dtype)  # [..., k, experts]
    dprobabilities = jnp.sum(picked * jnp.expand_dims(dtop, -1), -2)  # [..., experts]
    return softmax_backward(probabilities, dprobabilities, -1).astype(logits.dtype)


def load_balancing_forward(logits: Logits, chosen: Chosen) -> Scalar:
    experts = logits.shape[-1]
    mean = jnp.sum(jax.nn.softmax(widen(logits)).reshape(-1, experts), 0) / tokens_of(logits)  # [experts]
    return experts * jnp.sum(shares(chosen, experts, mean.dtype) * mean)


def load_balancing_backward(logits: Logits, chosen: Chosen, dloss: Scalar) -> Logits:
    probabilities = jax.nn.softmax(widen(logits))
    experts = logits.shape[-1]
    # loss = experts * sum(shares * mean(probabilities))
    dmean = experts * dloss * shares(chosen, experts, dloss.dtype)  # [experts]
    dprobabilities = jnp.broadcast_to(dmean.astype(probabilities.dtype) / tokens_of(logits), logits.shape)
    return softmax_backward(probabilities, dprobabilities, -1).astype(logits.dtype)


def shares(chosen: Chosen, experts: int, dtype: jnp.dtype) -> Float[Array, " experts"]:
    """The part of the tokens that chose each expert."""
    return jnp.bincount(chosen.reshape(-1), length=experts).astype(dtype) / tokens_of(chosen)


def tokens_of(logits: Array) -> int:
    """How many tokens; 1 where there are none, whose losses are 0."""
    return max(1, math.prod(logits.shape[:-1]))


def router_z_forward(logits: Logits) -> Scalar:
    return jnp.sum(jnp.square(jax.nn.logsumexp(widen(logits), -1))) / tokens_of(logits)


def router_z_backward(logits: Logits, dloss: Scalar) -> Logits:
    wide = widen(logits)
    z = jax.nn.logsumexp(wide, -1, keepdims=True)  # [..., 1]
    # loss = mean(z^2), and the gradient of z is softmax(logits)
    return (2 / tokens_of(logits) * dloss.astype(wide.dtype) * z * jax.nn.softmax(wide)).astype(logits.dtype)
