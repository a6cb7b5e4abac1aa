"""purenet.check_gradient: any function that claims to be the gradient of a scalar function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..validation import describe
from .check import check_options, conclude, double
from .examine import examine
from .forms.gradient_names import like
from .forms.target import nameless
from .points import draw_like, join_inexact, label_tree, require_floats, split_inexact
from .probe import Probe, readable, reference_of
from .rate import stable_rate
from .report import Report
from .running import as_numpy, economical
from .vocabulary import JAX, PASS


def check_gradient(
    gradient: Callable[..., Any],
    value: Callable[..., Any],
    *args: Any,
    argnums: int | tuple[int, ...] = 0,
    rtol: float | None = None,
    seconds: float = 10.0,
    learning_rate: float | None = None,
    explain: bool = True,
    seed: int = 0,
    verbose: bool = True,
) -> Report:
    """Check `gradient(*args)` against jax.grad of the scalar function `value(*args)`, and name the mistake.

    `gradient` returns what `jax.grad(value, argnums)` would: the gradient of one argument, or a tuple for several. It
    may be plain Python or NumPy; it is called with float64 arguments. So may `value`, whose differences are then the
    reference.
    The other options are those of `purenet.check`, and so is what is raised.
    """
    if not callable(gradient) or not callable(value):
        raise TypeError(f"check_gradient: expected two functions, got {describe(gradient)} and {describe(value)}")
    check_options(rtol)
    several = isinstance(argnums, tuple)
    chosen = argnums if isinstance(argnums, tuple) else (argnums,)
    if not args or any(not 0 <= k < len(args) for k in chosen):
        raise ValueError(f"check_gradient: argnums {argnums} does not fit {len(args)} arguments")
    with double():
        arguments = draw_like(args, jax.random.key(seed))
        checked = tuple(arguments[k] for k in chosen) if several else arguments[chosen[0]]
        require_floats("check_gradient", checked, f"argument {argnums}")
        probe = gradient_probe(gradient, value, arguments, chosen, checked, several)
        probe = probe._replace(rtol=rtol, seconds=seconds)
        report = examine(nameless(probe.name), probe, seed=seed, explain=explain, pure=False)
        if learning_rate is not None and report.verdict == PASS:
            report = report._replace(notes=(*report.notes, stable_rate(probe, learning_rate)))
    return conclude(report, verbose)


def gradient_probe(
    gradient: Callable[..., Any],
    value: Callable[..., Any],
    args: tuple[PyTree, ...],
    chosen: tuple[int, ...],
    checked: PyTree,
    several: bool,
) -> Probe:
    """The probe whose one output is the value, with the cotangent 1."""
    leaves, fixed = split_inexact(checked)

    def full(leaves: list[Any]) -> list[Any]:
        found = join_inexact(leaves, fixed)
        each = found if several else (found,)
        in_numpy = any(isinstance(leaf, np.ndarray) for leaf in leaves)
        complete = [jax.tree.map(as_numpy, argument) if in_numpy else argument for argument in args]
        for k, argument in zip(chosen, each, strict=True):
            complete[k] = argument
        return complete

    read = readable(lambda *leaves: value(*full(list(leaves))), leaves)
    shape, forward = check_scalar(read.shapes), read.forward

    def candidate(leaves: list[Any], dys: list[Any]) -> tuple[list[Any], Any]:
        returned = gradient(*full(leaves))
        pairs = isinstance(returned, (tuple, list)) and len(returned) == len(checked)
        found = tuple(map(like, checked, returned)) if several and pairs else like(checked, returned)
        return forward(*leaves), ((), found)

    titles = argument_names(value, len(args))
    names = tuple(name for k in chosen for name in label_tree(args[k], titles[k], f"{titles[k]}."))
    data = tuple(
        (name, np.asarray(leaf))
        for k, argument in enumerate(args)
        if k not in chosen
        for name, leaf in zip(label_tree(argument, titles[k], f"{titles[k]}."), split_inexact(argument)[0], strict=True)
    )
    name = getattr(gradient, "__name__", "gradient")
    dys = [jnp.ones((), shape.dtype)]
    reference, against = reference_of(forward, leaves, dys, name)
    run = economical(candidate), economical(reference, traced=True) if against == JAX else reference
    plain, tree = (candidate, reference), ((), checked)
    return Probe(
        name, leaves, names, len(leaves), tree, dys, *run, economical(forward), plain, False, data, against, True
    )


def check_scalar(shape: Any) -> jax.ShapeDtypeStruct:
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise TypeError(f"check_gradient: expected a scalar from value, got {describe(shape)}")
    return shape


def argument_names(value: Callable[..., Any], count: int) -> list[str]:
    """The names of the first arguments of a function, or numbers where it does not say."""
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except ValueError:
        parameters = []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [p.name for p in parameters if p.kind in plain][:count]
    return found + [f"argument {k}" for k in range(len(found), count)]
