"""Every property over every row of tests/cases."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, FEATURES, Case
from cost import cost, kept_bytes
from hypothesis import given, settings, strategies as st

import purenet as pn
from purenet.layer import run_backward

BATCH = 5


def each(cases: list[Case]) -> Any:
    """A test a row; all tests of a row run in one process, which compiles the row once: see conftest."""
    rows = [pytest.param(case, id=case.name, marks=pytest.mark.xdist_group(case.name)) for case in cases]
    return pytest.mark.parametrize("case", rows)


each_case = each(CASES)
LOSS_KINDS = {"mean": jnp.mean, "sum": jnp.sum}


class Twin:
    """One row at work: parameters moved away from ones and zeros, an input, forward and backward with frozen keys."""

    def __init__(self, case: Case, dtype: Any, batch: int = BATCH):
        self.case, self.layer, self.key = case, case.layer, jax.random.key(11)
        self.params, self.state, self.x = jax.jit(functools.partial(self.draw, dtype, batch))()
        shapes = jax.eval_shape(self.value, self.params, self.x)
        self.dy = jax.jit(lambda: in_dtype(noise(jax.random.key(12), shapes), dtype))()

    def draw(self, dtype: Any, batch: int) -> Any:
        init_key, x_key, noise_key = jax.random.split(jax.random.key(7), 3)
        x = in_dtype(self.case.x(x_key, batch), dtype)
        params, state = self.layer.init(init_key, x)
        moved = jax.tree.map(lambda p, n: p + 0.3 * n.astype(p.dtype), params, noise(noise_key, params))
        return moved, state, x

    def forward(self, params: Any, x: Any) -> tuple[Any, Any]:
        y, _, residuals = self.layer.forward(params, self.state, x, jax.random.clone(self.key))
        return y, residuals

    def value(self, params: Any, x: Any) -> Any:
        return self.forward(params, x)[0]

    def pull(self, params: Any, x: Any, dy: Any) -> Any:
        """Forward and backward: (y, (dparams, dx))."""
        y, residuals = self.forward(params, x)
        return y, run_backward(self.layer, params, x, y, residuals, dy)

    def pull_by_autodiff(self, params: Any, x: Any, dy: Any) -> Any:
        """(y, gradients of the floating leaves of (params, x)) of jax.vjp through forward."""
        inexact, rest = split_floating((params, x))
        y, vjp = jax.vjp(lambda inexact: self.value(*join(inexact, rest)), inexact)
        return y, vjp(dy)[0]

    @functools.cached_property
    def compiled_pull(self) -> Any:
        return jax.jit(self.pull)

    @functools.cached_property
    def pulled(self) -> Any:
        return self.compiled_pull(self.params, self.x, self.dy)


@functools.cache
def twin64(name: str) -> Twin:
    with jax.enable_x64(True):
        return Twin(next(case for case in CASES if case.name == name), jnp.float64)


def noise(key: Any, tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    drawn = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(structure, drawn)


def in_dtype(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def split_floating(tree: Any) -> tuple[list, Any]:
    """The floating leaves, and what is needed to put them back."""
    leaves, structure = jax.tree.flatten(tree)
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return inexact, ([None if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf for leaf in leaves], structure)


def join(inexact: list, rest: Any) -> Any:
    moving = iter(inexact)
    return jax.tree.unflatten(rest[1], [next(moving) if leaf is None else leaf for leaf in rest[0]])


def assert_close(actual: Any, expected: Any, relative: float) -> None:
    """Leaf by leaf, relative to the largest value of the leaf."""
    for difference, scale in differences(actual, expected):
        assert difference <= relative * scale, f"{difference} of {scale}"


def differences(actual: Any, expected: Any) -> list[tuple[float, float]]:
    """(largest difference, largest expected value), leaf by leaf."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected)
    found = []
    for mine, theirs in zip(actual, expected, strict=True):
        mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
        assert mine.shape == theirs.shape
        found.append((float(np.max(np.abs(mine - theirs), initial=0)), float(np.max(np.abs(theirs), initial=0))))
    return found


@each_case
def test_gradient_equals_autodiff(case: Case) -> None:
    with jax.enable_x64(True):
        x = case.x(jax.random.key(3), BATCH)
    report = pn.check(case.layer, x, verbose=False)
    assert report.leaves
    for leaf in report.leaves:
        assert leaf.verdict == "PASS" or (leaf.verdict == "VACUOUS" and case.vacuous), report
        assert leaf.error <= case.bound, report


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
        y = jax.jit(twin.layer.predict)(twin.params, twin.state, twin.x)
        with jax.numpy_rank_promotion("allow"):
            assert_close(y, case.value(twin.params, twin.x), 1e-13)


@each_case
def test_predict_equals_forward(case: Case) -> None:
    with jax.enable_x64(True):
        twin = twin64(case.name)
        predicted = jax.jit(twin.layer.predict)(twin.params, twin.state, twin.x)
        same = all(difference <= 1e-13 * scale for difference, scale in differences(predicted, twin.pulled[0]))
    assert same != (case.random or case.statistics)


@each_case
def test_backward_is_linear_and_jit_changes_nothing(case: Case) -> None:
    with jax.enable_x64(True):
        twin = twin64(case.name)
        dy = twin.dy
        other = jax.tree.map(jnp.cos, dy)
        pull = twin.compiled_pull
        assert_close(twin.pulled, twin.pull(twin.params, twin.x, dy), 1e-13)
        combined = jax.tree.map(
            lambda a, b: 2 * np.asarray(a) - 3 * np.asarray(b), twin.pulled[1], pull(twin.params, twin.x, other)[1]
        )
        mixture = jax.tree.map(lambda a, b: 2 * a - 3 * b, dy, other)
        assert_close(pull(twin.params, twin.x, mixture)[1], combined, 1e-12)
        zeros = pull(twin.params, twin.x, jax.tree.map(jnp.zeros_like, dy))[1]
        assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(zeros))


@each([case for case in CASES if case.batched and not case.random])
def test_vmap_of_one_example_equals_the_batch(case: Case) -> None:
    """Values and input gradients are the same; the batch's parameter gradient is the sum over examples."""
    with jax.enable_x64(True):
        twin = twin64(case.name)
        y, (dparams, dx) = twin.pulled
        share = twin.dy / BATCH if case.reduction == "mean" else twin.dy
        one_by_one = jax.jit(jax.vmap(twin.pull, (None, 0, None if case.reduction else 0)))
        ys, (dparams_each, dx_each) = one_by_one(twin.params, twin.x, share)
        assert_close(LOSS_KINDS[case.reduction](ys) if case.reduction else ys, y, 1e-13)
        assert_close(dx_each, dx, 1e-13)
        assert_close(jax.tree.map(lambda leaf: leaf.sum(0), dparams_each), dparams, 1e-13)


@each_case
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=["float32", "bfloat16", "float16"])
def test_dtype_is_kept_and_everything_is_finite(case: Case, dtype: Any) -> None:
    """run_backward itself raises when a gradient has another dtype than what it belongs to."""
    twin = narrow_twin(case.name, jnp.dtype(dtype).name)
    y, gradient = twin.pulled
    assert {leaf.dtype for leaf in jax.tree.leaves((y, gradient))} == {jnp.dtype(dtype)}
    assert all(bool(np.all(np.isfinite(np.asarray(leaf, np.float64)))) for leaf in jax.tree.leaves((y, gradient)))


@functools.cache
def narrow_twin(name: str, dtype: str) -> Twin:
    return Twin(next(case for case in CASES if case.name == name), jnp.dtype(dtype))


# Half the distance between neighbours of 1 in bfloat16: what rounding a right result alone may cost.
BFLOAT16_ROUNDING = 2.0**-9


@each_case
def test_bfloat16_is_as_accurate_as_autodiff(case: Case) -> None:
    """The error against float64 of each leaf, relative to its largest value: at most twice that of jax.vjp."""
    twin = narrow_twin(case.name, "bfloat16")
    arguments = twin.params, twin.x, twin.dy
    _, by_hand = twin.pulled
    _, by_autodiff = jax.jit(twin.pull_by_autodiff)(*arguments)
    with jax.enable_x64(True):
        exact = Twin.__new__(Twin)
        exact.case, exact.layer, exact.key = case, case.layer, twin.key
        exact.state = widen(twin.state)
        _, truth = jax.jit(exact.pull_by_autodiff)(*map(widen, arguments))
    errors = zip(differences(by_hand, truth), differences(by_autodiff, truth), strict=True)
    for (hand, scale), (auto, _) in errors:
        assert hand <= max(2 * auto, BFLOAT16_ROUNDING * scale), f"{hand} by hand, {auto} by jax.vjp, of {scale}"


def widen(tree: Any) -> Any:
    return in_dtype(tree, jnp.float64)


# Memory.


def large(case: Case) -> tuple[Any, Any, Any, Any]:
    """Shapes of (params, state, x, key) at a batch where 4 KiB of slack is little."""
    key = jax.random.key(0)
    x = jax.eval_shape(lambda key: in_dtype(case.x(key, LARGE), jnp.float32), key)
    return *jax.eval_shape(case.layer.init, key, x), x, key


LARGE = 1024


@each_case
def test_memory_alone_is_at_most_autodiffs(case: Case) -> None:
    """Compiled temporary bytes of forward and backward with all gradients, and bytes kept between the two."""
    params, state, x, key = large(case)
    inexact, rest = split_floating((params, x))
    dy = jax.eval_shape(lambda *a: case.layer.forward(*a)[0], params, state, x, key)

    def value(inexact: Any, integers: Any, state: Any, key: Any) -> Any:
        params, x = join(inexact, (integers, rest[1]))
        return case.layer.forward(params, state, x, key)[0]

    def by_autodiff(inexact: Any, integers: Any, state: Any, key: Any, dy: Any) -> Any:
        y, vjp = jax.vjp(lambda inexact: value(inexact, integers, state, key), inexact)
        return y, vjp(dy)[0]

    def by_hand(inexact: Any, integers: Any, state: Any, key: Any, dy: Any) -> Any:
        params, x = join(inexact, (integers, rest[1]))
        y, _, residuals = case.layer.forward(params, state, x, key)
        return y, jax.tree.leaves(run_backward(case.layer, params, x, y, residuals, dy))

    hand, auto = (cost(f, inexact, rest[0], state, key, dy) for f in (by_hand, by_autodiff))
    assert hand.temporary <= max(1.05 * auto.temporary, auto.temporary + 4096), (hand, auto)
    kept_by_hand, kept_by_autodiff = kept_bytes(case.layer, params, state, x, key)
    assert kept_by_hand <= kept_by_autodiff + 4096, (kept_by_hand, kept_by_autodiff)


def in_training(case: Case) -> pn.Layer | None:
    """The row as part of an objective: behind a dense layer and, where it is no loss itself, before another one and a
    loss. None where no dense layer can stand before it or behind it."""
    if case.layer.name in ("objective", "per_example"):
        return case.layer
    if case.reduction is not None:
        return pn.objective(pn.dense(FEATURES), case.layer)
    params, state, x, key = large(case)
    y = jax.eval_shape(lambda *a: case.layer.forward(*a)[0], params, state, x, key)
    if not all(hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating) for value in (x, y)):
        return None
    net = pn.serial(pn.dense(x.shape[-1]), case.layer, pn.dense(3))
    return pn.objective(net, pn.losses.half_squared_error("batch_mean"))


@each([case for case in CASES if in_training(case) is not None])
def test_memory_in_training_is_at_most_autodiffs(case: Case) -> None:
    """Compiled temporary bytes of `value_and_grad`."""
    objective, key = in_training(case), jax.random.key(0)
    assert objective is not None
    x = jax.eval_shape(lambda key: in_dtype(case.x(key, LARGE), jnp.float32), key)
    if case.reduction is None and objective is not case.layer:
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
        inexact, rest = split_floating((twin.params, twin.x))
        direction = [jnp.sin(3 * leaf) for leaf in inexact]

        def by_hand(inexact: Any) -> Any:
            return jax.tree.leaves(twin.pull(*join(inexact, rest), twin.dy)[1])

        def by_autodiff(inexact: Any) -> Any:
            return twin.pull_by_autodiff(*join(inexact, rest), twin.dy)[1]

        hessian, expected = (
            jax.jit(lambda inexact, f=f: jax.jvp(f, (inexact,), (direction,))[1])(inexact)
            for f in (by_hand, by_autodiff)
        )
        largest = max(scale for _, scale in differences(expected, expected))
        assert all(difference <= 1e-12 * max(largest, 1.0) for difference, _ in differences(hessian, expected))
