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
from .combine import (
    branch,
    frozen,
    parallel,
    per_example,
    remat,
    repeat,
    residual,
    scale_gradient,
    serial,
    spectral_norm,
    tied,
    weight_norm,
    weight_standardize,
    with_dtype,
)
from .errors import LayerError, LayerTypeError, LayerValueError
from .layer import Layer, as_function, from_function, objective, stateless, value_and_grad
from .layers import (
    alpha_dropout,
    attend,
    avg_pool,
    batch_norm,
    bidirectional,
    celu,
    conv,
    conv_transpose,
    cross_attend,
    cross_attention,
    dense,
    depthwise_conv,
    drop_path,
    dropout,
    elu,
    embedding,
    erf_sigmoid,
    flatten,
    gated_mlp,
    gaussian_dropout,
    gaussian_noise,
    geglu,
    gelu,
    global_avg_pool,
    global_lp_pool,
    global_max_pool,
    glu,
    group_norm,
    gru,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    highway,
    identity,
    instance_norm,
    l2_normalize,
    layer_norm,
    leaky_relu,
    learned_positions,
    log_sigmoid,
    log_softmax,
    lp_pool,
    lstm,
    max_pool,
    maxout,
    mish,
    mixture_of_experts,
    multi_head_attention,
    prelu,
    reglu,
    relu,
    relu6,
    reshape,
    rms_norm,
    rnn,
    rotary,
    self_attention,
    selu,
    sigmoid,
    silu,
    sinusoidal_positions,
    softmax,
    softplus,
    softsign,
    spatial_dropout,
    squeeze_and_excitation,
    stacked,
    swiglu,
    swish,
    tanh,
    without_lengths,
)
from .planning import plan
from .summary import summary

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
    "attend",
    "avg_pool",
    "batch_norm",
    "bidirectional",
    "branch",
    "celu",
    "check",
    "check_gradient",
    "check_strength",
    "conv",
    "conv_transpose",
    "cross_attend",
    "cross_attention",
    "data",
    "dense",
    "depthwise_conv",
    "drop_path",
    "dropout",
    "elu",
    "embedding",
    "erf_sigmoid",
    "files",
    "flatten",
    "from_function",
    "frozen",
    "gated_mlp",
    "gaussian_dropout",
    "gaussian_noise",
    "geglu",
    "gelu",
    "global_avg_pool",
    "global_lp_pool",
    "global_max_pool",
    "glu",
    "group_norm",
    "gru",
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
    "learned_positions",
    "log_sigmoid",
    "log_softmax",
    "losses",
    "lp_pool",
    "lstm",
    "max_pool",
    "maxout",
    "mish",
    "mixture_of_experts",
    "multi_head_attention",
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
    "rnn",
    "rotary",
    "scale_gradient",
    "self_attention",
    "selu",
    "serial",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "softmax",
    "softplus",
    "softsign",
    "spatial_dropout",
    "spectral_norm",
    "squeeze_and_excitation",
    "stacked",
    "stateless",
    "summary",
    "swiglu",
    "swish",
    "tanh",
    "tied",
    "train",
    "value_and_grad",
    "weight_norm",
    "weight_standardize",
    "with_dtype",
    "without_lengths",
]
