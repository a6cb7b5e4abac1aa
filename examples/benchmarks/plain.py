"""The same functions without purenet: as one writes them for `jax.grad`, and as an expert does with `jax.checkpoint`.

Parameters are purenet's trees, so that values and gradients can be compared leaf by leaf.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

DOTS = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
NOTHING = jax.checkpoint_policies.nothing_saveable


def widen(x: Any) -> Any:
    """In float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def dense(params: Any, x: Any) -> Any:
    y = x @ params["kernel"]
    return y + params["bias"] if "bias" in params else y


def layer_norm(params: Any, x: Any) -> Any:
    wide = widen(x)
    mean = jnp.mean(wide, -1, keepdims=True)
    variance = jnp.mean((wide - mean) ** 2, -1, keepdims=True)
    normalized = ((wide - mean) * lax.rsqrt(variance + 1e-5)).astype(x.dtype)
    return normalized * params["scale"] + params["bias"]


def stack(block: Any, params: Any, x: Any, policy: Any = None) -> Any:
    """Blocks over stacked parameters; an expert checkpoints each with a policy."""
    if policy is not None:
        block = jax.checkpoint(block, policy=policy)
    return lax.scan(lambda x, each: (block(each, x), None), x, params)[0]


def cross_entropy(logits: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(widen(logits), labels).mean()


def head_loss(kernel: Any, hidden: Any, labels: Any) -> Any:
    return cross_entropy(hidden @ kernel, labels)


def expert_head_loss(kernel: Any, hidden: Any, labels: Any, chunks: int = 16) -> Any:
    """The mean over chunks of tokens, each made again in the backward."""

    @jax.checkpoint
    def chunk(total: Any, each: Any) -> Any:
        return total + head_loss(kernel, *each), None

    rows = hidden.reshape(chunks, -1, hidden.shape[-1]), labels.reshape(chunks, -1)
    return lax.scan(chunk, jnp.zeros((), widen(hidden).dtype), rows)[0] / chunks


def heads_of(qkv: Any, heads: int) -> Any:
    """q, k, v [batch, heads, time, d] of [batch, time, 3 heads d]."""
    batch, time, features = qkv.shape
    return jnp.moveaxis(qkv.reshape(batch, time, 3, heads, features // (3 * heads)), (2, 3), (0, 2))


def weighted_values(q: Any, k: Any, v: Any, first: Any = 0) -> Any:
    """Causal attention of the queries that stand from `first` on."""
    scores = widen(q @ jnp.swapaxes(k, -1, -2)) * q.shape[-1] ** -0.5
    seen = first + jnp.arange(q.shape[-2])[:, None] >= jnp.arange(k.shape[-2])
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)).astype(v.dtype)
    return weights @ v


def attention(qkv: Any, heads: int) -> Any:
    o = weighted_values(*heads_of(qkv, heads))
    return jnp.swapaxes(o, 1, 2).reshape(*qkv.shape[:2], -1)


def expert_attention(qkv: Any, heads: int, block: int = 256) -> Any:
    """A block of queries after the other, each made again in the backward."""
    q, k, v = heads_of(qkv, heads)
    block = min(block, q.shape[-2])
    blocks = jnp.moveaxis(q.reshape(*q.shape[:2], -1, block, q.shape[-1]), 2, 0)
    firsts = block * jnp.arange(len(blocks))
    o = lax.map(jax.checkpoint(lambda each: weighted_values(each[1], k, v, each[0])), (firsts, blocks))
    o = jnp.moveaxis(o, 0, 2).reshape(q.shape)
    return jnp.swapaxes(o, 1, 2).reshape(*qkv.shape[:2], -1)


def gelu_block(params: Any, x: Any) -> Any:
    hidden = jax.nn.gelu(dense(params["up"], layer_norm(params["norm"], x)))
    return x + dense(params["down"], hidden)


def swiglu_block(params: Any, x: Any) -> Any:
    gate, up = jnp.split(dense(params["up"], x), 2, -1)
    return x + dense(params["down"], jax.nn.silu(gate) * up)


def gpt_block(params: Any, x: Any, *, heads: int, attend: Any) -> Any:
    inner = params["attention"]
    qkv = dense(inner["qkv"], layer_norm(inner["norm"], x))
    x = x + dense(inner["out"], attend(qkv, heads))
    inner = params["mlp"]
    hidden = jax.nn.gelu(dense(inner["up"], layer_norm(inner["norm"], x)))
    return x + dense(inner["down"], hidden)


def gpt_loss(
    params: Any,
    ids: Any,
    labels: Any,
    *,
    heads: int,
    dtype: Any = jnp.float32,
    policy: Any = None,
    attend: Any = attention,
    loss: Any = head_loss,
) -> Any:
    """GPT-2's cross entropy; the parameters are cast where they are used, in the loop over blocks too."""
    body = params["body"]
    cast = functools.partial(jax.tree.map, lambda leaf: leaf.astype(dtype))
    x = cast(body["embed"]["embedding"])[ids] + cast(body["positions"]["embedding"])[: ids.shape[1]]
    block = functools.partial(gpt_block, heads=heads, attend=attend)
    x = stack(lambda each, x: block(cast(each), x), body["blocks"], x, policy)
    hidden = layer_norm(cast(body["norm"]), x)
    kernel = cast(body["embed"]["embedding"]).T
    return loss(kernel, hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1))


def reversible_block(params: Any, x: Any) -> Any:
    def branch(params: Any, x: Any) -> Any:
        return dense(params["down"], jax.nn.gelu(dense(params["up"], x)))

    first, second = jnp.split(x, 2, -1)
    first = first + branch(params["f"], second)
    return jnp.concatenate([first, second + branch(params["g"], first)], -1)


def conv_block(params: Any, x: Any) -> Any:
    """A convolution, batch norm and leaky ReLU."""
    x = lax.conv_general_dilated(
        x, params["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    x = (x - mean) * lax.rsqrt(variance + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
    return jax.nn.leaky_relu(x)


def lstm(params: Any, x: Any) -> Any:
    """x [batch, time, in] to the hidden states [batch, time, features]."""

    def step(carry: Any, x: Any) -> Any:
        hidden, cell = carry
        gates = x @ params["kernel"] + hidden @ params["recurrent_kernel"] + params["bias"]
        i, f, g, o = jnp.split(gates, 4, -1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    zeros = jnp.zeros((x.shape[0], params["recurrent_kernel"].shape[0]), x.dtype)
    return jnp.swapaxes(lax.scan(step, (zeros, zeros), jnp.swapaxes(x, 0, 1))[1], 0, 1)


def clipped_gradient(loss: Any, params: Any, batch: Any, max_norm: float) -> Any:
    """The mean of the examples' gradients, each formed, and scaled down to the norm."""
    gradients = jax.vmap(jax.grad(loss), (None, 0))(params, batch)
    squares = [jnp.sum(leaf.reshape(len(leaf), -1) ** 2, -1) for leaf in jax.tree.leaves(gradients)]
    factors = jnp.minimum(1, max_norm / jnp.sqrt(sum(squares)))
    return jax.tree.map(lambda leaf: jnp.tensordot(factors, leaf, 1) / len(factors), gradients)
