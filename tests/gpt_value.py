"""GPT and Llama written again with NumPy, one example and one head at a time, to compare with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn

TINY = pn.models.GPTConfig(vocab_size=31, context_length=12, features=16, blocks=2, heads=2)
LLAMA = TINY._replace(
    heads=4,
    kv_heads=2,
    head_features=6,
    hidden=24,
    norm="rms_norm",
    norm_epsilon=1e-3,
    activation="swiglu",
    positions="rotary",
    rotary_base=50.0,
    use_bias=False,
    tied=False,
    qk_norm=True,
)


def drawn(config: Any, seed: int = 0) -> Any:
    """Parameters of either, away from ones and zeros."""
    ids, random = jax.ShapeDtypeStruct((1,), np.int32), np.random.default_rng(seed)
    shapes, _ = jax.eval_shape(pn.models.gpt(config).init, jax.random.key(0), ids)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0.1, 0.4, leaf.shape), leaf.dtype), shapes)


def logits_of(config: Any, params: Any, ids: Any) -> Any:
    """ids [batch, time] to logits [batch, time, vocabulary]."""
    params, body = jax.tree.map(np.asarray, params), jax.tree.map(np.asarray, params["body"])
    head = body["embed"]["embedding"].T if config.tied else params["head"]["kernel"]
    blocks = [jax.tree.map(lambda leaf, k=k: leaf[k], body["blocks"]) for k in range(config.blocks)]
    rows = []
    for row in np.asarray(ids):
        z = body["embed"]["embedding"][row]
        if config.positions == "learned":
            z = z + body["positions"]["embedding"][: len(row)]
        for block in blocks:
            z = z + attended(config, block["attention"], z)
            z = z + multiplied(config, block["mlp"], z)
        rows.append(normed(config, body["norm"], z) @ head)
    return np.stack(rows)


def normed(config: Any, params: Any, x: Any) -> Any:
    if config.norm == "rms_norm":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_epsilon) * params["scale"]
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_epsilon) * params["scale"] + params["bias"]


def affine(params: Any, x: Any) -> Any:
    return x @ params["kernel"] + params.get("bias", 0.0)


def attended(config: Any, params: Any, x: Any) -> Any:
    heads, shared = config.heads, config.kv_heads or config.heads
    packed = affine(params["qkv"], normed(config, params["norm"], x))
    d = packed.shape[-1] // (heads + 2 * shared)
    each = np.split(packed, heads + 2 * shared, -1)
    outputs = []
    for h in range(heads):
        k, v = heads + h * shared // heads, heads + shared + h * shared // heads
        q, key = (ready(config, params["attend"], name, each[i]) for name, i in (("query", h), ("key", k)))
        o = np.zeros_like(each[v])
        for t in range(len(x)):
            weights = np.exp(q[t] @ key[: t + 1].T / np.sqrt(d))
            o[t] = weights @ each[v][: t + 1] / weights.sum()
        outputs.append(o)
    return affine(params["out"], np.concatenate(outputs, -1))


def ready(config: Any, params: Any, name: str, x: Any) -> Any:
    if config.qk_norm:
        x = normed(config, params[name]["norm"] if config.positions == "rotary" else params[name], x)
    if config.positions == "rotary":
        half = x.shape[-1] // 2
        angles = np.arange(len(x))[:, None] * config.rotary_base ** (-np.arange(half) / half)
        turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
        x = np.concatenate([turned.real, turned.imag], -1)
    return x


def multiplied(config: Any, params: Any, x: Any) -> Any:
    h = affine(params["up"], normed(config, params["norm"], x))
    if config.activation == "swiglu":
        gate, value = np.split(h, 2, -1)
        h = gate / (1 + np.exp(-gate)) * value
    else:
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    return affine(params["down"], h)
