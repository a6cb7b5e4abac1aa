"""Entries of the activations."""

from __future__ import annotations

from ... import layers
from .inputs import Row, spread


def smooth_activations() -> list[Row]:
    return [
        ("identity", layers.identity(), spread),
        ("sigmoid", layers.sigmoid(), spread),
        ("tanh", layers.tanh(), spread),
        ("erf_sigmoid", layers.erf_sigmoid(), spread),
        ("gelu", layers.gelu(), spread),
        ("gelu, exact", layers.gelu(approximate=False), spread),
        ("silu", layers.silu(), spread),
        ("swish", layers.swish(), spread),
        ("mish", layers.mish(), spread),
        ("softplus", layers.softplus(), spread),
        ("softsign", layers.softsign(), spread),
        ("log_sigmoid", layers.log_sigmoid(), spread),
        ("softmax", layers.softmax(), spread),
        ("softmax, over the first axis", layers.softmax(axis=0), spread),
        ("log_softmax", layers.log_softmax(), spread),
        ("log_softmax, over the first axis", layers.log_softmax(axis=0), spread),
    ]


def kinked_activations() -> list[Row]:
    return [
        ("relu", layers.relu(), spread),
        ("relu6", layers.relu6(), spread),
        ("leaky_relu", layers.leaky_relu(), spread),
        ("leaky_relu, falling", layers.leaky_relu(-0.5), spread),
        ("elu", layers.elu(), spread),
        ("elu, alpha 1.3", layers.elu(1.3), spread),
        ("celu", layers.celu(), spread),
        ("celu, alpha 0.7", layers.celu(0.7), spread),
        ("selu", layers.selu(), spread),
        ("hard_sigmoid", layers.hard_sigmoid(), spread),
        ("hard_swish", layers.hard_swish(), spread),
        ("hard_tanh", layers.hard_tanh(), spread),
    ]


def rows() -> list[Row]:
    return [*smooth_activations(), *kinked_activations()]
