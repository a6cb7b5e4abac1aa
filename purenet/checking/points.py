"""The point at which a gradient is checked: float64 parameters, inputs and cotangents, nothing of it degenerate.

Scales are not 1 and biases not 0; cotangents are random, never ones and never centred: softmax and normalisations
hide their mistakes behind those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..validation import describe, leaves_with_paths
from .forms.target import Target
from .running import as_numpy
from .vocabulary import size_of


def probe_params(target: Target, params: PyTree, x: PyTree, key: jax.Array) -> PyTree:
    """The caller's parameters in float64, or the target's own moved away from ones and zeros."""
    if params is not None:
        return draw_like(params, key)
    if not target.has_params:
        return ()
    if target.params is None:
        raise TypeError(f"check: forward takes params, so pass params=...; got none for {target.name}")
    random = generator(key)
    return jax.tree.map(lambda leaf: nudge(leaf, random), target.params)


def generator(key: jax.Array) -> np.random.Generator:
    """NumPy's generator from a key of JAX's: probes are drawn without compiling anything."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def nudge(leaf: jax.Array, random: np.random.Generator) -> jax.Array:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    value = np.asarray(leaf).astype(np.float64)
    return jnp.asarray(value + 0.25 * (size_of(value) or 1.0) * random.standard_normal(value.shape))


def draw_like(tree: PyTree, key: jax.Array) -> PyTree:
    """The tree in float64: values as they are, random ones for shapes."""
    random = generator(key)
    return jax.tree.map(lambda leaf: in_float64(leaf, random), tree)


def in_float64(leaf: Any, random: np.random.Generator) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        if not is_inexact(leaf):
            raise ValueError(f"check: cannot draw {describe(leaf)}: pass the integers themselves")
        return (
            as_complex(in_float64(as_real(leaf), random))
            if is_complex(leaf)
            else jnp.asarray(random.standard_normal(leaf.shape))
        )
    if not is_array(leaf):
        return leaf
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.complex128 if is_complex(leaf) else jnp.float64) if is_inexact(leaf) else leaf


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array or a number; functions and words are passed on as they are."""
    return hasattr(leaf, "dtype") or isinstance(leaf, (bool, int, float, complex))


def require_floats(caller: str, tree: PyTree, what: str) -> None:
    """Raise unless there is a floating number to differentiate: a check that compares nothing proves nothing."""
    leaves = split_inexact(tree)[0]
    if any(leaf.size for leaf in leaves):
        return
    given = ", ".join(describe(leaf) for leaf in jax.tree.leaves(tree)) or "no arrays"
    raise ValueError(f"{caller}: nothing to compare: pass floating numbers for {what}, such as 2.0, got {given}")


def moved(leaves: list, seed: int, by: float) -> list:
    """The leaves moved at random by a part of their size, for a second opinion at another point."""
    random = np.random.default_rng(seed)
    return [np.asarray(leaf) * (1 + by * random.standard_normal(np.shape(leaf))) for leaf in leaves]


def split_inexact(x: PyTree) -> tuple[list, tuple]:
    """The floating leaves, complex ones as pairs of real numbers, and what is needed to put them back."""
    leaves, structure = jax.tree.flatten(x)
    return [as_real(leaf) for leaf in leaves if is_inexact(leaf)], (leaves, structure)


def join_inexact(inexact: Sequence[Any], fixed: tuple) -> PyTree:
    leaves, structure = fixed
    moving, in_numpy = iter(inexact), any(isinstance(leaf, np.ndarray) for leaf in inexact)

    def joined(leaf: Any) -> Any:
        if not is_inexact(leaf):
            return as_numpy(leaf) if in_numpy else leaf
        return as_complex(next(moving)) if is_complex(leaf) else next(moving)

    return jax.tree.unflatten(structure, [joined(leaf) for leaf in leaves])


def is_inexact(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def is_complex(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.complexfloating))


def as_real(leaf: Any) -> Any:
    """[...] complex -> [..., 2], real and imaginary parts; real numbers as they are."""
    if not is_complex(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((*leaf.shape, 2), jnp.finfo(leaf.dtype).dtype)
    return jnp.stack([jnp.real(leaf), jnp.imag(leaf)], -1)


def as_complex(pairs: Any) -> Any:
    """[..., 2] -> [...]: what `as_real` takes apart."""
    if isinstance(pairs, np.ndarray):
        return pairs[..., 0] + 1j * pairs[..., 1]
    return jax.lax.complex(jnp.asarray(pairs[..., 0]), jnp.asarray(pairs[..., 1]))


def labels(params: PyTree, x: PyTree) -> list[str]:
    """Paths of the floating leaves: the parameters' own, then x's."""
    return label_tree(params, "params", "") + label_tree(x, "x", "x.")


def label_tree(tree: PyTree, alone: str, prefix: str) -> list[str]:
    paths = [path for path, leaf in leaves_with_paths(tree) if is_inexact(leaf)]
    return [prefix + path if path else alone for path in paths]
