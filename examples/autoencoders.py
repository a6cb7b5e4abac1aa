"""Digits through a bottleneck: an autoencoder against principal components, a variational one that draws new digits.

    python examples/autoencoders.py                     both
    python examples/autoencoders.py --model vae --plot vae.png

scikit-learn's 1,797 digits of 8 x 8 pixels, a fifth of them held out. The autoencoder's squared error is compared with
that of a principal component analysis of the same width, the evidence lower bound of the variational one with the
log-likelihood of independent pixels, whose mean image is all they know. No file is written unless --plot names one.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from purenet import losses, models

PIXELS = 64


def load() -> tuple[Any, Any]:
    """(training images, held-out images), each [examples, 64] in [0, 1]."""
    train, test = pn.data.split(pn.data.load_digits(), test_fraction=0.2, key=jax.random.key(0))
    return train[0], test[0]


def train(objective: pn.Layer, images: Any, options: argparse.Namespace) -> Any:
    steps = options.epochs * (len(images) // options.batch_size)
    rate = optax.warmup_cosine_decay_schedule(0, options.rate, steps // 10, steps)
    state, _ = pn.train.fit(
        objective,
        optax.adam(rate),
        (images, images),
        key=jax.random.key(options.seed),
        epochs=options.epochs,
        batch_size=options.batch_size,
    )
    return state.params


def principal_components(images: Any, others: Any, width: int) -> Any:
    """The others as the mean and `width` directions of the images see them."""
    mean = images.mean(0)
    _, _, directions = np.linalg.svd(images - mean, full_matrices=False)
    kept = directions[:width]
    return mean + (others - mean) @ kept.T @ kept


def run_autoencoder(options: argparse.Namespace) -> dict[str, float]:
    images, others = load()
    net = models.autoencoder(PIXELS, options.latent, hidden=options.hidden)
    params = train(pn.objective(net, losses.squared_error("batch_mean")), images, options)
    recomputed = {
        "mean image": np.broadcast_to(images.mean(0), others.shape),
        "principal components": principal_components(images, others, options.latent),
        "autoencoder": np.asarray(jax.jit(net.predict)(params, (), others)),
    }
    errors = {name: float(np.mean(np.sum(np.square(image - others), -1))) for name, image in recomputed.items()}
    print(f"squared error of a held-out digit through {options.latent} numbers")
    for name, error in errors.items():
        print(f"    {name:24}{error:8.3f}")
    if options.plot:
        draw(options.plot, [every(others), *map(every, recomputed.values())], ["digit", *recomputed])
    return errors


def run_vae(options: argparse.Namespace) -> dict[str, float]:
    images, others = load()
    net = models.vae(PIXELS, options.latent, hidden=options.hidden)
    objective = pn.objective(net, models.negative_elbo())
    params = train(objective, images, options)

    def negative_elbo(params: Any, key: Any) -> Any:
        return objective.forward(params, (), (others, others), key)[0]

    keys = jax.random.split(jax.random.key(options.seed + 1), 32)
    nats = {
        "independent pixels": binary_cross_entropy(np.clip(images.mean(0), 1e-3, 1 - 1e-3), others),
        "vae": float(jnp.mean(jax.jit(jax.vmap(negative_elbo, (None, 0)))(params, keys))),
        "the digit itself": binary_cross_entropy(np.clip(others, 1e-6, 1 - 1e-6), others),
    }
    print(f"nats a held-out digit costs at most, {options.latent} latent numbers; the last line is the least possible")
    for name, value in nats.items():
        print(f"    {name:24}{value:8.3f}")
    if options.plot:
        z = jax.random.normal(jax.random.key(options.seed + 2), (24, options.latent))
        new = np.asarray(jax.nn.sigmoid(models.decode(net, params, z)))
        (logits, _) = jax.jit(net.predict)(params, (), every(others))
        draw(options.plot, [every(others), jax.nn.sigmoid(logits), new[:12], new[12:]], ["digit", "vae", "new", "new"])
    return nats


def binary_cross_entropy(probabilities: Any, targets: Any) -> float:
    """Of grey pixels as probabilities of black, summed over the pixels, the mean over the images."""
    values = targets * np.log(probabilities) + (1 - targets) * np.log1p(-probabilities)
    return float(-np.mean(np.sum(values, -1)))


def every(images: Any) -> Any:
    """Twelve of them, which stand in the order of their labels."""
    return images[:: len(images) // 12][:12]


RUNS = {"autoencoder": run_autoencoder, "vae": run_vae}


def draw(path: str, rows: Any, names: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(rows), 12, figsize=(11, 1.1 * len(rows)), layout="constrained")
    for line, images, name in zip(axes, rows, names, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(np.asarray(image).reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    if options.plot and options.model is None:
        raise SystemExit("--plot draws one model: name it with --model")
    found = {}
    for name in RUNS if options.model is None else [options.model]:
        start = time.perf_counter()
        found[name] = RUNS[name](options)
        print(f"    {time.perf_counter() - start:.1f} seconds on {jax.default_backend()}, compiling included\n")
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=RUNS, help="one of them (default: both)")
    parser.add_argument("--plot", metavar="FILE", help="write digits, their reconstructions and new ones as a PNG")
    parser.add_argument("--latent", type=int, default=8, help="how many numbers a digit goes through")
    parser.add_argument("--hidden", type=int, nargs="*", default=[128, 64])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
