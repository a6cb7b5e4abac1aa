"""Bad input to GPT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from gpt_value import LLAMA, TINY, drawn

from purenet import models

from .calls import Table, forward

PARAMS: Any = jax.eval_shape(lambda: drawn(TINY))
IDS: Any = np.ones((2, 5), np.int32)
CACHE: Any = jax.tree.map(
    lambda leaf: jnp.full(leaf.shape, 5, leaf.dtype),
    jax.eval_shape(lambda: models.prefill(TINY, drawn(TINY), IDS, 6)[1]),
)


def built(**changes: Any) -> Any:
    return lambda: models.gpt(TINY._replace(**changes))


def written(steps: Any = 3, prompt: Any = IDS, **options: Any) -> Any:
    return lambda: models.generate(TINY, PARAMS, prompt, steps, **options)


def step(cache: Any, ids: Any) -> Any:
    return lambda: models.decode_step(TINY, drawn(TINY), cache, ids)


TABLE: Table = {
    "gpt, no config": (
        lambda: models.gpt(cast(Any, "124m")),
        TypeError,
        "gpt: expected a GPTConfig, got '124m': GPT_SIZES has GPT-2's",
    ),
    "gpt, blocks": (built(blocks=0), ValueError, "gpt: expected blocks of at least 1, got 0"),
    "gpt, no heads": (built(heads=0), ValueError, "gpt: expected heads of at least 1, got 0"),
    "gpt, heads": (built(heads=3), ValueError, "gpt: expected heads that divide the 16 features, got 3"),
    "gpt, kv_heads": (built(heads=4, kv_heads=3), ValueError, "gpt: expected kv_heads that divide the 4 heads, got 3"),
    "gpt, odd head": (
        built(positions="rotary", head_features=5),
        ValueError,
        "gpt: expected an even head size to turn in pairs, got 5",
    ),
    "gpt, norm": (built(norm="batch_norm"), ValueError, r"gpt: expected norm in \['layer_norm', 'rms_norm'\], got"),
    "gpt, activation": (built(activation="swish"), ValueError, "gpt: expected activation in .*'swiglu'.*, got 'swish'"),
    "gpt, positions": (built(positions="alibi"), ValueError, "gpt: expected positions in .*, got 'alibi'"),
    "gpt, too long": (
        forward(models.gpt(TINY), PARAMS, np.ones((2, 13), np.int32)),
        ValueError,
        r"body.serial.positions.learned_positions: expected at most 12 steps .* of a table of 12, got .*\[2, 13, 16\]",
    ),
    "gpt, beyond the vocabulary": (
        lambda: models.gpt(TINY).predict(drawn(TINY), (), np.full((2, 5), 31)),
        ValueError,
        r"expected indices in 0..30, got 31 at \(0, 0\)",
    ),
    "gpt, labels beyond the vocabulary": (
        lambda: models.gpt_objective(TINY).forward(drawn(TINY), (), (IDS, np.full((2, 5), 31)), None),
        ValueError,
        "expected labels in 0..30",
    ),
    "gpt, another's parameters": (
        lambda: models.prefill(LLAMA, PARAMS, IDS),
        ValueError,
        r"prefill.decoding.serial.body.serial: expected parameters for \['embed', 'blocks', 'norm'\], got dict",
    ),
    "generate, too long": (
        written(9),
        ValueError,
        "generate: expected at most the 12 positions of the table, got a prompt of 5 and 9 steps, in all 13",
    ),
    "generate, no steps": (written(0), ValueError, "generate: expected at least 1 step, got 0"),
    "generate, steps": (
        written(2.5),
        TypeError,
        "generate: expected steps as a number known when compiling, got float",
    ),
    "generate, beyond the vocabulary": (
        written(prompt=np.full((2, 5), 31)),
        ValueError,
        r"generate: expected indices in 0..30, got 31 at \(0, 0\)",
    ),
    "generate, floats": (written(prompt=np.ones((2, 5))), TypeError, "generate: expected x of an integer dtype"),
    "generate, no prompt": (
        written(prompt=IDS[:, :0]),
        ValueError,
        r"generate: expected ids \[..., time\] with at least one step, got int32 \[2, 0\]",
    ),
    "generate, temperature": (
        written(temperature=-1.0),
        ValueError,
        "generate: expected a temperature of at least 0, got -1.0",
    ),
    "generate, top_k": (written(top_k=0), ValueError, "generate: expected top_k of at least 1, got 0"),
    "generate, top_p": (written(top_p=1.5), ValueError, r"generate: expected top_p in \(0, 1\], got 1.5"),
    "prefill, capacity": (
        lambda: models.prefill(TINY, PARAMS, IDS, 4),
        ValueError,
        "prefill.decoding: expected room for 5 tokens behind 0, got a capacity of 4: begin with a larger one",
    ),
    "prefill, beyond the table": (
        lambda: models.prefill(TINY, PARAMS, IDS, 13),
        ValueError,
        "prefill: expected at most the 12 positions of the table, got a capacity of 13",
    ),
    "decode_step, full": (
        step(CACHE, IDS[:, :2]),
        ValueError,
        "decode_step.decoding: expected room for 2 tokens behind 5, got a capacity of 6: begin with a larger one",
    ),
    "decode_step, another batch": (
        step(CACHE, IDS[:1, :1]),
        ValueError,
        r"packed_attention: expected a cache of the batch and heads of float32 \[1, 1, 2, 8\], got .*\[2, 6, 2, 8\]",
    ),
    "save_gpt, neither family": (
        lambda: models.save_gpt(Path("nowhere"), TINY._replace(use_bias=False), PARAMS),
        ValueError,
        r"expected an architecture of gpt2 \(use_bias True\), got use_bias=False: see purenet.files.save_params",
    ),
    "save_gpt, another's parameters": (
        lambda: models.save_gpt(Path("nowhere"), LLAMA, drawn(TINY)),
        ValueError,
        r"save_gpt: expected other parameters: missing \['body.blocks.attention.attend.key.norm.scale', .*unknown",
    ),
}
