"""The test: the mutated steps and what depends on them run again in NumPy, and the gradients are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...annotations import PyTree
from ..check import conclude, double
from ..compare import Expected, compare_all, expect
from ..examine import examine
from ..forms.prepare import Given, prepared
from ..forms.target import Target
from ..probe import Probe, as_arrays
from ..program.record import Program, is_floating
from ..program.source import Line, op_name, shorten
from ..vocabulary import PASS, VACUOUS
from .mistakes import OTHER_VALUE, Mutation, Values, mutations_at, run
from .recording import EQUIVALENT, Recording, label, places, recorded, same
from .report import Mutant, MutationReport

MOST_MUTANTS = 400


def mutation_test(
    target: Any,
    x: PyTree = None,
    *,
    params: PyTree = None,
    reference: Callable[..., Any] | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> MutationReport:
    """Make mistakes in a right backward, one at a time, and count how many `check` notices at this probe.

    Use it on the probe of your own test: what stays unnoticed is a mistake that this test would let pass, and the
    report says what in the probe hides it. `target`, `x`, `params`, `reference` and `seed` are those of `check`;
    `verbose` prints the report. At most 400 mutants are tried, evenly chosen among all.

    Raises `GradientError` if the backward is not right to begin with, and what `check` raises; ValueError if it has
    more steps than can be recorded, and TypeError if JAX cannot trace it.
    """
    with double():
        subject, probe = prepared(Given(target, x, params, reference, seed))
        conclude(examine(subject, probe, seed=seed), verbose=False)
        report = mutation_report(subject, probe, seed)
    if verbose:
        print(report)
    return report


def mutation_report(target: Target, probe: Probe, seed: int) -> MutationReport:
    """The report on a target whose backward is right at this probe."""
    recording = recorded(target, probe)
    reference = as_arrays(probe.reference(probe.leaves, probe.dys)[1])
    expected = expect(probe, reference, seed)
    if notices(expected, gradient_leaves(recording.program, recording.program.values)):
        raise ValueError(f"mutation_test: the recorded backward of {probe.name} gives another gradient than itself")
    mutations = [mutation for steps in places(recording.program) for mutation in mutations_at(recording, steps)]
    # A mutation whose shapes do not fit the steps after it is no mutant: it would not run.
    tried = [(mutation, rerun_with(recording.program, mutation)) for mutation in evenly(mutations, MOST_MUTANTS)]
    mutants = tuple(judged(recording, expected, mutation, values) for mutation, values in tried if values is not None)
    return MutationReport(probe.name, mutants, len(mutations) - len(tried) + len(mutants))


def evenly(mutations: list[Mutation], most: int) -> list[Mutation]:
    if len(mutations) <= most:
        return mutations
    return [mutations[int(k)] for k in np.linspace(0, len(mutations) - 1, most).round()]


def notices(expected: Expected, leaves: list[Any]) -> bool:
    """Whether a check raises on this gradient."""
    return any(leaf.verdict not in (PASS, VACUOUS) for leaf in compare_all(expected, leaves))


def gradient_leaves(program: Program, values: Values) -> list[Any]:
    return [np.asarray(values[number]) for number in program.outputs]


def rerun_with(program: Program, mutation: Mutation) -> list[Any] | None:
    """All values of the mutant: what does not depend on the mutated steps stays. None where it cannot run."""
    values, changed = list(program.values), set()
    for k, step in enumerate(program.steps):
        if k not in mutation.steps and not changed.intersection(step.inputs):
            continue
        try:
            with np.errstate(all="ignore"):
                result = mutation.change(step, values) if k in mutation.steps else run(step, values)
        except (ValueError, TypeError, IndexError):
            return None
        for number, value in zip(step.outputs, result if isinstance(result, list) else [result], strict=True):
            if not same(value, program.values[number], 0.0):
                values[number] = value
                changed.add(number)
    shapes = [np.shape(values[number]) == np.shape(program.values[number]) for number in program.outputs]
    return values if all(shapes) else None


def judged(recording: Recording, expected: Expected, mutation: Mutation, values: Values) -> Mutant:
    program = recording.program
    leaves, own = gradient_leaves(program, values), gradient_leaves(program, program.values)
    noticed = notices(expected, leaves)
    equivalent = not noticed and all(
        same(own_value, leaf, EQUIVALENT) for own_value, leaf in zip(leaves, own, strict=True)
    )
    hint = "" if noticed else why_unnoticed(recording, mutation, values)
    line = program.steps[mutation.steps[0]].line
    return Mutant(mutation.kind, mutation.what, line_text(line), noticed, equivalent, hint)


def line_text(line: Line) -> str:
    return str(line._replace(text=shorten(line.text, 40))) if line.text else ""


def why_unnoticed(recording: Recording, mutation: Mutation, values: Values) -> str:
    """What in the probe hides a mutant: at the mutated step itself, or where its effect ends."""
    program = recording.program
    mutated = [number for k in mutation.steps for number in program.steps[k].outputs]
    if not changes(program, values, mutated):
        if mutation.length == 1:
            return "the axis has length 1"
        if mutation.kind == OTHER_VALUE:
            return "the two are equal"
        return degenerate(recording, [*mutation.suspects, *mutated, *program.steps[mutation.steps[0]].inputs])
    for step in program.steps:
        if changes(program, values, step.inputs) and not changes(program, values, step.outputs):
            unchanged = [number for number in step.inputs if not changes(program, values, [number])]
            cause = degenerate(recording, unchanged)
            at = line_text(step.line) or op_name(step.op)
            return f"its effect ends at {at}" + (f", where {cause}" if cause else "")
    return "the difference is below the check's tolerance"


def changes(program: Program, values: Values, numbers: Sequence[int]) -> bool:
    return any(not same(values[number], program.values[number], EQUIVALENT) for number in numbers)


def degenerate(recording: Recording, numbers: Sequence[int]) -> str:
    """The first of these values that is zero, one or symmetric, in words."""
    for number in numbers:
        value = recording.program.values[number]
        if is_floating(value) and value.size and (what := degeneracy(value)):
            return f"{label(recording, number)} is {what}"
    return ""


def degeneracy(value: Any) -> str:
    if np.all(value == 0):
        return "0" if not value.ndim else "all zeros"
    if np.all(value == 1):
        return "1" if not value.ndim else "all ones"
    square = value.ndim >= 2 and value.shape[-1] == value.shape[-2] > 1
    if square and np.array_equal(value, np.swapaxes(value, -1, -2)):
        return "symmetric"
    return ""
