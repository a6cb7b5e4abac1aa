"""A 3-4-4-2 network, its forward and backward pass called one after the other and held against jax.grad.

Sigmoid hidden layers, a linear output, and half the squared length of the error, averaged over the batch. For a layer
y = x W + b, with the examples in the rows of x, the shapes leave no choice of order or transposition:

    dW = x^T dy     [in, out]  = [in, batch] [batch, out]
    dx = dy W^T     [batch, in] = [batch, out] [out, in]
    db = the sum of dy over the batch

Goodfellow, Bengio & Courville, *Deep Learning* (2016), algorithms 6.3 and 6.4; Bishop, *Pattern Recognition and Machine
Learning* (2006), section 5.3. With examples in columns, as many derivations have it, W is the `kernel` transposed.
The network may have any depth: pass other widths. `--verify` checks every layer by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn

INITIAL_SCALE = 0.01  # standard deviation of the kernels; biases begin at 0


def mlp(widths: Sequence[int]) -> pn.Layer:
    """Dense layers of these widths with sigmoids between them, the last one linear."""
    normal = jax.nn.initializers.normal(INITIAL_SCALE)
    hidden = [layer for width in widths[:-1] for layer in (pn.dense(width, kernel_init=normal), pn.sigmoid())]
    return pn.serial(*hidden, pn.dense(widths[-1], kernel_init=normal))


def gradients_by_hand(objective: pn.Layer, params: Any, data: Any) -> Any:
    """Forward keeps what backward needs; backward starts from d(loss)/d(loss) = 1. `pn.value_and_grad` does both."""
    loss, _, residuals = objective.forward(params, (), data, None)
    gradients, _ = objective.backward(params, data, loss, residuals, jnp.ones_like(loss))
    return gradients


def plain_loss(params: Any, data: Any) -> Any:
    """The same loss in nothing but JAX, for jax.grad to differentiate."""
    y, targets = data  # [batch, in], [batch, out]
    dense = [layer for layer in params if layer]
    for k, layer in enumerate(dense):
        z = y @ layer["kernel"] + layer["bias"][None]  # [batch, width]
        y = jax.nn.sigmoid(z) if k < len(dense) - 1 else z
    return jnp.mean(0.5 * jnp.linalg.norm(y - targets, axis=1) ** 2)


def verify(net: pn.Layer, params: Any, x: Any) -> None:
    """Check each layer at the values it sees in the network; a wrong backward raises and names the leaf."""
    for (label, layer), layer_params in zip(net.parts, params, strict=True):
        print(f"{label} {pn.check(layer, x, params=layer_params, verbose=False).summary}")
        x = layer.predict(layer_params, (), x)


def compare(widths: Sequence[int], batch: int, key: jax.Array, verify_layers: bool = False) -> dict[str, float]:
    """The largest difference of each gradient from jax.grad's, relative to its largest value."""
    input_key, target_key, init_key = jax.random.split(key, 3)
    data = (
        jax.random.uniform(input_key, (batch, widths[0])),  # [batch, in]
        jax.random.normal(target_key, (batch, widths[-1])),  # [batch, out]
    )
    net = mlp(widths[1:])
    objective = pn.objective(net, pn.losses.half_squared_error("batch_mean"))
    params, _ = objective.init(init_key, data)
    if verify_layers:
        verify(net, params, data[0])
    by_hand = jax.jit(lambda params: gradients_by_hand(objective, params, data))(params)
    by_jax = jax.jit(jax.grad(plain_loss))(params, data)
    return {
        f"d{name}{k} {list(mine[name].shape)}": relative_difference(mine[name], theirs[name])
        for k, (mine, theirs) in enumerate(zip(*jax.device_get((by_hand[::2], by_jax[::2])), strict=True), 1)
        for name in ("kernel", "bias")
    }


def relative_difference(mine: Any, theirs: Any) -> float:
    return float(np.max(np.abs(mine - theirs)) / np.max(np.abs(theirs)))


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Print and return the difference of each gradient from jax.grad's."""
    parser = argparse.ArgumentParser(description="A network's gradients by hand and by jax.grad.")
    parser.add_argument("--widths", type=int, nargs="+", default=[3, 4, 4, 2], help="features, layer by layer")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verify", action="store_true", help="check each layer by itself too")
    args = parser.parse_args(argv)
    with jax.enable_x64(True):
        differences = compare(args.widths, args.batch, jax.random.key(args.seed), args.verify)
    print(f"{'gradient':<20}{'expected':>12}{'purenet':>12}")
    for name, difference in differences.items():
        print(f"{name:<20}{'<= 1e-12':>12}{difference:>12.1e}")
    return differences


if __name__ == "__main__":
    main()
