"""The verdict on each leaf: PASS, WRONG, PRECISION, UNRESOLVED or VACUOUS.

In float64 a right rule agrees with jax.vjp to about 1e-15 of a leaf's largest value; the subtlest mistakes sit near
1e-6, so that 1e-9 tells them apart at any size and depth. What is small beside the rest of its leaf, or is left of
larger terms that cancel, has no such scale. It is judged by how far the true gradient moves when parameters and input
move by some units in the last place (`noise`), and when each step of its own computation does (`rounding`): a sum of
terms that cancel is known to the rounding of its terms. No absolute tolerance is ever added to a relative one, so none
can certify.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .probe import Probe
from .program.record import Step, is_floating, record
from .program.rules import MOVES
from .program.sweep import rerun
from .vocabulary import DIFFERENCES, PASS, UNRESOLVED, VACUOUS, WRONG, LeafReport

TOLERANCE = 1e-9
SMALL_TOLERANCE = 1e-6
SUBTLE = 1e-5
ROUNDING = 1e-13
NOISES = 100
LOST = 1e-18  # of the largest gradient: a leaf below that is nothing
DRAWS = 4
MANY = 200_000  # numbers, over which one draw says enough
# Operations that move elements or choose among them do not round.
EXACT = (*MOVES, "select_n", "clamp", "max", "min", "neg", "abs", "sign", "sort", "reduce_max", "reduce_min", "cummax")
EXACT += ("cummin", "reduce_window_max", "reduce_window_min")


class Expected(NamedTuple):
    """What a gradient is compared with: the true `gradients` under their `names`.

    `noise()` is how far each element moves when the inputs move by rounding; `rounding()` is how far each gradient
    moves at most when every step that computes it does. `whole` is the largest of all gradients and cotangents.
    """

    names: tuple[str, ...]
    gradients: list[Any]
    noise: Callable[[], list[Any]]
    rounding: Callable[[], list[float]]
    whole: float
    tolerance: float = TOLERANCE


def expect(probe: Probe, gradients: list[Any], seed: int = 0) -> Expected:
    """The true gradients with how well they are known, which is only worked out when it is asked for."""
    sizes = [np.abs(leaf) for leaf in (*gradients, *(np.asarray(dy) for dy in probe.dys))]
    whole = max((float(np.max(size, initial=0.0, where=np.isfinite(size))) for size in sizes), default=0.0)
    noise = functools.cache(lambda: noise_of(probe, seed))
    rounding = functools.cache(lambda: rounding_of(probe, whole, seed))
    if (
        probe.against == DIFFERENCES or probe.rtol is not None
    ):  # differences are known to their tolerance, and no better
        noise, rounding = functools.partial(no_noise, gradients), lambda: [0.01 * probe.tolerance * whole] * len(sizes)
    return Expected(probe.names, gradients, noise, rounding, whole, probe.tolerance)


def no_noise(gradients: list[Any]) -> list[Any]:
    return [np.zeros(leaf.shape) for leaf in gradients]


def noise_of(probe: Probe, seed: int) -> list[Any]:
    """How far each element of the true gradient moves when the inputs move by rounding."""
    random = np.random.default_rng(seed)
    before = [np.asarray(leaf) for leaf in probe.reference(probe.leaves, probe.dys)[1]]
    squares = []
    for _ in range(DRAWS if sum(leaf.size for leaf in before) <= MANY else 1):
        moved = [jiggled(np.asarray(leaf), random) for leaf in probe.leaves]
        after = probe.reference(moved, probe.dys)[1]
        squares.append([np.square(np.asarray(a) - b) for a, b in zip(after, before, strict=True)])
    return [np.sqrt(np.mean(each, 0)) for each in zip(*squares, strict=True)]


def rounding_of(probe: Probe, whole: float, seed: int) -> list[float]:
    """How far each true gradient moves when every step of its computation moves by rounding: the size of its terms."""
    count, random = len(probe.leaves), np.random.default_rng(seed)

    def gradient(*arguments: Any) -> list[Any]:
        return probe.plain[1](list(arguments[:count]), list(arguments[count:]))[1]

    def altered(step: Step, value: Any) -> Any:
        return value if step.op in EXACT else jiggled(value, random)

    try:
        program = record(gradient, probe.leaves + probe.dys)
        moved = [rerun(program, probe.leaves + probe.dys, alter=altered) for _ in range(DRAWS)]
    except Exception:  # whatever a step that cannot be run alone may raise
        return [ROUNDING * whole] * count
    before, *after = ([each.values[number] for number in each.outputs] for each in (program, *moved))
    squares = [[np.square(a - b) for a, b in zip(each, before, strict=True)] for each in after]
    largest = [float(np.sqrt(np.max(np.mean(each, 0), initial=0.0))) for each in zip(*squares, strict=True)]
    return [size if np.isfinite(size) else ROUNDING * whole for size in largest]


def jiggled(value: Any, random: np.random.Generator) -> Any:
    if not is_floating(value) or value.dtype != np.float64:
        return value
    return value * (1 + ROUNDING * random.standard_normal(value.shape))


def compare_all(expected: Expected, candidate: list[Any]) -> tuple[LeafReport, ...]:
    with np.errstate(all="ignore"):
        return tuple(compare(expected, index, leaf) for index, leaf in enumerate(candidate))


def compare(expected: Expected, index: int, candidate: Any) -> LeafReport:
    """The verdict on one leaf; `yours` is None where nothing comparable came."""
    path, reference = expected.names[index], expected.gradients[index]
    if candidate is None:
        return LeafReport(path, reference.shape, np.inf, WRONG, (), np.nan, np.nan)
    if not reference.size:
        return LeafReport(path, reference.shape, 0.0, VACUOUS, (), 0.0, 0.0)
    difference = np.where(np.isfinite(candidate), np.abs(candidate - reference), np.inf)
    worst, largest = highest(difference), float(np.max(np.abs(reference)))
    error = ratio(difference[worst], largest)
    if is_zero(expected, index, float(difference[worst]), largest):
        verdict = VACUOUS
    elif not error <= expected.tolerance:
        verdict = unequal(expected, index, difference)
    else:
        excess = excess_of_small(expected, index, difference) if expected.tolerance == TOLERANCE else np.zeros(1)
        verdict = WRONG if np.any(excess > 0) else PASS
        if verdict == WRONG:
            worst = highest(excess)
            error = ratio(difference[worst], abs(reference[worst]))
    at = tuple(int(i) for i in worst)
    return LeafReport(path, reference.shape, error, verdict, at, float(candidate[worst]), float(reference[worst]))


def highest(values: Any) -> Any:
    return np.unravel_index(int(np.argmax(values)), values.shape)


def is_zero(expected: Expected, index: int, difference: float, largest: float) -> bool:
    """Whether both gradients are zero, or no more than what rounding leaves of terms that cancel."""
    if largest == difference == 0:
        return True
    if max(largest, difference) > expected.tolerance * expected.whole:
        return False
    if not largest and difference <= ROUNDING * expected.whole:
        return True
    if max(largest, difference) <= LOST * max(float(np.max(np.abs(leaf), initial=0.0)) for leaf in expected.gradients):
        return True
    return max(largest, difference) <= expected.rounding()[index]


def unequal(expected: Expected, index: int, difference: Any) -> str:
    """The verdict where the two gradients differ by more than the tolerance."""
    largest = float(np.max(difference))
    subtle = max(TOLERANCE * expected.whole, SUBTLE * float(np.max(np.abs(expected.gradients[index]))))
    if largest <= subtle and largest <= expected.rounding()[index]:
        return PASS  # what is left of terms that cancel is known no better
    if np.isfinite(largest) and np.all(difference <= NOISES * expected.noise()[index]):
        return UNRESOLVED
    return WRONG


def excess_of_small(expected: Expected, index: int, difference: Any) -> Any:
    """By how much small elements differ: right beside the leaf's largest value, they must be right as well, up to
    noise."""
    allowed = SMALL_TOLERANCE * np.abs(expected.gradients[index])
    if np.all(difference <= allowed):
        return np.zeros_like(difference)
    noise = expected.noise()[index]
    moves = np.maximum(noise, 1e-3 * np.sqrt(np.mean(np.square(noise))))
    return np.where(difference > allowed, difference - NOISES * moves, -1)


def ratio(difference: Any, scale: Any) -> float:
    return float(difference) / float(scale) if scale else (np.inf if difference else 0.0)
