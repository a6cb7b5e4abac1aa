"""A derivative rule of your own, under jax.custom_vjp, checked before you trust it.

    python examples/check_my_vjp.py     prints three reports: right, wrong, and inside a larger function
    pytest examples/check_my_vjp.py     runs the test at the bottom, as in your own suite

log(sum(exp(x))) is written with the largest x subtracted, so that nothing overflows; its derivative is the softmax of
x, which needs nothing but x and the result. `pn.check` runs your rule and jax.grad of the undecorated function side
by side, in float64, with a random cotangent of the output.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn

ROWS = np.random.default_rng(0).normal(size=(5, 7))


def stable(x: Any) -> Any:
    """[rows, n] -> [rows]"""
    largest = jnp.max(x, -1, keepdims=True)
    return jnp.log(jnp.sum(jnp.exp(x - largest), -1)) + largest[:, 0]


@jax.custom_vjp
def log_sum_exp(x: Any) -> Any:
    return stable(x)


@jax.custom_vjp
def careless(x: Any) -> Any:
    return stable(x)


def forward_rule(x: Any) -> Any:
    y = stable(x)
    return y, (x, y)


def backward_rule(residuals: Any, dy: Any) -> Any:
    x, y = residuals
    return (dy[:, None] * jnp.exp(x - y[:, None]),)


def careless_rule(residuals: Any, dy: Any) -> Any:
    """The softmax without dy: right under jax.grad of a plain sum, where dy is 1, and wrong before anything else."""
    x, y = residuals
    return (jnp.exp(x - y[:, None]),)


log_sum_exp.defvjp(forward_rule, backward_rule)
careless.defvjp(forward_rule, careless_rule)


def cross_entropy(kernel: Any, x: Any) -> Any:
    """A larger function with the rule inside: softmax regression, where the label of every row is 0."""
    logits = x @ kernel
    return jnp.mean(log_sum_exp(logits) - logits[:, 0])


def plain_cross_entropy(kernel: Any, x: Any) -> Any:
    """The same without the rule, for jax.grad to differentiate."""
    return -jnp.mean(jax.nn.log_softmax(x @ kernel)[:, 0])


def main() -> dict[str, pn.Report]:
    print("1. The rule beside the function that it is a rule of:\n")
    reports = {"right": pn.check(log_sum_exp, ROWS)}

    print("\n2. A rule with a mistake. check raises GradientError; its message is the report:\n")
    try:
        pn.check(careless, ROWS)
    except pn.GradientError as error:
        print(error)
        reports["wrong"] = error.report

    print("\n3. A larger function with the rule inside. reference= is the same function without it:\n")
    kernel = np.random.default_rng(1).normal(size=(7, 3))
    reports["larger"] = pn.check(cross_entropy, ROWS, params=kernel, reference=plain_cross_entropy)
    return reports


def test_my_rule() -> None:
    """For tests: silent where all is well, and strict about a gradient that proves nothing because it is zero."""
    pn.assert_gradients(log_sum_exp, ROWS)


if __name__ == "__main__":
    main()
