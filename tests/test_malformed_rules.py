"""Derivative rules that JAX does not take: each is told in one sentence, as a wrong gradient is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from helpers import normal

import purenet as pn

X, W = normal(2, 3), normal(3, 4)


def times(x: Any, w: Any) -> Any:
    return x @ w


def with_rule(forward: Any, backward: Any) -> Any:
    function = jax.custom_vjp(times)
    function.defvjp(forward, backward)
    return function


def kept(x: Any, w: Any) -> Any:
    return x @ w, (x, w)


def right(saved: Any, dy: Any) -> Any:
    x, w = saved
    return dy @ w.T, x.T @ dy


def bare() -> Any:
    return jax.custom_vjp(times)


VJP: dict[str, tuple[Callable[[], Any], str]] = {
    "no rule": (bare, "times has no rule yet: give it one by times.defvjp(forward, backward)"),
    "no rule, inside jit": (lambda: jax.jit(bare()), "No VJP defined for custom_vjp function times using defvjp."),
    "forward returns y alone": (
        lambda: with_rule(times, right),
        "the forward rule of times must return (y, residuals), got float64 [2, 4]",
    ),
    "forward returns three": (
        lambda: with_rule(lambda x, w: (x @ w, x, w), right),
        "the forward rule of times must return (y, residuals), got tuple of 3",
    ),
    "forward returns another tree": (
        lambda: with_rule(lambda x, w: ((x @ w, x @ w), (x, w)), lambda saved, dy: right(saved, dy[0])),
        "the forward rule of times gives another y than times: it gives tuple of 2: (float64 [2, 4], float64 [2, 4]), "
        "times itself gives float64 [2, 4]",
    ),
    "forward returns another shape": (
        lambda: with_rule(lambda x, w: ((x @ w)[0], (x, w)), right),
        "the forward rule of times gives another y than times",
    ),
    "forward takes one argument": (
        lambda: with_rule(lambda x: (x @ W, (x, W)), right),
        "the forward rule of times takes (x), but is given 2 arguments, those of the function",
    ),
    "backward returns one gradient": (
        lambda: with_rule(kept, lambda saved, dy: (dy @ saved[1].T,)),
        "the backward rule of times must return a tuple of 2 gradients, one an argument, got tuple of 1",
    ),
    "backward returns no tuple": (
        lambda: with_rule(kept, lambda saved, dy: dy @ saved[1].T),
        "the backward rule of times must return a tuple of 2 gradients, one an argument, got float64 [2, 3]",
    ),
    "backward takes one argument": (
        lambda: with_rule(kept, lambda saved: saved),
        "the backward rule of times takes (saved), but is given 2 arguments",
    ),
    "backward returns another shape": (
        lambda: with_rule(kept, lambda saved, dy: ((dy @ saved[1].T).T, saved[0].T @ dy)),
        "your gradient of x has shape [3, 2], x has [2, 3]: it is the right gradient transposed",
    ),
    "backward returns another tree": (
        lambda: with_rule(kept, lambda saved, dy: ({"x": dy @ saved[1].T}, saved[0].T @ dy)),
        "no gradient is returned for x [2, 3]: got dict with ['x']",
    ),
    "another shape, inside jit": (
        lambda: jax.jit(with_rule(kept, lambda saved, dy: ((dy @ saved[1].T).T, saved[0].T @ dy))),
        "Custom VJP bwd rule must produce an output with the same type",
    ),
}


def said(target: Any, x: Any) -> str:
    with pytest.raises(pn.GradientError) as caught:
        pn.check(target, x, verbose=False)
    assert caught.value.report.verdict == "WRONG"
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("name", VJP)
def test_a_malformed_rule_is_told_in_a_sentence(name: str) -> None:
    make, sentence = VJP[name]
    assert sentence in said(make(), (X, W))


def test_a_mistake_in_the_callers_code_is_the_callers() -> None:
    with pytest.raises(TypeError, match="dot_general requires contracting dimensions"):
        pn.check(with_rule(kept, lambda saved, dy: (dy @ saved[1], saved[1])), (X, W))


# Rules for tangents.


def square(rule: Any) -> Any:
    function = jax.custom_jvp(lambda x: x**2)
    if rule is not None:
        function.defjvp(rule)
    return function


def outside(c: float) -> Any:
    """A rule that runs elsewhere, which JAX cannot transpose."""

    def rule(primals: Any, tangents: Any) -> Any:
        shape = jax.ShapeDtypeStruct(primals[0].shape, primals[0].dtype)
        moved = jax.pure_callback(lambda x, t: c * x * t, shape, primals[0], tangents[0], vmap_method="sequential")
        return primals[0] ** 2, moved

    return square(rule)


JVP: dict[str, tuple[Any, str]] = {
    "no rule": (None, "No JVP defined for custom_jvp function <lambda> using defjvp."),
    "no pair": (lambda primals, tangents: 2 * primals[0] * tangents[0], "must produce a pair"),
    "another shape": (
        lambda p, t: (p[0] ** 2, (2 * p[0] * t[0])[0]),
        "Custom JVP rule must produce primal and tangent",
    ),
    "a square of the tangent": (lambda p, t: (p[0] ** 2, 2 * p[0] * t[0] ** 2), "is not linear in them"),
    "the tangent's size": (lambda p, t: (p[0] ** 2, 2 * p[0] * jnp.abs(t[0])), "is not linear in them"),
}


@pytest.mark.parametrize("name", JVP)
def test_a_malformed_rule_for_tangents_is_told_in_a_sentence(name: str) -> None:
    rule, sentence = JVP[name]
    assert sentence in said(square(rule), X)


def test_a_rule_that_cannot_be_transposed_is_checked_forward() -> None:
    assert pn.check(outside(2.0), X, verbose=False).verdict == "PASS"
    assert "your gradient of x is 1/2 times the right one" in said(outside(1.0), X)
