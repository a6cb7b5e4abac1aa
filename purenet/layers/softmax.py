"""softmax and log_softmax along an axis.

    softmax      y = exp(x) / sum(exp(x)),       dx = y (dy - sum(y dy))
    log_softmax  y = x - log(sum(exp(x))),       dx = dy - exp(y) sum(dy)          x and y [...] of any shape

Kept: y, which determines the derivative and which the next layer keeps anyway.
Goodfellow, Bengio & Courville, *Deep Learning* (2016), section 6.2.2.3.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from ..constructor import constructor
from ..layer import Layer
from .activations import Floats, activation


def softmax_forward(x: Floats, axis: int) -> Floats:
    return jax.nn.softmax(x, axis)


def softmax_backward(y: Floats, dy: Floats, axis: int) -> Floats:
    # the Jacobian is diag(y) - y y^T: every output feels every input
    return y * (dy - jnp.sum(y * dy, axis, keepdims=True))


@constructor
def softmax(axis: int = -1) -> Layer:
    """y_i = exp(x_i) / sum_j exp(x_j) along `axis`."""
    forward, backward = functools.partial(softmax_forward, axis=axis), functools.partial(softmax_backward, axis=axis)
    return activation("softmax", forward, backward, needs="y")


def log_softmax_forward(x: Floats, axis: int) -> Floats:
    return jax.nn.log_softmax(x, axis)


def log_softmax_backward(y: Floats, dy: Floats, axis: int) -> Floats:
    # the Jacobian is I - 1 softmax(x)^T, and softmax(x) = exp(y)
    return dy - jnp.exp(y) * jnp.sum(dy, axis, keepdims=True)


@constructor
def log_softmax(axis: int = -1) -> Layer:
    """y_i = x_i - log sum_j exp(x_j) along `axis`."""
    forward = functools.partial(log_softmax_forward, axis=axis)
    backward = functools.partial(log_softmax_backward, axis=axis)
    return activation("log_softmax", forward, backward, needs="y")
