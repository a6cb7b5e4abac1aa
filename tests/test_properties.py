"""Every property over every row of the catalogue: values and gradients in a first run, the rest in the complete set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compile_flags import AS_FOR_USERS
from cost import cost, kept_bytes
from hypothesis import given, settings, strategies as st
from values import COMPOSED, VALUES, value_of

import purenet as pn
from purenet.catalogue import Row, catalogue, input_of
from purenet.catalogue.draws import FEATURES
from purenet.catalogue.row import BATCH
from purenet.layer import run_backward

ROWS = catalogue()


def each(cases: list[Row]) -> Any:
    """A test a row; all tests of a row run in one process, which compiles the row once: see conftest."""
    return pytest.mark.parametrize("row", cases, ids=[row.name for row in cases])


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


class Twin:
    """One row at work: parameters moved away from ones and zeros, an input, forward and backward with frozen keys."""

    def __init__(self, row: Row, params: Any, state: Any, x: Any, dy: Any = None):
        self.row, self.layer = row, row.layer
        self.params, self.state, self.x, self.dy = params, state, x, dy
        self.arguments = params, state, x, dy

    def forward(self, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        y, _, residuals = self.layer.forward(params, state, x, jax.random.key(11))
        return y, residuals

    def value(self, params: Any, state: Any, x: Any) -> Any:
        return self.forward(params, state, x)[0]

    def pull(self, params: Any, state: Any, x: Any, dy: Any) -> Any:
        """Forward and backward: (y, (dparams, dx))."""
        y, residuals = self.forward(params, state, x)
        return y, run_backward(self.layer, params, x, y, residuals, dy)

    def pull_by_autodiff(self, params: Any, state: Any, x: Any, dy: Any) -> Any:
        """(y, gradients of the floating leaves of (params, x)) of jax.vjp through forward."""
        inexact, rest = split_floating((params, x))

        def value(inexact: Any) -> Any:
            params, x = join(inexact, rest)
            return self.value(params, state, x)

        y, vjp = jax.vjp(value, inexact)
        return y, vjp(dy)[0]

    def jit(self, function: Callable[..., Any]) -> Any:
        # noise is float32 in every dtype, and in a hurry its last bit depends on what is fused with it
        return jax.jit(function, compiler_options=AS_FOR_USERS if self.row.random else None)

    @functools.cached_property
    def compiled_pull(self) -> Any:
        return self.jit(self.pull)

    @functools.cached_property
    def pulled(self) -> Any:
        return self.compiled_pull(*self.arguments)

    def along(self, pull: Any) -> Any:
        """The Hessian-vector product: forward mode in a direction of parameters and input."""
        inexact, rest = split_floating((self.params, self.x))

        def gradient(inexact: Any) -> Any:
            params, x = join(inexact, rest)
            return jax.tree.leaves(pull(params, self.state, x, self.dy)[1])

        direction = [np.sin(3 * np.asarray(leaf)) for leaf in inexact]
        return self.jit(lambda *point: jax.jvp(gradient, *point)[1])((inexact,), (direction,))

    @functools.cached_property
    def together(self) -> Any:
        """What a first run compares, of one program, which has the forward once: (y, gradient) by hand, jax.vjp's
        gradient and predict's y."""

        def all_three(params: Any, state: Any, x: Any, dy: Any) -> Any:
            by_autodiff = self.pull_by_autodiff(params, state, x, dy)[1]
            return self.pull(params, state, x, dy), by_autodiff, self.layer.predict(params, state, x)

        return self.jit(all_three)(*self.arguments)


@functools.cache
def twin64(name: str) -> Twin:
    row = next(row for row in ROWS if row.name == name)
    with jax.enable_x64(True):  # operation by operation: rows share the programs of random numbers
        x = jax.device_put(input_of(row))
        params, state = row.layer.init(jax.random.key(7), x)
        params = jax.device_put(jax.tree.map(lambda p, n: np.asarray(p) + 0.3 * n, params, noise(7, params)))
        y = jax.eval_shape(Twin(row, params, state, x).value, params, state, x)
        return Twin(row, params, state, x, jax.device_put(noise(12, y)))


@functools.cache
def narrow_twin(name: str, dtype: str) -> Twin:
    """The same numbers, rounded."""
    wide = twin64(name)
    return Twin(wide.row, *rounded(wide.arguments, jnp.dtype(dtype)))


def noise(seed: int, tree: Any) -> Any:
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype), tree)


def rounded(tree: Any, dtype: Any) -> Any:
    """Floating leaves in another dtype, without compiling anything."""

    def round_leaf(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.device_put(np.asarray(leaf).astype(dtype))
        return np.asarray(leaf, np.int32) if leaf.dtype == np.int64 else leaf

    return jax.tree.map(round_leaf, tree)


def widened(narrow: Any, wide: Any) -> Any:
    return jax.device_put(np.asarray(narrow).astype(wide.dtype))


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
@settings(max_examples=6, deadline=None, derandomize=True)
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


def allowed(name: str, by_autodiff: int) -> float:
    """Temporary bytes by hand of a row."""
    newer = tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 12)
    factor = SINCE_JAX_0_12.get(name, 1.05) if newer else 1.05
    return max(factor * by_autodiff, by_autodiff + 4096)


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
        hessian, expected = twin.along(twin.pull), twin.along(twin.pull_by_autodiff)
        largest = max(scale for _, scale in differences(expected, expected))
        assert all(difference <= 1e-12 * max(largest, 1.0) for difference, _ in differences(hessian, expected))
