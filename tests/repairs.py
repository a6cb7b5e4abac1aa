"""The fixes that a diagnosis proposes, applied mechanically to a wrong gradient: from its sentences alone.

Each repair reads numbers, axes and names out of what is printed and gives the gradient of one leaf as it would be after
the fix, or None where that takes a look at the code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from purenet.checking.diagnose.evidence import Evidence, Point
from purenet.checking.vocabulary import Diagnosis

LETTERS = re.compile(r"(?:[-+*/^(). \d]|e-|e\+|sqrt|log|pi|\be\b)+")


class Repaired(NamedTuple):
    """A gradient after a fix, what it must be, and how many digits the sentence gave."""

    gradient: Any
    right: Any
    tolerance: float = 1e-7


def number(text: str) -> float:
    """A number as a sentence writes it: 1/4, 1/(4*3), sqrt(2/pi), 1/5^2."""
    assert LETTERS.fullmatch(text), text
    names = {"sqrt": math.sqrt, "log": math.log, "pi": math.pi, "e": math.e}
    return float(eval(text.replace("^", "**").replace("2 pi", "2*pi"), {"__builtins__": {}}, names))


def numbers(text: str) -> Any:
    """A list of numbers in brackets; None where it is cut short."""
    if "..." in text:
        return None
    added = 1.0 if text.startswith("1 plus") else 0.0
    return np.array([float(piece) for piece in text.partition("[")[2].rstrip("]").split()]) + added


def axes_of(text: str) -> tuple[int, ...]:
    return tuple(int(digit) for digit in re.findall(r"\d+", text))


def digits_of(text: str) -> float:
    """How well a number is known that is printed as a decimal fraction."""
    return 1e-5 if "." in text else 1e-7


def scaled(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    if found := re.fullmatch(r"multiply it by (.+)", told.fix):
        factor = number(found[1])
        return Repaired(point.candidate[i] * factor, point.reference[i], digits_of(found[1]))
    return None


def transposed(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    if found := re.search(r"the right one transposed \(axes \((.+?)\)\)", told.text):
        return Repaired(np.transpose(point.candidate[i], np.argsort(axes_of(found[1]))), point.reference[i])
    return None


def permuted(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    right = point.reference[i]
    if found := re.search(r"reshaped where a transpose \((.+?)\) belongs", told.text):
        order = axes_of(found[1])
        between = point.candidate[i].reshape([right.shape[axis] for axis in order])
        return Repaired(np.transpose(between, np.argsort(order)), right)
    if found := re.search(r"slices along axis (\d+) in the order \[(.+?)\]", told.text):
        order = np.argsort(axes_of(found[2]))
        return Repaired(np.take(point.candidate[i], order, int(found[1])), right)
    return None


def flipped(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    if found := re.search(r"the right one flipped along axis ([\d, ]+)", told.text):
        return Repaired(np.flip(point.candidate[i], axes_of(found[1])), point.reference[i])
    return None


def shifted(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    """Shifted back, without the edge that a shift may have lost."""
    found = re.search(r"the right one shifted by (-?\d+) along axis (\d+)", told.text)
    if not found:
        return None
    by, axis = int(found[1]), int(found[2])
    kept = slice(0, -by) if by > 0 else slice(-by, None)
    index = (slice(None),) * axis + (kept,)
    return Repaired(np.roll(point.candidate[i], -by, axis)[index], point.reference[i][index])


def summed(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    """Nothing can be undone here: what the sentence says is done to the right one."""
    found = re.search(r"the right one (summed|averaged) over axis (\d+)", told.text)
    if not found:
        return None
    reduce = np.sum if found[1] == "summed" else np.mean
    once = reduce(point.reference[i], int(found[2]), keepdims=True)
    return Repaired(point.candidate[i], np.broadcast_to(once, point.candidate[i].shape))


def without_extra(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    found = re.search(r"the right one plus (\S+) times (the leaf|the sign|one|the upstream)(.*)", told.text)
    if not found:
        return None
    output = re.search(r"of output (\d+)", found[3])
    leaf, dy = point.inputs[i], point.dys[int(output[1]) if output else 0]
    term = {"the leaf": leaf, "the sign": np.sign(leaf), "one": np.ones_like(leaf), "the upstream": dy}[found[2]]
    return Repaired(point.candidate[i] - number(found[1]) * term, point.reference[i], digits_of(found[1]))


def swapped(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    found = re.search(r"is (?:(\S+) times )?the right gradient of ([\w.]+)(, transposed)?: ", told.text)
    if not found:
        return None
    other = point.reference[evidence.names.index(found[2])]
    other = (np.transpose(other) if found[3] else other).reshape(point.reference[i].shape)
    return Repaired(point.candidate[i], number(found[1] or "1") * other)


def masked(evidence: Evidence, point: Point, k: int, mask: Any, i: int) -> Any:
    """The right gradient for a part of one cotangent alone."""
    dys = [dy * mask if j == k else 0 * dy for j, dy in enumerate(point.dys)]
    return evidence.reference(point.inputs, dys)[i]


def outputs(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    """The cotangents of some outputs counted as often as they should be."""
    found = re.search(r"the cotangent of outputs? ([\d, ]+) \(of .+?\) (?:is ignored|counts (\S+) times)", told.text)
    if not found:
        return None
    times = number(found[2]) if found[2] else 0.0
    parts = [masked(evidence, point, k, 1.0, i) for k in axes_of(found[1])]
    return Repaired(point.candidate[i] + (1 - times) * sum(parts), point.reference[i], digits_of(found[2] or ""))


def slices(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    right = point.reference[i]
    if found := re.search(r"slices along axis (\d+) scaled by ([^:]+)", told.text):
        factors = numbers(found[2])
        if factors is None or not np.all(factors):
            return None
        line = np.reshape(factors, [-1 if axis == int(found[1]) else 1 for axis in range(right.ndim)])
        return Repaired(point.candidate[i] / line, right, 5e-3)
    found = re.search(r" of (\d+) \w+ along axis (\d+) of (?:the output|output (\d+))(?:$|,)", told.text)
    if not found or len(point.dys) > 1:
        return None
    size, axis = int(found[1]), int(found[2])
    lost = np.ones(size)
    lost[kept(told.text, size)] = 0.0
    line = np.reshape(lost, [-1 if a == axis else 1 for a in range(point.dys[0].ndim)])
    return Repaired(point.candidate[i] + masked(evidence, point, 0, line, i), right)


def kept(text: str, size: int) -> Any:
    """Which slices a sentence says are counted."""
    named = re.search(r"(counts only|leaves out) (?:the (first|last|number \d+)|numbers ([\d, ]+)) of", text)
    assert named, text
    ends = {"first": (0,), "last": (size - 1,)}
    chosen = ends.get(named[2]) or axes_of(named[2] or named[3])
    return list(chosen) if named[1] == "counts only" else [k for k in range(size) if k not in chosen]


def for_one(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    """A Jacobian that is right for dy = 1, multiplied by dy where that is one number."""
    if "the right one for dy = 1" not in told.text:
        return outputs(told, evidence, point, i)
    if len(point.dys) == 1 and not point.dys[0].ndim:
        return Repaired(point.candidate[i] * point.dys[0], point.reference[i])
    return Repaired(point.candidate[i], evidence.reference(point.inputs, [np.ones_like(dy) for dy in point.dys])[i])


def zero(told: Diagnosis, evidence: Evidence, point: Point, i: int) -> Repaired | None:
    return Repaired(point.candidate[i] + point.reference[i], point.reference[i])


Repair = Callable[[Diagnosis, Evidence, Point, int], Repaired | None]
REPAIRS: dict[str, Repair] = {
    "scaled": scaled,
    "transposed": transposed,
    "permuted": permuted,
    "flipped": flipped,
    "shifted": shifted,
    "coupling": summed,
    "extra_term": without_extra,
    "swapped_leaves": swapped,
    "path_scaled": outputs,
    "slices": slices,
    "cotangent_ignored": for_one,
    "zero": zero,
}
