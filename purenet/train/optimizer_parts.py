"""An optimizer's update in parts: stacks of blocks, each block by itself, and the rest of the parameters.

It is the update of all at once where the optimizer is elementwise, which a trial on small arrays tells. A part is the
whole tree with None where another part is, and a block keeps its leading axis, of length 1: so masks and labels by
path or by rank mean the same. Of the optimizer's state, what is there for no parameters at all is shared (counts,
hyper-parameters); the rest belongs to the part for which it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..annotations import PyTree
from ..validation import leaves_with_paths

Leaves = list[Any]
ByPath = dict[str, Any]


class Part(NamedTuple):
    """Some of the parameters: which leaves, and the trees of what an optimizer sees of them."""

    optimizer: optax.GradientTransformation
    indices: tuple[int, ...]
    params_tree: Any
    state_tree: Any
    state_paths: tuple[str, ...]
    own_paths: tuple[str, ...]

    def update(self, gradients: Leaves, params: Leaves, state: ByPath) -> tuple[Leaves, ByPath]:
        """One update of these leaves; the optimizer's state by paths, the shared one included."""
        trees = [jax.tree.unflatten(self.params_tree, leaves) for leaves in (gradients, params)]
        opt_state = jax.tree.unflatten(self.state_tree, [state[path] for path in self.state_paths])
        with jax.numpy_dtype_promotion("standard"):  # several optax transformations mix dtypes
            updates, opt_state = self.optimizer.update(trees[0], opt_state, trees[1])
            updated = optax.apply_updates(trees[1], updates)
        return jax.tree.leaves(updated), dict(leaves_with_paths(opt_state))

    def own(self, state: ByPath) -> ByPath:
        return {path: state[path] for path in self.own_paths}


def make_parts(optimizer: optax.GradientTransformation, params: PyTree, labels: Sequence[int]) -> list[Part]:
    """The parts with labels 0, 1, ... of parameters, given as shapes or arrays, whose leaves have these labels."""
    leaves, tree = jax.tree.flatten(params)
    shared = set(state_of(optimizer, jax.tree.unflatten(tree, [None] * len(leaves)))[1])
    parts = []
    for label in range(max(labels) + 1):
        chosen = [leaf if own == label else None for leaf, own in zip(leaves, labels, strict=True)]
        part_params = jax.tree.unflatten(tree, chosen)
        state_tree, paths = state_of(optimizer, part_params)
        own_paths = tuple(path for path in paths if path not in shared)
        indices = tuple(k for k, own in enumerate(labels) if own == label)
        parts.append(Part(optimizer, indices, jax.tree.structure(part_params), state_tree, paths, own_paths))
    return parts


def state_of(optimizer: optax.GradientTransformation, params: PyTree) -> tuple[Any, tuple[str, ...]]:
    with jax.numpy_dtype_promotion("standard"):
        state = jax.eval_shape(optimizer.init, params)
    return jax.tree.structure(state), tuple(path for path, _ in leaves_with_paths(state))


def check_elementwise(optimizer: optax.GradientTransformation, params: PyTree, labels: Sequence[int]) -> None:
    """Raise unless the update in parts is that of all at once: for gradients of all sizes, and when one is NaN.

    Tried on arrays of the parameters' ranks, no axis longer than 2.
    """
    generator = np.random.default_rng(0)
    small = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct([min(2, n) for n in leaf.shape], leaf.dtype), params)
    parts = make_parts(optimizer, small, labels)

    def draw(scale: float) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.asarray(scale * generator.normal(size=leaf.shape), leaf.dtype), small)

    def both(gradients: PyTree, params: PyTree, opt_state: PyTree) -> tuple[Any, Any]:
        whole = Part(optimizer, (), jax.tree.structure(params), *state_of(optimizer, params), ())
        args = jax.tree.leaves(gradients), jax.tree.leaves(params), dict(leaves_with_paths(opt_state))
        return whole.update(*args), update_in_parts(parts, *args)

    with jax.ensure_compile_time_eval():
        drawn, compiled = draw(1.0), jax.jit(both)
        with jax.numpy_dtype_promotion("standard"):
            opt_state = optimizer.init(drawn)
        for gradients in (draw(1e-3), draw(1.0), draw(1e15), with_nan(draw(1.0))):
            if not alike(*compiled(gradients, drawn, opt_state)):
                raise ValueError(
                    "make_fused_step: expected an optimizer that updates every number by its own gradient alone, but "
                    "in a trial on small arrays blocks by themselves were updated otherwise than all at once: use "
                    "make_step, or leave out what clips or scales by a norm"
                )


def with_nan(tree: PyTree) -> PyTree:
    """The tree with NaN as its first number."""
    leaves, structure = jax.tree.flatten(tree)
    first = leaves[0].reshape(-1).at[0].set(jnp.nan).reshape(leaves[0].shape)
    return jax.tree.unflatten(structure, [first, *leaves[1:]])


def alike(one: PyTree, other: PyTree) -> bool:
    """Equal but for rounding; keys are not compared."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    numbers = [pair for pair in pairs if not jnp.issubdtype(pair[0].dtype, jax.dtypes.prng_key)]
    return all(bool(jnp.allclose(a, b, rtol=1e-3, atol=0, equal_nan=True)) for a, b in numbers)


def update_in_parts(parts: Sequence[Part], gradients: Leaves, params: Leaves, state: ByPath) -> tuple[Leaves, ByPath]:
    """The first part at once, the others block by block, as a list of blocks' results put together."""
    rest, *stacks = parts
    new_params = dict(enumerate(params))
    own_gradients, own_params = [gradients[k] for k in rest.indices], [params[k] for k in rest.indices]
    updated, new_state = rest.update(own_gradients, own_params, state)
    new_params |= dict(zip(rest.indices, updated, strict=True))
    for part in stacks:
        stacked = [gradients[k] for k in part.indices], [params[k] for k in part.indices], part.own(state)
        blocks = []
        for i in range(len(stacked[0][0])):
            block = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], stacked)
            updated, block_state = part.update(block[0], block[1], state | block[2])
            blocks.append((updated, part.own(block_state)))
        updated, own = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *blocks)
        new_params |= dict(zip(part.indices, updated, strict=True))
        new_state |= own
    return list(new_params.values()), new_state
