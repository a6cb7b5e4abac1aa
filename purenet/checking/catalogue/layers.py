"""Entries of dense, random and reshaping layers."""

from __future__ import annotations

from ... import layers
from .inputs import FEATURE_ROWS, FEATURES, SEQUENCES, Row, normal


def rows() -> list[Row]:
    return [
        ("dense", layers.dense(4), FEATURE_ROWS),
        ("dense, square", layers.dense(FEATURES), FEATURE_ROWS),
        ("dense, no bias", layers.dense(4, use_bias=False), FEATURE_ROWS),
        ("dense, sequences", layers.dense(4), SEQUENCES),
        ("dense, one example", layers.dense(4), normal(FEATURES)),
        ("dropout", layers.dropout(0.3), FEATURE_ROWS),
        ("dropout, rate 0", layers.dropout(0.0), FEATURE_ROWS),
        ("flatten", layers.flatten(), SEQUENCES),
        ("flatten, last two axes", layers.flatten(-2), SEQUENCES),
        ("reshape", layers.reshape(FEATURES, -1), SEQUENCES),
        ("reshape, last axis", layers.reshape(FEATURES, 1, start=-1), SEQUENCES),
        ("swap_axes", layers.swap_axes(-1, -3), SEQUENCES),
    ]
