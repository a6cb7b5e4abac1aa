"""Rows of the activations."""

from __future__ import annotations

import math

import jax
import numpy as np
import scipy.special

import purenet as pn

from .case import activation

ROWS = [
    activation(pn.identity(), lambda x: x),
    activation(pn.sigmoid(), scipy.special.expit),
    activation(pn.tanh(), np.tanh),
    activation(pn.relu(), jax.nn.relu),
    activation(pn.leaky_relu(0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
    activation(pn.leaky_relu(-0.5), lambda x: jax.nn.leaky_relu(x, -0.5), name="leaky_relu_falling"),
    activation(pn.elu(1.3), lambda x: jax.nn.elu(x, 1.3)),
    activation(pn.celu(0.7), lambda x: jax.nn.celu(x, 0.7)),
    activation(pn.selu(), jax.nn.selu),
    activation(pn.gelu(), jax.nn.gelu),
    activation(pn.gelu(approximate=False), lambda x: x * scipy.special.ndtr(x), name="gelu_erf"),
    activation(pn.silu(), jax.nn.silu),
    activation(pn.mish(), jax.nn.mish),
    activation(pn.softplus(), jax.nn.softplus),
    activation(pn.softsign(), jax.nn.soft_sign),
    activation(pn.hard_sigmoid(), jax.nn.hard_sigmoid),
    activation(pn.hard_swish(), jax.nn.hard_swish),
    activation(pn.hard_tanh(), jax.nn.hard_tanh),
    activation(pn.relu6(), jax.nn.relu6),
    activation(pn.log_sigmoid(), scipy.special.log_expit),
    activation(pn.softmax(), lambda x: scipy.special.softmax(x, -1)),
    activation(pn.log_softmax(), lambda x: scipy.special.log_softmax(x, -1)),
    activation(pn.erf_sigmoid(), lambda x: scipy.special.ndtr(x * math.sqrt(2))),
]
