"""Rows of the activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.special

from .. import layers
from ..layer import Layer
from .draws import spread
from .row import Row


def activation(layer: Layer, value: Callable[[Any], Any], variant: str = "", batched: bool = True) -> Row:
    name = f"{layer.name}, {variant}" if variant else layer.name
    return Row(name, layer, spread, lambda params, x: value(x), batched)


def rows() -> list[Row]:
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
