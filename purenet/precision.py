"""In what precision sums, statistics and logarithms are computed, at least float32; trees in another dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .annotations import Array, PyTree
from .replacement import is_replacement
from .static import Static
from .validation import is_floating


def wide_dtype(dtype: Any) -> Any:
    """float32 for float16 and bfloat16, else the dtype itself."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)


def widen(x: Array) -> Array:
    return x.astype(wide_dtype(x.dtype))


# Trees of arrays in another dtype.


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """The floating leaves in another dtype: in the widest there is, where float64 is switched off."""
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_floating(leaf) else leaf, tree)


def cast_like(gradient: PyTree, of: Static) -> PyTree:
    """A gradient in the dtypes of what it belongs to; None stays None, and so does what stands in its place."""
    tree, leaves = of.value

    def stays(leaf: Any) -> bool:
        return leaf is None or is_replacement(leaf)

    return jax.tree.map(
        lambda leaf, own: leaf if stays(leaf) else leaf.astype(own.dtype),
        gradient,
        jax.tree.unflatten(tree, leaves),
        is_leaf=stays,
    )


def widest(leaves: Sequence[Any]) -> Any:
    """The widest floating dtype among the leaves, None if there is none."""
    return max((leaf.dtype for leaf in leaves if is_floating(leaf)), key=lambda dtype: dtype.itemsize, default=None)
