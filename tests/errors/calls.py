"""What a row of bad input is, and the calls that several rows make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn

Row = tuple[Callable[[], Any], type[Exception], str]
Table = dict[str, Row]

X = jnp.ones((4, 6))


def forward(net: pn.Layer, params: Any, x: Any, state: Any = (), key: Any = None) -> Callable[[], Any]:
    """The forward pass under jit: what is wrong must be said before anything is compiled."""
    return lambda: jax.jit(lambda params, x: net.forward(params, state, x, key))(params, x)


def params_of(net: pn.Layer, x: Any = X) -> Any:
    """Parameters of the right shapes; no program is compiled for them, since they are made when tests are collected."""
    shapes, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def init(net: pn.Layer, x: Any) -> Callable[[], Any]:
    return lambda: net.init(jax.random.key(0), x)


def fresh(net: pn.Layer, x: Any, bad: Any) -> Callable[[], Any]:
    """Parameters and state for x, then the forward pass of something else."""

    def call() -> Any:
        params, state = net.init(jax.random.key(0), x)
        return forward(net, params, bad, state, jax.random.key(1))()

    return call
