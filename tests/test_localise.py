"""One wrong backward in a network must be blamed on that layer alone; wrong plumbing on the combinator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet import losses
from purenet.checking.localise import Blame, localise
from purenet.layer import run_backward
from purenet.randomness import clone_key
from purenet.validation import check_gradient


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def changed(layer: pn.Layer, change: Callable[[Any, Any], Any]) -> pn.Layer:
    """The layer with a mistake made in what its backward gives."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        return change(*layer.backward(params, x, y, residuals, dy))

    return layer.replace(backward=backward)


def scaled(layer: pn.Layer) -> pn.Layer:
    """A wrong layer: its dx is 1% too large, so that what stands before it is wrong in the network as well."""
    return changed(layer, lambda dparams, dx: (dparams, jax.tree.map(lambda leaf: 1.01 * leaf, dx)))


@functools.partial(jax.jit, static_argnums=0)
def errors(layer: pn.Layer, params: Any, state: Any, x: Any, key: Any, dy: Any) -> list[Any]:
    y, _, residuals = layer.forward(params, state, x, clone_key(key))
    mine = run_backward(layer, params, x, y, residuals, dy)
    check_gradient(mine[1], x, "input")
    pull = jax.vjp(lambda params, x: layer.forward(params, state, x, clone_key(key))[0], params, x)[1]
    true = [leaf for leaf in jax.tree.leaves(pull(dy)) if leaf.dtype != jax.dtypes.float0]
    pairs = zip(jax.tree.leaves(mine), true, strict=True)
    return [jnp.max(jnp.abs(m - t), initial=0) / jnp.max(jnp.abs(t), initial=1e-30) for m, t in pairs]


def agrees(*point: Any) -> bool:
    try:
        return all(float(error) < 1e-9 for error in errors(*point))
    except (ValueError, TypeError):
        return False


def blames(net: pn.Layer, x: Any = None, *, judge: Callable[..., bool] = agrees) -> list[Blame]:
    x_key, init_key, run_key, dy_key = jax.random.split(jax.random.key(7), 4)
    x = jax.random.normal(x_key, (3, 4)) if x is None else x
    params, state = jax.eval_shape(net.init, clone_key(init_key), x)
    draw = np.random.default_rng(0).normal
    params = jax.tree.map(lambda leaf: jnp.asarray(0.5 * draw(size=leaf.shape)), params)
    state = net.init(init_key, x)[1] if jax.tree.leaves(state) else state
    y = jax.eval_shape(net.forward, params, state, x, jax.random.key(0))[0]
    dy = jax.random.normal(dy_key, y.shape, y.dtype)
    return localise(net, params, state, x, run_key, dy, judge)


def paths(net: pn.Layer, x: Any = None) -> list[tuple[str, str]]:
    return [(blame.path, blame.reason) for blame in blames(net, x)]


def pair() -> tuple[Any, Any]:
    return np.linspace(-1, 2, 12).reshape(3, 4) ** 2, np.array([0, 2, 1])


DENSE, TANH, GELU, NORM = pn.dense(4), pn.tanh(), pn.gelu(), pn.layer_norm()  # one each, compiled once
BAD = scaled(DENSE)
BAD_LOSS = changed(losses.softmax_cross_entropy(), lambda dparams, dx: (dparams, (2 * dx[0], dx[1])))

LEAVES: dict[str, tuple[pn.Layer, str]] = {
    "alone": (BAD, "dense"),
    "serial": (pn.serial(DENSE, TANH, BAD, GELU, DENSE), "serial[2].dense"),
    "named": (pn.serial(norm=NORM, up=BAD, act=GELU, down=DENSE), "serial.up.dense"),
    "renamed": (pn.serial(pn.serial(DENSE, BAD).replace(name="block"), TANH), "serial[0].block[1].dense"),
    "elementwise": (pn.serial(DENSE, scaled(GELU), DENSE), "serial[1].gelu"),
    "residual": (pn.residual(pn.serial(BAD, pn.sigmoid())), "residual.serial[0].dense"),
    "sum": (pn.parallel(TANH, pn.serial(TANH, BAD)), "parallel[1].serial[1].dense"),
    "mean": (pn.parallel(a=BAD, b=DENSE, combine="mean"), "parallel.a.dense"),
    "concatenate": (pn.parallel(a=TANH, b=BAD, combine="concatenate", axis=0), "parallel.b.dense"),
    "repeat": (
        pn.serial(pn.repeat(pn.residual(pn.serial(NORM, BAD, TANH)), 3), DENSE),
        "serial[0].repeat.residual.serial[1].dense",
    ),
    "remat": (pn.remat(pn.serial(DENSE, pn.dropout(0.3), BAD)), "remat.serial[2].dense"),
    "deep": (
        pn.serial(a=DENSE, b=pn.repeat(pn.remat(pn.parallel(pn.residual(BAD), pn.dropout(0.2))), 2)),
        "serial.b.repeat.remat.parallel[0].residual.dense",
    ),
    "repeats": (pn.repeat(pn.repeat(pn.serial(BAD, TANH), 2), 2), "repeat.repeat.serial[0].dense"),
}

OBJECTIVES: dict[str, tuple[pn.Layer, str]] = {
    "net": (
        pn.objective(pn.serial(BAD, GELU), losses.softmax_cross_entropy()),
        "objective.serial[0].dense",
    ),
    "loss": (pn.objective(pn.serial(DENSE, GELU), BAD_LOSS), "objective.softmax_cross_entropy"),
    "per_example": (
        pn.per_example(pn.objective(pn.serial(BAD, pn.dropout(0.5), TANH), losses.softmax_cross_entropy())),
        "per_example.objective.serial[0].dense",
    ),
    "repeat in per_example": (
        pn.per_example(pn.objective(pn.repeat(BAD, 2), losses.softmax_cross_entropy())),
        "per_example.objective.repeat.dense",
    ),
    "loss of each": (
        pn.remat(pn.per_example(pn.objective(pn.repeat(DENSE, 2), BAD_LOSS), reduction="sum")),
        "remat.per_example.objective.softmax_cross_entropy",
    ),
}


@pytest.mark.parametrize("where", LEAVES)
def test_one_wrong_layer_is_blamed_alone(where: str) -> None:
    net, path = LEAVES[where]
    [blame] = blames(net)
    assert (blame.path, blame.reason, blame.plumbing) == (path, "backward", False)
    assert blame.layer.name == path.rpartition(".")[2]
    assert not agrees(*blame[1:7])


@pytest.mark.parametrize("where", OBJECTIVES)
def test_one_wrong_layer_of_an_objective_is_blamed_alone(where: str) -> None:
    net, path = OBJECTIVES[where]
    assert paths(net, pair()) == [(path, "backward")]


def right() -> pn.Layer:
    inner = pn.serial(norm=NORM, up=DENSE, act=GELU, drop=pn.dropout(0.3), down=DENSE)
    net = pn.serial(pn.repeat(pn.residual(inner), 2), pn.remat(pn.parallel(TANH, pn.dropout(0.4))))
    return pn.objective(net, losses.softmax_cross_entropy())


def test_a_right_network_has_nobody_to_blame() -> None:
    assert paths(right(), pair()) == []


def test_every_layer_is_given_its_true_cotangent() -> None:
    """Of the values between the layers of a chain, whose gradients jax.grad gives directly."""
    seen: dict[str, list[Any]] = {}

    def remember(layer: pn.Layer, params: Any, state: Any, x: Any, key: Any, dy: Any) -> bool:
        seen.setdefault(layer.name, []).append((x, dy))
        return True

    net = pn.per_example(pn.objective(pn.repeat(TANH, 2), losses.squared_error("sum")))
    inputs, targets = jnp.linspace(-1, 1, 12).reshape(3, 4), jnp.ones((3, 4))
    keys = jax.random.split(jax.random.key(0))
    assert localise(net, (), (), (inputs, targets), keys[0], jnp.float64(5), remember) == []
    middle = jnp.tanh(inputs)
    last = 2 * (jnp.tanh(middle) - targets) * 5 / 3
    first = last * (1 - jnp.square(jnp.tanh(middle)))
    expected = [(x, dy) for example in range(3) for x, dy in ((inputs, first), (middle, last))]
    for number, ((x, dy), (true_x, true_dy)) in enumerate(zip(seen["tanh"], expected, strict=True)):
        np.testing.assert_allclose(x, true_x[number // 2], rtol=1e-14)
        np.testing.assert_allclose(dy, true_dy[number // 2], rtol=1e-14)


def test_only_the_blocks_that_are_wrong_are_named() -> None:
    """A mistake below zero alone, in blocks of which the first sees no such values."""
    layer = pn.stateless(lambda x: x - 1, lambda x, dy: jnp.where(x < 0, 2 * dy, dy), name="shift")
    assert paths(pn.repeat(pn.serial(TANH, layer), 3), jnp.full((2, 4), 5.0)) == [
        ("repeat[1].serial[1].shift", "backward"),
        ("repeat[2].serial[1].shift", "backward"),
    ]
    [blame] = blames(pn.per_example(pn.objective(layer, losses.squared_error())), (np.array([1.0, -3.0]), np.ones(2)))
    assert blame.path == "per_example.objective.shift"
    assert float(blame.x) == -3


def test_two_wrong_layers_are_both_blamed() -> None:
    net = pn.serial(BAD, TANH, pn.residual(pn.serial(DENSE, scaled(GELU))))
    assert paths(net) == [("serial[0].dense", "backward"), ("serial[2].residual.serial[1].gelu", "backward")]


def test_a_gradient_of_the_wrong_shape_is_blamed() -> None:
    bad = changed(DENSE, lambda dparams, dx: (dparams, dx[0]))
    assert paths(pn.serial(TANH, pn.residual(bad))) == [("serial[1].residual.dense", "backward")]


@pytest.mark.complete
def test_a_wrong_recompute_is_blamed_on_its_layer() -> None:
    wrong = GELU.replace(recompute=lambda params, x, residuals: jnp.tanh(x))
    assert paths(pn.serial(DENSE, wrong, DENSE)) == [("serial[1].gelu", "recompute")]
    broken = GELU.replace(recompute=lambda params, x, residuals: x[:, 9])
    assert paths(pn.repeat(pn.serial(DENSE, broken), 2)) == [("repeat.serial[1].gelu", "recompute")]
    inner = pn.serial(TANH, GELU).replace(recompute=lambda params, x, residuals: x)
    [blame] = blames(pn.serial(DENSE, inner, DENSE))
    assert (blame.path, blame.reason, blame.plumbing) == ("serial[1].serial", "recompute", True)


def no_skip(net: pn.Layer) -> pn.Layer:
    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, dx = net.backward(params, x, y, residuals, dy)
        return dparams, dx - dy

    return net.replace(backward=backward)


def block(**inner: pn.Layer) -> pn.Layer:
    return pn.serial(**({"up": DENSE, "act": TANH} | inner))


PLUMBING: dict[str, tuple[pn.Layer, str]] = {
    "serial": (pn.residual(scaled(pn.serial(DENSE, TANH))), "residual.serial"),
    "residual": (pn.serial(DENSE, no_skip(pn.residual(block())), DENSE), "serial[1].residual"),
    "parallel": (pn.serial(DENSE, scaled(pn.parallel(TANH, DENSE))), "serial[1].parallel"),
    "repeat": (pn.serial(DENSE, scaled(pn.repeat(block(), 2)), TANH), "serial[1].repeat"),
    "inside repeat": (pn.repeat(no_skip(pn.residual(block())), 2), "repeat.residual"),
    "remat": (pn.serial(DENSE, scaled(pn.remat(block()))), "serial[1].remat"),
}


@pytest.mark.parametrize("where", PLUMBING)
def test_wrong_plumbing_is_blamed_on_the_combinator(where: str) -> None:
    net, path = PLUMBING[where]
    [blame] = blames(net)
    assert (blame.path, blame.reason, blame.plumbing) == (path, "plumbing", True)
    assert not agrees(*blame[1:7])


@pytest.mark.complete
def test_plumbing_and_layers_at_once() -> None:
    net = pn.serial(pn.remat(BAD), no_skip(pn.residual(block())), no_skip(pn.residual(TANH)))
    assert paths(net) == [
        ("serial[0].remat.dense", "backward"),
        ("serial[1].residual", "plumbing"),
        ("serial[2].residual", "plumbing"),
    ]
    assert paths(pn.objective(scaled(pn.remat(DENSE)), BAD_LOSS), pair()) == [
        ("objective.softmax_cross_entropy", "backward"),
        ("objective.remat", "plumbing"),
    ]
    each = pn.objective(DENSE, losses.softmax_cross_entropy())
    assert paths(scaled_parameters(pn.per_example(each)), pair()) == [("per_example", "plumbing")]


def scaled_parameters(net: pn.Layer) -> pn.Layer:
    return changed(net, lambda dparams, dx: (jax.tree.map(lambda leaf: 3 * leaf, dparams), dx))


def counter() -> pn.Layer:
    """Multiplies by the number of its calls."""
    return pn.Layer(
        init=lambda key, x: ((), {"calls": jnp.full((), 2.0)}),
        forward=lambda params, state, x, key: (x * state["calls"], {"calls": state["calls"] + 1}, state),
        backward=lambda params, x, y, state, dy: ((), dy),
        predict=lambda params, state, x: x * state["calls"],
        needs=(),
        name="counter",
    )


@pytest.mark.complete
def test_states_and_integers_go_through() -> None:
    net = pn.serial(pn.dropout(0.2), pn.repeat(pn.serial(DENSE, counter()), 2), pn.remat(counter()))
    found = blames(net)
    assert [blame.path for blame in found] == ["serial[1].repeat.serial[1].counter", "serial[2].remat.counter"]
    assert [float(blame.state["calls"]) for blame in found] == [2, 2]
    table = pn.from_function(
        lambda params, ids: params["table"][ids],
        init=lambda key, x: {"table": jax.random.normal(key, (9, 4))},
        name="lookup",
    )
    ids = jnp.array([1, 5, 1])
    assert paths(pn.objective(pn.serial(table, BAD), losses.softmax_cross_entropy()), (ids, ids % 4)) == [
        ("objective.serial[1].dense", "backward")
    ]


def test_what_cannot_be_assembled_is_one_layer() -> None:
    inner = pn.residual(BAD)
    for opaque in (inner.replace(with_parts=None), inner.replace(forward=lambda *args: inner.forward(*args))):
        assert paths(pn.serial(TANH, opaque)) == [("serial[1].residual", "backward")]


def test_a_network_without_a_usable_init_is_judged_as_one_layer() -> None:
    net = pn.serial(BAD, TANH)
    params, _ = net.init(jax.random.key(0), jnp.ones((2, 4)))
    point = (params, (), jnp.linspace(0, 1, 8).reshape(2, 4), None, jnp.ones((2, 4)))
    assert [blame.path for blame in localise(net, *point, agrees)] == ["serial[0].dense"]

    def init(key: Any, x: Any) -> Any:
        raise KeyError("no init")

    bad = pn.serial(BAD.replace(init=init), TANH)
    assert [blame.path for blame in localise(bad, *point, agrees)] == ["serial"]


def test_forward_alone_runs_while_recording() -> None:
    """No hand-written backward is asked for a cotangent: here all of them raise, and agree by order."""

    def backward(*args: Any) -> Any:
        raise AssertionError("the hand-written backward ran")

    parts = [layer.replace(backward=backward) for layer in (DENSE, TANH, DENSE)]
    assert blames(pn.repeat(pn.serial(*parts), 2), judge=lambda *point: True) == []
