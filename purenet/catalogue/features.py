"""Rows of layers of features: activations, dense and reshaping layers, random layers, gated and mixed units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.special

from .. import layers
from ..layer import Layer
from .draws import FEATURES, ROWS, SEQUENCES, affine, identity, normal, one, spread
from .row import Row, Value


def rows() -> list[Row]:
    return [*activations(), *dense_and_shapes(), *random_layers(), *gates(), *units(), *mixtures()]


def activation(layer: Layer, value: Callable[[Any], Any], variant: str = "", batched: bool = True) -> Row:
    name = f"{layer.name}, {variant}" if variant else layer.name
    return Row(name, layer, spread, lambda params, x: value(x), batched)


def activations() -> list[Row]:
    columns = "over the first axis"
    swish = activation(layers.swish(), jax.nn.swish)
    return [
        activation(layers.identity(), lambda x: x),
        activation(layers.sigmoid(), scipy.special.expit),
        activation(layers.erf_sigmoid(), lambda x: scipy.special.ndtr(x * np.sqrt(2))),
        activation(layers.log_sigmoid(), scipy.special.log_expit),
        activation(layers.hard_sigmoid(), jax.nn.hard_sigmoid),
        activation(layers.tanh(), np.tanh),
        activation(layers.hard_tanh(), jax.nn.hard_tanh),
        activation(layers.relu(), jax.nn.relu),
        activation(layers.relu6(), jax.nn.relu6),
        activation(layers.leaky_relu(), jax.nn.leaky_relu),
        activation(layers.leaky_relu(-0.5), lambda x: jax.nn.leaky_relu(x, -0.5), "falling"),
        activation(layers.elu(1.3), lambda x: jax.nn.elu(x, 1.3)),
        activation(layers.celu(0.7), lambda x: jax.nn.celu(x, 0.7)),
        activation(layers.selu(), jax.nn.selu),
        activation(layers.gelu(), jax.nn.gelu),
        activation(layers.gelu(approximate=False), lambda x: x * scipy.special.ndtr(x), "exact"),
        activation(layers.silu(), jax.nn.silu),
        swish._replace(name="swish"),
        activation(layers.hard_swish(), jax.nn.hard_swish),
        activation(layers.mish(), jax.nn.mish),
        activation(layers.softplus(), jax.nn.softplus),
        activation(layers.softsign(), jax.nn.soft_sign),
        activation(layers.softmax(), lambda x: scipy.special.softmax(x, -1)),
        activation(layers.softmax(axis=0), lambda x: scipy.special.softmax(x, 0), columns, batched=False),
        activation(layers.log_softmax(), lambda x: scipy.special.log_softmax(x, -1)),
        activation(layers.log_softmax(axis=0), lambda x: scipy.special.log_softmax(x, 0), columns, batched=False),
    ]


def dense_and_shapes() -> list[Row]:
    return [
        Row("dense", layers.dense(11), ROWS, affine),
        Row("dense, no bias", layers.dense(4, use_bias=False), ROWS, affine),
        Row("dense, sequences", layers.dense(4), SEQUENCES, affine),
        Row("dense, one example", layers.dense(4), one(FEATURES), affine, batched=False),
        Row("flatten", layers.flatten(-2), SEQUENCES, lambda params, x: x.reshape(len(x), -1)),
        Row("reshape", layers.reshape(FEATURES, -1), SEQUENCES, lambda params, x: x.reshape(-1, 7, 2), batched=False),
        Row("reshape, last axis", layers.reshape(7, 1, start=-1), SEQUENCES, lambda params, x: x[..., None]),
        Row("swap_axes", layers.swap_axes(-1, -2), SEQUENCES, lambda params, x: np.swapaxes(x, 1, 2)),
    ]


def random_layers() -> list[Row]:
    return [
        Row("dropout", layers.dropout(0.3), ROWS, identity, random=True),
        Row("dropout, rate 0", layers.dropout(0.0), ROWS, identity),
        Row("dropout, along an axis", layers.dropout(0.4, broadcast_dims=(0,)), ROWS, identity, random=True),
        Row("spatial_dropout", layers.spatial_dropout(0.4), normal(3, 5, 4), identity, random=True),
        Row("drop_path", layers.drop_path(0.4), ROWS, identity, random=True),
        Row("drop_path, sequences", layers.drop_path(0.4, dimensions=1), SEQUENCES, identity, random=True),
        Row("alpha_dropout", layers.alpha_dropout(0.3), ROWS, identity, random=True),
        Row("gaussian_noise", layers.gaussian_noise(0.5), ROWS, identity, random=True),
        Row("gaussian_dropout", layers.gaussian_dropout(0.3), ROWS, identity, random=True),
    ]


def gate(function: Callable[[Any], Any]) -> Value:
    return lambda params, x: function(x[..., :3]) * x[..., 3:]


def gates() -> list[Row]:
    packed = normal(6)
    by_erf = layers.geglu(approximate=False)
    return [
        Row("glu", layers.glu(), packed, lambda params, x: x[..., :3] * scipy.special.expit(x[..., 3:])),
        Row("glu, over the first axis", layers.glu(axis=0), one(4, 3), batched=False),
        Row("geglu", layers.geglu(), packed, gate(jax.nn.gelu)),
        Row("geglu, exact", by_erf, packed, gate(lambda x: x * scipy.special.ndtr(x))),
        Row("swiglu", layers.swiglu(), packed, gate(jax.nn.silu)),
        Row("swiglu, value first", layers.swiglu(gate_first=False), packed),
        Row("reglu", layers.reglu(), packed, gate(jax.nn.relu)),
        Row("gated_mlp", layers.gated_mlp(4), ROWS),
        Row("gated_mlp, to other features", layers.gated_mlp(5, features=3, use_bias=True), SEQUENCES),
    ]


def units() -> list[Row]:
    squeeze = layers.squeeze_and_excitation
    return [
        Row("highway", layers.highway(activation="tanh"), ROWS),
        Row("maxout", layers.maxout(3, 4), ROWS),
        Row("prelu", layers.prelu(), spread),
        Row("prelu, channels", layers.prelu(axes=1), SEQUENCES),
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
