"""purenet.check: the hand-written gradient against `jax.vjp` of the forward, in float64, leaf by leaf.

Reference and target see the same parameters, the same input, the same randomness and the same random cotangent.
A right rule agrees to about 1e-15 of a leaf's largest value; the subtlest mistakes sit near 1e-6, so that 1e-9
tells them apart. A leaf whose true gradient is zero up to rounding has no such scale: it is told from a wrong one by
moving the input by some units in the last place and looking whether the true gradient is noise.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..layer import check_gradient, describe, leaves_with_paths
from .report import OK, VACUOUS, WRONG, GradientError, LeafReport, Report
from .target import Target, as_target

TOLERANCE = 1e-9
ROUNDING = 1e-13


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
        yours, truth, wiggled = gradients(probe, params, x, cotangent_key)
        largest = max((float(np.max(np.abs(leaf))) for _, leaf in truth if leaf.size), default=0.0)
        leaves = [compare(path, mine, leaf, wiggled, largest) for (path, leaf), mine in zip(truth, yours, strict=True)]
    report = Report(probe.name, tuple(leaves))
    if verbose:
        print(report)
    if report.verdict == WRONG:
        raise GradientError(report)
    return report


def gradients(probe: Target, params: PyTree, x: PyTree, key: jax.Array) -> tuple[list, list, Any]:
    """(yours, truth, a function that computes the truth again at inputs moved by some units in the last place)."""
    inexact, fixed = split_inexact(x)

    def forward(params: PyTree, inexact: list) -> PyTree:
        return probe.forward(params, join_inexact(inexact, fixed))[0]

    def reference(params: PyTree, inexact: list, dy: PyTree) -> tuple[PyTree, PyTree]:
        y, pull = jax.vjp(forward, params, inexact)
        return y, pull(dy)

    def by_hand(params: PyTree, inexact: list, dy: PyTree) -> tuple[PyTree, PyTree]:
        x = join_inexact(inexact, fixed)
        y, saved = probe.forward(params, x)
        dparams, dx = probe.backward(params, x, y, saved, dy)
        check_gradient(dparams, params, "parameter")
        check_gradient(dx, x, "input")
        return dparams, dx

    dy = draw_like(jax.eval_shape(forward, params, inexact), key)
    y, true_gradient = compiled(reference, params, inexact, dy)
    if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(y)):
        raise ValueError(f"check: the output of {probe.name} is not finite at the probe: pass another x or params")
    yours = [np.asarray(leaf) for leaf in jax.tree.leaves(compiled(by_hand, params, inexact, dy))]

    def wiggled() -> dict[str, np.ndarray]:
        moved = jax.tree.map(lambda leaf: leaf * (1 + ROUNDING), (params, inexact))
        return dict(label(compiled(reference, *moved, dy)[1], x))

    return yours, label(true_gradient, x), wiggled


def compiled(function: Any, *args: Any) -> Any:
    """The function's value, compiled where it can be: a target may look at values, which only works uncompiled."""
    try:
        return jax.jit(function)(*args)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        return function(*args)


def compare(path: str, yours: np.ndarray, truth: np.ndarray, wiggled: Any, largest: float) -> LeafReport:
    """The verdict on one leaf. `largest` is the largest true gradient of all leaves."""
    if not truth.size:
        return LeafReport(path, truth.shape, 0.0, VACUOUS, (), 0.0, 0.0)
    difference = np.abs(yours - truth)
    worst = np.unravel_index(int(np.argmax(np.where(np.isnan(difference), np.inf, difference))), truth.shape)
    scale = float(np.max(np.abs(truth)))
    error = float(difference[worst]) / scale if scale else float(difference[worst] > 0) * np.inf
    if scale == 0 and difference[worst] == 0:
        error = 0.0
    verdict = OK if error <= TOLERANCE and scale else VACUOUS if scale == 0 == error else WRONG
    if verdict == WRONG and np.all(np.isfinite(yours)) and float(np.max(np.abs(yours))) <= ROUNDING * largest:
        noise = float(np.max(np.abs(wiggled()[path] - truth)))
        if scale <= 10 * noise or scale == 0:
            verdict = VACUOUS
    index = tuple(int(i) for i in worst)
    return LeafReport(path, truth.shape, error, verdict, index, float(yours[worst]), float(truth[worst]))


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


def label(gradient: tuple[PyTree, list], x: PyTree) -> list[tuple[str, np.ndarray]]:
    """The true gradient's leaves with their paths: the parameters' own, then x's."""
    dparams, dx = gradient
    floating = [(path, leaf) for path, leaf in leaves_with_paths(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    paths = [f"x.{path}" if path else "x" for path, _ in floating]
    labelled = [(path or "params", np.asarray(leaf)) for path, leaf in leaves_with_paths(dparams)]
    return labelled + [(path, np.asarray(leaf)) for path, leaf in zip(paths, dx, strict=True)]
