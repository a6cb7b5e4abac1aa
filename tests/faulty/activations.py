"""Elementwise functions: y = f(x), dx = f'(x) dy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from purenet.layers import activations as own

from .rows import Fault, Right, normal

X = normal(21, 5, 7, scale=1.5)
WIDE = normal(22, 5, 7, scale=5.0)  # beyond the kinks at -3, -1, 1, 3 and 6
SQRT_2_PI = math.sqrt(2 / math.pi)


def fault(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    kinds: tuple[str, ...],
    says: str,
    x: Any = X,
) -> Fault:
    return Fault(name, (forward, backward), x, None, kinds, says)


def leaky_relu(x: Any) -> Any:
    return jnp.where(x >= 0, x, 0.2 * x)


def elu(x: Any) -> Any:
    negative = 1.3 * jnp.expm1(jnp.minimum(x, 0.0))
    return jnp.where(x > 0, x, negative)


def celu(x: Any) -> Any:
    negative = 0.7 * jnp.expm1(jnp.minimum(x, 0.0) / 0.7)
    return jnp.where(x > 0, x, negative)


def relu6(x: Any) -> Any:
    return own.relu6_forward(x)


def gelu_tanh(x: Any) -> Any:
    cube = x**3
    inner = SQRT_2_PI * (x + 0.044715 * cube)
    t = jnp.tanh(inner)
    return 0.5 * x * (1 + t)


def gelu_tanh_backward(mistake: str = "") -> Callable[..., Any]:
    def backward(x: Any, dy: Any) -> Any:
        inner = SQRT_2_PI * (x + 0.044715 * x**3)
        three = 1 if mistake == "three" else 3
        constant = 1 if mistake == "constant" else SQRT_2_PI
        dinner = constant * (1 + three * 0.044715 * x**2)
        if mistake == "cube":
            dinner = jnp.full_like(x, SQRT_2_PI)
        t = jnp.tanh(inner)
        dt = 1 - t if mistake == "square" else 1 - t**2
        first = 0.5 * (1 + t)
        second = 0.5 * x * dt * dinner
        if mistake == "first":
            return second * dy
        if mistake == "second":
            return first * dy
        return (first + second) * dy

    return backward


def gelu_erf(x: Any) -> Any:
    z = x / math.sqrt(2)
    phi = 0.5 * (1 + lax.erf(z))
    return x * phi


def gelu_erf_backward(mistake: str = "") -> Callable[..., Any]:
    def backward(x: Any, dy: Any) -> Any:
        phi = 0.5 * (1 + lax.erf(x / math.sqrt(2)))
        density = jnp.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
        if mistake == "density":
            return phi * dy
        if mistake == "constant":
            density = jnp.exp(-0.5 * x**2)
        if mistake == "half":
            density = jnp.exp(-(x**2)) / math.sqrt(2 * math.pi)
        return (phi + x * density) * dy

    return backward


def exact_gelu_slope(x: Any, dy: Any) -> Any:
    return gelu_erf_backward()(x, dy)


def silu(x: Any) -> Any:
    s = jax.nn.sigmoid(x)
    return x * s


def silu_backward(mistake: str = "") -> Callable[..., Any]:
    def backward(x: Any, dy: Any) -> Any:
        s = jax.nn.sigmoid(x)
        ds = s * (1 - s)
        if mistake == "second":
            return s * dy
        if mistake == "first":
            return x * ds * dy
        if mistake == "sign":
            return (s - x * ds) * dy
        if mistake == "value":
            return (s + x * s) * dy
        if mistake == "ten":
            return (s + 1.1 * x * ds) * dy
        return (s + x * ds) * dy

    return backward


def mish(x: Any) -> Any:
    s = jax.nn.softplus(x)
    t = jnp.tanh(s)
    return x * t


def mish_backward(mistake: str = "") -> Callable[..., Any]:
    def backward(x: Any, dy: Any) -> Any:
        t = jnp.tanh(jax.nn.softplus(x))
        dt = 1 - t**2
        ds = 1.0 if mistake == "softplus" else jax.nn.sigmoid(x)
        if mistake == "product":
            return t * dy
        return (t + x * dt * ds) * dy

    return backward


def sine(x: Any) -> Any:
    y = jnp.sin(x)
    return y, (x, y)


def cosine_saved(x: Any) -> Any:
    return jnp.sin(x), jnp.cos(x)


def gaussian(x: Any) -> Any:
    square = x**2
    return jnp.exp(-0.5 * square)


def cubic(x: Any) -> Any:
    return x**3 - 0.5 * x**2


def root(x: Any) -> Any:
    shifted = x**2 + 0.3
    return jnp.sqrt(shifted)


def reciprocal(x: Any) -> Any:
    denominator = 2 + jnp.tanh(x)
    return 1 / denominator


def clipped(x: Any) -> Any:
    return jnp.clip(x, -0.5, 1.5)


SIGMOID, TANH, RELU = own.sigmoid_forward, own.tanh_forward, own.relu_forward

FAULTS = [
    fault("identity: doubled", own.identity_forward, lambda dy: 2 * dy, ("scaled",), r"\b2\b|twice|doubl"),
    fault("sigmoid: derivative left out", SIGMOID, lambda dy: dy, ("local_derivative",), "derivative|logistic"),
    fault(
        "sigmoid: value used as derivative", SIGMOID, lambda y, dy: y * dy, ("local_derivative",), "value|derivative"
    ),
    fault(
        "sigmoid: of the output instead of the input",
        SIGMOID,
        lambda y, dy: jax.nn.sigmoid(y) * (1 - jax.nn.sigmoid(y)) * dy,
        ("local_derivative",),
        "output|derivative",
    ),
    fault(
        "sigmoid: the formula of the output applied to the input",
        SIGMOID,
        lambda x, dy: x * (1 - x) * dy,
        ("local_derivative", "wrong_operand"),
        "input|output|derivative",
    ),
    fault(
        "sigmoid: derivative squared", SIGMOID, lambda y, dy: (y * (1 - y)) ** 2 * dy, ("local_derivative",), "squar"
    ),
    fault(
        "sigmoid: upstream gradient forgotten", SIGMOID, lambda y, dy: y * (1 - y), ("cotangent_ignored",), "upstream"
    ),
    fault("tanh: derivative left out", TANH, lambda dy: dy, ("local_derivative",), "tanh|derivative"),
    fault(
        "tanh: the formula of the output applied to the input",
        TANH,
        lambda x, dy: (1 - x**2) * dy,
        ("local_derivative", "wrong_operand"),
        "tanh|input|output",
    ),
    fault(
        "tanh: of the output instead of the input",
        TANH,
        lambda y, dy: (1 - jnp.tanh(y) ** 2) * dy,
        ("local_derivative",),
        "tanh|output",
    ),
    fault("tanh: square forgotten", TANH, lambda y, dy: (1 - y) * dy, ("local_derivative",), "tanh|derivative"),
    fault("tanh: sign", TANH, lambda y, dy: (y**2 - 1) * dy, ("scaled", "path_sign"), "sign|-1|negat"),
    fault(
        "tanh: of the upstream gradient",
        TANH,
        lambda y, dy: 1 - dy**2,
        ("not_linear", "cotangent_ignored"),
        "linear|upstream",
    ),
    fault(
        "tanh: upstream gradient used twice",
        TANH,
        lambda y, dy: (1 - y**2) * dy * jnp.abs(dy),
        ("not_linear",),
        "linear|twice|squar",
    ),
    fault(
        "tanh: derivative of the sigmoid",
        TANH,
        lambda y, dy: y * (1 - y) * dy,
        ("local_derivative",),
        "derivative|tanh",
    ),
    fault("tanh: a constant added", TANH, lambda y, dy: (1 - y**2) * dy + 1e-3, ("extra_term",), "constant|add|0.001"),
    fault(
        "relu: gate left out", RELU, lambda dy: dy, ("support", "local_derivative"), r"gate|zero|\b0\b|derivative|where"
    ),
    fault(
        "relu: gate upside down",
        RELU,
        lambda x, dy: jnp.where(x > 0, 0.0, dy),
        ("local_derivative", "support"),
        "gate|invert|wrong side|opposite|where|derivative",
    ),
    fault(
        "relu: gate on the upstream gradient",
        RELU,
        lambda dy: jnp.where(dy > 0, dy, 0.0),
        ("not_linear",),
        "linear|upstream|threshold|sign",
    ),
    fault(
        "relu: guided, gated on both",
        RELU,
        lambda y, dy: jnp.where((y > 0) & (dy > 0), dy, 0.0),
        ("not_linear",),
        "linear|upstream|threshold|sign",
    ),
    fault(
        "relu: value instead of gate", RELU, lambda y, dy: y * dy, ("local_derivative",), "value|derivative|gate|where"
    ),
    fault(
        "relu: gate at one",
        RELU,
        lambda x, dy: jnp.where(x > 1, dy, 0.0),
        ("support", "local_derivative", "slices"),
        r"gate|zero|\b0\b|where|derivative",
    ),
    fault(
        "leaky_relu: slope of relu",
        leaky_relu,
        lambda x, dy: jnp.where(x >= 0, dy, 0.0),
        ("path_missing", "local_derivative", "support"),
        r"where|zero|\b0\b|slope|path|derivative|mul",
    ),
    fault(
        "leaky_relu: slope on the wrong side",
        leaky_relu,
        lambda x, dy: jnp.where(x >= 0, 0.2 * dy, dy),
        ("local_derivative", "two_paths", "path_scaled"),
        "",
    ),
    fault(
        "leaky_relu: another slope",
        leaky_relu,
        lambda x, dy: jnp.where(x >= 0, dy, 0.01 * dy),
        ("path_scaled", "local_derivative", "forward_variant"),
        "0.05|1/20|constant|slope|0.01|0.2",
    ),
    fault(
        "elu: exp minus one as derivative",
        elu,
        lambda x, dy: jnp.where(x > 0, dy, 1.3 * jnp.expm1(jnp.minimum(x, 0.0)) * dy),
        ("local_derivative",),
        "expm1|exp|derivative|value",
    ),
    fault(
        "elu: alpha left out",
        elu,
        lambda x, dy: jnp.where(x > 0, dy, jnp.exp(jnp.minimum(x, 0.0)) * dy),
        ("path_scaled", "local_derivative"),
        r"1\.3|0\.769|1/1.3|10/13|expm1|scale|constant",
    ),
    fault(
        "celu: derivative of elu",
        celu,
        lambda x, dy: jnp.where(x > 0, dy, 0.7 * jnp.exp(jnp.minimum(x, 0.0) / 0.7) * dy),
        ("path_scaled", "local_derivative", "forward_variant"),
        r"0\.7|7/10|div|scale|derivative|constant",
    ),
    fault(
        "selu: scale left out for positive values",
        own.selu_forward,
        lambda y, dy: jnp.where(y > 0, dy, (y + own.SELU_SCALE * own.SELU_ALPHA) * dy),
        ("path_scaled", "local_derivative"),
        r"0\.95|1\.05|scale|constant|path|select|where",
    ),
    fault(
        "selu: scale left out",
        own.selu_forward,
        lambda y, dy: jnp.where(y > 0, dy, (y / own.SELU_SCALE + own.SELU_ALPHA) * dy),
        ("scaled",),
        r"0\.95|1\.05",
    ),
    fault(
        "softplus: sigmoid of the output",
        own.softplus_forward,
        lambda y, dy: jax.nn.sigmoid(y) * dy,
        ("local_derivative",),
        "output|derivative|logaddexp|softplus",
    ),
    fault(
        "softplus: tanh",
        own.softplus_forward,
        lambda x, dy: jnp.tanh(x) * dy,
        ("local_derivative",),
        "derivative|logaddexp|softplus",
    ),
    fault(
        "log_sigmoid: sigmoid of x instead of -x",
        own.log_sigmoid_forward,
        lambda x, dy: jax.nn.sigmoid(x) * dy,
        ("local_derivative",),
        "derivative|logaddexp|sigmoid|1 -|complement|sign",
    ),
    fault(
        "softsign: square forgotten",
        own.softsign_forward,
        lambda x, dy: dy / (1 + jnp.abs(x)),
        ("path_missing", "local_derivative"),
        "abs|div|path",
    ),
]

RIGHTS: list[Right] = []
