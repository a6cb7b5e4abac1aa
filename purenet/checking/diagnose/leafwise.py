"""Hypotheses about a leaf as a whole: a wrong factor, zero, an arrangement of the right values, an extra term.

They need your gradient and the true one, nothing else, so they serve functions that nobody can look into.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .evidence import Diagnosis, Evidence, Match, Point, distance, explains, explains_scaled, norm, residual
from .naming import Factor, decode
from .values import candidates, describe_value


def scaled(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """yours = c truth."""
    for match, c in explains_scaled(evidence, lambda point: ([0 * t for t in point.truth], point.truth)):
        factor = decode(c, known)
        which = evidence.label(match.leaves)
        cause = f": {factor.cause}" if factor.cause else ""
        yield Diagnosis(
            "scaled",
            f"your gradient of {which} is {factor.text} times the right one{cause}",
            f"multiply it by {decode(1 / c, known).text}" if c else "",
            match.residual,
            names(evidence, match),
            rank=1.0 + factor.rank,
        )


def zero(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """yours = 0."""
    empty = [i for i in evidence.wrong if not any(np.any(point.yours[i]) for point in evidence.points)]
    if empty:
        which = evidence.label(empty)
        yield Diagnosis(
            "zero",
            f"your gradient of {which} is zero everywhere: the path to it is cut, or the leaf is treated as a constant",
            "add the term that the forward's use of it gives",
            0.0,
            tuple(evidence.names[i] for i in empty),
            rank=0.9,
        )


def arranged(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """yours holds the right values in other places."""
    for i in evidence.wrong:
        pairs = [(point.yours[i], point.truth[i]) for point in evidence.points]
        if common_factor(pairs) is not None or not norm(evidence.first.yours[i]):
            continue  # a matter of a factor
        for kind, text, fix, arrange, rank in arrangements(evidence.first.truth[i], evidence.names[i]):
            if residual_of(evidence, i, arrange) is not None:
                yield Diagnosis(kind, text, fix, 0.0, (evidence.names[i],), rank=rank)
                break
        else:
            yield from shuffled(evidence, i)


def residual_of(evidence: Evidence, i: int, arrange: Callable[[Any], Any]) -> float | None:
    """How well `arrange(truth)` explains leaf i, over all points."""
    worst = 0.0
    for point in evidence.points:
        predicted = arrange(point.truth[i])
        if predicted.shape != point.yours[i].shape:
            return None
        worst = max(worst, residual(predicted, point.yours[i], point.truth[i]))
        if worst > 1e-6:
            return None
    return worst


def arrangements(leaf: Any, name: str) -> Iterator[tuple[str, str, str, Callable[[Any], Any], float]]:
    axes = range(leaf.ndim)
    for order in itertools.permutations(axes) if leaf.ndim <= 4 else ():
        if order != tuple(axes):
            text = f"your gradient of {name} is the right one transposed (axes {order})"
            fix = "swap the operands of the product that makes it, or transpose the result"
            yield "transposed", text, fix, lambda t, order=order: np.transpose(t, order), 1.1
            yield (
                "permuted",
                f"your gradient of {name} has the right values in another order of its axes: reshaped where a "
                f"transpose {order} belongs, or flattened in another order",
                "transpose before you reshape",
                lambda t, order=order: np.transpose(t, order).reshape(t.shape),
                1.4,
            )
    for axis in axes:
        if leaf.shape[axis] > 1:
            for word, reduce in (("summed", np.sum), ("averaged", np.mean)):
                text = (
                    f"your gradient of {name} is the same all along axis {axis}: the right one {word} over axis {axis}"
                )
                fix = "each slice belongs to its own output: an outer product error x input, not error @ Jacobian; in "
                fix += "finite differences, move one element at a time, not a whole slice"
                yield (
                    "coupling",
                    text,
                    fix,
                    lambda t, a=axis, r=reduce: np.broadcast_to(r(t, a, keepdims=True), t.shape),
                    1.0,
                )
    for count in range(1, min(leaf.ndim, 3) + 1):
        for chosen in itertools.combinations(axes, count):
            text = f"your gradient of {name} is the right one flipped along axis {', '.join(map(str, chosen))}"
            fix = "a kernel is rotated once too often, or not at all: drop or add the flip"
            yield "flipped", text, fix, lambda t, chosen=chosen: np.flip(t, chosen), 1.2
    for axis in axes:
        for shift in [s for s in (-1, 1, -2, 2) if abs(s) < leaf.shape[axis]]:
            text = f"your gradient of {name} is the right one shifted by {shift} along axis {axis}: an index is off"
            fix = "compare the offset, padding or time step with the forward's"
            yield "shifted", text, fix, lambda t, s=shift, a=axis: np.roll(t, s, a), 1.3
            yield "shifted", text, fix, lambda t, s=shift, a=axis: push(t, s, a), 1.35


def push(t: Any, shift: int, axis: int) -> Any:
    """A shift that fills up with zeros."""
    moved = np.roll(t, shift, axis)
    index = [slice(None)] * t.ndim
    index[axis] = slice(0, shift) if shift > 0 else slice(shift, None)
    moved[tuple(index)] = 0
    return moved


def shuffled(evidence: Evidence, i: int) -> Iterator[Diagnosis]:
    """The slices along an axis, or all elements, in another order."""
    point, name = evidence.first, evidence.names[i]
    yours, truth = point.yours[i], point.truth[i]
    if truth.size < 3 or not norm(truth) or not np.all(np.isfinite(yours)):
        return
    for axis in range(truth.ndim):
        order = slice_order(np.moveaxis(yours, axis, 0), np.moveaxis(truth, axis, 0))
        if order and residual_of(evidence, i, lambda t, axis=axis, order=order: np.take(t, order, axis)) is not None:
            text = f"your gradient of {name} has its slices along axis {axis} in the order {order}"
            yield Diagnosis("permuted", text, "put them back in the forward's order", 0.0, (name,), rank=2.55)
            return
    pairs = [(np.sort(np.ravel(p.yours[i])), np.sort(np.ravel(p.truth[i]))) for p in evidence.points]
    if all(distance(a, b) < 1e-7 for a, b in pairs):
        text = f"your gradient of {name} has the right values in wrong places (the same numbers, sorted)"
        fix = "look for a reshape, a flattening order or an index that differs from the forward's"
        yield Diagnosis("permuted", text, fix, 0.0, (name,), rank=2.15)


def slice_order(yours: Any, truth: Any) -> list[int] | None:
    """The order in which slices of `truth` make `yours`, if they do."""
    n = len(truth)
    if n > 64 or n < 2:
        return None
    a, b = yours.reshape(n, -1), truth.reshape(n, -1)
    gaps = np.linalg.norm(a[:, None] - b[None], axis=-1)
    order = np.argmin(gaps, 1)
    exact = gaps[np.arange(n), order] <= 1e-7 * (np.linalg.norm(b[order], axis=-1) + 1e-300)
    return [int(k) for k in order] if np.all(exact) and sorted(order) == list(range(n)) else None


def swapped(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """yours of one leaf is the truth of another."""
    for i in evidence.wrong:
        for j, name in enumerate(evidence.names):
            shapes = evidence.first.truth[i].shape, evidence.first.truth[j].shape
            if i == j or np.prod(shapes[0]) != np.prod(shapes[1]):
                continue
            for how, arrange in (("", lambda t: t), (", transposed", np.transpose)):
                moved = [(p.yours[i], arrange(p.truth[j]).reshape(shapes[0])) for p in evidence.points]
                c = common_factor(moved)
                if c is not None and (c == 1 or decode(c, known).rank < 0.5):
                    both = j in evidence.wrong
                    times = "" if c == 1 else f"{decode(c, known).text} times "
                    text = f"your gradient of {evidence.names[i]} is {times}the right gradient of {name}{how}: "
                    text += "two are swapped" if both else "a factor is missing, or the wrong one is returned"
                    fix = "return each gradient under the name of what it belongs to"
                    rank = 1.1 if both else 2.55
                    yield Diagnosis("swapped_leaves", text, fix, 0.0, (evidence.names[i],), rank=rank)
                    break


def common_factor(pairs: list[tuple[Any, Any]]) -> float | None:
    """c with a = c b for all pairs, 1 exactly where it is 1; None if there is none."""
    a, b = (np.concatenate([np.ravel(pair[k]) for pair in pairs]) for k in (0, 1))
    square = float(b @ b)
    if a.size < 2 or not square or not np.all(np.isfinite(a)):
        return None
    c = float(a @ b) / square
    if abs(c) < 1e-9 or norm(a - c * b) > 1e-7 * norm(a):
        return None
    return 1.0 if abs(c - 1) < 1e-7 else c


def misspread(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """dy spread over a leaf along another axis of the same length."""
    if len(evidence.first.dys) != 1 or not evidence.linear or not evidence.first.dys[0].ndim:
        return
    dy = evidence.first.dys[0]
    for i in evidence.wrong:
        shape = evidence.first.truth[i].shape
        for axes in itertools.combinations(range(len(shape)), dy.ndim) if len(shape) > dy.ndim else ():
            if tuple(shape[a] for a in axes) != dy.shape:
                continue
            others = tuple(a for a in range(len(shape)) if a not in axes)

            def predict(point: Point, others: tuple[int, ...] = others, shape: tuple = shape) -> list[Any]:
                ones = evidence.truth(point.inputs, [np.ones_like(d) for d in point.dys])
                spread = np.expand_dims(point.dys[0], others)
                return [leaf * spread if leaf.shape == shape else leaf for leaf in ones]

            match = explains(evidence, predict)
            if match:
                text = f"in your gradient of {evidence.label(match.leaves)}, dy is spread along axis "
                text += f"{', '.join(map(str, others))}, where it belongs along another axis of the same length"
                fix = "put the new axis where the forward's reduction removed one: dy[:, None], not dy[None, :]"
                yield Diagnosis("wrong_cotangent", text, fix, match.residual, names(evidence, match), rank=1.3)


def permuted_axes(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """An axis that is split in parts: neighbours and halves mixed up, in the cotangent alone or in values too."""
    if len(evidence.first.dys) != 1 or not evidence.linear:
        return
    dy = evidence.first.dys[0]
    for axis in range(dy.ndim):
        size = dy.shape[axis]
        for parts in [k for k in range(2, size) if size % k == 0]:
            order = np.arange(size).reshape(parts, -1).T.ravel()
            for everything in (False, True):

                def predict(point: Point, order: Any = order, axis: int = axis, all_: bool = everything) -> list[Any]:
                    return conjugated(evidence, point, order, axis, all_)

                match = explains(evidence, predict)
                if match:
                    text = f"in your gradient of {evidence.label(match.leaves)}, axis {axis} of the output ({size}) is "
                    text += f"split the other way: {parts} interleaved parts where the forward has contiguous ones, or "
                    text += "the reverse (a reshape to the transposed shape, or [0::2] for halves)"
                    fix = "reshape and slice in the backward exactly as in the forward"
                    yield Diagnosis("permuted", text, fix, match.residual, names(evidence, match), rank=1.7)


def conjugated(evidence: Evidence, point: Point, order: Any, axis: int, everything: bool) -> list[Any]:
    """The true backward in permuted coordinates of an axis, put back in order."""
    size, back = len(order), np.argsort(order)
    dys = [np.take(dy, order, axis) for dy in point.dys]

    def along(leaf: Any) -> int | None:
        if leaf.ndim == point.dys[0].ndim and leaf.shape[axis] == size:
            return axis
        return leaf.ndim - 1 if leaf.ndim and leaf.shape[-1] == size and axis == point.dys[0].ndim - 1 else None

    inputs = point.inputs
    if everything:
        inputs = [x if along(x) is None else np.take(x, order, along(x)) for x in inputs]
    found = evidence.truth(inputs, dys)
    return [g if along(g) is None else np.take(g, back, along(g)) for g in found]


def extra(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """yours = truth + c (something known)."""
    for what, fix, term, rank in extra_terms(evidence):

        def parts(point: Point, term: Any = term) -> Any:
            return point.truth, [term(point, i) for i in range(len(evidence.names))]

        for match, c in explains_scaled(evidence, parts):
            text = f"your gradient of {evidence.label(match.leaves)} is the right one plus {c:.6g} times {what}"
            text += ": the skip path is dropped" if "cotangent" in what and abs(c + 1) < 1e-6 else ""
            yield Diagnosis("extra_term", text, fix, match.residual, names(evidence, match), rank=rank)


def extra_terms(evidence: Evidence) -> Iterator[tuple[str, str, Callable[[Point, int], Any], float]]:
    yield (
        "the leaf's own value (weight decay)",
        "leave regularisation to the optimiser, or put it into the forward's loss",
        lambda point, i: point.inputs[i],
        1.0,
    )
    yield (
        "the sign of the leaf (L1 regularisation)",
        "leave regularisation to the optimiser, or put it into the forward's loss",
        lambda point, i: np.sign(point.inputs[i]),
        1.0,
    )
    yield "one", "remove the constant", lambda point, i: np.ones_like(point.inputs[i]), 1.2
    for k, dy in enumerate(evidence.first.dys):
        if dy.size > 1:
            yield (
                "the upstream cotangent dy",
                "add or remove the term of the skip path, dy itself",
                lambda point, i, k=k: same_shape(point.dys[k], point.inputs[i]),
                1.1,
            )


def extra_values(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """yours = truth + c dy (a value of the forward, or 1), where dy is a scalar or of the leaf's shape."""
    program = evidence.first.program
    if program is None or len(evidence.first.dys) != 1:
        return
    values: list[tuple[str, Callable[[Point], Any]]] = [("dy", lambda point: np.ones_like(point.dys[0]))]
    for number in candidates(program):
        name = f"dy times {describe_value(evidence, number)}"
        values.append((name, lambda point, number=number: point.recorded.values[number]))
    for what, value in values:

        def parts(point: Point, value: Callable[[Point], Any] = value) -> Any:
            return point.truth, [times_dy(point, value(point), leaf) for leaf in point.inputs]

        for match, c in explains_scaled(evidence, parts):
            factor = decode(c, known)
            text = f"your gradient of {evidence.label(match.leaves)} is the right one plus {factor.text} times {what}"
            text = text.replace("plus -", "minus ")
            fix = "a term is missing, or is there that does not belong"
            yield Diagnosis(
                "extra_term", text, fix, match.residual, names(evidence, match), rank=2.6 + 0.1 * factor.rank
            )


def times_dy(point: Point, value: Any, leaf: Any) -> Any:
    """dy times a value, summed over the leading axes (or all) where the leaf is smaller."""
    dy = point.dys[0]
    product = dy * value if np.shape(value) == dy.shape or () in (np.shape(value), dy.shape) else np.zeros(())
    extra = product.ndim - leaf.ndim
    if extra > 0 and product.shape[extra:] == leaf.shape:
        return np.sum(product, tuple(range(extra)))
    return np.broadcast_to(product, leaf.shape) if product.shape in ((), leaf.shape) else np.zeros_like(leaf)


def same_shape(value: Any, like: Any) -> Any:
    return value if value.shape == like.shape else np.zeros_like(like)


def names(evidence: Evidence, match: Match) -> tuple[str, ...]:
    return tuple(evidence.names[i] for i in match.leaves)
