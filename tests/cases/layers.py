"""Rows of dense, normalising, random and reshaping layers."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import purenet as pn

from .case import FEATURES, Case, features, sequence


def affine(params: Any, x: Any) -> Any:
    y = np.einsum("...i,io->...o", x, params["kernel"])
    return y + params["bias"] if "bias" in params else y


def mlp_value(params: Any, x: Any) -> Any:
    return affine(params[2], jax.nn.gelu(affine(params[0], x)))


def block() -> pn.Layer:
    return pn.residual(pn.serial(norm=pn.layer_norm(), up=pn.dense(11), act=pn.gelu(), down=pn.dense(FEATURES)))


ROWS = [
    Case("dense", pn.dense(11), features, affine),
    Case("dense_no_bias", pn.dense(11, use_bias=False), features, affine),
    Case("dense_sequence", pn.dense(3), sequence, affine),
    Case("dropout", pn.dropout(0.3), features, lambda params, x: x, random=True),
    Case("flatten", pn.flatten(-2), sequence, lambda params, x: x.reshape(len(x), -1)),
    Case("reshape", pn.reshape(7, 1, start=-1), features, lambda params, x: x.reshape(-1, 7, 1)),
    Case("swap_axes", pn.swap_axes(-1, -2), sequence, lambda params, x: np.einsum("...tf->...ft", x)),
]
