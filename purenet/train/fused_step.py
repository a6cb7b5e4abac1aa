"""A training step whose stacked blocks are updated one by one, while the gradient comes back through them.

    for block k = n..1:    dparams_k, dx_k = backward(params_k, dx_k+1)
                           params_k, moments_k = update(dparams_k, params_k, moments_k)

The gradient of a `repeat` never exists as a whole: that of one block is all there is at a time. The stacks of its
parameters and of the optimizer's state are carried through the reverse scan beside dy, each block's row read from them
and written back in place; scanned outputs would be new buffers. It is the update of `make_step` where every number of
it depends on its own gradient alone.
Lv et al., *Full Parameter Fine-Tuning for Large Language Models with Limited Resources* (2023), algorithm 1.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ..annotations import Array, PyTree
from ..combine.stack import REPEAT
from ..combine.tied import TIED
from ..errors import LayerValueError
from ..layer import Key, Layer, Params, Residuals, State, reverses, run_backward, run_reverse
from ..parts import Path, Walk, map_parts, passes_gradients, with_changed_parts
from ..replacement import Replacement, is_replacement
from ..validation import check_scalar, describe, leaves_with_paths
from .optimizer_parts import ByPath, Leaves, Part, check_elementwise, make_parts
from .state import TrainState, check_optimizer
from .step import STEP_STREAM, Metrics, Step, stream_key


def make_fused_step(objective: Layer, optimizer: optax.GradientTransformation) -> Step:
    """`make_step` with the optimizer's update inside the reverse scan of every `repeat`; the same `TrainState`.

    For elementwise optimizers, such as optax.adamw, sgd or lion, with any schedule and masks: others, such as
    clip_by_global_norm or LAMB, are found by a trial on small arrays while tracing, and refused. So are optimizers
    that read the loss. A `repeat` inside a layer that computes with gradients itself (frozen, weight_norm,
    per_example) is updated as usual, and so is everything outside of stacks; without any stack to update this raises.

    Donate the state: `jax.jit(step, donate_argnums=0)`. The AdamW step of 24 gelu blocks 1024-4096-1024, 512 rows, then
    takes 322 MiB of temporary bytes when compiled for an H200, make_step's 1,073 and that of jax.grad 2,003, all at the
    same FLOPs; with `keep="inputs"` 132 and 1.17 times the FLOPs. XLA:CPU copies the stacks (2,573 against 1,061 MiB):
    there take make_step. With `keep="nested"` segments that run forward again read the parameters as they were, which
    costs a copy of them.
    """
    check_optimizer(optimizer)
    network = with_updates(objective)

    def step(train_state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = stream_key(train_state.key, STEP_STREAM, train_state.step)
        places = find_stacks(network, train_state.params, batch)
        check_elementwise(optimizer, train_state.params, places.labels)
        parts = make_parts(optimizer, train_state.params, places.labels)
        params, opt_state = jax.tree.leaves(train_state.params), dict(leaves_with_paths(train_state.opt_state))
        given = places.given(params, opt_state, parts)

        loss, state, residuals = network.forward(given, train_state.state, batch, key)
        check_scalar(loss, objective.name)
        handed_back, _ = run_backward(network, given, batch, loss, residuals, jnp.ones_like(loss))

        params, opt_state = places.updated(handed_back, params, opt_state, parts)
        after = dataclasses.replace(
            train_state,
            step=train_state.step + 1,
            params=jax.tree.unflatten(jax.tree.structure(train_state.params), params),
            state=state,
            opt_state=jax.tree.unflatten(jax.tree.structure(train_state.opt_state), list(opt_state.values())),
        )
        return after, {"loss": loss}

    return step


# The network: every stack takes its part of the optimizer's state with its parameters and hands back both, updated.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stack:
    """Parameters [n, ...] of n blocks, and the state of their optimizer: their own [n, ...], and the shared."""

    params: Params
    own: ByPath
    shared: ByPath
    part: Part = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Carried:
    """What goes from block to block beside dy, in its place: everything as updated so far, and the block's number."""

    dy: PyTree
    stack: Stack
    block: Array


def with_updates(network: Layer) -> Layer:
    """The network with updates in every outermost stack; frozen ones and their like stay as they are."""

    def unchanged(layer: Layer, inside: Layer, path: Path) -> Layer:
        return inside

    def update_stack(layer: Layer, path: Path, walk: Walk) -> Layer:
        return updating(layer)

    # A tie adds gradients of parameters outside of stacks.
    rules = {REPEAT: update_stack, TIED: with_changed_parts}
    return map_parts(network, rules, unchanged, enter=passes_gradients)


def updating(stack: Layer) -> Layer:
    """The stack whose parameters are a `Stack`; `init` says where, by an `Replacement` around its own."""
    [(_, block)] = stack.parts
    assert stack.with_parts is not None
    with_parts, inside = stack.with_parts, stack.with_parts([updating_block(block)])

    def init(key: Key, x: PyTree) -> tuple[Replacement, State]:
        params, state = stack.init(key, x)
        return Replacement(params), state

    def backward(params: Stack, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Replacement, PyTree]:
        blocks = len(jax.tree.leaves(params.params)[0])
        carried = Replacement(Carried(dy, params, jnp.asarray(blocks - 1, jnp.int32)))
        _, handed_back = inside.backward(params.params, x, y, residuals, carried)
        return Replacement(handed_back.value.stack), handed_back.value.dy

    return inside.replace(
        init=init,
        forward=lambda params, *args: inside.forward(params.params, *args),
        backward=backward,
        predict=lambda params, *args: inside.predict(params.value, *args),  # inits look for shapes with it
        parts=stack.parts,
        with_parts=lambda parts: updating(with_parts(parts)),
    )


def updating_block(block: Layer) -> Layer:
    """The block whose cotangents are `Carried`; it reads its parameters there and hands back no gradient."""

    def carry_on(stack: Stack, i: Array, dparams: Params, dx: PyTree) -> Replacement:
        rows = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, i, 1), (stack.params, stack.own))
        gradients = [gradient[None] for gradient in jax.tree.leaves(dparams)]
        params, state = stack.part.update(gradients, jax.tree.leaves(rows[0]), stack.shared | rows[1])
        updated = jax.tree.unflatten(jax.tree.structure(dparams), params), stack.part.own(state)
        written = jax.tree.map(
            lambda leaf, row: lax.dynamic_update_slice_in_dim(leaf, row, i, 0), (stack.params, stack.own), updated
        )
        return Replacement(Carried(dx, dataclasses.replace(stack, params=written[0], own=written[1]), i - 1))

    def own_params(carried: Carried) -> Params:
        return jax.tree.map(
            lambda leaf: lax.dynamic_index_in_dim(leaf, carried.block, keepdims=False), carried.stack.params
        )

    def backward(
        params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: Replacement
    ) -> tuple[Replacement, Replacement]:
        carried = dy.value
        dparams, dx = run_backward(block, own_params(carried), x, y, residuals, carried.dy)
        return Replacement(()), carry_on(carried.stack, carried.block, dparams, dx)

    def reverse(
        params: Params, y: PyTree, residuals: Residuals, dy: Replacement
    ) -> tuple[Replacement, Replacement, PyTree]:
        carried = dy.value
        dparams, dx, x = run_reverse(block, own_params(carried), y, residuals, carried.dy)
        return Replacement(()), carry_on(carried.stack, carried.block, dparams, dx), x

    return block.replace(backward=backward, rules={"reverse": reverse} if reverses(block) else {})


# Which of the parameters are stacks.


class Places(NamedTuple):
    """The tree of the parameters, where every stack is one leaf; for these leaves their trees, else None."""

    tree: Any
    stacks: tuple[Any, ...]

    @property
    def labels(self) -> list[int]:
        """For every leaf of the parameters the number of its stack, from 1, or 0."""
        number = itertools.count(1)
        return [
            label for stack in self.stacks for label in ([0] if stack is None else [next(number)] * stack.num_leaves)
        ]

    def given(self, params: Leaves, state: ByPath, parts: Sequence[Part]) -> PyTree:
        """The parameters with a `Stack` for each stack."""
        leaves, stacks = iter(params), iter(parts[1:])

        def stack(tree: Any) -> Stack:
            part = next(stacks)
            shared = {path: state[path] for path in part.state_paths if path not in part.own_paths}
            own_params = [next(leaves) for _ in range(tree.num_leaves)]
            return Stack(jax.tree.unflatten(tree, own_params), part.own(state), shared, part)

        return jax.tree.unflatten(self.tree, [next(leaves) if tree is None else stack(tree) for tree in self.stacks])

    def updated(
        self, handed_back: PyTree, params: Leaves, state: ByPath, parts: Sequence[Part]
    ) -> tuple[Leaves, ByPath]:
        """All parameters after the update, and the optimizer's state: the rest is updated here."""
        rest, *of_stacks = parts
        leaves = jax.tree.leaves(handed_back, is_leaf=is_replacement)
        gradients = [leaf for leaf, tree in zip(leaves, self.stacks, strict=True) if tree is None]
        stacks = [leaf.value for leaf, tree in zip(leaves, self.stacks, strict=True) if tree is not None]
        new_params, new_state = rest.update(gradients, [params[k] for k in rest.indices], state)
        found = dict(zip(rest.indices, new_params, strict=True))
        for part, stack in zip(of_stacks, stacks, strict=True):
            found |= dict(zip(part.indices, jax.tree.leaves(stack.params), strict=True))
            new_state |= stack.own
        return [found[k] for k in range(len(params))], {path: new_state[path] for path in state}


def find_stacks(network: Layer, params: Params, batch: PyTree) -> Places:
    """Raise if there is no stack, or if the network's init does not make these parameters."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
    marked = jax.eval_shape(network.init, jax.random.key(0), shapes)[0]
    leaves, tree = jax.tree.flatten(marked, is_leaf=is_replacement)
    stacks = tuple(jax.tree.structure(leaf.value) if is_replacement(leaf) else None for leaf in leaves)
    if not any(stacks):
        raise LayerValueError(
            "make_fused_step: expected a network with a repeat, whose blocks are updated, inside combinators whose "
            "kind has passes_gradients=True: use make_step"
        )
    plain = jax.tree.map(lambda leaf: leaf.value if is_replacement(leaf) else leaf, marked, is_leaf=is_replacement)
    if jax.tree.structure(plain) != jax.tree.structure(params):
        raise LayerValueError(f"expected the parameters of the network's init, got {describe(params)}")
    return Places(tree, stacks)
