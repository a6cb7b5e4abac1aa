"""Every form in which a function with a derivative rule, or a gradient in NumPy, is brought: right and wrong."""

from __future__ import annotations

import functools
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal
from jax import lax
from jax.custom_derivatives import linear_call

import purenet as pn


def with_rule(f: Callable[..., Any], forward: Any, backward: Any, **options: Any) -> Any:
    ruled = jax.custom_vjp(f, **options)
    ruled.defvjp(forward, backward)
    return ruled


def square(c: float) -> Any:
    """x^2, whose rule is right where c = 2."""
    return with_rule(lambda x: x**2, lambda x: (x**2, x), lambda x, dy: (c * dy * x,))


def square_jvp(c: float) -> Any:
    ruled = jax.custom_jvp(lambda x: x**2)
    ruled.defjvp(lambda primals, tangents: (ruled(primals[0]), c * primals[0] * tangents[0]))
    return ruled


def square_gradient(c: float) -> Any:
    return jax.custom_gradient(lambda x: (x**2, lambda dy: c * dy * x))


def product(c: float) -> Any:
    return with_rule(
        lambda a, b: a @ b, lambda a, b: (a @ b, (a, b)), lambda kept, dy: (dy @ kept[1].T, c / 2 * kept[0].T @ dy)
    )


def along(c: float) -> Any:
    """Static arguments: an axis and a word."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
    def squares(x: Any, axis: int, mode: str) -> Any:
        return jnp.sum(x**2, axis) if mode == "sum" else x

    squares.defvjp(
        lambda x, axis, mode: (squares(x, axis, mode), x),
        lambda axis, mode, x, dy: (c * jnp.expand_dims(dy, axis) * x,),
    )
    return squares


def of_function(c: float) -> Any:
    def backward(f: Any, x: Any, dy: Any) -> Any:
        return (c * dy * jnp.sin(x) * jnp.cos(x),)

    return with_rule(lambda f, x: f(x) ** 2, lambda f, x: (f(x) ** 2, x), backward, nondiff_argnums=(0,))


def shared(c: float) -> Any:
    """A right rule around a wrong one: jax.vjp inside the backward takes the inner rule."""
    inner = square(c)

    def outer(x: Any) -> Any:
        return 3 * inner(x)

    return with_rule(outer, lambda x: (outer(x), x), lambda x, dy: jax.vjp(outer, x)[1](dy))


def flagged(c: float) -> Any:
    def f(x: Any) -> Any:
        return x**2, jnp.sum(x) > 0

    return with_rule(f, lambda x: (f(x), x), lambda x, dy: (c * dy[0] * x,))


MATRIX = normal(3, 3) @ normal(3, 3).T + 3 * np.eye(3)


def linear(c: float) -> Any:
    return lambda x: linear_call(lambda m, x: m @ x, lambda m, y: c / 2 * m.T @ y, jnp.asarray(MATRIX), x)


def solved(c: float) -> Any:
    def solve(_: Any, b: Any) -> Any:
        return jnp.linalg.solve(jnp.asarray(MATRIX), b)

    def transposed(times: Any, b: Any) -> Any:
        return c / 2 * solve(times, b)

    return lambda b: lax.custom_linear_solve(lambda x: jnp.asarray(MATRIX) @ x, b, solve, transposed)


def rooted(c: float) -> Any:
    """The square root by Newton's steps, whose derivative is that of the equation."""

    def f(a: Any) -> Any:
        def solve(f: Any, x: Any) -> Any:
            return lax.fori_loop(0, 30, lambda i, x: 0.5 * (x + a / x), x)

        return lax.custom_root(
            lambda x: x**2 - a, jnp.ones_like(a), solve, lambda g, y: c / 2 * y / g(jnp.ones_like(y))
        )

    return lambda x: f(x**2 + 1)


def bisected(c: float) -> Any:
    """A root that jax.grad takes for a constant: comparisons have no slope."""

    def f(a: Any) -> Any:
        def halve(i: Any, ends: Any) -> Any:
            low, high = ends
            middle = (low + high) / 2
            above = middle**3 + middle > a
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        low, high = lax.fori_loop(0, 60, halve, (jnp.full_like(a, -5.0), jnp.full_like(a, 5.0)))
        return (low + high) / 2

    return with_rule(f, lambda a: (f(a), f(a)), lambda y, dy: (c / 2 * dy / (3 * y**2 + 1),))


def of_jax(c: float) -> Any:
    """A rule of the caller's for one of JAX's own functions."""
    return with_rule(jnp.square, lambda x: (jnp.square(x), x), lambda x, dy: (c * dy * x,))


def log_of_sum(c: float) -> Any:
    """Rows that are masked throughout give -inf, and no gradient."""

    def f(x: Any) -> Any:
        largest = jnp.max(x, -1, keepdims=True)
        largest = jnp.where(jnp.isfinite(largest), largest, 0)
        return jnp.log(jnp.sum(jnp.exp(x - largest), -1)) + largest[..., 0]

    def backward(kept: Any, dy: Any) -> Any:
        x, y = kept
        rows = jnp.isfinite(y)[..., None]
        return (jnp.where(rows, c / 2 * dy[..., None] * jnp.exp(x - jnp.where(rows, y[..., None], 0)), 0),)

    return with_rule(f, lambda x: (f(x), (x, f(x))), backward)


class Scaled:
    def __init__(self, f: Any):
        self.f = f

    def call(self, x: Any) -> Any:
        return 2.0 * self.f(x)


X = normal(3)
SIMPLE: dict[str, Callable[[float], Any]] = {
    "custom_vjp": square,
    "custom_jvp": square_jvp,
    "custom_gradient": square_gradient,
    "jit": lambda c: jax.jit(square(c)),
    "vmap": lambda c: jax.vmap(square(c)),
    "checkpoint": lambda c: jax.checkpoint(square(c)),
    "lambda": lambda c: lambda x: jnp.sin(square(c)(x)),
    "partial": lambda c: functools.partial(lambda f, x: 2 * f(x), square(c)),
    "method": lambda c: Scaled(square(c)).call,
    "scan": lambda c: lambda x: jax.lax.scan(lambda carry, a: (carry + square(c)(a), carry), 0.0, x)[1],
    "cond": lambda c: lambda x: jax.lax.cond(x[0] > -9, square(c), jnp.sin, x),
    "boolean output": flagged,
    "default not given": lambda c: lambda x, s=2.0: s * square(c)(x),
    "rule shared with the reference": shared,
    "custom_gradient in jit": lambda c: jax.jit(square_gradient(c)),
    "custom_gradient inside": lambda c: lambda x: jnp.sin(square_gradient(c)(x)),
    "a rule for jnp.square": of_jax,
    "a rule for jnp.square inside": lambda c: lambda x: 3 * of_jax(c)(x),
    "linear_call": linear,
    "custom_linear_solve": solved,
    "custom_root": rooted,
    "bisection": bisected,
}
FORMS: dict[str, tuple[Callable[[float], Any], Any]] = {name: (make, X) for name, make in SIMPLE.items()} | {
    "two arguments": (product, (normal(2, 3), normal(3, 4))),
    "by name": (product, {"a": normal(2, 3), "b": normal(3, 4)}),
    "static arguments": (along, (normal(2, 3), 1, "sum")),
    "a function as argument": (of_function, (jnp.sin, X)),
    "default given": (lambda c: lambda x, s=2.0: s * square(c)(x), (X, 3.0)),
    "any number": (lambda c: lambda *xs: square(c)(xs[0]) * xs[1], (X, X)),
    "keyword only": (lambda c: lambda x, *, s: s * square(c)(x), {"x": X, "s": 2.0}),
    "dict": (lambda c: lambda p: square(c)(p["w"]) * p["b"], {"w": X, "b": X}),
    "list": (lambda c: lambda p: square(c)(p[0]) * p[1], [X, X]),
    "infinite numbers": (log_of_sum, np.array([[0.3, -np.inf, 1.0], [-np.inf, -np.inf, -np.inf]])),
    "integers beside": (lambda c: lambda x, i: square(c)(x)[i], (normal(5), np.array([1, 2, 2]))),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_taken(name: str) -> None:
    make, x = FORMS[name]
    assert pn.check(make(2.0), x, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError) as caught:
        pn.check(make(1.0), x, verbose=False)
    assert caught.value.report.verdict == "WRONG"


def test_leaves_carry_the_arguments_names() -> None:
    report = pn.check(product(2.0), (normal(2, 3), normal(3, 4)), verbose=False)
    assert [leaf.path for leaf in report.leaves] == ["a", "b"]


# NumPy.

DATA, TARGETS = normal(6, 3), normal(6, seed=1)


def least_squares(w: Any) -> float:
    return float(np.mean((DATA @ w - TARGETS) ** 2))


def least_squares_gradient(w: Any) -> Any:
    return 2 * DATA.T @ (DATA @ w - TARGETS) / len(TARGETS)


def in_place(w: Any) -> Any:
    slope = np.ones_like(w)
    slope[w < 0] = 0
    w[:] = 0
    return slope


GRADIENTS: dict[str, tuple[Any, Any, Any]] = {
    "value in NumPy": (least_squares_gradient, least_squares, X),
    "in place": (in_place, lambda w: np.sum(np.maximum(w, 0)), X),
    "in place, value in JAX": (in_place, lambda w: jnp.sum(jnp.maximum(w, 0)), X),
    "math": (math.cos, lambda x: math.sin(x), 0.7),
    "a branch": (lambda x: 2 * x if x > 0 else -1.0, lambda x: x**2 if x > 0 else -x, 0.7),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_gradient_in_numpy_is_checked(name: str) -> None:
    gradient, value, x = GRADIENTS[name]
    assert pn.check_gradient(gradient, value, x, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError) as caught:
        pn.check_gradient(lambda x: 1.02 * gradient(x), value, x, verbose=False)
    assert caught.value.report.verdict == "WRONG"


def smooth(x: Any) -> Any:
    out, state = np.empty_like(x), 0.0
    for i in range(len(x)):
        state = 0.5 * state + math.tanh(x[i])
        out[i] = state
    return out


def smooth_backward(x: Any, dy: Any, decay: float = 0.5) -> Any:
    dx, dstate = np.zeros_like(x), 0.0
    for i in reversed(range(len(x))):
        dstate = dy[i] + decay * dstate
        dx[i] = dstate * (1 - np.tanh(x[i]) ** 2)
    return dx


def test_a_pair_in_numpy_is_checked_by_differences() -> None:
    report = pn.check((smooth, smooth_backward), normal(6), verbose=False)
    assert (report.verdict, report.against) == ("PASS", "differences")
    assert "jax.grad cannot differentiate the forward" in report.notes[0]
    with pytest.raises(pn.GradientError):
        pn.check((smooth, lambda x, dy: smooth_backward(x, dy, 0.4)), normal(6), verbose=False)


def test_what_compares_with_jax_grad_says_that_it_cannot() -> None:
    with pytest.raises(ValueError, match=r"dtype= compares with jax\.grad, which cannot differentiate smooth"):
        pn.check((smooth, smooth_backward), normal(6), dtype=jnp.float32, verbose=False)
    figure = pn.check((smooth, smooth_backward), normal(6), verbose=False).plot()
    titles = {axes.get_title() for axes in figure.axes}
    assert {"differences", "|yours - differences|"} <= titles


def sinh(slope: Any) -> Any:
    """A forward that runs elsewhere."""

    def f(x: Any) -> Any:
        return jax.pure_callback(np.sinh, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    return with_rule(f, lambda x: (f(x), x), lambda x, dy: (dy * slope(x),))


def test_a_callback_is_checked_by_differences() -> None:
    assert pn.check(sinh(jnp.cosh), normal(4), verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check(sinh(jnp.sinh), normal(4), verbose=False)


def test_too_many_numbers_for_differences_are_refused() -> None:
    with pytest.raises(ValueError, match="pass at most 4000 numbers, or reference="):
        pn.check((smooth, smooth_backward), normal(4001), verbose=False)


# Kinks, and what both legs say.

RELU = (lambda x: jnp.maximum(x, 0), lambda x, dy: dy * (x > 0))
ABS = (lambda x: jnp.abs(x), lambda x, dy: dy * jnp.sign(x))


@pytest.mark.parametrize("pair", [RELU, ABS], ids=["relu", "abs"])
def test_every_value_between_the_slopes_of_a_kink_is_right(pair: Any) -> None:
    report = pn.check(pair, np.array([0.0, 1.0, -1.0]), verbose=False)
    assert report.verdict == "PASS"
    assert "the forward has a kink at x [0]" in report.notes[0]


def test_a_kink_in_numpy_is_one_too() -> None:
    x = np.array([0.0, 1.0, -1.0])
    report = pn.check((lambda x: np.maximum(x, 0), lambda x, dy: np.asarray(dy) * (x > 0)), x, verbose=False)
    assert (report.verdict, report.against) == ("PASS", "differences")
    assert "that of differences" in report.notes[1]


def test_a_mistake_of_five_percent_in_bfloat16_is_no_rounding() -> None:
    def backward(x: Any, dy: Any) -> Any:
        return (1.05 * dy * jnp.cos(x)).astype(jnp.bfloat16).astype(dy.dtype)

    with pytest.raises(pn.GradientError) as caught:
        pn.check((jnp.sin, backward), normal(5, 7), verbose=False)
    assert caught.value.report.verdict == "WRONG"


def test_a_kink_hides_nothing() -> None:
    for backward in (lambda x, dy: 0.5 * dy * (x >= 0), lambda x, dy: 3 * dy * (x >= 0)):
        with pytest.raises(pn.GradientError):
            pn.check((RELU[0], backward), np.zeros(3), verbose=False)


def test_a_stopped_gradient_is_said() -> None:
    pair = (lambda x: jax.lax.stop_gradient(x) * x, lambda x, dy: dy * x)
    report = pn.check(pair, X, verbose=False)
    assert report.verdict == "PASS"
    assert "it stops or scales a gradient, which is taken as meant" in report.notes[0]


class Tensor:
    """As PyTorch's: its functions take nothing else."""

    def __init__(self, array: Any):
        self.array = array

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self.array

    def __mul__(self, other: Tensor) -> Tensor:
        return Tensor(self.array * other.array)


def test_functions_of_tensors_are_given_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(f: Callable[..., Any]) -> Callable[..., Any]:
        def run(x: Any) -> Tensor:
            if not isinstance(x, Tensor):
                raise TypeError("argument 'input' must be Tensor")
            return Tensor(f(x.array))

        return run

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=Tensor))
    sin, cos = function(np.sin), function(np.cos)
    assert pn.check((sin, lambda x, dy: dy * cos(x)), X, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check((sin, lambda x, dy: dy * sin(x)), X, verbose=False)
    total = function(np.sum)
    assert pn.check_gradient(lambda x: cos(x), lambda x: total(sin(x)), X, verbose=False).verdict == "PASS"


def test_a_rule_that_follows_the_forward_where_jax_does_not_is_right() -> None:
    report = pn.check(bisected(2.0), X, verbose=False)
    assert report.notes == ("jax.grad is off here (x): the forward's own differences are your gradient, to 1e-6",)


def test_a_leaf_that_is_nothing_beside_the_others_proves_nothing() -> None:
    """The start of an iteration that converges: its true gradient is 1e-20 of the others, and 0 is right as well."""
    pair = (lambda a, start: a**2 + 1e-25 * start, lambda a, start, dy: (2 * a * dy, jnp.zeros_like(start)))
    assert [leaf.verdict for leaf in pn.check(pair, (X, X), verbose=False).leaves] == ["PASS", "VACUOUS"]
