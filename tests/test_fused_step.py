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


def small(*blocks: pn.Layer) -> pn.Layer:
    """Stacks within stacks' names: paths that end alike, and their shapes too."""
    first, second = blocks
    net = pn.serial(up=pn.dense(WIDTH), blocks=first, inner=pn.serial(blocks=second, down=pn.dense(5)))
    return pn.objective(net, losses.squared_error())


def layers(n: int = 2) -> pn.Layer:
    return pn.repeat(pn.serial(pn.dense(WIDTH), pn.tanh()), n)


def kernels(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def large(params: Any) -> Any:
    """True for a stack of two kernels, not for one of them."""
    return jax.tree.map(lambda leaf: leaf.size > WIDTH * WIDTH, params)


def is_first(step: Any, **others: Any) -> Any:
    return step < 1


WARM = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 2, 5)

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
    "two stacks alike, decay of kernels, a schedule": (
        lambda: small(layers(), layers()),
        optax.adamw(WARM, mask=kernels, mu_dtype=jnp.bfloat16),
    ),
    "a stack without parameters, a mask by size, clipping by value": (
        lambda: small(pn.repeat(pn.tanh(), 2), layers()),
        optax.chain(optax.clip(1e-2), optax.masked(optax.trace(0.9), large), optax.scale(-1e-2)),
    ),
    "lion, accumulated over two steps": (
        lambda: small(layers(), layers(1)),
        optax.MultiSteps(optax.lion(WARM), 2),
    ),
    "one block, a rate by the loss, another branch in the first step": (
        lambda: small(layers(1), layers(3)),
        optax.chain(
            optax.sgd(1e-2, momentum=0.9, nesterov=True),
            optax.contrib.reduce_on_plateau(patience=1),
            optax.transforms.conditionally_transform(optax.scale(0.5), is_first),
        ),
    ),
    "muon and clipping by the norm outside of stacks": (
        lambda: small(layers(), pn.tanh()),
        optax.partition(
            {
                "up": optax.contrib.muon(1e-2),
                "blocks": optax.rmsprop(1e-2),
                "inner": optax.chain(optax.clip_by_global_norm(1e-3), optax.adafactor(1e-2)),
            },
            by_name,
        ),
    ),
    "second moments too small to be factored": (
        lambda: small(layers(), layers()),
        optax.chain(optax.scale_by_factored_rms(), optax.scale(-1e-2)),
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


@pytest.mark.complete
def test_the_two_steps_may_take_turns_on_arrays_that_are_one() -> None:
    net, optimizer = small(layers(), layers()), optax.adam(1e-2)
    state = init_train_state(net, optimizer, jax.random.key(2), X)
    zero = jnp.zeros((2, WIDTH))
    params = jax.tree.map(lambda leaf: zero if leaf.shape == zero.shape else leaf, state.params)
    state = dataclasses.replace(state, params=params)
    plain, fused = make_step(net, optimizer), make_fused_step(net, optimizer)
    ends = [second(first(state, X)[0], X)[0].params for first, second in ((plain, plain), (fused, plain))]
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6), *ends)


def with_another(gradients: Any, params: Any, others: Any = None) -> Any:
    """Every gradient with a number of the first layer's bias, or its gradient, added."""
    return jax.tree.map(lambda leaf: leaf + (others or gradients)[0]["bias"][0], gradients)


def dimensions(leaf: Any) -> Any:
    return optax.contrib.MuonDimensionNumbers(1, 2) if leaf.ndim == 3 else None


def wide() -> pn.Layer:
    net = pn.serial(pn.dense(130), pn.repeat(pn.dense(130), 2), pn.dense(5))
    return pn.objective(net, losses.squared_error())


CLIPPED = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
REFUSED = {
    "factored second moments at 130 x 130": (optax.scale_by_factored_rms(), "reduce_sum in scale_by_factored_rms"),
    "adafactor": (optax.adafactor(1e-2), "reduce_sum in scale_by_param_block_rms"),
    "muon, three axes": (
        optax.contrib.muon(1e-2, muon_weight_dimension_numbers=lambda params: jax.tree.map(dimensions, params)),
        "in scale_by_muon",
    ),
    "the norm of all": (CLIPPED, "reduce_sum in clip_by_global_norm"),
    "the norm of all, accumulated": (optax.MultiSteps(CLIPPED, 2), "reduce_sum in clip_by_global_norm"),
    "norms of layers": (optax.lars(1e-2), "reduce_sum in scale_by_trust_ratio"),
    "norms of blocks": (optax.lamb(1e-2), "reduce_sum in scale_by_trust_ratio"),
    "norms of units": (optax.adaptive_grad_clip(0.1), "in adaptive_grad_clip"),
    "noise": (optax.add_noise(0.1, 0.1, key=0), "in add_noise"),
    "skipping": (optax.MultiSteps(optax.sgd(1e-2), 2, should_skip_update_fn=optax.skip_not_finite), "reduce_sum"),
    "a step by the loss": (optax.polyak_sgd(), "in polyak_sgd|in scale_by_polyak"),
    "other parameters": (
        optax.stateless(lambda gradients, params: with_another(gradients, params, params)),
        "is updated by what belongs to other parameters",
    ),
    "other gradients": (
        optax.stateless(with_another),
        "is updated by what belongs to other parameters",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_elementwise_is_refused_by_name(name: str) -> None:
    optimizer, why = REFUSED[name]
    net = wide()
    state = jax.eval_shape(lambda key: init_train_state(net, optimizer, key, X), jax.random.key(2))
    with pytest.raises(ValueError, match=f"make_fused_step: expected an optimizer that updates every number.*{why}"):
        jax.eval_shape(make_fused_step(net, optimizer), state, X)


def test_the_optimizer_is_traced_once() -> None:
    """Tracing time, which the two counts stand for: 1.2 to 1.4 times make_step's."""
    calls = []

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        calls.append(jax.tree.leaves(updates))
        return optax.adam(1e-2).update(updates, state, params)

    optimizer = optax.GradientTransformation(optax.adam(1e-2).init, update)
    net = objective(pn.repeat(block(), 12))
    state = jax.eval_shape(lambda key: init_train_state(net, optimizer, key, X), jax.random.key(2))
    plain, fused = (jax.make_jaxpr(make(net, optimizer))(state, X).jaxpr for make in (make_step, make_fused_step))
    assert len(calls) == 2
    assert equations(fused) < 1.3 * equations(plain)


def equations(jaxpr: Any) -> int:
    return len(jaxpr.eqns) + sum(equations(inner) for eqn in jaxpr.eqns for inner in inner_jaxprs(eqn.params))


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
