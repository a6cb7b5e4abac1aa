"""Bad input to combinators around one layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward, init, params_of

X = jnp.ones((4, 6))
NET = pn.serial(embed=pn.dense(5, use_bias=False), act=pn.tanh(), head=pn.dense(6))
TIED = pn.tied(NET, {"head.kernel": "embed.kernel.T"})


def tied(ties: Mapping[str, str]) -> Any:
    return init(pn.tied(NET, ties), X)


def reversible(x: Any, f: pn.Layer | None = None) -> Any:
    return init(pn.reversible(f or pn.dense(3), pn.dense(3)), x)


TABLE: Table = {
    "repeat: unknown keep": (
        lambda: pn.repeat(NET, 3, keep="everything"),
        ValueError,
        'repeat: expected keep "plan", "inputs" or "nested", got \'everything\'',
    ),
    "repeat: nested, another depth": (
        forward(pn.repeat(NET, 5, keep="nested"), params_of(pn.repeat(NET, 4)), X),
        ValueError,
        r"repeat: expected .*kernel.* stacked for 5 blocks \[5, ...\], got float32 \[4, 6, 5\]",
    ),
    "repeat: nested, another shape": (
        init(pn.repeat(pn.dense(5), 5, keep="nested"), X),
        ValueError,
        r"repeat: expected each block to keep float32 \[4, 6\], got float32 \[4, 5\]",
    ),
    "reversible: an odd axis": (
        reversible(jnp.ones((4, 7))),
        ValueError,
        r"reversible: expected x \[..., 2 d\], two halves along the last axis, got float32 \[4, 7\]",
    ),
    "reversible: a narrow stream": (
        reversible(X.astype(jnp.bfloat16)),
        TypeError,
        r"reversible: expected x in float32 or wider.*got bfloat16 \[4, 6\]: keep the stream wide and compute in "
        r"bfloat16 inside, reversible\(with_dtype\(f, ...\), with_dtype\(g, ...\)\)",
    ),
    "reversible: narrow by with_dtype": (
        init(pn.with_dtype(pn.reversible(pn.dense(3), pn.dense(3)), jnp.float16), X.astype(jnp.float16)),
        TypeError,
        "reversible: expected x in float32 or wider",
    ),
    "reversible: another shape": (
        reversible(X, pn.dense(2)),
        ValueError,
        r"reversible.f: expected an output like the input, float32 \[4, 3\], got float32 \[4, 2\]",
    ),
    "reversible: another dtype": (
        reversible(X, pn.with_dtype(pn.dense(3), jnp.bfloat16, output_dtype=jnp.bfloat16)),
        TypeError,
        r"reversible.f: expected an output of the dtype of the input, float32 \[4, 3\], got bfloat16 \[4, 3\]",
    ),
    "reversible: integers": (
        reversible(jnp.ones((4, 6), int)),
        TypeError,
        "reversible: expected x of a floating dtype",
    ),
    "frozen: shape inside": (
        forward(pn.frozen(NET), params_of(NET), jnp.ones((4, 5))),
        ValueError,
        r"frozen.serial.embed.dense: expected x \[..., 6\]",
    ),
    "tied: no such parameter": (
        tied({"head.kernel": "embed.table.T"}),
        ValueError,
        r"tied: expected the path of a parameter, got 'embed.table.T': there are embed.kernel, head.bias, head.kernel",
    ),
    "tied: no such target": (
        tied({"head.weight": "embed.kernel"}),
        ValueError,
        "tied: expected the path of a parameter, got 'head.weight'",
    ),
    "tied: not transposed": (
        tied({"head.kernel": "embed.kernel"}),
        ValueError,
        r"tied: expected embed.kernel of the shape of head.kernel \[5, 6\], got float32 \[6, 5\]",
    ),
    "tied: a chain": (
        lambda: pn.tied(NET, {"a": "b.T", "b": "c"}),
        ValueError,
        "tied: a is to be b.T, which is a target itself: name the last source",
    ),
    "tied: nothing": (lambda: pn.tied(NET, {}), ValueError, "tied: expected at least one pair of a target and its"),
    "tied: no mapping": (
        lambda: pn.tied(NET, ["head.kernel"]),  # pyright: ignore[reportArgumentType]
        TypeError,
        'tied: expected paths {"target": "source"}, got list of 1',
    ),
    "tied: the network's own parameters": (
        forward(TIED, params_of(NET), X),
        ValueError,
        r"tied: expected None for head.kernel, which is embed.kernel.T, got float32 \[5, 6\]: take the parameters of",
    ),
    "tied: shape inside": (
        forward(TIED, params_of(TIED), jnp.ones((4, 5))),
        ValueError,
        r"tied.serial.embed.dense: expected x \[..., 6\]",
    ),
    "with_dtype: an integer dtype": (
        lambda: pn.with_dtype(NET, jnp.int32),
        ValueError,
        "with_dtype: expected a floating dtype such as jnp.bfloat16, got .*int32",
    ),
    "with_dtype: no dtype": (
        lambda: pn.with_dtype(NET, jnp.bfloat16, output_dtype="narrow"),
        ValueError,
        "with_dtype: expected a floating dtype such as jnp.bfloat16, got 'narrow'",
    ),
    "with_dtype: shape inside": (
        forward(pn.with_dtype(NET, jnp.bfloat16), params_of(NET), jnp.ones((4, 5))),
        ValueError,
        r"with_dtype.serial.embed.dense: expected x \[..., 6\] for kernel \[6, 5\], got bfloat16 \[4, 5\]",
    ),
    "branch: outputs that do not fit": (
        init(pn.concatenate(pn.dense(2), pn.dense(3), axis=0), X),
        ValueError,
        'parallel: "concatenate" cannot combine branches',
    ),
    "scale_gradient: no number": (
        lambda: pn.scale_gradient("reverse"),  # pyright: ignore[reportArgumentType]
        TypeError,
        "scale_gradient: expected factor as a number, got str 'reverse'",
    ),
    "scale_gradient: not finite": (
        lambda: pn.scale_gradient(float("nan")),
        ValueError,
        "scale_gradient: expected factor as a number, got nan",
    ),
    "scale_gradient: integers": (
        forward(pn.scale_gradient(-1), (), jnp.arange(3)),
        TypeError,
        "scale_gradient: expected x of a floating dtype",
    ),
    "summary: no key": (
        lambda: pn.summary(pn.serial(pn.dense(3), pn.dropout(0.5)), X),
        TypeError,
        r"serial\[1\].dropout: expected a key, got None",
    ),
}
