"""Bad input to the loss that holds the output head, and to the objective that puts it behind a network."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import purenet as pn
from purenet import losses

from .calls import Table, forward, init

HIDDEN, LABELS = jnp.ones((2, 3, 6)), jnp.zeros((2, 3), int)
HEAD = losses.linear_cross_entropy(9)
KERNEL = {"kernel": jnp.ones((6, 9))}
NET = pn.head_objective(pn.dense(6), HEAD)
PARAMS = {"body": {"kernel": jnp.ones((6, 6)), "bias": jnp.ones(6)}, "head": KERNEL}


def head(hidden: Any, targets: Any, params: Any = KERNEL) -> Any:
    return forward(HEAD, params, (hidden, targets))


TABLE: Table = {
    "linear_cross_entropy: vocabulary": (
        lambda: losses.linear_cross_entropy(0),
        ValueError,
        "linear_cross_entropy: expected vocabulary of at least 1, got 0",
    ),
    "linear_cross_entropy: chunk": (
        lambda: losses.linear_cross_entropy(9, chunk=0),
        ValueError,
        "linear_cross_entropy: expected chunk of at least 1, got 0",
    ),
    "linear_cross_entropy: by": (
        lambda: losses.linear_cross_entropy(9, by="rows"),
        ValueError,
        'linear_cross_entropy: expected by "tokens" or "vocabulary", got \'rows\'',
    ),
    "linear_cross_entropy: reduction": (
        lambda: losses.linear_cross_entropy(9, reduction="none"),
        ValueError,
        "linear_cross_entropy: expected reduction in .*, got 'none'",
    ),
    "linear_cross_entropy: smoothing": (
        lambda: losses.linear_cross_entropy(9, label_smoothing=1.0),
        ValueError,
        r"linear_cross_entropy: expected label_smoothing in \[0, 1\), got 1.0",
    ),
    "linear_cross_entropy: z_loss": (
        lambda: losses.linear_cross_entropy(9, z_loss=-1e-4),
        ValueError,
        "linear_cross_entropy: expected z_loss of at least 0, got -0.0001",
    ),
    "linear_cross_entropy: softcap": (
        lambda: losses.linear_cross_entropy(9, softcap=0.0),
        ValueError,
        "linear_cross_entropy: expected softcap above 0, got 0.0",
    ),
    "linear_cross_entropy: vocabulary smaller than the ids": (
        lambda: HEAD.forward(KERNEL, (), (HIDDEN, LABELS + 9), None),
        ValueError,
        r"linear_cross_entropy: expected labels in 0..8, got 9 at \(0, 0\)",
    ),
    "linear_cross_entropy: another vocabulary's kernel": (
        head(HIDDEN, LABELS, {"kernel": jnp.ones((6, 8))}),
        ValueError,
        r"linear_cross_entropy: expected kernel \[6, 9\] from hidden .* to 9 logits, got float32 \[6, 8\]",
    ),
    "linear_cross_entropy: a bias": (
        head(HIDDEN, LABELS, KERNEL | {"bias": jnp.ones(9)}),
        ValueError,
        r"linear_cross_entropy: expected parameters \['kernel'\], got dict with \['bias', 'kernel'\]",
    ),
    "linear_cross_entropy: labels' shape": (
        head(HIDDEN, LABELS[:, 1:]),
        ValueError,
        r"linear_cross_entropy: expected labels \[2, 3\] for hidden float32 \[2, 3, 6\], got int32 \[2, 2\]",
    ),
    "linear_cross_entropy: distributions": (
        head(HIDDEN, jnp.ones((2, 3, 9))),
        TypeError,
        r"linear_cross_entropy: expected labels as an array of integers, got float32 \[2, 3, 9\]: distributions over",
    ),
    "linear_cross_entropy: a mask of classes": (
        head(HIDDEN, (LABELS, jnp.ones((2, 3, 9), bool))),
        ValueError,
        r"linear_cross_entropy: expected where as bool \[2, 3\], got bool \[2, 3, 9\]",
    ),
    "linear_cross_entropy: targets of three": (
        head(HIDDEN, (LABELS, LABELS, LABELS)),
        TypeError,
        r"linear_cross_entropy: expected labels or a pair \(labels, where\), got tuple of 3",
    ),
    "linear_cross_entropy: integers": (
        head(HIDDEN.astype(int), LABELS),
        TypeError,
        "linear_cross_entropy: expected hidden of a floating dtype",
    ),
    "linear_cross_entropy: no tokens": (
        head(HIDDEN[:0], LABELS[:0]),
        ValueError,
        r"linear_cross_entropy: expected at least one example, got an empty batch: hidden float32 \[0, 3, 6\]",
    ),
    "linear_cross_entropy: no targets": (init(HEAD, HIDDEN), TypeError, r"expected a pair \(inputs, targets\)"),
    "head_objective: width inside": (
        forward(NET, PARAMS, (jnp.ones((2, 3, 5)), LABELS)),
        ValueError,
        r"head_objective.body.dense: expected x \[..., 6\] for kernel \[6, 6\], got float32 \[2, 3, 5\]",
    ),
    "head_objective: labels' shape": (
        forward(NET, PARAMS, (HIDDEN, LABELS[:1])),
        ValueError,
        r"head_objective.head.linear_cross_entropy: expected labels \[2, 3\]",
    ),
    "head_objective: the body's parameters alone": (
        forward(NET, PARAMS["body"], (HIDDEN, LABELS)),
        ValueError,
        r"head_objective: expected parameters for \['body', 'head'\], got dict with \['bias', 'kernel'\]",
    ),
    "head_objective: no scalar": (
        forward(pn.head_objective(pn.dense(6), pn.dense(9)), PARAMS, (HIDDEN, LABELS)),
        TypeError,
        "head_objective.head.dense: expected x as one array",
    ),
    "head_objective: layer not called": (
        lambda: pn.head_objective(pn.dense(6), losses.linear_cross_entropy),  # pyright: ignore[reportArgumentType]
        TypeError,
        r"head_objective: expected head as a Layer, got.*call it, linear_cross_entropy\(\)",
    ),
}
