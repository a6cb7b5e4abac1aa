"""gru: the gated recurrent unit; s is the logistic function, the gates in the order r, z, n.

    [r_t, z_t] = s(x_t W_rz + b_rz + h_{t-1} U_rz)
    n_t = tanh(x_t W_n + b_n + r_t (h_{t-1} U_n + b'))    reset after the product: PyTorch, cuDNN, Flax, Keras
    n_t = tanh(x_t W_n + b_n + (r_t h_{t-1}) U_n)         reset before it: the paper; ONNX unless linear_before_reset
    h_t = (1 - z_t) n_t + z_t h_{t-1},  y_t = h_t

    kernel W [in, 3 features],  recurrent_kernel U [features, 3 features],  bias b [3 features],
    recurrent_bias b' [features], only for the reset after the product

PyTorch's order is this one; ONNX and Keras have z, r, h. Of two biases of r, z (or n, reset before) b is the sum.
Kept: x and y. The gates are recomputed from x_t and h_{t-1}, a whole chunk in one product; or they are kept.
Cho et al., *Learning phrase representations using RNN encoder-decoder* (2014).
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, lecun_normal, orthogonal, zeros

from ...annotations import Array, Float, PositiveInt
from ...constructor import constructor
from ...layer import Layer
from ...precision import widen
from .sequence import Weights, recurrent_layer
from .through_time import Carry, Cell, Params, outer, product, total

Gates = tuple[Array, Array, Array, Array]


def gru_gates(
    params: Params, h: Float[Array, "... features"], a: Float[Array, "... three"], reset_after: bool
) -> Gates:
    """r, z, n and what r multiplies: the candidate's recurrent product, or the state before it."""
    at = 2 * h.shape[-1]
    kernel, (a_rz, a_n) = params["recurrent_kernel"], jnp.split(a, [at], -1)
    if reset_after:
        b_rz, q = jnp.split(product(h, kernel), [at], -1)
        if "recurrent_bias" in params:
            q = q + jnp.broadcast_to(widen(params["recurrent_bias"]), q.shape)
        r, z = jnp.split(lax.logistic(a_rz + b_rz), 2, -1)  # [..., features] each
        return r, z, jnp.tanh(a_n + r * q), q
    r, z = jnp.split(lax.logistic(a_rz + product(h, kernel[:, :at])), 2, -1)
    q = widen(h)
    return r, z, jnp.tanh(a_n + product(r * q, kernel[:, at:])), q


def gru_update(gates: Gates, carry: Carry) -> Carry:
    (_, z, n, _), (h,) = gates, carry
    return ((1 - z) * n + z * h,)


def gru_step_backward(
    params: Params, gates: Gates, before: Carry, dcarry: Carry, reset_after: bool
) -> tuple[Carry, Float[Array, "... four"]]:
    (h,), (dh,) = before, dcarry
    r, z, n, q = gates
    kernel, at = params["recurrent_kernel"], 2 * h.shape[-1]
    # h_t = (1 - z) * n + z * h
    dz, dn = dh * (widen(h) - n), dh * (1 - z)
    # n = tanh(a_n + r * q), or tanh(a_n + (r * q) @ kernel_n)
    da_n = (1 + n) * (1 - n) * dn
    drq = da_n if reset_after else product(da_n, kernel[:, at:].T)
    dr, dq = drq * q, drq * r
    # r, z = s(a_rz + h @ kernel_rz)
    da_rz = jnp.concatenate([r * (1 - r) * dr, z * (1 - z) * dz], -1)
    if not reset_after:  # q = h
        return (z * dh + dq + product(da_rz, kernel[:, :at].T),), jnp.concatenate([da_rz, da_n], -1)
    # q = h @ kernel_n + recurrent_bias
    db = jnp.concatenate([da_rz, dq], -1)
    return (z * dh + product(db, kernel.T),), jnp.concatenate([db, da_n], -1)


def gru_weights(
    params: Params, gates: Gates, x: Array, before: Array, dz: Array, reset_after: bool
) -> tuple[Params, Array]:
    r, _, _, q = gates
    at = 2 * before.shape[-1]
    if reset_after:
        db, da_n = jnp.split(dz, [3 * before.shape[-1]], -1)
        da = jnp.concatenate([db[..., :at], da_n], -1)
        dparams = {"recurrent_kernel": outer(before, db), "recurrent_bias": total(db[..., at:])}
    else:
        da = dz
        kernel = [outer(before, da[..., :at]), outer(r * q, da[..., at:])]
        dparams = {"recurrent_kernel": jnp.concatenate(kernel, -1)}
    # a = x @ kernel + bias
    dparams |= {"kernel": outer(x, da), "bias": total(da)}
    return {name: dparams[name] for name in params}, product(da, params["kernel"].T)


def gru_cell(reset_after: bool) -> Cell:
    return Cell(
        gates=functools.partial(gru_gates, reset_after=reset_after),
        update=gru_update,
        step_backward=functools.partial(gru_step_backward, reset_after=reset_after),
        weights=functools.partial(gru_weights, reset_after=reset_after),
    )


@constructor
def gru(
    features: PositiveInt,
    *,
    reset_after: bool = True,
    keep: str = "states",
    reverse: bool = False,
    last_only: bool = False,
    stateful: bool = False,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """A gated recurrent unit, from [..., time, in] to [..., time, features], the gates in the order r, z, n.

    `reset_after`: r multiplies the product of the state (PyTorch, cuDNN, Flax, Keras); else the state before the
    product (the paper; ONNX with linear_before_reset=0). Parameters: kernel [in, 3 features], recurrent_kernel
    [features, 3 features], bias [3 features] and, with `reset_after`, recurrent_bias [features] of n.
    Everything else is as in `lstm`.
    """
    biases = {"bias": (3, bias_init)} if use_bias else {}
    if use_bias and reset_after:
        biases["recurrent_bias"] = (1, bias_init)

    return recurrent_layer(
        "gru",
        gru_cell(reset_after),
        Weights(features, 3, kernel_init, recurrent_init, biases),
        keep=keep,
        reverse=reverse,
        last_only=last_only,
        stateful=stateful,
    )
