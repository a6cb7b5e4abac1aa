"""Bad input to gated, mixed and other composed units, and random layers."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward, fresh, init, params_of

X = jnp.ones((4, 6))
IMAGES = jnp.ones((2, 3, 3, 8))
MIXTURE = pn.mixture_of_experts(4, 5)
RATE = r": expected a rate in \[0, 1\), the part that is dropped, got"


GATES: Table = {
    "glu of an odd axis": (
        forward(pn.glu(), (), jnp.ones((4, 5))),
        ValueError,
        r"glu: expected gate and value, an even number, along axis -1, got float32 \[4, 5\]",
    ),
    "swiglu along no axis": (forward(pn.swiglu(axis=2), (), X), ValueError, "swiglu: expected gate and value.* axis 2"),
    "reglu of integers": (forward(pn.reglu(), (), jnp.ones((4, 6), int)), TypeError, "reglu: expected x of a floating"),
    "gated_mlp's activation": (
        lambda: pn.gated_mlp(4, activation="swish"),
        ValueError,
        r"gated_mlp: expected activation in \['gelu', .*\], got 'swish'",
    ),
    "gated_mlp without hidden features": (
        lambda: pn.gated_mlp(0),
        ValueError,
        "gated_mlp: expected hidden of at least 1, got 0",
    ),
    "gated_mlp of a number": (init(pn.gated_mlp(4), jnp.float32(1)), ValueError, "gated_mlp: expected x .*features"),
    "gated_mlp of another width": (
        fresh(pn.gated_mlp(4), X, jnp.ones((4, 5))),
        ValueError,
        r"gated_mlp.serial.up.dense: expected x \[..., 6\]",
    ),
}

MIXTURES: Table = {
    "mixture_of_experts with top_k above the experts": (
        lambda: pn.mixture_of_experts(4, 5, top_k=5),
        ValueError,
        "mixture_of_experts: expected top_k of at most the 4 experts, got 5",
    ),
    "mixture_of_experts with top_k 0": (
        lambda: pn.mixture_of_experts(4, 5, top_k=0),
        ValueError,
        r"mixture_of_experts: expected top_k of at least 1, got 0",
    ),
    "mixture_of_experts without experts": (
        lambda: pn.mixture_of_experts(0, 5),
        ValueError,
        "mixture_of_experts: expected experts of at least 1, got 0",
    ),
    "mixture_of_experts with half a loss": (
        lambda: pn.mixture_of_experts(4, 5, z_weight=0.1),
        ValueError,
        "mixture_of_experts: expected balance=True with z_weight",
    ),
    "mixture_of_experts of another width": (
        fresh(MIXTURE, X, jnp.ones((4, 5))),
        ValueError,
        r"mixture_of_experts: expected router kernel \[5, 4\] for x float32 \[4, 5\], got float32 \[6, 4\]",
    ),
    "mixture_of_experts with another number of experts": (
        forward(MIXTURE, params_of(pn.mixture_of_experts(3, 5)), X),
        ValueError,
        r"mixture_of_experts: expected router kernel \[6, 4\]",
    ),
    "mixture_of_experts with biases it has not": (
        forward(MIXTURE, params_of(pn.mixture_of_experts(4, 5, use_bias=True)), X),
        ValueError,
        r"mixture_of_experts: expected parameters router {kernel}, up {kernel}, down {kernel}",
    ),
    "mixture_of_experts of integers": (
        init(MIXTURE, jnp.ones((4, 6), int)),
        TypeError,
        "mixture_of_experts: expected x",
    ),
}

UNITS: Table = {
    "squeeze_and_excitation with a reduction that does not divide": (
        init(pn.squeeze_and_excitation(3), IMAGES),
        ValueError,
        r"squeeze_and_excitation: expected channels that reduction 3 divides, got float32 \[2, 3, 3, 8\]",
    ),
    "squeeze_and_excitation of too few axes": (
        init(pn.squeeze_and_excitation(2), jnp.ones((3, 8))),
        ValueError,
        r"squeeze_and_excitation: expected x \[..., height, width, channels\]",
    ),
    "squeeze_and_excitation of other channels": (
        fresh(pn.squeeze_and_excitation(2), IMAGES, IMAGES[..., :4]),
        ValueError,
        r"squeeze_and_excitation.squeeze.dense: expected a kernel to 2 features",
    ),
    "squeeze_and_excitation's gate": (
        lambda: pn.squeeze_and_excitation(2, gate="step"),
        ValueError,
        "squeeze_and_excitation: expected activation in",
    ),
    "highway of another width": (
        fresh(pn.highway(), X, jnp.ones((4, 5))),
        ValueError,
        r"highway.transform.dense: expected a kernel to 5 features, got kernel float32 \[6, 6\]",
    ),
    "highway without a gate": (
        forward(pn.highway(), {"transform": {}}, X),
        ValueError,
        r"highway: expected parameters \['gate', 'transform'\]",
    ),
    "maxout without pieces": (
        lambda: pn.maxout(3, 0),
        ValueError,
        "maxout: expected pieces of at least 1, got 0",
    ),
    "maxout of another width": (
        fresh(pn.maxout(3, 2), X, jnp.ones((4, 5))),
        ValueError,
        r"maxout: expected x \[..., 6\] for kernel \[6, 2, 3\] and 2 pieces of 3 features, got float32 \[4, 5\]",
    ),
    "prelu of other channels": (
        fresh(pn.prelu(axes=1), X, jnp.ones((4, 5))),
        ValueError,
        r"prelu: expected a slope of the last 1 axes of x float32 \[4, 5\], got float32 \[6\]",
    ),
    "prelu of too few axes": (init(pn.prelu(axes=3), X), ValueError, "prelu: expected x with at least 3 axes"),
    "prelu's axes": (lambda: pn.prelu(axes=-1), ValueError, "prelu: expected axes of at least 0"),
}

RANDOM: Table = {
    "spatial_dropout's rate": (lambda: pn.spatial_dropout(1.0), ValueError, f"spatial_dropout{RATE} 1.0"),
    "spatial_dropout of too few axes": (
        forward(pn.spatial_dropout(0.5), (), X, key=jax.random.key(0)),
        ValueError,
        r"spatial_dropout: expected x with 2 spatial axes and channels, got float32 \[4, 6\]",
    ),
    "spatial_dropout's dimensions": (
        lambda: pn.spatial_dropout(0.5, dimensions=-1),
        ValueError,
        "spatial_dropout: expected dimensions of at least 0, got -1",
    ),
    "drop_path's rate": (lambda: pn.drop_path(-0.1), ValueError, f"drop_path{RATE} -0.1"),
    "drop_path of one example": (
        forward(pn.drop_path(0.5), (), X[0], key=jax.random.key(0)),
        ValueError,
        r"drop_path: expected x \[examples, ...\], got float32 \[6\]: for one example pass dimensions=",
    ),
    "drop_path of too few axes": (
        forward(pn.drop_path(0.5, dimensions=2), (), X, key=jax.random.key(0)),
        ValueError,
        "drop_path: expected x with at least 3 axes an example",
    ),
    "drop_path without key": (forward(pn.drop_path(0.5), (), X), TypeError, "drop_path: expected a key, got None"),
    "alpha_dropout's rate": (lambda: pn.alpha_dropout(2.0), ValueError, f"alpha_dropout{RATE} 2.0"),
    "dropout along no axis": (
        forward(pn.dropout(0.5, broadcast_dims=(2,)), (), X, key=jax.random.key(0)),
        ValueError,
        r"dropout: expected x with the axes \[2\] of broadcast_dims, got float32 \[4, 6\]",
    ),
    "dropout with an untyped key": (
        forward(pn.dropout(0.5), (), X, key=jnp.zeros(2, jnp.uint32)),
        TypeError,
        r"dropout: expected a typed key from jax.random.key, got uint32 \[2\]",
    ),
    "gaussian_noise below 0": (
        lambda: pn.gaussian_noise(-1.0),
        ValueError,
        "gaussian_noise: expected stddev of at least 0, got -1.0",
    ),
    "gaussian_noise without key": (
        forward(pn.gaussian_noise(1.0), (), X),
        TypeError,
        "gaussian_noise: expected a key, got None",
    ),
    "gaussian_dropout's rate": (
        lambda: pn.gaussian_dropout(cast(Any, float("nan"))),
        ValueError,
        "gaussian_dropout: expected rate as a number, got nan",
    ),
    "gaussian_dropout of integers": (
        forward(pn.gaussian_dropout(0.5), (), jnp.ones(3, int), key=jax.random.key(0)),
        TypeError,
        "gaussian_dropout: expected x of a floating dtype",
    ),
}

TABLE: Table = GATES | MIXTURES | UNITS | RANDOM
