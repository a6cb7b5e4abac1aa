"""Rows of convolution, pooling and resizing."""

from __future__ import annotations

import numpy as np

from .. import layers
from .draws import normal
from .row import Row

UNEVEN = ((2, 0), (-1, 3))


def rows() -> list[Row]:
    return [*convolutions(), *transposed(), *window_pools(), *whole_pools(), *resized(), *shuffled(), *borders()]


def convolutions() -> list[Row]:
    conv, depthwise = layers.conv, layers.depthwise_conv
    uneven = conv(3, (3, 2), strides=(2, 3), padding=UNEVEN, dilation=(1, 2))
    multiplied = depthwise((3, 2), multiplier=2, strides=(2, 1), padding=UNEVEN, dilation=(1, 2))
    halves = conv(4, 4, strides=2, padding="SAME_LOWER", groups=2)
    return [
        Row("conv", conv(3, (3, 3)), normal(5, 6, 2)),
        Row("conv, 1x1", conv(3, (1, 1)), normal(3, 4, 2)),
        Row("conv, strided", uneven, normal(6, 7, 2)),
        Row("conv, causal", conv(3, 3, padding="CAUSAL", dilation=2, use_bias=False), normal(5, 2)),
        Row("conv, grouped", halves, normal(7, 6)),
        Row("conv, 32 groups", conv(32, 3, groups=32), normal(4, 64)),
        Row("conv, 3d", conv(3, (2, 2, 2), padding="VALID"), normal(3, 4, 3, 2)),
        Row("depthwise_conv", depthwise((3, 3)), normal(5, 6, 3)),
        Row("depthwise_conv, strided", multiplied, normal(6, 5, 3)),
    ]


def transposed() -> list[Row]:
    conv = layers.conv_transpose
    grouped = conv(6, 3, strides=2, padding=((1, 2),), dilation=2, groups=2, output_padding=1)
    other_kernel = conv(4, 3, strides=2, padding="SAME_LOWER", groups=2, output_shape=6, transpose_kernel=True)
    return [
        Row("conv_transpose", conv(3, (3, 4), strides=(2, 1)), normal(3, 4, 2)),
        Row("conv_transpose, gaps", conv(3, 2, strides=3, padding="VALID", use_bias=False), normal(4, 2)),
        Row("conv_transpose, grouped", grouped, normal(4, 4)),
        Row("conv_transpose, kernel transposed", other_kernel, normal(4, 6)),
    ]


def window_pools() -> list[Row]:
    largest, mean = layers.max_pool, layers.avg_pool
    hanging = {"strides": 2, "padding": 1, "ceil_mode": True}
    return [
        Row("max_pool", largest((2, 2), strides=2, padding=((0, 1), (0, 0))), normal(5, 4, 2)),
        Row("max_pool, overlapping", largest((3, 3), strides=2, padding=1), normal(5, 6, 2)),
        Row("max_pool, dilated", largest(3, dilation=2), normal(7, 2)),
        Row("avg_pool", mean((3, 2), **hanging), normal(6, 6, 2)),
        Row("avg_pool, padding not counted", mean((3, 2), count_include_pad=False, **hanging), normal(5, 6, 2)),
        Row("lp_pool", layers.lp_pool((2, 3), strides=2), normal(4, 5, 2)),
        Row("lp_pool, p 3", layers.lp_pool((3, 2), 3, padding=1), normal(4, 5, 2)),
    ]


def whole_pools() -> list[Row]:
    images, rows = normal(5, 4, 2), layers.global_avg_pool(dimensions=1, keepdims=True)
    mean, largest = layers.adaptive_avg_pool, layers.adaptive_max_pool
    return [
        Row("global_max_pool", layers.global_max_pool(), images, lambda params, x: np.max(x, (1, 2))),
        Row("global_avg_pool", layers.global_avg_pool(), images, lambda params, x: np.mean(x, (1, 2))),
        Row("global_avg_pool, one axis kept", rows, images, lambda params, x: np.mean(x, 2, keepdims=True)),
        Row("global_lp_pool", layers.global_lp_pool(), images, lambda params, x: np.sqrt(np.sum(x**2, (1, 2)))),
        Row("adaptive_avg_pool", mean((3, 2)), images),
        Row("adaptive_max_pool", largest((3, 2)), images),
    ]


def resized() -> list[Row]:
    upsample, images = layers.upsample, normal(5, 4, 2)
    corners = upsample(size=(7, 3), method="linear", coordinates="align_corners")
    return [
        Row("upsample", upsample((2, 3)), normal(3, 2, 2), lambda params, x: np.repeat(np.repeat(x, 2, 1), 3, 2)),
        Row("upsample, nearest to a size", upsample(size=(7, 3)), images),
        Row("upsample, linear", upsample(size=(7, 3), method="linear"), images),
        Row("upsample, linear with corners", corners, images),
        Row("upsample, cubic", upsample((1.5, 2), method="cubic"), images),
    ]


def shuffled() -> list[Row]:
    shuffle, unshuffle = layers.pixel_shuffle, layers.pixel_unshuffle
    return [
        Row("pixel_shuffle", shuffle(2), normal(3, 2, 8)),
        Row("pixel_unshuffle", unshuffle(2), normal(4, 6, 2)),
        Row("pixel_unshuffle, blocks first", unshuffle(2, mode="DCR"), normal(4, 6, 2)),
    ]


def borders() -> list[Row]:
    widths, images = ((1, 2), (0, 3)), normal(4, 6, 2)
    crop = layers.crop(((0, 2), (1, 0)))
    return [
        Row("pad", layers.pad(widths, value=2.0), images),
        *[Row(f"pad, {mode}", layers.pad(widths, mode=mode), images) for mode in ("reflect", "edge", "wrap")],
        Row("crop", crop, images, lambda params, x: x[:, :-2, 1:]),
        Row("crop, to the middle", layers.crop(size=(3, 3)), images, lambda params, x: x[:, :3, 1:4]),
    ]
