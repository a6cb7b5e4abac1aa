"""What is rebuilt in the backward must not be merged with the forward's copy, or it is kept after all.

Inside `lax.scan` nothing needs to be done: only what is carried out of the loop is stored. Outside, XLA merges equal
computations, unless an optimisation barrier makes them differ; with the incoming cotangent behind the same barrier
the rebuilding cannot be moved early either. On the CPU a barrier has been measured to save nothing and to cost the
arithmetic twice, so there it is left out and XLA merges.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from .annotations import PyTree


def not_before(dy: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
    """(dy, x), where what is computed from x waits for dy, on accelerators. Keys go around the barrier."""
    leaves, tree = jax.tree.flatten((dy, x))
    passing = [not jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in leaves]
    arrays = [leaf for leaf, passes in zip(leaves, passing, strict=True) if passes]
    barred = iter(lax.platform_dependent(arrays, cpu=lambda same: same, default=lax.optimization_barrier))
    return jax.tree.unflatten(
        tree, [next(barred) if passes else leaf for leaf, passes in zip(leaves, passing, strict=True)]
    )
