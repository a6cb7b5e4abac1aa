"""From an experiment to a report: compare, and where that fails, localise, arbitrate and diagnose."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import LayerError
from ..layer import Layer
from .arbiter import JAX, YOURS, Ruling, arbitrate
from .compare import compare_all, noise_of
from .diagnose.evidence import Diagnosis, Evidence, Point, norm
from .diagnose.linearity import is_linear
from .diagnose.search import diagnose
from .experiment import Experiment, as_arrays, experiment
from .finite import first_not_finite
from .localise import Blame, localise
from .precision import single_precision
from .probe import join_inexact, moved, split_inexact
from .program.record import record
from .program.sweep import gradients, sweep
from .purity import purity, twice
from .report import PASS, UNRESOLVED, VACUOUS, WORST_FIRST, WRONG, LayerReport, LeafReport, Report
from .structure import align
from .target import Target, layer_at

POINTS = 3
OPAQUE = (
    "the forward could not be looked into (an operation that runs elsewhere, too many steps, or a derivative rule of "
    "its own): only what the gradients themselves show was tried"
)
MOVES = 0.05


def examine(target: Target, trial: Experiment, *, seed: int = 0, explain: bool = True, pure: bool = True) -> Report:
    """The report on one target at one point. `pure=False`: it has no forward and backward to trace apart."""
    outputs, truth = (as_arrays(leaves) for leaves in trial.truth(trial.leaves, trial.dys))
    check_finite(trial, outputs)
    findings = purity(target, trial) if pure else twice(trial)
    try:
        mine, raw = trial.hand(trial.leaves, trial.dys)
    except LayerError as error:
        if target.layer is None or not target.layer.parts:
            raise
        return inside(target, trial, unknown(trial, truth), error, explain)
    yours, structural = align(trial, raw, truth)
    noise = noise_of(trial.truth, trial.leaves, trial.dys, seed)
    with np.errstate(all="ignore"):
        leaves = compare_all(trial.names, yours, truth, noise)
    findings += structural + primal(mine, outputs) + not_linear(trial, leaves, yours)
    report = Report(trial.name, leaves, tuple(findings), arrays=tuple(zip(yours, truth, strict=True)))
    if report.verdict in (PASS, VACUOUS):
        return report
    return explained(target, trial, report, yours, truth, explain)


def unknown(trial: Experiment, truth: list[Any]) -> Report:
    """The report when the backward could not run to its end."""
    leaves = tuple(
        LeafReport(name, leaf.shape, np.inf, WRONG, (), np.nan, np.nan)
        for name, leaf in zip(trial.names, truth, strict=True)
    )
    return Report(trial.name, leaves, arrays=tuple((None, leaf) for leaf in truth))


def check_finite(trial: Experiment, outputs: list[Any]) -> None:
    """Raise where the forward itself is not finite: nothing can be said about a gradient there."""
    if all(np.all(np.isfinite(leaf)) for leaf in outputs):
        return
    made = first_not_finite(trial.forward, trial.leaves)
    cause = f": {made}" if made else ""
    raise ValueError(f"check: the output of {trial.name} is not finite at the probe{cause}. Pass another x or params")


def primal(mine: list[Any], outputs: list[Any]) -> list[Diagnosis]:
    """Whether a function with its own rule returns, under differentiation, what it is a rule of."""
    pairs = list(zip(as_arrays(mine), outputs, strict=True)) if len(mine) == len(outputs) else []
    if pairs and all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12 * norm(b)) for a, b in pairs):
        return []
    text = "the forward rule returns another value than the function itself"
    fix = "return the same y from the forward rule as from the function"
    return [Diagnosis("primal", text, fix, 0.0, rank=0.1)] if pairs or mine else []


def not_linear(trial: Experiment, leaves: tuple[LeafReport, ...], yours: list[Any]) -> list[Diagnosis]:
    """A backward that is right at this cotangent may clip or threshold a larger one."""
    if not trial.linear_in_dy or any(leaf is None for leaf in yours):
        return []
    at_large = align(trial, trial.hand(trial.leaves, [-1000.0 * dy for dy in trial.dys])[1], yours)[0]
    for leaf, name, once, large in zip(leaves, trial.names, yours, at_large, strict=True):
        finite = leaf.verdict != VACUOUS and np.all(np.isfinite(once))
        if finite and (large is None or not norm(large + 1000 * once) <= 1e-9 * 1000 * norm(once)):
            text = "your backward is not linear in the upstream cotangent: -1000 dy gives something else than -1000 "
            text += "times the gradient"
            fix = "every term must contain dy exactly once: look for a clip, a threshold or a norm"
            return [Diagnosis("not_linear", text, fix, 0.0, (name,), rank=2.9)]
    return []


def explained(
    target: Target, trial: Experiment, report: Report, yours: list[Any], truth: list[Any], explain: bool
) -> Report:
    """The report with the reasons: of a layer in a network, or of the target itself."""
    if target.layer is not None and target.layer.parts:
        found = inside(target, trial, report, None, explain)
        if found.layers:
            return found
    return reasons(trial, report, yours, truth, explain)


def reasons(trial: Experiment, report: Report, yours: list[Any], truth: list[Any], explain: bool) -> Report:
    """Precision, finite differences and the diagnosis, for what is wrong in a report."""
    leaves, findings, notes = list(report.leaves), list(report.diagnoses), list(report.notes)
    bad = [i for i, leaf in enumerate(leaves) if leaf.verdict == WRONG and yours[i] is not None]
    for i in bad:
        if single_precision(trial, i, yours[i], truth[i]):
            leaves[i] = leaves[i]._replace(verdict="PRECISION")
            findings = [d for d in findings if d.kind != "not_linear"] + [precision_finding(trial.names[i])]
    bad = [i for i in bad if leaves[i].verdict == WRONG]
    unfinished = [i for i in bad if not np.all(np.isfinite(yours[i])) or not np.all(np.isfinite(truth[i]))]
    for i in unfinished:
        leaves[i], finding = not_finite(trial, i, leaves[i], yours[i], truth[i])
        findings += finding
    bad = [i for i in bad if i not in unfinished]
    if bad:
        rulings = [(i, arbitrate(trial.forward, trial.leaves, trial.dys, i, yours[i], truth[i])) for i in bad[:4]]
        for i, ruling in rulings:
            if ruling.side == YOURS:
                leaves[i] = leaves[i]._replace(verdict=UNRESOLVED)
        notes += arbiter_notes(trial, rulings)
        if explain:
            findings = [d for d in findings if d.kind != "not_linear"]
            evidence = gather(trial, yours, truth, bad)
            findings += diagnose(evidence)
            notes += [OPAQUE] * (evidence.first.program is None)
    return report._replace(leaves=tuple(leaves), diagnoses=tuple(findings), notes=tuple(notes))


def precision_finding(name: str) -> Diagnosis:
    text = f"your gradient of {name} is right as a formula: the error is what low precision makes, jax.grad in "
    text += "low precision is off by as much"
    fix = "keep the dtype of the arguments: look for a cast, or a constant array, of a lower precision"
    return Diagnosis("low_precision", text, fix, 0.0, (name,), rank=0.1)


def arbiter_notes(trial: Experiment, rulings: list[tuple[int, Ruling]]) -> list[str]:
    notes = []
    for side in (JAX, YOURS):
        names = [trial.names[i] for i, ruling in rulings if ruling.side == side]
        worst = max((ruling.error for _, ruling in rulings if ruling.side == side), default=0.0)
        if names and side == JAX:
            error = f"their error {worst:.0e} of the disagreement"
            notes.append(f"finite differences side with jax.grad ({', '.join(names)}; {error})")
        elif names:
            notes.append(
                f"finite differences side with you: jax.grad is the one that is off here ({', '.join(names)}). A "
                "stop_gradient, a custom derivative rule or rounding in the forward makes it differ from the "
                "derivative; if that is meant, your gradient must follow it"
            )
    return notes


def not_finite(
    trial: Experiment, i: int, leaf: LeafReport, yours: Any, truth: Any
) -> tuple[LeafReport, list[Diagnosis]]:
    """What to say of NaN or infinity in your gradient, in jax.grad's, or in both."""
    name = trial.names[i]
    if not np.all(np.isfinite(yours)):
        made = first_not_finite(lambda *a: backward_leaves(trial, a), [*trial.leaves, *trial.dys])
        other = "jax.grad's is finite" if np.all(np.isfinite(truth)) else "so is jax.grad's"
        index = [int(k) for k in np.argwhere(~np.isfinite(yours))[0]]
        text = f"your gradient of {name} is not finite, first at {index} ({other})" + (f": {made}" if made else "")
        fix = "guard the operation, not its result: where(ok, x, 1) before log, sqrt or a division"
        return leaf, [Diagnosis("nonfinite", text, fix, 0.0, (name,), rank=0.1)]
    ruling = arbitrate(trial.forward, trial.leaves, trial.dys, i, yours, truth)
    rest = np.isfinite(truth)
    agrees = norm((yours - truth)[rest]) <= 1e-9 * norm(truth[rest])
    bad = [int(k) for k in np.argwhere(~rest)[0]]
    text = f"jax.grad is the one that is off here: its gradient of {name} is not finite at {bad}, yours is"
    if ruling.side == YOURS and agrees:
        at = tuple(bad)
        text += "; finite differences side with you"
        seen = leaf._replace(verdict=PASS, worst=at, error=0.0, yours=float(yours[at]), reference=float(truth[at]))
        return seen, [Diagnosis("reference_nonfinite", text, "", 0.0, (name,), rank=0.1)]
    text += "; finite differences cannot decide here (a kink, or an infinite slope)" if agrees else ""
    finding = Diagnosis("reference_nonfinite", text, "pass another x", 0.0, (name,), rank=0.1)
    return leaf._replace(verdict=UNRESOLVED if agrees else WRONG), [finding]


def backward_leaves(trial: Experiment, arguments: tuple) -> list[Any]:
    count = len(trial.leaves)
    raw = trial.plain[0](list(arguments[:count]), list(arguments[count:]))[1]
    return [leaf for leaf in jax.tree.leaves(raw) if jnp.issubdtype(leaf.dtype, jnp.floating)]


# Evidence for the diagnosis.


def gather(trial: Experiment, yours: list[Any], truth: list[Any], wrong: list[int]) -> Evidence:
    """Your gradient and the true one at several points, and the recorded forward."""
    shapes = [leaf.shape for leaf in truth]

    def hand(leaves: list[Any], dys: list[Any]) -> list[Any]:
        found = align(trial, trial.hand(leaves, dys)[1], truth)[0]
        return [np.full(s, np.nan) if leaf is None else leaf for leaf, s in zip(found, shapes, strict=True)]

    def true(leaves: list[Any], dys: list[Any]) -> list[Any]:
        return as_arrays(trial.truth(leaves, dys)[1])

    start = [np.asarray(leaf) for leaf in trial.leaves]
    dys = [np.asarray(dy) for dy in trial.dys]
    program = recorded(trial, start, dys, truth)
    filled = [np.full(s, np.nan) if leaf is None else leaf for leaf, s in zip(yours, shapes, strict=True)]
    points = [point(start, dys, filled, truth, program)]
    for k in range(1, POINTS):
        leaves = moved(start, k, MOVES)
        random = np.random.default_rng(100 + k)
        others = [random.standard_normal(dy.shape) if trial.linear_in_dy else dy for dy in dys]
        there = hand(leaves, others), true(leaves, others)
        if usable(*there, wrong):
            again = recorded(trial, leaves, others, there[1]) if program is not None else None
            points.append(point(leaves, others, *there, again if same_steps(program, again) else None))
    if program is not None and any(p.program is None for p in points):
        points = [p for p in points if p.program is not None]
    evidence = Evidence(trial.names, trial.params, tuple(wrong), tuple(points), hand, true, True, trial.data)
    return evidence._replace(linear=not trial.linear_in_dy or is_linear(evidence))


def point(leaves: list[Any], dys: list[Any], yours: list[Any], truth: list[Any], program: Any) -> Point:
    return Point(leaves, dys, yours, truth, program, sweep(program, dys) if program is not None else {})


def usable(yours: list[Any], truth: list[Any], wrong: list[int]) -> bool:
    """A point counts if everything is finite there and the wrong leaves are wrong there too."""
    finite = all(np.all(np.isfinite(yours[i])) and np.all(np.isfinite(truth[i])) for i in wrong)
    return finite and all(norm(yours[i] - truth[i]) > 1e-10 * norm(truth[i]) for i in wrong)


def recorded(trial: Experiment, leaves: list[Any], dys: list[Any], truth: list[Any]) -> Any:
    """The recorded forward, if reverse mode over it gives jax's gradient; else the diagnosis does without."""
    try:
        program = record(trial.forward, leaves)
        found = gradients(program, sweep(program, dys))
    except Exception:  # whatever an operation that cannot be run or differentiated alone may raise
        return None
    close = all(norm(a - b) <= 1e-8 * norm(b) + 1e-300 for a, b in zip(found, truth, strict=True))
    return program if close else None


def same_steps(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return False
    pairs = zip(first.steps, second.steps, strict=False)
    return len(first.steps) == len(second.steps) and all(a.op == b.op for a, b in pairs)


# Networks.


def inside(target: Target, trial: Experiment, report: Report, error: LayerError | None, explain: bool) -> Report:
    """The report with the layers to blame, each given the true cotangent of its own output."""
    assert target.layer is not None
    params, x = join_inexact(trial.leaves, split_inexact(trial.trees)[1])
    shapes = jax.eval_shape(lambda: target.reference(params, x))
    dy = jax.tree.unflatten(jax.tree.structure(shapes), trial.dys)
    blamed = localise(target.layer, params, target.state, x, target.key, dy, agrees)
    layers = tuple(layer_report(blame, explain) for blame in blamed)
    if not layers:
        if error is not None:
            raise error
        return report
    # What the layers are to blame for, the network's leaves only show.
    worst = min((layer.verdict for layer in layers), key=WORST_FIRST.index)
    leaves = [leaf._replace(verdict=worst) if leaf.verdict == WRONG else leaf for leaf in report.leaves]
    findings = [d for d in report.diagnoses if d.kind != "not_linear"]
    return report._replace(leaves=tuple(leaves), diagnoses=tuple(findings), layers=layers)


def part_experiment(layer: Layer, params: Any, state: Any, x: Any, key: Any, dy: Any) -> tuple[Target, Experiment]:
    target = layer_at(layer, None, state, key)
    return target, experiment(target, params, x, jax.random.key(0), dy)


def agrees(layer: Layer, params: Any, state: Any, x: Any, key: Any, dy: Any) -> bool:
    """Whether one layer's backward is right at a point, given the true cotangent."""
    _, trial = part_experiment(layer, params, state, x, key, dy)
    truth = as_arrays(trial.truth(trial.leaves, trial.dys)[1])
    try:
        yours, structural = align(trial, trial.hand(trial.leaves, trial.dys)[1], truth)
    except (LayerError, TypeError, ValueError):
        return False
    noise = noise_of(trial.truth, trial.leaves, trial.dys, 0)
    with np.errstate(all="ignore"):
        leaves = compare_all(trial.names, yours, truth, noise)
    return not structural and all(leaf.verdict in (PASS, VACUOUS, UNRESOLVED) for leaf in leaves)


def layer_report(blame: Blame, explain: bool) -> LayerReport:
    target, trial = part_experiment(blame.layer, blame.params, blame.state, blame.x, blame.key, blame.dy)
    truth = as_arrays(trial.truth(trial.leaves, trial.dys)[1])
    if blame.reason != "backward":
        return plumbing_report(blame, target, trial, truth, explain)
    whole = examine(target._replace(layer=None), trial, explain=explain)
    return LayerReport(blame.path, blame.reason, whole.leaves, whole.diagnoses, whole.notes)


def plumbing_report(blame: Blame, target: Target, trial: Experiment, truth: list[Any], explain: bool) -> LayerReport:
    if blame.reason == "recompute":
        text = "recompute gives another value than the forward's output, so whoever reads it goes wrong"
        fix = "compute the output in recompute exactly as in forward"
        return LayerReport(blame.path, blame.reason, (), (Diagnosis("recompute", text, fix, 0.0, rank=0.1),))
    try:
        whole = examine(target._replace(layer=None), trial, explain=explain)
    except LayerError as error:
        return LayerReport(blame.path, blame.reason, (), (Diagnosis("plumbing", str(error), "", 0.0, rank=0.5),))
    text = f"the parts of {blame.path} are right; how its backward connects them is not"
    fix = "look at the sums of cotangents, the order of the parts, and what is handed to which"
    found = (Diagnosis("plumbing", text, fix, 0.0, (), rank=0.5), *whole.diagnoses)
    return LayerReport(blame.path, blame.reason, whole.leaves, found, whole.notes)
