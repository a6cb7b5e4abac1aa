"""What goes through each layer of a network: parameters, state, x, key and y, and the true cotangent of y.

The network is made again with a recorder around every layer (`map_parts`). A recorder adds a probe of zeros to the
output y, so that the gradient of the probe is the cotangent of y, and hands out its point as its new state. One
compiled `jax.vjp` gives all points. Where a combinator hands its part no state, the part is out of reach: the loss of
an objective and what `per_example` maps over the examples are recorded in a second step; any other such combinator is
judged as one layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..combine.per_example import PER_EXAMPLE
from ..layer import Key, Layer, Params, Residuals, State
from ..objective import OBJECTIVE
from ..parts import Path, Walk, map_parts
from ..randomness import clone_key, split_key
from ..validation import batch_size, is_floating, is_key
from .nodes import Node, Step, everything_in, has_forward_of_parts, look_inside


class Sample(NamedTuple):
    """What went through a layer; stacked along a first axis for every `repeat` and `per_example` around it."""

    params: Params
    state: State
    x: PyTree
    key: Key
    y: PyTree
    dy: PyTree


Samples = dict[tuple[Step, ...], Sample]


class CannotLookInsideError(Exception):
    """The network's `init` does not give the states that came, so that there is no place for probes."""


# Recorders.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Probed:
    """The state that goes into a recorder: the layer's own state, and what is added to the floating leaves of y."""

    probe: list[Any]
    inside: State
    path: tuple[Step, ...] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recorded:
    """The state that comes out of a recorder: what went through the layer, and what was recorded inside it."""

    sample: Sample
    inside: State
    path: tuple[Step, ...] = dataclasses.field(metadata={"static": True})


def recorders(network: Node) -> Layer:
    """The network with a recorder around every layer that a state reaches."""
    above = len(network.path) - 1
    nodes = {keys(node)[above:]: node for node in everything_in(network)}

    def record_it(layer: Layer, inside: Layer, path: Path) -> Layer:
        return recorder(nodes[path], inside)

    def record_whole(layer: Layer, path: Path, walk: Walk) -> Layer:
        return recorder(nodes[path], layer)

    return map_parts(network.layer, {PER_EXAMPLE: record_whole}, record_it, enter=has_forward_of_parts)


def keys(node: Node) -> Path:
    return tuple(step.key for step in node.path[:-1])


def recorder(node: Node, inside: Layer) -> Layer:
    """The layer of the node, made of recorders as `inside` is, recording its first call; later ones just run."""

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, state = inside.init(clone_key(key), x)
        y = jax.eval_shape(lambda *args: node.layer.forward(*args)[0], params, own_state(state), x, key)
        return params, Probed([jnp.zeros(leaf.shape) for leaf in floating_leaves(y)], state, node.path)

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        if not isinstance(state, Probed):  # out of reach, or recorded by an earlier call
            y, new_state, residuals = node.layer.forward(params, own_state(state), x, key)
            return y, state if isinstance(state, Recorded) else new_state, residuals
        again = clone_key(key)
        y, new_state, _ = inside.forward(params, state.inside, x, key)
        probes = iter(state.probe)
        y = jax.tree.map(lambda leaf: leaf + next(probes).astype(leaf.dtype) if is_floating(leaf) else leaf, y)
        sample = Sample(params, own_state(state.inside), x, again, y, None)
        return y, Recorded(sample, new_state, node.path), ()

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        return node.layer.predict(params, own_state(state), x)

    def backward(*args: Any) -> Any:
        raise NotImplementedError("a recorder runs forward under jax.vjp")

    return Layer(init=init, forward=forward, backward=backward, predict=predict, needs=(), name=node.layer.name)


# Recording.


def look_through(layer: Layer, point: Sample) -> tuple[Node, Samples]:
    """The network and what goes through each of its layers, compiled where it can be."""
    network = look_inside(layer)

    def run(point: Sample) -> Samples:
        return record(network, *point._replace(key=clone_key(point.key)))

    try:
        samples = jax.jit(run)(fresh(point))
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        samples = run(point)  # a layer looks at values, which only works uncompiled
    except CannotLookInsideError:
        leaf = Node(network.path, layer)
        return leaf, {leaf.path: point}
    return within_reach(network, samples), samples


def within_reach(node: Node, samples: Samples) -> Node:
    """The tree with a leaf for every combinator some part of which was not recorded."""
    if not all(part.path in samples for part in node.parts):
        return Node(node.path, node.layer)
    return node._replace(parts=tuple(within_reach(part, samples) for part in node.parts))


def record(node: Node, params: Params, state: State, x: PyTree, key: Key, y: PyTree, dy: PyTree) -> Samples:
    """What goes through each layer of `node` when this goes through it; y is not used."""
    if not node.parts:
        return {node.path: Sample(params, state, x, key, y, dy)}
    layer = recorders(node)
    states = probed_states(layer, x, state)

    def run(probes: dict) -> tuple[list[Any], State]:
        y, recorded, _ = layer.forward(params, fill(states, probes, iter(jax.tree.leaves(state))), x, clone_key(key))
        return floating_leaves(y), recorded

    probes = {probed.path: [jnp.zeros(z.shape, z.dtype) for z in probed.probe] for probed in nested(states, Probed)}
    _, pull, recorded = jax.vjp(run, probes, has_aux=True)
    cotangents = pull(jax.tree.leaves(dy))[0]
    samples = {each.path: with_cotangent(each.sample, cotangents[each.path]) for each in nested(recorded, Recorded)}
    for each in everything_in(node):
        if each.path in samples:
            samples |= record_unreached(each, samples)
    return samples


def record_unreached(node: Node, samples: Samples) -> Samples:
    """What goes through the parts that a recorder does not reach, worked out from the combinator's own sample."""
    here = samples[node.path]
    if not node.parts:
        return {}
    if node.layer.kind is OBJECTIVE:
        net, loss = node.parts
        return record(loss, (), (), (samples[net.path].y, here.x[1]), None, None, here.dy)
    if node.layer.kind is PER_EXAMPLE:
        [each] = node.parts
        batch = batch_size(here.x)
        # All examples weigh the same, and ones reduce to the sum of their weights.
        ones = each.layer.replace(forward=lambda *args: (jnp.ones((), here.y.dtype), (), ()))
        assert node.layer.with_parts is not None
        weight = node.layer.with_parts([ones]).forward(here.params, (), here.x, None)[0] / batch
        keys = None if here.key is None else split_key(clone_key(here.key), batch)
        one = jax.vmap(lambda x, key: record(each, here.params, (), x, key, None, weight * here.dy))
        return one(here.x, keys)
    return {}


def probed_states(layer: Layer, x: PyTree, state: State) -> State:
    """The states for a network of recorders, as shapes."""
    try:
        states = jax.eval_shape(layer.init, jax.random.key(0), x)[1]
    except Exception as error:  # whatever a hand-made init may raise: the diagnosis goes on without it
        raise CannotLookInsideError from error
    if [np.shape(leaf) for leaf in own_leaves(states)] != [np.shape(leaf) for leaf in jax.tree.leaves(state)]:
        raise CannotLookInsideError
    return states


def is_node(tree: PyTree) -> bool:
    return isinstance(tree, (Probed, Recorded))


def nested(tree: PyTree, kind: type) -> Iterator[Any]:
    """All `Probed` or `Recorded` in a tree, those inside others too."""
    for leaf in jax.tree.leaves(tree, is_leaf=is_node):
        if isinstance(leaf, kind):
            yield leaf
            yield from nested(leaf.inside, kind)


def fill(states: State, probes: dict, own: Iterator[Any]) -> State:
    """The states with these probes and, in their order, the leaves of the network's own state."""

    def put(leaf: Any) -> Any:
        if isinstance(leaf, Probed):
            return Probed(probes[leaf.path], fill(leaf.inside, probes, own), leaf.path)
        return next(own)

    return jax.tree.map(put, states, is_leaf=is_node)


def own_leaves(states: State) -> list[Any]:
    """The leaves of the network's own state."""
    found = []
    for leaf in jax.tree.leaves(states, is_leaf=is_node):
        found += own_leaves(leaf.inside) if is_node(leaf) else [leaf]
    return found


def own_state(states: State) -> State:
    """The state without probes; () if there is nothing else, as the contract says."""
    if not any(map(is_node, jax.tree.leaves(states, is_leaf=is_node))):
        return states
    own = jax.tree.map(lambda leaf: own_state(leaf.inside) if is_node(leaf) else leaf, states, is_leaf=is_node)
    return own if jax.tree.leaves(own) else ()


def with_cotangent(sample: Sample, cotangents: list[Any]) -> Sample:
    each = iter(cotangents)
    dy = jax.tree.map(lambda leaf: next(each).astype(leaf.dtype) if is_floating(leaf) else None, sample.y)
    return sample._replace(dy=dy)


def floating_leaves(tree: PyTree) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if is_floating(leaf)]


# Points.


def pick(sample: Sample, index: tuple[int, ...]) -> Sample:
    """The sample of one copy."""
    if not index:
        return sample
    fresh_keys = fresh(sample)  # taking a key out of a stack uses the stack up
    return jax.tree.map(lambda leaf: leaf[index] if is_key(leaf) else jnp.asarray(leaf[index]), fresh_keys)


def fresh(point: Sample) -> Sample:
    """The point with its keys cloned, for one more use of each on purpose."""
    return jax.tree.map(lambda leaf: clone_key(leaf) if is_key(leaf) else leaf, point)


def on_host(sample: Sample) -> Sample:
    """The sample as numpy arrays but for keys, so that picking from it compiles nothing."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), sample)
