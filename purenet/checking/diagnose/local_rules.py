"""The wrong local derivatives that people write, operation by operation, as rules in place of the right ones.

Each is `(what, fix, rule, rank)`, where `rule(program, step, dy)` gives the operand's cotangent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program, Step
from ..program.rules import UNARY, Unary, fit, spread
from ..program.sweep import pull

SELECTING = ("select_n", "max", "min", "clamp")
MOST_AXES = 4
LAYOUTS = ("pad", "slice", "cumsum", "rev", "transpose", "concatenate", "broadcast_in_dim", "reduce_sum")

Local = Callable[[Program, Step, Any], Any]


def local_rules(step: Step, operand: int) -> Iterator[tuple[str, str, Local, float]]:
    if step.op in UNARY and step.op not in ("neg", "stop_gradient"):
        yield from unary_mistakes(step.op, UNARY[step.op])
    elif step.op == "integer_pow":
        yield from unary_mistakes("power", power_function(step.params["y"]))
    if step.op in SELECTING:
        yield from gate_mistakes(operand)
    if step.op in ("reduce_max", "reduce_min"):
        yield from winner_mistakes()
    if step.op in LAYOUTS:
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
            except (ValueError, IndexError):  # amounts that reach beyond the array
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
    if step.op == "broadcast_in_dim":
        own = params["broadcast_dimensions"]
        for dims in itertools.permutations(range(len(params["shape"])), len(own)):
            same = all(params["shape"][a] == params["shape"][b] for a, b in zip(own, dims, strict=True))
            if same and dims != tuple(own) and tuple(sorted(dims)) == dims:
                what = f"its gradient keeps axes {dims} and sums the others, where axes {tuple(own)} are its own"
                yield what, changed_params(step, broadcast_dimensions=dims)
    if step.op == "reduce_sum":
        for axes in itertools.combinations(range(MOST_AXES), len(params["axes"])):
            if axes != tuple(params["axes"]):
                what = f"its cotangent is spread along axes {axes}, where axes {tuple(params['axes'])} were summed"
                yield what, changed_params(step, axes=axes)
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
