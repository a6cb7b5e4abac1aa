"""Bad input to embeddings and positions."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward

TOKENS = jnp.array([[0, 2, 1]])
X = jnp.ones((2, 5, 6))
HEADS = jnp.ones((2, 5, 3, 6))
LOOKUP = pn.embedding(4, 3)
ROWS = {"embedding": jnp.ones((4, 3))}
POSITIONS = pn.learned_positions(5)

TABLE: Table = {
    "embedding of no rows": (
        lambda: pn.embedding(0, 3),
        ValueError,
        "embedding: expected vocabulary of at least 1, got 0",
    ),
    "embedding to a fraction of features": (
        lambda: pn.embedding(4, cast(Any, 2.5)),
        TypeError,
        "embedding: expected features as a whole number, got float 2.5",
    ),
    "embedding, padding outside": (
        lambda: pn.embedding(4, 3, padding_index=4),
        ValueError,
        r"embedding: expected padding_index in 0..3, got 4",
    ),
    "embedding of floats": (
        forward(LOOKUP, ROWS, jnp.ones((2, 3))),
        TypeError,
        r"embedding: expected x of an integer dtype, got float32 \[2, 3\]: convert it with .astype",
    ),
    "embedding of floats at init": (
        lambda: LOOKUP.init(jax.random.key(0), jax.ShapeDtypeStruct((2, 3), jnp.float32)),
        TypeError,
        "embedding: expected x of an integer dtype",
    ),
    "embedding beyond the table": (
        lambda: pn.serial(LOOKUP, pn.dense(2)).init(jax.random.key(0), jnp.array([[0, 4]])),
        ValueError,
        r"serial\[0\].embedding: expected indices in 0..3, got 4 at \(0, 1\)",
    ),
    "embedding below the table": (
        lambda: LOOKUP.forward(ROWS, (), jnp.array([-1]), None),
        ValueError,
        r"embedding: expected indices in 0..3, got -1 at \(0,\)",
    ),
    "embedding of another table": (
        forward(LOOKUP, {"embedding": jnp.ones((5, 3))}, TOKENS),
        ValueError,
        r"embedding: expected embedding \[4, 3\], got float32 \[5, 3\]",
    ),
    "embedding with other parameters": (
        forward(LOOKUP, {"kernel": jnp.ones((4, 3))}, TOKENS),
        ValueError,
        r"embedding: expected parameters \['embedding'\], got dict with \['kernel'\]",
    ),
    "learned_positions beyond the table": (
        forward(pn.learned_positions(4), {"embedding": jnp.ones((4, 6))}, X),
        ValueError,
        r"learned_positions: expected at most 4 steps from position 0 of a table of 4, got float32 \[2, 5, 6\]: make",
    ),
    "learned_positions beyond the table at init": (
        lambda: pn.learned_positions(6, offset=2).init(jax.random.key(0), X),
        ValueError,
        "learned_positions: expected at most 4 steps from position 2 of a table of 6",
    ),
    "learned_positions of other features": (
        forward(POSITIONS, {"embedding": jnp.ones((5, 7))}, X),
        ValueError,
        r"learned_positions: expected embedding \[5, 6\] for x",
    ),
    "learned_positions of no length": (lambda: pn.learned_positions(0), ValueError, "expected length of at least 1"),
    "learned_positions, offset": (
        lambda: pn.learned_positions(4, offset=4),
        ValueError,
        "learned_positions: expected an offset in 0..3, got 4",
    ),
    "sinusoidal_positions of features alone": (
        forward(pn.sinusoidal_positions(), (), jnp.ones(6)),
        ValueError,
        r"sinusoidal_positions: expected x \[..., time, features\], got float32 \[6\]",
    ),
    "sinusoidal_positions, base": (
        lambda: pn.sinusoidal_positions(base=0),
        ValueError,
        "sinusoidal_positions: expected base above 0, got 0",
    ),
    "rotary, odd dimensions": (
        lambda: pn.rotary(dimensions=3),
        ValueError,
        "rotary: expected an even number of dimensions of at least 2, got 3",
    ),
    "rotary, odd features": (
        forward(pn.rotary(), (), jnp.ones((5, 2, 3))),
        ValueError,
        r"rotary: expected an even number of features to turn in pairs, got float32 \[5, 2, 3\]",
    ),
    "rotary, too few features": (
        forward(pn.rotary(dimensions=8), (), HEADS),
        ValueError,
        "rotary: expected at least 8 features to turn, got float32",
    ),
    "rotary without heads": (
        forward(pn.rotary(), (), jnp.ones((5, 6))),
        ValueError,
        r"rotary: expected x \[..., time, heads, features\]",
    ),
    "rotary, positions of another shape": (
        forward(pn.rotary(), (), (HEADS, jnp.arange(5))),
        ValueError,
        r"rotary: expected positions \[2, 5\] for x",
    ),
    "rotary, floating positions": (
        forward(pn.rotary(), (), (HEADS, jnp.ones((2, 5)))),
        TypeError,
        "rotary: expected positions of an integer dtype, got float32",
    ),
}
