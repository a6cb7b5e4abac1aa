"""Hypotheses about the incoming cotangent: ignored, squared, clipped, or not used linearly in some other way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..vocabulary import distance, norm
from .evidence import Claim, Evidence, Leaves, Point, explains

RELATIVE = 1e-9


def flat(leaves: Leaves) -> Any:
    return np.concatenate([np.ravel(leaf) for leaf in leaves]) if leaves else np.zeros(0)


def is_linear(evidence: Evidence) -> bool:
    """Whether your backward is linear in dy: zero for zero, twice for twice, the sum for the sum."""
    point = evidence.first
    if not any(dy.size for dy in point.dys):
        return True
    one, other = point.dys, [np.flip(dy) * 1.5 for dy in point.dys]
    at_zero, at_one, at_other, at_sum, at_large = (
        flat(evidence.candidate(point.inputs, dys))
        for dys in (
            [0 * dy for dy in one],
            one,
            other,
            [a + b for a, b in zip(one, other, strict=True)],
            [-1000 * dy for dy in one],
        )
    )
    size = norm(at_one) + norm(at_other)
    return (
        norm(at_zero) <= RELATIVE * size
        and norm(at_sum - at_one - at_other) <= RELATIVE * size
        and norm(at_large + 1000 * at_one) <= RELATIVE * 1000 * size
    )


def nonlinear(evidence: Evidence) -> Iterator[Claim]:
    """What your backward does with dy, when it is not linear in it."""
    if evidence.linear:
        return
    found = [*ignored(evidence), *misused(evidence)]
    yield from found
    covered = {leaf for diagnosis in found for leaf in diagnosis.leaves}
    if any(evidence.names[i] not in covered for i in evidence.wrong):
        yield symptom(evidence)


def ignored(evidence: Evidence) -> Iterator[Claim]:
    point = evidence.first
    other = evidence.candidate(point.inputs, [-3 * np.flip(dy) + 1 for dy in point.dys])
    same = [i for i in evidence.wrong if norm(point.candidate[i]) and distance(other[i], point.candidate[i]) < 1e-12]
    if not same:
        return
    match = explains(evidence, lambda p: evidence.reference(p.inputs, [np.ones_like(dy) for dy in p.dys]))
    jacobian = match is not None and set(same) <= set(match.leaves)
    text = f"your gradient of {evidence.label(same)} does not depend on the upstream cotangent dy"
    text += ": it is the right one for dy = 1, so dy is never multiplied in" if jacobian else ": dy is ignored"
    yield Claim(
        "cotangent_ignored",
        text,
        "multiply the local derivative by dy: backward returns dy times the Jacobian, not the Jacobian",
        tuple(evidence.names[i] for i in same),
        0.2,
        match.predict if match and jacobian else lambda p: evidence.candidate(p.inputs, [1 + 0 * dy for dy in p.dys]),
    )


def clip(dy: Any, limit: float) -> Any:
    return np.clip(dy, -limit, limit)


MISUSES = [
    ("squared", np.square, "dy is used twice: it must appear once in every term"),
    ("its absolute value", np.abs, "drop the absolute value"),
    ("its sign", np.sign, "drop the sign"),
    ("its positive part (gated on dy)", lambda dy: np.maximum(dy, 0), "gate on the forward's input, not on dy"),
    ("dy times its absolute value", lambda dy: dy * np.abs(dy), "dy is used twice: it must appear once in every term"),
    ("clipped to 1", lambda dy: clip(dy, 1.0), "clip gradients in the optimiser, not in a layer's backward"),
    ("clipped to 0.5", lambda dy: clip(dy, 0.5), "clip gradients in the optimiser, not in a layer's backward"),
    ("clipped to 0.1", lambda dy: clip(dy, 0.1), "clip gradients in the optimiser, not in a layer's backward"),
    ("clipped to 5", lambda dy: clip(dy, 5.0), "clip gradients in the optimiser, not in a layer's backward"),
    ("divided by its norm", lambda dy: dy / norm(dy), "normalise in the optimiser, not in a layer's backward"),
    ("tanh of it", np.tanh, "apply no function to dy: a gradient is linear in it"),
    ("centred (its mean subtracted)", lambda dy: dy - np.mean(dy), "do not subtract dy's mean"),
    ("cubed", lambda dy: dy**3, "dy must appear once in every term"),
]


def misused(evidence: Evidence) -> Iterator[Claim]:
    for what, change, fix in MISUSES:

        def predict(point: Point, change: Any = change) -> Leaves:
            return evidence.reference(point.inputs, [change(dy) for dy in point.dys])

        if match := explains(evidence, predict):
            text = f"your gradient of {match.label} is not linear in the upstream cotangent: it uses dy {what}"
            yield match.claim("not_linear", text, fix, 0.3)


def symptom(evidence: Evidence) -> Claim:
    """The plain fact, with the degree where there is one."""
    point = evidence.first

    def size(factor: float) -> float:
        return norm(flat(evidence.candidate(point.inputs, [factor * dy for dy in point.dys])))

    at_zero, once, twice = size(0.0), size(1.0), size(2.0)
    if at_zero > RELATIVE * once:
        fact = "it is not zero for dy = 0: something that does not depend on dy is added"
        fix = "multiply by dy what is added beside the terms with dy, or remove it where it is no part of the forward"
    else:
        ratio = twice / once if once else 0.0
        degree = math.log2(ratio) if 0 < ratio < math.inf else 0.0
        whole = abs(degree - round(degree)) < 1e-6
        fact = f"twice dy gives {twice / once if once else 0:.4g} times the gradient"
        fact = "its sign or size decides where it counts (a threshold)" if abs(degree - 1) < 1e-6 else fact
        fact += f", as if dy were used {round(degree)} times in every term" if whole and round(degree) != 1 else ""
        fix = "every term must contain dy exactly once: look for a clip, a threshold, a norm or a product of cotangents"
    text = f"your backward is not linear in the upstream cotangent: {fact}"
    return Claim("not_linear", text, fix, tuple(evidence.names[i] for i in evidence.wrong), 2.9)
