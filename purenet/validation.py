"""Checks while tracing. Shapes and dtypes are known then, so they cost nothing at run time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .annotations import PyTree
from .errors import LayerTypeError, LayerValueError
from .replacement import without_replaced
from .static import Static


def is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def describe(x: PyTree) -> str:
    """Dtype and shape of an array (`float32 [32, 64]`), or the structure of something else, for messages."""
    if hasattr(x, "dtype") and isinstance(getattr(x, "shape", None), tuple):
        return f"{x.dtype} {list(x.shape)}"
    if isinstance(x, (tuple, list)):
        return f"{type(x).__name__} of {len(x)}: ({', '.join(describe(item) for item in x)})"
    if isinstance(x, dict):
        return f"dict with {sorted(x)}"
    return f"{type(x).__name__} {x!r}"


def leaves_with_paths(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves with readable paths: `0.kernel` for `tree[0]["kernel"]`."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat]


def pair(x: PyTree) -> tuple[PyTree, PyTree]:
    """The two halves of (inputs, targets) or (predictions, targets)."""
    if not (isinstance(x, tuple) and len(x) == 2):
        raise LayerTypeError(f"expected a pair (inputs, targets), got {describe(x)}")
    return x


def batch_size(x: PyTree) -> int:
    """The length of the first axis, which all leaves must share."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or () in sizes:
        raise LayerValueError(f"expected leaves with one common first axis, got shapes {shapes}")
    if not shapes[0][0]:
        raise LayerValueError("expected at least one example, got an empty batch")
    return shapes[0][0]


def check_scalar(value: PyTree, name: str) -> None:
    if jnp.shape(value) != ():
        raise LayerValueError(f"expected a scalar from {name}, got {describe(value)}: reduce it, or use a loss")


def check_floating(x: PyTree, what: str = "x") -> None:
    """Raise unless x is one array of a floating dtype."""
    if not hasattr(x, "dtype"):
        raise LayerTypeError(f"expected {what} as one array, got {describe(x)}")
    if not is_floating(x):
        raise LayerTypeError(f"expected {what} of a floating dtype, got {describe(x)}: convert it with .astype")


# Gradients and what they belong to.


def spec(x: PyTree) -> Static:
    """Shapes and dtypes of a value, to compare its gradient with when the value itself is gone."""
    leaves, tree = jax.tree.flatten(x)
    return Static((tree, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)))


def check_cotangent(dx: PyTree, x_spec: Static) -> None:
    tree, leaves = x_spec.value
    check_gradient(dx, jax.tree.unflatten(tree, leaves), "input")


def check_gradient(gradient: PyTree, target: PyTree, what: str) -> None:
    """Raise unless the gradient has the tree, shapes and dtypes of what it belongs to; integers have None."""
    gradient, target = without_replaced(gradient, target)
    gradients = dict(leaves_with_paths(gradient))
    targets = dict(leaves_with_paths(target))
    for path, leaf in targets.items():
        check_leaf(gradients.pop(path, None), leaf, path or what, what)
    if gradients:
        raise LayerValueError(f"{', '.join(gradients)} gradient belongs to no {what}: {list(targets)}")
    expected = jax.tree.map(lambda leaf: leaf if is_floating(leaf) else None, target)
    trees = jax.tree.structure(gradient), jax.tree.structure(expected)
    if trees[0] != trees[1]:
        raise LayerValueError(f"gradient has the tree {trees[0]}, {what} {trees[1]}")


def check_leaf(gradient: Any, leaf: Any, label: str, what: str) -> None:
    if not is_floating(leaf):
        if gradient is not None:
            raise LayerTypeError(f"{label} is {describe(leaf)}: its gradient must be None, got {describe(gradient)}")
    elif gradient is None:
        raise LayerValueError(f"{label} gradient is missing, {what} {leaf.shape}")
    elif jnp.shape(gradient) != leaf.shape:
        raise LayerValueError(f"{label} gradient {jnp.shape(gradient)}, {what} {leaf.shape}")
    elif jnp.result_type(gradient) != leaf.dtype:
        raise LayerTypeError(f"{label} gradient {jnp.result_type(gradient)}, {what} {leaf.dtype}")
