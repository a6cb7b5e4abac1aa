"""Temporary memory and matrix products of twelve GELU blocks: purenet's plan, with remat, and jax.value_and_grad.

Nothing is run: the compiler says what the program takes. Sizes as in GPT-2's smallest model by default.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp

import purenet as pn


def temporary_bytes(function: Any, *args: Any) -> int:
    memory = jax.jit(function).lower(*args).compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


def main(rows: int, width: int, depth: int) -> None:
    block = pn.residual(pn.serial(pn.layer_norm(), pn.dense(4 * width), pn.gelu(), pn.dense(width)))
    plain, rematerialised = (
        pn.objective(pn.repeat(each, depth), pn.losses.half_squared_error("sum")) for each in (block, pn.remat(block))
    )
    x = (jax.ShapeDtypeStruct((rows, width), jnp.float32),) * 2
    params, state = jax.eval_shape(plain.init, jax.random.key(0), x)
    contenders = {
        "jax.value_and_grad": jax.value_and_grad(plain.predict),
        "purenet": pn.value_and_grad(plain),
        "purenet, remat": pn.value_and_grad(rematerialised),
    }
    sizes = {name: temporary_bytes(function, params, state, x) for name, function in contenders.items()}
    print(f"{depth} blocks, {rows} rows of {width}, jax {jax.__version__}, {jax.default_backend()}\n")
    print("| gradient by | temporary memory | |\n|---|---|---|")
    for name, size in sizes.items():
        ratio = sizes["jax.value_and_grad"] / size
        print(f"| {name} | {size / 2**20:,.0f} MiB | {f'{ratio:.1f} times less' if ratio != 1 else ''} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    options = parser.parse_args()
    main(options.rows, options.width, options.depth)
