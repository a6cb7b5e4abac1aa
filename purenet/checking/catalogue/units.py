"""Entries of gated, mixed and other composed units, and random layers."""

from __future__ import annotations

from ... import layers
from .inputs import FEATURE_ROWS, SEQUENCES, Row, normal, spread


def gates() -> list[Row]:
    packed = normal(5, 6)
    return [
        ("glu", layers.glu(), packed),
        ("glu, over the first axis", layers.glu(axis=0), normal(4, 3)),
        ("geglu", layers.geglu(), packed),
        ("geglu, exact", layers.geglu(approximate=False), packed),
        ("swiglu", layers.swiglu(), packed),
        ("swiglu, value first", layers.swiglu(gate_first=False), packed),
        ("reglu", layers.reglu(), packed),
        ("gated_mlp", layers.gated_mlp(4), FEATURE_ROWS),
        ("gated_mlp, to other features", layers.gated_mlp(4, features=3, use_bias=True), SEQUENCES),
        ("highway", layers.highway(), FEATURE_ROWS),
        ("maxout", layers.maxout(4, 3), FEATURE_ROWS),
        ("squeeze_and_excitation", layers.squeeze_and_excitation(2), normal(2, 3, 5, 4)),
        ("squeeze_and_excitation, one axis", layers.squeeze_and_excitation(hidden=3, dimensions=1), SEQUENCES),
        ("prelu", layers.prelu(), spread),
        ("prelu, channels", layers.prelu(axes=1), spread),
    ]


def mixtures() -> list[Row]:
    mixture = layers.mixture_of_experts
    switch = mixture(3, 4, top_k=1, gated=False, renormalise=False, balance=True, z_weight=0.1)
    return [
        ("mixture_of_experts", mixture(4, 3), SEQUENCES),
        ("mixture_of_experts, plain, with biases", mixture(3, 4, gated=False, use_bias=True), FEATURE_ROWS),
        ("mixture_of_experts, with balance", switch, FEATURE_ROWS),
    ]


def random_layers() -> list[Row]:
    return [
        ("dropout, along an axis", layers.dropout(0.4, broadcast_dims=(0,)), FEATURE_ROWS),
        ("spatial_dropout", layers.spatial_dropout(0.4), normal(2, 3, 5, 4)),
        ("drop_path", layers.drop_path(0.4), FEATURE_ROWS),
        ("drop_path, sequences", layers.drop_path(0.4, dimensions=1), SEQUENCES),
        ("alpha_dropout", layers.alpha_dropout(0.3), FEATURE_ROWS),
        ("gaussian_noise", layers.gaussian_noise(0.5), FEATURE_ROWS),
        ("gaussian_dropout", layers.gaussian_dropout(0.3), FEATURE_ROWS),
    ]


def rows() -> list[Row]:
    return [*gates(), *mixtures(), *random_layers()]
