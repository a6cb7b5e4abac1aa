"""Rows of combinations of layers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import purenet as pn
from purenet import losses

from .case import FEATURES, Case, features, labels, outputs, pair
from .layers import affine, block, mlp_value

ROWS = [
    Case("serial", pn.serial(pn.dense(11), pn.gelu(), pn.dense(3)), features, mlp_value),
    Case("serial_named", pn.serial(up=pn.dense(11), act=pn.tanh(), down=pn.dense(3)), features),
    Case("serial_nested", pn.serial(pn.serial(pn.dense(11), pn.silu()), pn.layer_norm(), pn.dense(3)), features),
    Case(
        "serial_random",
        pn.serial(pn.dense(11), pn.gelu(), pn.dropout(0.4), pn.dense(3), pn.softmax()),
        features,
        random=True,
    ),
    Case("residual", block(), features),
    Case("residual_output", pn.residual(pn.serial(pn.dense(FEATURES), pn.tanh())), features),
    Case("parallel_sum", pn.parallel(pn.dense(3), pn.serial(pn.dense(3), pn.sigmoid())), features),
    Case("parallel_mean", pn.parallel(a=pn.dense(3), b=pn.dense(3), combine="mean"), features),
    Case(
        "parallel_concatenate",
        pn.parallel(pn.serial(pn.dense(3), pn.tanh()), pn.gelu(), combine="concatenate"),
        features,
    ),
    Case("repeat", pn.repeat(block(), 3), features),
    Case("repeat_output", pn.repeat(pn.serial(pn.dense(FEATURES), pn.sigmoid()), 3), features),
    Case("repeat_remat", pn.repeat(pn.remat(block()), 3), features),
    Case("remat_random", pn.remat(pn.serial(pn.dense(11), pn.dropout(0.2), pn.tanh())), features, random=True),
    Case(
        "from_function", pn.from_function(lambda params, x: jnp.sin(x) * x), features, lambda params, x: np.sin(x) * x
    ),
    Case(
        "per_example",
        pn.per_example(pn.objective(pn.dense(3), losses.squared_error())),
        pair(features, outputs),
        lambda params, x: jnp.mean(jnp.square(affine(params, x[0]) - x[1])),
        batched=False,
    ),
    Case(
        "objective",
        pn.objective(pn.serial(pn.dense(11), pn.relu(), pn.dense(FEATURES)), losses.softmax_cross_entropy()),
        pair(features, labels),
        reduction="mean",
    ),
    Case(
        "objective_recomputed",
        pn.objective(pn.serial(pn.dense(FEATURES), pn.gelu()), losses.squared_error("sum")),
        pair(features, features),
        reduction="sum",
    ),
]
