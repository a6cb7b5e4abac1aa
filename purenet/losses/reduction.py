"""From one value an element or an example to the loss: y = sum(values) / divisor, dvalues = dy / divisor each.

    "sum"         divisor 1
    "mean"        the number of values
    "batch_mean"  the number of examples: everything but the last axis

For squared errors of predictions [batch, features] the three are the summed, the averaged and the batch-averaged
squared error. Where a loss has one value an example already (cross entropy), "mean" and "batch_mean" agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ..annotations import Array, Float
from ..errors import LayerTypeError, LayerValueError
from ..layer import Layer, Shaped
from ..precision import widen
from ..stateless import stateless
from ..static import Static
from ..validation import check_floating, describe, pair

Floats = Float[Array, "..."]
REDUCTIONS = ("mean", "sum", "batch_mean")


def reduce_forward(values: Floats, divisor: int | Array) -> Float[Array, ""]:
    return jnp.sum(values) / divisor


def reduce_backward(dy: Float[Array, ""], divisor: int | Array, shape: tuple[int, ...]) -> Floats:
    # y = sum(values) / divisor
    return jnp.broadcast_to(dy / divisor, shape)


def divisor_of(reduction: str, shape: tuple[int, ...], per_example: bool) -> int:
    """By what the sum of values of this shape is divided; `per_example`: there is no axis of features among them."""
    if reduction == "sum":
        return 1
    return math.prod(shape if reduction == "mean" or per_example else shape[:-1])


def loss_layer(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., tuple[Floats, Floats]],
    reduction: str,
    *,
    per_example: bool = False,
    keeps: tuple[str, ...] = (),
) -> Layer:
    """The layer of a loss from its unreduced twins; its input is the pair (predictions, targets) of equal shapes.

    forward(predictions, targets) -> values                   of the predictions' shape, or without the last axis
    backward(predictions, targets, dvalues) -> (dpredictions, dtargets)

    With `keeps`, which says what it holds, forward -> (values, residual) and backward(residual, dvalues).

    The arithmetic is at least float32; the loss has the dtype of the predictions, each gradient that of its own.
    """
    check_reduction(name, reduction)

    def layer_forward(x: tuple[Floats, Floats]) -> Any:
        predictions, targets = pair(x)
        check_predictions(predictions)
        check_targets(predictions, targets)
        result = forward(widen(predictions), widen(targets))
        values, residual = result if keeps else (result, None)
        y = reduce_forward(values, divisor_of(reduction, values.shape, per_example)).astype(predictions.dtype)
        facts = Static((predictions.shape, predictions.dtype, targets.dtype))
        return (y, (residual, facts)) if keeps else y

    def layer_backward(given: Any, dy: Float[Array, ""]) -> tuple[Floats, Floats]:
        if keeps:
            residual, facts = given
            shape, *dtypes = facts.value
            reads = (residual,)
        else:
            predictions, targets = given
            shape, dtypes = predictions.shape, [predictions.dtype, targets.dtype]
            reads = widen(predictions), widen(targets)
        shape = shape[:-1] if per_example else shape
        dvalues = reduce_backward(widen(dy), divisor_of(reduction, shape, per_example), shape)
        dpredictions, dtargets = backward(*reads, dvalues)
        return dpredictions.astype(dtypes[0]), dtargets.astype(dtypes[1])

    return stateless(layer_forward, layer_backward, name=name, needs=() if keeps else ("x",), keeps=keeps)


def check_reduction(name: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: expected reduction in {REDUCTIONS}, got {reduction!r}")


def check_predictions(predictions: Shaped, what: str = "predictions") -> None:
    """Raise unless there is something to take a mean of."""
    check_floating(predictions, what)
    if predictions.size == 0:
        raise LayerValueError(f"expected at least one example, got an empty batch: {what} {describe(predictions)}")


def check_targets(predictions: Floats, targets: Floats) -> None:
    if not hasattr(targets, "dtype") or not jnp.issubdtype(targets.dtype, jnp.floating):
        raise LayerTypeError(f"expected targets of a floating dtype, got {describe(targets)}: convert with .astype")
    if predictions.shape != targets.shape:
        raise LayerValueError(
            f"expected targets {list(predictions.shape)} like the predictions, got {describe(targets)}"
        )
