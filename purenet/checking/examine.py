"""From a probe to a report: compare, and where that fails, localise, arbitrate and diagnose."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import LayerError
from ..layer import Layer
from .arbiter import YOURS, Ruling, arbitrate
from .compare import Expected, compare_all, expect
from .complex_leaves import as_complex_row, conjugate_finding, is_conjugate
from .diagnose.search import UNTRIED, diagnose
from .differences import MOST, TOLERANCE as BY_DIFFERENCES_TO, differences
from .finite import first_not_finite
from .forms.target import Target, layer_at
from .gathering import gather
from .intent import CLIPS, HANDED_ON, hands_on, without_slope, zero_finding
from .kinks import kink_note
from .localise import Blame, localise
from .low_precision import own_precision, within_own
from .points import as_real, is_inexact, join_inexact, split_inexact
from .precision import single_precision
from .probe import Probe, as_arrays, as_cotangents, make_probe
from .purity import in_numpy, purity, twice
from .report import LayerReport, Report
from .second_leg import differs_on_purpose, second_leg
from .structure import ONES, align
from .vocabulary import (
    DIFFERENCES,
    INTENDED,
    JAX,
    PASS,
    UNRESOLVED,
    VACUOUS,
    WORST_FIRST,
    WRONG,
    Diagnosis,
    LeafReport,
    MalformedRule,
    norm,
)

NUMPY_FLOAT32 = "your code computes in float32: the formula is right, and off by no more than float32 rounds"
APPROXIMATE = "a small error: if the gradient is approximate by design (a solver, an adjoint ODE), accept it by"
OPAQUE = (
    "the forward could not be looked into (an operation that runs elsewhere, too many steps, or a derivative rule of "
    "its own): only what the gradients themselves show was tried"
)
BY_DIFFERENCES = "jax.grad cannot differentiate the forward: the reference is its differences, and PASS means to 1e-6"
LARGE = 1024.0  # a power of two, so that the larger cotangent rounds as the own one does


def examine(target: Target, probe: Probe, *, seed: int = 0, explain: bool = True, pure: bool = True) -> Report:
    """The report on one target at one point. `pure=False`: it has no forward and backward to trace apart."""
    report, leaves = examined(target, probe, seed, explain, pure), probe.complex_leaves
    rows = [as_complex_row(row, *report.arrays[i]) if i in leaves else row for i, row in enumerate(report.leaves)]
    return report._replace(leaves=tuple(rows))


def examined(target: Target, probe: Probe, seed: int, explain: bool, pure: bool) -> Report:
    probe, left_out = where_finite(probe)
    outputs, reference = (as_arrays(leaves) for leaves in probe.reference(probe.leaves, probe.dys))
    check_finite(probe, outputs, left_out)
    try:
        own_outputs, returned = probe.candidate(probe.leaves, probe.dys)
    except LayerError as error:
        if target.layer is None or not target.layer.parts:
            raise
        return inside(target, probe, unknown(probe, reference), error, explain)
    except MalformedRule as error:
        finding = Diagnosis("malformed_rule", str(error), "", 0.0, probe.names, rank=0.0)
        return unknown(probe, reference)._replace(diagnoses=(finding,))
    findings = purity(target, probe) if pure else twice(probe)
    candidate, structural = align(probe, returned, reference)
    expected = expect(probe, reference, seed)
    notes = (
        left_out
        + (BY_DIFFERENCES,) * (probe.against == DIFFERENCES)
        + tuple(d.text for d in structural if d.kind == ONES)
    )
    structural = [d for d in structural if d.kind != ONES]
    leaves = compare_all(expected, candidate)
    bent = not_linear(probe, expected, leaves, candidate)
    if hands_on(probe, outputs) and probe.against != INTENDED:
        notes, bent = notes + (CLIPS,) * bool(bent), []
    findings += structural + bent
    findings += primal(probe, own_outputs, outputs) if pure else []  # a gradient function has no forward of its own
    arrays = tuple(zip(candidate, reference, strict=True))
    report = Report(probe.name, leaves, tuple(findings), notes=notes, arrays=arrays, against=probe.against)
    if report.verdict in (PASS, VACUOUS):
        report = with_tolerance(report, probe)
        return second_leg(probe, report, candidate, outputs, seed) if probe.against == JAX else report
    if (dtype := own_precision(probe, own_outputs, candidate)) is not None:
        return within_own(report, probe, dtype)
    if hands_on(probe, outputs) and probe.against != INTENDED:
        report = report._replace(notes=(*(note for note in notes if note != CLIPS), HANDED_ON))
    report = explained(target, probe, report, candidate, reference, explain)
    worst = max(leaf.error for leaf in report.leaves)
    if report.verdict != WRONG or not 0 < worst < 1e-3 or probe.rtol is not None:
        return report
    return report._replace(notes=(*report.notes, f"{APPROXIMATE} rtol={10.0 ** np.ceil(np.log10(worst)):g}"))


def with_tolerance(report: Report, probe: Probe) -> Report:
    """The report with the error that was measured, where the caller says how much is allowed."""
    if probe.rtol is None:
        return report
    worst = max((leaf.error for leaf in report.leaves if leaf.verdict == PASS), default=0.0)
    return report._replace(
        notes=(*report.notes, f"right within rtol={probe.rtol:g}: off by at most {worst:.1e} of a leaf")
    )


def unknown(probe: Probe, reference: list[Any]) -> Report:
    """The report when the backward could not run to its end."""
    leaves = tuple(
        LeafReport(name, leaf.shape, np.inf, WRONG, (), np.nan, np.nan)
        for name, leaf in zip(probe.names, reference, strict=True)
    )
    return Report(probe.name, leaves, arrays=tuple((None, leaf) for leaf in reference))


def where_finite(probe: Probe) -> tuple[Probe, tuple[str, ...]]:
    """The probe that asks nothing of infinite outputs where the caller's own numbers are infinite, and a note."""
    if all(np.all(np.isfinite(leaf)) for leaf in map(np.asarray, probe.leaves)):
        return probe, ()
    finite = [np.isfinite(y) for y in as_arrays(probe.forward(*probe.leaves))]
    dys = [jnp.where(kept, dy, 0) for kept, dy in zip(finite, probe.dys, strict=True)]
    left = sum(int(np.sum(~kept)) for kept in finite)
    note = f"{left} numbers of the output are not finite, as some of what is given is not: they are left out"
    return probe._replace(dys=dys), (note,) * (left > 0)


def check_finite(probe: Probe, outputs: list[Any], left_out: tuple[str, ...]) -> None:
    """Raise where the forward itself is not finite: nothing can be said about a gradient there."""
    if left_out or all(np.all(np.isfinite(leaf)) for leaf in outputs):
        return
    made = first_not_finite(probe.forward, probe.leaves)
    cause = f": {made}" if made else ""
    raise ValueError(f"check: the output of {probe.name} is not finite at the probe{cause}. Pass another x or params")


def primal(probe: Probe, own_outputs: list[Any], outputs: list[Any]) -> list[Diagnosis]:
    """Whether a function with its own rule returns, under differentiation, what it is a rule of."""
    pairs = list(zip(as_arrays(own_outputs), outputs, strict=True)) if len(own_outputs) == len(outputs) else []
    rtol = max(1e-9, probe.rtol or 0.0)
    if pairs and all(a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=1e-3 * rtol * norm(b)) for a, b in pairs):
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
    dys = [-LARGE * dy for dy in probe.dys]
    at_large = align(probe, probe.candidate(probe.leaves, dys)[1], candidate)[0]
    meant = as_arrays(probe.reference(probe.leaves, dys)[1]) if probe.against == INTENDED else []
    for i, (leaf, once, large) in enumerate(zip(leaves, candidate, at_large, strict=True)):
        gap = np.inf if large is None else norm(large - (meant[i] if meant else -LARGE * once))
        if not np.all(np.isfinite(once)) or gap <= LARGE * 1e-9 * norm(once):
            continue
        if not gap <= LARGE * expected.rounding()[i] * np.sqrt(once.size):
            text = "your backward is not linear in the upstream cotangent: -1024 dy gives something else than "
            text += "what is intended there" if meant else "-1024 times the gradient"
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
        if not single_precision(probe, i, candidate[i], reference[i]):
            continue
        if (probe.lenient or in_numpy(probe)) and leaves[i].error < 1e-5:
            leaves[i] = leaves[i]._replace(verdict=PASS)
            notes.append(f"{NUMPY_FLOAT32} ({probe.names[i]}: {leaves[i].error:.0e} of the largest)")
            findings = [d for d in findings if d.kind not in ("not_linear", "wrong_dtype")]
        else:
            leaves[i] = leaves[i]._replace(verdict="PRECISION")
            findings = [d for d in findings if d.kind != "not_linear"] + [precision_finding(probe.names[i])]
    bad = [i for i in bad if leaves[i].verdict == WRONG]
    unfinished = [i for i in bad if not np.all(np.isfinite(candidate[i])) or not np.all(np.isfinite(reference[i]))]
    for i in unfinished:
        leaves[i], finding = not_finite(probe, i, leaves[i], candidate[i], reference[i])
        findings += finding
    bad = [i for i in bad if i not in unfinished]
    flat = [i for i in bad if probe.against == JAX and without_slope(probe, i, candidate[i], reference[i])]
    findings += [zero_finding(probe.names[i]) for i in flat]
    bad = [i for i in bad if i not in flat]
    conjugates = [i for i in bad if i in probe.complex_leaves and is_conjugate(candidate[i], reference[i])]
    findings += [conjugate_finding(probe.names[i]) for i in conjugates]
    bad = [i for i in bad if i not in conjugates]
    if bad:
        rulings = rulings_on(probe, bad[:4], candidate, reference) if probe.against == JAX else []
        yours = [i for i, ruling in rulings if ruling.side == YOURS]
        for i in yours:
            leaves[i] = leaves[i]._replace(verdict=UNRESOLVED)
        if yours and (note := by_the_forward(probe, yours, candidate)):
            leaves = [leaf._replace(verdict=PASS) if i in yours else leaf for i, leaf in enumerate(leaves)]
            bad, rulings = [i for i in bad if i not in yours], [r for r in rulings if r[0] not in yours]
            notes.append(note)
        notes += arbiter_notes(probe, rulings)
    if bad and explain:
        evidence = gather(probe, candidate, reference, bad, time.monotonic() + probe.seconds)
        last = [d for d in findings if d.kind == "wrong_dtype"]  # single precision is not what is wrong here
        findings = [d for d in findings if d.kind not in ("not_linear", "wrong_dtype")]
        found = diagnose(evidence)
        findings += [*(d for d in found if d.kind != UNTRIED), *last]
        notes += [d.text for d in found if d.kind == UNTRIED]
        notes += [OPAQUE] * (evidence.first.program is None and probe.against != INTENDED)
    return report._replace(leaves=tuple(leaves), diagnoses=tuple(findings), notes=tuple(notes))


def precision_finding(name: str) -> Diagnosis:
    text = f"your gradient of {name} is right as a formula: the error is what low precision makes"
    fix = "keep the dtype of the arguments: look for a cast, or a constant array, of a lower precision"
    return Diagnosis("low_precision", text, fix, 0.0, (name,), rank=0.1)


def by_the_forward(probe: Probe, leaves: list[int], candidate: list[Any]) -> str:
    """What to say of leaves where jax.grad is off and the forward's own differences are your gradient; else nothing."""
    if differs_on_purpose(probe) or sum(np.size(leaf) for leaf in probe.leaves) > MOST:
        return ""
    slopes = differences(probe.forward, probe.leaves, probe.dys)[1]
    if any(norm(candidate[i] - slopes[i]) > BY_DIFFERENCES_TO * norm(slopes[i]) for i in leaves):
        return ""
    names = ", ".join(probe.names[i] for i in leaves)
    return f"jax.grad is off here ({names}): the forward's own differences are your gradient, to 1e-6"


def rulings_on(probe: Probe, leaves: list[int], candidate: list[Any], reference: list[Any]) -> list[tuple[int, Ruling]]:
    """Whom finite differences side with in these leaves, or in those that there is time for."""
    start, rulings = time.monotonic(), []
    for i in leaves:
        rulings.append((i, arbitrate(probe.forward, probe.leaves, probe.dys, i, candidate[i], reference[i])))
        if time.monotonic() - start > probe.seconds / 10:
            break
    return rulings


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
    return [as_real(leaf) for leaf in jax.tree.leaves(returned) if is_inexact(leaf)]


# Networks.


def inside(target: Target, probe: Probe, report: Report, error: LayerError | None, explain: bool) -> Report:
    """The report with the layers to blame, each given the true cotangent of its own output."""
    assert target.layer is not None
    params, x = join_inexact(probe.leaves, split_inexact(probe.trees)[1])
    shapes = jax.eval_shape(lambda: target.reference(params, x))
    dy = as_cotangents(shapes, probe.dys)
    blamed = localise(target.layer, params, target.state, x, target.key, dy, agrees)
    seconds = probe.seconds / max(len(blamed), 1)
    layers = tuple(layer_report(blame, explain, seconds) for blame in blamed)
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


def layer_report(blame: Blame, explain: bool, seconds: float) -> LayerReport:
    target, probe = part_probe(blame.layer, blame.params, blame.state, blame.x, blame.key, blame.dy)
    probe = probe._replace(seconds=seconds)
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
