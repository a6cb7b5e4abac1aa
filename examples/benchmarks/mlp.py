"""Training steps a second on the digits network 64-128-128-10, batch 32, Adam: side by side in one run.

    purenet      pn.train.fit, evaluation off, 20 epochs a chunk (its default is up to 1,000 steps)
    jax.grad     the loop a careful engineer writes: jitted, donated lax.scan over an epoch, jax.value_and_grad, optax
    from Python  that same step jitted and called once a batch

Rounds alternate, the first chunk or epoch of each is not counted; medians, and ratios round by round.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn

SIZES, BATCH = (64, 128, 128, 10), 32


def make_data(examples: int) -> Any:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(examples, SIZES[0])).astype(np.float32)
    return inputs, generator.integers(0, SIZES[-1], examples).astype(np.int32)


def purenet_round(data: Any, epochs: int) -> float:
    net = pn.serial(pn.dense(128), pn.relu(), pn.dense(128), pn.relu(), pn.dense(10))
    times = [time.perf_counter()]
    pn.train.fit(
        pn.objective(net, pn.losses.softmax_cross_entropy()),
        optax.adam(1e-3),
        data,
        key=jax.random.key(0),
        epochs=epochs + 20,
        batch_size=BATCH,
        chunk_steps=20 * (len(data[0]) // BATCH),
        progress=False,
        on_chunk=lambda state, metrics: times.append(time.perf_counter()),
    )
    return times[-1] - times[1]


def init(key: Any) -> Any:
    keys = jax.random.split(key, len(SIZES) - 1)
    shapes = list(zip(keys, SIZES, SIZES[1:], strict=False))
    return [(jax.random.normal(k, (m, n)) / np.sqrt(m), jnp.zeros(n)) for k, m, n in shapes]


def loss(params: Any, x: Any, labels: Any) -> Any:
    for kernel, bias in params[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    kernel, bias = params[-1]
    return optax.softmax_cross_entropy_with_integer_labels(x @ kernel + bias, labels).mean()


def make_step(optimizer: Any) -> Callable[..., Any]:
    def step(params: Any, opt_state: Any, x: Any, labels: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(params, x, labels)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    return step


def scan_round(data: Any, epochs: int) -> float:
    optimizer = optax.adam(1e-3)
    step = make_step(optimizer)
    steps = len(data[0]) // BATCH

    def epoch(params: Any, opt_state: Any, key: Any, inputs: Any, labels: Any) -> Any:
        order = jax.random.permutation(key, len(inputs))[: steps * BATCH].reshape(steps, BATCH)

        def body(carry: Any, rows: Any) -> Any:
            params, opt_state, value = step(*carry, inputs[rows], labels[rows])
            return (params, opt_state), value

        carry, values = jax.lax.scan(body, (params, opt_state), order)
        return *carry, values

    run = jax.jit(epoch, donate_argnums=(0, 1))
    params, data = init(jax.random.key(0)), jax.tree.map(jnp.asarray, data)
    opt_state, history = optimizer.init(params), []
    times = []
    for number in range(epochs + 1):
        params, opt_state, values = run(params, opt_state, jax.random.fold_in(jax.random.key(1), number), *data)
        history.append(np.asarray(values))
        times.append(time.perf_counter())
    return times[-1] - times[0]


def python_round(data: Any, epochs: int) -> float:
    optimizer = optax.adam(1e-3)
    step = jax.jit(make_step(optimizer), donate_argnums=(0, 1))
    params, data = init(jax.random.key(0)), jax.tree.map(jnp.asarray, data)
    opt_state, generator, times = optimizer.init(params), np.random.default_rng(0), []
    for _ in range(epochs + 1):
        order = generator.permutation(len(data[0]))
        for at in range(len(order) // BATCH):
            rows = order[at * BATCH : (at + 1) * BATCH]
            params, opt_state, _ = step(params, opt_state, data[0][rows], data[1][rows])
        jax.block_until_ready(params)
        times.append(time.perf_counter())
    return times[-1] - times[0]


def main(rounds: int, epochs: int, examples: int) -> dict[str, np.ndarray]:
    data = make_data(examples)
    contenders = {"purenet": purenet_round, "jax.grad": scan_round, "from Python": python_round}
    steps = epochs * (examples // BATCH)
    rates = {name: np.zeros(rounds) for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            rates[name][number] = steps / contender(data, epochs)
    print(f"{rounds} rounds of {steps} steps, jax {jax.__version__}, {jax.default_backend()}, {platform.machine()}")
    print(f"{'':12}  steps/s   us/step   purenet is")
    for name, rate in rates.items():
        ratio = np.median(rates["purenet"] / rate)
        print(f"{name:12}  {np.median(rate):7.0f}   {1e6 / np.median(rate):7.1f}   {ratio:.2f}x as fast")
    return rates


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--examples", type=int, default=1440)
    options = parser.parse_args()
    main(options.rounds, options.epochs, options.examples)
