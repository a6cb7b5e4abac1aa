"""Entries of pooling."""

from __future__ import annotations

from ... import layers
from .inputs import Row, normal

IMAGES = normal(2, 5, 6, 3)


def window_pools() -> list[Row]:
    return [
        ("max_pool", layers.max_pool((2, 2), strides=2), normal(2, 4, 6, 3)),
        ("max_pool, overlapping", layers.max_pool((3, 2), strides=2, padding="SAME"), IMAGES),
        ("max_pool, dilated", layers.max_pool(3, dilation=2), normal(2, 7, 3)),
        ("avg_pool", layers.avg_pool((2, 2), strides=2), IMAGES),
        ("avg_pool, padding not counted", layers.avg_pool((3, 2), padding="SAME", count_include_pad=False), IMAGES),
        ("avg_pool, ceil_mode", layers.avg_pool((3, 2), strides=2, padding=1, ceil_mode=True), IMAGES),
        ("lp_pool", layers.lp_pool((2, 2), strides=2), IMAGES),
        ("lp_pool, p 3", layers.lp_pool((3, 2), 3, padding=1), IMAGES),
    ]


def whole_pools() -> list[Row]:
    return [
        ("global_max_pool", layers.global_max_pool(), IMAGES),
        ("global_avg_pool", layers.global_avg_pool(), IMAGES),
        ("global_avg_pool, one axis kept", layers.global_avg_pool(dimensions=1, keepdims=True), IMAGES),
        ("global_lp_pool", layers.global_lp_pool(), IMAGES),
        ("adaptive_avg_pool", layers.adaptive_avg_pool((3, 4)), IMAGES),
        ("adaptive_max_pool", layers.adaptive_max_pool((3, 4)), IMAGES),
    ]


def rows() -> list[Row]:
    return [*window_pools(), *whole_pools()]
