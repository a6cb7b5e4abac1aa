"""Hypotheses about one operation: its derivative is another one, or it read another value than the one saved.

In a loop all turns of an operation are changed together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Program, Step, place_of
from ..program.rules import UNARY, Unary, fit, spread
from ..program.sweep import Change, from_value, out_cotangent, pull
from .evidence import Diagnosis, Evidence, Leaves, Match, Point, explains, explains_scaled, norm, retold
from .leafwise import names
from .naming import Factor, decode
from .values import candidates, describe_value, quiet, word

SELECTING = ("select_n", "max", "min", "clamp")
MOST_ALONE = 120
OUTPUT = -1


class Unit(NamedTuple):
    """An operation of the source: one step, or the steps of all turns of a loop together."""

    steps: Sequence[int]


def units(program: Program) -> list[Unit]:
    grouped: dict[tuple, list[int]] = {}
    for k, step in enumerate(program.steps):
        if any(output in program.active for output in step.outputs):
            grouped.setdefault((step.template, step.op), []).append(k)
    groups = [Unit(tuple(steps)) for steps in grouped.values()]
    alone = [Unit((k,)) for unit in groups if len(unit.steps) > 1 for k in unit.steps if by_hand(program.steps[k])]
    return groups + alone if len(program.steps) <= MOST_ALONE else groups


def active_operands(program: Program, unit: Unit) -> list[int]:
    """Operands that carry a gradient in some turn (the first state of a loop is a constant)."""
    first = program.steps[unit.steps[0]]
    return [
        j for j in range(len(first.inputs)) if any(program.steps[k].inputs[j] in program.active for k in unit.steps)
    ]


def by_hand(step: Step) -> bool:
    """Whether a step's loop is Python's, or no loop at all but the same line met twice: turns may differ there."""
    return isinstance(step.template[0], tuple)


# Wrong local derivatives.


def derivatives(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    program = evidence.first.program
    if program is None:
        return
    for unit in units(program):
        step = program.steps[unit.steps[0]]
        for operand in active_operands(program, unit):
            for what, fix, rule, rank in local_rules(step, operand):
                for match, c in explains_local(evidence, unit, operand, rule):
                    if abs(c) > 1e-9 and decode(c, known).rank < 2:
                        yield local_diagnosis(evidence, known, step, what, fix, match, c, rank)


Local = Callable[[Program, Step, Any], Any]  # (program, step, dy) -> the operand's cotangent


def explains_local(evidence: Evidence, unit: Unit, operand: int, rule: Local) -> list[tuple[Match, float]]:
    """Your gradient with this local rule, and for a single step with any constant before it."""
    if len(unit.steps) > 1:

        def predict(point: Point) -> Leaves | None:
            return retold(point, {(k, operand): bind(point.recorded, k, rule) for k in unit.steps})

        match = explains(evidence, predict)
        return [(match, 1.0)] if match else []
    k = unit.steps[0]

    def parts(point: Point) -> tuple[Leaves, Leaves] | None:
        program = point.recorded
        step = program.steps[k]
        if step.outputs[0] not in point.cotangents:
            return None
        dy = out_cotangent(program, step, point.cotangents)
        right, other = pull(program, step, operand, dy), quiet(lambda d: rule(program, step, d), dy)
        if other is None or right is None or np.shape(other) != np.shape(right) or not np.all(np.isfinite(other)):
            return None
        if proportional(other, right):  # a matter of a factor, which path attribution names
            return None
        number = step.inputs[operand]
        through = from_value(program, number, right)
        base = [t - c for t, c in zip(point.truth, through, strict=True)]
        return base, from_value(program, number, other)

    return explains_scaled(evidence, parts)


def proportional(a: Any, b: Any) -> bool:
    size = float(np.sum(a * a))
    if np.size(a) == 1 and size:
        return False
    return not size or norm(b - a * (float(np.sum(a * b)) / size)) <= 1e-9 * norm(b)


def bind(program: Program, k: int, rule: Local) -> Change:
    return lambda dy: quiet(lambda d: rule(program, program.steps[k], d), dy)


def local_diagnosis(
    evidence: Evidence,
    known: list[Factor],
    step: Step,
    what: str,
    fix: str,
    match: Match,
    c: float,
    rank: float,
) -> Diagnosis:
    factor = decode(c, known)
    times = "" if abs(c - 1) < 1e-6 else f", times {factor.text}"
    at = f" at {step.line}" if step.line.text else ""
    text = f"in your gradient of {evidence.label(match.leaves)}, {word(step.op)}{at}: {what}{times}"
    penalty = (0.0 if match.whole else 0.6) + (0.0 if not times else 0.5 + factor.rank)
    kind = "local_derivative"
    return Diagnosis(kind, text, fix, match.residual, names(evidence, match), str(step.line), rank + penalty)


def local_rules(step: Step, operand: int) -> Iterator[tuple[str, str, Local, float]]:
    if step.op in UNARY and step.op not in ("neg", "stop_gradient"):
        yield from unary_mistakes(step.op, UNARY[step.op])
    elif step.op == "integer_pow":
        yield from unary_mistakes("power", power_function(step.params["y"]))
    if step.op in SELECTING:
        yield from gate_mistakes(operand)
    if step.op in ("reduce_max", "reduce_min"):
        yield from winner_mistakes()
    if step.op in ("pad", "slice", "cumsum", "rev", "transpose", "concatenate"):
        yield from layout_mistakes(step, operand)
    if step.op in ("mul", "div", "pow", "dot_general", "conv_general_dilated"):
        yield from product_mistakes(step, operand)


def power_function(n: int) -> Unary:
    return Unary(lambda x: np.power(x, float(n)), lambda x, y: n * np.power(x, n - 1.0))


def slope_rule(slope: Callable[[Any, Any, Any], Any]) -> Local:
    """A local derivative slope(x, y, dy) in place of the operation's own."""

    def rule(program: Program, step: Step, dy: Any) -> Any:
        x = program.values[step.inputs[0]]
        return dy * slope(x, program.values[step.outputs[0]], dy)

    return rule


def bare(slope: Callable[[Any, Any], Any]) -> Local:
    """dx = slope, without dy: what comes back does not depend on how much is asked."""

    def rule(program: Program, step: Step, dy: Any) -> Any:
        found = slope(program.values[step.inputs[0]], dy)
        return found if np.shape(found) == np.shape(dy) else None

    return rule


def complement(slope: Any) -> Any:
    """1 - slope of a gate or a sigmoid; NaN, which explains nothing, where the slope is no such thing."""
    return 1 - slope if np.all((slope >= 0) & (slope <= 1)) else np.full_like(slope, np.nan)


def unary_mistakes(name: str, function: Unary) -> Iterator[tuple[str, str, Local, float]]:
    f, slope = function.value, function.slope

    def derivative(x: Any) -> Any:
        return slope(x, f(x))

    right = "multiply by the derivative at the operation's own input"
    for what, candidate, rank in (
        ("its derivative is left out (taken as 1)", lambda x, y, dy: np.ones_like(x), 1.3),
        ("its output is used where its derivative belongs (the value, not the derivative)", lambda x, y, dy: y, 1.4),
        ("its derivative is evaluated at its output instead of its input", lambda x, y, dy: derivative(y), 1.4),
        (
            "its derivative is evaluated at the upstream cotangent instead of its input",
            lambda x, y, dy: derivative(dy),
            1.4,
        ),
        ("its derivative is applied twice (squared)", lambda x, y, dy: slope(x, y) ** 2, 1.4),
        ("its derivative is inverted: 1 - f' where f' belongs", lambda x, y, dy: complement(slope(x, y)), 1.5),
        ("its derivative stands in the denominator: 1 / f' where f' belongs", lambda x, y, dy: 1 / slope(x, y), 1.5),
        ("its input is used where its derivative belongs", lambda x, y, dy: x, 1.6),
        ("the second derivative's factor: f' times the output", lambda x, y, dy: slope(x, y) * y, 1.9),
        ("its derivative is multiplied by its input once more", lambda x, y, dy: slope(x, y) * x, 1.9),
        ("its derivative is divided by its input: one power too few", lambda x, y, dy: slope(x, y) / x, 1.9),
        ("its derivative is divided by its output: one power too few", lambda x, y, dy: slope(x, y) / y, 1.9),
        ("its derivative has two powers of its output too few", lambda x, y, dy: slope(x, y) / y**2, 2.0),
        ("its derivative has two powers of its output too many", lambda x, y, dy: slope(x, y) * y**2, 2.0),
        ("the absolute value of its derivative is used", lambda x, y, dy: np.abs(slope(x, y)), 1.9),
        ("1 minus its output stands where its derivative belongs", lambda x, y, dy: 1 - y, 1.6),
        ("its output times 1 plus its output stands where its derivative belongs", lambda x, y, dy: y * (1 + y), 1.7),
        ("1 plus its output squared stands where its derivative belongs", lambda x, y, dy: 1 + y * y, 1.7),
        ("the square of its output stands where its derivative belongs", lambda x, y, dy: y * y, 1.7),
        ("the derivative is gated on the cotangent instead of the input", lambda x, y, dy: (dy > 0).astype(float), 1.7),
    ):
        yield what, right, slope_rule(candidate), rank
    lost = "and the upstream cotangent dy itself is not multiplied in"
    fix = "dz = dy * f'(z), with z the pre-activation"
    what = f"its derivative is evaluated at the upstream cotangent instead of its input, {lost}"
    yield what, fix, bare(lambda x, dy: derivative(dy)), 1.5
    yield f"its derivative is right, {lost}", fix, bare(lambda x, dy: derivative(x)), 1.5
    if function.from_output is not None:
        rule = function.from_output
        what = "the formula for its output is applied to its input"
        fix = "put the output into this formula, or use the formula for the input"
        yield what, fix, slope_rule(lambda x, y, dy: rule(x)), 1.4
    for other, stranger in UNARY.items():
        if other != name and other not in ("neg", "stop_gradient", "sign", "floor", "ceil", "round"):
            what = f"the derivative of {other} is used where that of {name} belongs"
            yield what, right, slope_rule(lambda x, y, dy, g=stranger: g.slope(x, g.value(x))), 1.9
            if (from_output := stranger.from_output) is not None:
                what = f"the derivative of {other} (written with the output) is used where that of {name} belongs"
                yield what, right, slope_rule(lambda x, y, dy, g=from_output: g(y)), 1.9


def gate_mistakes(operand: int) -> Iterator[tuple[str, str, Local, float]]:
    def open_gate(program: Program, step: Step, dy: Any) -> Any:
        x = program.values[step.inputs[operand]]
        return dy if np.shape(dy) == np.shape(x) else None

    def inverted(program: Program, step: Step, dy: Any) -> Any:
        x = program.values[step.inputs[operand]]
        return dy - pull(program, step, operand, dy) if np.shape(dy) == np.shape(x) else None

    def on_cotangent(program: Program, step: Step, dy: Any) -> Any:
        x = program.values[step.inputs[operand]]
        return np.where(dy > 0, dy, 0.0) if np.shape(dy) == np.shape(x) else None

    def value(program: Program, step: Step, dy: Any) -> Any:
        y = program.values[step.outputs[0]]
        return dy * y if np.shape(y) == np.shape(program.values[step.inputs[operand]]) else None

    fix = "let dy through only where the forward took this branch"
    yield "its value is used where its derivative (the gate) belongs", fix, value, 1.5
    yield "the gate is missing: dy passes where the forward took another branch", fix, open_gate, 1.4
    yield "the gate is inverted: dy passes where it must not, and the other way round", fix, inverted, 1.4
    yield "the gate looks at the sign of dy instead of the forward's input", fix, on_cotangent, 1.5


def winner_mistakes() -> Iterator[tuple[str, str, Local, float]]:
    def everywhere(program: Program, step: Step, dy: Any) -> Any:
        return spread(dy, step.params["axes"], program.values[step.inputs[0]].shape)

    def shared(program: Program, step: Step, dy: Any) -> Any:
        whole = everywhere(program, step, dy)
        return whole * (np.size(dy) / np.size(whole))

    def loser(program: Program, step: Step, dy: Any) -> Any:
        x, axes = program.values[step.inputs[0]], step.params["axes"]
        other = np.min(x, axes) if step.op == "reduce_max" else np.max(x, axes)
        return np.where(x == spread(other, axes, x.shape), everywhere(program, step, dy), 0.0)

    def over_more(more: int) -> Local:
        def rule(program: Program, step: Step, dy: Any) -> Any:
            x, axes = program.values[step.inputs[0]], step.params["axes"]
            if more >= x.ndim or more in axes:
                return None
            wider = (*axes, more)
            best = np.max(x, wider) if step.op == "reduce_max" else np.min(x, wider)
            return np.where(x == spread(best, wider, x.shape), everywhere(program, step, dy), 0.0)

        return rule

    fix = "compare with the maximum over the forward's axes"
    for more in range(4):
        yield (
            f"the winner is looked for over axis {more} too: one winner where there are several",
            fix,
            over_more(more),
            1.6,
        )
    fix = "only the winner, where x equals the maximum, gets the cotangent"
    yield "all elements get the cotangent, not the winner alone", fix, everywhere, 1.5
    yield "the cotangent is divided among all elements, as for a mean, instead of given to the winner", fix, shared, 1.5
    yield "the loser gets the cotangent instead of the winner (minimum for maximum)", fix, loser, 1.5


def layout_mistakes(step: Step, operand: int) -> Iterator[tuple[str, str, Local, float]]:
    """The rule of an operation that moves elements, with one of its parameters changed."""
    fix = "undo exactly what the forward does: the same amounts, sides, axes and direction"
    for what, params in other_parameters(step, operand):

        def rule(program: Program, step: Step, dy: Any, params: dict = params) -> Any:
            values = [program.values[number] for number in step.inputs]
            k = params.get("operand", operand)
            try:
                found = step.rule.pull(params["params"], k, values, program.values[step.outputs[0]], dy)
            except ValueError:  # amounts that reach beyond the array
                return None
            return found if np.shape(found) == np.shape(values[operand]) else None

        yield what, fix, rule, 1.6


def other_parameters(step: Step, operand: int) -> Iterator[tuple[str, dict]]:
    params = step.params
    if step.op == "pad" and operand == 0:
        config = params["padding_config"]
        swapped = tuple((high, low, inside) for low, high, inside in config)
        yield (
            "the padding is cut off on the wrong side (low and high exchanged)",
            changed_params(step, padding_config=swapped),
        )
        for axis in range(len(config)):
            for by in (-1, 1):
                moved = tuple((lo + by * (a == axis), hi - by * (a == axis), i) for a, (lo, hi, i) in enumerate(config))
                yield f"the padding is off by {by} along axis {axis}", changed_params(step, padding_config=moved)
    if step.op == "slice":
        for axis in range(len(params["start_indices"])):
            for by in (-1, 1):
                start, limit = list(params["start_indices"]), list(params["limit_indices"])
                start[axis], limit[axis] = start[axis] + by, limit[axis] + by
                if start[axis] >= 0:
                    what = f"the slice is off by {by} along axis {axis}"
                    yield what, changed_params(step, start_indices=tuple(start), limit_indices=tuple(limit))
    if step.op == "cumsum":
        what = "the cumulative sum runs in the forward's direction: its gradient runs the other way"
        yield what, changed_params(step, reverse=not params["reverse"])
    if step.op == "rev":
        yield "the order is not reversed", changed_params(step, dimensions=())
    if step.op == "transpose":
        yield (
            "the axes are not put back (the forward's order is used again)",
            changed_params(step, permutation=tuple(np.argsort(params["permutation"]))),
        )
    if step.op == "concatenate":
        for other in range(len(step.inputs)):
            if other != operand:
                yield f"gets the part of input {other + 1} of the concatenation", {"params": params, "operand": other}


def changed_params(step: Step, **changes: Any) -> dict:
    return {"params": {**step.params, **changes}}


def product_mistakes(step: Step, operand: int) -> Iterator[tuple[str, str, Local, float]]:
    if step.op in ("mul", "div", "dot_general"):

        def plain(program: Program, step: Step, dy: Any) -> Any:
            shape = np.shape(program.values[step.inputs[operand]])
            if step.op != "dot_general" and len(shape) in (0, np.ndim(dy)):
                return fit(dy, shape)
            return dy if np.shape(dy) == shape else None

        what = f"in the gradient of operand {operand + 1} the other operand is missing as a factor"
        yield what, "multiply by the other operand (product rule)", plain, 1.5
    if step.op in ("mul", "div"):

        def own(program: Program, step: Step, dy: Any) -> Any:
            x = program.values[step.inputs[operand]]
            return dy * x if np.shape(dy) == np.shape(x) else None

        what = f"the gradient of operand {operand + 1} is multiplied by itself instead of the other operand"
        yield what, "multiply by the other operand (product rule)", own, 1.6
    if step.op == "div" and operand == 1:

        def unsquared(program: Program, step: Step, dy: Any) -> Any:
            return pull(program, step, 1, dy * program.values[step.inputs[1]])

        def cubed(program: Program, step: Step, dy: Any) -> Any:
            return pull(program, step, 1, dy / program.values[step.inputs[1]])

        fix = "the derivative of a / b by b is -a / b^2"
        yield "the denominator is not squared in its own gradient", fix, unsquared, 1.5
        yield "the denominator stands once too often in its own gradient", fix, cubed, 1.7


# Another value where the saved one belongs.


def operands(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """The pull of one operand reads another one: it may have been transposed, stale, or of another step."""
    program = evidence.first.program
    if program is None:
        return
    numbers = candidates(program)
    for unit in units(program):
        step = program.steps[unit.steps[-1]]
        for operand in active_operands(program, unit) if step.op not in SELECTING else ():
            for saved in saved_operands(step, operand):
                for what, fix, source, rank in replacements(evidence, unit, saved, numbers):
                    rule = reading(operand, saved, source)
                    for match, c in explains_local(evidence, unit, operand, rule):
                        if abs(c - 1) < 1e-6:
                            yield operand_diagnosis(evidence, step, saved, what, fix, match, rank)


def saved_operands(step: Step, operand: int) -> list[int]:
    """Which operands the gradient of `operand` reads; OUTPUT stands for the operation's own output."""
    if step.op in ("mul", "dot_general", "conv_general_dilated"):
        return [1 - operand] if len(step.inputs) == 2 else []
    if step.op == "div":
        return [1] if operand == 0 else [0, 1, OUTPUT]
    if step.op not in UNARY or step.op in ("neg", "stop_gradient", "abs", "sign"):
        return []
    return [0, OUTPUT] if UNARY[step.op].from_output is not None else [0]


Source = Callable[[Program, Step], Any]


def saved_number(step: Step, saved: int) -> int:
    return step.outputs[0] if saved == OUTPUT else step.inputs[saved]


def reading(operand: int, saved: int, source: Source) -> Local:
    def rule(program: Program, step: Step, dy: Any) -> Any:
        values = [program.values[number] for number in step.inputs]
        other = source(program, step)
        if other is None or np.shape(other) != np.shape(program.values[saved_number(step, saved)]):
            return None
        if step.op in UNARY:
            function = UNARY[step.op]
            if saved == OUTPUT and function.from_output is not None:
                return dy * function.from_output(other)
            return dy * function.slope(other, function.value(other))
        if saved == OUTPUT:
            return step.rule.pull(step.params, operand, values, other, dy)
        values[saved] = other
        y = values[0] / values[1] if step.op == "div" else program.values[step.outputs[0]]
        return step.rule.pull(step.params, operand, values, y, dy)

    return rule


def replacements(
    evidence: Evidence, unit: Unit, saved: int, numbers: list[int]
) -> Iterator[tuple[str, str, Source, float]]:
    """What may stand where a saved operand belongs. Of a loop the last turn is looked at: in the first, where the
    state is zero, different values are equal."""
    program = evidence.first.program
    assert program is not None
    step = program.steps[unit.steps[-1]]
    number = saved_number(step, saved)
    value = program.values[number]
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.size < 2:
        return
    for name, change in rearranged(value):
        arithmetic = name in ARITHMETIC
        fix = "read the value as the forward has it" if arithmetic else "compare the operand's axes with the forward's"
        yield f"{{}} {name}", fix, changed(saved, change), 1.95 if arithmetic else 1.5
    same_template = set(unit.steps)
    for other in numbers:
        if other == number or np.shape(program.values[other]) != value.shape:
            continue
        if saved == OUTPUT and program.maker.get(other, -1) in same_template and len(unit.steps) > 1:
            continue
        source = relative(program, step, other) if len(unit.steps) > 1 else constant(other)
        if source is not None:
            yield f"{describe_value(evidence, other)} in place of {{}}", SAVED, source, 1.7
    if step.op == "dot_general" and value.ndim >= 2:
        for other in numbers:
            if np.shape(program.values[other]) == (*value.shape[:-2], value.shape[-1], value.shape[-2]):
                what = f"{describe_value(evidence, other)} (transposed) in place of {{}}"
                yield what, SAVED, swapped_source(other), 1.8
    yield from sums_of_two(evidence, unit, saved, numbers)
    for turn in (-1, 1):
        if len(unit.steps) > 1:
            how = "the turn before" if turn < 0 else "the turn after"
            yield f"{{}} of {how}", "check which step's value the backward loop reads", earlier(saved, turn), 1.6
    for dy_number, dy in evidence.first.cotangents.items() if len(unit.steps) == 1 and step.op not in UNARY else ():
        if np.shape(dy) == value.shape:
            name = f"the cotangent of {describe_value(evidence, dy_number)} in place of {{}}"
            yield name, SAVED, cotangent(evidence, dy_number), 2.1


def sums_of_two(
    evidence: Evidence, unit: Unit, saved: int, numbers: list[int]
) -> Iterator[tuple[str, str, Source, float]]:
    """The saved operand with another value of its shape added or subtracted."""
    program = evidence.first.program
    assert program is not None
    step = program.steps[unit.steps[0]]
    number = saved_number(step, saved)
    shape = np.shape(program.values[number])
    for other in numbers if len(unit.steps) == 1 and step.op not in UNARY else ():
        if other != number and np.shape(program.values[other]) == shape:
            for sign, word in ((1, "plus"), (-1, "minus")):

                def source(program: Program, step: Step, other: int = other, sign: int = sign) -> Any:
                    return program.values[saved_number(step, saved)] + sign * program.values[other]

                yield f"{{}} {word} {describe_value(evidence, other)} in place of {{}}", SAVED, source, 2.2


SAVED = "save and read the value that the forward used at this place"


ARITHMETIC = ("plus 1", "minus 1", "taken from 1 (1 - v)", "squared", "taken as 1", "without its sign")


def rearranged(value: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    for a, b in itertools.combinations(range(value.ndim), 2):
        if value.shape[a] == value.shape[b] > 1:
            what = (
                "not transposed, or transposed once too often"
                if value.ndim == 2
                else f"transposed wrongly: axes {a} and {b} exchanged"
            )
            yield what, lambda v, a=a, b=b: np.swapaxes(v, a, b)
        elif value.ndim > 2 and min(value.shape[a], value.shape[b]) > 1:
            what = f"reshaped where axes {a} and {b} must be transposed first"
            yield what, lambda v, a=a, b=b: np.swapaxes(v, a, b).reshape(v.shape)
    for count in (1, 2, 3):
        for axes in itertools.combinations(range(value.ndim), count):
            if all(value.shape[a] > 1 for a in axes):
                where = f"axis {axes[0]}" if count == 1 else f"axes {axes}"
                yield f"flipped along {where}", lambda v, axes=axes: np.flip(v, axes)
    for axis in range(value.ndim):
        for shift in (-1, 1):
            if value.shape[axis] > 2:
                yield f"shifted by {shift} along axis {axis}", lambda v, s=shift, a=axis: np.roll(v, s, a)
    yield "plus 1", lambda v: v + 1
    yield "minus 1", lambda v: v - 1
    yield "taken from 1 (1 - v)", lambda v: 1 - v
    yield "squared", np.square
    yield "taken as 1", np.ones_like
    yield "without its sign", np.abs


def changed(saved: int, change: Callable[[Any], Any]) -> Source:
    return lambda program, step: change(program.values[saved_number(step, saved)])


def swapped_source(number: int) -> Source:
    return lambda program, step: np.swapaxes(program.values[number], -1, -2)


def constant(number: int) -> Source:
    return lambda program, step: program.values[number]


def cotangent(evidence: Evidence, number: int) -> Source:
    found = {id(point.recorded): point.cotangents for point in evidence.points}
    return lambda program, step: found.get(id(program), {}).get(number)


def relative(program: Program, step: Step, other: int) -> Source | None:
    """The value that the other's operation makes in the turn of the step at hand."""
    if other not in program.maker:
        return constant(other)
    made = program.steps[program.maker[other]]
    if not made.turn:
        return constant(other)
    if made.turn != step.turn:
        return None
    j = made.outputs.index(other)

    def source(program: Program, step: Step) -> Any:
        k = program.places.get(place_of(made, step.turn))
        return None if k is None else program.values[program.steps[k].outputs[j]]

    return source


def earlier(saved: int, by: int) -> Source:
    """The same operand, of another turn; zeros where there is no such turn."""

    def source(program: Program, step: Step) -> Any:
        k = program.places.get(place_of(step, (*step.turn[:-1], step.turn[-1] + by)))
        other = None if k is None else program.steps[k]
        value = program.values[saved_number(step, saved)]
        return np.zeros_like(value) if other is None else program.values[saved_number(other, saved)]

    return source


def operand_diagnosis(
    evidence: Evidence, step: Step, saved: int, what: str, fix: str, match: Match, rank: float
) -> Diagnosis:
    at = f" at {step.line}" if step.line.text else ""
    said = what.replace("{}", describe_value(evidence, saved_number(step, saved)))
    text = f"in your gradient of {evidence.label(match.leaves)}, {word(step.op)}{at} reads {said}"
    rank += 0.0 if match.whole else 0.6
    return Diagnosis("wrong_operand", text, fix, match.residual, names(evidence, match), str(step.line), rank)


# Another step's cotangent.


def other_cotangents(evidence: Evidence, known: list[Factor]) -> Iterator[Diagnosis]:
    """The right rule of an operation, fed the cotangent of another value: db from dy where dz belongs."""
    program = evidence.first.program
    if program is None:
        return
    for unit in units(program):
        step = program.steps[unit.steps[-1]]
        if len(step.outputs) != 1 or step.outputs[0] not in evidence.first.cotangents:
            continue
        shape = np.shape(program.values[step.outputs[0]])
        for operand in active_operands(program, unit):
            for other, dy in evidence.first.cotangents.items():
                if other == step.outputs[0] or np.shape(dy) != shape or np.size(dy) < 2:
                    continue
                source = same_turn_cotangent(evidence, program, step, other)
                if source is None or (len(unit.steps) > 1 and not turned_with(program, step, other)):
                    continue
                for match, c in explains_local(evidence, unit, operand, fed(operand, source)):
                    if abs(c - 1) < 1e-6:
                        yield cotangent_diagnosis(evidence, step, other, match)


def turned_with(program: Program, step: Step, other: int) -> bool:
    """Whether a value is made in the same turn of the loop as a step is in."""
    return other in program.maker and program.steps[program.maker[other]].turn == step.turn


def same_turn_cotangent(evidence: Evidence, program: Program, step: Step, other: int) -> Source | None:
    """The cotangent of a value, or of what its operation makes in the turn of the step at hand."""
    found = {id(point.recorded): point.cotangents for point in evidence.points}
    if not turned_with(program, step, other) or not step.turn:
        return cotangent(evidence, other)
    made = program.steps[program.maker[other]]
    j = made.outputs.index(other)

    def source(program: Program, step: Step) -> Any:
        k = program.places.get(place_of(made, step.turn))
        return None if k is None else found.get(id(program), {}).get(program.steps[k].outputs[j])

    return source


def fed(operand: int, source: Source) -> Local:
    def rule(program: Program, step: Step, dy: Any) -> Any:
        other = source(program, step)
        return None if other is None else pull(program, step, operand, other)

    return rule


def cotangent_diagnosis(evidence: Evidence, step: Step, other: int, match: Match) -> Diagnosis:
    program = evidence.first.program
    assert program is not None
    at = f" at {step.line}" if step.line.text else ""
    mine = "dy" if other in program.outputs else f"the cotangent of {describe_value(evidence, other)}"
    text = f"your gradient of {evidence.label(match.leaves)} passes {word(step.op)}{at} with {mine} instead of the "
    text += f"cotangent of {describe_value(evidence, step.outputs[0])}: the wrong cotangent is propagated"
    fix = "use the cotangent of this operation's own output: pass dy back through everything behind it first"
    rank = 1.85 if match.whole else 2.0
    return Diagnosis("wrong_cotangent", text, fix, match.residual, names(evidence, match), str(step.line), rank)
