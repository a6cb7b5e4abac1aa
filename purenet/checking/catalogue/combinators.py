"""Entries of combinators around one layer."""

from __future__ import annotations

import numpy as np

from ... import combine, layers, losses
from ...layer import Layer
from .inputs import BATCH, FEATURE_ROWS, FEATURES, Row, labels, normal, pair, spread


def squash(features: int) -> Layer:
    return combine.serial(layers.dense(features), layers.gelu(), layers.dense(features), layers.tanh())


def rows() -> list[Row]:
    serial, dense = combine.serial, layers.dense
    autoencoder = serial(embed=dense(4, use_bias=False), act=layers.tanh(), head=dense(FEATURES))
    twice = serial(a=dense(FEATURES), act=layers.gelu(), b=dense(FEATURES), c=dense(FEATURES))
    fused = combine.head_objective(squash(4), losses.linear_cross_entropy(FEATURES, chunk=2))
    return [
        ("branch", combine.concatenate(serial(dense(3), layers.tanh()), dense(2)), FEATURE_ROWS),
        ("frozen", serial(dense(4), combine.frozen(squash(3)), dense(2)), FEATURE_ROWS),
        ("head_objective", fused, pair(FEATURE_ROWS, labels)),
        ("repeat, nested", combine.repeat(combine.residual(squash(FEATURES)), 5, keep="nested"), FEATURE_ROWS),
        ("repeat, reversible", combine.repeat(combine.reversible(squash(3), squash(3)), 3), normal(BATCH, 6)),
        ("reversible", combine.reversible(squash(3), squash(3)), normal(BATCH, 6)),
        ("scale_gradient", combine.scale_gradient(-0.5), spread),
        ("tied", combine.tied(autoencoder, {"head.kernel": "embed.kernel.T"}), FEATURE_ROWS),
        ("tied, three uses", combine.tied(twice, {"b.kernel": "a.kernel.T", "c.kernel": "a.kernel"}), FEATURE_ROWS),
        ("with_dtype", combine.with_dtype(squash(3), np.float64), FEATURE_ROWS),
    ]
