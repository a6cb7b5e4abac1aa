"""Rows of combinators around one layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn

from .case import FEATURES, Case, features, sequence
from .layers import affine, block, mlp_value


def tied_value(params: Any, x: Any) -> Any:
    kernel = np.asarray(params["embed"]["kernel"])
    return np.tanh(np.asarray(x) @ kernel) @ kernel.T + np.asarray(params["head"]["bias"])


def mlp() -> pn.Layer:
    return pn.serial(pn.dense(11), pn.gelu(), pn.dense(3))


def autoencoder() -> pn.Layer:
    return pn.serial(embed=pn.dense(11, use_bias=False), act=pn.tanh(), head=pn.dense(FEATURES))


def half_block(hidden: int) -> pn.Layer:
    return pn.serial(pn.dense(hidden), pn.gelu(), pn.dense(3))


def stream(key: Any, batch: int) -> Any:
    """Two halves of three features."""
    return jax.random.normal(key, (batch, 6))


def reversible_value(params: Any, x: Any) -> Any:
    x1, x2 = np.split(np.asarray(x), 2, -1)
    y1 = x1 + mlp_value(params["f"], x2)
    return np.concatenate([y1, x2 + mlp_value(params["g"], y1)], -1)


def two_reversible() -> pn.Layer:
    return pn.serial(pn.reversible(half_block(5), half_block(4)), pn.reversible(pn.tanh(), half_block(5)))


ROWS = [
    Case("frozen", pn.frozen(mlp()), features, mlp_value, vacuous=True),
    Case("frozen_block", pn.serial(pn.dense(FEATURES), pn.frozen(block()), pn.tanh()), features, vacuous=True),
    Case("with_dtype", pn.with_dtype(mlp(), jnp.float64), features, mlp_value),
    Case("with_dtype_repeat", pn.with_dtype(pn.repeat(block(), 2), jnp.float64), features),
    Case("with_dtype_output", pn.with_dtype(pn.serial(pn.dense(3), pn.softmax()), jnp.float64), sequence),
    Case("tied", pn.tied(autoencoder(), {"head.kernel": "embed.kernel.T"}), features, tied_value),
    Case(
        "branch",
        pn.concatenate(a=pn.serial(pn.dense(3), pn.tanh()), b=pn.dense(2)),
        features,
        lambda params, x: np.concatenate([np.tanh(affine(params["a"][0], x)), affine(params["b"], x)], -1),
    ),
    # A stream in float32 at least, whatever comes in.
    Case(
        "reversible", pn.with_dtype(pn.reversible(half_block(5), half_block(4)), jnp.float64), stream, reversible_value
    ),
    # Inputs found by subtraction are off in the last digits.
    Case("repeat_reversible", pn.with_dtype(pn.repeat(two_reversible(), 2), jnp.float64), stream, bound=5e-13),
    Case("repeat_nested", pn.repeat(block(), 5, keep="nested"), features),
    Case("scale_gradient", pn.scale_gradient(-0.5), features, lambda params, x: x),
]
