"""A mistake in one term only: an operation changed along the paths that run through one value, right along others.

The gradient of a layer norm is a sum of terms, one for each way from x to y. People forget a factor in one of them:
the mean's term without the scale, say, where the two others have it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..program.record import Program, Step
from ..program.source import op_name
from ..program.sweep import from_value, out_cotangent, pull, sweep
from .evidence import Claim, Evidence, Leaves, Point, explains, of_leaf, reads_program
from .local import Unit, applied, bind, units
from .local_rules import SELECTING, Local
from .operands import constant, reading, saved_operands
from .paths import contribution, describe_nodes, distinct_nodes, nodes
from .slices import broadcast
from .values import candidates, constants_inside, describe_value, moved_factors

MOST_TERMS = 12
MOST_FACTORS = 14
MOST_UNITS = 40
FACTORLESS = ("add", "sub", "add_any", "neg", "broadcast_in_dim", "reduce_sum", "reshape", "transpose")


@reads_program
def terms(evidence: Evidence, program: Program) -> Iterator[Claim]:
    values = [node[1] for node, _ in distinct_nodes(evidence, nodes(program)) if node[0] < 0][:MOST_TERMS]
    for unit in units(program)[:MOST_UNITS]:
        step = program.steps[unit.steps[0]]
        if len(unit.steps) > 1 or step.op in SELECTING:
            continue
        for operand, number in enumerate(step.inputs):
            if number not in program.active:
                continue
            for what, rule in term_rules(evidence, step, operand):
                yield from in_terms(evidence, unit, operand, rule, what, values)


# A term times powers of the forward's values.


@reads_program
def term_factors(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """One term is multiplied by powers of up to three values of the forward: x where xhat belongs, rstd twice."""
    terms = [(None, evidence.first.reference), *distinct_nodes(evidence, nodes(program))[:MOST_TERMS]]
    for i in evidence.wrong:
        shape = evidence.first.reference[i].shape
        numbers = factor_values(program, shape)
        if evidence.first.reference[i].size < 8 or not numbers:
            continue
        for node, through in terms:
            powers = monomial(evidence, i, node, through[i], numbers)
            if powers:
                yield factor_diagnosis(evidence, i, node, powers)
                break
            epsilon = moved_epsilon(evidence, i, node)
            if epsilon:
                yield epsilon
                break


Powers = tuple[tuple[int, int], ...]  # (value's number, power)


def factor_values(program: Program, shape: tuple[int, ...]) -> list[int]:
    """Values that broadcast along a leaf."""
    found = [n for n in candidates(program) if fits(np.shape(program.values[n]), shape)]
    return [n for n in found if np.all(program.values[n] != 0)][:MOST_FACTORS]


def fits(small: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    try:
        return len(small) == len(shape) and np.broadcast_shapes(small, shape) == shape
    except ValueError:
        return False


def ratio_of_term(point: Point, i: int, node: Any) -> Any:
    """What the term is multiplied by in your gradient, element by element; None where it cannot be told."""
    through = point.reference if node is None else contribution(point, node)
    if through is None or np.any(through[i] == 0):
        return None
    return (point.candidate[i] - point.reference[i] + through[i]) / through[i]


def monomial(evidence: Evidence, i: int, node: Any, term: Any, numbers: list[int]) -> Powers | None:
    ratio = ratio_of_term(evidence.first, i, node)
    if ratio is None or np.any(ratio == 0) or not np.all(np.isfinite(ratio)):
        return None
    values = [np.broadcast_to(evidence.first.recorded.values[n], ratio.shape) for n in numbers]
    logs = np.stack([np.ravel(np.log(np.abs(v))) for v in values])
    target = np.ravel(np.log(np.abs(ratio)))
    for count in (1, 2, 3):
        for chosen in itertools.combinations(range(len(numbers)), count):
            for powers in itertools.product((-2, -1, 1, 2) if count == 1 else (-1, 1), repeat=count):
                guess = sum(p * logs[k] for p, k in zip(powers, chosen, strict=True))
                if np.max(np.abs(guess - target)) < 1e-8:
                    found = tuple((numbers[k], p) for p, k in zip(powers, chosen, strict=True))
                    if all(monomial_holds(point, i, node, found) for point in evidence.points):
                        return found
    return None


def monomial_holds(point: Point, i: int, node: Any, powers: Powers) -> bool:
    ratio = ratio_of_term(point, i, node)
    return ratio is not None and bool(np.max(np.abs(product(point, powers) / ratio - 1)) < 1e-6)


def product(point: Point, powers: Powers) -> Any:
    result = np.ones(())
    for number, power in powers:
        result = result * point.recorded.values[number] ** float(power)
    return result


def times(point: Point, i: int, node: Any, factor: Any) -> Any:
    """The gradient of leaf i with one term multiplied."""
    through = point.reference if node is None else contribution(point, node)
    return None if through is None or factor is None else point.reference[i] + (factor - 1) * through[i]


def times_value(point: Point, i: int, node: Any, value: Any, power: int) -> Any:
    factor = broadcast(value(point), point.reference[i].shape)
    return None if factor is None else times(point, i, node, factor ** float(power))


def moved_epsilon(evidence: Evidence, i: int, node: Any) -> Claim | None:
    """A term with the small constant under a root moved, left out or another one, in any power."""
    for what, fix, value in itertools.chain(moved_factors(evidence), other_epsilons(evidence, i, node)):
        for power in (-2, -1, 1, 2):
            if all(holds_times(point, i, node, value, power) for point in evidence.points):
                name = evidence.names[i]
                where = (
                    "is the right one" if node is None else f"has the term through {describe_nodes(evidence, [node])}"
                )
                times = "" if power == 1 else f" (to the power {power})"
                text = f"your gradient of {name} {where} times {what}{times}"
                predict = of_leaf(i, lambda point, v=value, p=power: times_value(point, i, node, v, p))
                return Claim("forward_variant", text, fix, (name,), 2.0, predict)
    return None


def other_epsilons(evidence: Evidence, i: int, node: Any) -> Iterator[tuple[str, str, Callable[[Point], Any]]]:
    """The constant under a root that makes the term yours, where one does in every row."""
    program, ratio = evidence.first.recorded, ratio_of_term(evidence.first, i, node)
    if ratio is None or np.any(ratio <= 0):
        return
    for (inside, literal, number, op), power in itertools.product(constants_inside(program), (-2, -1, 1, 2)):
        x, own = broadcast(program.values[inside], ratio.shape), float(program.values[literal])
        if x is None or op not in ROOTS:
            continue
        found = (x + own) * ratio ** (1 / (power * ROOTS[op])) - x
        other = float(np.median(found))
        if np.max(np.abs(found - other)) <= 1e-6 * abs(other - own):
            what = f"{describe_value(evidence, number)} with {other:.6g} in place of {own:.6g}, over the right one"
            yield what, f"use {own:.6g} in the backward too", root_ratio(inside, own, other, ROOTS[op])


ROOTS = {"sqrt": 0.5, "rsqrt": -0.5}


def root_ratio(inside: int, own: float, other: float, power: float) -> Callable[[Point], Any]:
    return lambda point: ((point.recorded.values[inside] + other) / (point.recorded.values[inside] + own)) ** power


def holds_times(point: Point, i: int, node: Any, value: Any, power: int) -> bool:
    ratio, factor = ratio_of_term(point, i, node), broadcast(value(point), point.reference[i].shape)
    if ratio is None or factor is None:
        return False
    error = np.max(np.abs(ratio - 1))
    return bool(error > 1e-9 and np.max(np.abs(factor ** float(power) / ratio - 1)) < 1e-5 * error)


def factor_diagnosis(evidence: Evidence, i: int, node: Any, powers: Powers) -> Claim:
    above = [raised(evidence, n, p) for n, p in powers if p > 0]
    below = [raised(evidence, n, -p) for n, p in powers if p < 0]
    phrase = " times ".join(above) or "1"
    phrase += f" over {' times '.join(below)}" if below else ""
    name = evidence.names[i]
    where = "is the right one" if node is None else f"has the term through {describe_nodes(evidence, [node])}"
    text = f"your gradient of {name} {where} times {phrase}"
    fix = "divide by it: another value stands where the saved one belongs, or a factor is left out or there twice"
    predict = of_leaf(i, lambda point: times(point, i, node, product(point, powers)))
    return Claim("factor", text, fix, (name,), 2.3 + 0.05 * len(powers), predict, fitted=len(powers))


def raised(evidence: Evidence, number: int, power: int) -> str:
    return describe_value(evidence, number) + (f" ^ {power}" if power > 1 else "")


def term_rules(evidence: Evidence, step: Step, operand: int) -> Iterator[tuple[str, Local]]:
    program = evidence.first.recorded

    def left_out(program: Program, step: Step, dy: Any) -> Any:
        return dy if np.shape(dy) == np.shape(program.values[step.inputs[operand]]) else None

    def twice(program: Program, step: Step, dy: Any) -> Any:
        once = pull(program, step, operand, dy)
        return pull(program, step, operand, once) if np.shape(once) == np.shape(dy) else None

    if len(step.outputs) == 1 and step.op not in FACTORLESS:
        yield "the factor of {} is left out", left_out
        yield "the factor of {} is applied twice", twice
    for saved in saved_operands(step, operand):
        if saved < 0:
            continue
        shape = np.shape(program.values[step.inputs[saved]])
        for other in candidates(program):
            if other != step.inputs[saved] and np.shape(program.values[other]) == shape:
                phrase = f"{{}} reads {describe_value(evidence, other)} in place of "
                yield phrase + describe_value(evidence, step.inputs[saved]), reading(operand, saved, constant(other))


def in_terms(
    evidence: Evidence, unit: Unit, operand: int, rule: Local, what: str, values: list[int]
) -> Iterator[Claim]:
    program = evidence.first.recorded
    changed = [changed_cotangents(point, unit, operand, rule) for point in evidence.points[:1]]
    if changed[0] is None:
        return
    for number, thin in itertools.product(values, [(-1, 0), *thin_powers(evidence)]):

        def predict(point: Point, number: int = number, thin: tuple[int, int] = thin) -> Leaves | None:
            found = changed[0] if point is evidence.first else changed_cotangents(point, unit, operand, rule)
            if found is None or number not in found or number not in point.cotangents:
                return None
            difference = found[number] - point.cotangents[number]
            if not np.any(difference) or not np.all(np.isfinite(difference)):
                return None
            return changed_term(point, number, found[number], thin)

        if match := explains(evidence, predict):
            step = program.steps[unit.steps[0]]
            at = f"{op_name(step.op)} at {step.line}" if step.line.text else op_name(step.op)
            through = describe_nodes(evidence, [(-1, number)])
            text = f"in your gradient of {match.label}, in the term through {through} only: "
            text += what.replace("{}", at, 1)
            if thin[1]:
                text += f", and a power ({thin[1]}) of {describe_value(evidence, thin[0])} is there too many"
            fix = "this term passes the same operations as the others: give it the same factors"
            yield match.claim("wrong_operand", text, fix, 2.4, 2.7, step.line)


def thin_powers(evidence: Evidence) -> list[tuple[int, int]]:
    """(value, power) of statistics with an axis of length 1: hand-written rules collect them in front."""
    program = evidence.first.recorded
    numbers = [n for n in candidates(program) if np.ndim(program.values[n]) > 1 and 1 in np.shape(program.values[n])]
    return [(n, power) for n in numbers[:4] for power in (-1, 1)]


def changed_term(point: Point, number: int, cotangent: Any, thin: tuple[int, int]) -> Leaves | None:
    """The gradient with another cotangent at one value, times a power of a statistic."""
    own = from_value(point.recorded, number, point.cotangents[number])
    other = from_value(point.recorded, number, cotangent)
    if thin[1]:
        factor = point.recorded.values[thin[0]] ** float(thin[1])
        if any(np.any(leaf) and not fits(np.shape(factor), leaf.shape) for leaf in other):
            return None
        other = [leaf * factor if np.any(leaf) else leaf for leaf in other]
    return [t - c + o for t, c, o in zip(point.reference, own, other, strict=True)]


def changed_cotangents(point: Point, unit: Unit, operand: int, rule: Local) -> Any:
    program = point.recorded
    k = unit.steps[0]
    step = program.steps[k]
    if not any(output in point.cotangents for output in step.outputs):
        return None
    if applied(program, k, operand, rule, out_cotangent(program, step, point.cotangents)) is None:
        return None
    return sweep(program, point.dys, {(k, operand): bind(program, k, operand, rule)})
