"""Linear regression as a one-layer network, held against ordinary least squares, which knows the answer.

Two systems. A line through 100 noisy points: full-batch gradient descent reaches the least-squares line to the last
digits, though a thousand steps at rate 0.05 are not enough yet. House prices from area and bedrooms: steps on one
example at a time settle near the optimum and not on it, because each example pulls its own way at a constant rate;
and a loop that leaves out the last example fits the other four, which looks like a loss that got stuck.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn

HOUSES = [[2104, 3], [1600, 3], [2400, 3], [1416, 2], [3000, 4]]  # area in square feet, bedrooms
PRICES = [400, 330, 369, 232, 540]  # thousands
EXPECTED = {"least squares": 1444.1444, "all five examples": 1444.192, "without the last": 1723.07}


def least_squares(inputs: Any, targets: Any) -> Any:
    return jnp.linalg.lstsq(inputs, targets)[0]


def descend(objective: pn.Layer, params: Any, data: Any, rate: float, epochs: int, batch_size: int) -> Any:
    """The parameters after `epochs` of gradient descent from `params`, the examples in their order."""
    optimizer = optax.sgd(rate)
    state = pn.train.init_train_state(objective, optimizer, jax.random.key(0), data, params=params)
    run = pn.train.make_run(objective, optimizer, batch_size=batch_size, shuffle=False)
    steps = epochs * (len(data[0]) // batch_size)
    return jax.jit(run, static_argnums=2)(state, data, steps)[0].params


def fit_line(key: jax.Array) -> dict[str, Any]:
    """Slope and intercept for points on 2.3 x + 8 with noise from [0, 0.1], by mean squared error."""
    x_key, noise_key = jax.random.split(key)
    x = jax.random.uniform(x_key, (100, 1))
    y = 2.3 * x + 8 + 0.1 * jax.random.uniform(noise_key, (100, 1))
    objective = pn.objective(pn.dense(1), pn.losses.squared_error("mean"))
    start = {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}
    exact = least_squares(jnp.concatenate([x, jnp.ones_like(x)], 1), y)  # [slope, intercept]
    early = descend(objective, start, (x, y), rate=0.05, epochs=1_000, batch_size=100)
    late = descend(objective, start, (x, y), rate=0.5, epochs=2_000, batch_size=100)
    lines = {"1,000 steps at 0.05": early, "2,000 steps at 0.5": late}
    return {"least squares": np.ravel(exact)} | {
        name: np.array([params["kernel"][0, 0], params["bias"][0]]) for name, params in lines.items()
    }


def fit_houses(epochs: int) -> dict[str, float]:
    """The summed squared error over all five houses, at the optimum and after least mean squares at rate 0.1."""
    features = jnp.array(HOUSES, float)
    x = jnp.concatenate([jnp.ones((5, 1)), features], 1)  # [houses, 3]
    x = x / jnp.sum(x, 0, keepdims=True)
    y = jnp.array(PRICES, float)[:, None]
    objective = pn.objective(pn.dense(1, use_bias=False), pn.losses.half_squared_error("sum"))
    start = {"kernel": jnp.array([[0.0], [0.5], [0.5]])}

    def sum_of_squares(kernel: Any) -> float:
        return float(jnp.sum(jnp.square(x @ kernel - y)))

    def after(houses: int) -> float:
        data = x[:houses], y[:houses]
        return sum_of_squares(descend(objective, start, data, rate=0.1, epochs=epochs, batch_size=1)["kernel"])

    return {
        "least squares": sum_of_squares(least_squares(x, y)),
        "all five examples": after(5),
        "without the last": after(4),
    }


def main(epochs: int = 99_999) -> dict[str, Any]:
    """Print both systems; returns {"line": {name: [slope, intercept]}, "houses": {name: sum of squares}}."""
    with jax.enable_x64(True):
        line, houses = fit_line(jax.random.key(0)), fit_houses(epochs)
    print(f"{'the line':<24}{'slope':>20}{'intercept':>20}{'difference':>12}")
    exact = line["least squares"]
    for name, found in line.items():
        print(f"{name:<24}{found[0]:>20.15f}{found[1]:>20.15f}{np.max(np.abs(found / exact - 1)):>12.1e}")
    print(f"\n{'houses, sum of squares':<24}{'expected':>20}{'purenet':>20}{'difference':>12}")
    for name, expected in EXPECTED.items():
        print(f"{name:<24}{expected:>20.8g}{houses[name]:>20.8g}{abs(houses[name] / expected - 1):>12.1e}")
    return {"line": line, "houses": houses}


if __name__ == "__main__":
    main()
