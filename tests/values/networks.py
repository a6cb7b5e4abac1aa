"""Combinators and networks whose values are not those of their layers, which rows of their own have."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenet.catalogue.draws import affine


def mlp(params: Any, x: Any) -> Any:
    return affine(params[2], jax.nn.gelu(affine(params[0], x)))


def tied(params: Any, x: Any) -> Any:
    kernel = np.asarray(params["embed"]["kernel"])
    return np.tanh(np.asarray(x) @ kernel) @ kernel.T + np.asarray(params["head"]["bias"])


def reversible(params: Any, x: Any) -> Any:
    x1, x2 = np.split(np.asarray(x), 2, -1)
    y1 = x1 + mlp(params["f"], x2)
    return np.concatenate([y1, x2 + mlp(params["g"], y1)], -1)


def side_by_side(params: Any, x: Any) -> Any:
    return np.concatenate([np.tanh(affine(params["a"][0], x)), affine(params["b"], x)], -1)


def squared_error(params: Any, x: Any) -> Any:
    return jnp.square(affine(params, x[0]) - x[1])


VALUES = {
    "serial": mlp,
    "frozen": mlp,
    "with_dtype": mlp,
    "tied": tied,
    "concatenate": side_by_side,
    "reversible": reversible,
    "per_example": lambda params, x: jnp.mean(squared_error(params, x)),
    "per_example, sum": lambda params, x: jnp.sum(jnp.mean(squared_error(params, x), -1)),
}
