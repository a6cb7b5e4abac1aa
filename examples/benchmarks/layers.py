"""Time of forward and backward with all gradients, every layer beside jax.vjp of the same forward, in one run.

    python examples/benchmarks/layers.py                    every layer, at sizes for a CPU
    python examples/benchmarks/layers.py --large            the sizes of a training run on a GPU
    python examples/benchmarks/layers.py conv lstm          some of them

Runs alternate, ours, theirs, ours, theirs: medians of each, and the median of the ratios round by round. Below 1 the
hand-written backward is the faster one. "memory" is the ratio of compiled temporary bytes, ours to theirs, "-" where
neither takes any.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from purenet.layer import run_backward


class Row(NamedTuple):
    """A layer and its input; `large` is the number of examples with --large."""

    name: str
    layer: pn.Layer
    x: Callable[[int], Any]
    examples: int
    large: int


class Measured(NamedTuple):
    by_hand: float
    by_autodiff: float
    ratio: float
    memory: float


def floats(*shape: int) -> Callable[[int], Any]:
    """Normal numbers [examples, ...]."""
    return lambda examples: np.random.default_rng(0).normal(size=(examples, *shape)).astype(np.float32)


def integers(below: int, *shape: int) -> Callable[[int], Any]:
    return lambda examples: np.random.default_rng(0).integers(0, below, (examples, *shape)).astype(np.int32)


def pairs(first: Callable[[int], Any], second: Callable[[int], Any]) -> Callable[[int], Any]:
    return lambda examples: (first(examples), second(examples))


def triples(each: Callable[[int], Any]) -> Callable[[int], Any]:
    return lambda examples: (each(examples), each(examples), each(examples))


ROWS_OF_FEATURES = floats(1024)
IMAGES = floats(32, 32, 64)
TOKENS = floats(256, 512)


def elementwise() -> list[Row]:
    layers = [
        pn.identity(), pn.sigmoid(), pn.tanh(), pn.relu(), pn.relu6(), pn.leaky_relu(), pn.elu(), pn.celu(), pn.selu(),
        pn.gelu(), pn.silu(), pn.mish(), pn.softplus(), pn.softsign(), pn.hard_sigmoid(), pn.hard_swish(),
        pn.hard_tanh(), pn.log_sigmoid(), pn.erf_sigmoid(), pn.softmax(), pn.log_softmax(), pn.prelu(),
        pn.dropout(0.1), pn.alpha_dropout(0.1), pn.gaussian_dropout(0.1), pn.gaussian_noise(0.1), pn.drop_path(0.1),
    ]  # fmt: skip
    rows = [Row(layer.name, layer, ROWS_OF_FEATURES, 1024, 16384) for layer in layers]
    return [*rows, Row("swish", pn.swish(), ROWS_OF_FEATURES, 1024, 16384)]


def features() -> list[Row]:
    return [
        Row("dense", pn.dense(1024), ROWS_OF_FEATURES, 1024, 16384),
        Row("glu", pn.glu(), floats(2 * 2816), 512, 16384),
        Row("geglu", pn.geglu(), floats(2 * 2816), 512, 16384),
        Row("swiglu", pn.swiglu(), floats(2 * 2816), 512, 16384),
        Row("reglu", pn.reglu(), floats(2 * 2816), 512, 16384),
        Row("gated_mlp", pn.gated_mlp(1408), floats(512), 1024, 16384),
        Row("mixture_of_experts", pn.mixture_of_experts(8, 512, top_k=2), floats(256), 2048, 16384),
        Row("highway", pn.highway(), floats(512), 1024, 16384),
        Row("maxout", pn.maxout(512, 4), floats(512), 1024, 16384),
    ]


def images() -> list[Row]:
    return [
        Row("conv", pn.conv(64, (3, 3)), IMAGES, 16, 256),
        Row("conv, stride 2", pn.conv(128, (3, 3), strides=2), IMAGES, 16, 256),
        Row("conv, 1x1", pn.conv(128, (1, 1)), IMAGES, 16, 256),
        Row("conv, 1d causal", pn.conv(128, 5, padding="CAUSAL"), floats(512, 128), 16, 256),
        Row("conv, 3d", pn.conv(16, (3, 3, 3)), floats(12, 12, 12, 16), 8, 64),
        Row("conv, 4 groups", pn.conv(64, (3, 3), groups=4), IMAGES, 16, 256),
        Row("conv, 32 groups", pn.conv(64, (3, 3), groups=32), IMAGES, 4, 256),
        Row("depthwise_conv", pn.depthwise_conv((3, 3)), IMAGES, 16, 256),
        Row("conv_transpose", pn.conv_transpose(32, (3, 3), strides=2), floats(16, 16, 64), 16, 256),
        Row("max_pool", pn.max_pool((2, 2), strides=2), IMAGES, 32, 256),
        Row("max_pool, overlapping", pn.max_pool((3, 3), strides=2), IMAGES, 32, 256),
        Row("avg_pool", pn.avg_pool((2, 2), strides=2), IMAGES, 32, 256),
        Row("avg_pool, overlapping", pn.avg_pool((3, 3), strides=2), IMAGES, 32, 256),
        Row("lp_pool", pn.lp_pool((2, 2), strides=2), IMAGES, 32, 256),
        Row("adaptive_avg_pool", pn.adaptive_avg_pool((7, 7)), IMAGES, 32, 256),
        Row("adaptive_max_pool", pn.adaptive_max_pool((7, 7)), IMAGES, 8, 256),
        Row("upsample", pn.upsample((2, 2)), IMAGES, 8, 64),
        Row("upsample, linear", pn.upsample((2, 2), method="linear"), IMAGES, 8, 64),
        Row("pixel_shuffle", pn.pixel_shuffle(2), IMAGES, 32, 256),
        Row("pixel_unshuffle", pn.pixel_unshuffle(2), IMAGES, 32, 256),
        Row("pad", pn.pad(((1, 1), (1, 1)), mode="reflect"), IMAGES, 32, 256),
        Row("crop", pn.crop(((1, 1), (1, 1))), IMAGES, 32, 256),
        Row("swap_axes", pn.swap_axes(-2, -1), IMAGES, 32, 256),
        Row("flatten", pn.flatten(), IMAGES, 32, 256),
        Row("reshape", pn.reshape(64, 1024), IMAGES, 32, 256),
        Row("global_avg_pool", pn.global_avg_pool(), IMAGES, 32, 256),
        Row("global_max_pool", pn.global_max_pool(), IMAGES, 32, 256),
        Row("global_lp_pool", pn.global_lp_pool(), IMAGES, 32, 256),
        Row("batch_norm", pn.batch_norm(), IMAGES, 32, 256),
        Row("activated_batch_norm", pn.activated_batch_norm(), IMAGES, 32, 256),
        Row("group_norm", pn.group_norm(8), IMAGES, 16, 256),
        Row("instance_norm", pn.instance_norm(), IMAGES, 16, 256),
        Row("squeeze_and_excitation", pn.squeeze_and_excitation(16), IMAGES, 16, 256),
        Row("spatial_dropout", pn.spatial_dropout(0.1), IMAGES, 32, 256),
    ]


def sequences() -> list[Row]:
    packed = floats(256, 3 * 512)
    heads = floats(256, 8, 64)
    return [
        Row("layer_norm", pn.layer_norm(), TOKENS, 8, 64),
        Row("rms_norm", pn.rms_norm(), TOKENS, 8, 64),
        Row("l2_normalize", pn.l2_normalize(), TOKENS, 8, 64),
        Row("embedding", pn.embedding(8192, 256), integers(8192, 256), 16, 64),
        Row("learned_positions", pn.learned_positions(256), TOKENS, 8, 64),
        Row("sinusoidal_positions", pn.sinusoidal_positions(), TOKENS, 8, 64),
        Row("rotary", pn.rotary(), heads, 8, 64),
        Row("packed_attention", pn.packed_attention(8), packed, 4, 64),
        Row("packed_attention, causal", pn.packed_attention(8, causal=True), packed, 4, 64),
        Row("packed_attention, 2 of 8 key heads", pn.packed_attention(8, kv_heads=2), floats(256, 12 * 64), 4, 64),
        Row("self_attention", pn.self_attention(8, causal=True), TOKENS, 4, 64),
        Row("rnn", pn.rnn(256), floats(128, 256), 32, 128),
        Row("gru", pn.gru(256), floats(128, 256), 32, 128),
        Row("lstm", pn.lstm(256), floats(128, 256), 32, 128),
        Row("lstm, gates kept", pn.lstm(256, keep="gates"), floats(128, 256), 32, 128),
        Row("linear_recurrence", pn.linear_recurrence(), pairs(TOKENS, TOKENS), 8, 64),
        Row("linear_recurrence, sequential", pn.linear_recurrence(method="sequential"), pairs(TOKENS, TOKENS), 8, 64),
        Row("dot_product_attention", pn.dot_product_attention(8), triples(TOKENS), 4, 64),
        Row("cross_attention", pn.cross_attention(8), pairs(TOKENS, TOKENS), 4, 64),
        Row("multi_head_attention", pn.multi_head_attention(8), triples(TOKENS), 4, 64),
        Row("stacked_rnn", pn.stacked_rnn(pn.gru(128), pn.gru(128)), floats(64, 128), 32, 128),
        Row("without_lengths", pn.without_lengths(pn.dropout(0.1)), TOKENS, 8, 64),
        Row("bidirectional", pn.bidirectional(pn.lstm(128), pn.lstm(128, reverse=True)), floats(64, 128), 32, 128),
    ]


def around() -> list[Row]:
    block = pn.serial(norm=pn.layer_norm(), up=pn.dense(1024), act=pn.gelu(), down=pn.dense(256))
    rows = floats(256)
    return [
        Row("residual", pn.residual(block), rows, 1024, 16384),
        Row("repeat", pn.repeat(pn.residual(block), 6), rows, 512, 8192),
        Row("repeat, remat", pn.repeat(pn.remat(pn.residual(block)), 6), rows, 512, 8192),
        Row("branch", pn.concatenate(pn.dense(256), pn.serial(pn.dense(256), pn.tanh())), rows, 1024, 16384),
        Row("frozen", pn.serial(pn.frozen(pn.dense(1024)), pn.gelu(), pn.dense(256)), rows, 1024, 16384),
        Row("with_dtype", pn.with_dtype(block, jnp.bfloat16), rows, 1024, 16384),
        Row("weight_norm", pn.weight_norm(pn.dense(1024)), rows, 1024, 16384),
        Row("weight_standardize", pn.weight_standardize(pn.conv(64, (3, 3))), IMAGES, 16, 256),
        Row("spectral_norm", pn.spectral_norm(pn.dense(1024)), rows, 1024, 16384),
    ]


def losses() -> list[Row]:
    classes, pair = floats(1000), pairs(ROWS_OF_FEATURES, ROWS_OF_FEATURES)
    labels = pairs(classes, integers(1000))
    return [
        Row("squared_error", pn.losses.squared_error(), pair, 1024, 16384),
        Row("huber", pn.losses.huber(), pair, 1024, 16384),
        Row("cosine_similarity", pn.losses.cosine_similarity(), pair, 1024, 16384),
        Row("softmax_cross_entropy", pn.losses.softmax_cross_entropy(), labels, 1024, 16384),
        Row(
            "softmax_cross_entropy, smoothed", pn.losses.softmax_cross_entropy(label_smoothing=0.1), labels, 1024, 16384
        ),
    ]


SUBJECTS = (elementwise, features, images, sequences, around, losses)


def by_hand(layer: pn.Layer) -> Callable[..., Any]:
    def run(params: Any, state: Any, x: Any, key: Any, dy: Any) -> Any:
        y, new_state, residuals = layer.forward(params, state, x, key)
        return y, new_state, run_backward(layer, params, x, y, residuals, dy)

    return run


def by_autodiff(layer: pn.Layer) -> Callable[..., Any]:
    def run(params: Any, state: Any, x: Any, key: Any, dy: Any) -> Any:
        leaves, tree = jax.tree.flatten((params, x))
        moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

        def value(inexact: list) -> Any:
            given = iter(inexact)
            filled = [next(given) if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
            params, x = jax.tree.unflatten(tree, filled)
            return layer.forward(params, state, x, key)[:2]

        inexact = [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves]
        y, vjp, new_state = jax.vjp(value, inexact, has_aux=True)
        return y, new_state, vjp(dy)

    return run


def measure(row: Row, examples: int, dtype: Any, rounds: int) -> Measured:
    key = jax.random.key(0)
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype if leaf.dtype == np.float32 else leaf.dtype), row.x(examples))
    params, state = row.layer.init(key, x)
    y = jax.eval_shape(lambda *a: row.layer.forward(*a)[0], params, state, x, key)
    dy = jax.tree.map(lambda leaf: jnp.sin(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), y)
    arguments = params, state, x, jax.random.key(1), dy
    programs = [jax.jit(make(row.layer)).lower(*arguments).compile() for make in (by_hand, by_autodiff)]
    memory = [temporary_bytes(program) for program in programs]
    once = max(min(timed(program, arguments, 1) for _ in range(3)) for program in programs)
    turns = max(1, round(0.01 / once))
    times = np.array([[timed(program, arguments, turns) for program in programs] for _ in range(rounds)])
    hand, auto = np.median(times, 0)
    return Measured(
        hand, auto, float(np.median(times[:, 0] / times[:, 1])), memory[0] / memory[1] if memory[1] else np.nan
    )


def temporary_bytes(program: Any) -> int:
    memory = program.memory_analysis()
    return 0 if memory is None else memory.temp_size_in_bytes


def timed(program: Any, arguments: tuple, turns: int) -> float:
    """Seconds of one run, the mean of `turns`."""
    start = time.perf_counter()
    for _ in range(turns):
        jax.block_until_ready(program(*arguments))
    return (time.perf_counter() - start) / turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layers", nargs="*", help="names; all without")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    rows = [row for subject in SUBJECTS for row in subject()]
    chosen = [row for row in rows if not options.layers or row.name.split(",")[0] in options.layers]
    if not chosen:
        parser.error(f"expected names among {', '.join(row.name for row in rows)}")
    device = jax.devices()[0].device_kind
    print(f"{options.rounds} rounds, {options.dtype}, jax {jax.__version__}, {device}, {platform.machine()}")
    print(f"{'layer':32} {'input':>22} {'ours ms':>9} {'jax ms':>9} {'ratio':>6} {'memory':>7}")
    ratios = []
    for row in chosen:
        examples = row.large if options.large else row.examples
        found = measure(row, examples, jnp.dtype(options.dtype), options.rounds)
        ratios.append(found.ratio)
        shape = "x".join(map(str, jax.tree.leaves(row.x(1))[0].shape[1:]))
        memory = "-" if np.isnan(found.memory) else f"{found.memory:.2f}"
        print(
            f"{row.name:32} {f'{examples}x{shape}'.rstrip('x'):>22} {1e3 * found.by_hand:9.3f} "
            f"{1e3 * found.by_autodiff:9.3f} {found.ratio:6.2f} {memory:>7}",
            flush=True,
        )
    print(f"median ratio {np.median(ratios):.2f}, largest {max(ratios):.2f}, of {len(ratios)}")


if __name__ == "__main__":
    main()
