"""Rows of combinators around one layer."""

from __future__ import annotations

from typing import Any

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


ROWS = [
    Case("frozen", pn.frozen(mlp()), features, mlp_value, vacuous=True),
    Case("frozen_block", pn.serial(pn.dense(FEATURES), pn.frozen(block()), pn.tanh()), features, vacuous=True),
    Case("with_dtype", pn.with_dtype(mlp(), jnp.float64), features, mlp_value),
    Case("with_dtype_repeat", pn.with_dtype(pn.repeat(block(), 2), jnp.float64), features),
    Case("with_dtype_output", pn.with_dtype(pn.serial(pn.dense(3), pn.softmax()), jnp.float64), sequence),
    Case("tied", pn.tied(autoencoder(), {"head.kernel": "embed.kernel.T"}), features, tied_value),
    Case(
        "branch",
        pn.branch(a=pn.serial(pn.dense(3), pn.tanh()), b=pn.dense(2)),
        features,
        lambda params, x: np.concatenate([np.tanh(affine(params["a"][0], x)), affine(params["b"], x)], -1),
    ),
    Case("scale_gradient", pn.scale_gradient(-0.5), features, lambda params, x: x),
]
