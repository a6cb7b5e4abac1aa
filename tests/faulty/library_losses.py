"""The library's own losses with a mistake, and right ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from purenet import losses

from .binary_losses import clipped_bce_with, hinge_with, poisson_with, sigmoid_bce_with
from .class_losses import (
    CE,
    MASK,
    ONE_HOT,
    SMOOTHED,
    cosine_with,
    cross_entropy_with,
    kl_with,
    masked_cross_entropy_with,
    one_hot_cross_entropy_with,
    smoothed_cross_entropy_with,
)
from .regression_losses import (
    batch_squared_error_with,
    error_pair,
    huber,
    log_cosh,
    squared_error,
    squared_error_backward,
)
from .rows import Right, integers, normal
from .softmax import (
    COUNTS,
    DISTRIBUTIONS,
    LABELS,
    LOG_PROBABILITIES,
    PAIR,
    SIGNS,
    SOFT,
    TARGETS,
    UNIT,
    X,
    fault,
    softmax,
    softmax_backward,
    with_temperature,
)


def replaced(layer: pn.Layer, change: Callable[[Any, Any], Any]) -> pn.Layer:
    """change(dpredictions, dtargets) of what the loss's own backward gives."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, dx = layer.backward(params, x, y, residuals, dy)
        return dparams, change(*dx)

    return layer.replace(backward=backward)


FAULTS = [
    fault(
        "pn.softmax_cross_entropy: summed",
        replaced(losses.softmax_cross_entropy(), lambda dp, dt: (5 * dp, dt)),
        ("scaled",),
        r"\b5\b|example|batch",
        CE,
    ),
    fault(
        "pn.softmax_cross_entropy: last example left out",
        replaced(losses.softmax_cross_entropy(), lambda dp, dt: (dp.at[-1].set(0.0), dt)),
        ("slices",),
        "last|example|axis 0",
        CE,
    ),
    fault(
        "pn.squared_error: targets' gradient with the same sign",
        replaced(losses.squared_error("sum"), lambda dp, dt: (dp, dp)),
        ("scaled",),
        "sign|-1|negat",
        PAIR,
    ),
    fault(
        "pn.huber: predictions in float32",
        replaced(losses.huber(), lambda dp, dt: (dp.astype(jnp.float32), dt)),
        ("wrong_dtype",),
        "float32",
        PAIR,
    ),
    fault(
        "pn.poisson_nll: gradients exchanged",
        replaced(losses.poisson_nll(), lambda dp, dt: (dt, dp)),
        ("swapped_leaves",),
        "swap|exchang|order",
        (X, COUNTS),
    ),
    fault(
        "pn.cosine_distance: sign",
        replaced(losses.cosine_distance(), lambda dp, dt: (-dp, -dt)),
        ("scaled",),
        "sign|-1|negat",
        PAIR,
    ),
    fault(
        "pn.hinge: examples reversed",
        replaced(losses.hinge(), lambda dp, dt: (dp[::-1], dt)),
        ("flipped",),
        "revers|flip|order",
        (X, SIGNS),
    ),
]

SATURATED = np.array([[60.0, -40.0, 0.0], [-700.0, 5.0, 5.5]])

RIGHTS = [
    Right("softmax", (softmax, softmax_backward), X),
    Right("pn.softmax over the first axis", pn.softmax(axis=0), X),
    Right("pn.softmax of one class", pn.softmax(), normal(68, 5, 1)),
    Right("pn.softmax, saturated", pn.softmax(), SATURATED),
    Right("pn.log_softmax, saturated", pn.log_softmax(), SATURATED),
    Right("softmax with temperature", (with_temperature, lambda y, dy: softmax_backward(y, dy) / 2.5), X),
    Right("squared error", (squared_error, squared_error_backward), PAIR),
    Right("squared error an example", batch_squared_error_with(len), PAIR),
    Right("huber", error_pair(huber, lambda e: jnp.clip(e, -0.6, 0.6)), PAIR),
    Right("log_cosh", error_pair(log_cosh, jnp.tanh), PAIR),
    Right("sigmoid BCE", sigmoid_bce_with(lambda z, t: jax.nn.sigmoid(z) - t), (X, SOFT)),
    Right("clipped BCE", clipped_bce_with(), (UNIT, SOFT)),
    Right("hinge", hinge_with(), (X, SIGNS)),
    Right("poisson", poisson_with(lambda p, t: jnp.exp(p) - t), (X, COUNTS)),
    Right("cross entropy", cross_entropy_with(lambda p, t: p - t), CE),
    Right("cross entropy, one example", cross_entropy_with(lambda p, t: p - t), (X[:1], LABELS[:1])),
    Right("cross entropy of distributions", one_hot_cross_entropy_with(), ONE_HOT),
    Right("smoothed cross entropy", smoothed_cross_entropy_with(0.8, 0.2), SMOOTHED),
    Right("masked cross entropy", masked_cross_entropy_with(), (X, LABELS, MASK)),
    Right("kl", kl_with(), (LOG_PROBABILITIES, DISTRIBUTIONS)),
    Right("cosine", cosine_with(), PAIR),
    Right("pn.squared_error, float32", losses.squared_error(), (X.astype(np.float32), TARGETS.astype(np.float32))),
    Right("pn.huber", losses.huber(delta=0.6), PAIR),
    Right("pn.log_cosh, far tails", losses.log_cosh(), (X * 200, TARGETS)),
    Right("pn.sigmoid_binary_cross_entropy, far tails", losses.sigmoid_binary_cross_entropy(), (X * 300, SOFT)),
    Right("pn.binary_cross_entropy", losses.binary_cross_entropy(clip=0.1), (UNIT, SOFT)),
    Right("pn.hinge", losses.hinge("sum"), (X, SIGNS)),
    Right("pn.kl_divergence", losses.kl_divergence(), (LOG_PROBABILITIES, DISTRIBUTIONS)),
    Right("pn.cosine_distance", losses.cosine_distance(), PAIR),
    Right("pn.softmax_cross_entropy", losses.softmax_cross_entropy(), CE),
    Right(
        "pn.softmax_cross_entropy, smoothed, steps",
        losses.softmax_cross_entropy(label_smoothing=0.2),
        (normal(69, 2, 3, 7), integers(70, 2, 3, below=7)),
    ),
    Right("pn.softmax_cross_entropy with a mask", losses.softmax_cross_entropy(), (X, (LABELS, MASK))),
]
