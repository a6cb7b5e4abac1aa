"""One check made ready to run: the caller's gradient and jax's, compiled, at the same leaves and cotangents."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..errors import LayerError
from ..validation import describe
from .differences import TOLERANCE as BY_DIFFERENCES, differences
from .points import draw_like, join_inexact, labels, split_inexact
from .program.stripped import has_rules, without_rules
from .target import Target
from .vocabulary import CANNOT_TRACE, DIFFERENCES, JAX

Leaves = list[Any]
ROUNDING = 1e-9


class Probe(NamedTuple):
    """`leaves` are the floating leaves of params, then of x, with their `names`; `params` says how many are params'.

    `candidate(leaves, dys) -> (outputs, gradients)` is the caller's, with the trees that a backward returns;
    `reference(leaves, dys) -> (outputs, gradients)` is jax.vjp's, a list; `forward(*leaves) -> outputs`. `trees` is
    (params, x), what the candidate's gradients must look like. `dys` are the cotangents drawn for the outputs; `plain`
    are candidate and reference before compilation. `linear_in_dy` is False for a gradient function, which takes no
    cotangent; `data` names its other arguments. `against`: whether the reference is JAX's or by differences.
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
    against: str = JAX

    @property
    def tolerance(self) -> float:
        """How well the reference is known, relative to a leaf's largest value."""
        return ROUNDING if self.against == JAX else BY_DIFFERENCES


def make_probe(target: Target, params: PyTree, x: PyTree, key: jax.Array, dy: PyTree = None) -> Probe:
    """The probe of a target at a point; cotangents are drawn unless given."""
    leaves, fixed = split_inexact((params, x))
    read = readable(lambda *leaves: target.reference(*join_inexact(list(leaves), fixed)), leaves)
    check_outputs(read, target)
    forward = read.forward

    def candidate(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Any]:
        params, x = join_inexact(leaves, fixed)
        y, saved = target.forward(params, x)
        return floating(y), target.backward(params, x, y, saved, as_cotangents(y, dys))

    names, count = tuple(labels(params, x)), len(split_inexact(params)[0])
    dys = floating(read.shapes if dy is None else dy)
    dys = draw_like(dys, key) if dy is None else dys
    reference, against = reference_of(forward, leaves, dys, target.name)
    run = compiled(candidate), compiled(reference) if against == JAX else reference
    plain = candidate, reference
    return Probe(target.name, leaves, names, count, (params, x), dys, *run, compiled(forward), plain, against=against)


def reference_of(
    forward: Callable[..., Leaves], leaves: Leaves, dys: Leaves, name: str
) -> tuple[Callable[[Leaves, Leaves], tuple[Leaves, Leaves]], str]:
    """jax.vjp of the forward, or differences where it has none; and which of the two."""

    def by_jax(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Leaves]:
        y, pull = jax.vjp(lambda leaves: forward(*leaves), leaves)
        return y, pull(as_cotangents(y, dys))[0]

    try:
        jax.eval_shape(by_jax, leaves, dys)
    except CANNOT_TRACE:
        try:
            by_jax(leaves, dys)
        except Exception:  # NumPy takes no tracer, whichever way it says so
            return functools.partial(differences, compiled(forward), name=name), DIFFERENCES
    except LayerError:
        raise
    except Exception:  # an operation that JAX cannot differentiate
        return functools.partial(differences, compiled(forward), name=name), DIFFERENCES
    return by_jax, JAX


class Readable(NamedTuple):
    """The function that jax.grad differentiates: `forward(*leaves) -> leaves` without the derivative rules inside,
    the `shapes` of its output, and whether it `has_rules`."""

    shapes: PyTree
    forward: Callable[..., Leaves]
    has_rules: bool


def readable(function: Callable[..., PyTree], leaves: Leaves) -> Readable:
    """A function of leaves; one that cannot be traced stays as it is."""
    try:
        program, y = jax.make_jaxpr(function, return_shape=True)(*leaves)
    except LayerError:
        raise
    except Exception as error:
        bare, ruled = untraceable(function, leaves, error), False
        y = jax.tree.map(jnp.asarray, bare(*leaves))
    else:
        ruled = has_rules(program.jaxpr)
        bare = without_rules(function) if ruled else function
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), y)
    return Readable(shapes, lambda *leaves: floating(bare(*leaves)), ruled)


def untraceable(function: Callable[..., Any], arguments: Any, error: Exception) -> Callable[..., Any]:
    """The function as it runs where JAX cannot trace it: on JAX's arrays, or on copies as NumPy's."""
    for way in (function, on_numpy(function)):
        try:
            way(*arguments)
        except Exception as failure:
            error = error if isinstance(failure, CANNOT_TRACE) or not isinstance(error, CANNOT_TRACE) else failure
        else:
            return way
    raise error


def on_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on copies of its arguments that it may change in place."""
    return lambda *arguments: function(*jax.tree.map(as_numpy, arguments))


def as_numpy(leaf: Any) -> Any:
    plain = isinstance(leaf, (jax.Array, np.ndarray)) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return np.array(leaf) if plain else leaf


def floating(y: PyTree) -> Leaves:
    """The leaves of an output that have a cotangent."""
    leaves = [leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for leaf in jax.tree.leaves(y)]
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def as_cotangents(y: PyTree, dys: Leaves) -> PyTree:
    """The cotangents, which are drawn and changed in float64, as a tree like the output: in its dtypes, and float0 for
    integers."""
    drawn = iter(dys)

    def one(leaf: Any) -> Any:
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(next(drawn), leaf.dtype)
        return np.zeros(leaf.shape, jax.dtypes.float0)

    return jax.tree.map(one, y)


def check_outputs(read: Readable, target: Target) -> None:
    """Raise where there is nothing to compare: no floating output, or no rule to compare jax.grad with."""
    leaves = jax.tree.leaves(read.shapes)
    if not floating(read.shapes):
        given = ", ".join(map(describe, leaves)) or "nothing"
        raise TypeError(f"check: expected {target.name} to give floating outputs, got {given}")
    if target.own_rule and not read.has_rules:
        raise TypeError(
            f"check: {target.name} has no derivative rule of its own, so that jax.grad would be compared with itself: "
            "pass the pair (forward, backward), or reference=..., the function that jax.grad differentiates"
        )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled where it can be: one that looks at values (NumPy, Python branches) runs as it is."""
    fast = jax.jit(function)
    chosen: list[Callable[..., Any]] = []

    def run(*arguments: Any) -> Any:
        if chosen:
            return chosen[0](*arguments)
        try:
            result = fast(*arguments)
        except LayerError:
            raise
        except Exception as error:
            chosen.append(untraceable(function, arguments, error))
            return chosen[0](*arguments)
        chosen.append(fast)
        return result

    return run


def as_arrays(leaves: Leaves) -> Leaves:
    return [np.asarray(leaf) for leaf in leaves]
