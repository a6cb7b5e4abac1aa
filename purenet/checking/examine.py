"""From a probe to a report: compare, and where that fails, localise, arbitrate and diagnose."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import LayerError
from ..layer import Layer
from .arbiter import YOURS, Ruling, arbitrate
from .compare import Expected, compare_all, expect
from .diagnose.evidence import Evidence, Point
from .diagnose.linearity import is_linear
from .diagnose.search import diagnose
from .finite import first_not_finite
from .kinks import kink_note
from .localise import Blame, localise
from .points import join_inexact, moved, split_inexact
from .precision import single_precision
from .probe import Probe, as_arrays, as_cotangents, make_probe
from .program.record import record
from .program.sweep import gradients, sweep
from .purity import purity, twice
from .report import LayerReport, Report
from .second_leg import second_leg
from .structure import align
from .target import Target, layer_at
from .vocabulary import JAX, PASS, UNRESOLVED, VACUOUS, WORST_FIRST, WRONG, Diagnosis, LeafReport, norm

POINTS = 3
OPAQUE = (
    "the forward could not be looked into (an operation that runs elsewhere, too many steps, or a derivative rule of "
    "its own): only what the gradients themselves show was tried"
)
BY_DIFFERENCES = "jax.grad cannot differentiate the forward: the reference is its differences, and PASS means to 1e-6"
MOVES = 0.05
LARGE = 1024.0  # a power of two, so that the larger cotangent rounds as the own one does


def examine(target: Target, probe: Probe, *, seed: int = 0, explain: bool = True, pure: bool = True) -> Report:
    """The report on one target at one point. `pure=False`: it has no forward and backward to trace apart."""
    outputs, reference = (as_arrays(leaves) for leaves in probe.reference(probe.leaves, probe.dys))
    check_finite(probe, outputs)
    findings = purity(target, probe) if pure else twice(probe)
    try:
        own_outputs, returned = probe.candidate(probe.leaves, probe.dys)
    except LayerError as error:
        if target.layer is None or not target.layer.parts:
            raise
        return inside(target, probe, unknown(probe, reference), error, explain)
    candidate, structural = align(probe, returned, reference)
    expected = expect(probe, reference, seed)
    leaves = compare_all(expected, candidate)
    findings += structural + not_linear(probe, expected, leaves, candidate)
    findings += primal(own_outputs, outputs) if pure else []  # a gradient function has no forward of its own
    arrays, notes = tuple(zip(candidate, reference, strict=True)), (BY_DIFFERENCES,) * (probe.against != JAX)
    report = Report(probe.name, leaves, tuple(findings), notes=notes, arrays=arrays, against=probe.against)
    if report.verdict in (PASS, VACUOUS):
        return second_leg(probe, report, candidate, outputs, seed) if probe.against == JAX else report
    return explained(target, probe, report, candidate, reference, explain)


def unknown(probe: Probe, reference: list[Any]) -> Report:
    """The report when the backward could not run to its end."""
    leaves = tuple(
        LeafReport(name, leaf.shape, np.inf, WRONG, (), np.nan, np.nan)
        for name, leaf in zip(probe.names, reference, strict=True)
    )
    return Report(probe.name, leaves, arrays=tuple((None, leaf) for leaf in reference))


def check_finite(probe: Probe, outputs: list[Any]) -> None:
    """Raise where the forward itself is not finite: nothing can be said about a gradient there."""
    if all(np.all(np.isfinite(leaf)) for leaf in outputs):
        return
    made = first_not_finite(probe.forward, probe.leaves)
    cause = f": {made}" if made else ""
    raise ValueError(f"check: the output of {probe.name} is not finite at the probe{cause}. Pass another x or params")


def primal(own_outputs: list[Any], outputs: list[Any]) -> list[Diagnosis]:
    """Whether a function with its own rule returns, under differentiation, what it is a rule of."""
    pairs = list(zip(as_arrays(own_outputs), outputs, strict=True)) if len(own_outputs) == len(outputs) else []
    if pairs and all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12 * norm(b)) for a, b in pairs):
        return []
    text = "the forward rule returns another value than the function itself"
    fix = "return the same y from the forward rule as from the function"
    return [Diagnosis("primal", text, fix, 0.0, rank=0.1)] if pairs or own_outputs else []


def not_linear(
    probe: Probe, expected: Expected, leaves: tuple[LeafReport, ...], candidate: list[Any]
) -> list[Diagnosis]:
    """A backward that is right at this cotangent may clip or threshold a larger one."""
    if not probe.linear_in_dy or any(leaf is None for leaf in candidate):
        return []
    at_large = align(probe, probe.candidate(probe.leaves, [-LARGE * dy for dy in probe.dys])[1], candidate)[0]
    for i, (leaf, once, large) in enumerate(zip(leaves, candidate, at_large, strict=True)):
        gap = np.inf if large is None else norm(large + LARGE * once)
        if not np.all(np.isfinite(once)) or gap <= LARGE * 1e-9 * norm(once):
            continue
        if not gap <= LARGE * expected.rounding()[i] * np.sqrt(once.size):
            text = "your backward is not linear in the upstream cotangent: -1024 dy gives something else than -1024 "
            text += "times the gradient"
            fix = "every term must contain dy exactly once: look for a clip, a threshold or a norm"
            return [Diagnosis("not_linear", text, fix, 0.0, (leaf.path,), rank=2.9)]
    return []


def explained(
    target: Target, probe: Probe, report: Report, candidate: list[Any], reference: list[Any], explain: bool
) -> Report:
    """The report with the reasons: of a layer in a network, or of the target itself."""
    if target.layer is not None and target.layer.parts:
        found = inside(target, probe, report, None, explain)
        if found.layers:
            return found
    return reasons(probe, report, candidate, reference, explain)


def reasons(probe: Probe, report: Report, candidate: list[Any], reference: list[Any], explain: bool) -> Report:
    """Precision, finite differences and the diagnosis, for what is wrong in a report."""
    leaves, findings, notes = list(report.leaves), list(report.diagnoses), list(report.notes)
    bad = [i for i, leaf in enumerate(leaves) if leaf.verdict == WRONG and candidate[i] is not None]
    unsure = [i for i, leaf in enumerate(leaves) if leaf.verdict == UNRESOLVED and candidate[i] is not None]
    for i in bad + unsure:
        if note := kink_note(probe, i, candidate[i], reference[i]):
            leaves[i] = leaves[i]._replace(verdict=PASS)
            notes.append(note)
    bad = [i for i in bad if leaves[i].verdict == WRONG]
    for i in bad:
        if single_precision(probe, i, candidate[i], reference[i]):
            leaves[i] = leaves[i]._replace(verdict="PRECISION")
            findings = [d for d in findings if d.kind != "not_linear"] + [precision_finding(probe.names[i])]
    bad = [i for i in bad if leaves[i].verdict == WRONG]
    unfinished = [i for i in bad if not np.all(np.isfinite(candidate[i])) or not np.all(np.isfinite(reference[i]))]
    for i in unfinished:
        leaves[i], finding = not_finite(probe, i, leaves[i], candidate[i], reference[i])
        findings += finding
    bad = [i for i in bad if i not in unfinished]
    if bad:
        rulings = [
            (i, arbitrate(probe.forward, probe.leaves, probe.dys, i, candidate[i], reference[i]))
            for i in bad[:4]
            if probe.against == JAX
        ]
        for i, ruling in rulings:
            if ruling.side == YOURS:
                leaves[i] = leaves[i]._replace(verdict=UNRESOLVED)
        notes += arbiter_notes(probe, rulings)
        if explain:
            evidence = gather(probe, candidate, reference, bad)
            last = [d for d in findings if d.kind == "wrong_dtype"]  # single precision is not what is wrong here
            findings = [d for d in findings if d.kind not in ("not_linear", "wrong_dtype")]
            findings += [*diagnose(evidence), *last]
            notes += [OPAQUE] * (evidence.first.program is None)
    return report._replace(leaves=tuple(leaves), diagnoses=tuple(findings), notes=tuple(notes))


def precision_finding(name: str) -> Diagnosis:
    text = f"your gradient of {name} is right as a formula: the error is what low precision makes"
    fix = "keep the dtype of the arguments: look for a cast, or a constant array, of a lower precision"
    return Diagnosis("low_precision", text, fix, 0.0, (name,), rank=0.1)


def arbiter_notes(probe: Probe, rulings: list[tuple[int, Ruling]]) -> list[str]:
    notes = []
    for side in (JAX, YOURS):
        names = [probe.names[i] for i, ruling in rulings if ruling.side == side]
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
    probe: Probe, i: int, leaf: LeafReport, candidate: Any, reference: Any
) -> tuple[LeafReport, list[Diagnosis]]:
    """What to say of NaN or infinity in your gradient, in jax.grad's, or in both."""
    name = probe.names[i]
    if not np.all(np.isfinite(candidate)):
        made = first_not_finite(lambda *a: backward_leaves(probe, a), [*probe.leaves, *probe.dys])
        other = "jax.grad's is finite" if np.all(np.isfinite(reference)) else "so is jax.grad's"
        index = [int(k) for k in np.argwhere(~np.isfinite(candidate))[0]]
        text = f"your gradient of {name} is not finite, first at {index} ({other})" + (f": {made}" if made else "")
        fix = "guard the operation, not its result: where(ok, x, 1) before log, sqrt or a division"
        return leaf, [Diagnosis("nonfinite", text, fix, 0.0, (name,), rank=0.1)]
    ruling = arbitrate(probe.forward, probe.leaves, probe.dys, i, candidate, reference)
    rest = np.isfinite(reference)
    agrees = norm((candidate - reference)[rest]) <= 1e-9 * norm(reference[rest])
    bad = [int(k) for k in np.argwhere(~rest)[0]]
    text = f"jax.grad is the one that is off here: its gradient of {name} is not finite at {bad}, yours is"
    if ruling.side == YOURS and agrees:
        at = tuple(bad)
        text += "; finite differences side with you"
        seen = leaf._replace(
            verdict=PASS, worst=at, error=0.0, yours=float(candidate[at]), reference=float(reference[at])
        )
        return seen, [Diagnosis("reference_nonfinite", text, "", 0.0, (name,), rank=0.1)]
    text += "; finite differences cannot decide here (a kink, or an infinite slope)" if agrees else ""
    finding = Diagnosis("reference_nonfinite", text, "pass another x", 0.0, (name,), rank=0.1)
    return leaf._replace(verdict=UNRESOLVED if agrees else WRONG), [finding]


def backward_leaves(probe: Probe, arguments: tuple) -> list[Any]:
    count = len(probe.leaves)
    returned = probe.plain[0](list(arguments[:count]), list(arguments[count:]))[1]
    return [leaf for leaf in jax.tree.leaves(returned) if jnp.issubdtype(leaf.dtype, jnp.floating)]


# Evidence for the diagnosis.


def gather(probe: Probe, candidate: list[Any], reference: list[Any], wrong: list[int]) -> Evidence:
    """Your gradient and the true one at several points, and the recorded forward."""
    shapes = [leaf.shape for leaf in reference]

    def candidate_at(leaves: list[Any], dys: list[Any]) -> list[Any]:
        found = align(probe, probe.candidate(leaves, dys)[1], reference)[0]
        return [np.full(s, np.nan) if leaf is None else leaf for leaf, s in zip(found, shapes, strict=True)]

    def reference_at(leaves: list[Any], dys: list[Any]) -> list[Any]:
        return as_arrays(probe.reference(leaves, dys)[1])

    start = [np.asarray(leaf) for leaf in probe.leaves]
    dys = [np.asarray(dy) for dy in probe.dys]
    program = recorded(probe, start, dys, reference)
    filled = [np.full(s, np.nan) if leaf is None else leaf for leaf, s in zip(candidate, shapes, strict=True)]
    points = [point(start, dys, filled, reference, program)]
    for k in range(1, POINTS):
        leaves = moved(start, k, MOVES)
        random = np.random.default_rng(100 + k)
        others = [random.standard_normal(dy.shape) if probe.linear_in_dy else dy for dy in dys]
        there = candidate_at(leaves, others), reference_at(leaves, others)
        if usable(*there, wrong):
            again = recorded(probe, leaves, others, there[1]) if program is not None else None
            points.append(point(leaves, others, *there, again if same_steps(program, again) else None))
    if program is not None and any(p.program is None for p in points):
        points = [p for p in points if p.program is not None]
    evidence = Evidence(
        probe.names, probe.params, tuple(wrong), tuple(points), candidate_at, reference_at, True, probe.data
    )
    return evidence._replace(linear=not probe.linear_in_dy or is_linear(evidence))


def point(leaves: list[Any], dys: list[Any], candidate: list[Any], reference: list[Any], program: Any) -> Point:
    return Point(leaves, dys, candidate, reference, program, sweep(program, dys) if program is not None else {})


def usable(candidate: list[Any], reference: list[Any], wrong: list[int]) -> bool:
    """A point counts if everything is finite there and the wrong leaves are wrong there too."""
    finite = all(np.all(np.isfinite(candidate[i])) and np.all(np.isfinite(reference[i])) for i in wrong)
    return finite and all(norm(candidate[i] - reference[i]) > 1e-10 * norm(reference[i]) for i in wrong)


def recorded(probe: Probe, leaves: list[Any], dys: list[Any], reference: list[Any]) -> Any:
    """The recorded forward, if reverse mode over it gives jax's gradient; else the diagnosis does without."""
    try:
        program = record(probe.forward, leaves)
        found = gradients(program, sweep(program, dys))
    except Exception:  # whatever an operation that cannot be run or differentiated alone may raise
        return None
    close = all(norm(a - b) <= 1e-8 * norm(b) + 1e-300 for a, b in zip(found, reference, strict=True))
    return program if close else None


def same_steps(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return False
    pairs = zip(first.steps, second.steps, strict=False)
    return len(first.steps) == len(second.steps) and all(a.op == b.op for a, b in pairs)


# Networks.


def inside(target: Target, probe: Probe, report: Report, error: LayerError | None, explain: bool) -> Report:
    """The report with the layers to blame, each given the true cotangent of its own output."""
    assert target.layer is not None
    params, x = join_inexact(probe.leaves, split_inexact(probe.trees)[1])
    shapes = jax.eval_shape(lambda: target.reference(params, x))
    dy = as_cotangents(shapes, probe.dys)
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


def part_probe(layer: Layer, params: Any, state: Any, x: Any, key: Any, dy: Any) -> tuple[Target, Probe]:
    target = layer_at(layer, None, state, key)
    return target, make_probe(target, params, x, jax.random.key(0), dy)


def agrees(layer: Layer, params: Any, state: Any, x: Any, key: Any, dy: Any) -> bool:
    """Whether one layer's backward is right at a point, given the true cotangent."""
    _, probe = part_probe(layer, params, state, x, key, dy)
    reference = as_arrays(probe.reference(probe.leaves, probe.dys)[1])
    try:
        candidate, structural = align(probe, probe.candidate(probe.leaves, probe.dys)[1], reference)
    except (LayerError, TypeError, ValueError):
        return False
    leaves = compare_all(expect(probe, reference), candidate)
    return not structural and all(leaf.verdict in (PASS, VACUOUS, UNRESOLVED) for leaf in leaves)


def layer_report(blame: Blame, explain: bool) -> LayerReport:
    target, probe = part_probe(blame.layer, blame.params, blame.state, blame.x, blame.key, blame.dy)
    reference = as_arrays(probe.reference(probe.leaves, probe.dys)[1])
    if blame.reason != "backward":
        return plumbing_report(blame, target, probe, reference, explain)
    whole = examine(target._replace(layer=None), probe, explain=explain)
    return LayerReport(blame.path, blame.reason, whole.leaves, whole.diagnoses, whole.notes)


def plumbing_report(blame: Blame, target: Target, probe: Probe, reference: list[Any], explain: bool) -> LayerReport:
    if blame.reason == "recompute":
        text = "recompute gives another value than the forward's output, so whoever reads it goes wrong"
        fix = "compute the output in recompute exactly as in forward"
        return LayerReport(blame.path, blame.reason, (), (Diagnosis("recompute", text, fix, 0.0, rank=0.1),))
    try:
        whole = examine(target._replace(layer=None), probe, explain=explain)
    except LayerError as error:
        return LayerReport(blame.path, blame.reason, (), (Diagnosis("plumbing", str(error), "", 0.0, rank=0.5),))
    text = f"the parts of {blame.path} are right; how its backward connects them is not"
    fix = "look at the sums of cotangents, the order of the parts, and what is handed to which"
    found = (Diagnosis("plumbing", text, fix, 0.0, (), rank=0.5), *whole.diagnoses)
    return LayerReport(blame.path, blame.reason, whole.leaves, found, whole.notes)
