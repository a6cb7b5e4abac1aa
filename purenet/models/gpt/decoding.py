"""generate, prefill, decode_step: text token by token, the keys and values of what has been read kept in a cache.

    prefill      ids [..., T]         -> logits [..., vocabulary] of what comes next, and the cache
    decode_step  cache, ids [..., n]  -> the same behind n more tokens, usually one
    generate     prompt [..., T]      -> tokens [..., steps]

Causal attention never looks ahead, so that the keys and values of a token stay what they are when more come behind
it: a step costs one token's products and a look at the cache, where the whole network costs all tokens again. The
network is `gpt` itself, reading on: `purenet.decoding`. Everything is pure; the cache is a pytree of arrays.
Shazeer, *Fast Transformer Decoding* (2019), section 2.4; shared key and value heads shrink the cache alike.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ...annotations import Array, Float, Int, Integer
from ...errors import LayerTypeError, LayerValueError, layer_scope
from ...layer import Layer, Params, State
from ...layers.attention_blocks import Block
from ...layers.embedding import check_indices
from ...parts import Path, map_parts
from ...reading import Cache, decoding
from ...validation import describe
from .config import GPTConfig, check_config
from .network import gpt
from .sampling import Number, greedy, sample

Ids = Integer[Array, "... time"]
Logits = Float[Array, "... vocabulary"]


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
        if capacity is not None:
            check_length(config, capacity, "a capacity of")
        return read_on(gpt(config, block=block), capacity, params, (), ids)


def decode_step(config: GPTConfig, params: Params, cache: Cache, ids: Ids) -> tuple[Logits, Cache]:
    """(logits [..., vocabulary] of what comes behind ids [..., n], cache with these behind what it has).

    n is 1 for a step; more are read at once. Where the cache has no room for them, the logits are NaN, and it raises if
    its length is known, as it is outside jit. Under `jax.vmap` each example may have a cache of a length of its own.
    """
    with layer_scope("decode_step"):
        return read_on(gpt(config), None, params, cache, ids)


def read_on(network: Layer, capacity: int | None, params: Params, state: State, ids: Ids) -> tuple[Logits, Cache]:
    def at_the_end(layer: Layer, inside: Layer, path: Path) -> Layer:
        def decode(params: Params, state: State, x: Array) -> tuple[Array, State]:
            return layer.predict(params, state, x[..., -1:, :]), state

        return layer.replace(rules={"decode": decode}) if path[-2:] == (".body", ".norm") else inside

    reader = decoding(map_parts(network, {}, at_the_end), capacity)
    logits, cache, _ = reader.forward(params, state, ids, None)
    return logits[..., 0, :], cache


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
