"""The fused step is make_step's, and never holds the gradient of a stack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import purenet as pn
from purenet import losses
from purenet.flops import inner_jaxprs, matmul_flops
from purenet.train import init_train_state, make_fused_step, make_step

ROWS, WIDTH, DEPTH = 6, 8, 3
X = jax.random.normal(jax.random.key(0), (ROWS, 5)), jax.random.normal(jax.random.key(1), (ROWS, 5))


def block() -> pn.Layer:
    return pn.residual(pn.serial(pn.dense(12), pn.gelu(), pn.dropout(0.1), pn.dense(WIDTH)))


def objective(blocks: pn.Layer) -> pn.Layer:
    """Tied parameters outside of the stacks."""
    net = pn.serial(up=pn.dense(WIDTH, use_bias=False), blocks=blocks, down=pn.dense(5, use_bias=False))
    return pn.objective(pn.tied(net, {"down.kernel": "up.kernel.T"}), losses.squared_error())


def reversing() -> pn.Layer:
    half = pn.serial(pn.layer_norm(), pn.dense(WIDTH // 2))
    return pn.repeat(pn.reversible(half, half), DEPTH)


def matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 2, params)


def by_name(params: Any) -> Any:
    return {name: jax.tree.map(lambda _, name=name: name, tree) for name, tree in params.items()}


CASES: dict[str, tuple[Callable[[], pn.Layer], Any]] = {
    "adamw, decay of matrices alone": (
        lambda: objective(pn.repeat(block(), DEPTH)),
        optax.adamw(1e-2, mask=matrices),
    ),
    "momentum, a schedule, block inputs and segments": (
        lambda: pn.with_dtype(
            objective(pn.serial(pn.repeat(block(), 2, keep="inputs"), pn.repeat(block(), DEPTH, keep="nested"))),
            jnp.bfloat16,
        ),
        optax.sgd(optax.cosine_decay_schedule(1e-2, 5), momentum=0.9),
    ),
    "lion, a reversible stack, an optimizer each": (
        lambda: objective(reversing()),
        optax.partition(
            {"up": optax.sgd(1e-2), "down": optax.sgd(1e-2), "blocks": optax.inject_hyperparams(optax.lion)(1e-3)},
            by_name,
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_equal_those_of_make_step(name: str) -> None:
    make, optimizer = CASES[name]
    net = make()
    before = init_train_state(net, optimizer, jax.random.key(2), X)
    runs = []
    for make_one in (make_step, make_fused_step):
        step = jax.jit(make_one(net, optimizer))
        state, losses_of_run = before, []
        for _ in range(3):
            state, metrics = step(state, X)
            losses_of_run.append(metrics["loss"])
        runs.append((dataclasses.replace(state, key=()), losses_of_run))
    plain, fused = runs
    assert jax.tree.structure(fused) == jax.tree.structure(plain)
    for one, other in zip(jax.tree.leaves(fused), jax.tree.leaves(plain), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def scan_outputs(jaxpr: Any) -> Iterator[tuple[int, ...]]:
    """The shapes of what scans stack, in all of a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            bodies = equation.params["jaxpr"].jaxpr.outvars
            for outer, inner in zip(equation.outvars, bodies, strict=True):
                if len(outer.aval.shape) > len(inner.aval.shape):
                    yield outer.aval.shape
        for inner in inner_jaxprs(equation.params):
            yield from scan_outputs(inner)


@pytest.mark.complete
def test_the_gradient_of_a_stack_is_never_there() -> None:
    """Temporary bytes for an H200, 24 gelu blocks 1024-4096-1024: 322 MiB, make_step's 1,073, jax.grad's 2,003."""
    net, optimizer = objective(pn.repeat(block(), DEPTH)), optax.adamw(1e-3)
    state = jax.eval_shape(lambda key: init_train_state(net, optimizer, key, X), jax.random.key(2))
    plain, fused = (jax.jit(make(net, optimizer)).trace(state, X).jaxpr.jaxpr for make in (make_step, make_fused_step))
    assert (DEPTH, WIDTH, 12) in set(scan_outputs(plain))
    assert (DEPTH, WIDTH, 12) not in set(scan_outputs(fused))
    assert matmul_flops(fused) == matmul_flops(plain)
