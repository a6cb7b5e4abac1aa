"""Five networks people know on the same handwritten digits: parameters, test accuracy, seconds.

    python examples/digits_models.py                    mlp, lenet, resnet, mlp_mixer and vit, one after the other
    python examples/digits_models.py --model resnet     one of them

scikit-learn's 1,797 digits of 8 x 8 pixels, a fifth of them held out. Every gradient is written by hand.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import purenet as pn
from purenet import models

CLASSES = 10


class Recipe(NamedTuple):
    make: Callable[[], pn.Layer]
    epochs: int
    rate: float


class Outcome(NamedTuple):
    parameters: int
    accuracy: float
    seconds: float


def make_mlp() -> pn.Layer:
    return pn.serial(flat=pn.flatten(-3), mlp=models.mlp([128, 128, CLASSES], activation=pn.gelu, dropout_rate=0.2))


def make_lenet() -> pn.Layer:
    return models.lenet(CLASSES, padding="SAME")


def make_resnet() -> pn.Layer:
    return models.resnet(8, CLASSES)


def make_mlp_mixer() -> pn.Layer:
    return models.mlp_mixer(
        CLASSES, image_size=8, patch_size=2, features=48, blocks=3, token_hidden=32, channel_hidden=96
    )


def make_vit() -> pn.Layer:
    return models.vit(CLASSES, image_size=8, patch_size=4, features=64, blocks=3, heads=4, hidden=128)


RECIPES = {
    "mlp": Recipe(make_mlp, 30, 3e-3),
    "lenet": Recipe(make_lenet, 20, 3e-3),
    "resnet": Recipe(make_resnet, 8, 1e-2),
    "mlp_mixer": Recipe(make_mlp_mixer, 20, 3e-3),
    "vit": Recipe(make_vit, 25, 2e-3),
}


def load() -> tuple[Any, Any]:
    """(train, test), each (images [examples, 8, 8, 1] in [0, 1], labels [examples])."""
    images, labels = pn.data.load_digits()
    return pn.data.split((images.reshape(-1, 8, 8, 1), labels), test_fraction=0.2, key=jax.random.key(0))


def train_one(recipe: Recipe, data: Any, test: Any, options: argparse.Namespace) -> Outcome:
    start = time.perf_counter()
    net = recipe.make()
    objective = pn.objective(net, pn.losses.softmax_cross_entropy(label_smoothing=0.1))
    epochs = options.epochs or recipe.epochs
    steps = epochs * (len(data[0]) // options.batch_size)
    rate = optax.warmup_cosine_decay_schedule(0, recipe.rate, steps // 10, steps)
    state, _ = pn.train.fit(
        objective,
        optax.adamw(rate, weight_decay=0.01),
        data,
        key=jax.random.key(options.seed),
        epochs=epochs,
        batch_size=options.batch_size,
    )
    logits = jax.jit(net.predict)(state.params, state.state, test[0])
    accuracy = pn.data.accuracy(np.argmax(logits, -1), test[1])
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return Outcome(parameters, accuracy, time.perf_counter() - start)


def main(options: argparse.Namespace) -> dict[str, Outcome]:
    data, test = load()
    outcomes = {}
    print(f"{'model':10} {'parameters':>10} {'test accuracy':>14} {'seconds':>8}")
    for name in RECIPES if options.model is None else [options.model]:
        outcomes[name] = outcome = train_one(RECIPES[name], data, test, options)
        print(f"{name:10} {outcome.parameters:10,} {outcome.accuracy:14.2%} {outcome.seconds:8.1f}", flush=True)
    return outcomes


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=RECIPES, help="one of them (default: all)")
    parser.add_argument("--epochs", type=int, help="instead of each model's own")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
