"""Sky and petals found in grey photographs, by a network with a skip connection: not a chain, so `pn.compose`.

    python examples/unet.py                        under a minute on two CPU cores
    python examples/unet.py --plot unet.png        writes the pictures, what is to be found and what is found

The data are scikit-learn's two photographs, a pagoda and a dahlia. Their colours say what is sky or water and what is
petal; the network sees them in grey. It learns from crops of the left parts and is judged on the right ones, beside
the best guess from a pixel's brightness alone.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn

CLASSES = ("the rest", "sky and water", "petals")
LEFT = 88  # columns of 160 to learn from
CROP = 32


class Outcome(NamedTuple):
    loss: float
    overlaps: np.ndarray
    baseline: np.ndarray
    seconds: float


def unet(f: Any, x: Any) -> Any:
    """Details from the fine grid, context from the coarse one, both for the last layers."""
    fine = f.down(x)
    coarse = f.up(f.middle(f.pool(fine)))
    return f.head(jnp.concatenate([fine, coarse], -1))


def block(features: int, convolutions: int) -> pn.Layer:
    layers = (pn.conv(features, (3, 3)), pn.relu()) * convolutions
    return pn.serial(*layers)


def make_network(features: int) -> pn.Layer:
    """Grey images [batch, height, width, 1], whose sizes 4 divides, to logits [batch, height, width, 3]"""
    return pn.compose(
        unet,
        down=block(features, 2),
        pool=pn.max_pool((4, 4), strides=4),
        middle=block(2 * features, 3),
        up=pn.upsample((4, 4), method="linear"),
        head=pn.serial(pn.conv(features, (3, 3)), pn.relu(), pn.conv(len(CLASSES), (1, 1))),
    )


def load() -> tuple[np.ndarray, np.ndarray]:
    """(grey [2, 104, 160, 1], classes [2, 104, 160]) of the photographs in a quarter of their size."""
    from sklearn.datasets import load_sample_images

    photographs = np.stack(load_sample_images().images)[:, :416].astype(np.float32) / 255
    colours = photographs.reshape(2, 104, 4, 160, 4, 3).mean((2, 4))
    red, _, blue = np.moveaxis(colours, -1, 0)
    classes = np.zeros(red.shape, np.int32)
    classes[0] = most((blue[0] > 0.55) & (blue[0] > red[0] - 0.05))
    classes[1] = 2 * most(red[1] > np.maximum(blue[1] + 0.1, 0.3))
    return colours.mean(-1, keepdims=True) - 0.5, classes


def most(mask: np.ndarray) -> np.ndarray:
    """What most of the 3 x 3 pixels around each one say: no specks."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1, mode="edge"), (3, 3))
    return windows.sum((-2, -1)) >= 5


def draw_crops(rng: np.random.Generator, grey: np.ndarray, classes: np.ndarray, count: int) -> tuple[Any, Any]:
    """(crops [count, 32, 32, 1], classes [count, 32, 32]) from random places, half of them mirrored."""
    _, height, width, _ = grey.shape
    crops = []
    for _ in range(count):
        which, row, column = rng.integers([len(grey), height - CROP + 1, width - CROP + 1])
        here = which, slice(row, row + CROP), slice(column, column + CROP)
        turn = rng.choice([1, -1])
        crops.append((grey[here][:, ::turn], classes[here][:, ::turn]))
    images, targets = zip(*crops, strict=True)
    return np.stack(images), np.stack(targets)


def overlaps(found: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Intersection over union of each class but the rest."""
    pairs = [(found == k, classes == k) for k in range(1, len(CLASSES))]
    return np.array([np.sum(a & b) / np.sum(a | b) for a, b in pairs])


def by_brightness(grey: np.ndarray, learn: Any, bins: int = 64) -> np.ndarray:
    """The class that is commonest among the pixels to learn from that are as bright."""
    counts = np.zeros((bins, len(CLASSES)))
    np.add.at(counts, (level(learn[0], bins), learn[1]), 1)
    return counts.argmax(-1)[level(grey, bins)]


def level(grey: np.ndarray, bins: int) -> np.ndarray:
    return np.clip((grey[..., 0] + 0.5) * bins, 0, bins - 1).astype(int)


def main(options: argparse.Namespace) -> Outcome:
    start = time.perf_counter()
    grey, classes = load()
    learn, test = ((grey[:, :, part], classes[:, :, part]) for part in (slice(0, LEFT), slice(LEFT, None)))
    net = make_network(options.features)
    objective = pn.objective(net, pn.losses.softmax_cross_entropy())
    pn.check(objective, (learn[0][:, :8, :8], learn[1][:, :8, :8]), verbose=False)

    rng = np.random.default_rng(options.seed)
    optimizer = optax.adam(optax.cosine_decay_schedule(options.rate, options.steps))
    batch = draw_crops(rng, *learn, options.batch_size)
    state = pn.train.init_train_state(objective, optimizer, jax.random.key(options.seed), batch)
    step = jax.jit(pn.train.make_step(objective, optimizer), donate_argnums=0)
    for number in range(options.steps):
        state, metrics = step(state, draw_crops(rng, *learn, options.batch_size))
        if (number + 1) % 50 == 0:
            print(f"step {number + 1}: loss {metrics['loss']:.3f}")

    logits = jax.jit(net.predict)(state.params, state.state, grey)
    found, guessed = np.asarray(logits.argmax(-1)), by_brightness(grey, learn)
    loss = float(objective.forward(state.params, state.state, test, None)[0])
    scores, baseline = (overlaps(each[:, :, LEFT:], test[1]) for each in (found, guessed))
    print(f"\nheld out: loss {loss:.3f}; intersection over union")
    for name, score, guess in zip(CLASSES[1:], scores, baseline, strict=True):
        print(f"{name:14} {score:.2f}   by brightness alone {guess:.2f}")
    if options.plot:
        plot(options.plot, grey, classes, found)
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} seconds on {jax.default_backend()}, compiling included")
    return Outcome(loss, scores, baseline, seconds)


def plot(path: str, grey: np.ndarray, classes: np.ndarray, found: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import ListedColormap

    figure, axes = pyplot.subplots(2, 3, figsize=(11, 5), layout="constrained")
    colours = ListedColormap(["#303030", "#7fb2e5", "#f08a4b"])
    for row, images in enumerate(zip(grey[..., 0], classes, found, strict=True)):
        for column, image in enumerate(images):
            limits = {"cmap": "gray", "vmin": -0.5, "vmax": 0.5} if column == 0 else {"cmap": colours, "vmax": 2}
            axes[row, column].imshow(image, **limits)
            axes[row, column].axvline(LEFT - 0.5, color="white", linestyle="--", linewidth=1)
            axes[row, column].axis("off")
    for axis, title in zip(axes[0], ("what the network sees", "what is to be found", "what it finds"), strict=True):
        axis.set_title(title)
    figure.suptitle("learned left of the line, judged right of it; blue: sky and water, orange: petals")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="FILE", help="write the pictures, the classes and what is found as a PNG")
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
