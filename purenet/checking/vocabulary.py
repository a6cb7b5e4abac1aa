"""What all of the checker speaks of: verdicts, a leaf's row, an explanation, and the distance of two gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

JAX, DIFFERENCES, INTENDED = "jax.grad", "differences", "intended"  # what a gradient is compared with
CANNOT_TRACE = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)
PASS, WRONG, PRECISION, UNRESOLVED, VACUOUS = "PASS", "WRONG", "PRECISION", "UNRESOLVED", "VACUOUS"
WORST_FIRST = (WRONG, PRECISION, UNRESOLVED, PASS, VACUOUS)


class OutOfTime(BaseException):
    """The search for a mistake has to end: no Exception, which a hypothesis that does not fit may raise."""


class MalformedRule(Exception):
    """A derivative rule that JAX does not take; its message is one sentence for people."""


class LeafReport(NamedTuple):
    """One leaf of the gradient.

    `error` is the largest difference relative to the largest true value of the leaf (to the true value there, where
    only small values are wrong); `worst` is the index where it stands, with the hand-written value `yours` and
    `reference`, jax.grad's. `purenet.check` says what the verdicts mean.
    """

    path: str
    shape: tuple[int, ...]
    error: float
    verdict: str
    worst: tuple[int, ...]
    yours: float | complex
    reference: float | complex


class Diagnosis(NamedTuple):
    """One explanation of a wrong gradient.

    `kind` is for programs, `text` one sentence for people, `fix` what to do, `residual` the part of the error that
    is left unexplained (0 is exact), `leaves` the gradients it explains, `line` where in the forward; `rank` orders
    explanations, the simplest first. `held` counts the points at which it held although nothing of it was fitted to
    them, and could have failed.
    """

    kind: str
    text: str
    fix: str
    residual: float
    leaves: tuple[str, ...] = ()
    line: str = ""
    rank: float = 5.0
    held: int = 0


def norm(x: Any) -> float:
    x = np.ravel(np.asarray(x))
    x = x if x.dtype.kind == "c" else x.astype(np.float64, copy=False)
    return float(np.sqrt(np.vdot(x, x).real))


def size_of(leaf: Any) -> float:
    """The typical size of a leaf's finite numbers."""
    finite = np.asarray(leaf)[np.isfinite(leaf)]
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0


def distance(a: Any, b: Any) -> float:
    """Relative difference of two arrays."""
    difference = norm(np.asarray(a) - np.asarray(b))
    return 0.0 if difference == 0 else difference / max(norm(a), norm(b))
