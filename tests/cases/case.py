"""What a row of the table is, and inputs that several rows draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import purenet as pn

FEATURES = 7

Draw = Callable[[Any, int], Any]


class Case(NamedTuple):
    """`x(key, batch) -> input`; `value(params, x) -> y`, computed by something that is not purenet, or None.

    `batched`: x has a leading axis of independent examples, so that vmap over it must give the same.
    `random`: forward draws, so that it differs from predict. `reduction`: of a loss, how examples are combined.
    `statistics`: forward takes those of the batch, predict frozen ones. `bound` of the gradient's relative error in
    float64, at most 1e-12. `vacuous`: some gradients are zero by
    design. `alone`: input or output is not one floating array, so that no dense layer can stand beside it.
    """

    name: str
    layer: pn.Layer
    x: Draw
    value: Callable[[Any, Any], Any] | None = None
    batched: bool = True
    random: bool = False
    reduction: str | None = None
    bound: float = 1e-13
    statistics: bool = False
    vacuous: bool = False
    alone: bool = False


def features(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, FEATURES))


def sequence(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, 2, FEATURES))


def outputs(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, 3))


def wide(key: Any, batch: int) -> Any:
    """Inputs on both sides of every kink and well into both tails."""
    return 4 * features(key, batch)


def pair(predictions: Draw, targets: Draw) -> Draw:
    def draw(key: Any, batch: int) -> Any:
        first, second = jax.random.split(key)
        return predictions(first, batch), targets(second, batch)

    return draw


def probabilities(key: Any, batch: int) -> Any:
    return jax.nn.softmax(features(key, batch))


def log_probabilities(key: Any, batch: int) -> Any:
    return jax.nn.log_softmax(features(key, batch))


def open_interval(key: Any, batch: int) -> Any:
    return jax.random.uniform(key, (batch, FEATURES), minval=0.05, maxval=0.95)


def labels(key: Any, batch: int) -> Any:
    return jax.random.randint(key, (batch,), 0, FEATURES)


def signs(key: Any, batch: int) -> Any:
    return jnp.where(jax.random.bernoulli(key, shape=(batch, FEATURES)), 1.0, -1.0)


def counts(key: Any, batch: int) -> Any:
    return jax.random.randint(key, (batch, FEATURES), 0, 6).astype(jnp.result_type(float))


def masked_examples(key: Any, batch: int) -> Any:
    return labels(key, batch), jnp.arange(batch) % 3 != 1


def masked_classes(key: Any, batch: int) -> Any:
    return labels(key, batch) // 2, jnp.broadcast_to(jnp.arange(FEATURES)[None] < FEATURES - 2, (batch, FEATURES))


def ignored(key: Any, batch: int) -> Any:
    return jnp.where(jnp.arange(batch) % 2 == 0, labels(key, batch), -1)


def activation(layer: pn.Layer, value: Callable[[Any], Any], name: str = "") -> Case:
    return Case(name or layer.name, layer, wide, lambda params, x: value(x))


def mean_loss(layer: pn.Layer, x: Draw, value: Callable[..., Any], name: str = "") -> Case:
    return Case(name or layer.name, layer, x, lambda params, pair: jnp.mean(value(*pair)), reduction="mean")
