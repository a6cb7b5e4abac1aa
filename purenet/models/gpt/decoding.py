"""generate, prefill, decode_step: text token by token, the keys and values of what has been read kept in a cache.

    prefill      ids [..., T]         -> logits [..., vocabulary] of what comes next, and the cache
    decode_step  cache, ids [..., n]  -> the same behind n more tokens, usually one
    generate     prompt [..., T]      -> tokens [..., steps]

Causal attention never looks ahead, so that the keys and values of a token stay what they are when more come behind
it: a step costs one token's products and a look at the cache, where the whole network costs all tokens again. Cached
are keys as attention takes them, normalised and turned. Everything is pure; the cache is a pytree of arrays.
Shazeer, *Fast Transformer Decoding* (2019), section 2.4; shared key and value heads shrink the cache alike.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ...annotations import Array, Float, Int, Integer
from ...errors import LayerTypeError, LayerValueError, layer_scope
from ...layer import Params
from ...layers.attention import attention_forward
from ...layers.attention_blocks import Block, block_attention_forward
from ...layers.embedding import check_indices, embedding_forward
from ...layers.packed_attention import merge_heads, split_heads
from ...validation import describe
from .config import GPTConfig, check_config
from .network import attention_branch, gpt, mlp_branch, norm, preparation
from .sampling import Number, greedy, sample

Ids = Integer[Array, "... time"]
Positions = Int[Array, "... time"]
Stream = Float[Array, "... time features"]
Heads = Float[Array, "... time _ d"]
Cached = Float[Array, "blocks ... capacity kv_heads d"]
Logits = Float[Array, "... vocabulary"]


class Cache(NamedTuple):
    """Keys and values of `length` tokens, with room for as many as their axis -3 is long."""

    keys: Cached
    values: Cached
    length: Int[Array, ""]


def generate(
    config: GPTConfig,
    params: Params,
    prompt: Ids,
    steps: int,
    *,
    key: Array | None = None,
    temperature: Number = 1.0,
    top_k: int | None = None,
    top_p: Number | None = None,
    block: Block | None = None,
) -> Int[Array, "... steps"]:
    """`steps` tokens behind the prompt [..., T], each the most likely one, or with a key drawn from the `top_k` most
    likely, of which `top_p` of the probability, at this temperature; 0 is the same as no key.

    `block`: attention to the prompt in blocks, as in `gpt`. Compiled once for each configuration, shape and number of
    steps. Raises if prompt and steps do not fit into the table of positions or an id is not in the vocabulary.
    """
    with layer_scope("generate"):
        steps = check_generation(config, prompt, steps, temperature, top_k, top_p)
        if isinstance(temperature, (int, float)) and temperature == 0:
            key = None
        if key is None:
            top_k = top_p = None
        return generated(config, params, prompt, steps, key, temperature, top_k, top_p, block)


@functools.partial(jax.jit, static_argnames=("config", "steps", "top_k", "block"))
def generated(
    config: GPTConfig,
    params: Params,
    prompt: Ids,
    steps: int,
    key: Array | None,
    temperature: Number,
    top_k: int | None,
    top_p: Number | None,
    block: Block | None,
) -> Int[Array, "... steps"]:
    def choose(logits: Logits, key: Array | None) -> Int[Array, ...]:
        return greedy(logits) if key is None else sample(logits, key, temperature, top_k, top_p)

    def step(now: tuple, key: Array | None) -> tuple:
        cache, token = now
        logits, cache = decode_step(config, params, cache, token[..., None])
        token = choose(logits, key)
        return (cache, token), token

    logits, cache = prefill(config, params, prompt, prompt.shape[-1] + steps - 1, block=block)  # the last is not read
    keys = None if key is None else jax.random.split(key, steps)
    first = choose(logits, None if keys is None else keys[0])
    _, rest = lax.scan(step, (cache, first), None if keys is None else keys[1:], length=steps - 1)
    return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, -1)


def prefill(
    config: GPTConfig, params: Params, ids: Ids, capacity: int | None = None, *, block: Block | None = None
) -> tuple[Logits, Cache]:
    """(logits [..., vocabulary] of what comes behind ids [..., T], cache of these) in one pass.

    `capacity`, T by default, is how many tokens the cache has room for. It is bounded by the table of positions.
    `block`: attention to the prompt in blocks, as in `gpt`.
    """
    with layer_scope("prefill"):
        check_config("prefill", config)
        check_ids(config, ids)
        jax.eval_shape(gpt(config).predict, params, (), ids)  # that the parameters fit
        time = ids.shape[-1]
        capacity = time if capacity is None else capacity
        if capacity < time:
            raise LayerValueError(f"expected a capacity of at least the {time} tokens there are, got {capacity}")
        check_length(config, capacity, "a capacity of")
        positions = jnp.arange(time, dtype=jnp.int32)
        x, (keys, values) = run_blocks(config, params, embed(config, params, ids, positions), positions, block=block)
        keys, values = (roomy(part, capacity) for part in (keys, values))
        return next_logits(config, params, x), Cache(keys, values, jnp.int32(time))


def decode_step(config: GPTConfig, params: Params, cache: Cache, ids: Ids) -> tuple[Logits, Cache]:
    """(logits [..., vocabulary] of what comes behind ids [..., n], cache with these behind what it has).

    n is 1 for a step; more are read at once. Where the cache has no room for them, the logits are NaN, and it raises if
    its length is known, as it is outside jit. Under `jax.vmap` each example may have a cache of a length of its own.
    """
    with layer_scope("decode_step"):
        check_config("decode_step", config)
        check_ids(config, ids)
        check_cache(config, cache, ids)
        time, capacity = ids.shape[-1], cache.keys.shape[-3]
        positions = cache.length + jnp.arange(time, dtype=jnp.int32)
        x = embed(config, params, ids, positions)
        x = jnp.where(cache.length + time <= capacity, x, jnp.nan)
        x, new = run_blocks(config, params, x, positions, cache=cache)
        keys, values = (placed(old, part, cache.length) for old, part in zip(cache, new, strict=False))
        return next_logits(config, params, x), Cache(keys, values, cache.length + time)


# The network, with the keys and values of each block handed out.


def embed(config: GPTConfig, params: Params, ids: Ids, positions: Positions) -> Stream:
    body = params["body"]
    x = embedding_forward(body["embed"], ids)  # [..., time, features]
    if config.positions == "learned":
        table = body["positions"]["embedding"]
        x = x + jnp.broadcast_to(table.at[positions].get(mode="fill", fill_value=jnp.nan), x.shape)
    return x


def run_blocks(
    config: GPTConfig,
    params: Params,
    x: Stream,
    positions: Positions,
    *,
    cache: Cache | None = None,
    block: Block | None = None,
) -> tuple[Stream, tuple[Cached, Cached]]:
    """x behind all blocks, and the keys and values of its own tokens."""

    def step(x: Stream, each: tuple) -> tuple[Stream, tuple]:
        own_params, keys, values = each
        x, own = attention_step(config, own_params["attention"], x, positions, (keys, values), block)
        return x + mlp_branch(config).predict(own_params["mlp"], (), x), own

    old = (None, None) if cache is None else (cache.keys, cache.values)
    return lax.scan(step, x, (params["body"]["blocks"], *old))


def attention_step(
    config: GPTConfig, params: Params, x: Stream, positions: Positions, old: tuple[Any, Any], block: Block | None
) -> tuple[Stream, tuple[Heads, Heads]]:
    """x + its attention to itself, or to what is in the cache and then itself; its own keys and values."""
    heads, kv_heads = config.heads, config.kv_heads_count
    layers = {key.removeprefix("."): layer for key, layer in attention_branch(config).parts}
    packed = layers["norm"].predict(params["norm"], (), x)
    packed = layers["qkv"].predict(params["qkv"], (), packed)
    q, k, v = jnp.split(split_heads(packed, heads + 2 * kv_heads), (heads, heads + kv_heads), -2)
    of_q, of_k = (params["attend"]["query"], params["attend"]["key"]) if config.qk_norm else ((), ())
    q, k = prepared(config, of_q, q, positions), prepared(config, of_k, k, positions)
    if old[0] is None:
        attention = attention_forward if block is None else functools.partial(block_attention_forward, block=block)
        o, _ = attention(q, k, v, causal=True)
    else:
        keys, values = (placed(part, own, positions[0]) for part, own in zip(old, (k, v), strict=True))
        seen = positions[:, None] >= jnp.arange(keys.shape[-3], dtype=jnp.int32)[None]  # [time, capacity]
        o, _ = attention_forward(q, keys, values, seen)
    return x + layers["out"].predict(params["out"], (), merge_heads(o)), (k, v)


def prepared(config: GPTConfig, params: Params, x: Heads, positions: Positions) -> Heads:
    """Queries or keys as `packed_attention` takes them, normalised and turned."""
    how = preparation(config)
    if "qk_norm" in how:
        x = how["qk_norm"].predict(params["norm"] if "rotary" in how else params, (), x)
    if "rotary" in how:
        x = how["rotary"].predict((), (), (x, jnp.broadcast_to(positions, x.shape[:-2])))
    return x


def next_logits(config: GPTConfig, params: Params, x: Stream) -> Logits:
    last = norm(config).predict(params["body"]["norm"], (), x[..., -1, :])
    return last @ (params["body"]["embed"]["embedding"].T if config.tied else params["head"]["kernel"])


def placed(old: Array, new: Array, start: Array) -> Array:
    """The cache with new entries behind the `start` it has."""
    return lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), start, old.ndim - 3)


def roomy(x: Array, capacity: int) -> Array:
    """[..., time, kv_heads, d] with zeros up to the capacity."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(0, capacity - x.shape[-3]), (0, 0), (0, 0)])


# Checks.


def check_generation(config: GPTConfig, prompt: Any, steps: Any, temperature: Any, top_k: Any, top_p: Any) -> int:
    """Raise unless everything fits; numbers that are traced are not looked at. Returns the number of steps."""
    check_config("generate", config)
    check_ids(config, prompt)
    try:
        steps = operator.index(steps)
    except TypeError:
        raise LayerTypeError(f"expected steps as a number known when compiling, got {describe(steps)}") from None
    if steps < 1:
        raise LayerValueError(f"expected at least 1 step, got {steps}")
    check_length(config, prompt.shape[-1] + steps - 1, f"a prompt of {prompt.shape[-1]} and {steps} steps, in all")
    if isinstance(temperature, (int, float)) and not temperature >= 0:
        raise LayerValueError(f"expected a temperature of at least 0, got {temperature!r}")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise LayerValueError(f"expected top_k of at least 1, got {top_k!r}")
    if isinstance(top_p, (int, float)) and not 0 < top_p <= 1:
        raise LayerValueError(f"expected top_p in (0, 1], got {top_p!r}")
    return steps


def check_ids(config: GPTConfig, ids: Any) -> None:
    check_indices(ids, config.vocab_size)
    if ids.ndim < 1 or ids.shape[-1] < 1:
        raise LayerValueError(f"expected ids [..., time] with at least one step, got {describe(ids)}")


def check_length(config: GPTConfig, length: int, what: str) -> None:
    if config.positions == "learned" and length > config.context_length:
        raise LayerValueError(
            f"expected at most the {config.context_length} positions of the table, got {what} {length}"
        )


def check_cache(config: GPTConfig, cache: Cache, ids: Ids) -> None:
    """Raise unless the cache is of this configuration and batch and, where its length is known, has room."""
    size = (config.kv_heads_count, config.head_size)
    expected = (config.blocks, *ids.shape[:-1], cache.keys.shape[-3], *size)
    if cache.keys.shape != expected or cache.values.shape != expected:
        raise LayerValueError(f"expected a cache {list(expected)} for ids {describe(ids)}, got {describe(cache.keys)}")
    try:
        length = int(cache.length)
    except jax.errors.ConcretizationTypeError:
        return
    if length + ids.shape[-1] > cache.keys.shape[-3]:
        raise LayerValueError(
            f"expected room for {ids.shape[-1]} tokens behind {length} in a cache of {cache.keys.shape[-3]}: give "
            "prefill a larger capacity"
        )
