"""purenet.check: is the hand-written gradient right, and if not, which mistake is it?

Your backward and `jax.vjp` of the forward see the same parameters, input, randomness and random cotangent, in
float64, whatever the caller's settings, which stay as they are. The forward is stripped of the derivative rules inside
it (`program/stripped`). Where the two agree, two more values of the forward a leaf have to agree as well
(`second_leg`). Where they do not, the layer is found (`localise`), finite differences say who is right (`arbiter`), and
the mistake is looked for (`diagnose`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from .arguments import spread
from .examine import examine
from .points import draw_like, probe_params, require_floats
from .precision import in_dtype
from .probe import Probe, make_probe
from .rate import stable_rate
from .report import GradientError, Report
from .target import Target, as_target
from .vocabulary import PASS, PRECISION, UNRESOLVED, VACUOUS, WRONG


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Float64, full-precision matrix products and no strictness about dtypes, inside the block only.

    NumPy's floating-point warnings are off: a wrong gradient may well overflow, and the report says so.
    """
    full_precision = jax.default_matmul_precision("highest")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), full_precision, np.errstate(all="ignore"):
        yield


def check(
    target: Any,
    x: PyTree = None,
    *,
    params: PyTree = None,
    reference: Callable[..., Any] | None = None,
    dtype: Any = None,
    learning_rate: float | None = None,
    explain: bool = True,
    seed: int = 0,
    verbose: bool = True,
) -> Report:
    """Check a hand-written backward pass against jax.grad, and name the mistake if there is one.

    - `target`: a Layer, a network, an objective, a pair of functions `(forward, backward)`, in JAX or in NumPy, or a
      function with derivative rules of its own anywhere inside; see `purenet.checking.target` for the forms.
    - `x`: the input, or `jax.ShapeDtypeStruct`s for which random values are drawn; for an objective the pair
      (inputs, targets); for a function of several arguments a tuple or a dict of them, among which what is no array
      stays as it is. Without it random values [5, 7] are drawn.
    - `params`: the parameters; without it those of `init`, moved at random so that no scale is 1 and no bias is 0.
    - `reference`: the function jax.grad differentiates, for a function with its own rule; by default the function
      itself without the rules inside.
    - `dtype`: also compare the accuracy in this dtype, yours beside jax.grad's: PRECISION where yours is four times
      worse.
    - `learning_rate`: of plain gradient descent on an objective: notes say the largest stable one.
    - `explain=False` leaves out the diagnosis. `seed` decides about everything random; `verbose` prints the report.

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
    with double():
        subject, probe = prepared(target, x, params, reference, seed)
        report = examine(subject, probe, seed=seed, explain=explain)
    if dtype is not None and report.verdict in (PASS, VACUOUS):
        report = in_dtype(report, probe, dtype)
    if learning_rate is not None and report.verdict in (PASS, VACUOUS):
        with double():
            report = report._replace(notes=(*report.notes, stable_rate(probe, learning_rate)))
    return conclude(report, verbose)


def prepared(
    target: Any, x: PyTree, params: PyTree, reference: Callable[..., Any] | None, seed: int
) -> tuple[Target, Probe]:
    """What a check compares: the target in its one form, at a probe of the caller's or drawn ones."""
    params_key, x_key, run_key, cotangent_key = jax.random.split(jax.random.key(seed), 4)
    way = ""
    if params is None and callable(target) and (arguments := spread(reference or target, x)) is not None:
        way, params, x = "by name" if isinstance(x, dict) else "by position", arguments, ()
    x = draw_like(jax.ShapeDtypeStruct((5, 7), jnp.float64) if x is None else x, x_key)
    subject = as_target(target, run_key, x, reference=reference, has_params=params is not None and not way, spread=way)
    params = probe_params(subject, params, x, params_key)
    require_floats("check", (params, x), "x or params")
    return subject, make_probe(subject, params, x, cotangent_key)


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
