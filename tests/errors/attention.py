"""Bad input to attention."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward

X = jnp.ones((2, 5, 24))
HALF = X.astype(jnp.bfloat16)
MEMORY = jnp.ones((2, 4, 6))
ATTEND = pn.attend(4)
CROSS = pn.cross_attend(2)
SELF = pn.self_attention(2)


def masked(mask: Any) -> Any:
    return forward(ATTEND, (), (X, mask))


def init(layer: pn.Layer, x: Any) -> Any:
    return lambda: layer.init(jax.random.key(0), x)


TABLE: Table = {
    "attend, no heads": (lambda: pn.attend(0), ValueError, "attend: expected a number of heads of at least 1, got 0"),
    "attend, kv_heads": (
        lambda: pn.attend(4, kv_heads=3),
        ValueError,
        "attend: expected kv_heads that divide the 4 heads, got 3",
    ),
    "attend, window 0": (
        lambda: pn.attend(4, window=0),
        ValueError,
        "attend: expected a window of at least 1 key to each side, or a pair .*, got 0",
    ),
    "attend, window below 0": (
        lambda: pn.attend(4, window=(-1, 0)),
        ValueError,
        r"attend: expected a window .*, got \(-1, 0\)",
    ),
    "attend, offset": (
        lambda: pn.attend(4, offset="start"),
        ValueError,
        "attend: expected an offset as an integer or \"end\", got 'start'",
    ),
    "attend, softcap": (lambda: pn.attend(4, softcap=0.0), ValueError, "attend: expected a softcap above 0, got 0.0"),
    "attend, scale": (lambda: pn.attend(4, scale=float("nan")), ValueError, "attend: expected a finite scale, got nan"),
    "attend, norm that cannot rebuild": (
        lambda: pn.attend(4, qk_norm=pn.dense(3)),
        ValueError,
        "attend: expected norm as a layer that can rebuild its output",
    ),
    "attend, norm not called": (
        lambda: pn.attend(4, qk_norm=cast(Any, pn.layer_norm)),
        ValueError,
        "attend: expected norm as a layer",
    ),
    "attend, heads and features": (
        forward(pn.serial(pn.dense(25), ATTEND), [pn.dense(25).init(jax.random.key(0), X)[0], ()], X),
        ValueError,
        r"serial\[1\].attend: expected x with features for 12 heads of equal size, got float32 \[2, 5, 25\]",
    ),
    "attend, integers": (forward(ATTEND, (), X.astype(int)), TypeError, "attend: expected x of a floating dtype"),
    "attend, features alone": (forward(ATTEND, (), X[0, 0]), ValueError, r"attend: expected x \[..., time, features\]"),
    "attend, mask of other steps": (
        masked(jnp.ones((2, 5, 4), bool)),
        ValueError,
        r"attend: expected a mask \[2, 5\], \[2, 5, 5\] or \[2, 4, 5, 5\], .*, got bool \[2, 5, 4\]",
    ),
    "attend, mask of other heads": (
        masked(jnp.ones((2, 3, 5, 5))),
        ValueError,
        r"attend: expected a mask .*, got float32 \[2, 3, 5, 5\]",
    ),
    "attend, mask without leading axes": (
        masked(jnp.ones(5, bool)),
        ValueError,
        r"attend: expected a mask .*, got bool \[5\]",
    ),
    "attend, mask of complex numbers": (
        masked(jnp.ones((2, 5), jnp.complex64)),
        TypeError,
        r"attend: expected a mask, boolean \(True: seen\), floating \(added\) or a pair of .*, got complex64 \[2, 5\]",
    ),
    "attend, documents of other steps": (
        masked(jnp.ones((2, 4), int)),
        ValueError,
        r"attend: expected the segments of queries \[2, 5\], any length of which may be 1, got int32 \[2, 4\]",
    ),
    "attend, documents for pairs": (
        masked(jnp.ones((2, 5, 5), int)),
        ValueError,
        r"attend: expected the segments of queries \[2, 5\]",
    ),
    "attend, block 0": (
        lambda: pn.attend(4, block=0),
        ValueError,
        r"attend: expected a block of at least 1 position, or a pair \(queries, keys\) of them, got 0",
    ),
    "attend, block of three": (
        lambda: pn.attend(4, block=cast(Any, (2, 2, 2))),
        ValueError,
        r"attend: expected a block .*, got \(2, 2, 2\)",
    ),
    "attend, kernel": (
        lambda: pn.attend(4, kernel="xla"),
        ValueError,
        'attend: expected the kernel "purenet" or "cudnn", got \'xla\'',
    ),
    "attend, cudnn with options": (
        lambda: pn.attend(4, kernel="cudnn", block=8, softcap=1.0, window=3),
        ValueError,
        'attend: kernel="cudnn" does without block, softcap, window without causal',
    ),
    "attend, cudnn in float32": (
        forward(pn.attend(1, kernel="cudnn"), (), X),
        TypeError,
        'attend: kernel="cudnn" takes bfloat16 or float16, got',
    ),
    "attend, cudnn with a mask": (
        forward(pn.attend(1, kernel="cudnn"), (), (HALF, jnp.ones((2, 5), bool))),
        TypeError,
        'attend: kernel="cudnn" takes no mask',
    ),
    "attend, cudnn with odd heads": (
        forward(pn.attend(2, kernel="cudnn"), (), HALF),
        ValueError,
        'attend: kernel="cudnn" takes heads of one size, a multiple of 8',
    ),
    "attend, cudnn with an offset": (
        forward(pn.attend(1, kernel="cudnn", causal=True, offset=2), (), HALF),
        ValueError,
        'attend: kernel="cudnn" puts the first query at the first key, got an offset of 2',
    ),
    "attend, cudnn without a GPU": (
        forward(pn.attend(1, kernel="cudnn"), (), HALF),
        ValueError,
        'attend: kernel="cudnn" takes an NVIDIA GPU, got the backend cpu',
    ),
    "attend, mask at init": (init(ATTEND, (X, jnp.ones((2, 4), bool))), ValueError, "attend: expected a mask"),
    "attend, odd heads to turn": (
        forward(pn.attend(4, rotary=pn.rotary()), (), jnp.ones((2, 5, 36))),
        ValueError,
        "attend.query.rotary: expected an even number of features",
    ),
    "attend, norms' parameters": (
        forward(pn.attend(4, qk_norm=pn.layer_norm()), (), X),
        ValueError,
        r"attend: expected parameters \['key', 'query'\], got tuple",
    ),
    "cross_attend of one array": (
        forward(CROSS, (), X),
        TypeError,
        r"cross_attend: expected \(queries, keys, values\) or these and a mask, got float32",
    ),
    "cross_attend, keys of other features": (
        forward(CROSS, (), (X, MEMORY, MEMORY)),
        ValueError,
        r"cross_attend: expected queries \[..., time, 2 \* d\], keys \[..., steps, 2 \* d\]",
    ),
    "cross_attend, values of other steps": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY[:, :3])),
        ValueError,
        "cross_attend: expected queries",
    ),
    "cross_attend, integer values": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY.astype(int))),
        TypeError,
        "cross_attend: expected values of a floating dtype",
    ),
    "cross_attend, documents of queries alone": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY, jnp.ones((2, 4), int))),
        TypeError,
        "cross_attend: expected a mask, boolean .* or a pair of integer arrays",
    ),
    "cross_attend, documents of floats": (
        forward(CROSS, (), (MEMORY, MEMORY, MEMORY, (jnp.ones((2, 4)), jnp.ones((2, 4))))),
        TypeError,
        "cross_attend: expected the segments of queries and keys as two integer arrays, got tuple of 2",
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
        forward(SELF, SELF.init(jax.random.key(0), jnp.ones((2, 5, 8)))[0], jnp.ones((2, 5, 6))),
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
    "attend, blocks of no steps": (
        forward(pn.attend(2, block=2), (), jnp.ones((2, 0, 12))),
        ValueError,
        "attend: expected at least one query and one key, got 0 and 0",
    ),
}
