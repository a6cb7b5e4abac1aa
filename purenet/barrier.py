"""What is recomputed in the backward must not be merged with the forward's copy, or it is kept after all.

Inside `lax.scan` nothing needs to be done: only what is carried out of the loop is stored. Outside, XLA merges equal
computations, unless an optimisation barrier makes them differ; with the incoming cotangent behind the same barrier
they cannot be moved early either. On the CPU a barrier has been measured to save nothing and to cost the arithmetic
twice, so there it is left out and XLA merges.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .annotations import Array, PyTree
from .validation import is_key


def after(dy: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
    """(dy, x), where what is computed from x waits for dy, on accelerators.

    Keys go through as numbers, so that what is drawn from them again is not the first draw, kept.
    """
    leaves, tree = jax.tree.flatten((dy, x))
    keys = [jax.random.key_impl(leaf) if is_key(leaf) else None for leaf in leaves]
    arrays = [leaf if impl is None else jax.random.key_data(leaf) for leaf, impl in zip(leaves, keys, strict=True)]
    barred = lax.platform_dependent(arrays, cpu=lambda same: same, default=lax.optimization_barrier)
    drawn = [
        leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl)
        for leaf, impl in zip(barred, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, drawn)


def gate_on(x: PyTree, dy: PyTree) -> PyTree:
    """x, where what is computed from it element by element waits for dy as behind `after`, without a copy.

    A barrier makes a copy of what goes through, of a slice of a scan's stack for instance. Here it is a number alone, a
    one that is there when dy is: x is multiplied by it, in the same pass as the rest.
    """
    one = one_after(dy)

    def times_one(leaf: Any) -> Any:
        if is_key(leaf):
            return jax.random.wrap_key_data(times_one(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return leaf & (one > 0) if leaf.dtype == bool else leaf * one.astype(leaf.dtype)

    return jax.tree.map(times_one, x)


@functools.partial(jax.jit, inline=True)  # traced once for cotangents of one shape, however many values wait
def one_after(dy: PyTree) -> Array:
    """The number 1, which on accelerators is there when dy is."""

    def behind(dy: PyTree) -> Array:
        return lax.optimization_barrier((dy, jnp.ones((), jnp.float32)))[1]

    return lax.platform_dependent(lax.stop_gradient(dy), cpu=lambda dy: jnp.ones((), jnp.float32), default=behind)


def materialize(x: PyTree) -> PyTree:
    """x written once, on accelerators, where XLA would rather compute its parts again for each that reads it."""
    return lax.platform_dependent(x, cpu=lambda same: same, default=lax.optimization_barrier)
