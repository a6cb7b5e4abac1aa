"""Every property over every row of the catalogue: values and gradients in a first run, the rest in the complete set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost import cost, kept_bytes
from hypothesis import given, settings, strategies as st
from twins import (
    ROWS,
    assert_close,
    differences,
    join,
    narrow_twin,
    rounded,
    split_floating,
    twin64,
    widened,
)
from values import COMPOSED, VALUES, value_of

import purenet as pn
from purenet.catalogue import Row, input_of
from purenet.catalogue.draws import FEATURES
from purenet.catalogue.row import BATCH
from purenet.layer import run_backward


def each(cases: list[Row]) -> Any:
    """A test a row; all tests of a row run in one process, which compiles the row once: see conftest.

    A first run has one row of each constructor, the complete set their variants too.
    """
    marks = [[pytest.mark.complete] if "," in row.name else [] for row in cases]
    rows = [pytest.param(row, id=row.name, marks=each) for row, each in zip(cases, marks, strict=True)]
    return pytest.mark.parametrize("row", rows)


each_row = each(ROWS)
ANYWHERE = [
    "dense",
    "layer_norm",
    "gelu",
    "softmax",
    "serial, nested",
    "repeat",
    "softmax_cross_entropy, integer labels",
]
LOSS_KINDS = {"mean": np.mean, "sum": np.sum}


@each_row
def test_gradient_equals_autodiff(row: Row) -> None:
    """A gradient that is zero proves nothing: only rows that say so may have one."""
    with jax.enable_x64(True):
        (_, gradient), by_autodiff, _ = twin64(row.name).together
        found = differences(gradient, by_autodiff)
    assert found
    for error, scale in found:
        assert error <= row.bound * scale, f"{error} of {scale}"
        assert scale > 1e-12 or row.vacuous


@pytest.mark.complete
@pytest.mark.parametrize("name", ANYWHERE)
@given(seed=st.integers(0, 2**31 - 1), batch=st.sampled_from([1, 2, 7]))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_gradient_equals_autodiff_anywhere(name: str, seed: int, batch: int) -> None:
    row = next(row for row in ROWS if row.name == name)
    report = pn.check(row.layer, input_of(row, seed, batch), seed=seed, verbose=False)
    assert all(leaf.error <= 1e-13 for leaf in report.leaves if leaf.verdict == "PASS"), report


def test_values_are_those_of_rows() -> None:
    assert set(VALUES) | COMPOSED <= {row.name for row in ROWS}
    assert not [row.name for row in ROWS if value_of(row) and row.name in COMPOSED]


@each([row for row in ROWS if row.name not in COMPOSED])
def test_forward_equals_an_independent_value(row: Row) -> None:
    """A row without one says so in tests/values."""
    value = value_of(row)
    assert value is not None
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        twin = twin64(row.name)
        with jax.numpy_rank_promotion("allow"):
            assert_close(twin.together[2], value(twin.params, twin.x), row.bound)


@each_row
def test_predict_equals_forward(row: Row) -> None:
    with jax.enable_x64(True):
        (y, _), _, predicted = twin64(row.name).together
        same = all(difference <= 1e-13 * scale for difference, scale in differences(predicted, y))
    assert same != (row.random or row.statistics)


@pytest.mark.complete
@each_row
def test_backward_is_linear(row: Row) -> None:
    with jax.enable_x64(True):
        twin = twin64(row.name)

        def pulled(dy: Any) -> Any:
            return twin.compiled_pull(twin.params, twin.state, twin.x, dy)[1]

        def mixture(a: Any, b: Any) -> Any:
            return jax.tree.map(lambda a, b: 2 * np.asarray(a) - 3 * np.asarray(b), a, b)

        other = jax.tree.map(np.cos, twin.dy)
        assert_close(pulled(mixture(twin.dy, other)), mixture(twin.pulled[1], pulled(other)), 1e-12)
        zeros = pulled(jax.tree.map(np.zeros_like, twin.dy))
        assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(zeros))


def one_of_each() -> list[Row]:
    """The first row of each kind of layer."""
    return list({row.layer.name: row for row in reversed(ROWS) if not row.layer.parts}.values())


@pytest.mark.complete
@each(one_of_each())
def test_jit_changes_nothing(row: Row) -> None:
    with jax.enable_x64(True):
        twin = twin64(row.name)
        assert_close(twin.pulled, twin.pull(*twin.arguments), 1e-13)


@pytest.mark.complete
@each([row for row in ROWS if row.batched and not row.random])
def test_vmap_of_one_example_equals_the_batch(row: Row) -> None:
    """Values and input gradients are the same; the batch's parameter gradient is the sum over examples."""
    with jax.enable_x64(True):
        twin = twin64(row.name)
        y, (dparams, dx) = twin.pulled
        share = np.asarray(twin.dy) / BATCH if row.reduction == "mean" else twin.dy
        one_by_one = jax.jit(jax.vmap(twin.pull, (None, None, 0, None if row.reduction else 0)))
        ys, (dparams_each, dx_each) = one_by_one(twin.params, twin.state, twin.x, share)
        assert_close(LOSS_KINDS[row.reduction](np.asarray(ys)) if row.reduction else ys, y, 1e-13)
        assert_close(dx_each, dx, 1e-13)
        assert_close(jax.tree.map(lambda leaf: np.sum(np.asarray(leaf), 0), dparams_each), dparams, 1e-13)


@pytest.mark.complete
@each_row
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_everything_is_finite_and_of_the_dtype(row: Row, dtype: str) -> None:
    """run_backward itself raises when a gradient has another dtype than what it belongs to."""
    y, gradient = narrow_twin(row.name, dtype).pulled
    assert floating_dtypes((y, gradient)) == {jnp.dtype(dtype)}
    assert all(bool(np.all(np.isfinite(np.asarray(leaf, np.float64)))) for leaf in jax.tree.leaves((y, gradient)))


@each_row
def test_float32_is_kept(row: Row) -> None:
    twin = narrow_twin(row.name, "float32")
    assert floating_dtypes(jax.eval_shape(twin.pull, *twin.arguments)) == {jnp.dtype("float32")}


def floating_dtypes(tree: Any) -> set[Any]:
    """Lengths that a layer passes on stay integers."""
    return {leaf.dtype for leaf in jax.tree.leaves(tree)} - {jnp.dtype("int32")}


@pytest.mark.complete
@each_row
def test_bfloat16_is_as_accurate_as_autodiff(row: Row) -> None:
    """The error of each leaf against float64, over four inputs and cotangents: at most twice that of jax.vjp.

    Rounding a right result to bfloat16 alone costs up to 2^-9.
    """
    twin, wide = narrow_twin(row.name, "bfloat16"), twin64(row.name)
    by_autodiff = twin.jit(twin.pull_by_autodiff)
    squares: list[tuple[Any, Any, Any]] = []
    for turn in range(4):
        dy = jax.tree.map(lambda dy, turn=turn: rounded(np.sin(9 * turn + 5 * np.asarray(dy)), jnp.bfloat16), wide.dy)
        x = rounded(jax.tree.map(np.asarray, input_of(row, turn)), jnp.bfloat16)
        arguments = *twin.arguments[:2], x, dy
        with jax.enable_x64(True):
            truth = wide.compiled_pull(*jax.tree.map(widened, arguments, wide.arguments))[1]
        hand, auto = twin.compiled_pull(*arguments)[1], by_autodiff(*arguments)[1]
        squares.append((square_errors(hand, truth), square_errors(auto, truth), square_errors(truth, None)))
    hand, auto, scale = (np.sqrt(np.mean(parts, 0)) for parts in zip(*squares, strict=True))
    assert np.all(hand <= np.maximum(2 * auto, 2.0**-9 * scale)), f"{hand} by hand, {auto} by jax.vjp, of {scale}"


def square_errors(tree: Any, truth: Any) -> Any:
    """The mean square of a tree's distance from the truth, a number a leaf."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    others = [0.0] * len(leaves) if truth is None else [np.asarray(leaf) for leaf in jax.tree.leaves(truth)]
    return np.array([np.mean(np.square(a - b)) for a, b in zip(leaves, others, strict=True)])


# Memory.


def large(row: Row) -> tuple[Any, Any, Any, Any]:
    """Shapes of (params, state, x, key) at a batch where 4 KiB of slack is little."""
    key = jax.random.key(0)
    x = shapes(input_of(row, batch=LARGE))
    return *jax.eval_shape(row.layer.init, key, x), x, key


LARGE = 1024

# What one compiler fuses. The XLA of jax 0.12 writes out on a CPU what is broadcast to a sum, where that of 0.10 does
# not: a norm's backward takes a twentieth more here, though autodiff keeps five times as much until then.
SINCE_JAX_0_12 = {"packed_attention, norm and rotary": 1.1}


# A norm of plain feature vectors between two dense layers writes x's size once more: 1.09 with 6 features.
BESIDE_DENSE = {"group_norm, no space, no bias": 1.1}


def allowed(name: str, by_autodiff: int) -> float:
    """Temporary bytes by hand of a row."""
    newer = tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 12)
    factor = SINCE_JAX_0_12.get(name, 1.05) if newer else 1.05
    return max(BESIDE_DENSE.get(name, factor) * by_autodiff, by_autodiff + 4096)


def shapes(x: Any) -> Any:
    """As JAX takes NumPy's arrays: float32 and int32."""
    return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, x))


@pytest.mark.complete
@each_row
def test_memory_alone_is_at_most_autodiffs(row: Row, record_property: Callable[[str, object], None]) -> None:
    """Compiled temporary bytes of forward and backward with all gradients, and bytes kept between the two.

    `pytest --bytes -k memory_alone` prints the table.
    """
    params, state, x, key = large(row)
    inexact, rest = split_floating((params, x))
    dy = jax.eval_shape(lambda *a: row.layer.forward(*a)[0], params, state, x, key)

    def value(inexact: Any, integers: Any, state: Any, key: Any) -> Any:
        params, x = join(inexact, (integers, rest[1]))
        return row.layer.forward(params, state, x, key)[0]

    def by_autodiff(inexact: Any, integers: Any, state: Any, key: Any, dy: Any) -> Any:
        y, vjp = jax.vjp(lambda inexact: value(inexact, integers, state, key), inexact)
        return y, vjp(dy)[0]

    def by_hand(inexact: Any, integers: Any, state: Any, key: Any, dy: Any) -> Any:
        params, x = join(inexact, (integers, rest[1]))
        y, _, residuals = row.layer.forward(params, state, x, key)
        return y, jax.tree.leaves(run_backward(row.layer, params, x, y, residuals, dy))

    hand, auto = (cost(f, inexact, rest[0], state, key, dy) for f in (by_hand, by_autodiff))
    kept_by_hand, kept_by_autodiff = kept_bytes(row.layer, params, state, x, key, free=data_of(row, x))
    record_property("bytes", (hand.temporary, auto.temporary, kept_by_hand, kept_by_autodiff))
    assert hand.temporary <= allowed(row.name, auto.temporary), (hand, auto)
    assert kept_by_hand <= kept_by_autodiff + 4096, (kept_by_hand, kept_by_autodiff)


def data_of(row: Row, x: Any) -> Any:
    """True for the leaves of x that are a loss's targets, which its caller holds anyway."""
    if row.reduction is None and row.layer.name != "per_example":
        return jax.tree.map(lambda leaf: False, x)
    return jax.tree.map(lambda leaf: False, x[0]), jax.tree.map(lambda leaf: True, x[1])


def in_training(row: Row) -> pn.Layer:
    """The row as part of an objective: behind a dense layer and, where it is no loss itself, before another one and a
    loss."""
    if row.layer.name in ("objective", "per_example"):
        return row.layer
    x = input_of(row)
    if isinstance(x, tuple):
        return pn.objective(pn.dense(FEATURES), row.layer)
    net = pn.serial(pn.dense(x.shape[-1]), row.layer, pn.dense(3))
    return pn.objective(net, pn.losses.half_squared_error("batch_mean"))


@pytest.mark.complete
@each([row for row in ROWS if not row.alone])
def test_memory_in_training_is_at_most_autodiffs(row: Row) -> None:
    """Compiled temporary bytes of `value_and_grad`."""
    objective, key = in_training(row), jax.random.key(0)
    x = shapes(input_of(row, batch=LARGE))
    if not isinstance(x, tuple):
        net = objective.parts[0][1]
        x = (x, jax.eval_shape(net.predict, *jax.eval_shape(net.init, key, x), x))
    params, state = jax.eval_shape(objective.init, key, x)

    def by_autodiff(params: Any, state: Any, x: Any, key: Any) -> Any:
        return jax.value_and_grad(lambda params: objective.forward(params, state, x, key)[0])(params)

    by_hand = pn.value_and_grad(objective)
    hand, auto = (cost(function, params, state, x, key) for function in (by_hand, by_autodiff))
    assert hand.temporary <= allowed(row.name, auto.temporary), (hand, auto)


@pytest.mark.complete
@each_row
def test_second_order_equals_autodiff(row: Row) -> None:
    """Forward mode through forward and backward, in a direction of parameters and input: a Hessian-vector product."""
    with jax.enable_x64(True):
        twin = twin64(row.name)
        hessian, expected = twin.second_order
        largest = max(scale for _, scale in differences(expected, expected))
        assert all(difference <= 1e-12 * max(largest, 1.0) for difference, _ in differences(hessian, expected))
