"""Rows of combinators, objectives and small models. Those of the models are small and few: the ones whose parts no
other row combines."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import combine, layers, losses, models
from ..functions import from_function
from ..layer import Layer
from ..objective import objective
from .draws import FEATURES, ROWS, SEQUENCES, hard_and_soft, identity, integers, labels, normal, spread, together
from .row import Row

LATENT = 3
PAIRS = together(ROWS, ROWS)

dense, serial = layers.dense, combine.serial


def block(hidden: int = 11) -> Layer:
    """Its output has the shape of its input; some of its values are kept and some recomputed."""
    net = serial(norm=layers.layer_norm(), up=dense(hidden), act=layers.gelu(), down=dense(FEATURES))
    return combine.residual(net)


def squash(features: int = FEATURES) -> Layer:
    """Its backward reads its own output."""
    return serial(dense(features), layers.tanh())


def mlp(hidden: int = 11) -> Layer:
    return serial(dense(hidden), layers.gelu(), dense(3))


def skip(f: Any, x: Any) -> Any:
    """A network that is not a chain: what `down` gives is read twice."""
    half = f.down(x)
    return f.head(jnp.concatenate([half, f.middle(half)], -1))


def rows() -> list[Row]:
    return [*chains(), *fans(), *repeated(), *reversible(), *wrapped(), *objectives(), *latent(), *parts(), *gpts()]


def chains() -> list[Row]:
    nested = serial(serial(dense(11), layers.silu()), layers.layer_norm(), dense(3))
    random = serial(dense(11), layers.gelu(), layers.dropout(0.4), dense(3), layers.softmax())
    return [
        Row("serial", mlp(), ROWS),
        Row("serial, named", serial(up=dense(11), act=layers.tanh(), down=dense(3)), ROWS),
        Row("serial, nested", nested, ROWS),
        Row("serial, with dropout", random, ROWS, random=True),
        Row("residual", block(), ROWS),
        Row("residual, of what reads its output", combine.residual(squash()), ROWS),
    ]


def fans() -> list[Row]:
    parallel, branches = combine.parallel, (dense(3), serial(dense(3), layers.sigmoid()))
    unequal = parallel(squash(3), layers.gelu(), combine="concatenate")
    examples = parallel(*branches, combine="concatenate", axis=0)
    return [
        Row("parallel, sum", parallel(*branches), ROWS),
        Row("parallel, mean", parallel(a=dense(3), b=dense(3), combine="mean"), ROWS),
        Row("parallel, concatenate", unequal, ROWS),
        Row("parallel, concatenate examples", examples, ROWS, batched=False),
        Row("parallel, of recomputed outputs", parallel(layers.tanh(), layers.softmax()), ROWS),
        Row("compose", combine.compose(skip, down=dense(3), middle=squash(3), head=dense(2)), ROWS),
        Row("concatenate", combine.concatenate(a=squash(3), b=dense(2)), ROWS),
    ]


def repeated() -> list[Row]:
    repeat, remat = combine.repeat, combine.remat
    with_dropout = serial(dense(11), layers.dropout(0.2), layers.tanh())
    return [
        Row("repeat", repeat(block(), 3), ROWS),
        Row("repeat, of what reads its output", repeat(squash(), 3), ROWS),
        Row("repeat, remat", repeat(remat(block()), 3), ROWS),
        Row("repeat, nested", repeat(block(), 5, keep="nested"), ROWS),
        Row("remat", remat(block()), ROWS),
        Row("remat, with dropout", remat(with_dropout), ROWS, random=True),
    ]


def reversible() -> list[Row]:
    """A stream in float32 at least, whatever comes in; inputs found by subtraction are off in the last digits."""
    pair = combine.reversible(mlp(5), mlp(4))
    two = serial(pair, combine.reversible(layers.tanh(), mlp(5)))
    wide = combine.with_dtype(pair, np.float64), combine.with_dtype(combine.repeat(two, 2), np.float64)
    return [Row("reversible", wide[0], normal(6)), Row("repeat, reversible", wide[1], normal(6), bound=5e-13)]


def wrapped() -> list[Row]:
    frozen, tied, with_dtype = combine.frozen, combine.tied, combine.with_dtype
    autoencoder = serial(embed=dense(11, use_bias=False), act=layers.tanh(), head=dense(FEATURES))
    twice = serial(a=dense(FEATURES), act=layers.gelu(), b=dense(FEATURES), c=dense(FEATURES))
    outputs = with_dtype(serial(dense(3), layers.softmax()), np.float64)
    return [
        Row("frozen", frozen(mlp()), ROWS, vacuous=True),
        Row("frozen, inside", serial(dense(FEATURES), frozen(block()), layers.tanh()), ROWS, vacuous=True),
        Row("scale_gradient", combine.scale_gradient(-0.5), spread, identity),
        Row("tied", tied(autoencoder, {"head.kernel": "embed.kernel.T"}), ROWS),
        Row("tied, three uses", tied(twice, {"b.kernel": "a.kernel.T", "c.kernel": "a.kernel"}), ROWS),
        Row("with_dtype", with_dtype(mlp(), np.float64), ROWS),
        Row("with_dtype, repeat", with_dtype(combine.repeat(block(), 2), np.float64), ROWS),
        Row("with_dtype, of what reads its output", outputs, SEQUENCES),
    ]


def objectives() -> list[Row]:
    classifier = objective(serial(dense(11), layers.relu(), dense(FEATURES)), losses.softmax_cross_entropy())
    recomputed = objective(serial(dense(FEATURES), layers.gelu()), losses.squared_error("sum"))
    kept = objective(serial(dense(FEATURES), layers.sigmoid()), losses.binary_cross_entropy())
    regression, targets = objective(dense(3), losses.squared_error()), together(ROWS, normal(3))
    totals = combine.per_example(regression, reduction="sum")
    fused = combine.head_objective(squash(4), losses.linear_cross_entropy(FEATURES, chunk=2))
    sine = from_function(lambda params, x: jnp.sin(x) * x, name="from_function")
    return [
        Row("objective", classifier, together(ROWS, labels), reduction="mean"),
        Row("objective, predictions recomputed", recomputed, PAIRS, reduction="sum"),
        Row("objective, predictions kept", kept, together(ROWS, hard_and_soft), reduction="mean"),
        Row("per_example", combine.per_example(regression), targets, batched=False),
        Row("per_example, sum", totals, targets, batched=False),
        Row("head_objective", fused, together(ROWS, labels), reduction="mean", alone=True),
        Row("from_function", sine, ROWS, lambda params, x: np.sin(x) * x),
    ]


def latent() -> list[Row]:
    moments = normal(2 * LATENT)
    both = together(together(ROWS, moments), hard_and_soft)
    whole = objective(models.vae(FEATURES, LATENT, hidden=(5,)), models.negative_elbo(losses.half_squared_error))
    return [
        Row("gaussian_sample", models.gaussian_sample(), moments, lambda params, x: x[..., :LATENT], random=True),
        Row("gaussian_kl", models.gaussian_kl(), moments, batched=False, alone=True),
        Row("negative_elbo", models.negative_elbo(beta=0.3), both, reduction="mean", alone=True),
        Row("vae", models.vae(FEATURES, LATENT, hidden=()), ROWS, random=True, alone=True),
        Row("objective, of a vae", whole, PAIRS, random=True),
    ]


def parts() -> list[Row]:
    # Eleven steps: XLA:CPU keeps dy beside dx, one step among all, more than the slack in short sequences.
    return [
        Row("class_token", models.class_token(), SEQUENCES, lambda params, x: np.insert(x, 0, params["token"], -2)),
        Row("first_token", models.first_token(), normal(11, 3), lambda params, x: x[:, 0]),
        Row("widening_shortcut", models.widening_shortcut(4), normal(5, 5, 2)),
    ]


def gpts() -> list[Row]:
    """GPT-2 whole, and Llama with its loss."""
    gpt2 = models.GPTConfig(vocab_size=9, context_length=6, features=6, blocks=2, heads=2)
    llama = gpt2._replace(kv_heads=1, norm="rms_norm", activation="swiglu", hidden=4, qk_norm=True, use_bias=False)
    loss = models.gpt_objective(llama._replace(positions="rotary", head_features=4), block=2, chunk=3)
    ids = integers(9, 5)
    return [
        Row("gpt", models.gpt(gpt2), ids, alone=True),
        Row("gpt, nested", models.gpt(gpt2, keep="nested"), ids, alone=True),
        Row("gpt_objective", loss, together(ids, ids), reduction="mean", alone=True),
    ]
