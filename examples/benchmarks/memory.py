"""Temporary bytes and matrix products of a gradient: purenet, plain jax.grad and an expert's jax.checkpoint.

    python examples/benchmarks/memory.py                        every table, compiled for this machine
    python examples/benchmarks/memory.py head gpt               some of them
    python examples/benchmarks/memory.py --target h200.txtpb    compiled for the GPU described there; none need be here

Nothing is run: the compiler says what a program takes, and the products are counted on what was traced, those of
loops as often as they run. A target is a description from the sources of openxla/xla, in
xla/backends/gpu/target_config/specs; it needs an environment with `jax[cuda12]`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

if "--target" in sys.argv:  # before jax starts
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"

import jax
import jax.numpy as jnp
import optax
import plain
from jax.experimental import topologies

import purenet as pn
from purenet.flops import matmul_flops
from purenet.layer import run_backward


class Table(NamedTuple):
    """Functions of the same arguments; the first one is the plain gradient, which the others are compared with."""

    title: str
    contenders: Mapping[str, Callable[..., Any]]
    args: tuple[Any, ...]
    donate: tuple[int, ...] = ()


class Cost(NamedTuple):
    temporary: int
    total: int
    flops: int


def cost(function: Callable[..., Any], args: tuple[Any, ...], donate: tuple[int, ...] = (), place: Any = None) -> Cost:
    """What the compiled function takes; `place` is a sharding on the target."""

    def placed(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    traced = jax.jit(function, donate_argnums=donate).trace(*jax.tree.map(placed, args))
    memory = traced.lower().compile().memory_analysis()
    assert memory is not None
    temporary, taken = memory.temp_size_in_bytes, memory.argument_size_in_bytes + memory.output_size_in_bytes
    return Cost(temporary, taken + temporary - memory.alias_size_in_bytes, matmul_flops(traced.jaxpr.jaxpr))


def floats(*shape: int, dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def integers(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def key() -> Any:
    return jax.random.key(0)


def initial(layer: pn.Layer, x: Any) -> Any:
    """The shapes of its parameters."""
    return jax.eval_shape(layer.init, key(), x)[0]


def by_hand(layer: pn.Layer) -> Callable[..., Any]:
    """(y, gradients of parameters and x) from (params, x, dy)."""

    def gradients(params: Any, x: Any, dy: Any) -> Any:
        y, _, residuals = layer.forward(params, (), x, None)
        return y, run_backward(layer, params, x, y, residuals, dy)

    return gradients


def by_autodiff(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same from `jax.vjp` of function(params, x)."""

    def gradients(params: Any, x: Any, dy: Any) -> Any:
        y, vjp = jax.vjp(function, params, x)
        return y, vjp(dy)

    return gradients


def of_loss(objective: pn.Layer) -> Callable[..., Any]:
    """(loss, gradients of the parameters) from (params, batch)."""

    def gradients(params: Any, batch: Any) -> Any:
        (loss, _), dparams = pn.value_and_grad(objective)(params, (), batch)
        return loss, dparams

    return gradients


def head(dtype: Any = jnp.float32, tokens: int = 8192, features: int = 768, vocabulary: int = 50304) -> Table:
    """Output head and cross entropy; the gradients of the hidden states and of the kernel."""

    def plain_loss(params: Any, x: Any, *, loss: Any = plain.head_loss) -> Any:
        return jax.value_and_grad(lambda kernel, hidden: loss(kernel, hidden, x[1]), (0, 1))(params["kernel"], x[0])

    def chunked(params: Any, x: Any, **options: Any) -> Any:
        layer = pn.losses.linear_cross_entropy(vocabulary, **options)
        value, _, residuals = layer.forward(params, (), x, None)
        return value, run_backward(layer, params, x, value, residuals, jnp.ones_like(value))

    contenders = {
        "jax.value_and_grad": plain_loss,
        "jax.checkpoint of 16 chunks": functools.partial(plain_loss, loss=plain.expert_head_loss),
        "purenet, by tokens": functools.partial(chunked, by="tokens"),
        "purenet, by vocabulary": functools.partial(chunked, by="vocabulary"),
    }
    params, x = {"kernel": floats(features, vocabulary, dtype=dtype)}, (floats(tokens, features, dtype=dtype),)
    title = f"Head and cross entropy, {tokens:,} tokens of {features} to {vocabulary:,} words, {jnp.dtype(dtype)}"
    return Table(title, contenders, (params, (*x, integers(tokens))))


def attention(dtype: Any = jnp.float32, batch: int = 1, time: int = 4096, heads: int = 12) -> Table:
    def plain_function(attend: Any) -> Any:
        return by_autodiff(lambda params, x: attend(x, heads))

    contenders = {
        "jax.vjp": plain_function(plain.attention),
        "jax.checkpoint of blocks of queries": plain_function(plain.expert_attention),
        "purenet, all at once": by_hand(pn.packed_attention(heads, causal=True)),
        **{
            f"purenet, blocks of {block}": by_hand(pn.packed_attention(heads, causal=True, block=block))
            for block in (128, 256)
        },
    }
    x, y = floats(batch, time, 3 * heads * 64, dtype=dtype), floats(batch, time, heads * 64, dtype=dtype)
    title = f"Causal attention, {batch} x {time} tokens, {heads} heads of 64, {jnp.dtype(dtype)}"
    return Table(title, contenders, ((), x, y))


def stack(title: str, block: pn.Layer, plain_block: Any, rows: int, width: int, depth: int) -> Table:
    """Equal blocks over stacked parameters."""

    def plain_stack(policy: Any) -> Any:
        return by_autodiff(lambda params, x: plain.stack(plain_block, params, x, policy))

    keeps = {keep: pn.repeat(block, depth, keep=keep) for keep in ("plan", "inputs", "nested")}
    contenders = {
        "jax.vjp": plain_stack(None),
        "jax.checkpoint, products saved": plain_stack(plain.DOTS),
        "jax.checkpoint, nothing saved": plain_stack(plain.NOTHING),
        **{f"purenet, keep {keep}": by_hand(layer) for keep, layer in keeps.items()},
    }
    x = floats(rows, width)
    return Table(f"{title}, {depth} deep, {rows:,} x {width}", contenders, (initial(keeps["plan"], x), x, x))


def gelu(rows: int = 4096, width: int = 768, depth: int = 12) -> Table:
    block = pn.serial(norm=pn.layer_norm(), up=pn.dense(4 * width), gelu=pn.gelu(), down=pn.dense(width))
    return stack("GELU blocks", pn.residual(block), plain.gelu_block, rows, width, depth)


def swiglu(rows: int = 4096, width: int = 1024, depth: int = 12, hidden: int = 2816) -> Table:
    block = pn.serial(up=pn.dense(2 * hidden), gate=pn.swiglu(), down=pn.dense(width))
    return stack("SwiGLU blocks", pn.residual(block), plain.swiglu_block, rows, width, depth)


def gpt(dtype: Any = jnp.float32, batch: int = 8, time: int = 1024) -> Table:
    """GPT-2 124M, its vocabulary rounded up to a multiple of 128."""
    config = pn.models.GPT_SIZES["124m"]._replace(vocab_size=50304)
    lean = {"attend": plain.expert_attention, "loss": plain.expert_head_loss}

    def autodiff(**options: Any) -> Any:
        loss = functools.partial(plain.gpt_loss, heads=config.heads, dtype=dtype, **options)
        return lambda params, batch: jax.value_and_grad(loss)(params, *batch)

    def hand(keep: str) -> Any:
        objective = pn.models.gpt_objective(config, block=128, keep=keep)
        return of_loss(objective if dtype == jnp.float32 else pn.with_dtype(objective, dtype))

    contenders = {
        "jax.value_and_grad": autodiff(),
        "jax.checkpoint, products saved": autodiff(policy=plain.DOTS),
        "jax.checkpoint, nothing saved": autodiff(policy=plain.NOTHING),
        "the same, chunked, products saved": autodiff(policy=plain.DOTS, **lean),
        "the same, chunked, nothing saved": autodiff(policy=plain.NOTHING, **lean),
        **{f"purenet, keep {keep}": hand(keep) for keep in ("plan", "inputs", "nested")},
    }
    data = integers(batch, time), integers(batch, time)
    params = initial(pn.models.gpt_objective(config), data)
    return Table(f"GPT-2 124M, {batch} x {time} tokens, {jnp.dtype(dtype)}", contenders, (params, data))


def reversible(rows: int = 2048, width: int = 512, depths: tuple[int, ...] = (16, 256)) -> list[Table]:
    """Depth-independent memory: the blocks' inputs are computed again from their outputs."""

    def branch() -> pn.Layer:
        return pn.serial(up=pn.dense(4 * width), gelu=pn.gelu(), down=pn.dense(width))

    block = pn.reversible(branch(), branch())
    return [stack("Reversible blocks", block, plain.reversible_block, rows, 2 * width, depth) for depth in depths]


def clipped(batch: int = 256) -> Table:
    """The clipped gradient of private training; plain JAX forms every example's gradient."""
    net = pn.models.mlp([1024, 1024, 10], activation=pn.relu)
    objective = pn.objective(net, pn.losses.softmax_cross_entropy())

    def plain_loss(params: Any, example: Any) -> Any:
        inputs, label = example
        for name in ("dense1", "dense2"):
            inputs = jax.nn.relu(plain.dense(params[name], inputs))
        logits = plain.dense(params["dense3"], inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, label)

    contenders = {
        "jax.vmap of jax.grad": lambda params, data: plain.clipped_gradient(plain_loss, params, data, 1.0),
        "purenet": lambda params, data: pn.clipped_value_and_grad(objective, 1.0)(params, (), data)[1],
    }
    data = floats(batch, 784), integers(batch)
    return Table(f"Clipped gradient, MLP 784-1024-1024-10, {batch} examples", contenders, (initial(net, data[0]), data))


def fused_update(rows: int = 512, width: int = 1024, depth: int = 24) -> Table:
    """A step of AdamW, the state donated; the last one updates each block where its gradient appears."""
    block = pn.serial(norm=pn.layer_norm(), up=pn.dense(4 * width), gelu=pn.gelu(), down=pn.dense(width))
    objective = pn.objective(pn.repeat(pn.residual(block), depth), pn.losses.half_squared_error())
    optimizer, x = optax.adamw(1e-3), floats(rows, width)

    def plain_step(state: Any, batch: Any) -> Any:
        def loss(params: Any) -> Any:
            return jnp.mean((plain.stack(plain.gelu_block, params, batch[0]) - batch[1]) ** 2) / 2

        value, gradients = jax.value_and_grad(loss)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return dataclasses.replace(state, step=state.step + 1, params=params, opt_state=opt_state), value

    state = jax.eval_shape(functools.partial(pn.train.init_train_state, objective, optimizer), key(), (x, x))
    contenders = {
        "jax.value_and_grad": plain_step,
        "purenet, make_step": pn.train.make_step(objective, optimizer),
        "purenet, make_fused_step": pn.train.make_fused_step(objective, optimizer),
    }
    title = f"Step of AdamW, {depth} GELU blocks, {rows} x {width}, the state donated"
    return Table(title, contenders, (state, (x, x)), donate=(0,))


def convolutions(batch: int = 32, size: int = 56, channels: int = 64, depth: int = 8) -> Table:
    block = pn.serial(conv=pn.conv(channels, (3, 3), padding="SAME", use_bias=False), norm=pn.activated_batch_norm())
    net = pn.repeat(block, depth)
    x = floats(batch, size, size, channels)
    params, state = jax.eval_shape(net.init, key(), x)

    def ours(params: Any, x: Any, dy: Any) -> Any:
        y, _, residuals = net.forward(params, state, x, None)
        return y, run_backward(net, params, x, y, residuals, dy)

    contenders = {
        "jax.vjp": by_autodiff(lambda params, x: plain.stack(plain.conv_block, params, x)),
        "jax.checkpoint, nothing saved": by_autodiff(
            lambda params, x: plain.stack(plain.conv_block, params, x, plain.NOTHING)
        ),
        "purenet": ours,
    }
    title = f"Convolution, batch norm and leaky ReLU, {depth} deep, {batch} x {size} x {size} x {channels}"
    return Table(title, contenders, (params, x, x))


def lstm(batch: int = 64, time: int = 512, features: int = 512) -> Table:
    x = floats(batch, time, features)
    contenders = {
        "jax.vjp": by_autodiff(plain.lstm),
        "purenet": by_hand(pn.lstm(features)),
        "purenet, keep gates": by_hand(pn.lstm(features, keep="gates")),
    }
    title = f"LSTM, {batch} x {time} steps, {features} features"
    return Table(title, contenders, (initial(pn.lstm(features), x), x, x))


TABLES: dict[str, Callable[[], Table | list[Table]]] = {
    "head": lambda: [head(), head(jnp.bfloat16)],
    "attention": lambda: [attention(), attention(jnp.bfloat16)],
    "gelu": gelu,
    "swiglu": swiglu,
    "gpt": lambda: [gpt(), gpt(jnp.bfloat16), gpt(jnp.bfloat16, batch=64)],
    "reversible": reversible,
    "clipped": clipped,
    "update": fused_update,
    "convolutions": convolutions,
    "lstm": lstm,
}


def target(path: Path | None) -> Any:
    """Where the arguments lie: on a device that is only described, or as they come."""
    if path is None:
        return None
    described = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=path.read_text())
    mesh = topologies.make_mesh(described, (1,), ("device",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def show(table: Table, place: Any) -> None:
    print(f"\n{table.title}\n\n| | temporary MiB | times less | with arguments and results | products |")
    print("|---|---|---|---|---|", flush=True)
    baseline = None
    for name, function in table.contenders.items():
        own = cost(function, table.args, table.donate, place)
        baseline = baseline or own
        sizes = (
            f"{own.temporary / 2**20:,.1f} | {baseline.temporary / own.temporary:.1f} | {own.total / 2**20:,.0f} MiB"
        )
        print(f"| {name} | {sizes} | {own.flops / baseline.flops:.2f} |", flush=True)


def main(options: argparse.Namespace) -> None:
    place = target(options.target)
    print(f"jax {jax.__version__}, {jax.default_backend() if place is None else options.target.stem}")
    for name in options.tables or TABLES:
        tables = TABLES[name]()
        for table in tables if isinstance(tables, list) else [tables]:
            show(table, place)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help=f"of {', '.join(TABLES)}; by default all")
    parser.add_argument("--target", type=Path, help="compile for the GPU that this file describes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
