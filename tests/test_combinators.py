"""What combinators around a layer promise beside their gradients: products left out, bytes kept, precision, sharing."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cost import cost, kept_bytes
from helpers import pull

import purenet as pn
from purenet import losses
from purenet.layer import run_backward

WIDTH, ROWS = 16, 64
X = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)


def mlp(width: int = WIDTH) -> pn.Layer:
    return pn.serial(pn.dense(4 * width), pn.gelu(), pn.dense(width))


def shapes(net: pn.Layer, x: Any = X) -> tuple[Any, Any]:
    return jax.eval_shape(net.init, jax.random.key(0), x)


def by_autodiff(net: pn.Layer) -> Any:
    def run(params: Any, x: Any, dy: Any) -> Any:
        y, vjp = jax.vjp(lambda params, x: net.forward(params, (), x, None)[0], params, x)
        return y, vjp(dy)

    return run


def products(function: Any, *arguments: Any) -> int:
    """Matrix products in the program that is handed to the compiler."""
    return len(re.findall(r"stablehlo\.dot_general", jax.jit(function).lower(*arguments).as_text()))


def random_point(net: pn.Layer, rows: int = 8) -> tuple[Any, Any, Any]:
    x = jax.random.normal(jax.random.key(1), (rows, WIDTH))
    params, state = net.init(jax.random.key(0), x)
    y = jax.eval_shape(net.predict, params, state, x)
    return params, x, jax.random.normal(jax.random.key(2), y.shape, y.dtype)


# frozen


def test_frozen_parameters_cost_no_products() -> None:
    """Two products forward; backward two for x, and two more for the kernels unless they are frozen."""
    net = mlp()
    arguments = shapes(net)[0], X, X
    assert products(partial(pull, net), *arguments) == 6
    assert products(partial(pull, pn.frozen(net)), *arguments) == 4
    assert products(by_autodiff(pn.frozen(net)), *arguments) == 4
    repeated = pn.frozen(pn.repeat(net, 3))
    assert products(partial(pull, repeated), shapes(repeated)[0], X, X) == 4  # in the bodies of two scans


def test_what_only_frozen_kernels_would_read_is_not_stored() -> None:
    """The input of a frozen dense layer is no part of dx: a scan of blocks must not stack it."""
    deep = 12
    block = pn.serial(pn.dense(WIDTH), pn.sigmoid(), pn.dense(WIDTH))
    net = pn.repeat(pn.frozen(block), deep)
    small, large = (
        cost(partial(pull, net), shapes(net)[0], x, x).temporary
        for x in (jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32) for rows in (ROWS, 3 * ROWS))
    )
    per_row = (large - small) / (2 * ROWS)
    assert per_row <= 4 * WIDTH * (deep + 4)  # one sigmoid a block, not its input as well


def test_a_frozen_state_stays() -> None:
    net = pn.batch_norm()
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (32, 4))
    params, state = net.init(jax.random.key(1), x)
    frozen, thawed = (pn.frozen(net, freeze_state=freeze).forward(params, state, x, None) for freeze in (True, False))
    jax.tree.map(np.testing.assert_array_equal, frozen[1], state)
    assert not np.allclose(jax.tree.leaves(thawed[1])[0], jax.tree.leaves(state)[0])
    np.testing.assert_array_equal(frozen[0], thawed[0])


def test_weight_decay_still_moves_frozen_parameters_unless_masked() -> None:
    """The docstring's advice."""
    net = pn.objective(pn.serial(pn.dense(3), pn.frozen(pn.dense(2))), losses.squared_error())
    x = jnp.ones((4, 5)), jnp.ones((4, 2))
    params, state = net.init(jax.random.key(0), x)
    gradients = pn.value_and_grad(net)(params, state, x)[1]
    trained = [jax.tree.map(lambda leaf: True, params[0]), jax.tree.map(lambda leaf: False, params[1])]
    labels = jax.tree.map(lambda train: "train" if train else "freeze", trained)
    frozen_kernels = {
        "plain": optax.adamw(1e-2, weight_decay=0.1),
        "masked": optax.adamw(1e-2, weight_decay=0.1, mask=trained),
        "partition": optax.partition({"train": optax.adamw(1e-2), "freeze": optax.set_to_zero()}, labels),
    }
    for name, optimizer in frozen_kernels.items():
        with jax.numpy_dtype_promotion("standard"):
            updates: Any = optimizer.update(gradients, optimizer.init(params), params)[0]
        moved = bool(jnp.any(updates[1]["kernel"] != 0))
        assert moved == (name == "plain"), name
        assert bool(jnp.all(updates[0]["kernel"] != 0))


# with_dtype


def test_mixed_precision_keeps_half_the_bytes() -> None:
    net = pn.repeat(pn.residual(pn.serial(pn.layer_norm(), mlp())), 3)
    params, state = shapes(net)
    full = kept_bytes(net, params, state, X, None)[0]
    mixed, autodiff = kept_bytes(pn.with_dtype(net, jnp.bfloat16), params, state, X, None)
    statistics = 2 * 3 * 4 * ROWS  # float32 either way
    assert full - 4 * ROWS * WIDTH > 0
    assert mixed - statistics == (full - statistics) / 2
    assert mixed < autodiff / 2


def test_dtypes_go_in_and_out_unchanged() -> None:
    net = pn.with_dtype(mlp(), jnp.bfloat16)
    params, x, dy = random_point(net)
    y, _, residuals = net.forward(params, (), x, None)
    assert y.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(residuals)} == {jnp.dtype(jnp.bfloat16)}
    gradients = run_backward(net, params, x, y, residuals, dy)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, gradients))} == {jnp.dtype(jnp.float32)}
    left = pn.with_dtype(mlp(), jnp.bfloat16, output_dtype=jnp.bfloat16)
    assert left.predict(params, (), x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(left.predict(params, (), x).astype(jnp.float32), y)


def test_integers_go_in_and_the_parameters_dtype_comes_out() -> None:
    lookup = pn.embedding(9, 4)
    net = pn.with_dtype(pn.serial(lookup, pn.dense(3)), jnp.bfloat16)
    ids = jnp.array([1, 5, 1])
    params, state = net.init(jax.random.key(0), ids)
    y, _, residuals = net.forward(params, state, ids, None)
    assert y.dtype == jnp.float32
    dparams, dx = run_backward(net, params, ids, y, residuals, y)
    assert dx is None
    assert {leaf.dtype for leaf in jax.tree.leaves(dparams)} == {jnp.dtype(jnp.float32)}


def test_gradients_of_bfloat16_products_are_rounded_once() -> None:
    """65,536 rows of bfloat16 values, whose sum would lose percents if it were kept in bfloat16."""
    net = pn.with_dtype(pn.dense(4), jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (65536, 8)).astype(jnp.bfloat16).astype(jnp.float32)
    dy = (1 + jax.random.normal(jax.random.key(1), (65536, 4))).astype(jnp.bfloat16).astype(jnp.float32)
    params, _ = net.init(jax.random.key(2), x)
    mine = jax.jit(partial(pull, net))(params, x, dy)[1][0]
    wide_x, wide_dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    truth = {"kernel": wide_x.T @ wide_dy, "bias": wide_dy.sum(0)}
    for name, leaf in truth.items():
        error = np.max(np.abs(np.asarray(mine[name]) - leaf)) / np.max(np.abs(leaf))
        assert error <= 2e-3, (name, error)


def test_uses_are_summed_in_the_parameters_dtype() -> None:
    """Of sixteen uses of one kernel, the first gives 256 and fifteen give 1 each: bfloat16 would stay at 256."""
    double = pn.stateless(
        lambda params, x: params["w"] * x,
        lambda params, x, dy: ({"w": jnp.sum(dy * x)}, params["w"] * dy),
        name="double",
        init=lambda key, x: {"w": jnp.ones((), x.dtype)},
    )
    parts = [pn.serial(pn.scale_gradient(1.0), double) for _ in range(16)]
    net = pn.parallel(pn.serial(scaled_by(256), double), *parts[1:])
    ties = {f"{k}.1.w": "0.1.w" for k in range(1, 16)}
    mixed = pn.with_dtype(pn.tied(net, ties), jnp.bfloat16)
    x = jnp.ones(())
    params, _ = mixed.init(jax.random.key(0), x)
    dparams = pull(mixed, params, x, jnp.ones(()))[1][0]
    assert float(jax.tree.leaves(dparams)[0]) == 256 + 15


def scaled_by(factor: float) -> pn.Layer:
    return pn.stateless(lambda x: factor * x, lambda dy: factor * dy, name="scaled", needs=())


def test_parameters_are_cast_inside_the_scan() -> None:
    """No bfloat16 copy of all blocks, which would stand beside them for the whole step."""
    net = pn.with_dtype(pn.repeat(mlp(), 5), jnp.bfloat16)
    program = str(jax.make_jaxpr(partial(pull, net))(shapes(net)[0], X, X))
    stacks = f"[5,{WIDTH},{4 * WIDTH}]"
    assert f"f32{stacks}" in program
    assert f"bf16{stacks}" not in program


def test_what_replaces_a_combinators_function_is_not_lost() -> None:
    net = mlp()
    marked = net.replace(backward=lambda *args: jax.tree.map(lambda leaf: 3 * leaf, net.backward(*args)))
    params, x, dy = random_point(net)
    plain, tripled = (pull(pn.with_dtype(layer, jnp.float32), params, x, dy)[1][1] for layer in (net, marked))
    np.testing.assert_allclose(tripled, 3 * plain, rtol=1e-6)


# tied


def language_model() -> pn.Layer:
    net = pn.serial(embed=pn.embedding(11, 6), mix=pn.dense(6), head=pn.dense(11))
    return pn.objective(pn.tied(net, {"head.kernel": "embed.embedding.T"}), losses.softmax_cross_entropy())


@pytest.mark.complete
def test_a_tied_table_is_one_leaf_with_the_sum_of_both_gradients() -> None:
    net = language_model()
    x = jnp.array([[1, 5, 1]]), jnp.array([[5, 1, 10]])
    params, state = net.init(jax.random.key(0), x)
    assert params["head"]["kernel"] is None
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 11 * 6 + 6 * 6 + 6 + 11
    gradients = pn.value_and_grad(net)(params, state, x)[1]

    def by_two_tables(embed: Any, head: Any) -> Any:
        h = embed[x[0]] @ params["mix"]["kernel"] + params["mix"]["bias"]
        scores = jax.nn.log_softmax(h @ head + params["head"]["bias"])
        return -jnp.mean(jnp.take_along_axis(scores, x[1][..., None], -1))

    table = params["embed"]["embedding"]
    with jax.numpy_rank_promotion("allow"):
        first, second = jax.grad(by_two_tables, (0, 1))(table, table.T)
    np.testing.assert_allclose(gradients["embed"]["embedding"], first + second.T, rtol=1e-4, atol=1e-7)
    assert float(jnp.max(jnp.abs(first))) > 1e-3 < float(jnp.max(jnp.abs(second)))


def test_tied_parameters_train_and_travel_as_a_pytree() -> None:
    net = language_model()
    x = jnp.array([[1, 5, 1]]), jnp.array([[5, 1, 10]])
    params, state = net.init(jax.random.key(0), x)
    optimizer = optax.adam(1e-2)
    gradients = pn.value_and_grad(net)(params, state, x)[1]
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        params = optax.apply_updates(params, updates)
    assert jax.tree.structure(params) == jax.tree.structure(gradients)
    assert bool(jnp.isfinite(pn.value_and_grad(net)(params, state, x)[0][0]))


def test_several_targets_share_one_source() -> None:
    net = pn.serial(a=pn.dense(WIDTH), b=pn.dense(WIDTH), c=pn.dense(WIDTH))
    shared = pn.tied(net, {"b.kernel": "a.kernel.T", "c.kernel": "a.kernel", "c.bias": "a.bias"})
    params, x, _ = random_point(shared)
    kernel = params["a"]["kernel"]
    with jax.numpy_rank_promotion("allow"):
        y = ((x @ kernel + params["a"]["bias"]) @ kernel.T + params["b"]["bias"]) @ kernel + params["a"]["bias"]
        np.testing.assert_allclose(shared.predict(params, (), x), y, rtol=1e-5, atol=1e-5)


# scale_gradient


def test_a_scaled_gradient_is_the_identity_for_every_value() -> None:
    x = jnp.array([jnp.inf, -jnp.inf, jnp.nan, 0.0, 1e-45, 3.4e38])
    np.testing.assert_array_equal(pn.scale_gradient(-0.3).predict((), (), x), x)
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(pn.scale_gradient(-0.3).predict((), (), x))))(x[3:])
    np.testing.assert_allclose(gradient, -0.3 * jnp.cos(x[3:]), rtol=1e-6)


def test_gradient_reversal_turns_the_sign_of_what_stands_before_it() -> None:
    net = pn.objective(pn.serial(pn.dense(3), pn.scale_gradient(-1), pn.dense(2)), losses.squared_error())
    plain = pn.objective(pn.serial(pn.dense(3), pn.identity(), pn.dense(2)), losses.squared_error())
    x = jnp.ones((4, 5)), jnp.ones((4, 2))
    params, state = net.init(jax.random.key(0), x)
    turned, straight = (pn.value_and_grad(each)(params, state, x)[1] for each in (net, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, rtol=1e-6), turned[0], straight[0])
    jax.tree.map(np.testing.assert_array_equal, turned[2], straight[2])


# remat


def test_the_second_forward_leaves_out_the_last_product() -> None:
    """Two forward, one again, four backward: seven sixths, not eight sixths."""
    net = pn.remat(mlp())
    arguments = shapes(net)[0], X, X
    assert products(partial(pull, net), *arguments) == 7
    repeated = pn.repeat(net, 3)
    arguments = shapes(repeated)[0], X, X
    assert products(partial(pull, repeated), *arguments) == 7
    assert (
        cost(partial(pull, repeated), *arguments).flops * 6
        == cost(partial(pull, pn.repeat(mlp(), 3)), *arguments).flops * 7
    )


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: pn.repeat(net, 2)], ids=["alone", "repeat"])
def test_remat_redraws_and_restores_what_the_forward_saw(wrap: Any) -> None:
    """With a state that the output depends on and a mask: the same gradient as without remat."""
    inner = pn.serial(pn.dense(WIDTH), counter(), pn.dropout(0.4), pn.tanh())
    plain, again = wrap(inner), wrap(pn.remat(inner))
    x = jax.random.normal(jax.random.key(0), (8, WIDTH))
    params, state = plain.init(jax.random.key(1), x)

    def gradient(net: pn.Layer) -> Any:
        y, new_state, residuals = net.forward(params, state, x, jax.random.key(2))
        return new_state, run_backward(net, params, x, y, residuals, jnp.cos(y))

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gradient(plain), gradient(again))


def counter() -> pn.Layer:
    """Multiplies by the number of its calls, starting at two."""
    return pn.Layer(
        init=lambda key, x: ((), jnp.full((), 2.0)),
        forward=lambda params, state, x, key: (x * state, state + 1, state),
        backward=lambda params, x, y, state, dy: ((), dy * state),
        predict=lambda params, state, x: x * state,
        needs=(),
        name="counter",
    )


def test_remat_takes_integers() -> None:
    net = pn.objective(pn.remat(pn.serial(pn.embedding(9, 4), pn.dense(3))), losses.softmax_cross_entropy())
    x = jnp.array([1, 5, 1]), jnp.array([2, 0, 1])
    params, state = net.init(jax.random.key(0), x)
    gradients = pn.value_and_grad(net)(params, state, x)[1]
    expected = jax.grad(lambda params: net.forward(params, state, x, None)[0])(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), gradients, expected)


# All of them.


def test_plans_and_paths_say_where() -> None:
    ties = {"down.kernel": "up.kernel.T"}
    inner = pn.tied(pn.serial(up=pn.dense(5), act=pn.gelu(), down=pn.dense(WIDTH)), ties)
    rows = dict(pn.plan(pn.serial(pn.frozen(pn.with_dtype(inner, jnp.bfloat16)), pn.tanh())).rows)
    path = "serial[0].frozen.with_dtype"
    assert rows[f"{path}: input in bfloat16"].fate == "kept"
    assert rows[f"{path}.tied: down.kernel"].why == "it is up.kernel.T"
    assert rows[f"{path}.tied.serial: .up dense -> .act gelu"].fate == "kept"
    assert rows["serial[0].frozen: gradients of the parameters"].fate == "dropped"


@pytest.mark.complete
def test_a_wrong_layer_inside_is_blamed_alone() -> None:
    dense = pn.dense(WIDTH)
    wrong = dense.replace(backward=lambda *args: (dense.backward(*args)[0], 1.01 * dense.backward(*args)[1]))
    inner = pn.serial(a=dense, b=wrong, c=dense)
    with jax.enable_x64(True):
        for net, path in (
            (pn.frozen(inner), "frozen.serial.b.dense"),
            (pn.tied(inner, {"c.kernel": "a.kernel.T"}), "tied.serial.b.dense"),
            (pn.with_dtype(inner, jnp.float64), "with_dtype.serial.b.dense"),
            (
                pn.serial(pn.tanh(), pn.tied(pn.frozen(inner), {"b.kernel": "a.kernel"})),
                "serial[1].tied.frozen.serial.b.dense",
            ),
        ):
            with pytest.raises(pn.GradientError) as raised:
                pn.check(net, jax.ShapeDtypeStruct((3, WIDTH), jnp.float64), verbose=False, explain=False)
            [layer] = raised.value.report.layers
            assert (layer.path, layer.reason) == (path, "backward")
