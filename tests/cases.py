"""The one table: a row a layer, a loss or a combination. Every property in test_properties.py runs over every row.

A new layer is one row: its constructor, the input it takes, and an independent function for its forward values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special

import purenet as pn
from purenet import losses

FEATURES = 7

Draw = Callable[[Any, int], Any]


class Case(NamedTuple):
    """`x(key, batch) -> input`; `value(params, x) -> y`, computed by something that is not purenet, or None.

    `batched`: x has a leading axis of independent examples, so that vmap over it must give the same.
    `random`: forward draws, so that it differs from predict. `reduction`: of a loss, how examples are combined.
    """

    name: str
    layer: pn.Layer
    x: Draw
    value: Callable[[Any, Any], Any] | None = None
    batched: bool = True
    random: bool = False
    reduction: str | None = None


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


ACTIVATIONS = [
    activation(pn.identity(), lambda x: x),
    activation(pn.sigmoid(), scipy.special.expit),
    activation(pn.tanh(), np.tanh),
    activation(pn.relu(), jax.nn.relu),
    activation(pn.leaky_relu(0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
    activation(pn.leaky_relu(-0.5), lambda x: jax.nn.leaky_relu(x, -0.5), name="leaky_relu_falling"),
    activation(pn.elu(1.3), lambda x: jax.nn.elu(x, 1.3)),
    activation(pn.celu(0.7), lambda x: jax.nn.celu(x, 0.7)),
    activation(pn.selu(), jax.nn.selu),
    activation(pn.gelu(), jax.nn.gelu),
    activation(pn.gelu(approximate=False), lambda x: x * scipy.special.ndtr(x), name="gelu_erf"),
    activation(pn.silu(), jax.nn.silu),
    activation(pn.mish(), jax.nn.mish),
    activation(pn.softplus(), jax.nn.softplus),
    activation(pn.softsign(), jax.nn.soft_sign),
    activation(pn.hard_sigmoid(), jax.nn.hard_sigmoid),
    activation(pn.hard_swish(), jax.nn.hard_swish),
    activation(pn.hard_tanh(), jax.nn.hard_tanh),
    activation(pn.relu6(), jax.nn.relu6),
    activation(pn.log_sigmoid(), scipy.special.log_expit),
    activation(pn.softmax(), lambda x: scipy.special.softmax(x, -1)),
    activation(pn.log_softmax(), lambda x: scipy.special.log_softmax(x, -1)),
    activation(pn.erf_sigmoid(), lambda x: scipy.special.ndtr(x * math.sqrt(2))),
]


def affine(params: Any, x: Any) -> Any:
    y = np.einsum("...i,io->...o", x, params["kernel"])
    return y + params["bias"] if "bias" in params else y


def normalised(params: Any, x: Any) -> Any:
    y = jax.nn.standardize(x, axis=-1, epsilon=1e-5)
    return y * np.asarray(params["scale"]) + np.asarray(params["bias"]) if params else y


def mlp_value(params: Any, x: Any) -> Any:
    return affine(params[2], jax.nn.gelu(affine(params[0], x)))


def block() -> pn.Layer:
    return pn.residual(pn.serial(norm=pn.layer_norm(), up=pn.dense(11), act=pn.gelu(), down=pn.dense(FEATURES)))


LAYERS = [
    Case("dense", pn.dense(11), features, affine),
    Case("dense_no_bias", pn.dense(11, use_bias=False), features, affine),
    Case("dense_sequence", pn.dense(3), sequence, affine),
    Case("layer_norm", pn.layer_norm(), features, normalised),
    Case("layer_norm_plain", pn.layer_norm(use_scale=False, use_bias=False), features, normalised),
    Case("dropout", pn.dropout(0.3), features, lambda params, x: x, random=True),
    Case("flatten", pn.flatten(-2), sequence, lambda params, x: x.reshape(len(x), -1)),
    Case("reshape", pn.reshape(7, 1, start=-1), features, lambda params, x: x.reshape(-1, 7, 1)),
]

NETWORKS = [
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
        "objective_rebuilt",
        pn.objective(pn.serial(pn.dense(FEATURES), pn.gelu()), losses.squared_error("sum")),
        pair(features, features),
        reduction="sum",
    ),
]

LOSSES = [
    mean_loss(losses.squared_error(), pair(features, features), optax.squared_error),
    Case(
        "squared_error_sum",
        losses.squared_error("sum"),
        pair(features, features),
        lambda params, x: jnp.sum(optax.squared_error(*x)),
        reduction="sum",
    ),
    Case(
        "half_squared_error",
        losses.half_squared_error("batch_mean"),
        pair(features, features),
        lambda params, x: jnp.mean(jnp.sum(optax.l2_loss(*x), -1)),
        reduction="mean",
    ),
    mean_loss(losses.absolute_error(), pair(features, features), lambda p, t: np.abs(p - t)),
    mean_loss(losses.huber(delta=0.6), pair(features, features), lambda p, t: optax.huber_loss(p, t, delta=0.6)),
    mean_loss(losses.log_cosh(), pair(wide, features), optax.log_cosh),
    mean_loss(losses.sigmoid_binary_cross_entropy(), pair(wide, open_interval), optax.sigmoid_binary_cross_entropy),
    mean_loss(
        losses.binary_cross_entropy(clip=0.1),
        pair(open_interval, open_interval),
        lambda p, t: (
            -scipy.special.xlogy(t, np.clip(p, 0.1, 0.9)) - scipy.special.xlogy(1 - t, 1 - np.clip(p, 0.1, 0.9))
        ),
    ),
    mean_loss(losses.hinge(), pair(features, signs), optax.hinge_loss),
    mean_loss(losses.poisson_nll(), pair(features, counts), lambda p, t: np.exp(p) - t * p),
    mean_loss(losses.kl_divergence(), pair(log_probabilities, probabilities), optax.kl_divergence),
    mean_loss(losses.cosine_similarity(), pair(features, features), optax.cosine_similarity),
    mean_loss(
        losses.cosine_similarity(epsilon=7.0),
        pair(features, features),
        lambda p, t: optax.cosine_similarity(p, t, epsilon=7.0),
        name="cosine_similarity_held",
    ),
    mean_loss(losses.cosine_distance(), pair(features, features), optax.cosine_distance),
    mean_loss(
        losses.softmax_cross_entropy(),
        pair(wide, labels),
        optax.softmax_cross_entropy_with_integer_labels,
        name="ce_integer",
    ),
    mean_loss(
        losses.softmax_cross_entropy(), pair(wide, probabilities), optax.softmax_cross_entropy, name="ce_one_hot"
    ),
    mean_loss(
        losses.softmax_cross_entropy(label_smoothing=0.2),
        pair(wide, labels),
        lambda z, t: optax.softmax_cross_entropy(
            z, optax.smooth_labels(jax.nn.one_hot(t, FEATURES, dtype=z.dtype), 0.2)
        ),
        name="ce_smoothed",
    ),
    mean_loss(
        losses.softmax_cross_entropy(label_smoothing=0.2),
        pair(wide, probabilities),
        lambda z, t: optax.softmax_cross_entropy(z, optax.smooth_labels(t, 0.2)),
        name="ce_smoothed_distribution",
    ),
    Case(
        "ce_masked_examples",
        losses.softmax_cross_entropy(),
        pair(wide, masked_examples),
        lambda params, x: (
            jnp.sum(optax.softmax_cross_entropy_with_integer_labels(x[0], x[1][0], where=x[1][1])) / np.sum(x[1][1])
        ),
        batched=False,
    ),
    Case(
        "ce_masked_classes",
        losses.softmax_cross_entropy("sum"),
        pair(wide, masked_classes),
        lambda params, x: jnp.sum(optax.softmax_cross_entropy_with_integer_labels(x[0], x[1][0], where=x[1][1])),
        reduction="sum",
    ),
    Case(
        "ce_ignored",
        losses.softmax_cross_entropy("sum", ignore_index=-1, label_smoothing=0.1),
        pair(wide, ignored),
        lambda params, x: jnp.sum(
            optax.softmax_cross_entropy(
                x[0], optax.smooth_labels(jax.nn.one_hot(x[1], FEATURES, dtype=x[0].dtype), 0.1)
            )
            * (x[1] >= 0)
        ),
        reduction="sum",
    ),
]

CASES = [*ACTIVATIONS, *LAYERS, *NETWORKS, *LOSSES]
