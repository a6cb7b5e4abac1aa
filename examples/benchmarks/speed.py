"""Time of a GPT's training step and of attention: purenet, plain jax.grad, an expert's jax.checkpoint, PyTorch.

    python examples/benchmarks/speed.py                a small GPT's step at 128 and at 1,024 tokens, and attention
    python examples/benchmarks/speed.py --gpt2         GPT-2 124M in bfloat16, for a GPU: tokens a second and the share
                                                       of what the device's matrix products reach

All run in turns in one process, so that they share whatever else the machine does: medians, and the median of the
ratios round by round, plain jax.grad's time divided by the contender's. PyTorch takes part where it is installed.
"""

from __future__ import annotations

import argparse
import functools
import platform
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain

import purenet as pn
from purenet.flops import matmul_flops

Runs = dict[str, Callable[[], Any]]


def measure(contenders: Runs, rounds: int) -> dict[str, list[float]]:
    """Seconds of each in turn, after two rounds that warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 2):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            if turn > 1:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def report(title: str, seconds: dict[str, list[float]], tokens: int, baseline: str, flops: float | None = None) -> None:
    print(f"\n{title}\n\n| | ms | tokens a second | times as fast |\n|---|---|---|---|")
    for name, own in seconds.items():
        ratio = np.median(np.array(seconds[baseline]) / np.array(own))
        middle = float(np.median(own))
        share = "" if flops is None else f", {flops / middle / 1e9:,.0f} GFLOP/s"
        print(f"| {name} | {1000 * middle:,.1f} | {tokens / middle:,.0f}{share} | {ratio:.2f} |")


def training(gradient: Any, optimizer: Any, params: Any, batch: Any) -> Callable[[], Any]:
    """One update after the other, compiled, the state donated."""

    def step(params: Any, opt_state: Any, batch: Any) -> Any:
        loss, gradients = gradient(params, batch)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    compiled = jax.jit(step, donate_argnums=(0, 1))
    now = [jax.tree.map(jnp.copy, params), optimizer.init(params)]

    def run() -> None:
        *now[:], loss = compiled(*now, batch)
        jax.block_until_ready((now, loss))

    return run


def gpt_contenders(config: Any, batch: int, time: int, dtype: Any, block: int | None) -> dict[str, Any]:
    """{name: function of (params, (ids, labels)) -> (loss, gradients)}, and the parameters and a batch under ""."""
    ids = jax.random.randint(jax.random.key(1), (batch, time + 1), 0, config.vocab_size)
    data = ids[:, :-1], ids[:, 1:]

    def by_hand(**options: Any) -> Any:
        objective = pn.models.gpt_objective(config, block=block, **options)
        objective = objective if dtype == jnp.float32 else pn.with_dtype(objective, dtype)

        def gradient(params: Any, batch: Any) -> Any:
            (loss, _), gradients = pn.value_and_grad(objective)(params, (), batch)
            return loss, gradients

        return gradient

    def by_autodiff(**options: Any) -> Any:
        loss = functools.partial(plain.gpt_loss, heads=config.heads, dtype=dtype, **options)
        return lambda params, batch: jax.value_and_grad(loss)(params, *batch)

    params, _ = jax.jit(pn.models.gpt_objective(config).init)(jax.random.key(0), data)
    return {
        "": (params, data),
        "jax.grad": by_autodiff(),
        "jax.checkpoint, chunked": by_autodiff(
            policy=plain.DOTS, attend=plain.expert_attention, loss=plain.expert_head_loss
        ),
        "purenet": by_hand(),
        "purenet, keep inputs": by_hand(keep="inputs"),
    }


def gpt_step(config: Any, batch: int, time: int, dtype: Any, block: int | None, rounds: int) -> None:
    contenders = gpt_contenders(config, batch, time, dtype, block)
    params, data = contenders.pop("")
    optimizer = optax.adamw(1e-4)
    runs = {name: training(gradient, optimizer, params, data) for name, gradient in contenders.items()}
    if jax.default_backend() == "cpu":
        runs |= torch_step(config, batch, time)
    flops = matmul_flops(jax.make_jaxpr(contenders["jax.grad"])(params, data).jaxpr)
    title = f"GPT step: {batch} x {time} tokens, {config.blocks} blocks of {config.features}, {jnp.dtype(dtype)}"
    title += "" if block is None else f", attention in blocks of {block}"
    report(title, measure(runs, rounds), batch * time, "jax.grad", flops)


def torch_step(config: Any, batch: int, time: int) -> Runs:
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from torch_gpt import GPT
    except ImportError:
        return {}
    network = GPT(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    ids = torch.randint(config.vocab_size, (batch, time + 1))

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()

    return {f"PyTorch {torch.__version__}": run}


def attention(batch: int, time: int, heads: int, dtype: Any, block: int, rounds: int) -> None:
    """Forward and backward of causal attention, 64 features a head."""
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v, do = (jax.random.normal(key, (batch, time, heads, 64), dtype) for key in keys)

    def packed(x: Any) -> Any:
        return x.reshape(batch, time, -1)

    def by_hand(**options: Any) -> Any:
        layer = pn.dot_product_attention(heads, causal=True, **options)

        def gradients(q: Any, k: Any, v: Any, do: Any) -> Any:
            x = packed(q), packed(k), packed(v)
            y, _, residuals = layer.forward((), (), x, None)
            return y, layer.backward((), x, y, residuals, packed(do))

        return gradients

    def by_autodiff(function: Any) -> Any:
        def gradients(q: Any, k: Any, v: Any, do: Any) -> Any:
            y, vjp = jax.vjp(function, q, k, v)
            return y, vjp(do)

        return gradients

    def library(implementation: Literal["xla", "cudnn"]) -> Any:
        return by_autodiff(
            functools.partial(jax.nn.dot_product_attention, is_causal=True, implementation=implementation)
        )

    functions = {
        "jax.nn, xla": library("xla"),
        "purenet": by_hand(),
        f"purenet, blocks of {block}": by_hand(block=block),
    }
    if jax.default_backend() == "gpu":
        functions |= {"jax.nn, cudnn": library("cudnn"), "purenet, kernel cudnn": by_hand(kernel="cudnn")}
    runs = {name: functools.partial(wait, jax.jit(function), q, k, v, do) for name, function in functions.items()}
    title = f"Causal attention: {batch} x {time} tokens, {heads} heads of 64, {jnp.dtype(dtype)}"
    report(title, measure(runs, rounds), batch * time, "jax.nn, xla")


def wait(function: Any, *args: Any) -> None:
    jax.block_until_ready(function(*args))


def ceiling(dtype: Any, size: int = 8192) -> float:
    """FLOPs a second of one product of large matrices: what a step could reach at most."""
    a = jnp.ones((size, size), dtype)
    seconds = measure({"product": functools.partial(wait, jax.jit(jnp.matmul), a, a)}, 10)["product"]
    return 2 * size**3 / float(np.median(seconds))


def main(options: argparse.Namespace) -> None:
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {platform.machine()}")
    if options.gpt2:
        print(f"ceiling of matrix products in bfloat16: {ceiling(jnp.bfloat16) / 1e9:,.0f} GFLOP/s")
        config = pn.models.GPT_SIZES["124m"]._replace(vocab_size=50304)
        gpt_step(config, options.batch, 1024, jnp.bfloat16, options.block, options.rounds)
        attention(1, 4096, 12, jnp.bfloat16, options.block or 512, options.rounds)
        return
    small = pn.models.GPTConfig(vocab_size=256, context_length=1024, features=128, blocks=4, heads=4)
    gpt_step(small, options.batch, 128, jnp.float32, None, options.rounds)
    gpt_step(small, options.batch, 1024, jnp.float32, options.block, max(3, options.rounds // 3))
    attention(1, 2048, 12, jnp.float32, options.block, max(3, options.rounds // 3))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpt2", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--block", type=int, default=256, help="of the attention, where it is blockwise")
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
