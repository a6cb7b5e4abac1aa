"""Entries of convolutions and transposed convolutions."""

from __future__ import annotations

from ... import layers
from .inputs import Row, normal

UNEVEN = ((2, 0), (-1, 3))


def rows() -> list[Row]:
    images, steps = normal(2, 6, 5, 4), normal(2, 5, 4)
    return [
        ("conv", layers.conv(3, (3, 3)), images),
        ("conv, strided", layers.conv(3, (3, 2), strides=(2, 3), padding=UNEVEN, dilation=(1, 2)), images),
        ("conv, causal", layers.conv(3, 3, padding="CAUSAL", dilation=2), steps),
        ("conv, grouped", layers.conv(6, 3, strides=2, groups=2), steps),
        ("depthwise_conv", layers.depthwise_conv((3, 3)), images),
        ("depthwise_conv, strided", layers.depthwise_conv(3, multiplier=2, strides=2), steps),
        ("conv_transpose", layers.conv_transpose(3, (3, 3), strides=(2, 1)), images),
        ("conv_transpose, grouped", layers.conv_transpose(6, 3, strides=2, padding=1, groups=2), steps),
        ("conv_transpose, kernel transposed", layers.conv_transpose(3, 2, strides=3, transpose_kernel=True), steps),
    ]
