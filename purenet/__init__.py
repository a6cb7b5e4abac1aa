"""purenet: pure functions for neural networks in JAX, every backward pass written by hand.

Layers, networks and objectives are `Layer`s: pure functions over plain pytrees. The backward stands next to its
forward in `purenet.layers` and `purenet.losses`, combinators plan what is kept between the two, `check` compares
with jax.grad, and `purenet.train` runs whole epochs as one compiled program.
"""

from __future__ import annotations

import importlib as _importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING, Any as _Any

from . import layers, losses
from .combine import parallel, per_example, remat, repeat, residual, serial
from .errors import LayerError, LayerTypeError, LayerValueError
from .layer import Layer, as_function, from_function, objective, stateless, value_and_grad
from .layers import (
    alpha_dropout,
    batch_norm,
    celu,
    dense,
    drop_path,
    dropout,
    elu,
    erf_sigmoid,
    flatten,
    gated_mlp,
    gaussian_dropout,
    gaussian_noise,
    geglu,
    gelu,
    glu,
    group_norm,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    highway,
    identity,
    instance_norm,
    l2_normalize,
    layer_norm,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    maxout,
    mish,
    mixture_of_experts,
    prelu,
    reglu,
    relu,
    relu6,
    reshape,
    rms_norm,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    spatial_dropout,
    squeeze_and_excitation,
    swiglu,
    swish,
    tanh,
)
from .planning import plan

if _TYPE_CHECKING:
    from . import data, files, train
    from .checking import Diagnosis, GradientError, Report, assert_gradients, check, check_gradient, check_strength

__version__ = _version("purenet")

# What a network's own code does not need loads when it is first used.
_LAZY_MODULES = ("data", "files", "train")
_CHECKING = (
    "Diagnosis",
    "GradientError",
    "Report",
    "assert_gradients",
    "check",
    "check_gradient",
    "check_strength",
)
_LAZY_NAMES = dict.fromkeys(_CHECKING, "checking")


def __getattr__(name: str) -> _Any:
    if name in _LAZY_MODULES:
        return _importlib.import_module(f".{name}", __name__)
    if name in _LAZY_NAMES:
        return getattr(_importlib.import_module(f".{_LAZY_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY_MODULES, *_LAZY_NAMES]


__all__ = [
    "Diagnosis",
    "GradientError",
    "Layer",
    "LayerError",
    "LayerTypeError",
    "LayerValueError",
    "Report",
    "alpha_dropout",
    "as_function",
    "assert_gradients",
    "batch_norm",
    "celu",
    "check",
    "check_gradient",
    "check_strength",
    "data",
    "dense",
    "drop_path",
    "dropout",
    "elu",
    "erf_sigmoid",
    "files",
    "flatten",
    "from_function",
    "gated_mlp",
    "gaussian_dropout",
    "gaussian_noise",
    "geglu",
    "gelu",
    "glu",
    "group_norm",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "highway",
    "identity",
    "instance_norm",
    "l2_normalize",
    "layer_norm",
    "layers",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "losses",
    "maxout",
    "mish",
    "mixture_of_experts",
    "objective",
    "parallel",
    "per_example",
    "plan",
    "prelu",
    "reglu",
    "relu",
    "relu6",
    "remat",
    "repeat",
    "reshape",
    "residual",
    "rms_norm",
    "selu",
    "serial",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "spatial_dropout",
    "squeeze_and_excitation",
    "stateless",
    "swiglu",
    "swish",
    "tanh",
    "train",
    "value_and_grad",
]
