"""Everything purenet has a backward for, each with an input at which its gradient says something.

`python -m purenet check` checks these on the machine it runs on. An entry is named after its constructor, with the
variant after a comma. Inputs lie on both sides of every kink and reach into both tails; no value of them lies on a
kink. They come from NumPy, one generator an entry, so that no entry changes when another one is added, and JAX is
asked for nothing before the first check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import combine, layers, losses
from ..annotations import PyTree
from ..layer import Layer, from_function, objective

BATCH, FEATURES = 5, 7

Draw = Callable[[np.random.Generator], Any]
Row = tuple[str, Layer, Draw]


class Entry(NamedTuple):
    """One check of the catalogue: `purenet.check(target, x)`."""

    name: str
    target: Layer
    x: PyTree


def catalogue(seed: int = 0) -> list[Entry]:
    """One entry for every public layer, loss and combinator, and for the variants that take another way through it."""
    rows = [
        *smooth_activations(),
        *kinked_activations(),
        *layer_rows(),
        *elementwise_losses(),
        *vector_losses(),
        *cross_entropies(),
        *chains(),
        *fans(),
        *blocks(),
        *objectives(),
    ]
    return [Entry(name, target, draw(generator(seed, name))) for name, target, draw in rows]


def constructor(entry: Entry) -> str:
    """The public name an entry is about."""
    return entry.name.split(",")[0]


def generator(seed: int, name: str) -> np.random.Generator:
    """The source of one entry's input, which depends on no other entry."""
    return np.random.default_rng([seed, *name.encode()])


# Inputs.


def normal(*shape: int) -> Draw:
    return lambda random: random.normal(size=shape)


def spread(random: np.random.Generator) -> Any:
    """Values from -8 to 8 in equal steps, shaken and shuffled: both sides of 0, 1, 3 and 6, and both tails."""
    values = np.linspace(-8, 8, BATCH * FEATURES) + random.uniform(-0.2, 0.2, BATCH * FEATURES)
    return random.permutation(values).reshape(BATCH, FEATURES)


def pair(predictions: Draw, targets: Draw) -> Draw:
    return lambda random: (predictions(random), targets(random))


def unit_interval(random: np.random.Generator) -> Any:
    """From 0.02 to 0.98, on both sides of a clip at 0.1 and 0.9."""
    return random.permutation(np.linspace(0.02, 0.98, BATCH * FEATURES)).reshape(BATCH, FEATURES)


def hard_and_soft(random: np.random.Generator) -> Any:
    """Labels in [0, 1], half of them 0 or 1 themselves."""
    soft = random.uniform(size=(BATCH, FEATURES))
    return np.where(random.random(soft.shape) < 0.5, np.round(soft), soft)


def signs(random: np.random.Generator) -> Any:
    return random.choice([-1.0, 1.0], (BATCH, FEATURES))


def counts(random: np.random.Generator) -> Any:
    return random.integers(0, 6, (BATCH, FEATURES)).astype(float)


def distributions(random: np.random.Generator) -> Any:
    return random.dirichlet(np.ones(FEATURES), BATCH)


def log_distributions(random: np.random.Generator) -> Any:
    return np.log(random.dirichlet(np.ones(FEATURES), BATCH))


def one_hot(random: np.random.Generator) -> Any:
    return np.eye(FEATURES)[labels(random)]


def labels(random: np.random.Generator) -> Any:
    """Integer classes; the first and the last one are among them."""
    inner = random.integers(0, FEATURES, BATCH - 2)
    return random.permutation([0, FEATURES - 1, *inner]).astype(np.int32)


def sequence_labels(random: np.random.Generator) -> Any:
    return random.integers(0, FEATURES, (3, 2)).astype(np.int32)


def some_ignored(random: np.random.Generator) -> Any:
    return np.where(np.arange(BATCH) % 2 == 1, -1, labels(random)).astype(np.int32)


def masked_examples(random: np.random.Generator) -> Any:
    return labels(random), np.arange(BATCH) % 3 != 1


def masked_classes(random: np.random.Generator) -> Any:
    """Two classes are left out, another two in each example; the label's own never is."""
    chosen = labels(random)
    hidden = (chosen[:, None] + np.array([2, 4])) % FEATURES
    return chosen, ~np.any(np.arange(FEATURES) == hidden[..., None], 1)


FEATURE_ROWS = normal(BATCH, FEATURES)
SEQUENCES = normal(3, 2, FEATURES)


# Layers.


def smooth_activations() -> list[Row]:
    return [
        ("identity", layers.identity(), spread),
        ("sigmoid", layers.sigmoid(), spread),
        ("tanh", layers.tanh(), spread),
        ("erf_sigmoid", layers.erf_sigmoid(), spread),
        ("gelu", layers.gelu(), spread),
        ("gelu, exact", layers.gelu(approximate=False), spread),
        ("silu", layers.silu(), spread),
        ("swish", layers.swish(), spread),
        ("mish", layers.mish(), spread),
        ("softplus", layers.softplus(), spread),
        ("softsign", layers.softsign(), spread),
        ("log_sigmoid", layers.log_sigmoid(), spread),
        ("softmax", layers.softmax(), spread),
        ("softmax, over the first axis", layers.softmax(axis=0), spread),
        ("log_softmax", layers.log_softmax(), spread),
        ("log_softmax, over the first axis", layers.log_softmax(axis=0), spread),
    ]


def kinked_activations() -> list[Row]:
    return [
        ("relu", layers.relu(), spread),
        ("relu6", layers.relu6(), spread),
        ("leaky_relu", layers.leaky_relu(), spread),
        ("leaky_relu, falling", layers.leaky_relu(-0.5), spread),
        ("elu", layers.elu(), spread),
        ("elu, alpha 1.3", layers.elu(1.3), spread),
        ("celu", layers.celu(), spread),
        ("celu, alpha 0.7", layers.celu(0.7), spread),
        ("selu", layers.selu(), spread),
        ("hard_sigmoid", layers.hard_sigmoid(), spread),
        ("hard_swish", layers.hard_swish(), spread),
        ("hard_tanh", layers.hard_tanh(), spread),
    ]


def layer_rows() -> list[Row]:
    return [
        ("dense", layers.dense(4), FEATURE_ROWS),
        ("dense, square", layers.dense(FEATURES), FEATURE_ROWS),
        ("dense, no bias", layers.dense(4, use_bias=False), FEATURE_ROWS),
        ("dense, sequences", layers.dense(4), SEQUENCES),
        ("dense, one example", layers.dense(4), normal(FEATURES)),
        ("layer_norm", layers.layer_norm(), FEATURE_ROWS),
        ("layer_norm, no scale", layers.layer_norm(use_scale=False), FEATURE_ROWS),
        ("layer_norm, no parameters", layers.layer_norm(use_scale=False, use_bias=False), FEATURE_ROWS),
        ("layer_norm, sequences", layers.layer_norm(), SEQUENCES),
        ("layer_norm, large eps", layers.layer_norm(eps=1.0), FEATURE_ROWS),
        ("dropout", layers.dropout(0.3), FEATURE_ROWS),
        ("dropout, rate 0", layers.dropout(0.0), FEATURE_ROWS),
        ("flatten", layers.flatten(), SEQUENCES),
        ("flatten, last two axes", layers.flatten(-2), SEQUENCES),
        ("reshape", layers.reshape(FEATURES, -1), SEQUENCES),
        ("reshape, last axis", layers.reshape(FEATURES, 1, start=-1), SEQUENCES),
    ]


# Losses.


def elementwise_losses() -> list[Row]:
    wide = normal(BATCH, FEATURES)
    return [
        ("squared_error", losses.squared_error(), pair(wide, wide)),
        ("squared_error, sum", losses.squared_error("sum"), pair(wide, wide)),
        ("squared_error, batch_mean", losses.squared_error("batch_mean"), pair(wide, wide)),
        ("half_squared_error", losses.half_squared_error(), pair(wide, wide)),
        ("half_squared_error, batch_mean", losses.half_squared_error("batch_mean"), pair(wide, wide)),
        ("absolute_error", losses.absolute_error(), pair(wide, wide)),
        ("huber", losses.huber(), pair(spread, wide)),
        ("huber, delta 3", losses.huber(delta=3.0), pair(spread, wide)),
        ("log_cosh", losses.log_cosh(), pair(spread, wide)),
        ("sigmoid_binary_cross_entropy", losses.sigmoid_binary_cross_entropy(), pair(spread, hard_and_soft)),
        ("binary_cross_entropy", losses.binary_cross_entropy(), pair(unit_interval, hard_and_soft)),
        ("binary_cross_entropy, clip 0.1", losses.binary_cross_entropy(clip=0.1), pair(unit_interval, hard_and_soft)),
        ("hinge", losses.hinge(), pair(spread, signs)),
        ("poisson_nll", losses.poisson_nll(), pair(wide, counts)),
    ]


def vector_losses() -> list[Row]:
    vectors = pair(FEATURE_ROWS, FEATURE_ROWS)
    return [
        ("kl_divergence", losses.kl_divergence(), pair(log_distributions, distributions)),
        ("kl_divergence, one-hot", losses.kl_divergence(), pair(log_distributions, one_hot)),
        ("kl_divergence, sum", losses.kl_divergence("sum"), pair(log_distributions, distributions)),
        ("cosine_similarity", losses.cosine_similarity(), vectors),
        ("cosine_similarity, some lengths held", losses.cosine_similarity(epsilon=7.0), vectors),
        ("cosine_distance", losses.cosine_distance(), vectors),
        ("cosine_distance, batch_mean", losses.cosine_distance("batch_mean"), vectors),
    ]


def cross_entropies() -> list[Row]:
    loss = losses.softmax_cross_entropy
    smoothed = loss(label_smoothing=0.2)
    rows = [
        ("integer labels", loss(), pair(spread, labels)),
        ("integer labels, sum", loss("sum"), pair(spread, labels)),
        ("integer labels, batch_mean", loss("batch_mean"), pair(spread, labels)),
        ("integer labels, sequences", loss(), pair(SEQUENCES, sequence_labels)),
        ("integer labels, smoothing", smoothed, pair(spread, labels)),
        ("one-hot", loss(), pair(spread, one_hot)),
        ("distributions", loss(), pair(spread, distributions)),
        ("distributions, smoothing", smoothed, pair(spread, distributions)),
        ("where, examples", loss(), pair(spread, masked_examples)),
        ("where, classes", loss("sum"), pair(spread, masked_classes)),
        ("where, classes, smoothing", smoothed, pair(spread, masked_classes)),
        ("ignore_index", loss(ignore_index=-1), pair(spread, some_ignored)),
        ("ignore_index, smoothing", loss("sum", ignore_index=-1, label_smoothing=0.1), pair(spread, some_ignored)),
    ]
    return [(f"softmax_cross_entropy, {variant}", layer, draw) for variant, layer, draw in rows]


# Combinators.


def bottleneck() -> Layer:
    """A block whose output has the shape of its input, with values that are kept and values that are rebuilt."""
    return combine.serial(norm=layers.layer_norm(), up=layers.dense(4), act=layers.gelu(), down=layers.dense(FEATURES))


def squash() -> Layer:
    """A block whose backward reads its own output."""
    return combine.serial(layers.dense(FEATURES), layers.tanh())


def chains() -> list[Row]:
    serial, dense = combine.serial, layers.dense
    nested = serial(serial(dense(4), layers.silu()), layers.layer_norm(), dense(3))
    random = serial(dense(4), layers.gelu(), layers.dropout(0.4), dense(3), layers.softmax())
    return [
        ("serial", serial(dense(4), layers.gelu(), dense(3)), FEATURE_ROWS),
        ("serial, named", serial(up=dense(4), act=layers.tanh(), down=dense(3)), FEATURE_ROWS),
        ("serial, nested", nested, FEATURE_ROWS),
        ("serial, with dropout", random, FEATURE_ROWS),
        ("residual", combine.residual(bottleneck()), FEATURE_ROWS),
        ("residual, of what reads its output", combine.residual(squash()), FEATURE_ROWS),
    ]


def fans() -> list[Row]:
    parallel, dense = combine.parallel, layers.dense
    branches = dense(3), combine.serial(dense(3), layers.sigmoid())
    unequal = combine.serial(dense(3), layers.tanh()), layers.gelu()
    return [
        ("parallel, sum", parallel(*branches), FEATURE_ROWS),
        ("parallel, mean", parallel(*branches, combine="mean"), FEATURE_ROWS),
        ("parallel, concatenate", parallel(*unequal, combine="concatenate"), FEATURE_ROWS),
        ("parallel, concatenate examples", parallel(*branches, combine="concatenate", axis=0), FEATURE_ROWS),
        ("parallel, named", parallel(first=dense(3), second=dense(3)), FEATURE_ROWS),
        ("parallel, of rebuilt outputs", parallel(layers.tanh(), layers.softmax()), FEATURE_ROWS),
    ]


def blocks() -> list[Row]:
    remat, repeat, residual = combine.remat, combine.repeat, combine.residual
    with_dropout = combine.serial(layers.dense(4), layers.dropout(0.2), layers.tanh())
    return [
        ("repeat", repeat(residual(bottleneck()), 3), FEATURE_ROWS),
        ("repeat, of what reads its output", repeat(squash(), 3), FEATURE_ROWS),
        ("repeat, remat", repeat(remat(squash()), 2), FEATURE_ROWS),
        ("remat", remat(bottleneck()), FEATURE_ROWS),
        ("remat, with dropout", remat(with_dropout), FEATURE_ROWS),
    ]


def objectives() -> list[Row]:
    dense, serial = layers.dense, combine.serial
    regression, targets = objective(dense(3), losses.squared_error()), pair(FEATURE_ROWS, normal(BATCH, 3))
    classifier = objective(serial(dense(4), layers.relu(), dense(FEATURES)), losses.softmax_cross_entropy())
    rebuilt = objective(serial(dense(FEATURES), layers.gelu()), losses.squared_error("sum"))
    kept = objective(serial(dense(FEATURES), layers.sigmoid()), losses.binary_cross_entropy())
    return [
        ("objective", classifier, pair(FEATURE_ROWS, labels)),
        ("objective, predictions rebuilt", rebuilt, pair(FEATURE_ROWS, FEATURE_ROWS)),
        ("objective, predictions kept", kept, pair(FEATURE_ROWS, hard_and_soft)),
        ("per_example", combine.per_example(regression), targets),
        ("per_example, sum", combine.per_example(regression, reduction="sum"), targets),
        ("from_function", from_function(lambda params, x: jnp.sin(x) * x, name="from_function"), FEATURE_ROWS),
    ]
