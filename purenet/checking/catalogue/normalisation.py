"""Entries of normalising layers and weights."""

from __future__ import annotations

from ... import combine, layers
from .inputs import FEATURE_ROWS, SEQUENCES, Row, normal

IMAGES = normal(3, 4, 3, 6)


def rows() -> list[Row]:
    activated_batch_norm_plain = layers.activated_batch_norm(negative_slope=0.3, use_scale=False, use_bias=False)
    return [
        ("layer_norm", layers.layer_norm(), FEATURE_ROWS),
        ("layer_norm, no scale", layers.layer_norm(use_scale=False), FEATURE_ROWS),
        ("layer_norm, no parameters", layers.layer_norm(use_scale=False, use_bias=False), FEATURE_ROWS),
        ("layer_norm, sequences", layers.layer_norm(), SEQUENCES),
        ("layer_norm, large eps", layers.layer_norm(eps=1.0), FEATURE_ROWS),
        ("rms_norm", layers.rms_norm(), SEQUENCES),
        ("rms_norm, no scale, large eps", layers.rms_norm(eps=1.0, use_scale=False), FEATURE_ROWS),
        ("batch_norm", layers.batch_norm(), IMAGES),
        ("batch_norm, no parameters", layers.batch_norm(use_scale=False, use_bias=False), FEATURE_ROWS),
        ("activated_batch_norm", layers.activated_batch_norm(), IMAGES),
        ("activated_batch_norm, no parameters", activated_batch_norm_plain, FEATURE_ROWS),
        ("group_norm", layers.group_norm(3), IMAGES),
        ("group_norm, no space, no bias", layers.group_norm(2, dimensions=0, use_bias=False), normal(5, 6)),
        ("instance_norm", layers.instance_norm(), IMAGES),
        ("l2_normalize", layers.l2_normalize(), FEATURE_ROWS),
        ("l2_normalize, another axis", layers.l2_normalize(axis=0), FEATURE_ROWS),
        ("weight_standardize", combine.weight_standardize(layers.dense(4)), FEATURE_ROWS),
        ("weight_norm", combine.weight_norm(layers.dense(4)), FEATURE_ROWS),
        ("spectral_norm", combine.spectral_norm(layers.dense(4, use_bias=False)), SEQUENCES),
    ]
