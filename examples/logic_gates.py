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
from typing import Any

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
PUBLISHED = {"AND": [0, 0.003, 0.003, 0.997], "OR": [0.003, 0.998, 0.998, 1]}
HIDDEN = {"XOR": [4]}  # units of the layers before the output


def gate_network(widths: list[int]) -> pn.Layer:
    normal = jax.nn.initializers.normal(1.0)
    layers = [(pn.dense(width, kernel_init=normal, bias_init=normal), pn.erf_sigmoid()) for width in widths]
    return pn.serial(*(layer for pair in layers for layer in pair))


def learn(name: str, key: jax.Array, epochs: int) -> tuple[Any, float]:
    """The outputs [4, gates] after training, and how far the gradient is from central differences before it."""
    data = jnp.array(INPUTS, float), jnp.array(GATES[name], float)
    net = gate_network([*HIDDEN.get(name, []), len(GATES[name][0])])
    objective = pn.objective(net, pn.losses.squared_error("sum"))
    init_key, train_key = jax.random.split(key)
    error = gradient_error(objective, objective.init(init_key, data)[0], data)
    train = jax.jit(lambda key: pn.train.train(objective, optax.sgd(1.0), key, data, epochs=epochs, batch_size=1))
    state, _ = train(train_key)
    return net.predict(state.params, (), data[0]), error


def gradient_error(objective: pn.Layer, params: Any, data: Any) -> float:
    """The largest difference between the hand-written gradient and the central differences."""
    flat, restore = ravel_pytree(params)
    by_hand, _ = ravel_pytree(pn.value_and_grad(objective)(params, (), data)[1])
    numeric = central_differences(lambda flat: objective.predict(restore(flat), (), data), flat)
    return float(jnp.max(jnp.abs(by_hand - numeric)))


def central_differences(function: Callable[[Any], Any], point: Any, width: float = 1e-5) -> Any:
    """The gradient of any function of a vector; each row of the identity moves one number and no other."""

    def slope(direction: Any) -> Any:
        return (function(point + width * direction) - function(point - width * direction)) / (2 * width)

    return jax.vmap(slope)(jnp.eye(len(point)))


def main(epochs: int = 10_000) -> dict[str, Any]:
    """Print the truth tables; returns {gate: (outputs [4, gates], error of the gradient)}."""
    with jax.enable_x64(True):
        keys = dict(zip(GATES, jax.random.split(jax.random.key(0), len(GATES)), strict=True))
        results = {name: learn(name, keys[name], epochs) for name in GATES}
    for name, (outputs, error) in results.items():
        print(f"{name}: gradient within {error:.1e} of central differences")
        print(f"{'inputs':>12}{'truth':>12}{'expected':>12}{'purenet':>16}{'difference':>12}")
        published = PUBLISHED.get(name, [""] * 4)
        for inputs, truth, theirs, mine in zip(INPUTS, GATES[name], published, np.asarray(outputs), strict=True):
            shown = " ".join(f"{value:.3f}" for value in mine)
            difference = "" if theirs == "" else f"{abs(mine[0] - theirs):.1e}"
            print(f"{inputs!s:>12}{truth!s:>12}{theirs:>12}{shown:>16}{difference:>12}")
    return results


if __name__ == "__main__":
    main()
