"""What is recomputed in the backward must not be merged with the forward's copy, or it is kept after all.

Inside `lax.scan` nothing needs to be done: only what is carried out of the loop is stored. Outside, XLA merges equal
computations, unless an optimisation barrier makes them differ; with the incoming cotangent behind the same barrier
the recomputing cannot be moved early either. On the CPU a barrier has been measured to save nothing and to cost the
arithmetic twice, so there it is left out and XLA merges.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .annotations import PyTree


def after(dy: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
    """(dy, x), where what is computed from x waits for dy, on accelerators.

    Keys go through as numbers, so that what is drawn from them anew is not the first draw, kept.
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
    """x for what is computed from it element by element, which then waits for dy as behind `after`.

    A barrier makes a copy of what goes through, of a slice of a scan's stack for instance. Here it is a number alone, a
    one that is there when dy is: x is multiplied by it, in the same pass as the rest.
    """

    def one_behind(dy: PyTree) -> Any:
        return lax.optimization_barrier((dy, jnp.ones((), jnp.float32)))[1]

    one = lax.platform_dependent(lax.stop_gradient(dy), cpu=lambda dy: jnp.ones((), jnp.float32), default=one_behind)

    def times_one(leaf: Any) -> Any:
        if is_key(leaf):
            return jax.random.wrap_key_data(times_one(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return leaf & (one > 0) if leaf.dtype == bool else leaf * one.astype(leaf.dtype)

    return jax.tree.map(times_one, x)


def materialize(x: PyTree) -> PyTree:
    """x written once, on accelerators, where XLA would rather make its parts anew for each that reads it."""
    return lax.platform_dependent(x, cpu=lambda same: same, default=lax.optimization_barrier)


def is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
