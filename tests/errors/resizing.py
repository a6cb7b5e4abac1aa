"""Bad input to upsampling, pixel shuffling, padding and cropping."""

from __future__ import annotations

import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward

IMAGES = jnp.ones((2, 5, 6, 3))

TABLE: Table = {
    "upsample, factor and size": (
        lambda: pn.upsample(2, size=3),
        ValueError,
        "upsample: expected either a factor or a size, got factor=2 and size=3",
    ),
    "upsample, neither": (lambda: pn.upsample(), ValueError, "upsample: expected either a factor or a size"),
    "upsample, factor 0": (lambda: pn.upsample((2, 0)), ValueError, "upsample: expected a positive factor"),
    "upsample, four axes": (
        lambda: pn.upsample((2, 2, 2, 2)),
        ValueError,
        "upsample: expected a factor or size for 1, 2 or 3 spatial axes",
    ),
    "upsample, method": (
        lambda: pn.upsample(2, method="lanczos3"),
        ValueError,
        r"upsample: expected method in \('nearest', 'linear', 'cubic'\), got 'lanczos3'",
    ),
    "upsample, coordinates": (
        lambda: pn.upsample(2, coordinates="corners"),
        ValueError,
        "upsample: expected coordinates in .*, got 'corners'",
    ),
    "upsample, nothing left": (
        forward(pn.upsample((0.1, 1)), (), IMAGES),
        ValueError,
        r"upsample: expected lengths of at least 1 after resizing, got \[0, 6\]",
    ),
    "upsample, rank": (
        forward(pn.upsample((2, 2)), (), jnp.ones((5, 6))),
        ValueError,
        r"upsample: expected x \[..., height, width, channels\]",
    ),
    "pixel_shuffle, channels": (
        forward(pn.serial(pn.pixel_shuffle(2)), [()], IMAGES),
        ValueError,
        r"serial\[0\].pixel_shuffle: expected a multiple of 4 channels, got float32 \[2, 5, 6, 3\]",
    ),
    "pixel_shuffle, mode": (
        lambda: pn.pixel_shuffle(2, mode="RCD"),
        ValueError,
        'pixel_shuffle: expected mode "CRD" or "DCR", got \'RCD\'',
    ),
    "pixel_unshuffle, lengths": (
        forward(pn.pixel_unshuffle(2), (), IMAGES),
        ValueError,
        r"pixel_unshuffle: expected spatial lengths that \[2, 2\] divide, got float32 \[2, 5, 6, 3\]",
    ),
    "pixel_unshuffle, rank": (
        forward(pn.pixel_unshuffle(2), (), jnp.ones((4, 4))),
        ValueError,
        r"pixel_unshuffle: expected x \[..., height, width, channels\]",
    ),
    "pad, mode": (
        lambda: pn.pad(1, mode="circular"),
        ValueError,
        r"pad: expected mode in \('constant', .*\), got 'circular'",
    ),
    "pad, negative": (
        lambda: pn.pad((1, -1)),
        ValueError,
        r"pad: expected widths of at least 0, an int or a pair \(low, high\) for each axis, got \(1, -1\)",
    ),
    "pad, reflect": (
        forward(pn.pad((5, 0), mode="reflect"), (), IMAGES),
        ValueError,
        r'pad: expected widths of at most 4 for "reflect" along spatial axis 0 of x .*, got \(5, 5\)',
    ),
    "pad, wrap": (
        forward(pn.pad((0, (7, 0)), mode="wrap"), (), IMAGES),
        ValueError,
        'pad: expected widths of at most 6 for "wrap" along spatial axis 1',
    ),
    "pad, rank": (
        forward(pn.pad((1, 1)), (), jnp.ones((4, 4))),
        ValueError,
        r"pad: expected x \[..., height, width, channels\]",
    ),
    "crop, widths and size": (
        lambda: pn.crop(1, size=2),
        ValueError,
        "crop: expected either widths or size, got widths=1 and size=2",
    ),
    "crop, widths above x": (
        forward(pn.crop((1, 3)), (), IMAGES),
        ValueError,
        r"crop: expected a length of more than 6 along spatial axis 1, got float32 \[2, 5, 6, 3\]",
    ),
    "crop, size above x": (
        forward(pn.crop(size=(5, 7)), (), IMAGES),
        ValueError,
        "crop: expected a length of at least 7 along spatial axis 1",
    ),
}
