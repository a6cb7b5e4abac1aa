"""Hypotheses about one expression of the source that is several operations: jax.nn.softplus(x), jnp.var(x), a norm.

Between the one value that enters an expression and the one that leaves it, the local derivative may be left out, be
replaced by a value, be taken as diagonal, transposed, or applied twice, as with a single operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program, is_floating
from ..program.sweep import from_value, pull_from
from .evidence import Diagnosis, Evidence, Leaves, Point, explains_scaled, norm
from .leafwise import names
from .naming import Factor, decode
from .values import describe_value, quiet

MOST = 160


class Block(NamedTuple):
    """The steps of an expression, the value that enters and the value that leaves."""

    steps: tuple[int, ...]
    enters: int
    leaves: int


def blocks(program: Program) -> list[Block]:
    """Expressions of several steps with one active value in and one out, of equal shapes."""
    grouped: dict[Any, list[int]] = {}
    for k, step in enumerate(program.steps):
        if step.line.text and set(step.outputs) & program.active:
            turn = step.turn if step.turn and not isinstance(step.template[0], tuple) else ()
            grouped.setdefault((step.line, turn), []).append(k)
    found = []
    for steps in grouped.values():
        block = block_of(program, steps)
        if len(steps) > 1 and block is not None:
            found.append(block)
    return found


def block_of(program: Program, steps: list[int]) -> Block | None:
    inside = {number for k in steps for number in program.steps[k].outputs}
    enter = {n for k in steps for n in program.steps[k].inputs if n in program.active and n not in inside}
    outside = [s for k, s in enumerate(program.steps) if k not in steps]
    leave = {n for n in inside if n in program.outputs or any(n in s.inputs for s in outside)} & program.active
    if len(enter) != 1 or len(leave) != 1:
        return None
    block = Block(tuple(steps), enter.pop(), leave.pop())
    shapes = np.shape(program.values[block.enters]), np.shape(program.values[block.leaves])
    return block if shapes[0] == shapes[1] and np.prod(shapes[0]) > 1 else None


def through(program: Program, block: Block, dy: Any) -> Any:
    """The block's own pull: from the cotangent of what leaves to that of what enters."""
    chosen = set(block.steps)
    steps = [s if k in chosen else s._replace(inputs=(), outputs=()) for k, s in enumerate(program.steps)]
    alone = program._replace(steps=tuple(steps))
    found = pull_from(alone, {block.leaves: dy}, max(block.steps) + 1, None)
    return found.get(block.enters, np.zeros_like(dy))


def expressions(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    program = evidence.first.program
    if program is None:
        return
    for block in blocks(program):
        for what, fix, kind, change, rank in block_mistakes():

            def parts(point: Point, block: Block = block, change: Any = change) -> tuple[Leaves, Leaves] | None:
                return block_parts(point, block, change)

            for match, c in explains_scaled(evidence, parts):
                factor = decode(c, known)
                times = "" if abs(c - 1) < 1e-6 else f", times {factor.text}"
                where = describe_value(evidence, block.leaves)
                text = f"in your gradient of {evidence.label(match.leaves)}, {where}: {what}{times}"
                penalty = (0.0 if match.whole else 0.6) + (0.0 if not times else 0.5 + factor.rank)
                line = str(program.steps[block.steps[-1]].line)
                leaves = names(evidence, match)
                yield Diagnosis(kind, text, fix, match.residual, leaves, line, rank + penalty)


def block_parts(point: Point, block: Block, change: Callable[..., Any]) -> tuple[Leaves, Leaves] | None:
    program = point.program
    assert program is not None
    dy = point.cotangents.get(block.leaves)
    if dy is None:
        return None
    right = through(program, block, dy)
    x, y = program.values[block.enters], program.values[block.leaves]
    other = quiet(lambda d: change(lambda e: through(program, block, e), x, y, d), dy)
    if other is None or np.shape(other) != np.shape(right) or not np.all(np.isfinite(other)):
        return None
    base = [t - c for t, c in zip(point.truth, from_value(program, block.enters, right), strict=True)]
    return base, from_value(program, block.enters, other)


Pull = Callable[[Any], Any]


def jacobian(pull: Pull, like: Any) -> Any:
    """The block's Jacobian, a row an output; None where it is too large."""
    size = np.size(like)
    if size > MOST:
        return None
    rows = [pull(row.reshape(np.shape(like))) for row in np.eye(size)]
    return np.stack([np.ravel(row) for row in rows])


def diagonal_of(pull: Pull, like: Any) -> Any:
    found = jacobian(pull, like)
    return None if found is None else np.diag(found).reshape(np.shape(like))


def with_slope(slope: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """dx = dy slope(f', x, y), for an elementwise block."""

    def change(pull: Pull, x: Any, y: Any, dy: Any) -> Any:
        return dy * slope(pull(np.ones_like(dy)), x, y)

    return change


def as_diagonal(pull: Pull, x: Any, y: Any, dy: Any) -> Any:
    own = diagonal_of(pull, dy)
    return None if own is None or norm(own * dy - pull(dy)) <= 1e-12 * norm(pull(dy)) else own * dy


def as_transposed(pull: Pull, x: Any, y: Any, dy: Any) -> Any:
    full = jacobian(pull, dy)
    if full is None or norm(full - full.T) <= 1e-12 * norm(full):
        return None
    return (full @ np.ravel(dy)).reshape(np.shape(dy))


def block_mistakes() -> Iterator[tuple[str, str, str, Callable[..., Any], float]]:
    fix = "multiply by the derivative of the whole expression"
    kind = "local_derivative"
    yield "its derivative is left out (taken as 1)", fix, kind, with_slope(lambda d, x, y: 1.0), 1.45
    yield "its output is used where its derivative belongs", fix, kind, with_slope(lambda d, x, y: y), 1.55
    yield "its input is used where its derivative belongs", fix, kind, with_slope(lambda d, x, y: x), 1.75
    yield "1 minus its output stands where its derivative belongs", fix, kind, with_slope(lambda d, x, y: 1 - y), 1.75
    yield (
        "y (1 - y) with its output y stands where its derivative belongs",
        fix,
        kind,
        with_slope(lambda d, x, y: y * (1 - y)),
        1.7,
    )
    yield (
        "1 - y^2 with its output y stands where its derivative belongs",
        fix,
        kind,
        with_slope(lambda d, x, y: 1 - y * y),
        1.7,
    )
    yield "its derivative is applied twice", fix, kind, lambda pull, x, y, dy: pull(pull(dy)), 1.5
    yield "its derivative is inverted: 1 - f' where f' belongs", fix, kind, with_slope(lambda d, x, y: 1 - d), 1.65
    yield "its derivative is multiplied by its output", fix, kind, with_slope(lambda d, x, y: d * y), 1.95
    yield "its derivative is multiplied by its input", fix, kind, with_slope(lambda d, x, y: d * x), 1.95
    yield "the absolute value of its derivative is used", fix, kind, with_slope(lambda d, x, y: np.abs(d)), 1.9
    fix = "add the terms that couple the elements; for softmax dx = y (dy - sum(dy y))"
    yield (
        "its Jacobian is taken as diagonal: the terms that couple the elements are missing",
        fix,
        "diagonal",
        as_diagonal,
        1.3,
    )
    fix = "multiply by the transposed Jacobian"
    yield "its Jacobian is not transposed", fix, "wrong_operand", as_transposed, 1.6


# The way back of one value, rearranged.


def turned(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """A cotangent flipped, shifted or transposed on its way back, at one value."""
    from .local import rearranged

    program = evidence.first.program
    if program is None:
        return
    for number, dy in list(evidence.first.cotangents.items()):
        if np.size(dy) < 3 or number in program.inputs or not is_floating(program.values[number]):
            continue
        for what, change in rearranged(np.asarray(dy)):
            if what in ("squared", "taken as 1", "without its sign"):
                continue

            def parts(point: Point, number: int = number, change: Any = change) -> tuple[Leaves, Leaves] | None:
                assert point.program is not None
                if number not in point.cotangents:
                    return None
                own = from_value(point.program, number, point.cotangents[number])
                base = [t - c for t, c in zip(point.truth, own, strict=True)]
                return base, from_value(point.program, number, change(point.cotangents[number]))

            for match, c in explains_scaled(evidence, parts):
                if abs(c - 1) < 1e-6:
                    where = describe_value(evidence, number)
                    text = f"in your gradient of {evidence.label(match.leaves)}, the cotangent of {where} is {what}"
                    fix = "undo the arrangement of the forward exactly: the same axes, in the reverse order"
                    rank = 1.9 if match.whole else 2.3
                    kind = "transposed" if "exchanged" in what or "transposed" in what else "shifted"
                    kind = "flipped" if "flipped" in what else kind
                    yield Diagnosis(kind, text, fix, match.residual, names(evidence, match), "", rank)
