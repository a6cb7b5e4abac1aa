"""Entries of attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import layers
from .inputs import Row, normal

BATCH, TIME, STEPS = 3, 5, 4


def padded(random: np.random.Generator) -> Any:
    """The queries of the last example see nothing."""
    return random.normal(size=(BATCH, TIME, 24)), np.arange(TIME) < np.array([5, 2, 0])[:, None]


def biased(random: np.random.Generator) -> Any:
    return random.normal(size=(BATCH, TIME, 24)), random.normal(size=(1, 2, TIME, TIME))


def documents(random: np.random.Generator) -> Any:
    return random.normal(size=(BATCH, TIME, 24)), np.array(
        [[0, 0, 1, 1, 1], [5, 5, 5, 2, -1], [0, 0, 0, 0, 0]], np.int32
    )


def parts(*shapes: tuple[int, ...]) -> Any:
    return lambda random: tuple(random.normal(size=(BATCH, *shape)) for shape in shapes)


PACKED = normal(BATCH, TIME, 24)


def rows() -> list[Row]:
    normed = layers.packed_attention(2, qk_norm=layers.rms_norm(), rotary=layers.rotary())
    steps = parts((TIME, 8), (STEPS, 6))
    return [
        ("packed_attention", layers.packed_attention(2), PACKED),
        ("packed_attention, causal", layers.packed_attention(2, causal=True), PACKED),
        ("packed_attention, grouped", layers.packed_attention(4, kv_heads=1), PACKED),
        (
            "packed_attention, window, alibi and soft cap",
            layers.packed_attention(3, window=(1, 2), alibi=True, softcap=2.0),
            normal(5, 18),
        ),
        ("packed_attention, padding", layers.packed_attention(2), padded),
        ("packed_attention, bias", layers.packed_attention(2), biased),
        ("packed_attention, norm and rotary", normed, PACKED),
        ("packed_attention, blocks and documents", layers.packed_attention(2, causal=True, block=2), documents),
        (
            "dot_product_attention",
            layers.dot_product_attention(2, kv_heads=1),
            parts((TIME, 8), (STEPS, 4), (STEPS, 3)),
        ),
        (
            "dot_product_attention, end",
            layers.dot_product_attention(2, causal=True, offset="end"),
            parts((TIME, 8), *[(STEPS, 8)] * 2),
        ),
        ("self_attention", layers.self_attention(2), normal(BATCH, TIME, 8)),
        ("cross_attention", layers.cross_attention(2, use_bias=False), steps),
        (
            "multi_head_attention",
            layers.multi_head_attention(2, features=3, head_features=5, use_bias=False),
            parts((TIME, 8), (STEPS, 6), (STEPS, 7)),
        ),
    ]
