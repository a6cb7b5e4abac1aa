"""Rows of normalising layers and weights."""

from __future__ import annotations

import jax

from .. import combine, layers
from .draws import ROWS, SEQUENCES, normal
from .row import Row

IMAGES = normal(4, 3, 6)


def rows() -> list[Row]:
    return [*by_example(), *by_batch(), *weights()]


def by_example() -> list[Row]:
    plain = layers.layer_norm(use_scale=False, use_bias=False)
    without_space = layers.group_norm(2, dimensions=0, use_bias=False)
    return [
        Row("layer_norm", layers.layer_norm(), SEQUENCES),
        Row("layer_norm, no scale", layers.layer_norm(use_scale=False), ROWS),
        Row("layer_norm, no parameters", plain, ROWS, lambda params, x: jax.nn.standardize(x, epsilon=1e-5)),
        Row("layer_norm, large eps", layers.layer_norm(eps=1.0), ROWS),
        Row("rms_norm", layers.rms_norm(), normal(5, 7)),
        Row("rms_norm, no scale, large eps", layers.rms_norm(eps=1.0, use_scale=False), ROWS),
        Row("group_norm", layers.group_norm(3), IMAGES),
        Row("group_norm, no space, no bias", without_space, normal(6)),
        Row("instance_norm", layers.instance_norm(use_bias=False), IMAGES),
        Row("l2_normalize", layers.l2_normalize(), ROWS),
        Row("l2_normalize, another axis", layers.l2_normalize(axis=-2), normal(5, 3)),
    ]


def by_batch() -> list[Row]:
    plain = layers.batch_norm(use_scale=False, use_bias=False, unbiased=True)
    activated = layers.activated_batch_norm(negative_slope=0.2)
    activated_plain = layers.activated_batch_norm(negative_slope=0.2, use_scale=False, use_bias=False)
    rows = [
        Row("batch_norm", layers.batch_norm(), IMAGES),
        Row("batch_norm, no parameters", plain, ROWS),
        Row("activated_batch_norm", activated, IMAGES),
        Row("activated_batch_norm, no parameters", activated_plain, ROWS),
    ]
    return [row._replace(batched=False, statistics=True) for row in rows]


def weights() -> list[Row]:
    stretched = combine.spectral_norm(layers.dense(4, use_bias=False), iterations=2)
    return [
        Row("weight_standardize", combine.weight_standardize(layers.dense(4)), ROWS),
        Row("weight_norm", combine.weight_norm(layers.dense(4)), ROWS),
        Row("spectral_norm", stretched, SEQUENCES, statistics=True),
    ]
