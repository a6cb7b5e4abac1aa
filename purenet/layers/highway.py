"""highway: a gate for each feature decides between a dense layer and the input itself.

    h  = x Wh + bh,  z = x Wt + bt,  t = sigmoid(z)           [..., features]
    y  = t f(h) + (1 - t) x
    dh = f'(h) t dy,  dz = t (1 - t) (f(h) - x) dy
    dx = (1 - t) dy + dh Wh^T + dz Wt^T

Kept: x, h and z; y is recomputed from them without a matrix product.
Srivastava, Greff & Schmidhuber, *Highway Networks* (2015), whose gate starts closed: a negative bias.
"""

from __future__ import annotations

import functools

import jax
from jax.nn.initializers import Initializer, constant, lecun_normal

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import layer_scope
from ..layer import Layer, Params, Shaped
from ..stateless import stateless
from .activations import sigmoid_backward, sigmoid_forward
from .checks import check_features, check_names
from .dense import dense, dense_backward, dense_forward
from .glu import ACTIVATIONS, Activation, check_activation

Floats = Float[Array, "... features"]


def highway_forward(params: Params, x: Floats, activation: Activation) -> tuple[Floats, tuple[Floats, Floats]]:
    h = dense_forward(params["transform"], x)  # [..., features]
    z = dense_forward(params["gate"], x)  # [..., features]
    return highway_recompute(params, x, (h, z), activation), (h, z)


def highway_recompute(params: Params, x: Floats, residuals: tuple[Floats, Floats], activation: Activation) -> Floats:
    h, z = residuals
    t = sigmoid_forward(z)
    return t * activation.forward(h) + (1 - t) * x


def highway_backward(
    params: Params, x: Floats, residuals: tuple[Floats, Floats], dy: Floats, activation: Activation
) -> tuple[Params, Floats]:
    h, z = residuals
    t = sigmoid_forward(z)  # [..., features]
    # y = t * activation(h) + (1 - t) * x
    dz = sigmoid_backward(t, (activation.forward(h) - x) * dy)
    dh = activation.backward(h, t * dy)
    # z = x @ gate and h = x @ transform
    dgate, dx_gate = dense_backward(params["gate"], x, dz)
    dtransform, dx_transform = dense_backward(params["transform"], x, dh)
    return {"transform": dtransform, "gate": dgate}, (1 - t) * dy + dx_gate + dx_transform


@constructor
def highway(
    *,
    activation: str = "relu",
    kernel_init: Initializer = lecun_normal(),
    gate_bias: float = -1.0,
) -> Layer:
    """y = t activation(x Wh + bh) + (1 - t) x with t = sigmoid(x Wt + bt), from [..., features] to the same.

    Parameters: transform and gate, each {kernel [features, features], bias [features]}. The gate's bias starts at
    gate_bias: the more negative, the more of x is passed on. Raises like `dense`.
    """
    check_activation("highway", activation)
    f = ACTIVATIONS[activation]

    def parts(x: Shaped) -> dict[str, Layer]:
        check_features(x)
        transform = dense(x.shape[-1], kernel_init=kernel_init)
        return {
            "transform": transform,
            "gate": dense(x.shape[-1], kernel_init=kernel_init, bias_init=constant(gate_bias)),
        }

    def init(key: Array, x: Shaped) -> Params:
        layers = parts(x)
        keys = jax.random.split(key, 2)
        return {name: layers[name].init(keys[i], x)[0] for i, name in enumerate(layers)}

    def forward(params: Params, x: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
        layers = parts(x)
        check_names(params, layers)
        for name, layer in layers.items():
            with layer_scope(name):
                jax.eval_shape(layer.predict, params[name], (), x)  # that the parameters fit x
        return highway_forward(params, x, f)

    return stateless(
        forward,
        functools.partial(highway_backward, activation=f),
        name="highway",
        init=init,
        keeps=("transform", "gate"),
        recompute=functools.partial(highway_recompute, activation=f),
    )
