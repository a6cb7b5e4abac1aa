"""Entries of combinations of layers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ... import combine, layers, losses
from ...functions import from_function
from ...layer import Layer
from ...models.gpt import GPTConfig, gpt, gpt_objective
from ...objective import objective
from .inputs import BATCH, FEATURE_ROWS, FEATURES, Draw, Row, hard_and_soft, labels, normal, pair


def bottleneck() -> Layer:
    """A block whose output has the shape of its input, with values that are kept and values that are recomputed."""
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
        ("parallel, of recomputed outputs", parallel(layers.tanh(), layers.softmax()), FEATURE_ROWS),
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
    recomputed = objective(serial(dense(FEATURES), layers.gelu()), losses.squared_error("sum"))
    kept = objective(serial(dense(FEATURES), layers.sigmoid()), losses.binary_cross_entropy())
    return [
        ("objective", classifier, pair(FEATURE_ROWS, labels)),
        ("objective, predictions recomputed", recomputed, pair(FEATURE_ROWS, FEATURE_ROWS)),
        ("objective, predictions kept", kept, pair(FEATURE_ROWS, hard_and_soft)),
        ("per_example", combine.per_example(regression), targets),
        ("per_example, sum", combine.per_example(regression, reduction="sum"), targets),
        ("from_function", from_function(lambda params, x: jnp.sin(x) * x, name="from_function"), FEATURE_ROWS),
    ]


def text(*shape: int) -> Draw:
    return lambda random: random.integers(0, 9, shape).astype(np.int32)


def language_models() -> list[Row]:
    """GPT-2 whole, and Llama with its loss."""
    gpt2 = GPTConfig(vocab_size=9, context_length=6, features=6, blocks=2, heads=2)
    llama = gpt2._replace(kv_heads=1, norm="rms_norm", activation="swiglu", hidden=4, qk_norm=True, use_bias=False)
    llama = llama._replace(positions="rotary", head_features=4)
    return [
        ("tied, GPT-2", gpt(gpt2, keep="nested"), text(2, 5)),
        ("head_objective, Llama", gpt_objective(llama, block=2, chunk=3), pair(text(2, 5), text(2, 5))),
    ]


def rows() -> list[Row]:
    return [*chains(), *fans(), *blocks(), *objectives(), *language_models()]
