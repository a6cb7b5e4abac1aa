"""A dense layer with its activation in one function, and the library's activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import purenet as pn

from .activations import (
    WIDE,
    X,
    clipped,
    cosine_saved,
    gelu_erf,
    gelu_erf_backward,
    gelu_tanh,
    gelu_tanh_backward,
    mish,
    mish_backward,
    silu,
    silu_backward,
)
from .rows import Fault, Right, altered, normal

# A dense layer with its activation in one function.

DENSE = {"kernel": normal(23, 7, 11, scale=0.5), "bias": normal(24, 11, scale=0.5)}
SQUARE = {"kernel": normal(25, 7, 7, scale=0.5), "bias": normal(26, 7, scale=0.5)}


def dense_tanh(params: Any, x: Any) -> Any:
    product = x @ params["kernel"]
    z = product + params["bias"][None, :]
    h = jnp.tanh(z)
    return h, (x, z, h)


def dense_tanh_backward(params: Any, saved: Any, dy: Any) -> Any:
    x, _, h = saved
    dz = (1 - h**2) * dy
    return {"kernel": x.T @ dz, "bias": jnp.sum(dz, 0)}, dz @ params["kernel"].T


def fused(name: str, kinds: tuple[str, ...], says: str, params: Any = DENSE, **rules: Callable[..., Any]) -> Fault:
    """A rule gets (gradient, params, (x, z, h), dy)."""
    target = (dense_tanh, altered(dense_tanh_backward, **rules))
    return Fault(f"dense with tanh: {name}", target, X, params, kinds, says)


def fused_with(slope: Callable[..., Any]) -> Callable[..., Any]:
    """The backward with another slope(z, h) of the activation."""

    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, z, h = saved
        dz = slope(z, h) * dy
        return {"kernel": x.T @ dz, "bias": jnp.sum(dz, 0)}, dz @ params["kernel"].T

    return backward


def fused_slope(name: str, kinds: tuple[str, ...], says: str, slope: Callable[..., Any]) -> Fault:
    return Fault(f"dense with tanh: {name}", (dense_tanh, fused_with(slope)), X, DENSE, kinds, says)


FAULTS = [
    fused(
        "kernel from dy instead of dz",
        ("wrong_cotangent", "local_derivative"),
        r"tanh|\bdz\b|\bdy\b|upstream",
        kernel=lambda g, p, s, dy: s[0].T @ dy,
    ),
    fused(
        "bias from dy instead of dz",
        ("wrong_cotangent", "local_derivative"),
        r"tanh|\bdz\b|\bdy\b|upstream",
        bias=lambda g, p, s, dy: jnp.sum(dy, 0),
    ),
    fused(
        "dx from dy instead of dz",
        ("wrong_cotangent", "local_derivative"),
        r"tanh|\bdz\b|\bdy\b|upstream",
        x=lambda g, p, s, dy: dy @ p["kernel"].T,
    ),
    fused(
        "kernel from the output instead of the input",
        ("wrong_operand",),
        r"output|\bh\b|tanh|operand|value|saved",
        SQUARE,
        kernel=lambda g, p, s, dy: s[2].T @ ((1 - s[2] ** 2) * dy),
    ),
    fused(
        "kernel from the pre-activation",
        ("wrong_operand",),
        r"operand|value|saved|\bz\b",
        SQUARE,
        kernel=lambda g, p, s, dy: s[1].T @ ((1 - s[2] ** 2) * dy),
    ),
    fused(
        "dx misses the kernel, square",
        ("wrong_operand", "local_derivative", "path_missing", "wrong_cotangent"),
        "",
        SQUARE,
        x=lambda g, p, s, dy: (1 - s[2] ** 2) * dy,
    ),
    fused_slope("derivative left out", ("local_derivative",), "tanh|derivative", lambda z, h: jnp.ones_like(z)),
    fused_slope(
        "slope of the pre-activation", ("local_derivative", "wrong_operand"), "tanh|derivative", lambda z, h: 1 - z**2
    ),
    fused_slope("slope at the output", ("local_derivative",), "tanh|output", lambda z, h: 1 - jnp.tanh(h) ** 2),
    fused_slope("slope squared", ("local_derivative",), "tanh|squar|twice", lambda z, h: (1 - h**2) ** 2),
    fused_slope("slope of the sigmoid", ("local_derivative",), "tanh|derivative", lambda z, h: h * (1 - h)),
]


def tails(dtype: Any) -> np.ndarray:
    return np.array([[-700.0, -30.0, -3.5, -1e-8, 0.5, 40.0, 600.0]], dtype)


LAYERS = [
    pn.identity(),
    pn.sigmoid(),
    pn.tanh(),
    pn.relu(),
    pn.leaky_relu(0.2),
    pn.elu(1.3),
    pn.celu(0.7),
    pn.selu(),
    pn.gelu(),
    pn.silu(),
    pn.mish(),
    pn.softplus(),
    pn.softsign(),
    pn.hard_sigmoid(),
    pn.hard_swish(),
    pn.hard_tanh(),
    pn.relu6(),
    pn.log_sigmoid(),
    pn.erf_sigmoid(),
]

RIGHTS = [
    *(Right(f"pn.{layer.name}", layer, WIDE) for layer in LAYERS),
    Right("pn.gelu exact", pn.gelu(approximate=False), WIDE),
    Right("pn.leaky_relu falling", pn.leaky_relu(-0.5), normal(27, 7)),
    Right("sigmoid at both tails", pn.sigmoid(), tails(np.float64)),
    Right("log_sigmoid at both tails", pn.log_sigmoid(), tails(np.float64)),
    Right("softplus at both tails, float32", pn.softplus(), tails(np.float32)),
    Right("tanh of a scalar", (jnp.tanh, lambda y, dy: (1 - y * y) * dy), np.float64(0.3)),
    Right("relu of negative numbers alone but one", pn.relu(), np.array([[-1.0, -2.0, 0.5]])),
    Right("gelu, one operation a line", (gelu_tanh, gelu_tanh_backward()), X),
    Right("exact gelu, one operation a line", (gelu_erf, gelu_erf_backward()), X),
    Right("silu, one operation a line", (silu, silu_backward()), X),
    Right("mish, one operation a line", (mish, mish_backward()), X),
    Right("sine with residuals", (cosine_saved, lambda cosine, dy: cosine * dy), normal(28, 2, 3, 5)),
    Right("dense with tanh", (dense_tanh, dense_tanh_backward), X, DENSE),
    Right("dense with tanh, square", (dense_tanh, dense_tanh_backward), X, SQUARE),
    Right("clip", (clipped, lambda x, dy: jnp.where((x > -0.5) & (x < 1.5), dy, 0.0)), X),
]
