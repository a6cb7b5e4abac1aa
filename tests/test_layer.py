"""What a layer is besides its functions: how it prints, compares, pickles and is changed; what constructors refuse."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.catalogue import Row, catalogue
from purenet.initializer import he_normal, normal
from purenet.models.class_token import class_token, first_token
from purenet.models.gaussian import gaussian_kl, gaussian_sample
from purenet.models.resnet import widening_shortcut
from purenet.models.sizes import taking_images
from purenet.models.vae import beside_input, negative_elbo
from purenet.parts import map_parts

TYPED = {name: getattr(pn, name) for name in dir(pn)} | {
    name: getattr(pn.losses, name) for name in dir(pn.losses) if not name.startswith("_")
}
TYPED |= {
    each.__name__: each
    for each in (class_token, first_token, gaussian_kl, gaussian_sample, widening_shortcut, taking_images)
}
TYPED |= {"beside_input": beside_input, "negative_elbo": negative_elbo, "jnp": jnp, "inf": math.inf}
TYPED |= {"normal": normal, "he_normal": he_normal}
OWN_FUNCTIONS = ("from_function", "compose")  # their first argument has no other name than its own

ROWS, AGAIN = catalogue(), catalogue()


def holds_function(layer: pn.Layer) -> bool:
    return any(name in repr(layer) for name in OWN_FUNCTIONS) or "<" in repr(layer)


TYPEABLE = [index for index, row in enumerate(ROWS) if not holds_function(row.layer)]
each_row = pytest.mark.parametrize("index", TYPEABLE, ids=[ROWS[index].name for index in TYPEABLE])


@each_row
def test_what_a_layer_prints_makes_one_that_prints_the_same(index: int) -> None:
    row: Row = ROWS[index]
    made = eval(repr(row.layer), dict(TYPED))
    assert repr(made) == repr(row.layer)
    assert made.parts or made.call == row.layer.call  # the name of a part, such as "mlp", is not typed


@each_row
def test_layers_made_alike_are_equal_and_pickle(index: int) -> None:
    one, two = ROWS[index].layer, AGAIN[index].layer
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one


def test_most_rows_print_as_typed() -> None:
    assert len(TYPEABLE) > 0.9 * len(ROWS)


def test_other_arguments_are_another_layer() -> None:
    assert pn.dense(3) == pn.dense(features=3, use_bias=True)
    different = [pn.dense(3), pn.dense(4), pn.dense(3, use_bias=False), pn.tanh(), pn.serial(pn.dense(3))]
    different += [pn.serial(a=pn.dense(3)), pn.serial(b=pn.dense(3)), pn.dense(3).replace(name="other")]
    assert len(set(different)) == len(different)
    dense = pn.dense(3)
    assert dense.replace(backward=lambda *args: dense.backward(*args)) != dense


def test_a_network_prints_as_one_would_type_it() -> None:
    net = pn.serial(up=pn.dense(128), act=pn.gelu(), logits=pn.dense(10))
    assert repr(net) == "serial(up=dense(128), act=gelu(), logits=dense(10))"
    assert repr(pn.serial(pn.dense(2), *[pn.dense(2)] * 2, pn.tanh())) == "serial(*[dense(2)] * 3, tanh())"
    assert repr(pn.residual(pn.dense(3)).replace(with_parts=None)) == "residual(branch=dense(3))"
    resnet = repr(pn.models.resnet(20, 10))
    assert resnet.count("\n") < 40
    assert max(map(len, resnet.splitlines())) <= 120


def test_replacing_a_function_leaves_the_kind_and_drops_what_it_says() -> None:
    net = pn.repeat(pn.dense(3), 2)
    other = net.replace(backward=lambda *args: net.backward(*args))
    assert other.kind is net.kind
    assert (other.replaced, other.rules, other.call) == ({"backward"}, {}, None)
    assert net.replace(name="block").rules == net.rules
    assert net.replace(with_parts=lambda parts: net).kind is None


def test_parts_are_walked_from_the_inside_out() -> None:
    """A combinator that had a function replaced is not entered: the function would be lost."""
    opaque = pn.residual(pn.tanh())
    opaque = opaque.replace(forward=lambda *args: opaque.forward(*args))
    net = pn.serial(a=pn.repeat(pn.dense(3), 2), b=opaque, c=pn.remat(pn.gelu()))
    seen: list[tuple[tuple[str, ...], bool]] = []

    def note(layer: pn.Layer, inside: pn.Layer, path: tuple[str, ...]) -> pn.Layer:
        seen.append((path, inside is layer))
        return inside

    rules: Any = {pn.remat(pn.gelu()).kind: lambda layer, path, walk: walk(layer.parts[0][1], (*path, "rule"))}
    changed = map_parts(net, rules, note)
    assert seen == [
        ((".a", "[2x]"), True),
        ((".a",), False),
        ((".b",), True),
        ((".c", "rule"), True),
        ((), False),
    ]
    assert [part.name for _, part in changed.parts] == ["repeat", "residual", "gelu"]


ANY: Any = pn  # its constructors, for arguments of any type

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "not called": (lambda: ANY.residual(pn.tanh), r"residual: expected layer as a Layer, .*: call it, tanh\(\)"),
    "not called, of several": (lambda: ANY.serial(pn.tanh), r"serial: expected layers\[0\] as a Layer, .*: call it"),
    "not called, named": (lambda: ANY.serial(act=pn.tanh), r"serial: expected act as a Layer, .*: call it, tanh\(\)"),
    "loss not called": (lambda: ANY.objective(pn.tanh(), pn.losses.hinge), r"objective: expected loss as a Layer"),
    "text for a layer": (lambda: ANY.remat("x"), "remat: expected layer as a Layer, got str 'x'"),
    "text for a bool": (lambda: ANY.gelu("none"), "gelu: expected approximate as True or False, got str 'none'"),
    "bool for a size": (lambda: ANY.dense(True), "dense: expected features as a whole number, got bool True"),
    "half a size": (lambda: ANY.dense(2.5), "dense: expected features as a whole number, got float 2.5"),
    "nan": (lambda: ANY.leaky_relu(math.nan), "leaky_relu: expected .* as a number, got nan"),
    "text for a number": (lambda: ANY.dropout("a"), "dropout: expected rate as a number, got str 'a'"),
    "half an index": (lambda: ANY.losses.softmax_cross_entropy(ignore_index=1.5), "ignore_index as a whole number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_constructors_refuse_what_is_not_meant(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError if name == "nan" else TypeError, match=message):
        make()


def test_numbers_of_numpy_are_numbers() -> None:
    three = np.int64(3)
    assert ANY.dense(three) == pn.dense(3)
    assert ANY.conv(three, (three, 3), padding=((three, 0), 1)) == pn.conv(3, (3, 3), padding=((3, 0), 1))
    assert ANY.reshape(three, -1) == pn.reshape(3, -1)
    assert ANY.pad(((three, 0), (0, 1))) == pn.pad(((3, 0), (0, 1)))
    assert ANY.packed_attention(three, window=(three, 0), block=three) == pn.packed_attention(3, window=(3, 0), block=3)
    assert ANY.repeat(pn.tanh(), np.int32(2)) == pn.repeat(pn.tanh(), 2)
    assert pn.dropout(np.float64(0.5)) == pn.dropout(0.5)
    assert ANY.dense(3, use_bias=np.bool_(False)) == pn.dense(3, use_bias=False)


@pytest.mark.parametrize("key", [0, np.zeros(2, np.uint32)], ids=["number", "raw"])
def test_init_asks_for_a_key(key: Any) -> None:
    with pytest.raises(TypeError, match=r"dense: expected a key such as jax.random.key\(0\), got"):
        pn.dense(3).init(key, jnp.ones((2, 4)))


def test_float64_of_numpy_is_taken_as_jax_takes_it() -> None:
    net = pn.serial(pn.dense(3), pn.batch_norm(), pn.lstm(3), pn.self_attention(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params, state = net.init(jax.random.key(0), np.ones((2, 4, 5)))
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("limit", [np.float32(-1), 0.0, math.inf, True, math.nan])
def test_a_norm_to_clip_to_is_above_zero(limit: Any) -> None:
    objective = pn.objective(pn.dense(1), pn.losses.squared_error())
    with pytest.raises(ValueError, match="clipped_value_and_grad: expected a finite max_norm above 0"):
        pn.clipped_value_and_grad(objective, limit)
