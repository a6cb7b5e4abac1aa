"""purenet.check: is the hand-written gradient right, and if not, which mistake is it?

Your backward and `jax.vjp` of the forward see the same parameters, input, randomness and random cotangent, in
float64, whatever the caller's settings, which stay as they are. The forward is stripped of the derivative rules inside
it (`program/stripped`). Where the two agree, two more values of the forward a leaf have to agree as well
(`second_leg`). Where they do not, the layer is found (`localise`), finite differences say who is right (`arbiter`), and
the mistake is looked for (`diagnose`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..errors import LayerError
from .examine import examine
from .forms.prepare import Given, in_one_form, prepared
from .forms.target import Target
from .low_precision import alone
from .precision import in_dtype
from .probe import Probe
from .rate import stable_rate
from .report import GradientError, Report
from .second_order import with_second_order
from .vocabulary import PASS, PRECISION, UNRESOLVED, VACUOUS, WRONG, Diagnosis, MalformedRule, size_of


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Float64, full-precision matrix products and no strictness about dtypes and ranks, inside the block only.

    NumPy's floating-point warnings are off: a wrong gradient may well overflow, and the report says so.
    """
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
        jax.transfer_guard("allow"),
        np.errstate(all="ignore"),
    ):
        yield


def check(
    target: Any,
    x: PyTree = None,
    *,
    params: PyTree = None,
    reference: Callable[..., Any] | None = None,
    intended: Callable[..., Any] | None = None,
    argnums: int | tuple[int, ...] | None = None,
    dtype: Any = None,
    rtol: float | None = None,
    order: int = 1,
    points: int = 1,
    seconds: float = 10.0,
    learning_rate: float | None = None,
    explain: bool = True,
    seed: int = 0,
    verbose: bool = True,
) -> Report:
    """Check a hand-written backward pass against jax.grad, and name the mistake if there is one.

    - `target`: a Layer, a network, an objective, a pair of functions `(forward, backward)`, in JAX or in NumPy, or a
      function with derivative rules of its own anywhere inside; see `purenet.checking.forms` for the forms.
    - `x`: the input, or `jax.ShapeDtypeStruct`s for which random values are drawn; for an objective the pair
      (inputs, targets); for a function of several arguments a tuple or a dict of them, among which what is no array
      stays as it is. Without it random values [5, 7] are drawn.
    - `params`: the parameters; without it those of `init`, moved at random so that no scale is 1 and no bias is 0.
    - `reference`: the function jax.grad differentiates, for a function with its own rule; by default the function
      itself without the rules inside.
    - `intended`: the gradient that is meant where it is not the derivative (straight-through, clipping, reversal), as a
      function of the target's arguments and dy; the check compares with it instead.
    - `argnums`: of a function of several arguments, the numbers of those that are differentiated; by default all that
      are floating.
    - `dtype`: also compare the accuracy in this dtype, yours beside jax.grad's: PRECISION where yours is four times
      worse.
    - `rtol`: how far the gradient may be off, relative to a leaf's largest value, where it is right but approximate
      (an iterative solver, an adjoint ODE).
    - `order=2` checks the backward's own derivative as well, which Hessians and gradient penalties read.
    - `points`: at how many points, each with cotangents of its own; all but the first are moved at random.
    - `learning_rate`: of plain gradient descent on an objective: notes say the largest stable one.
    - `seconds`: how long a mistake is looked for; the report says what was not tried. `explain=False` leaves it out.
    - `seed` decides about everything random; `verbose` prints the report.

    Each leaf of the gradient gets a verdict, and the report the worst of them:

        PASS        right to rounding (1e-9 of the leaf's largest value; smaller values to 1e-6 of their own)
        WRONG       the formula is not the derivative; the report says which mistake it is, where one is known
        PRECISION   the formula is right, its arithmetic is not: single precision explains the error
        UNRESOLVED  the reference cannot decide: rounding moves it as far, or finite differences side with you
                    against jax.grad
        VACUOUS     the true gradient is zero, or no more than the rounding of terms that cancel, and so is yours: the
                    leaf proves nothing

    Where jax.grad cannot differentiate the forward (NumPy, SciPy, callbacks, `while_loop`), differences of it are the
    reference, for at most 4,000 numbers, and PASS is right to 1e-6. At a kink, such as relu at 0, every value between
    the slopes to both sides is right, and a note says so.

    Returns the report. Raises `GradientError` (which prints the report) if a leaf is WRONG, UNRESOLVED or PRECISION,
    ValueError if there is nothing to compare (no floating numbers in x and params) or the forward is not finite at the
    probe, saying which operation made it, and TypeError for what cannot be checked.
    """
    check_options(rtol, order, points)
    given = Given(target, x, params, reference, seed, intended, argnums)
    with double():
        try:
            subject, probe = prepared(given)
        except MalformedRule as error:
            return conclude(refused(target, error), verbose)
        except Exception as error:
            return conclude(in_one_dtype(given, dtype, error), verbose)
        probe = probe._replace(rtol=rtol, seconds=seconds)
        try:
            report = at_points(subject, probe, points, seed, explain)
        except Exception as error:
            return conclude(in_one_dtype(given, dtype, error), verbose)
        if order == 2 and report.verdict in (PASS, VACUOUS):
            report = with_second_order(report, probe, seed)
    if dtype is not None and report.verdict in (PASS, VACUOUS):
        report = in_dtype(report, probe, dtype)
    if learning_rate is not None and report.verdict in (PASS, VACUOUS):
        with double():
            report = report._replace(notes=(*report.notes, stable_rate(probe, learning_rate)))
    return conclude(report, verbose)


def check_options(rtol: float | None, order: int = 1, points: int = 1) -> None:
    if rtol is not None and not 0 < rtol < 1:
        raise ValueError(f"check: expected rtol between 0 and 1, such as 1e-6, got {rtol!r}")
    if order not in (1, 2):
        raise ValueError(f"check: expected order=1, the gradient, or 2, its own derivative as well, got {order!r}")
    if not isinstance(points, int) or points < 1:
        raise ValueError(f"check: expected points, a number of points of at least 1, got {points!r}")


def refused(target: Any, error: MalformedRule) -> Report:
    """The report on a rule that JAX does not take."""
    finding = Diagnosis("malformed_rule", str(error), "", 0.0, rank=0.0)
    return Report(getattr(target, "__name__", type(target).__name__), (), (finding,))


def in_one_dtype(given: Given, dtype: Any, error: Exception) -> Report:
    """The report of a function that has failed in float64 and runs in `dtype` only; else its error."""
    if dtype is None and re.search(r"dtype|b?float\d+", str(error)) and not isinstance(error, LayerError):
        error.add_note("check runs in float64; a function that takes one dtype only is checked by dtype=jnp.float32")
    if dtype is None or isinstance(error, LayerError):
        raise error
    keys = jax.random.split(jax.random.key(given.seed), 4)
    try:
        return alone(*in_one_form(given, keys), dtype, keys[3])
    except Exception as other:  # in this dtype it fails as well: what float64 said is plainer
        raise error from other


def at_points(subject: Target, probe: Probe, points: int, seed: int, explain: bool) -> Report:
    """The report at the first point where the gradient is not right, else at the last."""
    report = examine(subject, probe, seed=seed, explain=explain)
    for k in range(1, points):
        if report.verdict not in (PASS, VACUOUS):
            return report
        report = examine(subject, elsewhere(probe, seed + k), seed=seed + k, explain=explain)
        if report.verdict not in (PASS, VACUOUS):
            return report._replace(notes=(*report.notes, f"at point {k + 1} of {points}: those before it are right"))
    return report._replace(
        notes=(*report.notes, *([f"right at {points} points"] * (points > 1 and report.verdict == PASS)))
    )


def elsewhere(probe: Probe, seed: int) -> Probe:
    """The probe at another point, with other cotangents."""
    random = np.random.default_rng(seed)
    dys = probe.dys if not probe.linear_in_dy else [random.standard_normal(np.shape(dy)) for dy in probe.dys]
    leaves = [
        leaf + 0.25 * (size_of(leaf) or 1.0) * random.standard_normal(np.shape(leaf))
        for leaf in map(np.asarray, probe.leaves)
    ]
    return probe._replace(leaves=list(map(jnp.asarray, leaves)), dys=list(map(jnp.asarray, dys)))


def conclude(report: Report, verbose: bool) -> Report:
    """Print and return a report, or raise it."""
    if report.verdict in (WRONG, UNRESOLVED, PRECISION):
        raise GradientError(report)
    if verbose:
        print(report)
    return report


def assert_gradients(target: Any, x: PyTree = None, *, allow_vacuous: bool = False, **options: Any) -> Report:
    """`check` for tests: silent where the gradient is right, and strict: a leaf that proves nothing fails too.

    The options are those of `check`; `allow_vacuous=True` accepts leaves whose true gradient is zero or empty, though
    not a check without any number to compare.
    """
    report = check(target, x, verbose=False, **options)
    if any(leaf.verdict == VACUOUS for leaf in report.leaves) and not allow_vacuous:
        raise GradientError(report)
    return report
