"""The second leg of a gradient that agrees with jax.grad's: two more values of the forward for each leaf.

jax.grad may be off as well: at a kink, or where an operation that cannot be looked into has a derivative rule of its
own. So the forward is asked for its slopes to both sides, along one random direction of each leaf. Where they differ
there is a kink; where they are not the gradient's, the stencil of `arbiter` decides.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .arbiter import AGREES, contradicted, inner, sides
from .kinks import floor, right_nearby
from .probe import Probe, as_arrays
from .program.stripped import stops_gradients
from .report import Report
from .vocabulary import CANNOT_TRACE, UNRESOLVED, WRONG, Diagnosis, norm


def second_leg(probe: Probe, report: Report, candidate: list[Any], outputs: list[Any], seed: int) -> Report:
    """The report of a gradient that agrees with jax.grad's: what two more values of the forward say of each leaf."""
    random = np.random.default_rng(seed)
    point = as_arrays(probe.leaves), as_arrays(probe.dys)
    middle = inner(outputs, point[1])
    for i, gradient in enumerate(candidate):
        if gradient is None or not gradient.size:
            continue
        direction = random.standard_normal(gradient.shape) / np.sqrt(gradient.size)
        below, above = sides(probe.forward, *point, i, direction, middle)
        claimed = float(np.sum(direction * gradient))
        scale = max(abs(below), abs(above), abs(claimed), norm(gradient) / np.sqrt(gradient.size))
        if scale <= floor(probe):
            continue  # rounding
        if abs(above - below) > 0.01 * scale:
            report = beside_a_kink(probe, report, i)
        elif abs((below + above) / 2 - claimed) > max(AGREES, 10 * (probe.rtol or 0.0)) * scale:
            found = contradicted(probe.forward, *point, i, gradient, direction)
            report = report if found is None else against(probe, report, i, *found)
    return report


def beside_a_kink(probe: Probe, report: Report, i: int) -> Report:
    """At a kink a gradient may be jax.grad's by chance; beside it, it says something about the rule."""
    if right_nearby(probe, i):
        return report
    name = probe.names[i]
    text = f"the forward has a kink at this {name}, where your gradient happens to be jax.grad's; beside it, it is not"
    fix = "check it at another point, where the mistake can be named"
    return judged(report, i, WRONG, Diagnosis("kink", text, fix, 0.0, (name,), rank=0.2))


def against(probe: Probe, report: Report, i: int, slope: float, claimed: float) -> Report:
    """The report where the forward contradicts both gradients."""
    name = probe.names[i]
    slopes = f"{slope:.6g} along one direction of {name}, where both gradients say {claimed:.6g}"
    if differs_on_purpose(probe):
        note = f"the forward's own slope is {slopes}: it stops or scales a gradient, which is taken as meant"
        return report._replace(notes=(*report.notes, note))
    text = f"your gradient and jax.grad's are the same, but the forward's own slope is {slopes}"
    fix = "look for a derivative rule that both share, in an operation that cannot be looked into"
    return judged(report, i, UNRESOLVED, Diagnosis("finite_differences", text, fix, 0.0, (name,), rank=0.1))


def judged(report: Report, i: int, verdict: str, finding: Diagnosis) -> Report:
    leaves = list(report.leaves)
    leaves[i] = leaves[i]._replace(verdict=verdict)
    return report._replace(leaves=tuple(leaves), diagnoses=(*report.diagnoses, finding))


def differs_on_purpose(probe: Probe) -> bool:
    """Whether the forward says itself that its gradient is not its slope."""
    try:
        program = jax.make_jaxpr(probe.forward)(*probe.leaves)
    except CANNOT_TRACE:
        return False
    return stops_gradients(program.jaxpr)
