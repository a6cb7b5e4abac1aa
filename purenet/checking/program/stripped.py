"""A function without the derivative rules inside it: what jax.grad would differentiate if nobody had written any.

A reference that shares a rule with what is checked proves nothing about that rule. So every `custom_vjp` and
`custom_jvp` in the program, at any depth of jit, scan, cond, while, vmap and checkpoint, is replaced by the function
that it is a rule of. JAX's own rules (relu, logsumexp) stay, and so does `scale_gradient`, whose rule is its meaning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...combine.scale_gradient import scale_gradient_forward
from .record import CALLS, bind_params, inner, scan_counts

RULES = ("custom_vjp_call", "custom_vjp_call_jaxpr", "custom_jvp_call", "linear_call", "custom_linear_solve")
# Where JAX wraps the caller's own: custom_root's solver, and what custom_gradient is given.
WRAPPERS = (os.path.join("control_flow", "solves.py"), "custom_derivatives.py")
SCALING = scale_gradient_forward.__wrapped__.__code__.co_filename
DTYPES = ("new_dtype", "preferred_element_type", "dtype", "output_dtype")
KEPT = (f"{Path(jax.__file__).parent}{os.sep}", SCALING)


def without_rules(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of arrays with no rule of the caller's inside."""

    def stripped(*args: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        if not has_rules(closed.jaxpr):
            return function(*args)
        leaves = evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    return stripped


def has_rules(jaxpr: Any) -> bool:
    return any(holds_rule(equation) for equation in jaxpr.eqns)


def holds_rule(equation: Any) -> bool:
    """Whether an equation is a derivative rule of the caller's, or has one inside."""
    if equation.primitive.name in RULES and is_callers(equation):
        return True
    return any(map(has_rules, programs_in(equation.params)))


def stops_gradients(jaxpr: Any) -> bool:
    """Whether the program has a stop_gradient or a scale_gradient, which are meant."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "stop_gradient" or (name in RULES and rule_file(equation) == SCALING):
            return True
        if any(map(stops_gradients, programs_in(equation.params))):
            return True
    return False


def is_callers(equation: Any) -> bool:
    """Whether a rule is the caller's: by the file that it stands in, or, where JAX has wrapped it, that of what it is a
    rule of."""
    rule, function = rule_file(equation), file_of(ruled_program(equation).jaxpr)
    if rule.endswith(WRAPPERS):
        return function.endswith(WRAPPERS) or not function.startswith(KEPT)
    return not rule.startswith(KEPT)


def rule_file(equation: Any) -> str:
    params = equation.params
    rule = params.get("bwd", params.get("jvp_jaxpr_fun"))
    return file_of(rule) or file_of(ruled_program(equation).jaxpr)


def file_of(function: Any) -> str:
    return str(getattr(getattr(function, "debug_info", None), "func_filename", None) or "")


def ruled_program(equation: Any) -> Any:
    """The function that a rule is a rule of."""
    if equation.primitive.name == "custom_linear_solve":
        return equation.params["jaxprs"].solve
    return equation.params["callee"] if equation.primitive.name == "linear_call" else inner(equation.params)


def programs_in(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, (jex.Jaxpr, jex.ClosedJaxpr)):
                yield each.jaxpr if isinstance(each, jex.ClosedJaxpr) else each


def in_float64(function: Callable[..., Any], example: Sequence[Any]) -> Callable[..., list[Any]]:
    """The steps of a function, as it takes them for `example`, in float64 whatever dtype they ask for."""
    closed = jax.make_jaxpr(function)(*example)
    return lambda *leaves: evaluate(closed.jaxpr, closed.consts, leaves, wide=True)


def widened(value: Any) -> Any:
    narrow = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating) and value.dtype != jnp.float64
    return jnp.asarray(value, jnp.float64) if narrow else value


def widened_params(equation: Any) -> dict[str, Any]:
    """The parameters of an operation with float64 where they name a floating dtype."""
    params = bind_params(equation)
    return {
        name: np.dtype(np.float64) if name in DTYPES and value is not None and is_narrow(value) else value
        for name, value in params.items()
    }


def is_narrow(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def evaluate(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any], wide: bool = False) -> list[Any]:
    """Run a program, its rules left out; `wide`: in float64."""
    if wide:
        consts, arguments = list(map(widened, consts)), list(map(widened, arguments))
    values = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        if isinstance(variable, jex.Literal):
            return widened(np.asarray(variable.val, getattr(variable.aval, "dtype", None))) if wide else variable.val
        return values[variable]

    for equation in jaxpr.eqns:
        results = run(equation, [read(variable) for variable in equation.invars], wide)
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def run(equation: Any, operands: list[Any], wide: bool) -> list[Any]:
    name = equation.primitive.name
    if wide or holds_rule(equation):
        if name in REWRITTEN:
            return REWRITTEN[name](equation, operands, wide)
        if name in CALLS and (called := inner(equation.params)) is not None:
            return evaluate(called.jaxpr, called.consts, operands, wide)
    if wide and name == "reduce_precision":
        return operands
    params = widened_params(equation) if wide and name != "bitcast_convert_type" else bind_params(equation)
    results = equation.primitive.bind(*operands, **params)
    results = list(results) if equation.primitive.multiple_results else [results]
    return list(map(widened, results)) if wide else results


def run_scan(equation: Any, operands: list[Any], wide: bool) -> list[Any]:
    consts, carried = scan_counts(equation)
    body, params = inner(equation.params), equation.params
    shared, start, stacked = operands[:consts], operands[consts : consts + carried], operands[consts + carried :]

    def step(carry: list[Any], now: list[Any]) -> tuple[list[Any], list[Any]]:
        results = evaluate(body.jaxpr, body.consts, [*shared, *carry, *now], wide)
        return results[:carried], results[carried:]

    last, each = lax.scan(step, start, stacked, length=params["length"], reverse=params["reverse"])
    return [*last, *each]


def run_cond(equation: Any, operands: list[Any], wide: bool) -> list[Any]:
    def taken(branch: Any) -> Callable[..., list[Any]]:
        return lambda *given: evaluate(branch.jaxpr, branch.consts, given, wide)

    return lax.switch(operands[0], [taken(branch) for branch in equation.params["branches"]], *operands[1:])


def run_while(equation: Any, operands: list[Any], wide: bool) -> list[Any]:
    params = equation.params
    test, body = params["cond_jaxpr"], params["body_jaxpr"]
    tests, shared = params["cond_nconsts"], params["body_nconsts"]
    asked, given, start = operands[:tests], operands[tests : tests + shared], operands[tests + shared :]
    return lax.while_loop(
        lambda state: evaluate(test.jaxpr, test.consts, [*asked, *state], wide)[0],
        lambda state: evaluate(body.jaxpr, body.consts, [*given, *state], wide),
        start,
    )


def run_linear(equation: Any, operands: list[Any], wide: bool) -> list[Any]:
    called = equation.params["callee"]
    return evaluate(called.jaxpr, called.consts, operands, wide)


def run_solve(equation: Any, operands: list[Any], wide: bool) -> list[Any]:
    """What `solve` computes: it is given its own constants, then b."""
    lengths, solve = equation.params["const_lengths"], equation.params["jaxprs"].solve
    start = lengths.matvec + lengths.vecmat
    own, b = operands[start : start + lengths.solve], operands[sum(lengths) :]
    return evaluate(solve.jaxpr, solve.consts, [*own, *b], wide)


REWRITTEN = {"scan": run_scan, "cond": run_cond, "while": run_while}
REWRITTEN |= {"linear_call": run_linear, "custom_linear_solve": run_solve}
