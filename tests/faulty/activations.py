"""Elementwise functions: y = f(x), dx = f'(x) dy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import purenet as pn
from purenet.layers import activations as own

from .rows import Fault, Right, altered, normal

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
    fault(
        "relu6: upper clamp ignored",
        relu6,
        lambda x, dy: jnp.where(x > 0, dy, 0.0),
        ("support", "forward_variant", "local_derivative", "path_missing"),
        r"clamp|\b6\b|zero|\b0\b|where|gate",
        WIDE,
    ),
    fault(
        "hard_tanh: clamp ignored",
        own.hard_tanh_forward,
        lambda dy: dy,
        ("support", "local_derivative", "forward_variant"),
        r"clamp|zero|\b0\b|where|gate",
        WIDE,
    ),
    fault(
        "hard_tanh: derivative of tanh",
        own.hard_tanh_forward,
        lambda y, dy: (1 - y**2) * dy,
        ("local_derivative",),
        "derivative|another|tanh|where",
        X,
    ),
    fault(
        "hard_tanh: upper clamp off by one",
        own.hard_tanh_forward,
        lambda x, dy: jnp.where((x > -1) & (x < 2), dy, 0.0),
        ("support", "forward_variant", "local_derivative"),
        r"clamp|zero|\b0\b|where|gate",
        X,
    ),
    fault(
        "hard_sigmoid: sixth forgotten",
        own.hard_sigmoid_forward,
        lambda y, dy: jnp.where((y > 0) & (y < 1), dy, 0.0),
        ("scaled",),
        r"\b6\b",
        WIDE,
    ),
    fault(
        "hard_swish: half forgotten",
        own.hard_swish_forward,
        lambda x, dy: jnp.where(x <= -3, 0.0, jnp.where(x >= 3, 1.0, x / 3)) * dy,
        ("local_derivative", "path_missing", "path_scaled", "slices"),
        "",
        WIDE,
    ),
    fault(
        "hard_swish: product rule forgotten",
        own.hard_swish_forward,
        lambda x, dy: own.hard_sigmoid_forward(x) * dy,
        ("path_missing",),
        "path|missing|product|constant",
        WIDE,
    ),
    fault(
        "erf_sigmoid: constant of the density twice",
        own.erf_sigmoid_forward,
        lambda x, dy: 2 / math.sqrt(math.pi) * jnp.exp(-x * x) * dy,
        ("scaled",),
        r"\b2\b|twice|doubl",
    ),
    fault(
        "erf_sigmoid: density of the normal distribution",
        own.erf_sigmoid_forward,
        lambda x, dy: jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) * dy,
        ("local_derivative", "forward_variant"),
        "erf|derivative",
    ),
    fault("gelu: slope of the exact one", gelu_tanh, exact_gelu_slope, ("forward_variant",), "erf|exact|gelu"),
    fault(
        "gelu exact: slope of the tanh one",
        gelu_erf,
        gelu_tanh_backward(),
        ("forward_variant",),
        "tanh|approximat|gelu",
    ),
    fault("gelu: second term missing", gelu_tanh, gelu_tanh_backward("second"), ("path_missing",), "tanh|path"),
    fault("gelu: first term missing", gelu_tanh, gelu_tanh_backward("first"), ("path_missing",), "path|mul|product"),
    fault("gelu: three left out", gelu_tanh, gelu_tanh_backward("three"), ("path_scaled",), r"1/3|cube|\*\*|pow"),
    fault("gelu: cube forgotten", gelu_tanh, gelu_tanh_backward("cube"), ("path_missing",), r"cube|\*\*|pow|path"),
    fault(
        "gelu: constant left out", gelu_tanh, gelu_tanh_backward("constant"), ("path_scaled",), "1.25|tanh|inner|path"
    ),
    fault("gelu: square forgotten", gelu_tanh, gelu_tanh_backward("square"), ("local_derivative",), "tanh|derivative"),
    fault("gelu exact: density missing", gelu_erf, gelu_erf_backward("density"), ("path_missing",), "erf|path"),
    fault(
        "gelu exact: density without its constant", gelu_erf, gelu_erf_backward("constant"), ("path_scaled",), "2.5|erf"
    ),
    fault(
        "gelu exact: half left out of the exponent",
        gelu_erf,
        gelu_erf_backward("half"),
        ("local_derivative",),
        "erf|derivative",
    ),
    fault(
        "silu: product rule's second term missing",
        silu,
        silu_backward("second"),
        ("path_missing",),
        "logistic|sigmoid|path",
    ),
    fault(
        "silu: product rule's first term missing",
        silu,
        silu_backward("first"),
        ("path_missing",),
        r"mul|product|path|\bx\b",
    ),
    fault("silu: sign of the second term", silu, silu_backward("sign"), ("path_sign",), "sign|negat|-1"),
    fault(
        "silu: value of the sigmoid as its derivative",
        silu,
        silu_backward("value"),
        ("local_derivative",),
        "derivative|value",
    ),
    fault(
        "silu: second term a tenth too large", silu, silu_backward("ten"), ("path_scaled",), "1.1|logistic|sigmoid|path"
    ),
    fault(
        "mish: derivative of softplus left out",
        mish,
        mish_backward("softplus"),
        ("local_derivative",),
        "softplus|derivative|log|exp",
    ),
    fault("mish: product rule", mish, mish_backward("product"), ("path_missing",), "tanh|path"),
    fault(
        "sine: cosine of the output",
        sine,
        lambda saved, dy: jnp.cos(saved[1]) * dy,
        ("local_derivative",),
        "output|sin",
    ),
    fault(
        "sine: sign of the derivative of the cosine",
        sine,
        lambda s, dy: -jnp.cos(s[0]) * dy,
        ("scaled",),
        "sign|-1|negat",
    ),
    fault(
        "sine: sine itself",
        sine,
        lambda saved, dy: saved[1] * dy,
        ("local_derivative",),
        "sin|derivative|value",
    ),
    fault(
        "gaussian: inner derivative left out",
        gaussian,
        lambda y, dy: -0.5 * y * dy,
        ("local_derivative",),
        "square|pow|derivative|mul",
    ),
    fault(
        "gaussian: two in the exponent",
        gaussian,
        lambda x, dy: -2 * x * gaussian(x) * dy,
        ("scaled",),
        r"\b2\b|twice|doubl",
    ),
    fault(
        "cubic: power rule without its factor",
        cubic,
        lambda x, dy: (x**2 - x) * dy,
        ("path_scaled",),
        r"1/3|pow|\*\*|path",
    ),
    fault(
        "cubic: second term forgotten",
        cubic,
        lambda x, dy: 3 * x**2 * dy,
        ("path_missing",),
        r"pow|\*\*|square|path|sub",
    ),
    fault("cubic: second term added", cubic, lambda x, dy: (3 * x**2 + x) * dy, ("path_sign",), "sign|negat|sub|-1"),
    fault("root: half left out", root, lambda x, dy: 2 * x / root(x) * dy, ("scaled",), r"\b2\b|twice|doubl"),
    fault(
        "root: inner derivative left out",
        root,
        lambda y, dy: 0.5 / y * dy,
        ("local_derivative",),
        r"square|pow|\*\*|derivative",
    ),
    fault(
        "root: without the shift",
        root,
        lambda x, dy: jnp.sign(x) * dy,
        ("forward_variant", "wrong_operand", "local_derivative"),
        "",
    ),
    fault(
        "reciprocal: square forgotten",
        reciprocal,
        lambda x, dy: -(1 - jnp.tanh(x) ** 2) / (2 + jnp.tanh(x)) * dy,
        ("local_derivative",),
        "div|derivative|reciprocal",
    ),
    fault(
        "reciprocal: minus forgotten",
        reciprocal,
        lambda x, dy: (1 - jnp.tanh(x) ** 2) / (2 + jnp.tanh(x)) ** 2 * dy,
        ("scaled",),
        "sign|-1|negat",
    ),
    fault(
        "clip: gradient flows outside",
        clipped,
        lambda dy: dy,
        ("support", "local_derivative"),
        r"clip|clamp|zero|\b0\b|gate|where",
    ),
    fault(
        "clip: gradient flows outside only",
        clipped,
        lambda x, dy: jnp.where((x > -0.5) & (x < 1.5), 0.0, dy),
        ("local_derivative", "support"),
        r"clip|clamp|invert|opposite|zero|\b0\b|where",
    ),
]


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


FAULTS += [
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
    Right("tanh of nothing", (jnp.tanh, lambda y, dy: (1 - y * y) * dy), np.zeros((0, 7))),
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
