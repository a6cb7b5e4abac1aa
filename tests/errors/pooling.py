"""Bad input to pooling."""

from __future__ import annotations

from typing import Any, cast

import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward, init

IMAGES = jnp.ones((2, 5, 6, 3))

TABLE: Table = {
    "max_pool, window above x": (
        forward(pn.serial(pn.max_pool((6, 2))), [()], IMAGES),
        ValueError,
        r"serial\[0\].max_pool: expected a window of at most the padded length 5 along spatial axis 0 of x float32 "
        r"\[2, 5, 6, 3\], got one that spans 6",
    ),
    "max_pool, dilated window above x": (
        forward(pn.max_pool((3, 3), dilation=3, padding=((0, 0), (0, 1))), (), IMAGES),
        ValueError,
        "max_pool: expected a window of at most the padded length 5 along spatial axis 0 .* got one that spans 7",
    ),
    "max_pool, window in the padding": (
        forward(pn.max_pool((2, 2), padding=2), (), IMAGES),
        ValueError,
        r"max_pool: expected every window to reach into x, got padding \(2, 2\) along spatial axis 0",
    ),
    "max_pool, rank": (
        forward(pn.max_pool((2, 2)), (), jnp.ones((5, 6))),
        ValueError,
        r"max_pool: expected x \[..., height, width, channels\], got float32 \[5, 6\]",
    ),
    "max_pool, integers": (
        forward(pn.max_pool(2), (), jnp.ones((5, 6), jnp.int32)),
        TypeError,
        "max_pool: expected x of a floating dtype, got int32",
    ),
    "max_pool, window 0": (lambda: pn.max_pool((2, 0)), ValueError, "max_pool: expected window of at least 1"),
    "max_pool, four axes": (
        lambda: pn.max_pool((2, 2, 2, 2)),
        ValueError,
        "max_pool: expected a window for 1, 2 or 3 spatial axes, got",
    ),
    "max_pool, strides 0": (
        lambda: pn.max_pool((2, 2), strides=0),
        ValueError,
        "max_pool: expected strides of at least 1, one integer or 2",
    ),
    "max_pool, strides of another rank": (
        lambda: pn.max_pool((2, 2), strides=(1, 2, 3)),
        ValueError,
        "max_pool: expected strides of at least 1",
    ),
    "avg_pool, dilation negative": (
        lambda: pn.avg_pool((2, 2), dilation=(1, -1)),
        ValueError,
        "avg_pool: expected dilation of at least 1",
    ),
    "avg_pool, padding's name": (
        lambda: pn.avg_pool((2, 2), padding="FULL"),
        ValueError,
        "avg_pool: expected padding \"SAME\", .* got 'FULL'",
    ),
    "avg_pool, padding negative": (
        lambda: pn.avg_pool((2, 2), padding=-1),
        ValueError,
        "avg_pool: expected padding of at least 0, got -1: crop x before",
    ),
    "lp_pool, p": (lambda: pn.lp_pool((2, 2), 0.5), ValueError, "lp_pool: expected a finite exponent p of at least 1"),
    "lp_pool, p infinite": (
        lambda: pn.global_lp_pool(float("inf")),
        ValueError,
        "global_lp_pool: expected a finite exponent p of at least 1, got inf",
    ),
    "global_max_pool, dimensions": (
        lambda: pn.global_max_pool(dimensions=4),
        ValueError,
        "global_max_pool: expected dimensions, the number of spatial axes, of 1, 2 or 3, got 4",
    ),
    "global_avg_pool, rank": (
        forward(pn.global_avg_pool(dimensions=3), (), jnp.ones((5, 6, 2))),
        ValueError,
        r"global_avg_pool: expected x \[..., depth, height, width, channels\]",
    ),
    "global_avg_pool, nothing": (
        forward(pn.global_avg_pool(), (), jnp.ones((2, 0, 6, 2))),
        ValueError,
        "global_avg_pool: expected at least one element to pool",
    ),
    "adaptive_avg_pool, size": (
        lambda: pn.adaptive_avg_pool((3, 0)),
        ValueError,
        "adaptive_avg_pool: expected output_size of at least 1",
    ),
    "adaptive_max_pool, sizes": (
        lambda: pn.adaptive_max_pool(cast(Any, ())),
        ValueError,
        "adaptive_max_pool: expected output_size for 1, 2 or 3 spatial axes",
    ),
    "pooling behind a bad axis at init": (
        init(pn.serial(pn.dense(3), pn.max_pool((7, 1)), pn.dense(2)), IMAGES),
        ValueError,
        r"serial\[1\].max_pool: expected a window of at most",
    ),
}
