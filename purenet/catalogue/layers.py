"""Rows of dense, random and reshaping layers."""

from __future__ import annotations

import numpy as np

from .. import layers
from .draws import FEATURES, ROWS, SEQUENCES, affine, identity, normal, one
from .row import Row


def rows() -> list[Row]:
    return [
        Row("dense", layers.dense(11), ROWS, affine),
        Row("dense, no bias", layers.dense(4, use_bias=False), ROWS, affine),
        Row("dense, sequences", layers.dense(4), SEQUENCES, affine),
        Row("dense, one example", layers.dense(4), one(FEATURES), affine, batched=False),
        Row("flatten", layers.flatten(-2), SEQUENCES, lambda params, x: x.reshape(len(x), -1)),
        Row("reshape", layers.reshape(FEATURES, -1), SEQUENCES, lambda params, x: x.reshape(-1, 7, 2), batched=False),
        Row("reshape, last axis", layers.reshape(7, 1, start=-1), SEQUENCES, lambda params, x: x[..., None]),
        Row("swap_axes", layers.swap_axes(-1, -2), SEQUENCES, lambda params, x: np.swapaxes(x, 1, 2)),
        *random_layers(),
    ]


def random_layers() -> list[Row]:
    channels = layers.spatial_dropout(0.4)
    return [
        Row("dropout", layers.dropout(0.3), ROWS, identity, random=True),
        Row("dropout, rate 0", layers.dropout(0.0), ROWS, identity),
        Row("dropout, along an axis", layers.dropout(0.4, broadcast_dims=(0,)), ROWS, identity, random=True),
        Row("spatial_dropout", channels, normal(3, 5, 4), identity, random=True),
        Row("drop_path", layers.drop_path(0.4), ROWS, identity, random=True),
        Row("drop_path, sequences", layers.drop_path(0.4, dimensions=1), SEQUENCES, identity, random=True),
        Row("alpha_dropout", layers.alpha_dropout(0.3), ROWS, identity, random=True),
        Row("gaussian_noise", layers.gaussian_noise(0.5), ROWS, identity, random=True),
        Row("gaussian_dropout", layers.gaussian_dropout(0.3), ROWS, identity, random=True),
    ]
