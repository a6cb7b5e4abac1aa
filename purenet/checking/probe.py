"""One check made ready to run: the caller's gradient and jax's, compiled, at the same leaves and cotangents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..validation import describe
from .points import draw_like, join_inexact, labels, split_inexact
from .target import Target

Leaves = list[Any]


class Probe(NamedTuple):
    """`leaves` are the floating leaves of params, then of x, with their `names`; `params` says how many are params'.

    `candidate(leaves, dys) -> (outputs, gradients)` is the caller's, with the trees that a backward returns;
    `reference(leaves, dys) -> (outputs, gradients)` is jax.vjp's, a list; `forward(*leaves) -> outputs`. `trees` is
    (params, x), what the candidate's gradients must look like. `dys` are the cotangents drawn for the outputs; `plain`
    are candidate and reference before compilation. `linear_in_dy` is False for a gradient function, which takes no
    cotangent; `data` names its other arguments.
    """

    name: str
    leaves: Leaves
    names: tuple[str, ...]
    params: int
    trees: tuple[PyTree, PyTree]
    dys: Leaves
    candidate: Callable[[Leaves, Leaves], tuple[Leaves, Any]]
    reference: Callable[[Leaves, Leaves], tuple[Leaves, Leaves]]
    forward: Callable[..., Leaves]
    plain: tuple[Callable[..., Any], Callable[..., Any]]
    linear_in_dy: bool = True
    data: tuple[tuple[str, Any], ...] = ()


def make_probe(target: Target, params: PyTree, x: PyTree, key: jax.Array, dy: PyTree = None) -> Probe:
    """The probe of a target at a point; cotangents are drawn unless given."""
    leaves, fixed = split_inexact((params, x))

    def forward(*leaves: Any) -> Leaves:
        return jax.tree.leaves(target.reference(*join_inexact(list(leaves), fixed)))

    shapes = output_shapes(lambda leaves: target.reference(*join_inexact(leaves, fixed)), leaves, target.name)
    tree = jax.tree.structure(shapes)

    def candidate(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Any]:
        params, x = join_inexact(leaves, fixed)
        y, saved = target.forward(params, x)
        return jax.tree.leaves(y), target.backward(params, x, y, saved, jax.tree.unflatten(tree, like(y, dys)))

    def reference(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Leaves]:
        y, pull = jax.vjp(lambda leaves: forward(*leaves), leaves)
        return y, pull(like(y, dys))[0]

    names, count = tuple(labels(params, x)), len(split_inexact(params)[0])
    dys = jax.tree.leaves(draw_like(shapes, key) if dy is None else dy)
    run = compiled(candidate), compiled(reference)
    return Probe(target.name, leaves, names, count, (params, x), dys, *run, compiled(forward), (candidate, reference))


def like(y: PyTree, dys: Leaves) -> Leaves:
    """The cotangents, which are drawn and changed in float64, in the dtypes of the outputs."""
    return [jnp.asarray(dy, leaf.dtype) for leaf, dy in zip(jax.tree.leaves(y), dys, strict=True)]


def output_shapes(forward: Callable[..., Any], leaves: list, name: str) -> PyTree:
    """The output's shapes; raises unless every leaf of it is floating."""
    try:
        y = jax.eval_shape(forward, leaves)
    except CANNOT_TRACE:
        y = jax.tree.map(jnp.asarray, forward(leaves))
    for leaf in jax.tree.leaves(y):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"check: expected {name} to give floating outputs, got {describe(leaf)}")
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), y)


CANNOT_TRACE = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled where it can be: one that looks at values (NumPy, Python branches) runs as it is."""
    fast = jax.jit(function)
    plain: list[bool] = []

    def call(*arguments: Any) -> Any:
        if not plain:
            try:
                return fast(*arguments)
            except CANNOT_TRACE:
                plain.append(True)
        return function(*arguments)

    return call


def as_arrays(leaves: Leaves) -> Leaves:
    return [np.asarray(leaf) for leaf in leaves]
