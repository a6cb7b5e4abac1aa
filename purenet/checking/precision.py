"""Accuracy in a low precision: a question of its own, beside whether the formula is right."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .diagnose.evidence import norm
from .experiment import Experiment, as_arrays
from .purity import low_precision
from .report import PRECISION, Report
from .structure import align

WORSE = 4.0


def single_precision(trial: Experiment, i: int, yours: Any, truth: Any) -> bool:
    """Whether single precision explains the error of a leaf: it is used, and jax.grad in it is off by as much."""
    error, dtype = norm(yours - truth), low_precision(trial, yours)
    if not np.isfinite(error) or dtype is None or error > 100 * float(jnp.finfo(dtype).eps) * norm(truth):
        return False
    reference = rounded(trial, dtype)
    least = 0.5 * float(jnp.finfo(dtype).eps) * norm(truth)
    return reference is not None and error <= 2 * WORSE * max(norm(reference[i] - truth), least)


def rounded(trial: Experiment, dtype: Any) -> list[Any] | None:
    """jax.grad's gradient computed in another dtype; None where it cannot be."""
    try:
        with jax.enable_x64(False):
            found = jax.jit(trial.plain[1])(cast(trial.leaves, dtype), cast(trial.dys, dtype))[1]
    except Exception:
        return None
    return [np.asarray(leaf).astype(np.float64) for leaf in found]


def cast(leaves: list[Any], dtype: Any) -> list[Any]:
    return [jnp.asarray(np.asarray(leaf), dtype) for leaf in leaves]


def in_dtype(report: Report, trial: Experiment, dtype: Any) -> Report:
    """The report with each leaf's accuracy in `dtype`: your error and jax.grad's, both against float64."""
    with jax.enable_x64(True):
        cast_leaves = [np.asarray(jnp.asarray(np.asarray(leaf), dtype).astype(jnp.float64)) for leaf in trial.leaves]
        cast_dys = [np.asarray(jnp.asarray(np.asarray(dy), dtype).astype(jnp.float64)) for dy in trial.dys]
        truth = as_arrays(trial.truth(cast_leaves, cast_dys)[1])
    precision = jax.default_matmul_precision("highest")
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), precision:
        arguments = cast(cast_leaves, dtype), cast(cast_dys, dtype)
        reference = jax.jit(trial.plain[1])(*arguments)[1]
        mine, _ = align(trial, jax.jit(trial.plain[0])(*arguments)[1], [np.asarray(leaf) for leaf in reference])
    leaves, notes = list(report.leaves), list(report.notes)
    name = jnp.dtype(dtype).name
    for i, leaf in enumerate(report.leaves):
        if mine[i] is None or not norm(truth[i]):
            continue
        errors = [norm(np.asarray(g).astype(np.float64) - truth[i]) / norm(truth[i]) for g in (mine[i], reference[i])]
        worse = errors[0] > WORSE * max(errors[1], float(jnp.finfo(dtype).eps))
        how = "less accurate than jax.grad" if worse else "as accurate as jax.grad or better"
        notes.append(f"in {name}, {leaf.path}: your error {errors[0]:.1e}, jax.grad's {errors[1]:.1e}: {how}")
        leaves[i] = leaf._replace(verdict=PRECISION) if worse else leaf
    return report._replace(leaves=tuple(leaves), notes=tuple(notes))
