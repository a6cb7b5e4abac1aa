"""Handwritten digits, learned end to end: an MLP whose every gradient is written by hand, and checked first.

    python examples/digits.py                         scikit-learn's 1,797 digits of 8 x 8 pixels
    python examples/digits.py --data DIR              MNIST's four IDX files, gzipped or not
    python examples/digits.py --plot digits.png       learning curves and the misread digits

It checks the gradients against jax.grad, trains one network with a bar, saves its parameters and predicts with what
it reads back, then trains several seeds in one compiled program and prints the median accuracy.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn

CLASSES = 10


class Outcome(NamedTuple):
    accuracy: float
    seed_accuracies: np.ndarray
    confusion: np.ndarray
    seconds: float


def make_network(hidden: int) -> pn.Layer:
    """[pixels] -> [hidden] -> [hidden] -> [10 logits]"""
    return pn.serial(
        up=pn.dense(hidden),
        act=pn.gelu(),
        drop=pn.dropout(0.2),
        mid=pn.dense(hidden),
        act2=pn.gelu(),
        drop2=pn.dropout(0.2),
        logits=pn.dense(CLASSES),
    )


def load(folder: str | None) -> tuple[Any, Any]:
    """(train, test), each (images [examples, pixels] in [0, 1], labels [examples])."""
    if folder is not None:
        return pn.data.load_mnist(folder)
    return pn.data.split(pn.data.load_digits(), test_fraction=0.2, key=jax.random.key(0))


def predict(net: pn.Layer, params: Any, images: Any) -> np.ndarray:
    return np.asarray(jnp.argmax(jax.jit(net.predict)(params, (), images), -1))


def train_seeds(net: pn.Layer, objective: pn.Layer, optimizer: Any, data: Any, test: Any, options: Any) -> np.ndarray:
    """The test accuracy of several seeds, trained side by side in one program."""

    def accuracy(key: Any, train: Any, test: Any) -> Any:
        state, _ = pn.train.train(
            objective, optimizer, key, train, epochs=options.epochs, batch_size=options.batch_size
        )
        return jnp.mean((jnp.argmax(net.predict(state.params, (), test[0]), -1) == test[1]).astype(jnp.float32))

    keys = jax.random.split(jax.random.key(options.seed + 1), options.seeds)
    return np.asarray(jax.jit(jax.vmap(accuracy, (0, None, None)))(keys, data, test))


def main(options: argparse.Namespace) -> Outcome:
    start = time.perf_counter()
    train, test = load(options.data)
    net = make_network(options.hidden)
    objective = pn.objective(net, pn.losses.softmax_cross_entropy("mean", label_smoothing=0.1))

    pn.check(objective, (train[0][:5], train[1][:5]))

    steps = options.epochs * (len(train[0]) // options.batch_size)
    optimizer = optax.adamw(optax.cosine_decay_schedule(options.rate, steps), weight_decay=0.01)

    def error(params: Any, state: Any, batch: Any) -> Any:
        return jnp.mean((jnp.argmax(net.predict(params, state, batch[0]), -1) != batch[1]).astype(jnp.float32))

    state, history = pn.train.fit(
        objective,
        optimizer,
        train,
        key=jax.random.key(options.seed),
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation=test,
        metrics={"error": error},
    )
    print(f"\ntrained {steps} steps: training loss {history.epoch_loss[-1]:.4f}", end=", ")
    print(f"test loss {history.validation['loss'][-1]:.4f}")

    pn.files.save_params(options.save, state.params)
    shapes = jax.eval_shape(net.init, jax.random.key(0), train[0][:1])[0]
    predicted = predict(net, pn.files.load_params(options.save, shapes), test[0])
    accuracy = pn.data.accuracy(predicted, test[1])
    confusion = pn.data.confusion_matrix(predicted, test[1], CLASSES)
    print(f"saved to {options.save}, read back: test accuracy {accuracy:.2%} of {len(predicted)}")
    print_confusion(confusion)

    if options.plot:
        plot(options.plot, history, test, predicted)
        print(f"\nlearning curves and misread digits: {options.plot}")
    train, test = jax.tree.map(jnp.asarray, (train, test))
    accuracies = train_seeds(net, objective, optimizer, train, test, options)
    print(
        f"\n{options.seeds} seeds in one program: test accuracy", *(f"{a:.2%}" for a in np.sort(accuracies)), end=", "
    )
    print(f"median {np.median(accuracies):.2%}")
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} seconds on {jax.default_backend()}, compiling included")
    return Outcome(accuracy, accuracies, confusion, seconds)


def print_confusion(confusion: np.ndarray) -> None:
    print("\nconfusion matrix, labels down, predictions across:")
    print("    " + "".join(f"{digit:5d}" for digit in range(CLASSES)))
    for digit, row in enumerate(confusion):
        print(f"{digit:4d}" + "".join(f"{count:5d}" if count else "    ." for count in row))


def plot(path: str, history: pn.train.History, test: Any, predicted: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    misread = np.flatnonzero(predicted != test[1])[:10]
    side = math.isqrt(test[0].shape[1])
    figure = pyplot.figure(figsize=(11, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, 10, height_ratios=(3, 1))
    losses, errors = figure.add_subplot(grid[0, :5]), figure.add_subplot(grid[0, 5:])
    epochs = np.arange(1, len(history.epoch_loss) + 1)
    losses.plot(epochs, history.epoch_loss, label="training, with dropout")
    losses.plot(epochs, history.validation["loss"], label="test")
    losses.set(xlabel="epoch", ylabel="cross entropy", title="loss")
    losses.legend()
    errors.plot(epochs, 100 * history.validation["error"], color="C1")
    errors.set(xlabel="epoch", ylabel="misread test digits, %", title="error", ylim=(0, None))
    figure.suptitle(f"{np.sum(predicted != test[1])} of {len(predicted)} test digits misread")
    for column, index in enumerate(misread):
        axis = figure.add_subplot(grid[1, column])
        axis.axis("off")
        axis.imshow(test[0][index].reshape(side, side), cmap="gray_r")
        axis.set_title(f"{test[1][index]} read as {predicted[index]}", fontsize=9)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="folder with MNIST's IDX files (default: scikit-learn's digits)")
    parser.add_argument("--plot", metavar="FILE", help="write learning curves and misread digits as a PNG")
    parser.add_argument("--save", metavar="FILE", type=Path, default=Path("digits.safetensors"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3, help="initial learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds to train for the median")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
