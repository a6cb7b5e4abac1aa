"""Hypotheses about one expression of the source that is several operations: jax.nn.softplus(x), jnp.var(x), a norm.

Between the one value that enters an expression and the one that leaves it, the local derivative may be left out, be
replaced by a value, be taken as diagonal, transposed, or applied twice, as with a single operation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program, Step, is_floating
from ..program.rules import Rule
from ..program.sweep import from_value, gradients, in_time, pull_from, rerun, sweep
from ..vocabulary import norm
from .evidence import Claim, Evidence, Leaves, Point, explains, explains_scaled, reads_program
from .functions import FUNCTIONS, row_rules
from .local import proportional
from .local_rules import complement
from .operands import ARITHMETIC, rearranged
from .values import describe_value, quiet

MOST = 160
MOST_PASSAGES = 24
MOST_BETWEEN = 16


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
            for place in places(step):
                grouped.setdefault((place, turn), []).append(k)
    found = [block_of(program, steps) for steps in grouped.values() if len(steps) > 1]
    return list(dict.fromkeys(block for block in found if block is not None)) + whole(program)


def places(step: Step) -> tuple[Any, Any]:
    """The expression that a step belongs to, and the source line, which may hold several."""
    return step.line, (step.line.file, step.line.number)


def whole(program: Program) -> list[Block]:
    """From an input to an output of its shape: the layer itself."""
    everything = tuple(range(len(program.steps)))
    return [
        Block(everything, enters, leaves)
        for enters in program.inputs
        for leaves in program.outputs
        if leaves in program.active
        and np.shape(program.values[enters]) == np.shape(program.values[leaves])
        and len(everything) > 1
        and np.size(program.values[enters]) > 1
    ]


def block_of(program: Program, steps: list[int]) -> Block | None:
    inside = {number for k in steps for number in program.steps[k].outputs}
    enter = {n for k in steps for n in program.steps[k].inputs if n in program.active and n not in inside}
    outside = [s for k, s in enumerate(program.steps) if k not in steps and set(s.outputs) & program.active]
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


def passages(program: Program) -> list[Block]:
    """From a value to a later one of its shape that depends on nothing else: several expressions that make one
    function, x * sigmoid(x) or a softmax written out."""
    active = [n for n in program.maker if n in program.active and 1 < np.size(program.values[n]) <= 4000]
    ancestors: dict[int, frozenset[int]] = {n: frozenset([n]) for n in program.inputs}
    for step in program.steps:
        above = frozenset().union(*(ancestors.get(n, frozenset()) for n in step.inputs if n in program.active))
        ancestors |= {output: above | {output} for output in step.outputs if output in program.active}
    found: list[Block] = []
    for leaves in active:
        for enters in sorted(ancestors[leaves] - {leaves}):
            in_time(program)
            same = np.shape(program.values[enters]) == np.shape(program.values[leaves])
            if same and np.size(program.values[enters]) > 1 and dominates(program, enters, leaves):
                steps = between(program, ancestors, enters, leaves)
                if 1 < len(steps) <= MOST_BETWEEN:
                    found.append(Block(steps, enters, leaves))
    return found[:MOST_PASSAGES]


def dominates(program: Program, enters: int, leaves: int) -> bool:
    """Whether everything active that reaches `leaves` comes through `enters`."""
    waiting, seen = [leaves], set()
    while waiting:
        number = waiting.pop()
        if number == enters or number in seen:
            continue
        seen.add(number)
        if number in program.inputs:
            return False
        waiting += [n for n in program.steps[program.maker[number]].inputs if n in program.active]
    return True


def between(program: Program, ancestors: dict[int, frozenset[int]], enters: int, leaves: int) -> tuple[int, ...]:
    inside = [n for n in ancestors[leaves] if n in program.maker and enters in ancestors[n] and n != enters]
    return tuple(sorted({program.maker[n] for n in inside}))


@reads_program
def expressions(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """One expression of the source, or the layer as a whole."""
    return mistaken(evidence, program, blocks(program), 0.0)


@reads_program
def compositions(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """Several expressions that make one function."""
    return mistaken(evidence, program, passages(program), 0.3)


def row_mistakes(evidence: Evidence, block: Block) -> Iterator[tuple[str, str, str, Callable[..., Any], float]]:
    """Rules that couple a row, where a block may be a softmax or its logarithm."""
    program = evidence.first.recorded
    x, y = program.values[block.enters], program.values[block.leaves]
    probabilities = [axis for axis in range(y.ndim) if np.allclose(np.sum(y, axis), 1)]
    logarithms = [axis for axis in range(y.ndim) if np.allclose(np.sum(np.exp(np.minimum(y, 1)), axis), 1)]
    if (not probabilities and not logarithms) or not np.all(np.isfinite(x)):
        return
    fix = "softmax: dx = p (dy - sum(p dy)); log_softmax: dx = dy - p sum(dy); p and the sums along the forward's axis"
    for k, (name, _) in enumerate(row_rules(x, y)):
        what = f"{name} stands where its own rule belongs"
        kind = "coupling" if "instead of" in name else "local_derivative"
        yield what, fix, kind, lambda pull, x, y, dy, k=k: rule_at(x, y, k, dy), 1.9
        what = f"{name} is applied on top of its own rule"
        yield what, fix, "local_derivative", lambda pull, x, y, dy, k=k: rule_at(x, y, k, pull(dy)), 2.0


def rule_at(x: Any, y: Any, k: int, dy: Any) -> Any:
    rules = row_rules(x, y)
    return rules[k][1](dy) if k < len(rules) else None


def mistaken(evidence: Evidence, program: Program, found: list[Block], later: float) -> Iterator[Claim]:
    program = evidence.first.recorded
    for block in found:
        for what, fix, kind, change, rank in itertools.chain(block_mistakes(), row_mistakes(evidence, block)):

            def parts(point: Point, block: Block = block, change: Any = change) -> tuple[Leaves, Leaves] | None:
                return block_parts(point, block, change)

            for match, c in explains_scaled(evidence, parts):
                factor = evidence.factor(c)
                if abs(c) < 1e-9 or factor.rank >= 2:
                    continue
                times = "" if abs(c - 1) < 1e-6 else f", times {factor.text}"
                where = describe_value(evidence, block.leaves)
                if later:
                    where += f" as a function of {describe_value(evidence, block.enters)}"
                text = f"in your gradient of {match.label}, {where}: {what}{times}"
                total = rank + later + (0.5 + factor.rank if times else 0.0)
                yield match.claim(kind, text, fix, total, total + 0.6, program.steps[block.steps[-1]].line)


def block_parts(point: Point, block: Block, change: Callable[..., Any]) -> tuple[Leaves, Leaves] | None:
    program = point.recorded
    dy = point.cotangents.get(block.leaves)
    if dy is None:
        return None
    right = through(program, block, dy)
    x, y = program.values[block.enters], program.values[block.leaves]

    def pull_at(e: Any, place: Any = None) -> Any:
        there = program if place is None else rerun(program, point.inputs, {block.enters: place})
        return through(there, block, e)

    other = quiet(lambda d: change(pull_at, x, y, d), dy)
    if other is None or np.shape(other) != np.shape(right) or not np.all(np.isfinite(other)):
        return None
    if proportional(other, right):
        return None
    base = [t - c for t, c in zip(point.reference, from_value(program, block.enters, right), strict=True)]
    return base, from_value(program, block.enters, other)


Pull = Callable[..., Any]  # (cotangent, at another input) -> cotangent


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
    fix, kind = "multiply by the derivative of the whole expression", "local_derivative"
    slopes: list[tuple[str, Callable[[Any, Any, Any], Any], float]] = [
        ("its derivative is left out (taken as 1)", lambda d, x, y: 1.0, 1.65),
        ("its output is used where its derivative belongs", lambda d, x, y: y, 1.75),
        ("its input is used where its derivative belongs", lambda d, x, y: x, 1.85),
        ("1 minus its output stands where its derivative belongs", lambda d, x, y: 1 - y, 1.85),
        ("y (1 - y) with its output y stands where its derivative belongs", lambda d, x, y: y * (1 - y), 1.8),
        ("1 - y^2 with its output y stands where its derivative belongs", lambda d, x, y: 1 - y * y, 1.8),
        ("its derivative is squared", lambda d, x, y: d * d, 1.75),
        ("its derivative is inverted: 1 - f' where f' belongs", lambda d, x, y: complement(d), 1.75),
        ("its derivative is multiplied by its output", lambda d, x, y: d * y, 2.05),
        ("its derivative is multiplied by its input", lambda d, x, y: d * x, 2.05),
        ("the absolute value of its derivative is used", lambda d, x, y: np.abs(d), 2.0),
        ("its derivative stands in the denominator: 1 / f' where f' belongs", lambda d, x, y: 1 / d, 2.0),
    ]
    slopes += [
        (f"the derivative of {name} stands where its own belongs", lambda d, x, y, f=f: f(x), 2.05)
        for name, f in FUNCTIONS
    ]
    for what, slope, rank in slopes:
        yield what, fix, kind, with_slope(slope), rank
    yield "its derivative is applied twice", fix, kind, lambda pull, x, y, dy: pull(pull(dy)), 1.7
    what = "its derivative is evaluated at its output instead of its input"
    yield what, fix, kind, lambda pull, x, y, dy: pull(dy, y), 1.75
    what = "its derivative is evaluated at the upstream cotangent instead of its input"
    yield what, fix, kind, lambda pull, x, y, dy: pull(dy, dy), 1.85
    what = "its Jacobian is taken as diagonal: the terms that couple the elements are missing"
    fix = "add the terms that couple the elements; for softmax dx = y (dy - sum(dy y))"
    yield what, fix, "diagonal", as_diagonal, 1.5
    yield "its Jacobian is not transposed", "multiply by the transposed Jacobian", "wrong_operand", as_transposed, 1.8


@reads_program
def constant_cotangents(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """A constant (times dy, where dy is a scalar) stands where the sum of what comes back belongs."""
    for number, dy in list(evidence.first.cotangents.items()):
        if number in program.inputs or number in program.outputs or np.size(dy) < 2:
            continue

        def parts(point: Point, number: int = number) -> tuple[Leaves, Leaves] | None:
            own = point.cotangents.get(number)
            if own is None:
                return None
            scalar = point.dys[0] if len(point.dys) == 1 and not np.ndim(point.dys[0]) else 1.0
            base = [t - c for t, c in zip(point.reference, from_value(point.recorded, number, own), strict=True)]
            return base, from_value(point.recorded, number, np.ones_like(own) * scalar)

        for match, c in explains_scaled(evidence, parts):
            if abs(c) > 1e-9 and evidence.factor(c).rank < 2:
                text = f"in your gradient of {match.label}, the cotangent of {describe_value(evidence, number)} is the "
                text += f"constant {evidence.factor(c).text} (times dy): what "
                text += "comes back from its uses is not summed up"
                fix = "sum the contributions of everything that uses the value (its count, where each is 1)"
                yield match.claim("wrong_cotangent", text, fix, 2.1, 2.3)


# The same expression at several places: every call of one function.


@reads_program
def repeated_expressions(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """A mistake in a function is made at each of its calls: all are changed together."""
    for line, found in calls(program).items():
        for what, fix, kind, change, rank in block_mistakes():

            def predict(point: Point, found: list[Block] = found, change: Any = change) -> Leaves | None:
                return quiet(lambda c: regradient_calls(point, found, c), change)

            if match := explains(evidence, predict):
                text = f"in your gradient of {match.label}, at each of its {len(found)} calls, {line}: "
                yield match.claim(kind, text + what, fix, rank - 0.05, rank, line)


def calls(program: Program) -> dict[Any, list[Block]]:
    """Blocks by source line, for lines that are passed more than once."""
    by_line: dict[Any, dict[Any, list[int]]] = {}
    last: tuple[Any, Any] = (None, None)
    visit: dict[Any, int] = {}
    for k, step in enumerate(program.steps):
        for place, before in zip(places(step), last, strict=True):
            if place != before:
                visit[place] = visit.get(place, -1) + 1
            if step.line.text and set(step.outputs) & program.active:
                by_line.setdefault(place, {}).setdefault(visit[place], []).append(k)
        last = places(step)
    found = {}
    for visits in by_line.values():
        blocks_here = [block_of(program, steps) for steps in visits.values()] if len(visits) > 1 else []
        whole_ones = tuple(block for block in blocks_here if block is not None)
        if len(whole_ones) > 1:
            found[whole_ones] = program.steps[whole_ones[0].steps[-1]].line
    return {line: list(found_blocks) for found_blocks, line in found.items()}


def regradient_calls(point: Point, found: list[Block], change: Any) -> Leaves | None:
    """The gradient with the rule of several blocks changed: each becomes one step with a rule of its own."""
    program = point.recorded
    steps = list(program.steps)
    for block in found:

        def pull_block(params: Any, k: int, operands: Any, out: Any, dy: Any, block: Block = block) -> Any:
            place = program.values[block.enters], program.values[block.leaves]
            result = change(lambda e, at=None: through(program, block, e), *place, dy)
            return np.full_like(dy, np.nan) if result is None else result

        for k in block.steps:
            steps[k] = steps[k]._replace(inputs=(), outputs=())
        last = block.steps[-1]
        rule = Rule(lambda params, v: v, pull_block)
        steps[last] = steps[last]._replace(op="block", inputs=(block.enters,), outputs=(block.leaves,), rule=rule)
    fused = program._replace(steps=tuple(steps))
    return gradients(fused, sweep(fused, point.dys))


# The way back of one value, rearranged.


@reads_program
def rewired(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """A cotangent flipped, shifted or transposed on its way back, at one value."""
    for number, dy in list(evidence.first.cotangents.items()):
        if np.size(dy) < 3 or number in program.inputs or not is_floating(program.values[number]):
            continue
        for what, change in rearranged(np.asarray(dy)):
            if what in ARITHMETIC:
                continue

            def parts(point: Point, number: int = number, change: Any = change) -> tuple[Leaves, Leaves] | None:
                if number not in point.cotangents:
                    return None
                own = from_value(point.recorded, number, point.cotangents[number])
                base = [t - c for t, c in zip(point.reference, own, strict=True)]
                return base, from_value(point.recorded, number, change(point.cotangents[number]))

            for match, c in explains_scaled(evidence, parts):
                if abs(c - 1) < 1e-6:
                    where = describe_value(evidence, number)
                    text = f"in your gradient of {match.label}, the cotangent of {where} is {what}"
                    fix = "undo the arrangement of the forward exactly: the same axes, in the reverse order"
                    kind = "transposed" if "transposed" in what else "shifted"
                    kind = "flipped" if "flipped" in what else kind
                    yield match.claim(kind, text, fix, 1.9, 2.3)
