"""The plan, paths, keys and states of combinators; what the table of cases does not say."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.combine.nested import segments_of
from purenet.layer import run_backward
from purenet.planning import choose


def fates(layer: pn.Layer) -> dict[str, str]:
    return {path: value.fate for path, value in pn.plan(layer).rows}


def stub(needs: tuple[str, ...], recompute: bool = False) -> pn.Layer:
    return pn.identity().replace(needs=needs, recompute=pn.identity().recompute if recompute else None)


def test_plan_keeps_the_preactivation_alone_in_a_gelu_mlp() -> None:
    plan = fates(pn.serial(pn.layer_norm(), pn.dense(8), pn.gelu(), pn.dense(2)))
    assert plan == {
        "serial: input": "kept",
        "serial: [0] layer_norm -> [1] dense": "recomputed",
        "serial: [1] dense -> [2] gelu": "kept",
        "serial: [2] gelu -> [3] dense": "recomputed",
        "serial: output": "dropped",
        "serial[0].layer_norm: mean": "kept",
        "serial[0].layer_norm: rstd": "kept",
    }


def test_plan_keeps_the_output_that_two_layers_read() -> None:
    plan = fates(pn.serial(pn.dense(8), pn.tanh(), pn.dense(2)))
    assert plan["serial: [0] dense -> [1] tanh"] == "dropped"
    assert plan["serial: [1] tanh -> [2] dense"] == "kept"


def test_nested_chains_keep_what_the_flat_one_keeps() -> None:
    def residual_shapes(net: pn.Layer) -> list[tuple[int, ...]]:
        x = jax.ShapeDtypeStruct((4, 6), jnp.float32)
        params, state = jax.eval_shape(net.init, jax.random.key(0), x)
        return sorted(leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(net.forward, params, state, x, None)[2]))

    parts = [pn.dense(5), pn.gelu(), pn.layer_norm(), pn.dense(4), pn.tanh(), pn.dense(2)]
    flat = residual_shapes(pn.serial(*parts))
    for cut in range(1, len(parts)):
        nested = pn.serial(pn.serial(*parts[:cut]), pn.serial(*parts[cut:]))
        assert residual_shapes(nested) == flat, cut


def test_choice_is_the_cheapest_of_all() -> None:
    """Against every assignment of fates, for all chains of up to four layers of four kinds."""
    kinds = [stub(("x",)), stub(("y",)), stub(("x",), recompute=True), stub((), recompute=True)]

    def valid(layers: Any, chosen: Any) -> bool:
        for k, fate in enumerate(chosen):
            read = (k < len(layers) and "x" in layers[k].needs) or (k > 0 and "y" in layers[k - 1].needs)
            if fate == "dropped" and read:
                return False
            if fate == "recomputed" and (k == 0 or layers[k - 1].recompute is None or chosen[k - 1] == "dropped"):
                return False
        return True

    def price(chosen: Any) -> tuple[int, int]:
        return chosen[1:-1].count("kept"), chosen.count("recomputed")

    for n in range(1, 5):
        for layers in itertools.product(kinds, repeat=n):
            options = itertools.product(("kept", "recomputed", "dropped"), repeat=n + 1)
            best = min(price(chosen) for chosen in options if valid(layers, chosen))
            assert valid(layers, choose(layers))
            assert price(choose(layers)) == best


def test_plan_prints_every_value_with_a_reason() -> None:
    text = str(pn.plan(pn.repeat(pn.residual(pn.serial(up=pn.dense(8), act=pn.gelu(), down=pn.dense(2))), 3)))
    assert "input of each of 3 blocks" in text
    assert ".up dense -> .act gelu" in text
    assert "gelu reads its input" in text


def test_dropout_keeps_its_key_alone() -> None:
    layer = pn.dropout(0.5)
    x = jax.random.normal(jax.random.key(0), (1000,))
    y, _, residuals = layer.forward((), (), x, jax.random.key(1))
    assert [leaf.dtype for leaf in jax.tree.leaves(residuals)] == [jax.random.key(0).dtype]
    dropped = y == 0
    assert 400 < int(dropped.sum()) < 600
    np.testing.assert_allclose(y[~dropped], 2 * x[~dropped])
    _, dx = run_backward(layer, (), x, y, residuals, jnp.ones_like(x))
    np.testing.assert_array_equal(dx, jnp.where(dropped, 0, 2))


def test_dropout_rate_is_what_is_dropped() -> None:
    y = pn.dropout(0.1).forward((), (), jnp.ones(10_000), jax.random.key(0))[0]
    assert 0.08 < float(jnp.mean(y == 0)) < 0.12


def test_parameters_are_named_as_given() -> None:
    net = pn.serial(up=pn.dense(3), down=pn.serial(pn.dense(2), pn.tanh()))
    params, state = net.init(jax.random.key(0), jnp.ones((1, 4)))
    assert state == ()
    assert set(params) == {"up", "down"}
    assert params["down"][0]["kernel"].shape == (3, 2)
    assert params["down"][1] == ()


def counter() -> pn.Layer:
    """Counts its calls in its state and multiplies by the count."""

    def forward(params: Any, state: Any, x: Any, key: Any) -> Any:
        return x * (state + 1), state + 1, state

    return pn.Layer(
        init=lambda key, x: ((), jnp.zeros(())),
        forward=forward,
        backward=lambda params, x, y, state, dy: ((), dy * (state + 1)),
        predict=lambda params, state, x: x * state,
        needs=(),
        name="counter",
    )


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (pn.serial(pn.dense(3), counter()), lambda state: state[1]),
        (pn.serial(a=counter(), b=pn.tanh()), lambda state: state["a"]),
        (pn.residual(counter()), lambda state: state),
        (pn.parallel(counter(), pn.tanh()), lambda state: state[0]),
        (pn.repeat(counter(), 4), lambda state: state[2]),
        (pn.remat(counter()), lambda state: state),
        (pn.objective(counter(), pn.losses.squared_error()), lambda state: state),
    ],
    ids=["serial", "named", "residual", "parallel", "repeat", "remat", "objective"],
)
def test_state_goes_through_combinators(net: pn.Layer, count: Any) -> None:
    x: Any = jnp.ones((2, 3))
    if net.name == "objective":
        x = (x, x)
    params, state = net.init(jax.random.key(0), x)
    for expected in (1, 2):
        _, state, _ = net.forward(params, state, x, None)
        assert float(count(state)) == expected


def test_each_repeated_block_draws_its_own_mask() -> None:
    net = pn.repeat(pn.dropout(0.5), 2)
    y = net.forward(*net.init(jax.random.key(0), jnp.ones(4000)), jnp.ones(4000), jax.random.key(1))[0]
    assert 0.2 < float(jnp.mean(y != 0)) < 0.3


def test_as_function_serves_inside_jax_grad_with_state_and_key() -> None:
    net = pn.serial(pn.dense(3), counter(), pn.dropout(0.3), pn.tanh())
    x = jax.random.normal(jax.random.key(1), (5, 4))
    params, state = net.init(jax.random.key(0), x)
    function = pn.as_function(net, has_state=True)

    def loss(params: Any, call: Any) -> Any:
        y, new_state = call(params)
        return jnp.sum(jnp.sin(y)), new_state

    key = jax.random.key(2)
    with_rule = jax.grad(loss, has_aux=True)(params, lambda p: function(p, x, state, jax.random.clone(key)))
    by_autodiff = jax.grad(loss, has_aux=True)(params, lambda p: net.forward(p, state, x, jax.random.clone(key))[:2])
    for mine, theirs in zip(jax.tree.leaves(with_rule), jax.tree.leaves(by_autodiff), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-6)


def test_as_function_takes_integer_inputs() -> None:
    loss = pn.as_function(pn.losses.softmax_cross_entropy())
    logits, labels = jnp.array([[1.0, 2.0, 0.5]]), jnp.array([2])
    gradient = jax.jit(jax.grad(lambda logits: loss((), (logits, labels))))(logits)
    expected = jax.nn.softmax(logits) - jax.nn.one_hot(labels, 3)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_from_function_with_parameters_and_integers() -> None:
    def init(key: Any, x: Any) -> Any:
        return {"table": jax.random.normal(key, (9, 4))}

    layer = pn.from_function(lambda params, ids: params["table"][ids], init=init, name="lookup")
    net = pn.objective(pn.serial(layer, pn.dense(2)), pn.losses.squared_error("sum"))
    x = (jnp.array([1, 5, 1]), jnp.ones((3, 2)))
    params, state = net.init(jax.random.key(0), x)
    gradients = pn.value_and_grad(net)(params, state, x)[1]
    expected = jax.grad(lambda params: net.forward(params, state, x, None)[0])(params)
    for mine, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_value_and_grad_has_the_form_of_jax() -> None:
    net = pn.objective(pn.dense(2), pn.losses.squared_error())
    x = (jnp.ones((3, 4)), jnp.zeros((3, 2)))
    params, state = net.init(jax.random.key(0), x)
    (value, new_state), gradients = pn.value_and_grad(net)(params, state, x)
    assert value.shape == ()
    assert new_state == ()
    assert jax.tree.structure(gradients) == jax.tree.structure(params)


@pytest.mark.parametrize(
    ("flat", "nested"),
    [
        ([pn.dense(6), pn.dropout(0.1), pn.dropout(0.2), pn.sigmoid()], lambda a, b, c, d: [a, pn.serial(b, c), d]),
        ([pn.dense(6), pn.repeat(pn.dense(6), 2), pn.dense(4)], lambda a, b, c: [a, pn.serial(b), c]),
    ],
)
def test_a_nested_chain_keeps_no_input_that_nobody_reads(flat: list[pn.Layer], nested: Any) -> None:
    def residual_bytes(net: pn.Layer) -> int:
        x, key = jnp.ones((4, 6)), jax.random.key(0)
        params, state = jax.eval_shape(net.init, key, x)
        residuals = jax.eval_shape(net.forward, params, state, x, key)[2]
        return sum(leaf.size for leaf in jax.tree.leaves(residuals))

    assert residual_bytes(pn.serial(*nested(*flat))) == residual_bytes(pn.serial(*flat))


def test_branches_recompute_their_outputs_from_one_input() -> None:
    for branches in (pn.parallel(pn.tanh(), pn.sigmoid(), pn.gelu()), pn.residual(pn.tanh())):
        assert branches.needs == ("x",)
        x = jax.ShapeDtypeStruct((4, 6), jnp.float32)
        residuals = jax.eval_shape(branches.forward, *jax.eval_shape(branches.init, jax.random.key(0), x), x, None)[2]
        assert jax.tree.leaves(residuals) == []


def test_backward_may_run_twice() -> None:
    for net in (pn.dropout(0.5), pn.remat(pn.dropout(0.5))):
        y, pull = jax.vjp(lambda x, net=net: pn.as_function(net)((), x, (), jax.random.key(0)), jnp.ones(50))
        np.testing.assert_array_equal(pull(y)[0], pull(y)[0])


def test_what_is_recomputed_behind_dropout_compiles_with_key_checks() -> None:
    net = pn.objective(pn.serial(pn.dense(4), pn.dropout(0.4), pn.gelu()), pn.losses.squared_error())
    x = (jnp.ones((5, 4)), jnp.zeros((5, 4)))
    params, state = net.init(jax.random.key(0), x)
    (value, _), _ = jax.jit(pn.value_and_grad(net))(params, state, x, jax.random.key(1))
    assert bool(jnp.isfinite(value))


@pytest.mark.parametrize("wrap", [pn.residual, lambda bad: pn.parallel(bad, pn.dense(4))])
def test_a_broadcast_input_gradient_is_refused(wrap: Any) -> None:
    bad = pn.stateless(lambda x: 2 * x, lambda dy: 2 * jnp.sum(dy, -1, keepdims=True), name="bad", needs=())
    net = pn.objective(wrap(bad), pn.losses.squared_error())
    x = (jnp.ones((5, 4)), jnp.zeros((5, 4)))
    params, state = net.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"input gradient \(5, 1\), input \(5, 4\)"):
        pn.value_and_grad(net)(params, state, x)


@pytest.mark.parametrize("keep", ["inputs", "nested"])
def test_a_stack_that_runs_again_sees_what_it_saw(keep: str) -> None:
    """With a state that the output depends on and a mask: the gradient of the plan, and the same new state. Seven
    blocks are no whole number of segments."""
    block = pn.serial(pn.dense(4), counter(), pn.dropout(0.3), pn.tanh())
    planned, again = pn.repeat(block, 7), pn.repeat(block, 7, keep=keep)
    x = jax.random.normal(jax.random.key(1), (5, 4))
    params, state = jax.jit(planned.init)(jax.random.key(0), x)
    state = jax.tree.map(lambda leaf: leaf + jnp.arange(7.0) / 7, state)

    def pull(net: pn.Layer) -> Any:
        def run(params: Any, state: Any, x: Any) -> Any:
            y, new_state, residuals = net.forward(params, state, x, jax.random.key(2))
            return new_state, run_backward(net, params, x, y if "y" in net.needs else None, residuals, jnp.cos(x))

        return jax.jit(run)(params, state, x)

    for mine, theirs in zip(jax.tree.leaves(pull(again)), jax.tree.leaves(pull(planned)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_segments_cover_every_block_once_with_few_inputs_at_a_time() -> None:
    for n in range(1, 70):
        segments = segments_of(n)
        assert np.concatenate([part.ravel() for part in segments]).tolist() == list(range(n))
        at_a_time = sum(len(part) for part in segments) + segments[0].shape[1]
        assert at_a_time <= 2 * n**0.5 + 1


def test_what_a_stack_keeps_survives_being_assembled_anew() -> None:
    """Under with_dtype, which makes networks of changed parts; and the plan says what is kept."""
    x = jax.ShapeDtypeStruct((4, 6), jnp.float32)
    for keep, kept in (("plan", 12 * 2), ("inputs", 12), ("nested", 4)):
        net = pn.repeat(pn.serial(pn.dense(6), pn.gelu()), 12, keep=keep)
        narrow = pn.with_dtype(net, jnp.bfloat16)
        params, state = jax.eval_shape(narrow.init, jax.random.key(0), x)
        residuals = jax.tree.leaves(jax.eval_shape(narrow.forward, params, state, x, None)[2])
        assert sum(leaf.size * leaf.dtype.itemsize for leaf in residuals) == kept * 4 * 6 * 2
    assert "input of 4 of 12 blocks" in str(pn.plan(net))
