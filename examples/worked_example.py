"""A 2-2-2 sigmoid network small enough to follow every number through it, forwards and backwards.

First the chain rule is spelled out with the plain functions that purenet's layers are made of; then the same network
is built from layers, and its gradient is the same. Two examples and plain gradient descent finally show it learning.
The numbers are those of Alexander Schiendorfer's "A worked example of backpropagation" (2020), in float64.
Watch dW: where the first hidden unit is saturated (output 0.9999999), its gradient is 10^4 times smaller than its
neighbour's, and `1 - output` has only one significant digit left in float32.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from purenet.layers.activations import sigmoid_backward, sigmoid_forward
from purenet.layers.dense import dense_backward, dense_forward
from purenet.losses.elementwise import squared_error_backward, squared_error_forward

NET = pn.serial(
    hidden=pn.dense(2, use_bias=False), bend=pn.sigmoid(), output=pn.dense(2, use_bias=False), squash=pn.sigmoid()
)
OBJECTIVE = pn.objective(NET, pn.losses.squared_error("sum"))

W = [[6.0, -3.0], [-2.0, 5.0]]
V = [[1.0, -2.0], [0.25, 2.0]]
INPUTS, TARGETS = [[3.0, 1.0], [-1.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]

EXPECTED = {
    "hidden": [0.9999998874648379, 0.01798620996209156],
    "output": [0.7319417133694889, 0.12303185591001443],
    "loss": 0.08699208259994781,
    "dV": [[-0.10518769048825163, 0.02654904571226164], [-0.00189192809945763, 0.00047751676421133]],
    "dW": [[-5.3438148366532e-08, 1.4201436720081408e-03], [-1.7812716122177e-08, 4.7338122400271e-04]],
    "dx": [-0.0014202505483048738, 0.0023669417454458123],
    "dW in float32": -5.6607e-08,
    "loss of both": 0.4172441091113719,
    "W after 1 step": [[6.0000001625922925, -3.000710071835023], [-2.000000534586515, 4.999763309384074]],
    "V after 1 step": [[1.0525937301848995, -2.0132745124490783], [0.11257513061524965, 2.012276817979357]],
    "loss after 1 step": 0.3743412636647394,
    "outputs after 200 more": [[0.9462136820061762, 0.04892312105800783], [0.05590821589568423, 0.9509302258307656]],
}


def initial_params() -> Any:
    return {"hidden": {"kernel": jnp.array(W)}, "bend": (), "output": {"kernel": jnp.array(V)}, "squash": ()}


def step_by_step(params: Any, x: Any, target: Any) -> dict[str, Any]:
    """One example forwards, then the same six lines walked backwards."""
    hidden_in = dense_forward(params["hidden"], x)  # [2]
    hidden = sigmoid_forward(hidden_in)  # [2]
    output_in = dense_forward(params["output"], hidden)  # [2]
    output = sigmoid_forward(output_in)  # [2]
    loss = jnp.sum(squared_error_forward(output, target))

    doutput, _ = squared_error_backward(output, target, jnp.ones_like(output))
    doutput_in = sigmoid_backward(output, doutput)
    dv, dhidden = dense_backward(params["output"], hidden, doutput_in)
    dhidden_in = sigmoid_backward(hidden, dhidden)
    dw, dx = dense_backward(params["hidden"], x, dhidden_in)
    return {"hidden": hidden, "output": output, "loss": loss, "dV": dv["kernel"], "dW": dw["kernel"], "dx": dx}


def by_layers(params: Any, x: Any, target: Any) -> dict[str, Any]:
    """The same gradients from the network as a whole: `dx` comes with the backward of the objective."""
    loss, _, residuals = OBJECTIVE.forward(params, (), (x, target), None)
    gradients, (dx, _) = OBJECTIVE.backward(params, (x, target), loss, residuals, jnp.ones_like(loss))
    return {"loss": loss, "dV": gradients["output"]["kernel"], "dW": gradients["hidden"]["kernel"], "dx": dx}


def train_on_both() -> dict[str, Any]:
    """Gradient descent at rate 0.5 on both examples at once: one step, then 200 more."""
    data, optimizer = (jnp.array(INPUTS), jnp.array(TARGETS)), optax.sgd(0.5)
    state = pn.train.init_train_state(OBJECTIVE, optimizer, jax.random.key(0), data, params=initial_params())
    first, before = pn.train.fit(OBJECTIVE, optimizer, data, train_state=state, epochs=1, batch_size=2, shuffle=False)
    last, after = pn.train.fit(OBJECTIVE, optimizer, data, train_state=first, epochs=200, batch_size=2, shuffle=False)
    return {
        "loss of both": before.loss[0],
        "W after 1 step": first.params["hidden"]["kernel"],
        "V after 1 step": first.params["output"]["kernel"],
        "loss after 1 step": after.loss[0],
        "outputs after 200 more": NET.predict(last.params, (), data[0]),
    }


def main() -> dict[str, Any]:
    """Print the figures beside the published ones; returns them, and the largest difference between the two ways."""
    x, target = INPUTS[0], TARGETS[0]
    float32 = step_by_step(initial_params(), jnp.array(x), jnp.array(target))["dW"][0, 0]
    with jax.enable_x64(True):
        params, x, target = initial_params(), jnp.array(x), jnp.array(target)
        own = step_by_step(params, x, target) | {"dW in float32": float32} | train_on_both()
        layers = by_layers(params, x, target)
    own = {name: np.asarray(value) for name, value in own.items()}
    print(f"{'':<24}{'expected':>24}{'purenet':>24}{'difference':>12}")
    for name, expected in EXPECTED.items():
        for theirs, mine in zip(np.ravel(expected), own[name].ravel(), strict=True):
            print(f"{name:<24}{theirs:>24.16g}{mine:>24.16g}{abs(mine / theirs - 1):>12.1e}")
    own["two ways"] = np.array(max(np.max(np.abs(np.asarray(value) - own[name])) for name, value in layers.items()))
    print(f"spelled out and by layers differ by {own['two ways']:.1e}")
    return own


if __name__ == "__main__":
    main()
