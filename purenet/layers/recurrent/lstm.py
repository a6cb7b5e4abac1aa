"""lstm: long short-term memory without peepholes; s is the logistic function, the gates in the order i, f, g, o.

    z_t = x_t W + h_{t-1} U + b,  [i_t, f_t, g_t, o_t] = [s, s, tanh, s](z_t)
    c_t = f_t c_{t-1} + i_t g_t,  h_t = o_t tanh(c_t),  y_t = h_t
    dc_t += dh_t o_t (1 - tanh(c_t)^2),  dc_{t-1} = dc_t f_t,  dh_{t-1} = dz_t U^T
    di = dc_t g_t,  df = dc_t c_{t-1},  dg = dc_t i_t,  do = dh_t tanh(c_t)

    kernel W [in, 4 features],  recurrent_kernel U [features, 4 features],  bias b [4 features]

PyTorch and Keras have this order; ONNX has i, o, f, g. Of two biases b is the sum.
Kept: x, y and one c per chunk. The gates are recomputed from x_t and h_{t-1}, a whole chunk in one product, and the
other c from them; or the gates are kept.
Hochreiter & Schmidhuber, *Long short-term memory* (1997), with the forget gate of Gers et al. (2000).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, lecun_normal, orthogonal, zeros

from ...annotations import Array, Float, PositiveInt
from ...constructor import constructor
from ...layer import Layer
from .sequence import Weights, recurrent_layer
from .through_time import Carry, Cell, Params, product, weight_gradients

Gates = tuple[Array, Array, Array, Array]


def lstm_gates(params: Params, h: Float[Array, "... features"], a: Float[Array, "... four"]) -> Gates:
    z = a + product(h, params["recurrent_kernel"])  # [..., 4 features]
    i, f, g, o = jnp.split(z, 4, -1)
    return lax.logistic(i), lax.logistic(f), jnp.tanh(g), lax.logistic(o)


def lstm_update(gates: Gates, carry: Carry) -> Carry:
    (i, f, g, o), (_, c) = gates, carry
    c = f * c + i * g
    return o * jnp.tanh(c), c


def lstm_step_backward(
    params: Params, gates: Gates, before: Carry, dcarry: Carry
) -> tuple[Carry, Float[Array, "... four"]]:
    i, f, g, o = gates
    (_, c_before), (dh, dc) = before, dcarry
    tanh_c = jnp.tanh(f * c_before + i * g)
    # h = o * tanh(c)
    do = dh * tanh_c
    dc = dc + dh * o * (1 + tanh_c) * (1 - tanh_c)
    # c = f * c_before + i * g
    di, df, dg = dc * g, dc * c_before, dc * i
    # i, f, g, o = s, s, tanh, s of z
    dz = jnp.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 + g) * (1 - g), do * o * (1 - o)], -1)
    # z = a + h_before @ recurrent_kernel
    return (product(dz, params["recurrent_kernel"].T), dc * f), dz


LSTM = Cell(lstm_gates, lstm_update, lstm_step_backward, weight_gradients)


@constructor
def lstm(
    features: PositiveInt,
    *,
    keep: str = "states",
    reverse: bool = False,
    last_only: bool = False,
    stateful: bool = False,
    use_bias: bool = True,
    unit_forget_bias: bool = False,
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Long short-term memory, from [..., time, in] to [..., time, features], the gates in the order i, f, g, o.

    x may be a pair (inputs, lengths) with integer lengths [...]: past an example's length its states stay, and outputs
    and input gradients are zero; with `reverse` each example starts at its own end. `last_only` returns the state
    after the last step, [..., features]. y comes without the lengths: layers on top of each other that all need them
    are `stacked_rnn`, not `serial`. States start at zero; with `stateful` they live in the layer's state and
    carry over from one call of `forward` to the next, without gradient (truncated back-propagation through time),
    and `predict` starts from them. The batch is then that of `init`; to restart, set the state to zeros.

    Parameters: kernel [in, 4 features], recurrent_kernel [features, 4 features], bias [4 features], initialised gate
    by gate. `unit_forget_bias` adds 1 to the bias of the forget gate.

    `keep`: "states" keeps y and a cell state per chunk, and recomputes the gates; "gates" keeps them, four times the
    bytes of y, at least float32, and recomputes nothing: no more matrix products than autodiff.
    """
    if unit_forget_bias and not use_bias:
        raise ValueError("lstm: expected use_bias with unit_forget_bias, got use_bias=False")

    def own_bias_init(key: Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        drawn = bias_init(key, shape, dtype)
        return drawn.at[features : 2 * features].add(1) if unit_forget_bias else drawn

    return recurrent_layer(
        "lstm",
        LSTM,
        Weights(features, 4, kernel_init, recurrent_init, {"bias": (4, own_bias_init)} if use_bias else {}),
        states=2,
        keep=keep,
        keeps=("cells",),
        reverse=reverse,
        last_only=last_only,
        stateful=stateful,
    )
