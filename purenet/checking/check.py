"""purenet.check: the hand-written gradient against `jax.vjp` of the forward, in float64, leaf by leaf.

Reference and target see the same parameters, the same input, the same randomness and the same random cotangent.
A right rule agrees to about 1e-15 of a leaf's largest value; the subtlest mistakes sit near 1e-6, so that 1e-9
tells them apart. What is small beside the rest of its leaf, or zero up to rounding, has no such scale: it is judged
by noise, how far the true gradient moves when parameters and input move by some units in the last place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..layer import check_gradient, describe, leaves_with_paths
from .report import OK, VACUOUS, WRONG, GradientError, LeafReport, Report
from .target import Target, as_target

TOLERANCE = 1e-9
SMALL_TOLERANCE = 1e-6
ROUNDING = 1e-13

Noise = Callable[[], list[np.ndarray]]


def check(target: Any, x: PyTree = None, *, params: PyTree = None, seed: int = 0, verbose: bool = True) -> Report:
    """Check a hand-written backward pass against jax.grad, in float64 whatever the caller's default.

    - `target`: a Layer, a network, an objective, or a pair of functions `(forward, backward)`; see
      `purenet.checking.target` for the forms of a pair.
    - `x`: the input, or `jax.ShapeDtypeStruct`s for which random values are drawn; for an objective the pair
      (inputs, targets). Without it random values [5, 7] are drawn.
    - `params`: the parameters; without it those of `init`, moved at random so that no scale is 1 and no bias is 0.
    - `seed` decides about everything random; `verbose` prints the table.

    Returns the report. Raises `GradientError` if a leaf is wrong, ValueError if the forward is not finite at the
    probe, and the library's own errors where trees, shapes or dtypes do not fit.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        params_key, x_key, run_key, cotangent_key = jax.random.split(jax.random.key(seed), 4)
        probe = as_target(target, run_key)
        x = draw_like(jax.ShapeDtypeStruct((5, 7), jnp.float64) if x is None else x, x_key)
        params = probe_params(probe, params, x, params_key)
        yours, truth, noise = gradients(probe, params, x, cotangent_key)
        largest = max((float(np.max(np.abs(leaf))) for leaf in truth if leaf.size), default=0.0)
        rows = enumerate(zip(labels(params, x), yours, truth, strict=True))
        leaves = [compare(index, path, mine, leaf, noise, largest) for index, (path, mine, leaf) in rows]
    report = Report(probe.name, tuple(leaves))
    if verbose:
        print(report)
    if report.verdict == WRONG:
        raise GradientError(report)
    return report


def gradients(probe: Target, params: PyTree, x: PyTree, key: jax.Array) -> tuple[list, list, Noise]:
    """(yours, truth, noise): the two gradients' leaves, and how far each true one moves under rounding."""
    moving, fixed = split_inexact((params, x))

    def forward(moving: list) -> PyTree:
        return probe.forward(*join_inexact(moving, fixed))[0]

    def reference(moving: list, dy: PyTree) -> tuple[PyTree, list]:
        y, pull = jax.vjp(forward, moving)
        return y, pull(dy)[0]

    def by_hand(moving: list, dy: PyTree) -> tuple[PyTree, PyTree]:
        params, x = join_inexact(moving, fixed)
        y, saved = probe.forward(params, x)
        dparams, dx = probe.backward(params, x, y, saved, dy)
        check_gradient(dparams, params, "parameter")
        check_gradient(dx, x, "input")
        return dparams, dx

    dy_key, noise_key = jax.random.split(key)
    dy = draw_like(output_shapes(forward, moving, probe.name), dy_key)
    yours = [np.asarray(leaf) for leaf in jax.tree.leaves(compiled(by_hand, moving, dy))]
    y, truth = compiled(reference, moving, dy)
    for what, leaves in (("the output", jax.tree.leaves(y)), ("jax.grad's own gradient", truth)):
        if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in leaves):
            raise ValueError(f"check: {what} of {probe.name} is not finite at the probe: pass another x or params")
    truth = [np.asarray(leaf) for leaf in truth]

    @functools.cache
    def noise() -> list[np.ndarray]:
        squares = []
        for draw in jax.random.split(noise_key, 4):
            keys = jax.random.split(draw, max(len(moving), 1))
            moved = [m * (1 + ROUNDING * jax.random.normal(k, m.shape)) for m, k in zip(moving, keys, strict=False)]
            pairs = zip(compiled(reference, moved, dy)[1], truth, strict=True)
            squares.append([np.square(np.asarray(after) - before) for after, before in pairs])
        return [np.sqrt(np.mean(each, 0)) for each in zip(*squares, strict=True)]

    return yours, truth, noise


def compiled(function: Any, *args: Any) -> Any:
    """The function's value, compiled where it can be: a target may look at values, which only works uncompiled."""
    try:
        return jax.jit(function)(*args)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        return function(*args)


def compare(index: int, path: str, yours: np.ndarray, truth: np.ndarray, noise: Noise, largest: float) -> LeafReport:
    """The verdict on one leaf. `largest` is the largest true gradient of all leaves."""
    if not truth.size:
        return LeafReport(path, truth.shape, 0.0, VACUOUS, (), 0.0, 0.0)
    difference = np.where(np.isnan(yours), np.inf, np.abs(yours - truth))
    scale = float(np.max(np.abs(truth)))
    worst = np.unravel_index(int(np.argmax(difference)), truth.shape)
    error = ratio(difference[worst], scale)
    verdict = OK if error <= TOLERANCE else WRONG
    if scale == 0 and verdict == OK:
        verdict = VACUOUS
    elif verdict == WRONG and float(np.max(np.abs(yours))) <= ROUNDING * largest:
        verdict = VACUOUS if scale <= 10 * float(np.max(noise()[index])) else WRONG
    elif verdict == OK and np.any(difference > SMALL_TOLERANCE * np.abs(truth)):
        # Right beside the leaf's largest value; the small ones must be right as well, up to noise.
        moves = np.maximum(noise()[index], 1e-3 * np.sqrt(np.mean(np.square(noise()[index]))))
        excess = np.where(difference > SMALL_TOLERANCE * np.abs(truth), difference - 100 * moves, -1)
        if np.any(excess > 0):
            verdict, worst = WRONG, np.unravel_index(int(np.argmax(excess)), truth.shape)
            error = ratio(difference[worst], abs(truth[worst]))
    at = tuple(int(i) for i in worst)
    return LeafReport(path, truth.shape, error, verdict, at, float(yours[worst]), float(truth[worst]))


def ratio(difference: Any, scale: Any) -> float:
    return float(difference) / float(scale) if scale else (np.inf if difference else 0.0)


def output_shapes(forward: Callable[..., Any], moving: list, name: str) -> PyTree:
    """The output's shapes; raises unless every leaf of it is floating."""
    y = jax.eval_shape(forward, moving)
    for leaf in jax.tree.leaves(y):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"check: expected {name} to give floating outputs, got {describe(leaf)}")
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), y)


def probe_params(probe: Target, params: PyTree, x: PyTree, key: jax.Array) -> PyTree:
    """The caller's parameters in float64, or the target's own moved away from ones and zeros."""
    if params is not None:
        return draw_like(params, key)
    if not probe.has_params:
        return ()
    if probe.init is None:
        raise TypeError(f"check: forward takes params, so pass params=...; got none for {probe.name}")
    leaves, tree = jax.tree.flatten(probe.init(x))
    keys = jax.random.split(key, max(len(leaves), 1))
    return jax.tree.unflatten(tree, [nudge(leaf, leaf_key) for leaf, leaf_key in zip(leaves, keys, strict=False)])


def nudge(leaf: jax.Array, key: jax.Array) -> jax.Array:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    leaf = leaf.astype(jnp.float64)
    size = jnp.sqrt(jnp.mean(jnp.square(leaf)))
    return leaf + 0.25 * jnp.where(size > 0, size, 1) * jax.random.normal(key, leaf.shape, leaf.dtype)


def draw_like(tree: PyTree, key: jax.Array) -> PyTree:
    """The tree in float64: values as they are, random ones for shapes."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    return jax.tree.unflatten(structure, [in_float64(leaf, k) for leaf, k in zip(leaves, keys, strict=False)])


def in_float64(leaf: Any, key: jax.Array) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"check: cannot draw {describe(leaf)}: pass the integers themselves")
        return jax.random.normal(key, leaf.shape, jnp.float64)
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def split_inexact(x: PyTree) -> tuple[list, tuple]:
    """The floating leaves, and what is needed to put them back among the others."""
    leaves, structure = jax.tree.flatten(x)
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    return [leaf for leaf, is_float in zip(leaves, floating, strict=True) if is_float], (leaves, floating, structure)


def join_inexact(inexact: list, fixed: tuple) -> PyTree:
    leaves, floating, structure = fixed
    moving = iter(inexact)
    joined = [next(moving) if is_float else leaf for leaf, is_float in zip(leaves, floating, strict=True)]
    return jax.tree.unflatten(structure, joined)


def labels(params: PyTree, x: PyTree) -> list[str]:
    """Paths of the floating leaves: the parameters' own, then x's."""

    def floating(tree: PyTree) -> list[str]:
        return [path for path, leaf in leaves_with_paths(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    return [path or "params" for path in floating(params)] + [f"x.{path}" if path else "x" for path in floating(x)]
