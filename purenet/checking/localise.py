"""Which layer of a network is wrong: every layer by itself, at its own point, with the true cotangent of its output.

A wrong backward spoils the gradients of all layers before it, so that a network's gradient does not say where the
mistake is. Here every layer is fed the cotangent that `jax.vjp` of the whole forward gives it: one mistake, one blame.

1. What goes through each layer is recorded: `purenet.checking.recorders`.
2. Every layer without parts is judged at its points; what is wrong is blamed.
3. The blamed ones are given autodiff's backward. If the network is still wrong, so is a combinator: the way leads
   inwards along combinators that are wrong, to the one whose parts are all right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ..annotations import PyTree
from ..layer import Key, Layer, Params, Residuals, State
from ..randomness import clone_key
from ..static import Static
from .nodes import COPIES, Node, Step, leaves, printed
from .recorders import Sample, Samples, floating_leaves, fresh, look_through, on_host, pick

TOLERANCE = 1e-9
BACKWARD, RECOMPUTE, PLUMBING = "backward", "recompute", "plumbing"

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
    `with_parts`, or whose `forward` was replaced, or which hands its parts no state, is judged as one layer.
    """
    point = Sample(params, state, x, key, None, dy)
    network, samples = look_through(layer, point)
    blames = {}
    for leaf in leaves(network):
        if found := judge(leaf, leaf.layer, samples[leaf.path], agrees):
            blames[leaf.path] = found
    blames |= judge_combinators(network, frozenset(blames), samples, agrees)
    return [blame for found in blames.values() for blame in found]


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
