"""Is a gradient right within the precision of its own forward?

A function that computes in float32, bfloat16 or float16 by design (a kernel, a fixed output dtype, a cast) cannot agree
with float64 to 1e-9. The truth is then the derivative of the same steps in float64, at a point that the dtype can hold.
Your error may be four times as large as jax.grad's own in that dtype, and must have no system: rounding averages out,
a factor of 1.02 does not, neither over all of a leaf nor over one of its slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from .forms.target import Target
from .points import draw_like, join_inexact, labels, split_inexact
from .precision import cast, gradient_in, in_low
from .probe import Leaves, Probe, as_arrays, as_cotangents, by_jax, floating
from .program.stripped import in_float64
from .purity import low_precision
from .report import Report
from .running import economical
from .structure import align
from .vocabulary import JAX, PASS, WRONG, Diagnosis, LeafReport, norm

DRAWS = 4
WORSE = 4.0
SIGMAS = 8.0
Run = Callable[[Leaves, Leaves], list[Any]]


class Errors(NamedTuple):
    """Of one leaf at several points: your gradient, the true one, and jax.grad's in the same dtype where it has one."""

    yours: Any
    truth: Any
    theirs: Any
    eps: float

    @property
    def noise(self) -> float:
        """The typical error that the dtype makes, beside the typical true value."""
        own = norm(self.theirs - self.truth) if self.theirs is not None else 0.0
        return max(own, 0.5 * self.eps * norm(self.truth))

    @property
    def size(self) -> float:
        return norm(self.yours - self.truth)


def errors(yours: Run, truth: Run, theirs: Run | None, probe: Probe, dtype: Any) -> list[Errors]:
    """The errors of all leaves, at points that the dtype can hold; the functions give the leaves of gradients."""
    random, found = np.random.default_rng(0), []
    leaves = rounded(probe.leaves, dtype)
    for _ in range(DRAWS):
        dys = rounded([random.standard_normal(np.shape(dy)) for dy in probe.dys], dtype)
        dys = dys if probe.linear_in_dy else probe.dys
        found.append((yours(leaves, dys), truth(leaves, dys), theirs(leaves, dys) if theirs else None))
    eps = float(jnp.finfo(dtype).eps)
    stacks = [[None if each[k] is None else list(each[k]) for each in found] for k in range(3)]
    each = [[stacked(stack, i) for stack in stacks] for i in range(len(probe.leaves))]
    return [Errors(own, true, other, eps) for own, true, other in each]


def stacked(stack: list[Any], i: int) -> Any:
    if any(leaves is None or leaves[i] is None for leaves in stack):
        return None
    return np.stack([np.asarray(leaves[i]).astype(np.float64) for leaves in stack])


def rounded(leaves: Leaves, dtype: Any) -> Leaves:
    """The values that a dtype can hold, in float64."""
    return [np.asarray(jnp.asarray(np.asarray(leaf), dtype)).astype(np.float64) for leaf in leaves]


def row(name: str, found: Errors) -> LeafReport:
    """The row of a leaf: its largest error at the first point, and whether rounding explains all of it."""
    if found.yours is None:
        return LeafReport(name, found.truth.shape[1:], np.inf, WRONG, (), np.nan, np.nan)
    difference, largest = np.abs(found.yours[0] - found.truth[0]), float(np.max(np.abs(found.truth[0]), initial=0.0))
    at = tuple(int(k) for k in np.unravel_index(int(np.argmax(difference)), difference.shape))
    error = float(difference[at]) / largest if largest else float(difference[at])
    verdict = WRONG if found.size > WORSE * found.noise or list(systems(found)) else PASS
    return LeafReport(
        name, found.truth.shape[1:], error, verdict, at, float(found.yours[0][at]), float(found.truth[0][at])
    )


def systems(found: Errors) -> Iterator[tuple[str, float]]:
    """Where the error has a system: (of what part of the leaf, by which factor it is too large)."""
    factor, known = excess(found, ...)
    if abs(factor) > known:
        yield "", factor
        return
    for axis in range(1, found.truth.ndim):
        for k in range(found.truth.shape[axis]):
            part = (slice(None),) * axis + (k,)
            factor, known = excess(found, part)
            if abs(factor) > known:
                yield f"slice {k} of axis {axis - 1}", factor


def excess(found: Errors, part: Any) -> tuple[float, float]:
    """(by how much a part is too large on average, how well that is known)."""
    truth, error = found.truth[part], found.yours[part] - found.truth[part]
    square = float(np.sum(np.square(truth)))
    if not square:
        return 0.0, np.inf
    factor = float(np.sum(error * truth)) / square
    spread = max(norm(error - factor * truth), 0.3 * found.eps * np.sqrt(square))
    share = float(np.sqrt(np.sum(truth**4))) / square  # 1 / the square root of how many numbers count
    own = 0.0 if found.theirs is None else abs(float(np.sum((found.theirs[part] - truth) * truth))) / square
    return factor, SIGMAS * spread / np.sqrt(square) * share + 2 * own + found.eps / 16


def finding(name: str, found: Errors, dtype: Any) -> Diagnosis:
    """What is wrong with a leaf, as far as that shows through the rounding."""
    word, parts = jnp.dtype(dtype).name, list(systems(found)) if found.yours is not None else []
    if parts and not parts[0][0]:
        ratio = 1 + parts[0][1]
        if norm(found.yours - ratio * found.truth) <= WORSE * found.noise:
            text = f"your gradient of {name} is {ratio:.4g} times the right one, which is more than {word} explains"
            return Diagnosis("scaled", text, f"divide it by {ratio:.4g}", 0.0, (name,), rank=0.3)
    if parts and parts[0][0]:
        also = f" and {len(parts) - 1} other slices" if len(parts) > 1 else ""
        text = f"your gradient of {name} is off by more than {word} explains in {parts[0][0]}{also}"
        return Diagnosis("slices", text, "look at what belongs to that slice alone", 0.0, (name,), rank=0.3)
    size, noise = (value / max(norm(found.truth), 1e-300) for value in (found.size, found.noise))
    text = f"your gradient of {name} is off by {size:.1e} of its size, where {word} explains {noise:.1e}"
    fix = "check the same function in float64, where the mistake can be named"
    return Diagnosis("unexplained", text, fix, 1.0, (name,), rank=9.0)


def note(found: list[Errors], dtype: Any) -> str:
    sizes = [(e.size / norm(e.truth), e.noise / norm(e.truth)) for e in found if e.yours is not None and norm(e.truth)]
    worst = max(sizes, default=(0.0, 0.0))
    return (
        f"the forward computes in {jnp.dtype(dtype).name}: your gradient was compared within that precision, with the "
        f"derivative of the same steps in float64. It is off by {worst[0]:.1e} of its size, {worst[1]:.1e} is rounding"
    )


def judged(report: Report, probe: Probe, dtype: Any, yours: Run, truth: Run, theirs: Run | None) -> Report:
    """The report of a gradient that is compared within a dtype."""
    found = errors(yours, truth, theirs, probe, dtype)
    rows = tuple(row(name, each) for name, each in zip(probe.names, found, strict=True))
    wrong = [(r.path, e) for r, e in zip(rows, found, strict=True) if r.verdict == WRONG]
    findings = tuple(finding(name, each, dtype) for name, each in wrong)
    kept = tuple(d for d in report.diagnoses if d.kind not in ("primal", "not_linear", "wrong_dtype"))
    notes = (*report.notes, *([note(found, dtype)] * (not wrong)))
    return report._replace(leaves=rows, diagnoses=(*kept, *findings), notes=notes)


def own_precision(probe: Probe, own_outputs: list[Any], candidate: list[Any]) -> Any:
    """The dtype in which the caller's forward itself computes, where that is less than float64; else None."""
    given = [leaf for leaf in candidate if leaf is not None]
    dtype = low_precision(probe, given[0]) if given and probe.against == JAX else None
    if dtype is None:
        return None
    try:
        truth = as_arrays(in_float64(probe.forward, probe.leaves)(*probe.leaves))
    except Exception:  # such as an operation that exists in one dtype only
        return None
    own = [np.asarray(y).astype(np.float64) for y in own_outputs]
    exact = len(own) == len(truth) and all(norm(a - b) <= 1e-12 * norm(b) for a, b in zip(own, truth, strict=True))
    return None if exact else dtype


def within_own(report: Report, probe: Probe, dtype: Any) -> Report:
    """The report of a gradient whose forward casts to a dtype inside: it is run as it is."""
    shapes = [leaf.shape for leaf in map(np.asarray, probe.leaves)]

    def yours(leaves: Leaves, dys: Leaves) -> list[Any]:
        return align(probe, probe.candidate(leaves, dys)[1], [np.zeros(shape) for shape in shapes])[0]

    def theirs(leaves: Leaves, dys: Leaves) -> list[Any]:
        found = gradient_in(probe, leaves, dys, dtype)
        return found if found is not None else yours(leaves, dys)

    known = gradient_in(probe, probe.leaves, probe.dys, dtype) is not None
    return judged(report, probe, dtype, yours, true_gradient(probe.forward, probe.leaves), theirs if known else None)


def true_gradient(forward: Callable[..., Leaves], example: Leaves) -> Run:
    """jax.vjp of the same steps in float64."""
    wide = in_float64(forward, example)
    return lambda leaves, dys: list(jax.vjp(wide, *leaves)[1]([jnp.asarray(dy) for dy in dys]))


def alone(target: Target, params: PyTree, x: PyTree, dtype: Any, key: Any) -> Report:
    """The report of a function that runs in one dtype only: its arguments are cast to it, the truth is in float64."""
    leaves, fixed = split_inexact((params, x))

    def forward(*leaves: Any) -> Leaves:
        return floating(target.reference(*join_inexact(leaves, fixed)))

    def candidate(leaves: Leaves, dys: Leaves) -> tuple[Leaves, Any]:
        params, x = join_inexact(leaves, fixed)
        y, saved = target.forward(params, x)
        return floating(y), target.backward(params, x, y, saved, as_cotangents(y, dys))

    with in_low(dtype):
        narrow = cast(leaves, dtype)
        truth = true_gradient(forward, narrow)
        shapes = jax.eval_shape(forward, *narrow)
    dys = draw_like([jax.ShapeDtypeStruct(y.shape, np.float64) for y in shapes], key)
    names, count = tuple(labels(params, x)), len(split_inexact(params)[0])
    run = economical(candidate), economical(by_jax(forward)), economical(forward)
    probe = Probe(target.name, leaves, names, count, (params, x), dys, *run, (candidate, by_jax(forward)))

    def in_it(function: Callable[..., Any]) -> Run:
        def gradients(leaves: Leaves, dys: Leaves) -> list[Any]:
            with in_low(dtype):
                returned = function(cast(leaves, dtype), cast(dys, dtype))[1]
                own = [np.asarray(leaf) for leaf in cast(leaves, dtype)]
            return align(probe, returned, own)[0] if function is probe.candidate else list(returned)

        return gradients

    return judged(Report(probe.name, ()), probe, dtype, in_it(probe.candidate), truth, in_it(probe.reference))
