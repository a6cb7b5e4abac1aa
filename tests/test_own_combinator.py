"""A combinator that somebody else wrote, from the docstring of `Layer` alone, is at home in every transformation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import purenet as pn
from purenet import Kind, Layer, losses
from purenet.layer import run_backward

GATED = Kind("gated", passes_gradients=True)


def gated(layer: Layer, *, slip: float = 1.0, kind: Kind | None = GATED) -> Layer:
    """y = x + sigmoid(g) f(x) with a gate g [features] of its own; `slip` other than 1 makes its dx wrong."""

    def init(key: Any, x: Any) -> tuple[Any, Any]:
        params, state = layer.init(key, x)
        return {"gate": jnp.full(x.shape[-1:], 0.3, x.dtype), "inside": params}, state

    def forward(params: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any, Any]:
        f, state, residuals = layer.forward(params["inside"], state, x, key)
        return x + opened(params, x) * f, state, (residuals, f)

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> tuple[Any, Any]:
        inside, f = residuals
        gate = opened(params, dy)
        dparams, df = run_backward(layer, params["inside"], x, f, inside, gate * dy)
        dgate = jnp.sum(dy * f * gate * (1 - gate), tuple(range(dy.ndim - 1)))
        return {"gate": dgate, "inside": dparams}, dy + slip * df

    def predict(params: Any, state: Any, x: Any) -> Any:
        return x + opened(params, x) * layer.predict(params["inside"], state, x)

    parts, with_parts = ((".inside", layer),), lambda layers: gated(*layers, slip=slip, kind=kind)
    return Layer(init, forward, backward, predict, name="repeat", kind=kind, parts=parts, with_parts=with_parts)


def opened(params: Any, x: Any) -> Any:
    return jnp.broadcast_to(jax.nn.sigmoid(params["gate"]), x.shape).astype(x.dtype)


def block(wrong: float = 1.0) -> Layer:
    dense = pn.dense(4)
    if wrong != 1.0:
        dense = dense.replace(
            backward=lambda *args: (lambda dparams, dx: (dparams, wrong * dx))(*pn.dense(4).backward(*args))
        )
    return pn.serial(pn.dense(4), pn.gelu(), dense)


EACH_KIND = pytest.mark.parametrize("kind", [GATED, Kind("says nothing"), None], ids=["passes", "says nothing", "none"])
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
Y = np.array([0, 1, 2, 3, 0, 1], np.int32)


def new_key() -> Any:
    return jax.random.key(3)


def network(kind: Kind | None, inside: Layer | None = None) -> Layer:
    return pn.serial(pn.dense(4), gated(block() if inside is None else inside, kind=kind), pn.dense(4))


def objective(net: Layer) -> Layer:
    return pn.objective(net, losses.softmax_cross_entropy())


def drawn(layer: Layer, x: Any = (X, Y)) -> Any:
    return layer.init(jax.random.key(0), x)


def close(tree: Any, other: Any, tolerance: float = 2e-5) -> None:
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(two, float), rtol=tolerance, atol=tolerance)


@EACH_KIND
def test_summary_looks_inside(kind: Kind | None) -> None:
    net = network(kind)
    params, _ = drawn(net, X)
    table = pn.summary(net, X, key=new_key())
    assert table.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))
    [row] = [row for row in table.rows if row.name == "repeat"]
    assert (row.parameters, row.times) == (4, 1)
    assert [row.path for row in table.rows if row.name == "gelu"] == ["serial[1].repeat.inside.serial[1].gelu"]


@EACH_KIND
def test_plan_names_what_is_inside(kind: Kind | None) -> None:
    assert "serial[1].repeat.inside.serial: [0] dense -> [1] gelu" in str(pn.plan(network(kind)))


@EACH_KIND
def test_check_blames_rightly(kind: Kind | None) -> None:
    pn.check(network(kind), X, verbose=False)
    for slip, wrong, path in ((1.01, 1.0, "serial[1].repeat"), (1.0, 1.01, "serial[1].repeat.inside.serial[2].dense")):
        net = pn.serial(pn.dense(4), gated(block(wrong), slip=slip, kind=kind), pn.dense(4))
        with pytest.raises(pn.GradientError) as caught:
            pn.check(net, X, verbose=False, explain=False)
        assert [layer.path for layer in caught.value.report.layers] == [path]


def deaf(layer: Layer, slip: float = 1.0) -> Layer:
    """Outside of the contract: a combinator that hands its part the state () and drops the new one."""
    inner = gated(layer, slip=slip)

    def forward(params: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any, Any]:
        y, _, residuals = inner.forward(params, (), x, key)
        return y, (), residuals

    return inner.replace(
        forward=forward, with_parts=lambda parts: deaf(*parts, slip=slip), kind=GATED, parts=inner.parts
    )


def test_a_part_that_gets_no_state_is_judged_with_its_combinator() -> None:
    inside = pn.serial(pn.dense(4), pn.tanh())
    pn.check(pn.serial(pn.dense(4), deaf(inside)), X, verbose=False)
    with pytest.raises(pn.GradientError) as caught:
        pn.check(pn.serial(pn.dense(4), deaf(inside, slip=1.01)), X, verbose=False, explain=False)
    assert [layer.path for layer in caught.value.report.layers] == ["serial[1].repeat"]


def by_autodiff(loss: Layer, params: Any, b: int) -> Any:
    return jax.grad(lambda params: loss.forward(params, (), (X[b : b + 1], Y[b : b + 1]), None)[0])(params)


@EACH_KIND
@pytest.mark.parametrize("around", [lambda layer: layer, lambda layer: pn.repeat(layer, 2)], ids=["alone", "repeated"])
def test_per_example_gradients(kind: Kind | None, around: Callable[[Layer], Layer]) -> None:
    loss = objective(pn.serial(pn.dense(4), around(gated(block(), kind=kind)), pn.dense(4)))
    params, _ = drawn(loss)
    each = [by_autodiff(loss, params, b) for b in range(len(X))]
    norms = np.array([float(optax.tree.norm(gradient)) for gradient in each])
    found = jax.jit(pn.per_example_norms(loss))(params, (), (X, Y))
    np.testing.assert_allclose(found, norms, rtol=1e-5)
    limit = float(np.median(norms))
    _, clipped = jax.jit(pn.clipped_value_and_grad(loss, limit))(params, (), (X, Y))
    scales = np.minimum(1, limit / norms) / len(X)
    expected = jax.tree.map(lambda *leaves: sum(s * leaf for s, leaf in zip(scales, leaves, strict=True)), *each)
    close(clipped, expected)


def trained(make: Callable[..., Any], loss: Layer, steps: int = 2) -> Any:
    optimizer = optax.adamw(1e-2)
    state = pn.train.init_train_state(loss, optimizer, jax.random.key(0), (X, Y))
    step = jax.jit(make(loss, optimizer))
    for _ in range(steps):
        state, _ = step(state, (X, Y))
    return state.params


@EACH_KIND
def test_fused_step_inside_a_stack_is_make_step(kind: Kind | None) -> None:
    loss = objective(pn.serial(pn.dense(4), pn.repeat(gated(block(), kind=kind), 3), pn.dense(4)))
    close(trained(pn.train.make_fused_step, loss), trained(pn.train.make_step, loss))


def test_fused_step_around_a_stack_is_make_step() -> None:
    loss = objective(pn.serial(pn.dense(4), gated(pn.repeat(block(), 3)), pn.dense(4)))
    close(trained(pn.train.make_fused_step, loss), trained(pn.train.make_step, loss))


def test_fused_step_around_a_stack_asks_for_the_gradients_to_be_passed() -> None:
    loss = objective(gated(pn.repeat(block(), 3), kind=None))
    with pytest.raises(ValueError, match="passes_gradients"):
        trained(pn.train.make_fused_step, loss)


@EACH_KIND
def test_remat_and_repeat_keep_the_gradient(kind: Kind | None) -> None:
    own = gated(pn.serial(block(), pn.dropout(0.2)), kind=kind)
    for layer in (pn.remat(own), pn.repeat(own, 3), pn.repeat(own, 3, keep="inputs"), pn.repeat(pn.remat(own), 2)):
        params, state = drawn(layer, X)

        by_hand = functools.partial(with_keys, pn.as_function(layer))
        plain = functools.partial(without_rule, layer, state)
        close(jax.grad(by_hand, (0, 1))(params, X), jax.grad(plain, (0, 1))(params, X))


def with_keys(function: Callable[..., Any], params: Any, x: Any) -> Any:
    return jnp.sum(jnp.sin(function(params, x, key=new_key())))


def without_rule(layer: Layer, state: Any, params: Any, x: Any) -> Any:
    return jnp.sum(jnp.sin(layer.forward(params, state, x, new_key())[0]))


@EACH_KIND
def test_with_dtype_computes_in_it(kind: Kind | None) -> None:
    layer = pn.with_dtype(network(kind), jnp.bfloat16)
    params, state = drawn(layer, X)
    y, _, residuals = layer.forward(params, state, X, new_key())
    assert {leaf.dtype for leaf in jax.tree.leaves(residuals) if jnp.issubdtype(leaf.dtype, jnp.floating)} == {
        jnp.dtype(jnp.bfloat16)
    }
    dparams, dx = run_backward(layer, params, X, y, residuals, jnp.ones_like(y))
    assert {leaf.dtype for leaf in jax.tree.leaves((dparams, dx))} == {jnp.dtype(jnp.float32)}
    close(y, network(kind).forward(params, state, X, new_key())[0], 0.1)
