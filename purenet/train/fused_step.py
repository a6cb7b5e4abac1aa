"""A training step whose stacked blocks are updated one by one, while the gradient comes back through them.

    for block k = n..1:    dparams_k, dx_k = backward(params_k, dx_k+1)
                           params_k, moments_k = update(dparams_k, params_k, moments_k)

The gradient of a `repeat` never exists as a whole: that of one block is all there is at a time. The stacks of its
parameters and of the optimizer's state are carried through the reverse scan beside dy, each block's row read from them
and written back in place; scanned outputs would be new buffers.

The update of a block is, by definition, its row of the update of `make_step`: the optimizer's own program for all
parameters, traced once, is run on the rows (`optimizer_parts`). That is possible where it computes every number from
numbers at the same place; anything else in it is refused while tracing.
Lv et al., *Full Parameter Fine-Tuning for Large Language Models with Limited Resources* (2023), algorithm 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ..annotations import Array, PyTree
from ..combine.stack import REPEAT
from ..combine.tied import TIED
from ..errors import LayerValueError
from ..layer import Layer, Params, reverses, run_backward, run_reverse
from ..objective import Objective
from ..parts import Path, Walk, map_parts, passes_gradients, with_changed_parts
from ..replacement import Replacement, is_replacement
from ..validation import check_scalar
from .optimizer_parts import Leaves, Update, trace_update
from .state import TrainState, check_optimizer
from .step import STEP_STREAM, Metrics, Step, stream_key


def make_fused_step(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """`make_step` with the optimizer's update inside the reverse scan of every `repeat`; the same `TrainState`.

    For elementwise optimizers, such as optax.adamw, sgd or lion, with any schedule, masks, an optimizer for each kind
    of parameter, and MultiSteps: the two steps may take turns. What computes a number of a stack from other numbers,
    such as clip_by_global_norm, lamb, adafactor's factors or muon, is refused by name while tracing; muon for the
    parameters outside of stacks is not. A `repeat` inside a layer that computes with gradients itself (frozen,
    weight_norm, per_example) is updated as usual, and so is everything outside of stacks; without any stack of
    parameters to update this raises.

    Donate the state: `jax.jit(step, donate_argnums=0)`. The AdamW step of 24 gelu blocks 1024-4096-1024, 512 rows, then
    takes 322 MiB of temporary bytes when compiled for an H200, make_step's 1,073 and that of jax.grad 2,003, all at the
    same FLOPs; with `keep="inputs"` 132 and 1.17 times the FLOPs. XLA:CPU copies the stacks (2,573 against 1,061 MiB):
    there take make_step. With `keep="nested"` segments that run forward again read the parameters as they were, which
    costs a copy of them.
    """
    check_optimizer(optimizer)
    optimizer = optax.with_extra_args_support(optimizer)

    def step(train_state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = stream_key(train_state.key, STEP_STREAM, train_state.step)
        params = distinct(train_state.params)
        loss, state, residuals = objective.forward(params, train_state.state, batch, key)
        check_scalar(loss, objective.name)
        update = trace_update(optimizer, params, train_state.opt_state, loss)
        network = with_updates(objective, update)
        handed_back, _ = run_backward(network, params, batch, loss, residuals, jnp.ones_like(loss))
        params, opt_state = updated(handed_back, update)
        after = dataclasses.replace(
            train_state, step=train_state.step + 1, params=params, state=state, opt_state=opt_state
        )
        return after, {"loss": loss}

    return step


def distinct(params: Params) -> Params:
    """The parameters, no array twice among them: a stack finds its own again by which arrays they are."""
    leaves, tree = jax.tree.flatten(params)
    last = {id(leaf): k for k, leaf in enumerate(leaves)}
    return jax.tree.unflatten(tree, [leaf if last[id(leaf)] == k else jnp.copy(leaf) for k, leaf in enumerate(leaves)])


def updated(handed_back: PyTree, update: Update) -> tuple[Params, PyTree]:
    """All parameters and the optimizer's state: the stacks as they were handed back, the rest updated here."""
    leaves = jax.tree.leaves(handed_back, is_leaf=is_replacement)
    gradients = [leaf for leaf in leaves if not is_replacement(leaf)]
    stacks = {k: leaf for one in leaves if is_replacement(one) for k, leaf in one.value.items()}
    if not stacks:
        raise LayerValueError(
            "make_fused_step: expected a network with a repeat of layers with parameters, whose blocks are updated, "
            "inside combinators whose kind has passes_gradients=True: use make_step"
        )
    after = stacks | update.apply(gradients, update.all_but(stacks), by_block=False)
    return jax.tree.unflatten(jax.tree.structure(update.before), [after[k] for k in range(len(after))])


# The network: a stack hands back what became of its parameters and of the optimizer's state for them.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Carried:
    """What goes from block to block beside dy, in its place: the stack as updated so far, and the block's number."""

    dy: PyTree
    stack: Leaves
    block: Array


def with_updates(network: Layer, update: Update) -> Layer:
    """The network with updates in every outermost stack; frozen ones and their like stay as they are."""

    def unchanged(layer: Layer, inside: Layer, path: Path) -> Layer:
        return inside

    def update_stack(layer: Layer, path: Path, walk: Walk) -> Layer:
        return updating(layer, update)

    # A tie adds gradients of parameters outside of stacks.
    rules = {REPEAT: update_stack, TIED: with_changed_parts}
    return map_parts(network, rules, unchanged, enter=passes_gradients)


def updating(stack: Layer, update: Update) -> Layer:
    """The stack that hands back its parameters and their optimizer's state, updated, in the place of its gradient."""
    assert stack.with_parts is not None
    with_parts, inside = stack.with_parts, stack.with_parts([updating_block(stack.parts[0][1], update)])

    def run(rule: Callable[..., Any], params: Params, *args: Any) -> tuple[Any, ...]:
        *others, dy = args
        blocks = max((len(leaf) for leaf in jax.tree.leaves(params)), default=1)
        start = Carried(dy, update.part_of(params), jnp.asarray(blocks - 1, jnp.uint32))
        _, end, *x = rule(inside, params, *others, Replacement(start))
        return Replacement(end.value.stack), end.value.dy, *x

    return going_back(stack, run).replace(with_parts=lambda parts: updating(with_parts(parts), update), kind=stack.kind)


def updating_block(block: Layer, update: Update) -> Layer:
    """The block whose cotangents are `Carried`; it reads its parameters there and hands back no gradient."""

    def run(rule: Callable[..., Any], params: Params, *args: Any) -> tuple[Any, ...]:
        *others, dy = args
        stack, k, tree = dy.value.stack, dy.value.block, jax.tree.structure(params)
        rows = {number: lax.dynamic_slice_in_dim(leaf, k, 1) for number, leaf in stack.items()}
        own_params = [lax.squeeze(row, [0]) for row in list(rows.values())[: tree.num_leaves]]
        dparams, dx, *x = rule(block, jax.tree.unflatten(tree, own_params), *others, dy.value.dy)
        new = update.apply([lax.expand_dims(leaf, [0]) for leaf in jax.tree.leaves(dparams)], rows, by_block=True)
        stack = {number: lax.dynamic_update_slice_in_dim(leaf, new[number], k, 0) for number, leaf in stack.items()}
        return Replacement(()), Replacement(Carried(dx, stack, k - 1)), *x

    return going_back(block, run)


def going_back(layer: Layer, run: Callable[..., Any]) -> Layer:
    """The layer with `run` around its ways back: around `run_backward`, and `run_reverse` if it has that."""

    def backward(*args: Any) -> Any:
        return run(run_backward, *args)

    def reverse(*args: Any) -> Any:
        return run(run_reverse, *args)

    return layer.replace(backward=backward, rules={"reverse": reverse} if reverses(layer) else {})
