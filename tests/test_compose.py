"""Networks that are not a chain: values, gradients, states, keys, blame, and what transformations make of them."""

from __future__ import annotations

import functools
import pickle
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import purenet as pn
from purenet import losses
from purenet.layer import run_backward

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(2, 4, 4, 3)).astype(np.float32)
X = RANDOM.normal(size=(5, 4)).astype(np.float32)


def unet(f: Any, x: Any) -> Any:
    a = f.down(x)
    b = f.up(f.middle(f.pool(a)))
    return f.head(jnp.concatenate([a, b], -1))


def unet_of(**others: pn.Layer) -> pn.Layer:
    layers = {
        "down": pn.serial(pn.conv(4, (3, 3)), pn.batch_norm(), pn.relu()),
        "pool": pn.max_pool((2, 2), strides=2),
        "middle": pn.serial(pn.conv(4, (3, 3)), pn.gelu()),
        "up": pn.upsample((2, 2)),
        "head": pn.conv(2, (1, 1)),
    }
    return pn.compose(unet, **layers | others)


def two_and_two(f: Any, x: Any) -> Any:
    """Several inputs, one of them integers; a layer that is called twice; a dict and a tuple as output."""
    (words, image), numbers = x
    shared = f.shared(words), f.shared(jnp.sin(image))
    return {"sum": f.drop(shared[0] + shared[1]), "all": (f.lookup(numbers), f.squash(shared[1]))}


def branching() -> pn.Layer:
    return pn.compose(
        two_and_two, shared=pn.dense(6), drop=pn.dropout(0.3), lookup=pn.embedding(9, 3), squash=pn.softmax()
    )


INPUT = ((X, 2 * X), np.array([1, 8, 1, 0, 3], np.int32))


def new_key() -> Any:
    return jax.random.key(5)


def pulled(layer: pn.Layer, x: Any) -> tuple[Any, Any, Any]:
    """y, and the gradients by hand and by jax.vjp of the layers' plain forwards."""
    params, state = layer.init(jax.random.key(0), x)
    y, _, residuals = layer.forward(params, state, x, new_key())
    dy = jax.tree.map(lambda leaf: jnp.asarray(np.cos(np.arange(leaf.size)).reshape(leaf.shape), leaf.dtype), y)
    by_hand = run_backward(layer, params, x, y, residuals, dy)
    autodiff = jax.vjp(lambda params, x: layer.forward(params, state, x, new_key())[0], params, x)[1](dy)
    return y, by_hand, jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, autodiff)


def close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, two in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("make", [lambda: (unet_of(), IMAGES), lambda: (branching(), INPUT)], ids=["unet", "branching"])
def test_the_gradient_is_that_of_autodiff(make: Any) -> None:
    layer, x = make()
    _, by_hand, by_autodiff = pulled(layer, x)
    close(by_hand, by_autodiff)
    assert pn.check(layer, x, verbose=False).verdict == "PASS"


def test_its_value_is_that_of_the_layers_one_by_one() -> None:
    net = branching()
    params, _ = net.init(jax.random.key(0), INPUT)
    (words, image), numbers = INPUT
    shared = [x @ params["shared"]["kernel"] + params["shared"]["bias"][None] for x in (words, np.sin(image))]
    expected = {
        "sum": shared[0] + shared[1],
        "all": (params["lookup"]["embedding"][numbers], jax.nn.softmax(shared[1])),
    }
    close(net.predict(params, (), INPUT), expected)


def test_the_layers_backwards_are_their_own() -> None:
    """Not autodiff's: a mark that a backward leaves comes out."""
    dense = pn.dense(6)
    marked = dense.replace(backward=lambda *args: jax.tree.map(lambda leaf: 3 * leaf, dense.backward(*args)))
    net, other = (pn.compose(lambda f, x: f.a(x), a=layer) for layer in (dense, marked))
    close(jax.tree.map(lambda leaf: 3 * leaf, pulled(net, X)[1]), pulled(other, X)[1])


@pytest.mark.parametrize(
    ("name", "layer"), [("middle", pn.conv(4, (3, 3))), ("head", pn.conv(2, (1, 1)))], ids=["middle", "head"]
)
def test_check_blames_the_layer(name: str, layer: pn.Layer) -> None:
    wrong = layer.replace(backward=lambda *args: (lambda dparams, dx: (dparams, 1.01 * dx))(*layer.backward(*args)))
    with pytest.raises(pn.GradientError) as caught:
        pn.check(unet_of(**{name: wrong}), IMAGES, verbose=False, explain=False)
    assert [found.path for found in caught.value.report.layers] == [f"compose.{name}.conv"]


def test_check_blames_a_layer_that_is_called_twice() -> None:
    dense = pn.dense(6)
    wrong = dense.replace(backward=lambda *args: (lambda dparams, dx: (dparams, 1.01 * dx))(*dense.backward(*args)))
    twice = pn.compose(lambda f, x: f.out(f.a(x) + f.a(jnp.sin(x))), a=wrong, out=pn.dense(2))
    with pytest.raises(pn.GradientError) as caught:
        pn.check(pn.serial(pn.dense(4), twice), X, verbose=False, explain=False)
    assert [found.path for found in caught.value.report.layers] == ["serial[1].compose.a.dense"]


def test_states_and_keys_go_from_call_to_call() -> None:
    def twice(f: Any, x: Any) -> Any:
        return f.drop(f.norm(f.norm(x))), f.drop(x)

    net = pn.compose(twice, norm=pn.batch_norm(momentum=0.5), drop=pn.dropout(0.5))
    params, state = net.init(jax.random.key(0), X)
    assert set(state) == {"norm", "drop"}
    (first, second), new_state, _ = net.forward(params, state, X, new_key())
    assert not np.array_equal(np.asarray(first) == 0, np.asarray(second) == 0)  # each call draws its own
    norm = pn.batch_norm(momentum=0.5)
    y, once, _ = norm.forward(params["norm"], state["norm"], X, None)
    close(new_state["norm"], norm.forward(params["norm"], once, y, None)[1])
    assert net.predict(params, new_state, X)[1].shape == X.shape


@pytest.mark.complete
def test_it_repeats_and_is_kept_by_remat() -> None:
    def mixed(f: Any, x: Any) -> Any:
        return x + f.out(jnp.tanh(f.a(x)) * f.b(x))

    block = pn.compose(mixed, a=pn.dense(7), b=pn.dense(7), out=pn.serial(pn.layer_norm(), pn.dense(4)))
    for layer in (pn.repeat(block, 3), pn.remat(block), pn.repeat(block, 3, keep="inputs")):
        _, by_hand, by_autodiff = pulled(layer, X)
        close(by_hand, by_autodiff)


def test_what_it_keeps_are_neither_parameters_nor_x() -> None:
    net = pn.compose(lambda f, x: f.b(jnp.sin(f.a(x))), a=pn.dense(64), b=pn.dense(3))
    params, state = net.init(jax.random.key(0), X)
    residuals = jax.eval_shape(net.forward, params, state, X, None)[2]
    kept = [leaf.shape for leaf in jax.tree.leaves(residuals)]
    assert sorted(kept) == [(5, 64), (5, 64)]  # sin(h), which b reads, and cos(h)


@pytest.mark.complete
def test_an_objective_of_several_losses() -> None:
    def both(f: Any, x: Any) -> Any:
        inputs, (labels, targets) = x
        h = f.trunk(inputs)
        return f.cross_entropy((f.classes(h), labels)) + 0.5 * f.squared((f.values(h), targets))

    objective = pn.compose(
        both,
        trunk=pn.serial(pn.dense(8), pn.gelu()),
        classes=pn.dense(3),
        values=pn.dense(2),
        cross_entropy=losses.softmax_cross_entropy(),
        squared=losses.squared_error(),
    )
    batch = X, (np.array([0, 1, 2, 1, 0], np.int32), X[:, :2])
    params, state = objective.init(jax.random.key(0), batch)
    (value, _), gradient = jax.jit(pn.value_and_grad(objective))(params, state, batch)
    close((value, gradient), jax.value_and_grad(lambda params: objective.predict(params, state, batch))(params))
    start = pn.train.init_train_state(objective, optax.adam(1e-2), jax.random.key(0), batch)
    step = jax.jit(pn.train.make_step(objective, optax.adam(1e-2)))
    trained = functools.reduce(lambda state, _: step(state, batch)[0], range(20), start)
    assert objective.predict(trained.params, (), batch) < 0.8 * value
    norms = pn.per_example_norms(objective)(params, (), batch)
    one = jax.tree.map(lambda leaf: leaf[:1], batch)
    np.testing.assert_allclose(norms[0], optax.tree.norm(pn.value_and_grad(objective)(params, (), one)[1]), rtol=1e-5)


def test_it_computes_in_another_dtype() -> None:
    net = pn.with_dtype(unet_of(), jnp.bfloat16)
    params, state = net.init(jax.random.key(0), IMAGES)
    y, _, residuals = net.forward(params, state, IMAGES, None)
    dparams, dx = run_backward(net, params, IMAGES, y, residuals, jnp.ones_like(y))
    assert {leaf.dtype for leaf in jax.tree.leaves((y, dparams, dx))} == {jnp.dtype(jnp.float32)}


def test_summary_plan_and_repr() -> None:
    net = unet_of()
    table = pn.summary(net, IMAGES)
    assert [row.path for row in table.rows[:2]] == ["compose", "compose.down.serial"]
    assert table.parameters == sum(leaf.size for leaf in jax.tree.leaves(net.init(jax.random.key(0), IMAGES)[0]))
    assert "compose: between the layers" in str(pn.plan(net))
    assert repr(net).startswith("compose(\n    unet, down=serial(conv(4, (3, 3)), batch_norm(), relu())")
    assert net == unet_of()
    assert pickle.loads(pickle.dumps(net)) == net


def test_mistakes_are_named() -> None:
    def forgetful(f: Any, x: Any) -> Any:
        return f.a(x)

    with pytest.raises(ValueError, match=r"compose\.b: expected the function to call every layer, this one is never"):
        pn.compose(forgetful, a=pn.dense(3), b=pn.dense(3)).init(jax.random.key(0), X)
    with pytest.raises(AttributeError, match="has no attribute 'dwon'"):
        pn.compose(lambda f, x: f.dwon(x), down=pn.dense(3)).init(jax.random.key(0), X)
    with pytest.raises(TypeError, match=r"compose: expected a function of \(f, x\) and layers by name"):
        pn.compose(cast(Any, pn.dense(3)), down=pn.dense(3))
    with pytest.raises(TypeError, match="compose: expected down as a Layer"):
        pn.compose(forgetful, down=cast(Any, pn.dense))
    with pytest.raises(ValueError, match="compose: expected at least one layer, got none"):
        pn.compose(forgetful)
    net = pn.compose(forgetful, a=pn.dense(3))
    with pytest.raises(ValueError, match=r"compose\.a\.dense: expected x \[\.\.\., 4\]"):
        net.predict(net.init(jax.random.key(0), X)[0], (), X[:, :3])
