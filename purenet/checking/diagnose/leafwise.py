"""Hypotheses about a leaf as a whole: a wrong factor, zero, an arrangement of the right values, an extra term.

They need your gradient and the true one, nothing else, so they serve functions that nobody can look into.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program
from ..vocabulary import distance, norm
from .evidence import Claim, Evidence, Point, explains_scaled, of_leaf, reads_program
from .local import proportional
from .paths import contribution, nodes
from .values import candidates, describe_value

NOTHING = 1e-12


def scaled(evidence: Evidence) -> Iterator[Claim]:
    """candidate = c reference."""
    for match, c in explains_scaled(evidence, lambda point: ([0 * t for t in point.reference], point.reference)):
        if abs(c) < NOTHING:
            continue
        factor = evidence.factor(c)
        cause = f": {factor.cause}" if factor.cause else ""
        text = f"your gradient of {match.label} is {factor.text} times the right one{cause}"
        fix = f"multiply it by {evidence.factor(1 / c).text}"
        yield match.claim("scaled", text, fix, 1.0 + factor.rank)


def zero(evidence: Evidence) -> Iterator[Claim]:
    """candidate = 0."""
    empty = [i for i in evidence.wrong if all(is_nothing(point, i) for point in evidence.points)]
    if empty:
        which = evidence.label(empty)
        yield Claim(
            "zero",
            f"your gradient of {which} is zero everywhere: the path to it is cut, or the leaf is treated as a constant",
            "add the term that the forward's use of it gives",
            tuple(evidence.names[i] for i in empty),
            0.9,
            lambda point: [0 * leaf for leaf in point.reference],
        )


def is_nothing(point: Point, i: int) -> bool:
    return norm(point.candidate[i]) <= NOTHING * norm(point.reference[i])


def arranged(evidence: Evidence) -> Iterator[Claim]:
    """The candidate holds the right values in other places."""
    for i in evidence.wrong:
        pairs = [(point.candidate[i], point.reference[i]) for point in evidence.points]
        if common_factor(pairs) is not None or not norm(evidence.first.candidate[i]):
            continue  # a matter of a factor
        for kind, text, fix, arrange, rank in arrangements(evidence.first.reference[i], evidence.names[i]):
            if residual_of(evidence, i, arrange) is not None:
                predict = of_leaf(i, lambda point, i=i, arrange=arrange: arrange(point.reference[i]))
                yield Claim(kind, text, fix, (evidence.names[i],), rank, predict)
                break
        else:
            yield from shuffled(evidence, i)


def residual_of(evidence: Evidence, i: int, arrange: Callable[[Any], Any]) -> float | None:
    """How well `arrange(reference)` explains leaf i, over all points."""
    worst = 0.0
    for point in evidence.points:
        predicted = arrange(point.reference[i])
        if predicted.shape != point.candidate[i].shape:
            return None
        worst = max(worst, point.unexplained(i, predicted))
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
            for how, reduce in (("summed", np.sum), ("averaged", np.mean)):
                text = (
                    f"your gradient of {name} is the same all along axis {axis}: the right one {how} over axis {axis}"
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


def shuffled(evidence: Evidence, i: int) -> Iterator[Claim]:
    """The slices along an axis, or all elements, in another order."""
    point, name = evidence.first, evidence.names[i]
    candidate, reference = point.candidate[i], point.reference[i]
    if reference.size < 3 or not norm(reference) or not np.all(np.isfinite(candidate)):
        return
    for axis in range(reference.ndim):
        order = slice_order(np.moveaxis(candidate, axis, 0), np.moveaxis(reference, axis, 0))
        if order and residual_of(evidence, i, lambda t, axis=axis, order=order: np.take(t, order, axis)) is not None:
            text = f"your gradient of {name} has its slices along axis {axis} in the order {order}"
            predict = of_leaf(i, lambda point, axis=axis, order=order: np.take(point.reference[i], order, axis))
            yield Claim("permuted", text, "put them back in the forward's order", (name,), 2.55, predict, fitted=1)
            return
    pairs = [(np.sort(np.ravel(p.candidate[i])), np.sort(np.ravel(p.reference[i]))) for p in evidence.points]
    if all(distance(a, b) < 1e-7 for a, b in pairs):
        text = f"your gradient of {name} has the right values in wrong places (the same numbers, sorted)"
        fix = "look for a reshape, a flattening order or an index that differs from the forward's"
        yield Claim("permuted", text, fix, (name,), 2.15, of_leaf(i, lambda point: as_ordered(point, i)))


def as_ordered(point: Point, i: int) -> Any:
    """The right values, in the order of your own."""
    order = np.argsort(np.argsort(np.ravel(point.candidate[i])))
    return np.sort(np.ravel(point.reference[i]))[order].reshape(point.reference[i].shape)


def slice_order(candidate: Any, reference: Any) -> list[int] | None:
    """The order in which slices of `reference` make `candidate`, if they do."""
    n = len(reference)
    if n > 64 or n < 2:
        return None
    a, b = candidate.reshape(n, -1), reference.reshape(n, -1)
    gaps = np.linalg.norm(a[:, None] - b[None], axis=-1)
    order = np.argmin(gaps, 1)
    exact = gaps[np.arange(n), order] <= 1e-7 * (np.linalg.norm(b[order], axis=-1) + 1e-300)
    return [int(k) for k in order] if np.all(exact) and sorted(order) == list(range(n)) else None


def swapped(evidence: Evidence) -> Iterator[Claim]:
    """The candidate of one leaf is the reference of another."""
    for i in evidence.wrong:
        for j, name in enumerate(evidence.names):
            shapes = evidence.first.reference[i].shape, evidence.first.reference[j].shape
            if i == j or np.prod(shapes[0]) != np.prod(shapes[1]):
                continue
            for how, arrange in (("", lambda t: t), (", transposed", np.transpose)):
                moved = [(p.candidate[i], arrange(p.reference[j]).reshape(shapes[0])) for p in evidence.points]
                c = common_factor(moved)
                if c is not None and (c == 1 or evidence.factor(c).rank < 0.5):
                    both = j in evidence.wrong and is_right_of(evidence, j, i)
                    times = "" if c == 1 else f"{evidence.factor(c).text} times "
                    text = f"your gradient of {evidence.names[i]} is {times}the right gradient of {name}{how}: "
                    text += "two are swapped" if both else "a factor is missing, or the wrong one is returned"
                    fix = "return each gradient under the name of what it belongs to"
                    rank = 1.1 if both else 2.55
                    predict = of_leaf(
                        i,
                        lambda p, i=i, j=j, a=arrange, c=c: c * a(p.reference[j]).reshape(p.reference[i].shape),
                    )
                    yield Claim("swapped_leaves", text, fix, (evidence.names[i],), rank, predict, fitted=int(c != 1))
                    break


def is_right_of(evidence: Evidence, j: int, i: int) -> bool:
    """Whether your gradient of leaf j holds the right one of leaf i, transposed or not."""
    for arrange in (np.ravel, lambda t: np.ravel(np.transpose(t))):
        if common_factor([(np.ravel(p.candidate[j]), arrange(p.reference[i])) for p in evidence.points]) is not None:
            return True
    return False


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


def extra(evidence: Evidence) -> Iterator[Claim]:
    """candidate = reference + c (something known)."""
    for what, fix, term, rank in extra_terms(evidence):
        penalty = fix == REGULARISATION

        def parts(point: Point, term: Any = term) -> Any:
            return point.reference, [term(point, i) for i in range(len(evidence.names))]

        for match, c in explains_scaled(evidence, parts):
            if penalty and any(in_forward(evidence, i, term(evidence.first, i)) for i in match.leaves):
                continue  # a penalty of the value itself, which path attribution names
            text = f"your gradient of {match.label} is the right one plus {c:.6g} times {what}"
            text += ": the skip path is dropped" if "cotangent" in what and abs(c + 1) < 1e-6 else ""
            yield match.claim("extra_term", text, fix, rank)


REGULARISATION = "if the forward has no such penalty, leave it to the optimiser or put it into the loss"


def in_forward(evidence: Evidence, i: int, term: Any) -> bool:
    """Whether some path of the forward gives leaf i a multiple of a term."""
    program = evidence.first.program
    paths = [contribution(evidence.first, node) for node in nodes(program)] if program else []
    return any(leaves is not None and proportional(term, leaves[i]) for leaves in paths if leaves and norm(leaves[i]))


def extra_terms(evidence: Evidence) -> Iterator[tuple[str, str, Callable[[Point, int], Any], float]]:
    yield (
        "the leaf's own value (weight decay)",
        REGULARISATION,
        lambda point, i: point.inputs[i],
        1.0,
    )
    yield (
        "the sign of the leaf (L1 regularisation)",
        REGULARISATION,
        lambda point, i: np.sign(point.inputs[i]),
        1.0,
    )
    yield "one", "remove the constant", lambda point, i: np.ones_like(point.inputs[i]), 1.2
    for k, dy in enumerate(evidence.first.dys):
        if dy.size > 1:
            yield (
                "the upstream cotangent dy" + (f" of output {k}" if len(evidence.first.dys) > 1 else ""),
                "add or remove the term of the skip path, dy itself",
                lambda point, i, k=k: same_shape(point.dys[k], point.inputs[i]),
                1.1,
            )


@reads_program
def extra_values(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """candidate = reference + c dy (a value of the forward, or 1), where dy is a scalar or of the leaf's shape."""
    if len(evidence.first.dys) != 1:
        return
    values: list[tuple[str, Callable[[Point], Any]]] = [("dy", lambda point: np.ones_like(point.dys[0]))]
    for number in candidates(program):
        name = f"dy times {describe_value(evidence, number)}"
        values.append((name, lambda point, number=number: point.recorded.values[number]))
    for what, value in values:

        def parts(point: Point, value: Callable[[Point], Any] = value) -> Any:
            return point.reference, [times_dy(point, value(point), leaf) for leaf in point.inputs]

        for match, c in explains_scaled(evidence, parts):
            factor = evidence.factor(c)
            text = f"your gradient of {match.label} is the right one plus {factor.text} times {what}"
            text = text.replace("plus -", "minus ")
            fix = "a term is missing, or is there that does not belong"
            yield match.claim("extra_term", text, fix, 2.6 + 0.1 * factor.rank)


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
