"""Stacks that find their inputs from the output: what they keep, how far they drift, what stands inside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost import cost

import purenet as pn
from purenet.layer import reverses, run_backward

HALF = 16


def half(hidden: int = 4 * HALF) -> pn.Layer:
    return pn.serial(pn.layer_norm(), pn.dense(hidden), pn.gelu(), pn.dense(HALF))


def pair(layer: Callable[[], pn.Layer] = half) -> pn.Layer:
    return pn.reversible(layer(), layer())


def by_hand(net: pn.Layer) -> Callable[..., Any]:
    """Gradients by hand, with sin(y) for a loss."""

    def run(params: Any, state: Any, x: Any, key: Any = None) -> Any:
        y, _, residuals = net.forward(params, state, x, key)
        return run_backward(net, params, x, y, residuals, jnp.cos(y))

    return run


def by_autodiff(net: pn.Layer) -> Callable[..., Any]:
    def run(params: Any, state: Any, x: Any, key: Any = None) -> Any:
        return jax.grad(lambda params, x: jnp.sum(jnp.sin(net.forward(params, state, x, key)[0])), (0, 1))(params, x)

    return run


def errors(actual: Any, expected: Any) -> list[float]:
    """Of each leaf, relative to its largest entry."""
    actual, expected = ([np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)] for tree in (actual, expected))
    return [float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in zip(actual, expected, strict=True)]


def drawn(net: pn.Layer, *, dtype: Any = jnp.float64, batch: int = 8) -> Any:
    x = jax.random.normal(jax.random.key(1), (batch, 2 * HALF), dtype)
    params, state = jax.jit(net.init)(jax.random.key(0), x)
    return params, state, x


@pytest.mark.complete
@pytest.mark.parametrize(("depth", "bound"), [(4, 2e-6), (64, 5e-5)])
def test_drift_grows_slowly_with_depth(depth: int, bound: float) -> None:
    """The worst gradient in float32 against jax.grad in float64; in float64 almost nothing is left of it."""
    net = pn.repeat(pair(), depth)
    with jax.enable_x64(True):
        arguments = drawn(net)
        truth = jax.jit(by_autodiff(net))(*arguments)
        assert max(errors(jax.jit(by_hand(net))(*arguments), truth)) <= 1e-12
    narrow = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float32)), arguments)
    assert max(errors(jax.jit(by_hand(net))(*narrow), truth)) <= bound


@pytest.mark.complete
def test_memory_does_not_grow_with_depth() -> None:
    """Less than a 250th of plain jax.grad at depth 256, for a third more products."""
    params_of_block, _, x = jax.eval_shape(lambda: drawn(pair(), dtype=jnp.float32, batch=1024))

    def stacked(depth: int) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((depth, *leaf.shape), leaf.dtype), params_of_block)

    def planned(params: Any, x: Any) -> Any:
        return by_hand(pn.repeat(pair(), jax.tree.leaves(params)[0].shape[0]))(params, (), x)[0]

    def plain(params: Any, x: Any) -> Any:
        return jax.grad(lambda params: jnp.sum(jnp.sin(jax.lax.scan(plain_block, x, params)[0])))(params)

    shallow, deep = (cost(planned, stacked(depth), x) for depth in (16, 256))
    auto = cost(plain, stacked(256), x)
    assert deep.temporary == pytest.approx(shallow.temporary, rel=0.01)
    assert auto.temporary >= 250 * deep.temporary, (deep, auto)
    assert deep.flops <= 1.34 * auto.flops


def plain_block(x: Any, params: Any) -> tuple[Any, None]:
    """The reversible block in everyday jax.numpy."""

    def branch(params: Any, x: Any) -> Any:
        norm, up, _, down = params
        centred = x - jnp.mean(x, -1, keepdims=True)
        xhat = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + 1e-5)
        h = (xhat * norm["scale"][None] + norm["bias"][None]) @ up["kernel"] + up["bias"][None]
        return jax.nn.gelu(h) @ down["kernel"] + down["bias"][None]

    x1, x2 = jnp.split(x, 2, -1)
    y1 = x1 + branch(params["f"], x2)
    return jnp.concatenate([y1, x2 + branch(params["g"], y1)], -1), None


def test_chains_of_reversible_layers_are_reversible() -> None:
    chain = pn.serial(pair(), pn.repeat(pn.serial(pair(), pair()), 3))
    assert reverses(chain)
    x = jax.ShapeDtypeStruct((4, 2 * HALF), jnp.float32)
    params, state = jax.eval_shape(chain.init, jax.random.key(0), x)
    assert jax.tree.leaves(jax.eval_shape(chain.forward, params, state, x, None)[2]) == []
    # Between two others: what the layer before it needs of its output is found too.
    net = pn.serial(pn.dense(2 * HALF), pn.tanh(), pair(), pn.dense(3))
    fates = {value.label: value.fate for value in net.plan}
    assert fates == {
        "input": "kept",
        "[0] dense -> [1] tanh": "dropped",
        "[1] tanh -> [2] reversible": "recomputed",
        "[2] reversible -> [3] dense": "kept",
        "output": "dropped",
    }
    with jax.enable_x64(True):
        arguments = drawn(net)
        assert max(errors(jax.jit(by_hand(net))(*arguments), jax.jit(by_autodiff(net))(*arguments))) <= 1e-13


@pytest.mark.complete
def test_masks_and_statistics_are_those_of_the_forward() -> None:
    """Dropout draws the same again, batch_norm sees the same batch; each block has its own key and state."""

    def layer() -> pn.Layer:
        return pn.serial(pn.dense(HALF, use_bias=False), pn.batch_norm(), pn.dropout(0.3), pn.gelu(), pn.dense(HALF))

    net = pn.repeat(pair(layer), 3)
    with jax.enable_x64(True):
        arguments = drawn(net)
        actual, expected = (jax.jit(f(net))(*arguments, jax.random.key(5)) for f in (by_hand, by_autodiff))
        new_state = jax.jit(net.forward)(*arguments, jax.random.key(5))[1]
    assert max(errors(actual, expected)) <= 1e-12
    first, second, _ = new_state["g"][1]["mean"]
    assert not np.allclose(first, second)


@pytest.mark.complete
def test_arithmetic_inside_may_be_narrow() -> None:
    net = pn.repeat(pair(lambda: pn.with_dtype(half(), jnp.bfloat16)), 2)
    params, state, x = drawn(net, dtype=jnp.float32)
    _, _, residuals = net.forward(params, state, x, None)
    assert jax.tree.leaves(residuals) == []
    actual, expected = (jax.jit(f(net))(params, state, x) for f in (by_hand, by_autodiff))
    assert {leaf.dtype for leaf in jax.tree.leaves(actual)} == {jnp.dtype("float32")}
    assert max(errors(actual, expected)) <= 2.0**-5


@pytest.mark.complete
def test_a_wrapped_block_keeps_its_input() -> None:
    """A backward of its own has no rule to find the input, and so `repeat` does not go round it."""
    wrapped = pn.frozen(pair())
    assert reverses(pair())
    assert not reverses(wrapped)
    net = pn.repeat(wrapped, 3)
    with jax.enable_x64(True):
        arguments = drawn(net)
        dparams, dx = jax.jit(by_hand(net))(*arguments)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(dparams))
        assert errors(dx, jax.jit(by_autodiff(net))(*arguments)[1])[0] <= 1e-13
