"""The forward as a flat list of steps, recorded while it runs on one probe.

Calls are inlined, scans and while loops unrolled, and of a cond the branch taken is followed, so that every
primitive operation is a step of its own with its values at hand. A diagnosis can then change one step's rule and
ask for the gradient again.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from .rules import RULES, Rule
from .source import UNKNOWN, Line, line_of

CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call")
CALLS += ("custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin", "run_state", "named_call")
INTEGER_SAFE = ("add", "sub", "mul", "max", "min", "select_n", "convert_element_type", "reduce_sum", "reduce_max")
MOST_STEPS = 2000


class TooLong(Exception):
    """The unrolled forward has more steps than a diagnosis can try."""


class Step(NamedTuple):
    """One primitive operation.

    `inputs` and `outputs` are value numbers. `template` is the place in the source program, equal for all turns of
    a loop; `turn` says which turn.
    """

    op: str
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    rule: Rule
    line: Line
    template: tuple[Any, ...]
    turn: tuple[int, ...]


class Program(NamedTuple):
    """Steps in order, the numbers of the differentiable inputs and of the outputs, and all values at the probe.

    `active` are the values that depend on an input in a differentiable way. `maker[v]` is the step that makes v.
    `literals` are the numbers of constants written in the forward. `places` finds a step by its place and turn.
    `deadline` is when working on it ends, by time.monotonic.
    """

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    values: list[Any]
    active: frozenset[int]
    maker: dict[int, int]
    literals: tuple[int, ...]
    places: dict[tuple, int]
    deadline: float = math.inf


def record(function: Callable[..., Any], inputs: Sequence[Any]) -> Program:
    """Record `function(*inputs) -> list of outputs`, arrays only."""
    closed = jax.make_jaxpr(function)(*inputs)
    tape = Tape([], [], [])
    numbers = [new(tape, value) for value in inputs]
    outputs = follow(tape, closed.jaxpr, closed.consts, numbers, Place((), (), UNKNOWN))
    active = set(numbers)
    for step in tape.steps:
        if step.op != "stop_gradient" and active.intersection(step.inputs):
            active.update(v for v in step.outputs if is_floating(tape.values[v]))
    maker = {output: k for k, step in enumerate(tape.steps) for output in step.outputs}
    steps = with_python_loops(tape)
    places = {place_of(step): k for k, step in enumerate(steps)}
    literals = tuple(tape.literals)
    return Program(steps, tuple(numbers), tuple(outputs), tape.values, frozenset(active), maker, literals, places)


def place_of(step: Step, turn: tuple[int, ...] | None = None) -> tuple:
    """Where a step stands in the source program, and in which turn of its loops."""
    return step.template, step.op, step.turn if turn is None else turn


def with_python_loops(tape: Tape) -> tuple[Step, ...]:
    """Steps that a Python loop has unrolled get a turn: the same operations of a source line, visited again after
    other lines. The visit is the turn."""
    visits: Counter = Counter()
    marked: list[tuple[Hashable, int]] = []
    last, within = UNKNOWN, Counter[Hashable]()
    for step in tape.steps:
        if step.line != last:
            last, within = step.line, Counter()
            visits[last] += 1
        shapes = tuple(np.shape(tape.values[number]) for number in (*step.inputs, *step.outputs))
        key = (step.line, step.op, shapes)
        marked.append(((*key, within[key]), visits[step.line] - 1))
        within[key] += 1
    counts = Counter(key for key, _ in marked)
    return tuple(
        step._replace(template=(key,), turn=(visit,)) if not step.turn and step.line.text and counts[key] > 1 else step
        for step, (key, visit) in zip(tape.steps, marked, strict=True)
    )


class Place(NamedTuple):
    """Where the recording stands: `template` in the program, `turn` in its loops, `line` in the source."""

    template: tuple[Any, ...]
    turn: tuple[int, ...]
    line: Line


def step_place(place: Place) -> tuple[Line, tuple, tuple]:
    return place.line, place.template, place.turn


class Tape(NamedTuple):
    """What has been recorded so far: the lists grow while the forward is followed."""

    values: list[Any]
    steps: list[Step]
    literals: list[int]


def new(tape: Tape, value: Any) -> int:
    tape.values.append(as_value(value))
    return len(tape.values) - 1


def follow(tape: Tape, jaxpr: Any, consts: Any, numbers: Sequence[int], place: Place) -> list[int]:
    """Run a jaxpr on numbered values; gives the numbers of its outputs."""
    number = dict(zip(jaxpr.invars, numbers, strict=True))
    number |= {var: new(tape, const) for var, const in zip(jaxpr.constvars, consts, strict=True)}

    def read(var: Any) -> int:
        if isinstance(var, jex.Literal):
            tape.literals.append(new(tape, np.asarray(var.val, getattr(var.aval, "dtype", None))))
            return tape.literals[-1]
        return number[var]

    for k, equation in live_equations(jaxpr):
        inputs = [read(var) for var in equation.invars]
        line = line_of(equation.source_info)
        here = Place((*place.template, k), place.turn, line if line.text else place.line)
        number |= dict(zip(equation.outvars, follow_equation(tape, equation, inputs, here), strict=True))
    return [read(var) for var in jaxpr.outvars]


def follow_equation(tape: Tape, equation: Any, inputs: list[int], place: Place) -> list[int]:
    name, params = equation.primitive.name, equation.params
    if name in CALLS and (called := inner(params)) is not None:
        return follow(tape, called.jaxpr, called.consts, inputs, place)
    if name == "scan":
        return unroll_scan(tape, equation, inputs, place)
    if name == "cond":
        taken = params["branches"][int(np.clip(tape.values[inputs[0]], 0, len(params["branches"]) - 1))]
        return follow(tape, taken.jaxpr, taken.consts, inputs[1:], place)
    if name == "while":
        return unroll_while(tape, params, inputs, place)
    return primitive(tape, equation, inputs, place)


def unroll_scan(tape: Tape, equation: Any, inputs: list[int], place: Place) -> list[int]:
    params = equation.params
    consts, carry = scan_counts(equation)
    body, length = inner(params), params["length"]
    shared, state, sliced = inputs[:consts], inputs[consts : consts + carry], inputs[consts + carry :]
    stacked: list[Any] = [None] * length
    for t in reversed(range(length)) if params["reverse"] else range(length):
        turn = place._replace(turn=(*place.turn, t))
        here = [simple(tape, "index", {"t": t}, [x], INDEX, turn, k) for k, x in enumerate(sliced)]
        results = follow(tape, body.jaxpr, body.consts, [*shared, *state, *here], turn)
        state, stacked[t] = results[:carry], results[carry:]
    columns = zip(*stacked, strict=True)
    ys = [simple(tape, "stack", {}, list(column), STACK, place, k) for k, column in enumerate(columns)]
    return [*state, *ys]


def scan_counts(equation: Any) -> tuple[int, int]:
    """(constants, carried values): what a scan walks over, and what it stacks, has one axis more outside than inside.

    JAX versions name these counts differently; the shapes are the same in all.
    """
    body = inner(equation.params).jaxpr
    carried = sum(same_rank(a, b) for a, b in zip(equation.outvars, body.outvars, strict=True))
    whole = sum(same_rank(a, b) for a, b in zip(equation.invars, body.invars, strict=True))
    return whole - carried, carried


def same_rank(outside: Any, inside: Any) -> bool:
    return len(outside.aval.shape) == len(inside.aval.shape)


def unroll_while(tape: Tape, params: dict, inputs: list[int], place: Place) -> list[int]:
    test, body = params["cond_jaxpr"], params["body_jaxpr"]
    tests, shared = params["cond_nconsts"], params["body_nconsts"]
    asked, given, state = inputs[:tests], inputs[tests : tests + shared], inputs[tests + shared :]
    for t in range(MOST_STEPS):
        here = place._replace(turn=(*place.turn, t))
        (again,) = follow(tape, test.jaxpr, test.consts, [*asked, *state], below(here, 0))
        if not tape.values[again]:
            return state
        state = follow(tape, body.jaxpr, body.consts, [*given, *state], below(here, 1))
    raise TooLong


def below(place: Place, k: int) -> Place:
    return place._replace(template=(*place.template, k))


def primitive(tape: Tape, equation: Any, inputs: list[int], place: Place) -> list[int]:
    name, params = equation.primitive.name, equation.params
    rule = RULES.get(name)
    dtype: Any = getattr(equation.outvars[0].aval, "dtype", np.dtype(np.float64))
    integer = not jnp.issubdtype(dtype, jnp.inexact) and name in RULES
    simple = not integer or name in INTEGER_SAFE or is_moving(name) or np.dtype(dtype) == np.bool_
    extended = any(not isinstance(tape.values[v], np.ndarray) for v in inputs)
    if rule is None or not simple or extended or jnp.issubdtype(dtype, jnp.complexfloating):
        rule = opaque(equation)
    return add(tape, Step(name, params, tuple(inputs), (), rule, *step_place(place)), len(equation.outvars))


def simple(tape: Tape, op: str, params: dict, inputs: list[int], rule: Rule, place: Place, k: int) -> int:
    """A step that the jaxpr has no equation for: a slice of what a scan walks over, the stack of what it gives."""
    return add(tape, Step(op, params, tuple(inputs), (), rule, *step_place(below(place, -1 - k))), 1)[0]


def add(tape: Tape, step: Step, outputs: int) -> list[int]:
    if len(tape.steps) >= MOST_STEPS:
        raise TooLong
    with np.errstate(all="ignore"):
        result = step.rule.run(step.params, *(tape.values[v] for v in step.inputs))
    results = result if isinstance(result, list) else [result]
    assert len(results) == outputs
    numbers = [new(tape, value) for value in results]
    tape.steps.append(step._replace(outputs=tuple(numbers)))
    return numbers


def live_equations(jaxpr: Any) -> list[tuple[int, Any]]:
    """The equations that the outputs depend on, with their places."""
    wanted, live = {v for v in jaxpr.outvars if not isinstance(v, jex.Literal)}, []
    for place, equation in reversed(list(enumerate(jaxpr.eqns))):
        if wanted.intersection(equation.outvars):
            live.append((place, equation))
            wanted.update(v for v in equation.invars if not isinstance(v, jex.Literal))
    return live[::-1]


def is_moving(name: str) -> bool:
    return name in ("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy")


def as_value(value: Any) -> Any:
    """A NumPy array; keys of randomness stay as they are."""
    return value if jnp.issubdtype(getattr(value, "dtype", np.float64), jax.dtypes.extended) else np.asarray(value)


def is_floating(value: Any) -> bool:
    return isinstance(value, np.ndarray) and jnp.issubdtype(value.dtype, jnp.floating)


def inner(params: dict) -> Any:
    """The program that a call runs."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in params:
            found = params[name]
            return found if hasattr(found, "consts") else jex.ClosedJaxpr(found, ())
    return None


def opaque(equation: Any) -> Rule:
    """The rule of a primitive that RULES does not have: the equation alone, run and differentiated by JAX."""

    def bind(*operands: Any) -> list[Any]:
        results = equation.primitive.bind(*operands, **bind_params(equation))
        return list(results) if equation.primitive.multiple_results else [results]

    def run(params: Any, *operands: Any) -> list[Any]:
        return [as_value(result) for result in compiled_run(*operands)]

    compiled_run = jax.jit(bind)

    @functools.cache
    def pulling(k: int) -> Callable[..., Any]:
        def pull_one(operands: Any, cotangents: Any) -> Any:
            def vary(x: Any) -> list[Any]:
                moved = [*operands[:k], x, *operands[k + 1 :]]
                return [y for y in bind(*moved) if jnp.issubdtype(y.dtype, jnp.floating)]

            return jax.vjp(vary, operands[k])[1](cotangents)[0]

        return jax.jit(pull_one)

    def pull(params: Any, k: int, operands: Any, outputs: Any, cotangents: Any) -> Any:
        if not is_floating(operands[k]):
            return None
        outputs = outputs if isinstance(outputs, list) else [outputs]
        cotangents = cotangents if isinstance(cotangents, list) else [cotangents]
        pairs = zip(cotangents, outputs, strict=True)
        given = [np.zeros_like(y) if dy is None else dy for dy, y in pairs if is_floating(y)]
        return np.asarray(pulling(k)(list(operands), given))

    return Rule(run, pull)


def bind_params(equation: Any) -> dict[str, Any]:
    """The parameters in the form `bind` takes them."""
    found = equation.primitive.get_bind_params(equation.params)
    return found[1] if isinstance(found, tuple) else found


def index_run(params: Any, x: Any) -> Any:
    return x[params["t"]]


def index_pull(params: Any, k: int, operands: Any, y: Any, dy: Any) -> Any:
    dx = np.zeros_like(operands[0])
    dx[params["t"]] = dy
    return dx


INDEX = Rule(index_run, index_pull)


def stack_run(params: Any, *xs: Any) -> Any:
    return np.stack(xs) if isinstance(xs[0], np.ndarray) else jnp.stack(xs)


STACK = Rule(stack_run, lambda params, k, operands, y, dy: dy[k])
