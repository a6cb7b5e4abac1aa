"""The promise of the plan: far fewer temporary bytes than autodiff at the same matrix products."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from cost import cost

import purenet as pn
from purenet.layer import run_backward

ROWS, WIDTH, DEPTH = 512, 48, 12


def block() -> pn.Layer:
    return pn.residual(pn.serial(pn.layer_norm(), pn.dense(4 * WIDTH), pn.gelu(), pn.dense(WIDTH)))


def costs(net: pn.Layer) -> tuple[Any, Any]:
    """(by hand, by autodiff): the gradient of sum(sin(y)) for the parameters."""
    x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)

    def by_hand(params: Any, x: Any) -> Any:
        y, _, residuals = net.forward(params, state, x, None)
        return run_backward(net, params, x, y, residuals, jnp.cos(y))[0]

    def by_autodiff(params: Any, x: Any) -> Any:
        return jax.grad(lambda params: jnp.sum(jnp.sin(net.predict(params, state, x))))(params)

    return cost(by_hand, params, x), cost(by_autodiff, params, x)


def test_planned_stack_takes_less_than_a_fifth_at_equal_flops() -> None:
    hand, auto = costs(pn.repeat(block(), DEPTH))
    assert auto.temporary >= 5.5 * hand.temporary, (hand, auto)
    assert hand.flops == auto.flops


def test_rematerialised_stack_takes_less_than_a_twelfth() -> None:
    hand, auto = costs(pn.repeat(pn.remat(block()), DEPTH))
    assert auto.temporary >= 12 * hand.temporary, (hand, auto)
    assert hand.flops <= 7 / 6 * auto.flops


def test_bytes_grow_by_what_the_plan_keeps() -> None:
    """Ten more blocks keep ten more inputs, pre-activations and pairs of statistics, and nothing else."""
    kept = 4 * ROWS * (WIDTH + 4 * WIDTH + 2)
    shallow, deep = (costs(pn.repeat(block(), depth))[0].temporary for depth in (10, 20))
    assert deep - shallow == pytest.approx(10 * kept, rel=0.02)


def test_as_function_keeps_the_saving_under_jax_grad() -> None:
    net = pn.repeat(block(), DEPTH)
    x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    function = pn.as_function(net)
    inside_grad = cost(lambda params, x: jax.grad(lambda p: jnp.sum(jnp.sin(function(p, x))))(params), params, x)
    hand, auto = costs(net)
    assert inside_grad.temporary <= 1.05 * hand.temporary < auto.temporary / 5
