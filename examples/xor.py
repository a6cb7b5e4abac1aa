"""XOR with three sigmoid hidden units, where a wrong gradient and a slow one look alike.

The third input is always 1 and stands for the bias. The summed squared error is minimised by alternating full-batch
steps: the output weights move first, then the forward pass is done again and the hidden weights move.

With the hidden gradient of the last example alone (assigned in the loop over the examples instead of added up), the
loss rests near 1, where the network answers 1/2 to everything. Adding up repairs the gradient, but at rate 0.01 the
loss rests there just as long: the gradient is right now, and the rate is what has to change.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import purenet as pn

NET = pn.serial(
    hidden=pn.dense(3, use_bias=False), bend=pn.sigmoid(), output=pn.dense(1, use_bias=False), squash=pn.sigmoid()
)
OBJECTIVE = pn.objective(NET, pn.losses.squared_error("sum"))
GRADIENT = pn.value_and_grad(OBJECTIVE)

INPUTS = [[0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]]
TARGETS = [[0], [0], [1], [1]]

# (name, rate, epochs, whether only the last example reaches the hidden weights, the expected loss)
RUNS = (
    ("only the last example", 0.01, 10_000, True, 0.99999),
    ("all examples", 0.01, 10_000, False, 0.9970),
    ("all, twenty times longer", 0.01, 200_000, False, 0.00148),
    ("all, a hundred times the rate", 1.0, 20_000, False, 0.000115),
)


def initial_params(seed: int) -> Any:
    """NumPy's legacy generator, because the expected losses start from it; its matrices are ours transposed."""
    random = np.random.RandomState(seed)
    hidden, output = random.rand(3, 3), random.rand(1, 3)  # [hidden, in], [out, hidden]
    return {
        "hidden": {"kernel": jnp.array(hidden.T)},
        "bend": (),
        "output": {"kernel": jnp.array(output.T)},
        "squash": (),
    }


def move(params: Any, gradients: Any, rate: Any, name: str) -> Any:
    """One layer of the network a step downhill, the others where they are."""
    return params | {name: jax.tree.map(lambda leaf, grad: leaf - rate * grad, params[name], gradients[name])}


@jax.jit
def train(params: Any, data: Any, hidden_data: Any, rate: Any, epochs: Any) -> Any:
    def epoch(_: Any, params: Any) -> Any:
        _, gradients = GRADIENT(params, (), data)
        params = move(params, gradients, rate, "output")
        _, gradients = GRADIENT(params, (), hidden_data)
        return move(params, gradients, rate, "hidden")

    return lax.fori_loop(0, epochs, epoch, params)


def main() -> dict[str, float]:
    """Print and return the loss after each run."""
    losses = {}
    print(f"{'hidden gradient from':<32}{'rate':>6}{'epochs':>10}{'expected':>12}{'purenet':>14}{'difference':>12}")
    with jax.enable_x64(True):
        data = jnp.array(INPUTS, float), jnp.array(TARGETS, float)
        last = jax.tree.map(lambda leaf: leaf[-1:], data)
        for name, rate, epochs, only_last, expected in RUNS:
            params = train(initial_params(0), data, last if only_last else data, rate, epochs)
            loss = losses[name] = float(OBJECTIVE.predict(params, (), data))
            difference = abs(loss / expected - 1)
            print(f"{name:<32}{rate:>6}{epochs:>10,}{expected:>12.6g}{loss:>14.8g}{difference:>12.1e}")
    print(pn.check(OBJECTIVE, data, params=initial_params(0), verbose=False).summary)
    return losses


if __name__ == "__main__":
    main()
