"""Rows of gated, mixed and other composed units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.special

from .. import layers
from .draws import ROWS, SEQUENCES, normal, one, spread
from .row import Row, Value


def gate(function: Callable[[Any], Any]) -> Value:
    return lambda params, x: function(x[..., :3]) * x[..., 3:]


def prelu(params: Any, x: Any) -> Any:
    return np.maximum(x, 0) + np.asarray(params["slope"]) * np.minimum(x, 0)


def rows() -> list[Row]:
    return [*gates(), *units(), *mixtures()]


def gates() -> list[Row]:
    packed = normal(6)

    def first_axis(params: Any, x: Any) -> Any:
        return x[:2] * scipy.special.expit(x[2:])

    def value_first(params: Any, x: Any) -> Any:
        return x[..., :3] * jax.nn.silu(x[..., 3:])

    by_erf = layers.geglu(approximate=False)
    return [
        Row("glu", layers.glu(), packed, lambda params, x: x[..., :3] * scipy.special.expit(x[..., 3:])),
        Row("glu, over the first axis", layers.glu(axis=0), one(4, 3), first_axis, batched=False),
        Row("geglu", layers.geglu(), packed, gate(jax.nn.gelu)),
        Row("geglu, exact", by_erf, packed, gate(lambda x: x * scipy.special.ndtr(x))),
        Row("swiglu", layers.swiglu(), packed, gate(jax.nn.silu)),
        Row("swiglu, value first", layers.swiglu(gate_first=False), packed, value_first),
        Row("reglu", layers.reglu(), packed, gate(jax.nn.relu)),
        Row("gated_mlp", layers.gated_mlp(4), ROWS),
        Row("gated_mlp, to other features", layers.gated_mlp(5, features=3, use_bias=True), SEQUENCES),
    ]


def units() -> list[Row]:
    squeeze = layers.squeeze_and_excitation
    return [
        Row("highway", layers.highway(activation="tanh"), ROWS),
        Row("maxout", layers.maxout(3, 4), ROWS),
        Row("prelu", layers.prelu(), spread, prelu),
        Row("prelu, channels", layers.prelu(axes=1), SEQUENCES, prelu),
        Row("squeeze_and_excitation", squeeze(2), normal(3, 5, 4)),
        Row("squeeze_and_excitation, one axis", squeeze(hidden=3, dimensions=1), SEQUENCES),
    ]


def mixtures() -> list[Row]:
    mixture = layers.mixture_of_experts
    switch = {"gated": False, "use_bias": True, "top_k": 1, "activation": "relu", "renormalise": False}
    balanced = mixture(3, 5, balance=True, z_weight=0.1, **switch)
    return [
        Row("mixture_of_experts", mixture(4, 3, top_k=2, features=5), SEQUENCES),
        Row("mixture_of_experts, with balance", balanced, ROWS, batched=False, alone=True),
    ]
