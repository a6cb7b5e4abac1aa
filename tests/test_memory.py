"""The promise of the plan: far fewer temporary bytes than autodiff at the same matrix products."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from cost import Cost, cost
from helpers import residual_mlp
from jax import lax

import purenet as pn
from purenet.layer import run_backward

ROWS, WIDTH, DEPTH = 2048, 48, 12


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
    hand, auto = costs(pn.repeat(residual_mlp(WIDTH, 4 * WIDTH), DEPTH))
    assert auto.temporary >= 5.5 * hand.temporary, (hand, auto)
    assert hand.flops == auto.flops


@pytest.mark.complete
def test_rematerialised_stack_takes_less_than_a_twelfth() -> None:
    hand, auto = costs(pn.repeat(pn.remat(residual_mlp(WIDTH, 4 * WIDTH)), DEPTH))
    assert auto.temporary >= 12 * hand.temporary, (hand, auto)
    assert hand.flops <= 7 / 6 * auto.flops


@pytest.mark.complete
def test_bytes_grow_by_what_the_plan_keeps() -> None:
    """Ten more blocks keep ten more inputs, pre-activations and pairs of statistics, and nothing else."""
    kept = 4 * ROWS * (WIDTH + 4 * WIDTH + 2)
    shallow, deep = (costs(pn.repeat(residual_mlp(WIDTH, 4 * WIDTH), depth))[0].temporary for depth in (10, 20))
    assert deep - shallow == pytest.approx(10 * kept, rel=0.02)


@pytest.mark.complete
def test_as_function_keeps_the_saving_under_jax_grad() -> None:
    net = pn.repeat(residual_mlp(WIDTH, 4 * WIDTH), DEPTH)
    x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    function = pn.as_function(net)
    inside_grad = cost(lambda params, x: jax.grad(lambda p: jnp.sum(jnp.sin(function(p, x))))(params), params, x)
    hand, auto = costs(net)
    assert inside_grad.temporary <= 1.05 * hand.temporary < auto.temporary / 5


# Against everyday code: a scan over the blocks, written in jax.numpy, under jax.value_and_grad.


def plain_mlp(params: Any, x: Any) -> Any:
    up, _, down = params
    return x + jax.nn.gelu(x @ up["kernel"] + up["bias"][None]) @ down["kernel"] + down["bias"][None]


def plain_swiglu(params: Any, x: Any) -> Any:
    gate, value = jnp.split(x @ params["up"]["kernel"], 2, -1)
    return x + (jax.nn.silu(gate) * value) @ params["down"]["kernel"]


def mlp() -> pn.Layer:
    return pn.residual(pn.serial(pn.dense(4 * WIDTH), pn.gelu(), pn.dense(WIDTH)))


def swiglu() -> pn.Layer:
    return pn.residual(pn.gated_mlp(132, features=WIDTH))


Function = Callable[..., Any]


def stack_cost(layer: pn.Layer, wrap: Callable[[Function], Function] = jax.jit, copies: Any = (), **how: Any) -> Cost:
    """Of value and gradient of a stack, wrapped; `copies` is an axis before those of parameters and x."""
    net, arguments = stack(layer, copies, **how)

    def value_and_gradient(params: Any, x: Any) -> Any:
        y, _, residuals = net.forward(params, (), x, None)
        return jnp.sum(jnp.sin(y)), run_backward(net, params, x, y, residuals, jnp.cos(y))[0]

    return cost(wrap(value_and_gradient), *arguments)


@functools.cache
def plain_cost(
    layer: Callable[[], pn.Layer],
    plain: Function,
    depth: int = DEPTH,
    wrap: Callable[[Function], Function] = jax.jit,
    copies: Any = (),
) -> Cost:
    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(jnp.sin(lax.scan(lambda x, p: (plain(p, x), None), x, params)[0]))

    return cost(wrap(jax.value_and_grad(loss)), *stack(layer(), copies, depth=depth)[1])


def stack(layer: pn.Layer, copies: Any, *, depth: int = DEPTH, keep: str = "plan") -> tuple[pn.Layer, Any]:
    """The stack and the shapes of its parameters and input."""
    net = pn.repeat(layer, depth, keep=keep)
    x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    return net, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*copies, *leaf.shape), leaf.dtype), (params, x))


# (bytes, FLOPs) as promised at full size in the README; bytes with 10% slack.
PROMISES = {
    "gelu MLP, plan": (mlp, plain_mlp, DEPTH, "plan", 4, 1),
    "gelu MLP, inputs": (mlp, plain_mlp, DEPTH, "inputs", 10, 7 / 6),
    "gelu MLP, nested": (mlp, plain_mlp, 256, "nested", 79, 1.5),
    "SwiGLU, plan": (swiglu, plain_swiglu, DEPTH, "plan", 2.4, 1),
    "SwiGLU, inputs": (swiglu, plain_swiglu, DEPTH, "inputs", 7, 11 / 9),
}


@pytest.mark.complete
@pytest.mark.parametrize("name", PROMISES)
def test_stacks_keep_their_promises(name: str) -> None:
    layer, plain, depth, keep, bytes_ratio, flops_ratio = PROMISES[name]
    hand, auto = stack_cost(layer(), depth=depth, keep=keep), plain_cost(layer, plain, depth)
    assert auto.temporary >= 0.9 * bytes_ratio * hand.temporary, (hand, auto)
    assert hand.flops <= flops_ratio * auto.flops


def training_steps(gradient: Function) -> Function:
    """Three steps of gradient descent in a scan."""

    def step(x: Any, params: Any) -> Any:
        value, gradients = gradient(params, x)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, gradients), value

    return lambda params, x: lax.scan(lambda params, _: step(x, params), params, None, length=3)


@pytest.mark.complete
@pytest.mark.parametrize(("wrap", "copies"), [(jax.vmap, (4,)), (training_steps, ())], ids=["vmap", "scan of steps"])
def test_promises_hold_under_transformations(wrap: Callable[[Function], Function], copies: Any) -> None:
    """A twentieth of the ratio is lost at most, and no product is added."""
    plain, auto = (plain_cost(mlp, plain_mlp, DEPTH, *how) for how in ((), (wrap, copies)))
    hand, wrapped = stack_cost(mlp()), stack_cost(mlp(), wrap, copies)
    assert auto.temporary / wrapped.temporary >= 0.95 * plain.temporary / hand.temporary
    assert wrapped.flops == auto.flops


# What a block keeps, to the byte.


def block_bytes(layer: pn.Layer, x: Any) -> int:
    """Kept for each of five blocks, beside the parameters."""
    net = pn.repeat(layer, 5)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    residuals = jax.eval_shape(net.forward, params, state, x, jax.random.key(0))[2]
    total = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals))
    assert total % 5 == 0
    return total // 5


KEY = 8


@pytest.mark.parametrize(
    ("layer", "kept"),
    [
        (mlp(), 4 * ROWS * (WIDTH + 4 * WIDTH)),  # x, h
        (swiglu(), 4 * ROWS * (WIDTH + 2 * 132)),  # x, a, u
        (pn.serial(pn.layer_norm(), pn.dense(WIDTH)), 4 * ROWS * (WIDTH + 2)),  # x, mean, rstd
        (pn.serial(pn.rms_norm(), pn.dense(WIDTH)), 4 * ROWS * (WIDTH + 1)),  # x, rstd
        (pn.dropout(0.1), KEY),
        (
            pn.residual(pn.serial(pn.dense(9), pn.gelu(), pn.dropout(0.1), pn.dense(WIDTH))),
            4 * ROWS * (WIDTH + 9) + KEY,
        ),
    ],
    ids=["gelu MLP", "SwiGLU", "layer_norm, dense", "rms_norm, dense", "dropout", "gelu MLP with dropout"],
)
def test_a_block_keeps_no_more_than_it_must(layer: pn.Layer, kept: int) -> None:
    assert block_bytes(layer, jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)) == kept


def test_a_transformer_block_keeps_no_more_than_it_must() -> None:
    """Two inputs with their statistics, q, k, v, o, the log-sum-exp and h."""
    time, heads = 16, 4
    attention = pn.serial(
        pn.layer_norm(), pn.dense(3 * WIDTH), pn.packed_attention(heads, causal=True), pn.dense(WIDTH)
    )
    layer = pn.serial(pn.residual(attention), residual_mlp(WIDTH, 4 * WIDTH))
    kept = time * (2 * (WIDTH + 2) + 3 * WIDTH + WIDTH + heads + 4 * WIDTH)
    assert block_bytes(layer, jax.ShapeDtypeStruct((2, time, WIDTH), jnp.float32)) == 2 * 4 * kept
