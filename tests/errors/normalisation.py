"""Bad input to normalising layers and weights."""

from __future__ import annotations

from typing import Any, cast

import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward, fresh, init, params_of

ROWS = jnp.ones((4, 6))
IMAGES = jnp.ones((2, 5, 5, 6))
BATCH_STATE = {"mean": jnp.zeros(6), "var": jnp.ones(6)}
AFFINE = {"scale": jnp.ones(6), "bias": jnp.zeros(6)}


def constructed(make: Any, *args: Any, **options: Any) -> Any:
    return lambda: make(*args, **options)


TABLE: Table = {
    "rms_norm eps": (
        constructed(pn.rms_norm, eps=-1e-6),
        ValueError,
        "rms_norm: expected eps of at least 0, got -1e-06",
    ),
    "rms_norm features": (
        fresh(pn.rms_norm(), ROWS, jnp.ones((4, 5))),
        ValueError,
        r"rms_norm: expected x \[..., 6\] for scale \[6\], got float32 \[4, 5\]",
    ),
    "rms_norm scalar": (init(pn.rms_norm(), jnp.float32(1)), ValueError, r"rms_norm: expected x \[..., features\]"),
    "rms_norm bias": (
        forward(pn.rms_norm(), AFFINE, ROWS),
        ValueError,
        r"rms_norm: expected parameters \['scale'\], got dict with \['bias', 'scale'\]",
    ),
    "batch_norm momentum": (
        constructed(pn.batch_norm, momentum=1.5),
        ValueError,
        r"batch_norm: expected a momentum in \[0, 1\], the part of the old that stays, got 1.5",
    ),
    "batch_norm momentum nan": (
        constructed(pn.batch_norm, momentum=float("nan")),
        ValueError,
        "batch_norm: expected momentum as a number, got nan",
    ),
    "batch_norm eps": (constructed(pn.batch_norm, eps=-1.0), ValueError, "batch_norm: expected eps of at least 0, got"),
    "batch_norm features": (
        fresh(pn.batch_norm(), ROWS, jnp.ones((4, 5))),
        ValueError,
        r"batch_norm: expected x \[..., 6\] for bias \[6\], got float32 \[4, 5\]",
    ),
    "batch_norm integers": (
        fresh(pn.batch_norm(), ROWS, jnp.ones((4, 6), int)),
        TypeError,
        "batch_norm: expected x of a floating dtype",
    ),
    "batch_norm scalar": (
        init(pn.batch_norm(), jnp.float32(1)),
        ValueError,
        r"batch_norm: expected x \[..., channels\]",
    ),
    "batch_norm one example": (
        fresh(pn.serial(pn.batch_norm()), ROWS, ROWS[:1]),
        ValueError,
        r"serial\[0\].batch_norm: expected at least 2 values a channel in training, got 1 from float32 \[1, 6\]: "
        "take a larger batch, or call predict",
    ),
    "batch_norm no example": (
        fresh(pn.batch_norm(), ROWS, ROWS[:0]),
        ValueError,
        "expected at least 2 values .* got 0",
    ),
    "batch_norm without state": (
        forward(pn.batch_norm(), AFFINE, ROWS),
        ValueError,
        r"batch_norm: expected a state \['mean', 'var'\] as init gives it, got tuple of 0",
    ),
    "batch_norm predict without state": (
        lambda: pn.batch_norm().predict(AFFINE, (), ROWS),
        ValueError,
        r"batch_norm: expected a state \['mean', 'var'\]",
    ),
    "batch_norm another's state": (
        forward(pn.batch_norm(), AFFINE, ROWS, {"mean": jnp.zeros(5), "var": jnp.ones(5)}),
        ValueError,
        r"batch_norm: expected x \[..., 5\] for the state's mean, got float32 \[4, 6\]",
    ),
    "batch_norm without its axis": (
        forward(pn.batch_norm(axis_name="shards"), AFFINE, ROWS, BATCH_STATE),
        NameError,
        "shards",
    ),
    "activated_batch_norm slope": (
        constructed(pn.activated_batch_norm, negative_slope=0.0),
        ValueError,
        r"activated_batch_norm: expected a negative_slope from 0.001 to 1, which can be undone, got 0.0",
    ),
    "activated_batch_norm momentum": (
        constructed(pn.activated_batch_norm, momentum=2),
        ValueError,
        r"activated_batch_norm: expected a momentum in \[0, 1\]",
    ),
    "activated_batch_norm features": (
        fresh(pn.activated_batch_norm(), ROWS, jnp.ones((4, 5))),
        ValueError,
        r"activated_batch_norm: expected x \[..., 6\] for bias \[6\], got float32 \[4, 5\]",
    ),
    "activated_batch_norm one example": (
        fresh(pn.activated_batch_norm(), ROWS, ROWS[:1]),
        ValueError,
        "activated_batch_norm: expected at least 2 values a channel in training, got 1",
    ),
    "group_norm groups": (constructed(pn.group_norm, 0), ValueError, "group_norm: expected groups of at"),
    "group_norm groups float": (
        constructed(pn.group_norm, 2.0),
        TypeError,
        "group_norm: expected groups as a whole number, got float 2.0",
    ),
    "group_norm dimensions": (
        constructed(pn.group_norm, 2, dimensions=-1),
        ValueError,
        "group_norm: expected dimensions of at least 0, got -1",
    ),
    "group_norm eps": (constructed(pn.group_norm, 2, eps=float("nan")), ValueError, "group_norm: expected eps as a"),
    "group_norm does not divide": (
        init(pn.group_norm(4), IMAGES),
        ValueError,
        r"group_norm: expected channels that 4 groups divide, got float32 \[2, 5, 5, 6\]",
    ),
    "group_norm few axes": (
        init(pn.group_norm(2), ROWS),
        ValueError,
        r"group_norm: expected x \[..., spatial, channels\] with 2 spatial axes, got float32 \[4, 6\]: "
        "say how many with dimensions=",
    ),
    "group_norm features": (
        fresh(pn.group_norm(2), IMAGES, IMAGES[..., :4]),
        ValueError,
        r"group_norm: expected x \[..., 6\] for bias \[6\], got float32 \[2, 5, 5, 4\]",
    ),
    "group_norm integers": (
        init(pn.group_norm(2), jnp.ones((2, 5, 5, 6), int)),
        TypeError,
        "group_norm: expected x of a",
    ),
    "instance_norm few axes": (
        init(pn.instance_norm(dimensions=3), jnp.ones((5, 5, 6))),
        ValueError,
        "instance_norm: expected x .* with 3 spatial axes",
    ),
    "instance_norm eps": (
        constructed(pn.instance_norm, eps=-1),
        ValueError,
        "instance_norm: expected eps of at least 0",
    ),
    "l2_normalize axis": (
        forward(pn.l2_normalize(axis=2), (), ROWS),
        ValueError,
        r"l2_normalize: expected x with an axis 2, got float32 \[4, 6\]",
    ),
    "l2_normalize axes": (
        constructed(pn.l2_normalize, axis=(0, 1)),
        TypeError,
        "l2_normalize: expected axis as a whole number, got tuple",
    ),
    "l2_normalize eps": (
        constructed(pn.l2_normalize, eps=0.0),
        ValueError,
        "l2_normalize: expected a finite eps of at least 1e-18, got 0.0",
    ),
    "weight_standardize no kernel": (
        init(pn.serial(pn.weight_standardize(pn.layer_norm())), ROWS),
        ValueError,
        r"serial\[0\].weight_standardize: expected a layer with a kernel \[..., in, out\], like dense, "
        r"got layer_norm with dict with \['bias', 'scale'\]",
    ),
    "weight_standardize no layer": (
        constructed(pn.weight_standardize, cast(Any, pn.dense)),
        TypeError,
        "weight_standardize: expected layer as a Layer, got function",
    ),
    "weight_standardize eps": (
        constructed(pn.weight_standardize, pn.dense(3), eps=-1),
        ValueError,
        "weight_standardize: expected eps of at least 0",
    ),
    "weight_standardize features": (
        fresh(pn.weight_standardize(pn.dense(3)), ROWS, jnp.ones((4, 5))),
        ValueError,
        r"weight_standardize.dense: expected x \[..., 6\] for kernel \[6, 3\]",
    ),
    "weight_norm no kernel": (init(pn.weight_norm(pn.tanh()), ROWS), ValueError, "got tanh with tuple of 0"),
    "weight_norm of dense's parameters": (
        forward(pn.weight_norm(pn.dense(3)), params_of(pn.dense(3), ROWS), ROWS),
        ValueError,
        r"weight_norm: expected parameters with \['scale'\], got dict with \['bias', 'kernel'\]",
    ),
    "weight_norm twice": (
        init(pn.weight_norm(pn.weight_norm(pn.dense(3))), ROWS),
        ValueError,
        "weight_norm: expected a layer without a parameter scale, got weight_norm",
    ),
    "spectral_norm iterations": (
        constructed(pn.spectral_norm, pn.dense(3), iterations=0),
        ValueError,
        "spectral_norm: expected iterations of at least 1, got 0",
    ),
    "spectral_norm no kernel": (
        forward(pn.spectral_norm(pn.dense(3)), {"bias": jnp.ones(3)}, ROWS, {"kernel": {}, "inside": ()}),
        ValueError,
        r"spectral_norm: expected a layer with a kernel .* got dense with dict with \['bias'\]",
    ),
    "spectral_norm without state": (
        forward(pn.spectral_norm(pn.dense(3)), params_of(pn.dense(3), ROWS), ROWS),
        ValueError,
        r"spectral_norm: expected a state \['inside', 'kernel'\] as init gives it, got tuple of 0",
    ),
}
