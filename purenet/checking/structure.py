"""Trees, shapes and dtypes: what a backward returns, beside what it must return.

A gradient of another shape is not only refused: where summing some axes, or transposing, gives the right values, the
finding says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..annotations import PyTree
from ..validation import describe
from .points import is_complex, is_inexact
from .probe import Probe
from .vocabulary import Diagnosis, distance

ONES = "ones"  # a note, and no mistake


def align(probe: Probe, returned: Any, reference: list[Any]) -> tuple[list[Any], list[Diagnosis]]:
    """Your gradient leaf by leaf (None where there is nothing to compare), and what is wrong with its structure."""
    leaves: list[Any] = []
    findings: list[Diagnosis] = []
    references, own_names = iter(reference), iter(probe.names)
    for what, gradient, tree in zip(("parameters", "x"), returned, probe.trees, strict=True):
        names = [(next(own_names) if is_inexact(leaf) else name, leaf) for name, leaf in leaf_names(tree, what)]
        if not names and not jax.tree.leaves(gradient):
            continue
        found, problem = matched(gradient, tree)
        if problem:
            findings.append(tree_finding(what, problem, [name for name, own in names if is_inexact(own)]))
        for (name, own), leaf in zip(names, found, strict=True):
            if not is_inexact(own):
                findings += integer_findings(name, leaf)
                continue
            leaf = conjugate_pairs(leaf) if is_complex(own) else leaf
            matching = next(references)
            if probe.lenient and differs_in_ones(leaf, matching):
                findings.append(ones_finding(name, leaf, matching))
                leaf = np.reshape(leaf, matching.shape)
            leaf, finding = leaf_finding(name, leaf, matching, problem is not None)
            leaves.append(leaf)
            findings += finding
    return leaves, findings


def differs_in_ones(leaf: Any, reference: Any) -> bool:
    """Whether two shapes are the same but for axes of length 1, as `keepdims` makes them."""
    shape = getattr(leaf, "shape", reference.shape)
    return shape != reference.shape and [n for n in shape if n != 1] == [n for n in reference.shape if n != 1]


def ones_finding(name: str, leaf: Any, reference: Any) -> Diagnosis:
    text = f"your gradient of {name} has shape {list(leaf.shape)}, {name} has {list(reference.shape)}: its values are "
    return Diagnosis(ONES, text + "compared, but an update in place needs the same shape", "", 0.0, (name,))


def conjugate_pairs(leaf: Any) -> Any:
    """A gradient by a complex leaf as the probe has it, d/da beside d/db: JAX's is d/da - i d/db."""
    if not hasattr(leaf, "dtype") or leaf.dtype.kind not in "fiuc":
        return leaf
    leaf = np.asarray(leaf, np.complex128)
    return np.stack([leaf.real, -leaf.imag], -1)


def leaf_names(tree: PyTree, what: str) -> list[tuple[str, Any]]:
    """(name, leaf), named as in the table."""
    prefix = "" if what == "parameters" else "x."
    alone = "params" if what == "parameters" else "x"
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in flat]
    return [(prefix + name if name else alone, leaf) for name, (_, leaf) in zip(names, flat, strict=True)]


def matched(gradient: Any, tree: PyTree) -> tuple[list[Any], str | None]:
    """The gradient's leaf for each leaf of the tree, and what is wrong with the tree itself."""
    structure = jax.tree.structure(tree)
    try:
        return structure.flatten_up_to(gradient), None
    except (ValueError, TypeError, KeyError):
        pass
    candidate = jax.tree_util.tree_flatten_with_path(gradient, is_leaf=lambda leaf: leaf is None)[0]
    by_path = {jax.tree_util.keystr(path): leaf for path, leaf in candidate}
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    missing = [path for path in paths if path not in by_path]
    surplus = [path for path in by_path if path not in paths]
    if by_path.keys() & set(paths) or len(candidate) != len(paths):
        problem = f"expected {describe(tree)}, got {describe(gradient)}"
        problem += f"; missing: {', '.join(missing)}" if missing else ""
        problem += f"; belongs to nothing: {', '.join(surplus)}" if surplus else ""
        return [by_path.get(path) for path in paths], problem
    return [leaf for _, leaf in candidate], f"expected {describe(tree)}, got {describe(gradient)}"


def tree_finding(what: str, problem: str, names: list[str]) -> Diagnosis:
    text = f"the gradient of the {what} has another structure than the {what}: {problem}"
    fix = "return a pytree of the same containers and keys as what it is the gradient of"
    return Diagnosis("wrong_tree", text, fix, 0.0, tuple(names), rank=0.0)


def integer_findings(name: str, leaf: Any) -> Iterator[Diagnosis]:
    if leaf is not None and getattr(leaf, "dtype", None) != jax.dtypes.float0:
        text = f"{name} holds integers: its gradient must be None, got {describe(leaf)}"
        yield Diagnosis("wrong_tree", text, "return None for integer leaves", 0.0, (name,), rank=0.0)


def leaf_finding(name: str, leaf: Any, reference: Any, told: bool) -> tuple[Any, list[Diagnosis]]:
    """The leaf if it can be compared, else None, and what is wrong with its shape or dtype."""
    if leaf is None or not hasattr(leaf, "shape"):
        if leaf is not None and np.ndim(leaf) == 0 and isinstance(leaf, (int, float)) and reference.shape == ():
            return np.asarray(leaf, np.float64), []
        text = f"no gradient is returned for {name} {list(reference.shape)}: got {describe(leaf)}"
        fix = f"return an array {list(reference.shape)} for {name}, zeros if the output does not depend on it"
        return None, [] if told and leaf is None else [Diagnosis("missing_gradient", text, fix, 0.0, (name,), rank=0.0)]
    candidate = np.asarray(leaf)
    if candidate.shape == reference.shape:
        if candidate.dtype == reference.dtype:
            return candidate, []
        text = f"your gradient of {name} is {candidate.dtype}, {name} itself {reference.dtype}"
        fix = "keep the dtype: look for a constant array, a cast or a NumPy call in the backward"
        diagnosis = Diagnosis("wrong_dtype", text, fix, 0.0, (name,), rank=0.5)
        return (candidate.astype(reference.dtype) if candidate.dtype.kind in "fiub" else None), [diagnosis]
    return None, [shape_finding(name, candidate.astype(np.float64), reference)]


def shape_finding(name: str, candidate: Any, reference: Any) -> Diagnosis:
    shapes = f"your gradient of {name} has shape {list(candidate.shape)}, {name} has {list(reference.shape)}"
    if candidate.shape == reference.shape[::-1] and distance(candidate.T, reference) < 1e-9:
        text = f"{shapes}: it is the right gradient transposed"
        return Diagnosis("transposed", text, "swap the operands of the product, or transpose", 0.0, (name,), rank=0.0)
    for axes in subsets(candidate.ndim):
        for keep in (False, True):
            if np.sum(candidate, axes, keepdims=keep).shape == reference.shape:
                summed = distance(np.sum(candidate, axes, keepdims=keep), reference)
                if summed < 1e-9:
                    return summed_finding(name, shapes, axes, summed)
    for axis in range(reference.ndim):
        if np.sum(reference, axis).shape == candidate.shape and distance(np.sum(reference, axis), candidate) < 1e-9:
            text = f"{shapes}: it is the right gradient summed over axis {axis}, which {name} has"
            fix = "keep the axis: an outer product of error and input, not a sum of the Jacobian's rows"
            return Diagnosis("wrong_shape", text, fix, 0.0, (name,), rank=0.0)
    squeezed = candidate.size == reference.size and distance(np.ravel(candidate), np.ravel(reference)) < 1e-9
    if squeezed:
        text = f"{shapes}: the values are right, only the shape is not"
        return Diagnosis("wrong_shape", text, f"reshape it to {list(reference.shape)}", 0.0, (name,), rank=0.0)
    text = f"{shapes}, and no sum over axes or transpose gives the right values"
    fix = f"return an array of shape {list(reference.shape)}"
    return Diagnosis("wrong_shape", text, fix, 0.0, (name,), rank=0.0)


def subsets(ndim: int) -> Iterator[tuple[int, ...]]:
    axes = range(ndim)
    return itertools.chain.from_iterable(itertools.combinations(axes, k) for k in range(1, ndim + 1))


def summed_finding(name: str, shapes: str, axes: tuple[int, ...], summed: float) -> Diagnosis:
    over = f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"
    batch = " (the batch axis)" if 0 in axes else ""
    text = f"{shapes}: sum over {over}{batch} and it is right. A leaf that was broadcast gets the sum of its gradients"
    return Diagnosis("not_summed", text, f"sum your gradient of {name} over {over}", summed, (name,), rank=0.0)
