"""Entries of upsampling, pixel shuffling, padding and cropping."""

from __future__ import annotations

from ... import layers
from .inputs import Row, normal

IMAGES = normal(2, 4, 6, 3)


def rows() -> list[Row]:
    return [
        ("upsample", layers.upsample((2, 2)), IMAGES),
        ("upsample, nearest to a size", layers.upsample(size=(7, 3)), IMAGES),
        ("upsample, linear", layers.upsample((2, 2), method="linear"), IMAGES),
        (
            "upsample, linear with corners",
            layers.upsample(size=(7, 3), method="linear", coordinates="align_corners"),
            IMAGES,
        ),
        ("upsample, cubic", layers.upsample((1.5, 2), method="cubic"), IMAGES),
        ("pixel_shuffle", layers.pixel_shuffle(2), normal(2, 3, 2, 8)),
        ("pixel_unshuffle", layers.pixel_unshuffle(2), IMAGES),
        ("pad", layers.pad(((1, 2), 1)), IMAGES),
        ("pad, reflect", layers.pad(((1, 2), (0, 3)), mode="reflect"), IMAGES),
        ("pad, edge", layers.pad(((1, 2), (0, 3)), mode="edge"), IMAGES),
        ("pad, wrap", layers.pad(((1, 2), (0, 3)), mode="wrap"), IMAGES),
        ("crop", layers.crop(((1, 0), 2)), IMAGES),
        ("crop, to the middle", layers.crop(size=(3, 3)), IMAGES),
    ]
