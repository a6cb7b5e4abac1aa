"""decoding: a causal network that reads on, token by token, behind what it has read.

    reader = decoding(network)
    y, cache, _ = reader.forward(params, state, x, None)     the first tokens, [..., T] or [..., T, features]
    y, cache, _ = reader.forward(params, cache, x, None)     those behind them, usually one

y is what the network predicts for these tokens. The state of each layer is what it has to remember, and a layer that
does not take each position by itself says so by its rule "decode":

    decode(params, state, x) -> (y, new state)               state is () before the first token

Of what grows with every token it hands back `Entries` for the new ones alone, so that a step copies no cache.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .annotations import Array, Int, PyTree
from .combine.remat import REMAT
from .constructor import constructor
from .errors import LayerTypeError, LayerValueError, layer_scope
from .layer import Key, Layer, Params, Residuals, State
from .parts import Path, is_open, map_parts
from .validation import describe, is_floating


class Entries(NamedTuple):
    """What is remembered of each token, along axis -3."""

    array: Array

    def then(self, new: Entries, start: Array | int) -> Entries:
        """With new entries behind the first `start`."""
        old, own = self.array, new.array
        if old.ndim != own.ndim or (*old.shape[:-3], *old.shape[-2:]) != (*own.shape[:-3], *own.shape[-2:]):
            raise LayerValueError(f"expected a cache of the batch and heads of {describe(own)}, got {describe(old)}")
        return Entries(lax.dynamic_update_slice_in_dim(old, own.astype(old.dtype), start, old.ndim - 3))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """What a network remembers of `length` tokens, with room for `capacity`."""

    state: State
    length: Int[Array, ""] | int
    capacity: int = dataclasses.field(metadata={"static": True})


@constructor
def decoding(network: Layer, capacity: int | None = None) -> Layer:
    """The network reading on: its state is the network's before the first tokens, and then a `Cache`.

    `capacity` is how many tokens the cache has room for, by default as many as come first. It raises where there is
    no room for more, or gives NaN where the length is not known, inside jit. Under vmap lengths may differ.

    Layers must be causal, and each must have the rule "decode" or take each position by itself: others are refused.
    Attention has the rule if it is causal, recurrent layers if they are not reversed, positions always.
    """
    reader = reading(network)

    def run(params: Params, state: State, x: Array) -> tuple[PyTree, State]:
        with layer_scope("decoding"):
            time = tokens(x)
            first = not isinstance(state, Cache)
            cache = Cache(state, 0, time if capacity is None else capacity) if first else state
            check_room(cache, time)
            y, new, _ = reader.forward(params, cache.state, x, None)
            old = each_entry(partial(empty, cache.capacity), new) if first else cache.state
            state = each_entry(lambda new, old: old.then(new, cache.length), new, old)
            return y, Cache(state, jnp.asarray(cache.length + time, jnp.int32), cache.capacity)

    return forward_only(network, run).replace(name="decoding")


# The layers.


def reading(network: Layer) -> Layer:
    """The network whose new state has the `Entries` of the new tokens alone."""

    def inside_remat(layer: Layer, path: Path, walk: Any) -> Layer:
        return walk(layer.parts[0][1], (*path, layer.parts[0][0]))

    def read(layer: Layer, inside: Layer, path: Path) -> Layer:
        if "decode" in layer.rules:
            return forward_only(layer, partial(by_rule, layer))
        return inside if inside is not layer else forward_only(layer, partial(by_position, layer))

    return map_parts(network, {REMAT: inside_remat}, read, enter=remembers)


def remembers(layer: Layer) -> bool:
    """Whether it is a combinator with a rule somewhere inside; any other is taken as one layer."""
    return is_open(layer) and any("decode" in part.rules or remembers(part) for _, part in layer.parts)


def by_rule(layer: Layer, params: Params, state: State, x: PyTree) -> tuple[PyTree, State]:
    with layer_scope(layer.name):
        return layer.rules["decode"](params, state, x)


def by_position(layer: Layer, params: Params, state: State, x: PyTree) -> tuple[PyTree, State]:
    y = layer.predict(params, state, x)
    with layer_scope(layer.name):
        check_by_position(layer, params, state, x, y)
    return y, state


def check_by_position(layer: Layer, params: Params, state: State, x: PyTree, y: PyTree) -> None:
    """Leading axes are examples: a layer that takes a position without any takes each by itself."""
    leading = [leaf.shape[:-1] if is_floating(leaf) else leaf.shape for leaf in jax.tree.leaves(x)]
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[-1:] * is_floating(leaf), leaf.dtype), x)
    try:
        found = jax.eval_shape(layer.predict, params, state, one)
        problem = f"it gives {describe(found)}"
    except (TypeError, ValueError, IndexError) as error:
        found, problem = None, str(error)
    if jax.tree.map(jnp.shape, y) != jax.tree.map(lambda leaf: (*leading[0], *leaf.shape), found):
        raise LayerTypeError(
            f'expected a layer that takes each position by itself, or one with a rule "decode"; of one alone: {problem}'
        )


def forward_only(layer: Layer, run: Callable[[Params, State, Any], tuple[PyTree, State]]) -> Layer:
    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        return *run(params, state, x), ()

    def backward(*args: Any) -> Any:
        raise LayerTypeError("expected no backward of a network that decodes: train the network itself")

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        return run(params, state, x)[0]

    changed = {"forward": forward, "backward": backward, "predict": predict, "recompute": None, "needs": ()}
    return layer.replace(**changed, parts=(), with_parts=None)


# The cache.


def each_entry(f: Callable[..., Entries], new: State, *old: State) -> State:
    """The new state with f(entries, old entries) in the place of entries."""

    def changed(new: Any, *old: Any) -> Any:
        return f(new, *old) if isinstance(new, Entries) else new

    return jax.tree.map(changed, new, *old, is_leaf=lambda node: isinstance(node, Entries))


def empty(capacity: int, new: Entries) -> Entries:
    *batch, _, heads, features = new.array.shape
    return Entries(jnp.zeros((*batch, capacity, heads, features), new.array.dtype))


def tokens(x: Any) -> int:
    """How many tokens x has."""
    shape = getattr(x, "shape", ())
    time = shape[:-1] if shape and is_floating(x) else shape
    if not time or not time[-1]:
        raise LayerValueError(f"expected ids [..., time] or x [..., time, features] with a step, got {describe(x)}")
    return time[-1]


def check_room(cache: Cache, time: int) -> None:
    try:
        length = int(cache.length)
    except jax.errors.ConcretizationTypeError:
        return
    if length + time > cache.capacity:
        raise LayerValueError(
            f"expected room for {time} tokens behind {length}, got a capacity of {cache.capacity}: begin "
            "with a larger one"
        )
