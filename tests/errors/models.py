"""Bad input to models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import purenet as pn
from purenet import losses, models

from .calls import Table


def started(net: pn.Layer, x: Any, bad: Any) -> Callable[[], Any]:
    """init for x, then the forward pass of something else, abstractly: nothing is computed."""

    def run() -> Any:
        key = jax.random.key(0)
        shapes = [jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), part) for part in (x, bad)]
        params, state = jax.eval_shape(net.init, key, shapes[0])
        return jax.eval_shape(net.forward, params, state, shapes[1], key)

    return run


def image(*shape: int) -> Any:
    return np.ones((2, *shape), np.float32)


VECTORS = np.ones((2, 6), np.float32)
TEXT = np.array([[0, 3, 4, 1], [2, 2, 0, 4]], np.int32)
MIXER = {"features": 5, "blocks": 1, "token_hidden": 3, "channel_hidden": 3}
VIT: dict[str, Any] = {"features": 6, "blocks": 1, "heads": 2}
TABLE: Table = {
    "mlp: no widths": (lambda: models.mlp([]), ValueError, r"mlp: expected widths of at least 1, got \[\]"),
    "mlp: a width of 0": (lambda: models.mlp([3, 0]), ValueError, r"mlp: expected widths\[1\] of at least 1, got 0"),
    "mlp: other features": (
        started(models.mlp([4, 2]), VECTORS, VECTORS[:, :5]),
        ValueError,
        r"serial.dense1.dense: expected x \[..., 6\]",
    ),
    "lenet: too small": (
        started(models.lenet(3), image(8, 8, 1), image(8, 8, 1)),
        ValueError,
        r"serial.conv2.conv: ",
    ),
    "lenet: other size": (
        started(models.lenet(3, padding="SAME"), image(8, 8, 1), image(12, 12, 1)),
        ValueError,
        r"serial.dense1.dense: expected x \[..., 64\]",
    ),
    "resnet: depth": (
        lambda: models.resnet(18, 3),
        ValueError,
        r"resnet: expected a depth 6n \+ 2 with n of at least 1, got 18",
    ),
    "resnet: shortcut": (lambda: models.resnet(8, 3, shortcut="C"), ValueError, 'resnet: expected shortcut "A"'),
    "resnet: other channels": (
        started(models.resnet(8, 3), image(8, 8, 1), image(8, 8, 3)),
        ValueError,
        r"serial.stem.serial.conv.conv: ",
    ),
    "widening_shortcut: too many channels": (
        started(models.widening_shortcut(2), image(4, 4, 3), image(4, 4, 3)),
        ValueError,
        r"widening_shortcut: expected x \[..., height, width, at most 2\], got float32 \[2, 4, 4, 3\]",
    ),
    "mlp_mixer: patches": (
        lambda: models.mlp_mixer(3, image_size=(8, 9), patch_size=2, **MIXER),
        ValueError,
        r"mlp_mixer: expected a patch_size that divides the image_size \(8, 9\), got 2",
    ),
    "mlp_mixer: other size": (
        started(models.mlp_mixer(3, image_size=8, patch_size=2, **MIXER), image(8, 8, 1), image(8, 9, 1)),
        ValueError,
        r"serial.patches.serial.embed: expected images \[..., 8, 8, channels\], got float32 \[2, 8, 9, 1\]",
    ),
    "vit: heads": (
        lambda: models.vit(3, image_size=8, patch_size=2, features=6, blocks=1, heads=4),
        ValueError,
        "vit: expected heads that divide the 6 features, got 4",
    ),
    "vit: pool": (
        lambda: models.vit(3, image_size=8, patch_size=2, pool="max", **VIT),
        ValueError,
        'vit: expected pool "token" or "mean", got \'max\'',
    ),
    "vit: smaller image": (
        started(models.vit(3, image_size=8, patch_size=2, **VIT), image(8, 8, 1), image(4, 8, 1)),
        ValueError,
        r"serial.patches.serial.embed: expected images \[..., 8, 8, channels\]",
    ),
    "class_token: one vector": (
        started(models.class_token(), VECTORS, VECTORS[0]),
        ValueError,
        r"class_token: expected x \[..., time, features\] with at least one step, got float32 \[6\]",
    ),
    "class_token: other features": (
        started(models.class_token(), VECTORS, VECTORS[:, :4]),
        ValueError,
        r"class_token: expected x \[..., 6\] for the token of this length, got float32 \[2, 4\]",
    ),
    "first_token: no steps": (
        started(models.first_token(), VECTORS, VECTORS[:0]),
        ValueError,
        r"first_token: expected x \[..., time, features\] with at least one step",
    ),
    "char_rnn: other batch": (
        started(models.char_rnn(5, features=4), TEXT, TEXT[:1]),
        ValueError,
        r"serial.rnn1.lstm: expected x with leading axes \[2\], those of the state",
    ),
    "char_rnn: no integers": (
        started(models.char_rnn(5, features=4), VECTORS, VECTORS),
        TypeError,
        "serial.embed.embedding: expected x of an integer dtype",
    ),
    "autoencoder: bottleneck": (
        lambda: models.autoencoder(5, 0),
        ValueError,
        "autoencoder: expected bottleneck of at least 1, got 0",
    ),
    "vae: other targets": (
        started(pn.objective(models.vae(6, 2), models.negative_elbo()), (VECTORS, VECTORS), (VECTORS, VECTORS[:, :5])),
        ValueError,
        r"negative_elbo.sigmoid_binary_cross_entropy: expected targets \[2, 6\] like the predictions",
    ),
    "vae: another loss": (
        started(pn.objective(models.vae(6, 2), losses.squared_error()), (VECTORS, VECTORS), (VECTORS, VECTORS)),
        TypeError,
        "squared_error: expected predictions as one array, got tuple of 2",
    ),
    "negative_elbo: of another network": (
        started(pn.objective(pn.dense(6), models.negative_elbo()), (VECTORS, VECTORS), (VECTORS, VECTORS)),
        TypeError,
        r"negative_elbo: expected predictions \(y, moments\) as `vae` gives them, got float32 \[2, 6\]",
    ),
    "negative_elbo: beta": (
        lambda: models.negative_elbo(beta=-1.0),
        ValueError,
        "negative_elbo: expected beta of at least 0, got -1.0",
    ),
    "gaussian_sample: odd": (
        started(models.gaussian_sample(), VECTORS, VECTORS[:, :5]),
        ValueError,
        r"gaussian_sample: expected x \[..., 2 latent\], means and log-variances side by side, got float32 \[2, 5\]",
    ),
    "gaussian_sample: no key": (
        lambda: models.gaussian_sample().forward((), (), VECTORS, None),
        TypeError,
        "gaussian_sample: expected a key, got None",
    ),
    "gaussian_kl: reduction": (
        lambda: models.gaussian_kl("max"),
        ValueError,
        "gaussian_kl: expected reduction in",
    ),
    "swap_axes: no such axis": (
        started(pn.swap_axes(0, 2), image(1), VECTORS),
        ValueError,
        r"swap_axes: expected x with axes 0 and 2 to exchange, got float32 \[2, 6\]",
    ),
    "swap_axes: no numbers": (
        lambda: pn.swap_axes("time", -1),  # pyright: ignore[reportArgumentType]
        TypeError,
        "swap_axes: expected first as a whole number, got str 'time'",
    ),
}
