"""Bad input to attention."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward, params_of

X = jnp.ones((2, 5, 24))
HALF = X.astype(jnp.bfloat16)
MEMORY = jnp.ones((2, 4, 6))
ATTEND = pn.packed_attention(4)
CROSS = pn.dot_product_attention(2)
SELF = pn.self_attention(2)


def masked(mask: Any) -> Any:
    return forward(ATTEND, (), (X, mask))


def init(layer: pn.Layer, x: Any) -> Any:
    return lambda: layer.init(jax.random.key(0), x)


TABLE: Table = {
    "packed_attention, no heads": (
        lambda: pn.packed_attention(0),
        ValueError,
        "packed_attention: expected heads of at least 1, got 0",
    ),
    "packed_attention, kv_heads": (
        lambda: pn.packed_attention(4, kv_heads=3),
        ValueError,
        "packed_attention: expected kv_heads that divide the 4 heads, got 3",
    ),
    "packed_attention, window 0": (
        lambda: pn.packed_attention(4, window=0),
        ValueError,
        "packed_attention: expected a window of at least 1 key to each side, or a pair .*, got 0",
    ),
    "packed_attention, window below 0": (
        lambda: pn.packed_attention(4, window=(-1, 0)),
        ValueError,
        r"packed_attention: expected a window .*, got \(-1, 0\)",
    ),
    "packed_attention, offset": (
        lambda: pn.packed_attention(4, offset="start"),
        ValueError,
        "packed_attention: expected an offset as an integer or \"end\", got 'start'",
    ),
    "packed_attention, softcap": (
        lambda: pn.packed_attention(4, softcap=0.0),
        ValueError,
        "packed_attention: expected softcap above 0, got 0.0",
    ),
    "packed_attention, scale": (
        lambda: pn.packed_attention(4, scale=float("nan")),
        ValueError,
        "packed_attention: expected scale as a number or None, got nan",
    ),
    "packed_attention, norm that cannot recompute": (
        lambda: pn.packed_attention(4, qk_norm=pn.dense(3)),
        ValueError,
        "packed_attention: expected norm as a layer that can recompute its output",
    ),
    "packed_attention, norm not called": (
        lambda: pn.packed_attention(4, qk_norm=cast(Any, pn.layer_norm)),
        TypeError,
        r"packed_attention: expected qk_norm as a Layer or None, got function .*: call it, layer_norm",
    ),
    "packed_attention, heads and features": (
        forward(pn.serial(pn.dense(25), ATTEND), [params_of(pn.dense(25), X), ()], X),
        ValueError,
        r"serial\[1\].packed_attention: expected x with features for 12 heads of equal size, got float32 \[2, 5, 25\]",
    ),
    "packed_attention, integers": (
        forward(ATTEND, (), X.astype(int)),
        TypeError,
        "packed_attention: expected x of a floating dtype",
    ),
    "packed_attention, features alone": (
        forward(ATTEND, (), X[0, 0]),
        ValueError,
        r"packed_attention: expected x \[..., time, features\]",
    ),
    "packed_attention, mask of other steps": (
        masked(jnp.ones((2, 5, 4), bool)),
        ValueError,
        r"packed_attention: expected a mask \[2, 5\], \[2, 5, 5\] or \[2, 4, 5, 5\], .*, got bool \[2, 5, 4\]",
    ),
    "packed_attention, mask of other heads": (
        masked(jnp.ones((2, 3, 5, 5))),
        ValueError,
        r"packed_attention: expected a mask .*, got float32 \[2, 3, 5, 5\]",
    ),
    "packed_attention, mask without leading axes": (
        masked(jnp.ones(5, bool)),
        ValueError,
        r"packed_attention: expected a mask .*, got bool \[5\]",
    ),
    "packed_attention, mask of complex numbers": (
        masked(jnp.ones((2, 5), jnp.complex64)),
        TypeError,
        r"packed_attention: expected a mask, boolean .*, floating \(added\) or a pair of .*, got complex64 \[2, 5\]",
    ),
    "packed_attention, documents of other steps": (
        masked(jnp.ones((2, 4), int)),
        ValueError,
        r"packed_attention: expected the segments of queries \[2, 5\], any length .*, got int32 \[2, 4\]",
    ),
    "packed_attention, documents for pairs": (
        masked(jnp.ones((2, 5, 5), int)),
        ValueError,
        r"packed_attention: expected the segments of queries \[2, 5\]",
    ),
    "packed_attention, block 0": (
        lambda: pn.packed_attention(4, block=0),
        ValueError,
        r"packed_attention: expected a block of at least 1 position, or a pair \(queries, keys\) of them, got 0",
    ),
    "packed_attention, block of three": (
        lambda: pn.packed_attention(4, block=cast(Any, (2, 2, 2))),
        ValueError,
        r"packed_attention: expected a block .*, got \(2, 2, 2\)",
    ),
    "packed_attention, kernel": (
        lambda: pn.packed_attention(4, kernel="xla"),
        ValueError,
        'packed_attention: expected the kernel "purenet" or "cudnn", got \'xla\'',
    ),
    "packed_attention, cudnn with options": (
        lambda: pn.packed_attention(4, kernel="cudnn", block=8, softcap=1.0, window=3),
        ValueError,
        'packed_attention: kernel="cudnn" does without block, softcap, window without causal',
    ),
    "packed_attention, cudnn in float32": (
        forward(pn.packed_attention(1, kernel="cudnn"), (), X),
        TypeError,
        'packed_attention: kernel="cudnn" takes bfloat16 or float16, got',
    ),
    "packed_attention, cudnn with a mask": (
        forward(pn.packed_attention(1, kernel="cudnn"), (), (HALF, jnp.ones((2, 5), bool))),
        TypeError,
        'packed_attention: kernel="cudnn" takes no mask',
    ),
    "packed_attention, cudnn with odd heads": (
        forward(pn.packed_attention(2, kernel="cudnn"), (), HALF),
        ValueError,
        'packed_attention: kernel="cudnn" takes heads of one size, a multiple of 8',
    ),
    "packed_attention, cudnn with an offset": (
        forward(pn.packed_attention(1, kernel="cudnn", causal=True, offset=2), (), HALF),
        ValueError,
        'packed_attention: kernel="cudnn" puts the first query at the first key, got an offset of 2',
    ),
    "packed_attention, cudnn without a GPU": (
        forward(pn.packed_attention(1, kernel="cudnn"), (), HALF),
        ValueError,
        'packed_attention: kernel="cudnn" takes an NVIDIA GPU, got the backend cpu',
    ),
    "packed_attention, mask at init": (
        init(ATTEND, (X, jnp.ones((2, 4), bool))),
        ValueError,
        "packed_attention: expected a mask",
    ),
    "packed_attention, odd heads to turn": (
        forward(pn.packed_attention(4, rotary=pn.rotary()), (), jnp.ones((2, 5, 36))),
        ValueError,
        "packed_attention.query.rotary: expected an even number of features",
    ),
    "packed_attention, norms' parameters": (
        forward(pn.packed_attention(4, qk_norm=pn.layer_norm()), (), X),
        ValueError,
        r"packed_attention: expected parameters \['key', 'query'\], got tuple",
    ),
    "dot_product_attention of one array": (
        forward(CROSS, (), X),
        TypeError,
        r"dot_product_attention: expected \(queries, keys, values\) or these and a mask, got float32",
    ),
    "dot_product_attention, keys of other features": (
        forward(CROSS, (), (X, MEMORY, MEMORY)),
        ValueError,
        r"dot_product_attention: expected queries \[..., time, 2 \* d\], keys \[..., steps, 2 \* d\]",
    ),
    "dot_product_attention, values of other steps": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY[:, :3])),
        ValueError,
        "dot_product_attention: expected queries",
    ),
    "dot_product_attention, integer values": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY.astype(int))),
        TypeError,
        "dot_product_attention: expected values of a floating dtype",
    ),
    "dot_product_attention, documents of queries alone": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY, jnp.ones((2, 4), int))),
        TypeError,
        "dot_product_attention: expected a mask, boolean .* or a pair of integer arrays",
    ),
    "dot_product_attention, documents of floats": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY, (jnp.ones((2, 4)), jnp.ones((2, 4))))),
        TypeError,
        "dot_product_attention: expected the segments of queries and keys as two integer arrays, got tuple of 2",
    ),
    "self_attention, heads and features": (
        init(SELF, jnp.ones((2, 5, 7))),
        ValueError,
        r"serial.project.projections: expected features that the 2 heads divide, got float32 \[2, 5, 7\]: give",
    ),
    "self_attention, kv_heads": (
        lambda: pn.self_attention(4, kv_heads=8),
        ValueError,
        "self_attention: expected kv_heads that divide the 4 heads, got 8",
    ),
    "self_attention, no features": (
        lambda: pn.self_attention(4, features=0),
        ValueError,
        "self_attention: expected features of at least 1, got 0",
    ),
    "self_attention, other parameters": (
        lambda: SELF.forward({"project": {}, "attend": (), "out": {}}, (), jnp.ones((2, 5, 6)), None),
        ValueError,
        r"serial.project.projections: expected parameters \['qkv'\], got dict with \[\]",
    ),
    "self_attention, another width's parameters": (
        forward(SELF, params_of(SELF, jnp.ones((2, 5, 8))), jnp.ones((2, 5, 6))),
        ValueError,
        r"serial.project.projections.qkv.dense: expected a kernel to 18 features, got kernel float32 \[8, 24\]",
    ),
    "self_attention of integers": (
        init(SELF, jnp.ones((2, 5, 6), int)),
        TypeError,
        "serial.project.projections: expected x of a floating dtype",
    ),
    "cross_attention without memory": (
        init(pn.cross_attention(2), jnp.ones((2, 5, 6))),
        TypeError,
        "serial.project.projections: expected 2 inputs or these and a mask, got tuple of 1",
    ),
    "multi_head_attention of two": (
        init(pn.multi_head_attention(2), (MEMORY, MEMORY)),
        TypeError,
        "projections: expected 3 inputs or these and a mask, got tuple of 2",
    ),
    "packed_attention, blocks of no steps": (
        forward(pn.packed_attention(2, block=2), (), jnp.ones((2, 0, 12))),
        ValueError,
        "packed_attention: expected at least one query and one key, got 0 and 0",
    ),
}
