"""Time of forward and backward with all gradients, every layer beside jax.vjp of the same forward, in one run.

    python examples/benchmarks/layers.py                    rows of purenet's catalogue, at sizes for a CPU
    python examples/benchmarks/layers.py --large            the sizes of a training run on a GPU
    python examples/benchmarks/layers.py conv lstm          some of them, or any others

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
from purenet.catalogue import Row, catalogue, features
from purenet.catalogue.draws import integers, normal, together
from purenet.catalogue.row import Draw
from purenet.layer import run_backward


class Size(NamedTuple):
    """What is measured: `examples` of x, `large` of them with --large, and a layer of that width where the row's own
    is a small one."""

    x: Draw
    examples: int
    large: int
    layer: pn.Layer | None = None


class Measured(NamedTuple):
    by_hand: float
    by_autodiff: float
    ratio: float
    memory: float


WIDE = Size(normal(1024), 1024, 16384)
IMAGES = Size(normal(32, 32, 64), 32, 256)
TOKENS = Size(normal(256, 512), 8, 64)
STEPS = Size(normal(128, 256), 32, 128)
PAIRS = WIDE._replace(x=together(normal(1024), normal(1024)))
CLASSES = WIDE._replace(x=together(normal(1000), integers(1000)))
# A row that is named nowhere here is measured at its own input.
OWN = 4096


def wide(layer: pn.Layer, count: int = 512, examples: int = 1024, large: int = 16384) -> Size:
    return Size(normal(count), examples, large, layer)


def images(layer: pn.Layer | None = None, examples: int = 16, large: int = 256) -> Size:
    return IMAGES._replace(examples=examples, large=large, layer=layer)


def tokens(layer: pn.Layer, count: int = 1, examples: int = 4) -> Size:
    x = TOKENS.x if count == 1 else together(*[TOKENS.x] * count)
    return Size(x, examples, 64, layer)


def elementwise() -> dict[str, Size]:
    random = ("dropout", "alpha_dropout", "gaussian_dropout", "gaussian_noise", "drop_path", "prelu")
    return dict.fromkeys([*(row.name for row in features.activations()), *random], WIDE)


def of_features() -> dict[str, Size]:
    gates = Size(normal(2 * 2816), 512, 16384)
    return {
        "dense": WIDE._replace(layer=pn.dense(1024)),
        **dict.fromkeys(("glu", "geglu", "swiglu", "reglu"), gates),
        "gated_mlp": wide(pn.gated_mlp(1408)),
        "mixture_of_experts": wide(pn.mixture_of_experts(8, 512, top_k=2), 256, 2048),
        "highway": wide(pn.highway()),
        "maxout": wide(pn.maxout(512, 4)),
    }


def of_images() -> dict[str, Size]:
    unchanged = ("global_avg_pool", "global_max_pool", "global_lp_pool", "pixel_shuffle")
    unchanged += ("pixel_unshuffle", "swap_axes", "flatten", "batch_norm", "activated_batch_norm", "spatial_dropout")
    return dict.fromkeys(unchanged, IMAGES) | {
        "conv": images(pn.conv(64, (3, 3))),
        "conv, strided": images(pn.conv(128, (3, 3), strides=2)),
        "conv, 1x1": images(pn.conv(128, (1, 1))),
        "conv, causal": Size(normal(512, 128), 16, 256, pn.conv(128, 5, padding="CAUSAL")),
        "conv, 3d": Size(normal(12, 12, 12, 16), 8, 64, pn.conv(16, (3, 3, 3))),
        "conv, grouped": images(pn.conv(64, (3, 3), groups=4)),
        "conv, 32 groups": images(pn.conv(64, (3, 3), groups=32), 4),
        "depthwise_conv": images(),
        "conv_transpose": Size(normal(16, 16, 64), 16, 256, pn.conv_transpose(32, (3, 3), strides=2)),
        "max_pool, overlapping": images(pn.max_pool((3, 3), strides=2), 32),
        "max_pool": images(pn.max_pool((2, 2), strides=2), 32),
        "avg_pool": images(pn.avg_pool((2, 2), strides=2), 32),
        "avg_pool, padding not counted": images(pn.avg_pool((3, 3), strides=2), 32),
        "lp_pool": images(pn.lp_pool((2, 2), strides=2), 32),
        "adaptive_avg_pool": images(pn.adaptive_avg_pool((7, 7)), 32),
        "adaptive_max_pool": images(pn.adaptive_max_pool((7, 7)), 8),
        "upsample": images(pn.upsample((2, 2)), 8, 64),
        "upsample, linear": images(pn.upsample((2, 2), method="linear"), 8, 64),
        "pad": images(pn.pad(((1, 1), (1, 1)), mode="reflect"), 32),
        "crop": images(pn.crop(((1, 1), (1, 1))), 32),
        "reshape": images(pn.reshape(64, 1024), 32),
        "group_norm": images(pn.group_norm(8)),
        "instance_norm": images(pn.instance_norm()),
        "squeeze_and_excitation": images(pn.squeeze_and_excitation(16)),
        "weight_standardize": images(pn.weight_standardize(pn.conv(64, (3, 3)))),
    }


def of_sequences() -> dict[str, Size]:
    packed, pair = Size(normal(256, 3 * 512), 4, 64), together(TOKENS.x, TOKENS.x)
    return dict.fromkeys(("layer_norm", "rms_norm", "l2_normalize", "sinusoidal_positions"), TOKENS) | {
        "embedding": Size(integers(8192, 256), 16, 64, pn.embedding(8192, 256)),
        "learned_positions": tokens(pn.learned_positions(256), 1, 8),
        "rotary": Size(normal(256, 8, 64), 8, 64, pn.rotary()),
        "packed_attention": packed._replace(layer=pn.packed_attention(8)),
        "packed_attention, causal": packed._replace(layer=pn.packed_attention(8, causal=True)),
        "packed_attention, grouped": Size(normal(256, 12 * 64), 4, 64, pn.packed_attention(8, kv_heads=2)),
        "self_attention": tokens(pn.self_attention(8, causal=True)),
        "dot_product_attention": tokens(pn.dot_product_attention(8), 3),
        "cross_attention": tokens(pn.cross_attention(8), 2),
        "multi_head_attention": tokens(pn.multi_head_attention(8), 3),
        "rnn": STEPS._replace(layer=pn.rnn(256)),
        "gru": STEPS._replace(layer=pn.gru(256)),
        "lstm": STEPS._replace(layer=pn.lstm(256)),
        "lstm, gates kept": STEPS._replace(layer=pn.lstm(256, keep="gates")),
        "linear_recurrence": Size(pair, 8, 64, pn.linear_recurrence()),
        "linear_recurrence, sequential, reversed": Size(pair, 8, 64, pn.linear_recurrence(method="sequential")),
        "stacked_rnn": Size(normal(64, 128), 32, 128, pn.stacked_rnn(pn.gru(128), pn.gru(128))),
        "without_lengths": tokens(pn.without_lengths(pn.dropout(0.1)), 1, 8),
        "bidirectional": Size(normal(64, 128), 32, 128, pn.bidirectional(pn.lstm(128), pn.lstm(128, reverse=True))),
    }


def around() -> dict[str, Size]:
    block = pn.serial(norm=pn.layer_norm(), up=pn.dense(1024), act=pn.gelu(), down=pn.dense(256))
    checkpointed = pn.repeat(pn.remat(pn.residual(block)), 6)
    return {
        "residual": wide(pn.residual(block), 256),
        "repeat": wide(pn.repeat(pn.residual(block), 6), 256, 512, 8192),
        "repeat, remat": wide(checkpointed, 256, 512, 8192),
        "concatenate": wide(pn.concatenate(pn.dense(256), pn.serial(pn.dense(256), pn.tanh())), 256),
        "frozen": wide(pn.serial(pn.frozen(pn.dense(1024)), pn.gelu(), pn.dense(256)), 256),
        "with_dtype": wide(pn.with_dtype(block, jnp.bfloat16), 256),
        "weight_norm": wide(pn.weight_norm(pn.dense(1024)), 256),
        "spectral_norm": wide(pn.spectral_norm(pn.dense(1024)), 256),
    }


def losses() -> dict[str, Size]:
    names = ("softmax_cross_entropy, integer labels", "softmax_cross_entropy, integer labels, smoothing")
    sizes: dict[str, Size] = dict.fromkeys(names, CLASSES)
    return sizes | dict.fromkeys(("squared_error", "huber", "cosine_similarity"), PAIRS)


def sizes() -> dict[str, Size]:
    """By the name of the row in purenet's catalogue."""
    found: dict[str, Size] = {}
    for subject in (elementwise, of_features, of_images, of_sequences, around, losses):
        found |= subject()
    return found


def size_of(row: Row) -> Size:
    size = sizes().get(row.name, Size(row.x, OWN, OWN))
    return size if size.layer else size._replace(layer=row.layer)


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


def drawn(size: Size, examples: int) -> Any:
    return size.x(np.random.default_rng(0), examples)


def measure(size: Size, examples: int, dtype: Any, rounds: int) -> Measured:
    key, layer = jax.random.key(0), size.layer
    assert layer is not None
    x = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype if leaf.dtype == np.float64 else leaf.dtype), drawn(size, examples)
    )
    params, state = layer.init(key, x)
    y = jax.eval_shape(lambda *a: layer.forward(*a)[0], params, state, x, key)
    dy = jax.tree.map(lambda leaf: jnp.sin(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), y)
    arguments = params, state, x, jax.random.key(1), dy
    programs = [jax.jit(make(layer)).lower(*arguments).compile() for make in (by_hand, by_autodiff)]
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
    wanted = options.layers or sizes()
    chosen = [row for row in catalogue() if row.name in wanted or row.constructor in options.layers]
    if not chosen:
        parser.error(f"expected names among {', '.join(dict.fromkeys(row.constructor for row in catalogue()))}")
    device = jax.devices()[0].device_kind
    print(f"{options.rounds} rounds, {options.dtype}, jax {jax.__version__}, {device}, {platform.machine()}")
    print(f"{'layer':40} {'input':>22} {'ours ms':>9} {'jax ms':>9} {'ratio':>6} {'memory':>7}")
    ratios = []
    for row in chosen:
        size = size_of(row)
        examples = size.large if options.large else size.examples
        found = measure(size, examples, jnp.dtype(options.dtype), options.rounds)
        ratios.append(found.ratio)
        shape = "x".join(map(str, jax.tree.leaves(drawn(size, 1))[0].shape[1:]))
        memory = "-" if np.isnan(found.memory) else f"{found.memory:.2f}"
        print(
            f"{row.name:40} {f'{examples}x{shape}'.rstrip('x'):>22} {1e3 * found.by_hand:9.3f} "
            f"{1e3 * found.by_autodiff:9.3f} {found.ratio:6.2f} {memory:>7}",
            flush=True,
        )
    print(f"median ratio {np.median(ratios):.2f}, largest {max(ratios):.2f}, of {len(ratios)}")


if __name__ == "__main__":
    main()
