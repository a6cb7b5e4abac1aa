"""What a check can be asked: a gradient that is meant, a tolerance, the second order, more points, a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal

import purenet as pn

X, W = normal(2, 3), normal(3, 4)


def ruled(f: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    """A function whose backward takes (arguments, dy)."""
    function = jax.custom_vjp(f)
    function.defvjp(lambda *arguments: (f(*arguments), arguments), backward)
    return function


def verdict(target: Any, x: Any = X, **options: Any) -> str:
    try:
        return pn.check(target, x, verbose=False, **options).verdict
    except pn.GradientError as error:
        return error.report.verdict


def said(target: Any, x: Any = X, **options: Any) -> str:
    with pytest.raises(pn.GradientError) as caught:
        pn.check(target, x, verbose=False, **options)
    return " ".join(str(caught.value).split())


# Rules that are meant to differ from the derivative.

ROUND = ruled(jnp.round, lambda kept, dy: (dy,))
REVERSED = ruled(lambda x: x, lambda kept, dy: (-dy,))
CLIPPED = ruled(lambda x: x, lambda kept, dy: (jnp.clip(dy, -0.1, 0.1),))
SIGN = ruled(jnp.sign, lambda kept, dy: (dy * (jnp.abs(kept[0]) <= 1),))

MEANT: dict[str, tuple[Any, Any, Callable[..., Any], Callable[..., Any]]] = {
    "straight-through": (ROUND, X, lambda x, dy: dy, lambda x, dy: dy / 2),
    "clipped straight-through": (SIGN, 2 * X, lambda x, dy: dy * (jnp.abs(x) <= 1), lambda x, dy: dy),
    "reversal": (REVERSED, X, lambda x, dy: -dy, lambda x, dy: dy),
    "clipping": (CLIPPED, X, lambda x, dy: jnp.clip(dy, -0.1, 0.1), lambda x, dy: jnp.clip(dy, -0.2, 0.2)),
    "scaling inside a function of two": (
        lambda x, w: REVERSED(x) @ w,
        (X, W),
        lambda x, w, dy: (-dy @ w.T, x.T @ dy),
        lambda x, w, dy: (-dy @ w.T, -x.T @ dy),
    ),
    "a pair": ((jnp.round, lambda x, dy: dy), X, lambda x, dy: dy, lambda x, dy: 2 * dy),
    "a layer": (
        pn.stateless(jnp.round, lambda x, dy: dy, name="round"),
        X,
        lambda params, x, dy: ((), dy),
        lambda params, x, dy: ((), 2 * dy),
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_a_gradient_that_is_meant_is_compared_with(name: str) -> None:
    target, x, meant, other = MEANT[name]
    report = pn.check(target, x, intended=meant, verbose=False)
    assert (report.verdict, report.against) == ("PASS", "intended")
    assert verdict(target, x, intended=other) == "WRONG"


@pytest.mark.parametrize("name", MEANT)
def test_without_saying_so_it_is_no_derivative(name: str) -> None:
    target, x, _, _ = MEANT[name]
    assert "intended=" in said(target, x) or name.startswith("scaling")


def test_a_wide_clip_is_noted() -> None:
    report = pn.check(ruled(lambda x: x, lambda kept, dy: (jnp.clip(dy, -10, 10),)), X, verbose=False)
    assert report.verdict == "PASS"
    assert "it clips a larger one" in report.notes[0]
    wider = ruled(lambda x: x, lambda kept, dy: (jnp.clip(dy, -10, 10),))
    assert verdict(wider, intended=lambda x, dy: jnp.clip(dy, -8, 8)) == "WRONG"


def test_a_clip_where_the_forward_computes_something_is_wrong() -> None:
    assert verdict(ruled(lambda x: 2 * x, lambda kept, dy: (2 * jnp.clip(dy, -10, 10),))) == "WRONG"


# Tolerance.

APPROXIMATE = ruled(jnp.sin, lambda kept, dy: (dy * jnp.cos(kept[0]) * (1 + 1e-7 * jnp.sin(kept[0])),))


def test_a_tolerance_accepts_what_is_approximate_and_no_more() -> None:
    report = pn.check(APPROXIMATE, X, rtol=1e-6, verbose=False)
    assert report.verdict == "PASS"
    assert report.notes[0].startswith("right within rtol=1e-06: off by at most 4.")
    assert verdict(APPROXIMATE, rtol=1e-8) == "WRONG"
    assert "accept it by rtol=1e-07" in said(APPROXIMATE)


def test_a_gradient_in_numpy_takes_a_tolerance() -> None:
    def gradient(x: Any) -> Any:
        return np.cos(x) * (1 + 1e-5)

    assert pn.check_gradient(gradient, lambda x: np.sum(np.sin(x)), X, rtol=1e-4, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check_gradient(gradient, lambda x: np.sum(np.sin(x)), X, verbose=False)


# The backward's own derivative.


def cube(backward: Callable[..., Any]) -> Any:
    return ruled(lambda x: x**3, lambda kept, dy: (backward(kept[0], dy),))


RIGHT_TWICE: dict[str, Any] = {
    "rule": cube(lambda x, dy: 3 * dy * x**2),
    "pair": (jnp.tanh, lambda y, dy: dy * (1 - y**2)),
    "linear": (lambda x: 2 * x, lambda x, dy: 2 * dy),
    "layer": pn.dense(3),
}
WRONG_TWICE: dict[str, Any] = {
    "stopped": cube(lambda x, dy: 3 * dy * jax.lax.stop_gradient(x) ** 2),
    "half stopped": cube(lambda x, dy: 3 * dy * x * jax.lax.stop_gradient(x)),
    "a where": cube(lambda x, dy: dy * jnp.where(x**2 > 0, jax.lax.stop_gradient(3 * x**2), 3 * x**2)),
    "rounded": cube(lambda x, dy: 3 * dy * (x**2 - x + jnp.round(x * 2.0**40) * 2.0**-40)),
    "a rule inside": cube(lambda x, dy: 3 * dy * ruled(jnp.square, lambda kept, dy: (dy * kept[0],))(x)),
}


@pytest.mark.parametrize("name", RIGHT_TWICE)
def test_a_right_second_order_passes(name: str) -> None:
    assert verdict(RIGHT_TWICE[name], order=2) == "PASS"


@pytest.mark.parametrize("name", WRONG_TWICE)
def test_a_derivative_that_is_lost_is_found(name: str) -> None:
    assert verdict(WRONG_TWICE[name]) == "PASS"
    assert "its own derivative is not (gradient by x)" in said(WRONG_TWICE[name], order=2)


def test_what_has_no_second_order_says_so() -> None:
    with pytest.raises(ValueError, match="order=2 differentiates the backward of sin, which JAX cannot"):
        pn.check((jnp.sin, lambda x, dy: np.cos(x) * np.asarray(dy)), X, order=2, verbose=False)


# Points and time.


def test_more_points_find_what_one_hides() -> None:
    def backward(x: Any, dy: Any) -> Any:
        return 3 * dy * x**2 * jnp.where(x > 0.9, 2, 1)

    assert verdict(cube(backward), 0.8) == "PASS"
    assert "those before it are right" in said(cube(backward), 0.8, points=10)
    assert pn.check(cube(lambda x, dy: 3 * dy * x**2), X, points=3, verbose=False).notes == ("right at 3 points",)


def test_a_diagnosis_keeps_to_its_time_and_says_what_is_left() -> None:
    """An LSTM-like loop, unrolled: hundreds of steps, each of which may be the mistake."""

    def forward(w: Any) -> Any:
        h = jnp.zeros(3)
        for t in range(12):
            h = jnp.tanh(h @ w + jnp.sin(jnp.arange(3.0) + t)) * jax.nn.sigmoid(h @ w.T)
        return h

    def backward(w: Any, dy: Any) -> Any:
        strange = jnp.cumsum(jnp.sin(7 * jnp.ravel(w))).reshape(w.shape) * jnp.sum(dy * jnp.arange(3.0) ** 3)
        return jax.vjp(forward, w)[1](dy)[0] + strange

    start = time.monotonic()
    text = said((forward, backward), normal(3, 3), seconds=0.5)
    assert time.monotonic() - start < 30  # it would take minutes
    assert "no single mistake that was tried explains" in text
    assert "there was no time to try" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": 0}, "expected rtol between 0 and 1"),
        ({"rtol": 1.5}, "expected rtol between 0 and 1"),
        ({"order": 3}, "expected order=1"),
        ({"points": 0}, "expected points"),
        ({"points": 1.5}, "expected points"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pn.check(ROUND, X, **options)
