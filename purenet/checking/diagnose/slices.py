"""Hypotheses about parts: some examples, features or time steps count wrongly, or one factor differs a slice.

The cotangent of a value is cut into slices along an axis, and your gradient is written as a weighted sum of what the
slices give: weights (0 0 0 0 1) are "the last example only".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program
from ..program.sweep import from_value
from ..vocabulary import distance, norm
from .evidence import EXPLAINED, Claim, Evidence, Leaves, Point, explains, of_leaf, reads_program
from .local import proportional
from .naming import number_list
from .values import describe_value, known_values

MOST = 64

Cut = Callable[[Point, Any], Leaves]


def output_slices(evidence: Evidence) -> Iterator[Claim]:
    """candidate = sum_k a_k (the gradient of slice k of dy), the same a at every point."""
    if not evidence.linear:
        return
    for k, dy in enumerate(evidence.first.dys):
        for axis in range(dy.ndim):

            def cut(point: Point, mask: Any, k: int = k) -> Leaves:
                return masked(evidence, point, k, mask)

            where = "the output" if len(evidence.first.dys) == 1 else f"output {k}"
            yield from weighted(evidence, dy.shape, axis, cut, where, 1.5 + 0.1 * axis)


def overwritten(evidence: Evidence) -> Iterator[Claim]:
    """Where several elements of the output use one input, only the last of them counts: set where add belongs."""
    if not evidence.linear or len(evidence.first.dys) != 1:
        return
    shape = evidence.first.dys[0].shape
    for axes in itertools.chain.from_iterable(itertools.combinations(range(len(shape)), n) for n in (1, 2)):
        places = list(itertools.product(*(range(shape[a]) for a in axes)))
        if not 2 <= len(places) <= MOST:
            continue
        for which, order in (("last", places), ("first", places[::-1])):

            def predict(point: Point, axes: tuple[int, ...] = axes, order: list = order) -> Leaves:
                parts = [one_place(evidence, point, axes, place) for place in order]
                return [last_written(list(column)) for column in zip(*parts, strict=True)]

            if match := explains(evidence, predict):
                text = f"where several outputs along axis {', '.join(map(str, axes))} use the same element of "
                text += f"{match.label}, your gradient of it keeps the {which} contribution only"
                fix = "accumulate: .at[...].add, or +=, where .at[...].set or = overwrites"
                yield match.claim("slices", text, fix, 1.6)


def one_place(evidence: Evidence, point: Point, axes: tuple[int, ...], place: tuple[int, ...]) -> Leaves:
    mask = 1.0
    for axis, q in zip(axes, place, strict=True):
        mask = mask * mask_of(point.dys[0].shape, axis, q)
    return masked(evidence, point, 0, mask)


def masked(evidence: Evidence, point: Point, k: int, mask: Any) -> Leaves:
    """The true gradient for a part of one output's cotangent alone."""
    return evidence.reference(point.inputs, [d * mask if j == k else 0 * d for j, d in enumerate(point.dys)])


def last_written(parts: list[Any]) -> Any:
    written = np.zeros_like(parts[0])
    for part in parts:
        written = np.where(part != 0, part, written)
    return written


@reads_program
def inner_slices(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The same of every value inside the forward: what an example's share is inside a loss, for instance."""
    seen = set()
    for number, step in program.maker.items():
        shape = np.shape(program.values[number])
        if number not in program.active or number in program.outputs or number not in evidence.first.cotangents:
            continue
        key = (shape, program.steps[step].line)
        if key in seen or not 1 < np.prod(shape) <= 400:
            continue
        seen.add(key)
        for axis in range(len(shape)):

            def cut(point: Point, mask: Any, number: int = number) -> Leaves:
                return from_value(point.recorded, number, point.cotangents[number] * mask)

            yield from weighted(evidence, shape, axis, cut, describe_value(evidence, number), 2.4 + 0.1 * axis)


def weighted(
    evidence: Evidence, shape: tuple[int, ...], axis: int, cut: Cut, where: str, rank: float
) -> Iterator[Claim]:
    size = shape[axis]
    if not 2 <= size <= MOST:
        return
    parts = [[cut(point, mask_of(shape, axis, q)) for q in range(size)] for point in evidence.points]
    for i in evidence.wrong:
        weights = slice_weights(evidence, parts, i)
        if weights is None:
            continue
        text, fix, plain = slice_text(weights, axis, where, noun_of(evidence, shape, axis))

        def predict(point: Point, i: int = i, weights: Any = weights) -> Any:
            there = [cut(point, mask_of(shape, axis, q)) for q in range(size)]
            return point.reference[i] + combine(there, i, weights - 1)

        name = evidence.names[i]
        text = f"your gradient of {name} {text}"
        yield Claim("slices", text, fix, (name,), rank if plain else rank + 1.5, of_leaf(i, predict), fitted=size)


def noun_of(evidence: Evidence, shape: tuple[int, ...], axis: int) -> str:
    """The first axis counts examples where the data has an axis of that length in front."""
    program = evidence.first.program
    data = [v for v in program.values if isinstance(v, np.ndarray)] if program else evidence.first.inputs
    in_front = any(v.ndim > 1 and v.shape[0] == shape[0] for v in data)
    return "examples" if axis == 0 and (len(shape) > 1 or in_front) else "slices"


def mask_of(shape: tuple[int, ...], axis: int, q: int) -> Any:
    line = [1] * len(shape)
    line[axis] = shape[axis]
    return np.reshape(np.arange(shape[axis]) == q, line).astype(float)


def slice_weights(evidence: Evidence, parts: list[list[Leaves]], i: int) -> Any:
    """The weights of the parts that explain leaf i at all points, what is beside them being right; None where there
    are none, or where the equations are too few to tell."""
    columns = np.concatenate([np.stack([np.ravel(p[i]) for p in part], 1) for part in parts])
    error = np.concatenate([np.ravel(point.candidate[i] - point.reference[i]) for point in evidence.points])
    if parts[0][0][i].size < 2 or columns.shape[0] <= columns.shape[1]:
        return None
    if not np.all(np.isfinite(columns)) or not np.all(np.isfinite(error)) or not norm(columns):
        return None
    changes, _, rank, _ = np.linalg.lstsq(columns, error, rcond=1e-10)
    if rank < columns.shape[1] or np.ptp(changes) < 1e-6 or not enough(evidence, i, columns.shape[1]):
        return None
    fits = all(
        point.unexplained(i, point.reference[i] + combine(part, i, changes)) < EXPLAINED
        for part, point in zip(parts, evidence.points, strict=True)
    )
    return 1 + changes if fits else None


def enough(evidence: Evidence, i: int, unknown: int) -> bool:
    """Whether there are more data than unknowns: of a gradient that is the same everywhere up to a factor, a number an
    element explains anything."""
    first, *others = (np.ravel(point.candidate[i]) for point in evidence.points)
    return first.size > unknown or not all(proportional(first, other) for other in others)


def combine(part: list[Leaves], i: int, weights: Any) -> Any:
    return sum(w * leaves[i] for w, leaves in zip(weights, part, strict=True))


def slice_text(weights: Any, axis: int, where: str, noun: str) -> tuple[str, str, bool]:
    """What the weights say, what to do, and whether it is one of the plain cases."""
    rounded, n = np.round(weights, 6), len(weights)
    present, gone = np.flatnonzero(np.abs(rounded - 1) < 1e-6), np.flatnonzero(np.abs(rounded) < 1e-6)
    along = f"along axis {axis} of {where}"
    accumulate = "add up the contributions of all of them (sum over the axis, += in a loop, .add at duplicates)"
    if len(gone) == n - 1 and len(present) == 1:
        overwritten = ", as if each overwrote the one before" if present[0] == n - 1 else ""
        return f"counts only the {place(present[0], n)} of {n} {noun} {along}{overwritten}", accumulate, True
    if len(gone) + len(present) == n:
        left = f"the {place(gone[0], n)}" if len(gone) == 1 else f"numbers {list_of(gone)}"
        text = f"leaves out {left} of {n} {noun} {along}"
        return text, "compare the range of the loop, the mask or the slice with the forward's", True
    text = f"weighs the {n} {noun} {along} by {number_list(weights)} instead of 1"
    return text, "look for a factor that belongs to each of them: a count, a mask, a scale or a power", False


def place(k: int, n: int) -> str:
    return "first" if k == 0 else "last" if k == n - 1 else f"number {k}"


def list_of(indices: Any) -> str:
    return ", ".join(str(int(k)) for k in indices)


def leaf_factors(evidence: Evidence) -> Iterator[Claim]:
    """candidate = reference times a known value, slice by slice or element by element."""
    for i in evidence.wrong:
        reference = evidence.first.reference[i]
        if reference.size < 2 or np.any(reference == 0) or not np.all(np.isfinite(evidence.first.candidate[i])):
            continue
        ratio = evidence.first.candidate[i] / reference
        for what, fix, value in known_values(evidence):
            shaped = broadcast(value(evidence.first), reference.shape)
            if shaped is not None and distance(shaped, ratio) < 1e-6 and confirmed(evidence, i, value):
                text = f"your gradient of {evidence.names[i]} is the right one times {what}, element by element"
                predict = of_leaf(i, lambda point, i=i, value=value: times_value(point, i, value))
                yield Claim("factor", text, fix, (evidence.names[i],), 2.2, predict)
                return
        yield from leaf_slices(evidence, i)


def confirmed(evidence: Evidence, i: int, value: Callable[[Point], Any]) -> bool:
    predicted = [times_value(point, i, value) for point in evidence.points]
    pairs = zip(evidence.points, predicted, strict=True)
    return all(found is not None and point.unexplained(i, found) <= EXPLAINED for point, found in pairs)


def times_value(point: Point, i: int, value: Callable[[Point], Any]) -> Any:
    shaped = broadcast(value(point), point.reference[i].shape)
    return None if shaped is None else shaped * point.reference[i]


def broadcast(value: Any, shape: tuple[int, ...]) -> Any:
    """The value along a leaf: by broadcasting, or as a vector along any one axis."""
    value = np.squeeze(value) if np.ndim(value) > len(shape) else np.asarray(value)
    if value.size < 2:
        return None
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        pass
    if value.ndim == 1 and value.shape[0] in shape:
        line = [1] * len(shape)
        line[shape.index(value.shape[0])] = value.shape[0]
        return np.broadcast_to(value.reshape(line), shape)
    return None


def leaf_slices(evidence: Evidence, i: int) -> Iterator[Claim]:
    """One factor a slice of the leaf, the same at every point, without a name for the factors."""
    shape, name = evidence.first.reference[i].shape, evidence.names[i]
    for axis in range(len(shape)):
        size = shape[axis]
        factors = slice_factors(evidence.first, i, axis) if 2 <= size <= MOST and size < np.prod(shape) else None
        if factors is None or np.ptp(factors) < 1e-7:
            continue
        text = f"your gradient of {name} is the right one with the slices along axis {axis} scaled by "
        zero = np.flatnonzero(np.abs(factors) < 1e-12)
        text += number_list(factors) + (f": slices {list_of(zero)} are left out" if len(zero) else "")
        fix = "look for a factor that belongs to each slice: a count, a mask, a scale or a power"
        predict = of_leaf(i, lambda point, f=factors, axis=axis: along(f, point.reference[i], axis))
        yield Claim("slices", text, fix, (name,), 2.9, predict, fitted=size)


def along(factors: Any, leaf: Any, axis: int) -> Any:
    """A leaf with each of its slices multiplied."""
    return np.moveaxis(np.moveaxis(leaf, axis, -1) * factors, -1, axis)


def slice_factors(point: Point, i: int, axis: int) -> Any:
    """What each slice is multiplied by at a point; None if that is not all."""
    others = tuple(a for a in range(point.reference[i].ndim) if a != axis)
    squares = np.sum(point.reference[i] ** 2, others)
    factors = np.sum(point.candidate[i] * point.reference[i], others) / np.where(squares > 0, squares, 1)
    return factors if point.unexplained(i, along(factors, point.reference[i], axis)) <= EXPLAINED else None
