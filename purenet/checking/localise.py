"""Which layer of a network is wrong: every layer by itself, at its own point, with the true cotangent of its output.

A wrong backward spoils the gradients of all layers before it, so that a network's gradient does not say where the
mistake is. Here every layer is fed the cotangent that `jax.vjp` of the whole forward gives it: one mistake, one blame.

1. The network is assembled anew (`Layer.with_parts`), with a recorder around every layer and combinator. A recorder
   adds a probe of zeros to the output y, so that the gradient of the probe is the cotangent of y, and hands out its
   point as its new state: parameters, state, x, key and y. One compiled `jax.vjp` gives all points.
2. Every layer without parts is judged at its points; what is wrong is blamed.
3. The blamed ones are given autodiff's backward. If the network is still wrong, so is a combinator: the way leads
   inwards along combinators that are wrong, to the one whose parts are all right.

Two kinds of part are out of reach of a recorder's state, and recorded in a second step: the loss of an objective, and
what `per_example` maps over the examples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..layer import Key, Layer, Params, Residuals, State
from ..randomness import clone_key, split_key
from ..static import Static

TOLERANCE = 1e-9
BACKWARD, RECOMPUTE, PLUMBING = "backward", "recompute", "plumbing"
COPIES, EXAMPLES = "copies", "examples"

Agrees = Callable[[Layer, Params, State, PyTree, Key, PyTree], bool]


class Blame(NamedTuple):
    """A layer that is wrong, with all that is needed to run it alone: the point where it is, and the true cotangent.

    `reason`: "backward", its gradient disagrees with autodiff's; "recompute", its gradient is right, but `recompute`
    gives another y than forward; "plumbing", a combinator's gradient is wrong though all its parts are right.
    `plumbing` is true of a combinator. `dy` is None where y holds integers.
    """

    path: str
    layer: Layer
    params: Params
    state: State
    x: PyTree
    key: Key
    dy: PyTree
    plumbing: bool
    reason: str


class Step(NamedTuple):
    """One step of a path: what is printed, the part's key, and what is stacked in the points behind it, if anything."""

    text: str
    key: str = ""
    axis: str = ""


class Node(NamedTuple):
    """A layer where it stands. `kind` is the combinator's, whatever its name; a leaf has neither kind nor parts."""

    path: tuple[Step, ...]
    layer: Layer
    kind: str = ""
    parts: tuple[Node, ...] = ()


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


def localise(
    layer: Layer, params: Params, state: State, x: PyTree, key: Key, dy: PyTree, agrees: Agrees
) -> list[Blame]:
    """The layers of a network that are wrong, in the order of the network, then combinators from the inside out.

    `agrees(layer, params, state, x, key, dy)` runs the layer's backward and `jax.vjp` of its forward at one point and
    compares; an exception inside the hand-written backward is a disagreement, and it must not raise. It is given a
    fresh key each time, and clones it if it needs it twice.

    Each layer of a `repeat` is judged in every block: `repeat[3].dense` if only some are wrong, else `repeat.dense`,
    at the last block. In `per_example` it is judged example by example, and blamed at the first where it is wrong.
    A right network gives []. Run it under `jax.enable_x64(True)`, with values in float64.

    What it cannot see: a mistake that makes no difference at this point, and a combinator whose `backward` was
    replaced while a layer inside it is wrong too: that shows when the layer is mended. A combinator without
    `with_parts`, or whose `forward` was replaced, is judged as one layer.
    """
    point = Sample(params, state, x, key, None, dy)
    network, samples = look_through(layer, point)
    blames = {}
    for leaf in leaves(network):
        if found := judge(leaf, leaf.layer, samples[leaf.path], agrees):
            blames[leaf.path] = found
    blames |= judge_combinators(network, frozenset(blames), samples, agrees)
    return [blame for found in blames.values() for blame in found]


# The network as a tree.


def look_inside(layer: Layer, before: tuple[Step, ...] = ()) -> Node:
    """The layer and its parts; a leaf if it cannot be assembled anew, or would have another forward then."""
    path = (*before, Step(layer.name))
    if layer.with_parts is None or not layer.parts:
        return Node(path, layer)
    anew = layer.with_parts([part for _, part in layer.parts])
    if code(anew.forward) is not code(layer.forward):
        return Node(path, layer)
    parts = [look_inside(part, (*before, step(anew.name, layer.name, key))) for key, part in layer.parts]
    return Node(path, layer, anew.name, tuple(parts))


def code(function: Callable[..., Any]) -> Any:
    """What tells a combinator's own function from one that replaced it: closures of one `def` share their code."""
    return getattr(function, "__code__", function)


def step(kind: str, name: str, key: str) -> Step:
    """The step into a part, as `purenet.errors.layer_scope` names it."""
    silent = kind in ("residual", "remat", "objective", "per_example", "repeat")
    return Step(name if silent else name + key, key, {"repeat": COPIES, "per_example": EXAMPLES}.get(kind, ""))


def leaves(node: Node) -> Iterator[Node]:
    if not node.parts:
        yield node
    for part in node.parts:
        yield from leaves(part)


def within_reach(node: Node) -> Iterator[Node]:
    """The node and all inside it that its recorder reaches."""
    yield node
    for part in reached(node):
        yield from within_reach(part)


def reached(node: Node) -> tuple[Node, ...]:
    """The parts whose states the combinator hands through."""
    return {"objective": node.parts[:1], "per_example": ()}.get(node.kind, node.parts)


# Recording.


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


def recorder(node: Node) -> Layer:
    """The same layer, made of recorders where it has parts, recording itself."""
    layer = node.layer
    if reached(node):
        assert layer.with_parts is not None
        unreached = [part.layer for part in node.parts[len(reached(node)) :]]
        layer = layer.with_parts([*(recorder(part) for part in reached(node)), *unreached])

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, state = layer.init(clone_key(key), x)
        y = jax.eval_shape(lambda *args: node.layer.forward(*args)[0], params, own_state(state), x, key)
        return params, Probed([jnp.zeros(leaf.shape) for leaf in floating_leaves(y)], state, node.path)

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        again = clone_key(key)
        y, inside, _ = layer.forward(params, state.inside, x, key)
        probes = iter(state.probe)
        y = jax.tree.map(lambda leaf: leaf + next(probes).astype(leaf.dtype) if is_floating(leaf) else leaf, y)
        sample = Sample(params, own_state(state.inside), x, again, y, None)
        return y, Recorded(sample, inside if node.parts else (), node.path), ()

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        return node.layer.predict(params, own_state(state.inside), x)

    def backward(*args: Any) -> Any:
        raise NotImplementedError("a recorder runs forward under jax.vjp")

    return Layer(init=init, forward=forward, backward=backward, predict=predict, needs=(), name=node.layer.name)


def look_through(layer: Layer, point: Sample) -> tuple[Node, Samples]:
    """The network and what goes through each of its layers, compiled where it can be."""
    network = look_inside(layer)

    def run(point: Sample) -> Samples:
        return record(network, *point._replace(key=clone_key(point.key)))

    try:
        return network, jax.jit(run)(fresh(point))
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        return network, run(point)  # a layer looks at values, which only works uncompiled
    except CannotLookInsideError:
        leaf = Node(network.path, layer)
        return leaf, {leaf.path: point}


def record(node: Node, params: Params, state: State, x: PyTree, key: Key, y: PyTree, dy: PyTree) -> Samples:
    """What goes through each layer of `node` when this goes through it; y is not used."""
    if not node.parts:
        return {node.path: Sample(params, state, x, key, y, dy)}
    layer = recorder(node)
    states = probed_states(layer, x, state)

    def run(probes: dict) -> tuple[list[Any], State]:
        y, recorded, _ = layer.forward(params, fill(states, probes, iter(jax.tree.leaves(state))), x, clone_key(key))
        return floating_leaves(y), recorded

    probes = {probed.path: [jnp.zeros(z.shape, z.dtype) for z in probed.probe] for probed in nested(states, Probed)}
    _, pull, recorded = jax.vjp(run, probes, has_aux=True)
    cotangents = pull(jax.tree.leaves(dy))[0]
    samples = {each.path: with_cotangent(each.sample, cotangents[each.path]) for each in nested(recorded, Recorded)}
    for each in within_reach(node):
        samples |= record_unreached(each, samples)
    return samples


def record_unreached(node: Node, samples: Samples) -> Samples:
    """What goes through the parts that a recorder does not reach, worked out from the combinator's own sample."""
    here = samples[node.path]
    if node.kind == "objective":
        net, loss = node.parts
        return record(loss, (), (), (samples[net.path].y, here.x[1]), None, None, here.dy)
    if node.kind == "per_example":
        [each] = node.parts
        batch = jax.tree.leaves(here.x)[0].shape[0]
        # All examples weigh the same, and ones reduce to the sum of their weights.
        ones = each.layer._replace(forward=lambda *args: (jnp.ones((), here.y.dtype), (), ()))
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


def is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def floating_leaves(tree: PyTree) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if is_floating(leaf)]


# Judging.


def judge(node: Node, layer: Layer, sample: Sample, agrees: Agrees) -> list[Blame]:
    """The blames of a node when `layer` runs in its place; one, if all copies of it are wrong."""
    axes = [step.axis for step in node.path if step.axis]
    cotangents = jax.tree.leaves(sample.dy)
    if not cotangents:
        return []  # only integers come out, which have no gradient
    found: dict[tuple[int, ...], tuple[str, Sample]] = {}
    sample = on_host(sample) if axes else sample
    sizes = cotangents[0].shape[: len(axes)]
    for index in np.ndindex(*sizes):
        copy = tuple(i for i, axis in zip(index, axes, strict=True) if axis == COPIES)
        point = pick(sample, index)
        if copy not in found and (reason := fault(layer, point, agrees)):
            found[copy] = PLUMBING if node.parts and reason == BACKWARD else reason, point
    if len(found) == math.prod(size for size, axis in zip(sizes, axes, strict=True) if axis == COPIES):
        return [blame(node, None, *found[max(found)])]
    return [blame(node, copy, reason, point) for copy, (reason, point) in found.items()]


def blame(node: Node, copy: tuple[int, ...] | None, reason: str, point: Sample) -> Blame:
    params, state, x, key, _, dy = fresh(point)
    return Blame(printed(node.path, copy), node.layer, params, state, x, key, dy, bool(node.parts), reason)


def printed(path: tuple[Step, ...], copy: tuple[int, ...] | None) -> str:
    """The path, with the numbers of the blocks of `repeat` unless `copy` is None."""
    texts, numbers = [], iter(copy or ())
    for step in path:
        number = next(numbers, None) if step.axis == COPIES else None
        texts.append(step.text if number is None else f"{step.text}[{number}]")
    return ".".join(texts)


def fault(layer: Layer, point: Sample, agrees: Agrees) -> str:
    """What is wrong with a layer at a point: "backward", "recompute", or nothing: ""."""
    params, state, x, key, _, dy = fresh(point)
    if not agrees(layer, params, state, x, key, dy):
        return BACKWARD
    return "" if layer.recompute is None or recomputes(layer, fresh(point)) else RECOMPUTE


def recomputes(layer: Layer, point: Sample) -> bool:
    """Whether `recompute` gives what forward gave, up to rounding."""
    assert layer.recompute is not None
    y, _, residuals = layer.forward(point.params, point.state, point.x, point.key)
    try:
        again = layer.recompute(point.params, point.x if "x" in layer.recompute_needs else None, residuals)
        if jax.tree.structure(again) != jax.tree.structure(y):
            return False
        return all(map(is_close, jax.tree.leaves(again), jax.tree.leaves(y)))
    except Exception:  # whatever a wrong recompute may raise: it does not recompute
        return False


def is_close(mine: Any, true: Any) -> bool:
    if mine.shape != true.shape or mine.dtype != true.dtype:
        return False
    mine, true = (np.asarray(value, np.float64) for value in (mine, true))
    scale = np.max(np.abs(true), initial=0, where=np.isfinite(true))
    return np.allclose(mine, true, rtol=0, atol=TOLERANCE * scale, equal_nan=True)


def judge_combinators(
    node: Node, blamed: frozenset[tuple[Step, ...]], samples: Samples, agrees: Agrees
) -> dict[tuple[Step, ...], list[Blame]]:
    """The combinators in `node` that are wrong when what is blamed already has autodiff's backward.

    One that is right is not looked into. One that is wrong is blamed unless the mistakes inside it explain that.
    """
    wrong = judge(node, repaired(node, blamed), samples[node.path], agrees) if node.parts else []
    if not wrong:
        return {}
    found: dict[tuple[Step, ...], list[Blame]] = {}
    for part in node.parts:
        found |= judge_combinators(part, blamed, samples, agrees)
    if found:
        wrong = judge(node, repaired(node, blamed | set(found)), samples[node.path], agrees)
    return found | ({node.path: wrong} if wrong else {})


def repaired(node: Node, blamed: frozenset[tuple[Step, ...]]) -> Layer:
    """The layer with autodiff's backward wherever a blame lies; what holds no blame stays the very same object."""
    if node.path in blamed:
        return autodiff(node.layer)
    parts = [repaired(part, blamed) for part in node.parts]
    if all(part is own.layer for part, own in zip(parts, node.parts, strict=True)):
        return node.layer
    assert node.layer.with_parts is not None
    return node.layer.with_parts(parts)


def autodiff(layer: Layer) -> Layer:
    """The same layer with `jax.vjp` of its forward as backward. It keeps all it reads and relies on nothing around."""

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        saved = key_to_data(clone_key(key))
        y, new_state, _ = layer.forward(params, state, x, key)
        return y, new_state, (state, x, saved)

    def backward(params: Params, x: None, y: None, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        state, x, saved = residuals

        def run(params: Params, x: PyTree) -> list[Any]:
            return floating_leaves(layer.forward(params, state, x, data_to_key(saved))[0])

        gradients = jax.vjp(run, params, x)[1](jax.tree.leaves(dy))
        return jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, gradients)

    return Layer(layer.init, forward, backward, layer.predict, needs=(), name=layer.name)


def key_to_data(key: Key) -> Any:
    """A key as plain numbers: as residuals, keys in `lax.scan` under `jax.vmap` count as used when they are not."""
    return None if key is None else (jax.random.key_data(key), Static(jax.random.key_impl(key)))


def data_to_key(saved: Any) -> Key:
    return None if saved is None else jax.random.wrap_key_data(saved[0], impl=saved[1].value)


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


def is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
