"""Every property over every row of tests/cases.py."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, FEATURES, Case
from cost import cost
from hypothesis import given, settings, strategies as st

import purenet as pn
from purenet.layer import run_backward

BATCH = 5


def each(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


each_case = each(CASES)
LOSS_KINDS = {"mean": jnp.mean, "sum": jnp.sum}


class Twin:
    """One row at work: parameters moved away from ones and zeros, an input, forward and backward with frozen keys."""

    def __init__(self, case: Case, dtype: Any, batch: int = BATCH):
        self.case, self.layer = case, case.layer
        init_key, x_key, noise_key, self.dy_key, self.key = jax.random.split(jax.random.key(7), 5)
        self.x = in_dtype(case.x(x_key, batch), dtype)
        params, self.state = self.layer.init(init_key, self.x)
        leaves, tree = jax.tree.flatten(params)
        noise = [jax.random.normal(jax.random.fold_in(noise_key, i), p.shape, p.dtype) for i, p in enumerate(leaves)]
        self.params = jax.tree.unflatten(tree, [p + 0.3 * n for p, n in zip(leaves, noise, strict=True)])

    def forward(self, params: Any, x: Any) -> tuple[Any, Any]:
        y, _, residuals = self.layer.forward(params, self.state, x, jax.random.clone(self.key))
        return y, residuals

    def value(self, params: Any, x: Any) -> Any:
        return self.forward(params, x)[0]

    def pull(self, params: Any, x: Any, dy: Any) -> Any:
        """Forward and backward: (y, (dparams, dx))."""
        y, residuals = self.forward(params, x)
        return y, run_backward(self.layer, params, x, y, residuals, dy)

    def cotangent(self) -> Any:
        y = jax.eval_shape(self.value, self.params, self.x)
        return jax.random.normal(jax.random.clone(self.dy_key), y.shape, y.dtype)


@functools.cache
def twin64(name: str) -> Twin:
    with jax.enable_x64(True):
        return Twin(next(case for case in CASES if case.name == name), jnp.float64)


def in_dtype(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def assert_close(actual: Any, expected: Any, relative: float) -> None:
    """Leaf by leaf, relative to the largest value of the leaf."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected)
    for mine, theirs in zip(actual, expected, strict=True):
        mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
        assert mine.shape == theirs.shape
        difference, scale = np.max(np.abs(mine - theirs), initial=0), np.max(np.abs(theirs), initial=0)
        assert difference <= relative * scale, f"{difference} of {scale}"


@each_case
def test_gradient_equals_autodiff(case: Case) -> None:
    with jax.enable_x64(True):
        x = case.x(jax.random.key(3), BATCH)
    report = pn.check(case.layer, x, verbose=False)
    assert report.leaves
    for leaf in report.leaves:
        assert leaf.verdict == "PASS", report
        assert leaf.error <= 1e-13, report


@pytest.mark.parametrize("name", ["dense", "layer_norm", "gelu", "softmax", "serial_nested", "repeat", "ce_integer"])
@given(seed=st.integers(0, 2**31 - 1), batch=st.sampled_from([1, 2, 7]))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_gradient_equals_autodiff_anywhere(name: str, seed: int, batch: int) -> None:
    case = next(case for case in CASES if case.name == name)
    with jax.enable_x64(True):
        x = case.x(jax.random.key(seed), batch)
    report = pn.check(case.layer, x, seed=seed, verbose=False)
    assert all(leaf.error <= 1e-13 for leaf in report.leaves if leaf.verdict == "PASS"), report


@each([case for case in CASES if case.value is not None or not case.layer.values])
def test_forward_equals_an_independent_value(case: Case) -> None:
    """Only combinations of layers may go without one."""
    assert case.value is not None
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        twin = twin64(case.name)
        y = twin.layer.predict(twin.params, twin.state, twin.x)
        with jax.numpy_rank_promotion("allow"):
            assert_close(y, case.value(twin.params, twin.x), 1e-13)


@each_case
def test_predict_equals_forward(case: Case) -> None:
    with jax.enable_x64(True):
        twin = twin64(case.name)
        predicted = twin.layer.predict(twin.params, twin.state, twin.x)
        same = bool(jnp.allclose(predicted, twin.value(twin.params, twin.x), rtol=1e-14, atol=0))
    assert same != case.random


@each_case
def test_backward_is_linear_and_jit_changes_nothing(case: Case) -> None:
    with jax.enable_x64(True):
        twin = twin64(case.name)
        dy = twin.cotangent()
        other = jnp.cos(dy)
        pull = jax.jit(twin.pull)
        y, gradient = pull(twin.params, twin.x, dy)
        assert_close((y, gradient), twin.pull(twin.params, twin.x, dy), 1e-13)
        combined = jax.tree.map(lambda a, b: 2 * a - 3 * b, gradient, pull(twin.params, twin.x, other)[1])
        assert_close(pull(twin.params, twin.x, 2 * dy - 3 * other)[1], combined, 1e-12)
        zeros = pull(twin.params, twin.x, 0 * dy)[1]
        assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(zeros))


@each([case for case in CASES if case.batched and not case.random])
def test_vmap_of_one_example_equals_the_batch(case: Case) -> None:
    """Values and input gradients are the same; the batch's parameter gradient is the sum over examples."""
    with jax.enable_x64(True):
        twin = twin64(case.name)
        dy = twin.cotangent()
        y, (dparams, dx) = twin.pull(twin.params, twin.x, dy)
        share = {"mean": dy / BATCH, "sum": dy, None: dy}[case.reduction]
        ys, (dparams_each, dx_each) = jax.vmap(twin.pull, (None, 0, None if case.reduction else 0))(
            twin.params, twin.x, share
        )
        assert_close(LOSS_KINDS[case.reduction](ys) if case.reduction else ys, y, 1e-13)
        assert_close(dx_each, dx, 1e-13)
        assert_close(jax.tree.map(lambda leaf: leaf.sum(0), dparams_each), dparams, 1e-13)


@each_case
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=["float32", "bfloat16", "float16"])
def test_dtype_is_kept_and_everything_is_finite(case: Case, dtype: Any) -> None:
    """run_backward itself raises when a gradient has another dtype than what it belongs to."""
    twin = Twin(case, dtype)
    y, gradient = jax.jit(twin.pull)(twin.params, twin.x, twin.cotangent())
    assert y.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(dtype)}
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((y, gradient)))


def as_objective(case: Case) -> pn.Layer:
    """The row in training: behind a dense layer and, where it is no loss itself, before another one and a loss."""
    if case.layer.name in ("objective", "per_example"):
        return case.layer
    if isinstance(case.x(jax.random.key(0), 1), tuple):
        return pn.objective(pn.dense(FEATURES), case.layer)
    net = pn.serial(pn.dense(FEATURES), case.layer, pn.dense(3))
    return pn.objective(net, pn.losses.half_squared_error("batch_mean"))


@each_case
def test_memory_is_at_most_autodiffs(case: Case) -> None:
    """Compiled temporary bytes of `value_and_grad`, at a batch where 4 KiB of slack is little."""
    objective, key = as_objective(case), jax.random.key(0)
    x = jax.eval_shape(lambda key: case.x(key, 4096), key)
    if not isinstance(x, tuple):
        net = objective.parts[0][1]
        x = (x, jax.eval_shape(net.predict, *jax.eval_shape(net.init, key, x), x))
    params, state = jax.eval_shape(objective.init, key, x)

    def by_autodiff(params: Any, state: Any, x: Any, key: Any) -> Any:
        return jax.value_and_grad(lambda params: objective.forward(params, state, x, key)[0])(params)

    by_hand = pn.value_and_grad(objective)
    hand, auto = (cost(function, params, state, x, key) for function in (by_hand, by_autodiff))
    assert hand.temporary <= max(1.05 * auto.temporary, auto.temporary + 4096), (hand, auto)


@each_case
def test_second_order_equals_autodiff(case: Case) -> None:
    """Forward mode through forward and backward, in a direction of parameters and input: a Hessian-vector product."""
    with jax.enable_x64(True):
        twin = twin64(case.name)
        dy = twin.cotangent()
        inexact, rest = split_floating((twin.params, twin.x))
        direction = [jnp.sin(3 * leaf) for leaf in inexact]

        def by_hand(inexact: Any) -> Any:
            params, x = join(inexact, rest)
            return jax.tree.leaves(twin.pull(params, x, dy)[1])

        def by_autodiff(inexact: Any) -> Any:
            def value(inexact: Any) -> Any:
                params, x = join(inexact, rest)
                return twin.value(params, x)

            return jax.vjp(value, inexact)[1](dy)[0]

        hessian, expected = (
            jax.jit(lambda inexact, f=f: jax.jvp(f, (inexact,), (direction,))[1])(inexact)
            for f in (by_hand, by_autodiff)
        )
        largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in expected)
        for mine, theirs in zip(hessian, expected, strict=True):
            assert float(jnp.max(jnp.abs(mine - theirs))) <= 1e-12 * max(largest, 1.0)


def split_floating(tree: Any) -> tuple[list, Any]:
    """The floating leaves, and what is needed to put them back."""
    leaves, structure = jax.tree.flatten(tree)
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return inexact, ([None if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf for leaf in leaves], structure)


def join(inexact: list, rest: Any) -> Any:
    moving = iter(inexact)
    return jax.tree.unflatten(rest[1], [next(moving) if leaf is None else leaf for leaf in rest[0]])
