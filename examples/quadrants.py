"""Two first tests of a network: does it learn anything at all, and does it learn what a straight line cannot?

Anything at all: a 2-4-4-3 leaky ReLU network is taught to answer zeros. The slope for negative values is 0.1 and the
starting weights have standard deviation 1 / (in * out), as in the series these systems come from (Rodrigo Girão
Serrão, mathspp.com, Neural Networks Fundamentals with Python). Where an output starts out negative it moves a hundred
times slower, so that starts differ widely: the published run is held against those that begin near it.

Quadrants: is x * y above zero, for points in [-2, 2]^2? Steps on one example at a constant rate leave the weights
shaking; with a rate that falls to 0 they come to rest, with three hidden units mostly at 95%. Three could do better:
|x + y| - |x - y| has the sign of x * y, and two units bent along the diagonals, with a third for the straight part
left over, say just that (`set_by_hand`: every point right). But training minimises the squared error, which is lower
with steeper bends and a bridge between two opposite quadrants across the centre: the loss caps three units, not what
they can say. Starts that waste one of them end below 85%. Eight units bring the squared error so low that the signs
follow. `--plot FILE` draws the median runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn

PUBLISHED_ZEROS = 9.853435230767493, 0.013773771604489364
TEST_POINTS = 1_000
CONSTANT, FALLING = "constant rate", "falling rate"


def leaky_network(*widths: int) -> pn.Layer:
    normal = jax.nn.initializers.normal
    layers = []
    for ins, outs in pairwise(widths):
        layers += [pn.dense(outs, kernel_init=normal(1 / (ins * outs)), bias_init=normal(1 / outs)), pn.leaky_relu(0.1)]
    return pn.serial(*layers)


def train_once(objective: pn.Layer, key: jax.Array, data: Any, rate: Any) -> tuple[Any, Any]:
    """The parameters before and after one pass over the data, an example at a time."""
    optimizer = optax.sgd(rate)
    before = pn.train.init_train_state(objective, optimizer, key, data)
    after, _ = pn.train.make_run(objective, optimizer, batch_size=1)(before, data, len(data[0]))
    return before.params, after.params


def learn_zeros(key: jax.Array, starts: int, steps: int = 10_000) -> np.ndarray:
    """[starts, 2]: the loss summed over 100 points, before and after."""
    objective = pn.objective(leaky_network(2, 4, 4, 3), pn.losses.squared_error("mean"))

    def losses(key: jax.Array) -> Any:
        train_key, test_key, init_key = jax.random.split(key, 3)
        data = jax.random.normal(train_key, (steps, 2)), jnp.zeros((steps, 3))
        test = jax.random.normal(test_key, (100, 2)), jnp.zeros((100, 3))
        return [100 * objective.predict(params, (), test) for params in train_once(objective, init_key, data, 0.001)]

    return np.stack(jax.jit(jax.vmap(losses))(jax.random.split(key, starts)), 1)


class Judged(NamedTuple):
    """Accuracy, mean squared error and guessed classes; of several runs [starts, before and after, ...]."""

    accuracy: Any
    error: Any
    guesses: Any

    @property
    def median(self) -> int:
        return int(np.argsort(self.accuracy[:, 1])[len(self.accuracy) // 2])


def draw_points(key: jax.Array, points: int) -> tuple[Any, Any]:
    x = jax.random.uniform(key, (points, 2), minval=-2, maxval=2)
    same_sign = x[:, :1] * x[:, 1:] > 0  # [points, 1]
    return x, jnp.concatenate([same_sign, ~same_sign], 1).astype(x.dtype)


def judge(net: pn.Layer, params: Any, data: Any) -> Judged:
    x, targets = data
    outputs = net.predict(params, (), x)
    guesses = jnp.argmax(outputs, 1)
    return Judged(jnp.mean(guesses == jnp.argmax(targets, 1)), jnp.mean(jnp.square(outputs - targets)), guesses)


def learn_quadrants(key: jax.Array, hidden: int, data: Any, starts: int) -> dict[str, Judged]:
    """Train on all points but the first thousand, judge on those. Both schedules and all starts are one program."""
    net = leaky_network(2, hidden, 2)
    objective = pn.objective(net, pn.losses.squared_error("mean"))
    test, rest = (tuple(half[part] for half in data) for part in np.s_[:TEST_POINTS, TEST_POINTS:])

    def run(key: jax.Array, last_rate: Any) -> Any:
        rate = optax.linear_schedule(0.05, last_rate, len(rest[0]))
        judged = [judge(net, params, test) for params in train_once(objective, key, rest, rate)]
        return jax.tree.map(lambda before, after: jnp.stack([before, after]), *judged)

    each_start = jax.vmap(run, (0, None))
    both = jax.jit(jax.vmap(each_start, (None, 0)))(jax.random.split(key, starts), jnp.array([0.05, 0.0]))
    return {name: Judged(*(np.asarray(leaf[k]) for leaf in both)) for k, name in enumerate((CONSTANT, FALLING))}


def set_by_hand() -> Any:
    """|x + y| - |x - y| = (f(x + y) - f(x - y) - 1.1 y) / 0.45, f the leaky ReLU; y = f(y + 3) - 3 on the square."""
    hidden = {"kernel": jnp.array([[1.0, 1.0, 0.0], [1.0, -1.0, 1.0]]), "bias": jnp.array([0.0, 0.0, 3.0])}
    score, offset = 0.3 / 0.45 * jnp.array([1.0, -1.0, -1.1]), 0.3 / 0.45 * 3.3
    output = {"kernel": jnp.stack([score, -score], 1), "bias": jnp.array([0.5 + offset, 0.5 - offset])}
    return [hidden, (), output, ()]


def plot(results: dict[tuple[int, str], Judged], points: Any, path: str) -> None:
    from matplotlib.figure import Figure

    panels = [((3, CONSTANT), 0), ((3, CONSTANT), 1), ((3, FALLING), 1), ((8, FALLING), 1)]
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, (which, when) in zip(figure.subplots(1, 4), panels, strict=True):
        run = results[which]
        colors = np.array(["tab:blue", "tab:orange"])[run.guesses[run.median, when]]
        axes.scatter(*np.asarray(points[:TEST_POINTS]).T, c=colors, s=8)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.axvline(0, color="black", linewidth=0.8)
        name = f"{which[0]} hidden units, {which[1] if when else 'before'}"
        axes.set(title=f"{name}\n{run.accuracy[run.median, when]:.1%} right", xlabel="x", ylabel="y", aspect="equal")
    figure.suptitle("Guesses of the median run: blue where it says x y > 0, orange where it says x y < 0")
    figure.savefig(path, dpi=120)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Print both systems; returns {"zeros": [starts, 2], "by hand": Judged, "quadrants": {(hidden, rate): Judged}}."""
    parser = argparse.ArgumentParser(description="Learn zeros, then quadrants.")
    parser.add_argument("--starts", type=int, default=9, help="random starts of the quadrants")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--plot", metavar="FILE", help="draw the guesses before and after")
    args = parser.parse_args(argv)
    with jax.enable_x64(True):
        zeros_key, data_key, *keys = jax.random.split(jax.random.key(0), 4)
        zeros, data = learn_zeros(zeros_key, starts=64), draw_points(data_key, args.points)
        by_hand = jax.tree.map(np.asarray, judge(leaky_network(2, 3, 2), set_by_hand(), data))
        results = {
            (hidden, name): judged
            for hidden, key in zip((3, 8), keys, strict=True)
            for name, judged in learn_quadrants(key, hidden, data, args.starts).items()
        }
    print_zeros(zeros)
    print_quadrants(results, by_hand)
    if args.plot:
        plot(results, data[0], args.plot)
    return {"zeros": zeros, "by hand": by_hand, "quadrants": results}


def print_zeros(zeros: np.ndarray) -> None:
    alike = zeros[(zeros[:, 0] > 5) & (zeros[:, 0] < 20)]
    print(f"{'zeros, loss of 100 points':<28}{'published':>12}{'from 5 to 20':>14}{'difference':>12}{'all starts':>20}")
    for k, (when, expected) in enumerate(zip(("before", "after 10,000 steps"), PUBLISHED_ZEROS, strict=True)):
        own, low, high = np.median(alike[:, k]), *np.quantile(zeros[:, k], [0.25, 0.75])
        spread = f"{low:.3g} to {high:.3g}"
        print(f"{when:<28}{expected:>12.4g}{own:>14.4g}{abs(own / expected - 1):>12.1e}{spread:>20}")


def print_quadrants(results: dict[tuple[int, str], Judged], by_hand: Judged) -> None:
    print(f"\n{'quadrants, right of 1,000':<28}{'before':>8}{'after: worst':>14}{'median':>8}{'best':>8}{'error':>9}")
    for (hidden, rate), run in results.items():
        before, after = run.accuracy.T
        print(f"{f'{hidden} hidden units, {rate}':<28}{np.median(before):>8.1%}{min(after):>14.1%}", end="")
        print(f"{np.median(after):>8.1%}{max(after):>8.1%}{run.error[run.median, 1]:>9.4f}")
    print(f"{'3 hidden units, set by hand':<28}{'':>22}{by_hand.accuracy:>8.1%}{'':>8}{by_hand.error:>9.4f}")


if __name__ == "__main__":
    main()
