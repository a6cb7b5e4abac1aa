"""The derivative of a backward: is it the second derivative of the forward?

A backward that is right may still lose its own derivative: by a `stop_gradient`, by a residual that counts as constant,
by a branch whose value is right and whose slope is not. Hessians, penalties on gradients and meta-learning read it.
The gradient is therefore taken as a function, of the leaves and the cotangents, and checked like any other.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .examine import examine
from .forms.target import nameless
from .points import draw_like
from .probe import Probe, gradient_leaves
from .report import Report
from .running import economical
from .vocabulary import JAX, PASS, VACUOUS, WRONG, Diagnosis


def with_second_order(report: Report, probe: Probe, seed: int) -> Report:
    """The report of a right gradient with the rows of its own derivative."""
    second = second_probe(probe, jax.random.key(seed + 1))
    found = examine(nameless(second.name), second, seed=seed, explain=False, pure=False)
    rows = [leaf._replace(verdict=PASS if leaf.verdict == VACUOUS else leaf.verdict) for leaf in found.leaves]
    wrong = tuple(leaf.path for leaf in rows if leaf.verdict == WRONG)
    text = (
        f"your gradient is right, its own derivative is not ({', '.join(wrong)}): something in the backward counts as "
    )
    text += "constant that is not"
    fix = "look for stop_gradient, a rounding, a value that is not computed from x and the residuals, or a where whose "
    finding = Diagnosis("second_order", text, fix + "slopes differ", 0.0, wrong, rank=0.1)
    return report._replace(
        leaves=(*report.leaves, *rows),
        diagnoses=(*report.diagnoses, *found.diagnoses, *([finding] * bool(wrong))),
        notes=(*report.notes, *found.notes),
        arrays=(*report.arrays, *found.arrays),
    )


def second_probe(probe: Probe, key: Any) -> Probe:
    """The probe whose forward is the true gradient, and whose candidate differentiates the caller's."""
    if probe.against != JAX:
        raise ValueError(f"check: order=2 needs jax.grad, which cannot differentiate {probe.name}: leave it out")
    count, (own, true) = len(probe.leaves), probe.plain

    def forward(*leaves: Any) -> list[Any]:
        return true(list(leaves[:count]), list(leaves[count:]))[1]

    def gradient(*leaves: Any) -> list[Any]:
        return gradient_leaves(probe.trees, own(list(leaves[:count]), list(leaves[count:]))[1])

    def pulled(function: Any, leaves: list[Any], dys: list[Any]) -> tuple[list[Any], list[Any]]:
        y, pull = jax.vjp(function, *leaves)
        return y, list(pull(dys))

    def candidate(leaves: list[Any], dys: list[Any]) -> tuple[list[Any], Any]:
        y, gradients = pulled(gradient, leaves, dys)
        return y, ((), gradients)

    def reference(leaves: list[Any], dys: list[Any]) -> tuple[list[Any], list[Any]]:
        return pulled(forward, leaves, dys)

    leaves = [*probe.leaves, *probe.dys]
    try:
        jax.eval_shape(candidate, leaves, probe.leaves)
    except Exception as error:  # whatever JAX says of a function that it cannot trace or differentiate
        raise ValueError(
            f"check: order=2 differentiates the backward of {probe.name}, which JAX cannot: {error}"
        ) from error
    several = len(probe.dys) > 1
    dy_names = tuple(f"dy[{k}]" if several else "dy" for k in range(len(probe.dys)))
    names = tuple(f"gradient by {name}" for name in (*probe.names, *dy_names))
    dys = draw_like([jax.ShapeDtypeStruct(np.shape(leaf), np.float64) for leaf in probe.leaves], key)
    run = economical(candidate, traced=True), economical(reference, traced=True), economical(forward, traced=True)
    return Probe(
        f"{probe.name}, second order",
        leaves,
        names,
        0,
        ((), leaves),
        dys,
        *run,
        (candidate, reference),
        rtol=probe.rtol,
    )
