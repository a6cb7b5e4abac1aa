"""Blocks in one piece: a residual block, SwiGLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .rows import Fault, Right, normal

X = normal(181, 5, 7)


def fault(name: str, forward: Any, backward: Any, params: Any, kinds: tuple[str, ...], says: str, x: Any = X) -> Fault:
    return Fault(name, (forward, backward), x, params, kinds, says)


# A residual block of two dense layers.

BLOCK = {"up": normal(182, 7, 11, scale=0.5), "down": normal(183, 11, 7, scale=0.5), "bias": normal(184, 7)}
SQUARE_BLOCK = {"up": normal(185, 7, 7, scale=0.5), "down": normal(186, 7, 7, scale=0.5), "bias": normal(187, 7)}


def block(params: Any, x: Any) -> Any:
    z = x @ params["up"]
    h = jnp.tanh(z)
    f = h @ params["down"]
    y = x + f
    return y + params["bias"][None, :], (x, h)


def block_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, h = saved
        dh = dy @ params["down"].T
        dz = dh if mistake == "slope" else (1 - h**2) * dh
        df = dz @ params["up"].T
        skip = {"skip": 0.0, "skip twice": 2.0, "skip sign": -1.0, "skip half": 0.5}.get(mistake, 1.0)
        dx = skip * dy + (0.0 if mistake == "branch" else 1.0) * df
        dup = x.T @ (dh if mistake == "up from dh" else dz)
        ddown = (x if mistake == "down from x" else h).T @ dy
        dbias = jnp.sum(dz if mistake == "bias from dz" else dy, 0)
        if mistake == "exchanged":
            dup, ddown = ddown, dup
        return {"up": dup, "down": ddown, "bias": dbias}, dx

    return backward


def block_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str, params: Any = BLOCK) -> Fault:
    return fault(f"residual block: {name}", block, block_with(mistake), params, kinds, says)


FAULTS = [
    block_fault("skip left out", ("path_missing", "extra_term"), r"skip|\bdy\b|upstream|\bx\b|add|path", "skip"),
    block_fault("skip twice", ("path_doubled", "extra_term"), r"skip|twice|doubl|\bdy\b|upstream|\bx\b", "skip twice"),
    block_fault("skip with the wrong sign", ("path_sign", "extra_term"), "", "skip sign"),
    block_fault("skip halved", ("path_scaled", "extra_term"), "1/2|0.5|half", "skip half"),
    block_fault("branch left out", ("path_missing",), "path|dot|up|tanh", "branch"),
    block_fault("slope left out", ("local_derivative",), "tanh|derivative", "slope"),
    block_fault(
        "up from dh instead of dz",
        ("wrong_cotangent", "local_derivative"),
        r"tanh|\bdh\b|\bdz\b|derivative",
        "up from dh",
    ),
    block_fault(
        "down from x instead of h", ("wrong_operand",), r"\bx\b|\bh\b|tanh|operand|value", "down from x", SQUARE_BLOCK
    ),
    block_fault(
        "bias from dz instead of dy",
        ("wrong_cotangent", "local_derivative", "wrong_operand"),
        "",
        "bias from dz",
        SQUARE_BLOCK,
    ),
    block_fault(
        "up and down exchanged", ("swapped_leaves",), "swap|exchang|up.*down|down.*up", "exchanged", SQUARE_BLOCK
    ),
]


# SwiGLU: silu(x W) * (x V) U.

GLU = {"gate": normal(188, 7, 11, scale=0.5), "value": normal(189, 7, 11, scale=0.5), "out": normal(190, 11, 3)}


def swiglu(params: Any, x: Any) -> Any:
    gate = x @ params["gate"]
    value = x @ params["value"]
    s = jax.nn.sigmoid(gate)
    a = gate * s
    h = a * value
    return h @ params["out"], (x, gate, value, s, a, h)


def swiglu_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, gate, value, s, a, h = saved
        dh = dy @ params["out"].T
        da = dh if mistake == "value" else dh * value
        dvalue = dh * (s if mistake == "a" else a)
        slope = s if mistake == "product" else s + gate * s * (1 - s)
        if mistake == "sigmoid":
            slope = s * (1 - s)
        dgate = da * slope
        dx = dgate @ params["gate"].T + dvalue @ params["value"].T
        if mistake == "gate path":
            dx = dvalue @ params["value"].T
        if mistake == "value path":
            dx = dgate @ params["gate"].T
        kernels = {"gate": x.T @ dgate, "value": x.T @ dvalue, "out": (a if mistake == "out" else h).T @ dy}
        if mistake == "exchanged":
            kernels["gate"], kernels["value"] = kernels["value"], kernels["gate"]
        return kernels, dx

    return backward


def glu_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str) -> Fault:
    return fault(f"swiglu: {name}", swiglu, swiglu_with(mistake), GLU, kinds, says)


FAULTS += [
    glu_fault("value left out of the gate's gradient", ("local_derivative", "wrong_operand"), "", "value"),
    glu_fault("sigmoid instead of silu for the value", ("wrong_operand", "local_derivative"), "", "a"),
    glu_fault("second term of the silu's slope missing", ("path_missing",), "sigmoid|logistic|path", "product"),
    glu_fault("slope of the sigmoid", ("local_derivative", "path_missing", "two_paths"), "", "sigmoid"),
    glu_fault("path through the gate left out of dx", ("path_missing",), "gate|path|dot", "gate path"),
    glu_fault("path through the value left out of dx", ("path_missing",), "value|path|dot", "value path"),
    glu_fault("out kernel from the gate alone", ("wrong_operand", "local_derivative"), "", "out"),
    glu_fault(
        "gate and value kernels exchanged", ("swapped_leaves",), "swap|exchang|gate.*value|value.*gate", "exchanged"
    ),
]

RIGHTS: list[Right] = []
