"""Logic gates: one layer learns AND, OR and both at once; XOR needs a second layer.

Each layer is y = 0.5 (1 + erf(x W + b)), the loss the summed squared error, and every step uses one random example at
rate 1. Where weights are written [out, 1 + in] with a constant 1 before the inputs, column 0 is the `bias` here and
the other columns, transposed, are the `kernel` [in, out].

With two outputs the gradient of the weights is one outer product, input times error, so that each output has its own
column. Sum over the outputs instead and all columns are alike: AND and OR each work alone and fail together. And the
layer in front must receive the error through this layer (its dx), not this layer's slope alone. Both mistakes show
when every weight is moved by a little, one at a time: the central differences below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import purenet as pn

INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]
GATES = {
    "AND": [[0], [0], [0], [1]],
    "OR": [[0], [1], [1], [1]],
    "AND and OR": [[0, 0], [0, 1], [0, 1], [1, 1]],
    "XOR": [[0], [1], [1], [0]],
}
EXPECTED = {"AND": [0, 0.003, 0.003, 0.997], "OR": [0.003, 0.998, 0.998, 1]}
HIDDEN = {"XOR": [4]}  # units of the layers before the output


def gate_network(widths: list[int]) -> pn.Layer:
    normal = jax.nn.initializers.normal(1.0)
    layers = [(pn.dense(width, kernel_init=normal, bias_init=normal), pn.erf_sigmoid()) for width in widths]
    return pn.serial(*(layer for pair in layers for layer in pair))


class Learned(NamedTuple):
    """`outputs` [4, gates] of the first start that learned the table, of how many `starts` did; see gradient_error."""

    outputs: np.ndarray
    starts: int
    gradient_error: float


def learn(name: str, key: jax.Array, epochs: int, starts: int) -> Learned:
    """Train from many random starts in one program."""
    data = jnp.array(INPUTS, float), jnp.array(GATES[name], float)
    net = gate_network([*HIDDEN.get(name, []), len(GATES[name][0])])
    objective = pn.objective(net, pn.losses.squared_error("sum"))

    def outputs(key: jax.Array) -> Any:
        state, _ = pn.train.train(objective, optax.sgd(1.0), key, data, epochs=epochs, batch_size=1)
        return net.predict(state.params, (), data[0])

    init_key, train_key = jax.random.split(key)
    error = jax.jit(lambda key: gradient_error(objective, objective.init(key, data)[0], data))(init_key)
    found = np.asarray(jax.jit(jax.vmap(outputs))(jax.random.split(train_key, starts)))  # [starts, 4, gates]
    learned = np.all(np.round(found) == np.array(GATES[name]), (1, 2))
    return Learned(found[np.argmax(learned)], int(learned.sum()), float(error))


def gradient_error(objective: pn.Layer, params: Any, data: Any) -> Any:
    """The largest difference between the hand-written gradient and the central differences."""
    flat, restore = ravel_pytree(params)
    by_hand, _ = ravel_pytree(pn.value_and_grad(objective)(params, (), data)[1])
    numeric = central_differences(lambda flat: objective.predict(restore(flat), (), data), flat)
    return jnp.max(jnp.abs(by_hand - numeric))


def central_differences(function: Callable[[Any], Any], point: Any, width: float = 1e-5) -> Any:
    """The gradient of any function of a vector; each row of the identity moves one number and no other."""

    def slope(direction: Any) -> Any:
        return (function(point + width * direction) - function(point - width * direction)) / (2 * width)

    return jax.vmap(slope)(jnp.eye(len(point)))


def main(epochs: int = 10_000, starts: int = 16) -> dict[str, Learned]:
    """Print and return what was learned for each gate."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), len(GATES))
        results = {name: learn(name, key, epochs, starts) for name, key in zip(GATES, keys, strict=True)}
    for name, result in results.items():
        print(f"{name}: learned from {result.starts} of {starts} starts,", end=" ")
        print(f"gradient within {result.gradient_error:.1e} of central differences")
        print(f"{'inputs':>12}{'truth':>12}{'expected':>12}{'purenet':>16}{'difference':>12}")
        expected = EXPECTED.get(name, [None] * 4)
        for inputs, truth, theirs, own in zip(INPUTS, GATES[name], expected, result.outputs, strict=True):
            shown = " ".join(f"{value:.3f}" for value in own)
            compared = f"{'-':>12}" if theirs is None else f"{theirs:>12.3f}"
            difference = "" if theirs is None else f"{abs(own[0] - theirs):>12.1e}"
            print(f"{inputs!s:>12}{truth!s:>12}{compared}{shown:>16}{difference}")
    return results


if __name__ == "__main__":
    main()
