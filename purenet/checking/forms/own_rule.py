"""A function with derivative rules of its own: `jax.custom_vjp`, `custom_jvp`, `custom_gradient`, at any depth.

JAX runs the rule. Where it refuses to, the rule's two functions are run by hand, so that a gradient of another shape is
compared as far as it goes, or the mistake is said in one sentence. A rule for tangents that cannot be transposed is
checked in forward mode, one tangent after the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...annotations import PyTree
from ...validation import describe
from ..points import is_inexact
from ..vocabulary import MalformedRule
from .arguments import call, positional, values_of
from .gradient_names import gradients_of
from .target import Target

RULES = ("custom vjp", "custom jvp", "no vjp defined", "no jvp defined")  # how JAX's messages about them begin
SCALE = -1024.0  # a tangent's, by which linearity is seen
Pull = Callable[[PyTree], Any]


def function_target(
    function: Callable[..., Any], reference: Callable[..., Any] | None, has_params: bool, spread: str
) -> Target:
    """A function with derivative rules of its own, beside the function that it should be the derivative of."""
    required = positional(reference or function)
    if not spread and len(required) not in (has_params, 1 + has_params):
        form = "f(params, x)" if has_params else "f(x), or f(*x) with x a tuple of all arguments"
        raise TypeError(f"check: expected {form}, got {len(required)} arguments: {', '.join(required)}")

    def run(f: Callable[..., Any], params: PyTree, x: PyTree) -> PyTree:
        if spread:
            return call(f, params, by_name=spread == "by name")
        return f(params, x) if has_params else f(x)

    def arguments(params: PyTree, x: PyTree) -> list[Any]:
        return list(values_of(params).values()) if spread else [params, x] if has_params else [x]

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, Pull | None]:
        leaves, join = moving((params, x))
        try:
            y, pull = jax.vjp(lambda *leaves: run(function, *join(leaves)), *leaves)
            return y, pull
        except Exception as error:
            return by_hand(function, arguments(params, x), error)[0], None

    def backward(params: PyTree, x: PyTree, y: PyTree, pull: Pull | None, dy: PyTree) -> tuple[PyTree, PyTree]:
        leaves, join = moving((params, x))
        try:
            if pull is not None:
                return join(pull(dy), others=None)
        except Exception as error:
            if not says_rule(error) and not isinstance(function, jax.custom_vjp):
                return join(by_tangents(lambda *leaves: run(function, *join(leaves)), leaves, dy), others=None)
            gradients = by_hand(function, arguments(params, x), error)[1](dy)
        else:
            gradients = by_hand(function, arguments(params, x), None)[1](dy)
        if spread:
            return gradients_of(params, tuple(gradients)), ()
        return (gradients[0], gradients[1]) if has_params else ((), gradients[0])

    undecorated = reference or (function.__wrapped__ if isinstance(function, jax.custom_vjp) else function)
    own_rule = undecorated is function and not isinstance(function, jax.custom_jvp)
    return Target(
        getattr(function, "__name__", type(function).__name__),
        None,
        forward,
        backward,
        lambda params, x: run(undecorated, params, x),
        has_params or bool(spread),
        own_rule=own_rule,
    )


def moving(tree: PyTree) -> tuple[list[Any], Callable[..., PyTree]]:
    """The leaves that are differentiated, and what puts them back, among the others or what stands for those."""
    leaves, structure = jax.tree.flatten(tree)

    def join(values: Any, **instead: Any) -> PyTree:
        left = iter(values)
        joined = [next(left) if is_inexact(leaf) else instead.get("others", leaf) for leaf in leaves]
        return jax.tree.unflatten(structure, joined)

    return [leaf for leaf in leaves if is_inexact(leaf)], join


def says_rule(error: Exception | None) -> bool:
    """Whether JAX complains of a rule, and not the caller's code of something else."""
    return str(error).lower().replace("_", " ").startswith(RULES)


def by_hand(function: Any, arguments: list[Any], error: Exception | None) -> tuple[PyTree, Pull]:
    """y and what pulls dy back, from the two functions of a rule that JAX has refused with an error."""
    name = getattr(function, "__name__", "the function")
    if not isinstance(function, jax.custom_vjp):
        if error is not None and not says_rule(error):
            raise error
        raise MalformedRule(first_sentence(error))
    if function.fwd is None or function.bwd is None:
        raise MalformedRule(f"{name} has no rule yet: give it one by {name}.defvjp(forward, backward)")
    check_count("forward", name, function.fwd, len(arguments))
    result = function.fwd(*arguments)
    if not (isinstance(result, (tuple, list)) and len(result) == 2):
        raise MalformedRule(f"the forward rule of {name} must return (y, residuals), got {describe(result)}")
    check_primal(name, result[0], jax.eval_shape(lambda: function.__wrapped__(*arguments)))
    return result[0], lambda dy: pulled(function, name, arguments, result[1], dy)


def pulled(function: Any, name: str, arguments: list[Any], residuals: Any, dy: PyTree) -> Any:
    """The gradients that a backward rule returns, one an argument."""
    numbers = {number % len(arguments) for number in function.nondiff_argnums}
    static = [arguments[number] for number in sorted(numbers)]
    check_count("backward", name, function.bwd, len(static) + 2)
    gradients = function.bwd(*static, residuals, dy)
    count = len(arguments) - len(static)
    if not (isinstance(gradients, (tuple, list)) and len(gradients) == count):
        expected = f"a tuple of {count} gradients, one an argument" if count > 1 else "a tuple of one gradient, (dx,)"
        raise MalformedRule(f"the backward rule of {name} must return {expected}, got {describe(gradients)}")
    left = iter(gradients)
    return [None if number in numbers else next(left) for number in range(len(arguments))]


def check_count(which: str, name: str, rule: Callable[..., Any], count: int) -> None:
    try:
        inspect.signature(rule).bind(*[None] * count)
    except TypeError:
        what = "those of the function" if which == "forward" else "the static ones, then residuals and dy"
        given = f"takes ({', '.join(positional(rule))}), but is given {count} arguments, {what}"
        raise MalformedRule(f"the {which} rule of {name} {given}") from None
    except ValueError:
        return  # a signature that cannot be read


def shapes(tree: PyTree) -> Any:
    return jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def check_primal(name: str, given: PyTree, own: PyTree) -> None:
    """Raise where a function gives another tree or other shapes under differentiation than else."""
    if shapes(given) != shapes(own):
        got = f"it gives {described(given)}, {name} itself gives {described(own)}"
        raise MalformedRule(f"the forward rule of {name} gives another y than {name}: {got}")


def described(tree: PyTree) -> str:
    """Arrays by dtype and shape, whatever they are inside."""
    return describe(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), jnp.result_type(leaf)), tree))


def first_sentence(error: Exception | None) -> str:
    """What JAX says of a rule, in a line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def by_tangents(run: Callable[..., PyTree], leaves: list[Any], dy: PyTree) -> list[Any]:
    """The gradients from forward mode, one tangent an element: for a rule that JAX cannot transpose."""

    def one(k: int, scale: float) -> Any:
        def slope(tangent: Any) -> Any:
            tangents = [
                tangent.reshape(leaf.shape) if i == k else jnp.zeros_like(leaf) for i, leaf in enumerate(leaves)
            ]
            moved = jax.jvp(run, leaves, tangents)[1]
            pairs = zip(jax.tree.leaves(moved), jax.tree.leaves(dy), strict=True)
            return sum(jnp.sum(a * b) for a, b in pairs if jnp.issubdtype(a.dtype, jnp.inexact))

        return jax.lax.map(slope, scale * jnp.eye(leaves[k].size, dtype=leaves[k].dtype)).reshape(leaves[k].shape)

    gradients = [one(k, 1.0) for k in range(len(leaves))]
    if not all(np.allclose(one(k, SCALE), SCALE * gradients[k], rtol=1e-6) for k in range(len(leaves))):
        raise MalformedRule("the rule for tangents is not linear in them: every term must hold a tangent exactly once")
    return gradients
