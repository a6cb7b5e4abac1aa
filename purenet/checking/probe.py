"""One check made ready to run: the caller's gradient and jax's, compiled, at the same leaves and cotangents."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..errors import LayerError
from ..validation import describe
from .differences import TOLERANCE as BY_DIFFERENCES, differences
from .forms.own_rule import check_primal, first_sentence, says_rule
from .forms.target import Target
from .points import as_complex, as_real, draw_like, is_complex, is_inexact, join_inexact, labels, split_inexact
from .program.stripped import has_rules, without_rules
from .running import economical, untraceable
from .vocabulary import CANNOT_TRACE, DIFFERENCES, INTENDED, JAX, MalformedRule

Leaves = list[Any]
ROUNDING = 1e-9


class Probe(NamedTuple):
    """`leaves` are the floating leaves of params, then of x, with their `names`; `params` says how many are params'.

    A complex leaf or output stands as pairs of real numbers [..., 2], its gradient as d/da and d/db where z = a + i b,
    which JAX gives as d/da - i d/db.

    `candidate(leaves, dys) -> (outputs, gradients)` is the caller's, with the trees that a backward returns;
    `reference(leaves, dys) -> (outputs, gradients)` is jax.vjp's, a list; `forward(*leaves) -> outputs`. `trees` is
    (params, x), what the candidate's gradients must look like. `dys` are the cotangents drawn for the outputs; `plain`
    are candidate and reference before compilation. `linear_in_dy` is False for a gradient function, which takes no
    cotangent; `data` names its other arguments. `against`: whether the reference is JAX's or by differences; `lenient`
    as in `Target`; `rtol`: how far it may be off, where the caller says so; `seconds` for
    a diagnosis.
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
    lenient: bool = False
    rtol: float | None = None
    seconds: float = math.inf

    @property
    def complex_leaves(self) -> list[int]:
        """Which leaves stand as pairs."""
        inexact = [leaf for leaf in jax.tree.leaves(self.trees) if is_inexact(leaf)]
        return [i for i, leaf in enumerate(inexact) if is_complex(leaf)]

    @property
    def tolerance(self) -> float:
        """How well the gradient has to agree, relative to a leaf's largest value."""
        known = BY_DIFFERENCES if self.against == DIFFERENCES else ROUNDING
        return known if self.rtol is None else max(known, self.rtol)


def make_probe(target: Target, params: PyTree, x: PyTree, key: jax.Array, dy: PyTree = None) -> Probe:
    """The probe of a target at a point; cotangents are drawn unless given."""
    leaves, fixed = split_inexact((params, x))
    read = readable(lambda *leaves: target.reference(*join_inexact(leaves, fixed)), leaves)
    check_outputs(read, target)
    forward = read.forward

    def candidate(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Any]:
        params, x = join_inexact(leaves, fixed)
        y, saved = target.forward(params, x)
        check_primal(target.name, y, read.shapes)
        return floating(y), target.backward(params, x, y, saved, as_cotangents(y, dys))

    names, count = tuple(labels(params, x)), len(split_inexact(params)[0])
    dys = floating(read.shapes if dy is None else dy)
    dys = draw_like(dys, key) if dy is None else dys
    if target.intended is None:
        reference, against = reference_of(forward, leaves, dys, target.name)
    else:
        reference, against = intended_of(target, forward, fixed, (params, x)), INTENDED
    run = economical(candidate), economical(reference) if against != DIFFERENCES else reference
    plain = candidate, reference
    return Probe(
        target.name,
        leaves,
        names,
        count,
        (params, x),
        dys,
        *run,
        economical(forward),
        plain,
        against=against,
        lenient=target.lenient,
    )


def intended_of(target: Target, forward: Callable[..., Leaves], fixed: Any, trees: PyTree) -> Callable[..., Any]:
    """The gradient that is meant, in the place of jax.vjp's."""

    def reference(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Leaves]:
        params, x = join_inexact(leaves, fixed)
        assert target.intended is not None
        meant = target.intended(params, x, as_cotangents(target.reference(params, x), dys))
        return forward(*leaves), gradient_leaves(trees, meant)

    return reference


def gradient_leaves(trees: PyTree, returned: PyTree) -> Leaves:
    """The leaves of a gradient in the order of the probe's, zeros where there is none."""
    found = []
    for tree, gradient in zip(trees, returned, strict=True):
        own = jax.tree.leaves(tree)
        for leaf, value in zip(own, jax.tree.structure(tree).flatten_up_to(gradient), strict=True):
            if is_complex(leaf) and value is not None:
                value = jnp.conj(value)
            if is_inexact(leaf):
                found.append(as_real(jnp.zeros_like(leaf) if value is None else jnp.asarray(value)))
    return found


def reference_of(
    forward: Callable[..., Leaves], leaves: Leaves, dys: Leaves, name: str
) -> tuple[Callable[[Leaves, Leaves], tuple[Leaves, Leaves]], str]:
    """jax.vjp of the forward, or differences where it has none; and which of the two."""

    run = by_jax(forward)
    try:
        jax.eval_shape(run, leaves, dys)
    except CANNOT_TRACE:
        try:
            run(leaves, dys)
        except Exception:  # NumPy takes no tracer, whichever way it says so
            return functools.partial(differences, economical(forward), name=name), DIFFERENCES
    except LayerError:
        raise
    except Exception:  # an operation that JAX cannot differentiate
        return functools.partial(differences, economical(forward), name=name), DIFFERENCES
    return run, JAX


def by_jax(forward: Callable[..., Leaves]) -> Callable[[Leaves, Leaves], tuple[Leaves, Leaves]]:
    """(outputs, jax.vjp's gradients) of a function of leaves."""

    def run(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Leaves]:
        y, pull = jax.vjp(lambda leaves: forward(*leaves), leaves)
        return y, pull(as_cotangents(y, dys))[0]

    return run


class NoRule(TypeError):
    """A function whose derivative nobody has written."""


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
        if says_rule(error):
            raise MalformedRule(first_sentence(error)) from error
        bare, ruled = untraceable(function, leaves, error), False
        y = jax.tree.map(jnp.asarray, bare(*leaves))
    else:
        ruled = has_rules(program.jaxpr)
        bare = without_rules(function) if ruled else function
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), y)
    return Readable(shapes, lambda *leaves: floating(bare(*leaves)), ruled)


def floating(y: PyTree) -> Leaves:
    """The leaves of an output that have a cotangent, complex ones as pairs of real numbers."""
    leaves = [leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for leaf in jax.tree.leaves(y)]
    return [as_real(leaf) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def as_cotangents(y: PyTree, dys: Leaves) -> PyTree:
    """The cotangents, which are drawn and changed in float64, as a tree like the output: in its dtypes, and float0 for
    integers."""
    drawn = iter(dys)

    def one(leaf: Any) -> Any:
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        if is_complex(leaf):
            return as_complex(next(drawn)).conj().astype(leaf.dtype)
        if is_inexact(leaf):
            dy = next(drawn)
            return dy.astype(leaf.dtype) if isinstance(dy, np.ndarray) else jnp.asarray(dy, leaf.dtype)
        return np.zeros(leaf.shape, jax.dtypes.float0)

    return jax.tree.map(one, y)


def check_outputs(read: Readable, target: Target) -> None:
    """Raise where there is nothing to compare: no floating output, or no rule to compare jax.grad with."""
    leaves = jax.tree.leaves(read.shapes)
    if not floating(read.shapes):
        given = ", ".join(map(describe, leaves)) or "nothing"
        raise TypeError(f"check: expected {target.name} to give floating outputs, got {given}")
    if target.own_rule and not read.has_rules:
        raise NoRule(
            f"check: {target.name} has no derivative rule of its own, so that jax.grad would be compared with itself: "
            "pass the pair (forward, backward), or reference=..., the function that jax.grad differentiates"
        )


def as_arrays(leaves: Leaves) -> Leaves:
    return [np.asarray(leaf) for leaf in leaves]
