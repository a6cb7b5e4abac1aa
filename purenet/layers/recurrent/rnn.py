"""rnn: the plain recurrent network of Elman, with f = tanh or relu.

    z_t = x_t W + h_{t-1} U + b,  h_t = f(z_t),  y_t = h_t
    dz_t = f'(z_t) (dy_t + dh_t),  dh_{t-1} = dz_t U^T
    dW = sum x_t^T dz_t,  dU = sum h_{t-1}^T dz_t,  db = sum dz_t,  dx_t = dz_t W^T

    kernel W [in, features],  recurrent_kernel U [features, features],  bias b [features]

Kept: x and y. Both derivatives are read off the output: 1 - h^2, and h > 0; in float16 and bfloat16 the tanh is
recomputed from x_t and h_{t-1}, since 1 - h^2 of a rounded h is not the slope.
PyTorch's and ONNX's two biases are one here, their sum. Elman, *Finding structure in time* (1990).
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax.nn.initializers import Initializer, lecun_normal, orthogonal, zeros

from ...annotations import Array, Float, PositiveInt
from ...constructor import constructor
from ...layer import Layer
from ...precision import wide_dtype, widen
from .sequence import Weights, recurrent_layer
from .through_time import Carry, Cell, Params, product, project, weight_gradients


def rnn_gates(
    params: Params, h: Float[Array, "... features"], a: Float[Array, "... features"], activation: str
) -> Float[Array, "... features"]:
    """The one gate, the next h."""
    z = a + product(h, params["recurrent_kernel"])  # [..., features]
    return jnp.tanh(z) if activation == "tanh" else jnp.maximum(z, 0)


def rnn_again(params: Params, x: Array, before: Array, y: Array, activation: str) -> Array:
    if activation == "relu" or y.dtype == wide_dtype(y.dtype):
        return widen(y)
    # Near 1 a tanh rounded to 8 bits does not tell its slope.
    return rnn_gates(params, before, project(params, x), activation)


def rnn_step_backward(params: Params, h: Array, before: Carry, dcarry: Carry, activation: str) -> tuple[Carry, Array]:
    (dh,) = dcarry
    # h = f(z)
    dz = (1 + h) * (1 - h) * dh if activation == "tanh" else jnp.where(h > 0, dh, 0)
    # z = a + before @ recurrent_kernel
    return (product(dz, params["recurrent_kernel"].T),), dz


def rnn_cell(activation: str) -> Cell:
    return Cell(
        gates=functools.partial(rnn_gates, activation=activation),
        update=lambda h, carry: (h,),
        step_backward=functools.partial(rnn_step_backward, activation=activation),
        weights=weight_gradients,
        again=functools.partial(rnn_again, activation=activation),
    )


@constructor
def rnn(
    features: PositiveInt,
    *,
    activation: str = "tanh",
    reverse: bool = False,
    last_only: bool = False,
    stateful: bool = False,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """h_t = f(x_t @ kernel + h_{t-1} @ recurrent_kernel + bias), from [..., time, in] to [..., time, features].

    `activation` f is "tanh" or "relu". Parameters: kernel [in, features], recurrent_kernel [features, features],
    bias [features]. Everything else is as in `lstm`.
    """
    if activation not in ("tanh", "relu"):
        raise ValueError(f'rnn: expected activation "tanh" or "relu", got {activation!r}')

    return recurrent_layer(
        "rnn",
        rnn_cell(activation),
        Weights(features, 1, kernel_init, recurrent_init, {"bias": (1, bias_init)} if use_bias else {}),
        reverse=reverse,
        last_only=last_only,
        stateful=stateful,
    )
