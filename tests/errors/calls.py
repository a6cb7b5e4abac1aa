"""What a row of bad input is, and the calls that several rows make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

import purenet as pn

Row = tuple[Callable[[], Any], type[Exception], str]
Table = dict[str, Row]


def forward(net: pn.Layer, params: Any, x: Any, state: Any = (), key: Any = None) -> Callable[[], Any]:
    """The forward pass under jit: what is wrong must be said before anything is compiled."""
    return lambda: jax.jit(lambda params, x: net.forward(params, state, x, key))(params, x)


def init(net: pn.Layer, x: Any) -> Callable[[], Any]:
    return lambda: net.init(jax.random.key(0), x)


def fresh(net: pn.Layer, x: Any, bad: Any) -> Callable[[], Any]:
    """Parameters and state for x, then the forward pass of something else."""
    params, state = net.init(jax.random.key(0), x)
    return forward(net, params, bad, state, jax.random.key(1))
