"""Elementwise functions that are cut off, gated or made of several pieces."""

from __future__ import annotations

import math

import jax.numpy as jnp

from purenet.layers import activations as own

from .activations import (
    WIDE,
    X,
    clipped,
    cubic,
    exact_gelu_slope,
    fault,
    gaussian,
    gelu_erf,
    gelu_erf_backward,
    gelu_tanh,
    gelu_tanh_backward,
    mish,
    mish_backward,
    reciprocal,
    relu6,
    root,
    silu,
    silu_backward,
    sine,
)
from .rows import Right

FAULTS = [
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

RIGHTS: list[Right] = []
