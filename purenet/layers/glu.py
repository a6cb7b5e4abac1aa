"""Gated linear units: x holds a gate and a value side by side, y = f(gate) value.

    x [..., 2 features],  gate, value, y [..., features]
    y      = f(gate) value
    dgate  = f'(gate) value dy
    dvalue = f(gate) dy

glu takes f = sigmoid of the second half, as jax.nn.glu and torch do; the others take f of the first half: geglu with
gelu, swiglu with silu, reglu with relu. Kept: x. y is recomputed from it, so that a dense layer after it keeps nothing.
Dauphin et al., *Language Modeling with Gated Convolutional Networks* (2017), glu;
Shazeer, *GLU Variants Improve Transformer* (2020), the others and the MLPs made of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn.initializers import Initializer, lecun_normal

from ..annotations import Array, Float, PositiveInt, PyTree
from ..barrier import materialize
from ..combine import serial
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Layer, Params, Residuals, Shaped, State
from ..validation import check_floating, describe
from . import activations
from .checks import check_features, checked_layer
from .dense import dense

Floats = Float[Array, "..."]


class Activation(NamedTuple):
    """Twins of an elementwise function, both from its input: forward(x) -> y, backward(x, dy) -> dx."""

    forward: Callable[[Floats], Floats]
    backward: Callable[[Floats, Floats], Floats]


def from_input(forward: Callable[[Floats], Floats], backward: Callable[[Floats, Floats], Floats]) -> Activation:
    """Twins whose backward reads the output, which is recomputed from the input."""
    return Activation(forward, lambda x, dy: backward(forward(x), dy))


ACTIVATIONS = {
    "identity": Activation(activations.identity_forward, lambda x, dy: dy),
    "sigmoid": from_input(activations.sigmoid_forward, activations.sigmoid_backward),
    "hard_sigmoid": from_input(activations.hard_sigmoid_forward, activations.hard_sigmoid_backward),
    "tanh": from_input(activations.tanh_forward, activations.tanh_backward),
    "relu": Activation(activations.relu_forward, activations.relu_backward),
    "silu": Activation(activations.silu_forward, activations.silu_backward),
    "gelu": Activation(activations.gelu_tanh_forward, activations.gelu_tanh_backward),
    "gelu_exact": Activation(activations.gelu_erf_forward, activations.gelu_erf_backward),
}


def gated_forward(x: Floats, activation: Activation, axis: int = -1, gate_first: bool = True) -> Floats:
    gate, value = halves(x, axis, gate_first)
    return activation.forward(gate) * value


def gated_backward(x: Floats, dy: Floats, activation: Activation, axis: int = -1, gate_first: bool = True) -> Floats:
    gate, value = halves(x, axis, gate_first)
    # y = activation(gate) * value
    dgate = activation.backward(gate, value * dy)
    dvalue = activation.forward(gate) * dy
    return jnp.concatenate((dgate, dvalue) if gate_first else (dvalue, dgate), axis)


def halves(x: Floats, axis: int, gate_first: bool) -> tuple[Floats, Floats]:
    """Gate and value, each with half of the axis."""
    first, second = jnp.split(x, 2, axis)
    return (first, second) if gate_first else (second, first)


@constructor
def glu(*, axis: int = -1, gate_first: bool = False) -> Layer:
    """y = value sigmoid(gate), the value in the first half of `axis` and the gate in the second, or vice versa."""
    return gated("glu", "sigmoid", axis, gate_first)


@constructor
def geglu(*, approximate: bool = True, axis: int = -1, gate_first: bool = True) -> Layer:
    """y = gelu(gate) value, gelu by tanh or exact, the gate in the first half of `axis`, or in the second."""
    return gated("geglu", "gelu" if approximate else "gelu_exact", axis, gate_first)


@constructor
def swiglu(*, axis: int = -1, gate_first: bool = True) -> Layer:
    """y = silu(gate) value, the gate in the first half of `axis`, or in the second."""
    return gated("swiglu", "silu", axis, gate_first)


@constructor
def reglu(*, axis: int = -1, gate_first: bool = True) -> Layer:
    """y = relu(gate) value, the gate in the first half of `axis`, or in the second."""
    return gated("reglu", "relu", axis, gate_first)


def gated(name: str, activation: str, axis: int = -1, gate_first: bool = True) -> Layer:
    """The layer of a gate named in `ACTIVATIONS`."""
    bound = {"activation": ACTIVATIONS[activation], "axis": axis, "gate_first": gate_first}

    def check(x: Floats) -> None:
        check_floating(x)
        if not -x.ndim <= axis < x.ndim or x.shape[axis] % 2:
            raise LayerValueError(f"expected gate and value, an even number, along axis {axis}, got {describe(x)}")

    def backward(x: Floats, dy: Floats) -> Floats:
        return materialize(gated_backward(x, dy, **bound))  # not as halves, for each product that reads it

    return checked_layer(name, check, functools.partial(gated_forward, **bound), backward, needs=("x",))


@constructor
def gated_mlp(
    hidden: PositiveInt,
    *,
    features: PositiveInt | None = None,
    activation: str = "silu",
    use_bias: bool = False,
    kernel_init: Initializer = lecun_normal(),
) -> Layer:
    """y = (activation(x gate) * (x value)) down, from [..., in] to [..., features], or to [..., in] without features.

    activation: "silu" (swiglu), "gelu" or "gelu_exact" (geglu), "relu" (reglu), "sigmoid" (glu), "tanh" or
    "identity" (bilinear). Parameters: up {kernel [in, 2 hidden]}, the gate's columns first, act, and
    down {kernel [hidden, features]}, with biases if `use_bias`. Kept: x and x up; down's input is recomputed.
    Raises like `dense`.
    """
    check_activation("gated_mlp", activation)

    def build(width: int) -> Layer:
        return serial(
            up=dense(2 * hidden, use_bias=use_bias, kernel_init=kernel_init),
            act=gated("gated", activation),
            down=dense(width, use_bias=use_bias, kernel_init=kernel_init),
        )

    return as_wide_as_input("gated_mlp", build) if features is None else build(features)


def as_wide_as_input(name: str, build: Callable[[int], Layer]) -> Layer:
    """The network that `build(features)` makes, with the features of its input, whatever they are."""

    def block(x: Shaped) -> Layer:
        check_features(x)
        return build(x.shape[-1])

    def init(key: Key, x: Shaped) -> tuple[Params, State]:
        with layer_scope(name):
            return block(x).init(key, x)

    def forward(params: Params, state: State, x: Floats, key: Key) -> tuple[Floats, State, Residuals]:
        with layer_scope(name):
            return block(x).forward(params, state, x, key)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: Floats) -> tuple[Params, PyTree]:
        with layer_scope(name):
            return block(dy).backward(params, x, y, residuals, dy)

    def predict(params: Params, state: State, x: Floats) -> Floats:
        with layer_scope(name):
            return block(x).predict(params, state, x)

    plan = build(1)
    return Layer(init, forward, backward, predict, needs=plan.needs, name=name, plan=plan.plan)


def check_activation(name: str, activation: str) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"{name}: expected activation in {sorted(ACTIVATIONS)}, got {activation!r}")
