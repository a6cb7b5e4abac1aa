"""Accuracy in a low precision: a question of its own, beside whether the formula is right."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .probe import Probe, as_arrays
from .purity import low_precision
from .report import Report
from .running import economical
from .structure import align
from .vocabulary import JAX, PRECISION, VACUOUS, norm

WORSE = 4.0


def single_precision(probe: Probe, i: int, candidate: Any, exact: Any) -> bool:
    """Whether single precision explains the error of a leaf: it is used, and the error is as large."""
    error, dtype = norm(candidate - exact), low_precision(probe, candidate)
    if not np.isfinite(error) or dtype is None or error > 100 * float(jnp.finfo(dtype).eps) * norm(exact):
        return False
    reference = gradient_in(probe, probe.leaves, probe.dys, dtype)
    least = 0.5 * float(jnp.finfo(dtype).eps) * norm(exact)
    if reference is None:  # not known in single precision; in half precision a mistake may be as small
        return dtype == jnp.float32 and error <= 2 * WORSE * least
    return error <= 2 * WORSE * max(norm(reference[i] - exact), least)


def gradient_in(probe: Probe, leaves: list[Any], dys: list[Any], dtype: Any) -> list[Any] | None:
    """jax.grad's gradient computed in another dtype; None where it cannot be."""
    if probe.against != JAX:
        return None
    try:
        with in_low(dtype):
            found = jax.jit(probe.plain[1])(cast(leaves, dtype), cast(dys, dtype))[1]
    except Exception:  # such as NumPy's float64 constants, which JAX does not compile here
        return None
    return [np.asarray(leaf).astype(np.float64) for leaf in found]


@contextlib.contextmanager
def in_low(dtype: Any) -> Iterator[None]:
    """JAX as it is where float64 is not, with products as precise as the dtype allows."""
    precision = jax.default_matmul_precision("highest")
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), precision, quiet_truncation():
        yield


@contextlib.contextmanager
def quiet_truncation() -> Iterator[None]:
    """Float64 constants of the caller's become float32 here, which JAX warns of and which is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def cast(leaves: list[Any], dtype: Any) -> list[Any]:
    return [jnp.asarray(np.asarray(leaf), dtype) for leaf in leaves]


def in_dtype(report: Report, probe: Probe, dtype: Any) -> Report:
    """The report with each leaf's accuracy in `dtype`: your error and jax.grad's, both against float64."""
    if probe.against != JAX:
        raise ValueError(f"check: dtype= compares with jax.grad, which cannot differentiate {probe.name}: leave it out")
    with jax.enable_x64(True):
        cast_leaves = [np.asarray(jnp.asarray(np.asarray(leaf), dtype).astype(jnp.float64)) for leaf in probe.leaves]
        cast_dys = [np.asarray(jnp.asarray(np.asarray(dy), dtype).astype(jnp.float64)) for dy in probe.dys]
        exact = as_arrays(probe.reference(cast_leaves, cast_dys)[1])
    with in_low(dtype):
        arguments = cast(cast_leaves, dtype), cast(cast_dys, dtype)
        reference = economical(probe.plain[1])(*arguments)[1]
        candidate, _ = align(probe, economical(probe.plain[0])(*arguments)[1], [np.asarray(leaf) for leaf in reference])
    leaves, notes, worst = list(report.leaves), [], (0.0, "", 0.0)
    name = jnp.dtype(dtype).name
    for i, leaf in enumerate(report.leaves):
        if candidate[i] is None or leaf.verdict == VACUOUS or not norm(exact[i]):
            continue
        errors = [
            norm(np.asarray(g).astype(np.float64) - exact[i]) / norm(exact[i]) for g in (candidate[i], reference[i])
        ]
        if errors[0] > WORSE * max(errors[1], float(jnp.finfo(dtype).eps)):
            text = f"in {name} your gradient of {leaf.path} is less accurate than jax.grad's: error {errors[0]:.1e} "
            notes.append(f"{text}against {errors[1]:.1e}. The formula is right; look for what cancels in it")
            leaves[i] = leaf._replace(verdict=PRECISION)
        worst = max(worst, worst_element(leaf.path, candidate[i], reference[i], exact[i]))
    if not notes:
        notes.append(
            f"in {name} your gradient is as accurate as jax.grad's: off by at most {worst[0]:.2g} of an element, at "
            f"{worst[1]}, where jax.grad is off by {worst[2]:.2g}. That is {name}'s precision, not a bug"
        )
    return report._replace(leaves=tuple(leaves), notes=(*report.notes, *notes))


def worst_element(path: str, candidate: Any, reference: Any, exact: Any) -> tuple[float, str, float]:
    """(your largest relative error of an element, where, jax.grad's there)."""
    if not exact.size:
        return 0.0, "", 0.0
    scale = np.where(exact != 0, np.abs(exact), np.inf)
    errors = [np.abs(np.asarray(g).astype(np.float64) - exact) / scale for g in (candidate, reference)]
    at = np.unravel_index(int(np.argmax(errors[0])), exact.shape)
    return float(errors[0][at]), f"{path} {[int(k) for k in at]}", float(errors[1][at])
