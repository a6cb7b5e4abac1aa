"""Rules that are meant to differ from the derivative: straight-through estimators, clipping, reversal, scaling.

They cannot be checked against jax.grad, and the report says so where it sees one. `intended=` says what is meant.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arbiter import YOURS, arbitrate
from .probe import Probe
from .vocabulary import Diagnosis, norm

HOW = "if another gradient is meant, say which: intended=lambda x, dy: ..., a function of all arguments and of dy"


def without_slope(probe: Probe, i: int, candidate: Any, reference: Any) -> bool:
    """Whether the true gradient of a leaf is zero throughout, here and beside, and the forward does not move."""
    if norm(reference) or not np.all(np.isfinite(candidate)):
        return False
    if arbitrate(probe.forward, probe.leaves, probe.dys, i, candidate, reference).side == YOURS:
        return False
    random = np.random.default_rng(i)
    beside = [leaf * (1 + 0.05 * random.standard_normal(np.shape(leaf))) for leaf in map(np.asarray, probe.leaves)]
    return not norm(probe.reference(beside, probe.dys)[1][i])


def zero_finding(name: str) -> Diagnosis:
    text = (
        f"the true gradient of {name} is zero: the forward is constant around each {name}, as round, sign, argmax and "
    )
    text += "comparisons are, so that an estimator such as straight-through cannot be checked against it"
    return Diagnosis("zero_slope", text, f"return zeros; {HOW}", 0.0, (name,), rank=0.1)


def hands_on(probe: Probe, outputs: list[Any]) -> bool:
    """Whether the forward gives a leaf unchanged, as what scales, clips or reverses gradients does."""
    pairs = [(np.asarray(leaf), y) for leaf in probe.leaves for y in outputs]
    return any(leaf.shape == y.shape and np.array_equal(leaf, y) for leaf, y in pairs)


CLIPS = (
    "your backward is not linear in the upstream cotangent: it clips a larger one, or scales it by its norm. Since the "
    "forward hands its input on, that is taken as meant; intended=... says and checks how large it may be"
)
HANDED_ON = (
    f"the forward hands its input on unchanged, and a rule that scales, clips or reverses differs from it; {HOW}"
)
