"""purenet: pure functions for neural networks in JAX, every backward pass written by hand.

Layers, networks and objectives are `Layer`s: pure functions over plain pytrees. The backward stands next to its
forward in `purenet.layers` and `purenet.losses`, combinators plan what is kept between the two, `check` compares
with jax.grad, and `purenet.train` runs whole epochs as one compiled program.
"""

from importlib.metadata import version as _version

from . import data, files, layers, losses, train
from .checking import GradientError, Report, check
from .combine import parallel, per_example, remat, repeat, residual, serial
from .errors import LayerError, LayerTypeError, LayerValueError
from .layer import Layer, as_function, from_function, objective, stateless, value_and_grad
from .layers import (
    celu,
    dense,
    dropout,
    elu,
    erf_sigmoid,
    flatten,
    gelu,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    identity,
    layer_norm,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    reshape,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    swish,
    tanh,
)
from .planning import plan

__version__ = _version("purenet")

__all__ = [
    "GradientError",
    "Layer",
    "LayerError",
    "LayerTypeError",
    "LayerValueError",
    "Report",
    "as_function",
    "celu",
    "check",
    "data",
    "dense",
    "dropout",
    "elu",
    "erf_sigmoid",
    "files",
    "flatten",
    "from_function",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "layer_norm",
    "layers",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "losses",
    "mish",
    "objective",
    "parallel",
    "per_example",
    "plan",
    "relu",
    "relu6",
    "remat",
    "repeat",
    "reshape",
    "residual",
    "selu",
    "serial",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "stateless",
    "swish",
    "tanh",
    "train",
    "value_and_grad",
]
