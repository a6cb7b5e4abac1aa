"""Dropout, stopped gradients and gates that are constant."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import purenet as pn

from .blocks import X, fault
from .rows import Fault, Right, normal

# Dropout, stopped gradients and gates that are constant.


def mask_of(seed: int) -> Any:
    return jax.random.bernoulli(jax.random.key(seed), 0.7, (5, 7))


def dropout(x: Any) -> Any:
    mask = mask_of(3)
    y = jnp.where(mask, x / 0.7, 0.0)
    return y, mask


def random_dropout(x: Any) -> Any:
    return dropout(x)[0]


DRAWS = itertools.count(10)


def drawn_anew(x: Any, dy: Any) -> Any:
    """Another mask each time it is called."""
    return jnp.where(mask_of(next(DRAWS)), dy / 0.7, 0.0)


def stopped(x: Any) -> Any:
    weight = lax.stop_gradient(jax.nn.sigmoid(x))
    return weight * x, (x, weight)


def straight_through(x: Any) -> Any:
    rounded = jnp.round(x)
    return x + lax.stop_gradient(rounded - x)


def target_network(params: Any, x: Any) -> Any:
    online = x @ params["kernel"]
    target = lax.stop_gradient(jnp.tanh(online))
    error = online - target
    return 0.5 * jnp.sum(error**2, -1), (x, online, target)


def target_with(through: bool) -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, online, target = saved
        donline = (online - target) * dy[:, None]
        if through:
            donline = donline * (1 - (1 - target**2))
        return {"kernel": x.T @ donline}, donline @ params["kernel"].T

    return backward


FAULTS = [
    fault(
        "dropout: mask of another key",
        dropout,
        lambda mask, dy: jnp.where(mask_of(4), dy / 0.7, 0.0),
        None,
        ("support", "wrong_operand", "permuted", "local_derivative"),
        r"mask|zero|\b0\b|gate|where",
    ),
    fault(
        "dropout: mask left out",
        dropout,
        lambda mask, dy: dy / 0.7,
        None,
        ("support", "local_derivative"),
        r"mask|zero|\b0\b|gate|where",
    ),
    fault(
        "dropout: scale left out", dropout, lambda mask, dy: jnp.where(mask, dy, 0.0), None, ("scaled",), r"0\.7|7/10"
    ),
    fault(
        "dropout: mask upside down",
        dropout,
        lambda mask, dy: jnp.where(mask, 0.0, dy / 0.7),
        None,
        ("support", "local_derivative"),
        "",
    ),
    fault(
        "dropout: drawn anew at each call",
        random_dropout,
        drawn_anew,
        None,
        ("nondeterministic",),
        "twice|differ|random|determin|again",
    ),
    fault(
        "stop_gradient: flows through",
        stopped,
        lambda s, dy: (s[1] + s[0] * s[1] * (1 - s[1])) * dy,
        None,
        ("stop_gradient",),
        "stop_gradient|stop",
    ),
    fault(
        "stop_gradient: weight forgotten", stopped, lambda s, dy: dy, None, ("local_derivative", "wrong_operand"), ""
    ),
    fault("straight through: stopped", straight_through, lambda dy: jnp.zeros_like(dy), None, ("zero",), r"zero|\b0\b"),
    fault(
        "target network: flows through",
        target_network,
        target_with(True),
        {"kernel": normal(195, 7, 3)},
        ("stop_gradient",),
        "stop_gradient|stop",
    ),
    Fault(
        "pn.dropout: dx for all",
        pn.dropout(0.3).replace(backward=lambda p, x, y, key, dy: ((), dy / 0.7)),
        X,
        None,
        ("support", "local_derivative"),
        r"mask|zero|\b0\b|gate|where",
    ),
    Fault(
        "pn.dropout: mask of another key",
        pn.dropout(0.3).replace(backward=lambda p, x, y, key, dy: ((), jnp.where(mask_of(4), dy / 0.7, 0.0))),
        X,
        None,
        ("support", "wrong_operand", "permuted", "local_derivative"),
        r"mask|zero|\b0\b|gate|where|operand",
    ),
]

RIGHTS: list[Right] = []
