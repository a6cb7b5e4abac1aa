"""rotary: each pair of features of each head is rotated by an angle proportional to the position t.

    x, y  [..., time, heads, features]
    y1 = x1 cos(a) - x2 sin(a),  y2 = x1 sin(a) + x2 cos(a),  a = t / base^(2 i / dimensions) for pair i

The pairs are (i, i + dimensions / 2), or neighbours when interleaved; features from `dimensions` on are unchanged.
A rotation's transpose is the rotation by -a, so dx is dy rotated back. Kept: nothing, or the positions where they
are given; y is recomputed from x. Angles and rotations are computed in float32 at least.
Su et al., *RoFormer* (2021); pairs of halves: GPT-NeoX and Llama; of neighbours: the paper and GPT-J.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..annotations import Array, Float, Integer, PositiveFloat, PositiveInt
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError
from ..layer import Layer, Shaped, State
from ..precision import wide_dtype
from ..stateless import stateless
from ..validation import describe
from .checks import check_features
from .positional import next_positions, position_angles

Heads = Float[Array, "... time heads features"]
Waves = Float[Array, "... time pairs"]
Positions = Integer[Array, "... time"]


def rotary_forward(x: Heads, cosines: Waves, sines: Waves, interleaved: bool = False) -> Heads:
    pairs = cosines.shape[-1]
    cosines, sines = (jnp.broadcast_to(w[..., None, :], (*x.shape[:-1], pairs)) for w in (cosines, sines))
    turned, rest = x[..., : 2 * pairs].astype(cosines.dtype), x[..., 2 * pairs :]
    axis = -1 if interleaved else -2
    halves = turned.reshape(*x.shape[:-1], *((pairs, 2) if interleaved else (2, pairs)))
    x1, x2 = jnp.unstack(halves, axis=axis)  # [..., time, heads, pairs] each
    y = jnp.stack((x1 * cosines - x2 * sines, x1 * sines + x2 * cosines), axis).reshape(turned.shape)
    return jnp.concatenate((y.astype(x.dtype), rest), -1)


def rotary_backward(cosines: Waves, sines: Waves, dy: Heads, interleaved: bool = False) -> Heads:
    # cos(-a) = cos(a), sin(-a) = -sin(a)
    return rotary_forward(dy, cosines, -sines, interleaved)


@constructor
def rotary(
    *, base: PositiveFloat = 10000.0, dimensions: PositiveInt | None = None, interleaved: bool = False, offset: int = 0
) -> Layer:
    """Rotate x [..., time, heads, features] by its positions; the input is x or (x, positions).

    - The positions are offset, offset + 1, ...; given ones are integers [..., time] and `offset` is added to them.
    - The first `dimensions` features, an even number, are rotated; all by default.
    - Pairs are halves (GPT-NeoX, Llama) or, interleaved, neighbours (GPT-J).
    """
    if dimensions is not None and dimensions % 2:
        raise ValueError(f"rotary: expected an even number of dimensions of at least 2, got {dimensions!r}")

    def waves(heads: Heads, positions: Positions | tuple[()]) -> tuple[Waves, Waves]:
        t = jnp.arange(heads.shape[-3]) if isinstance(positions, tuple) else positions
        angles = position_angles(t + offset, dimensions or heads.shape[-1], base, wide_dtype(heads.dtype))
        angles = jnp.broadcast_to(angles, (*heads.shape[:-2], angles.shape[-1]))
        return jnp.cos(angles), jnp.sin(angles)

    def forward(x: Any) -> tuple[Heads, Any]:
        heads: Any
        heads, positions = x if isinstance(x, tuple) and len(x) == 2 else (x, ())
        check_input(heads, positions, dimensions)
        return rotary_forward(heads, *waves(heads, positions), interleaved), positions

    def backward(positions: Any, dy: Heads) -> Any:
        dx = rotary_backward(*waves(dy, positions), dy, interleaved)
        return dx if isinstance(positions, tuple) else (dx, None)

    def recompute(x: Any, positions: Any) -> Heads:
        return forward(x)[0]

    def decode(params: tuple[()], state: State, x: Heads) -> tuple[Heads, State]:
        positions, state = next_positions(state, x.shape[-3])
        return forward((x, jnp.broadcast_to(positions, x.shape[:-2])))[0], state

    layer = stateless(forward, backward, name="rotary", needs=(), keeps=("positions",), recompute=recompute)
    return layer.replace(rules={"decode": decode})


def check_input(x: Shaped, positions: Any, dimensions: int | None) -> None:
    check_features(x, "time", "heads", "features")
    if dimensions is None and x.shape[-1] % 2:
        raise LayerValueError(f"expected an even number of features to turn in pairs, got {describe(x)}")
    if dimensions is not None and x.shape[-1] < dimensions:
        raise LayerValueError(f"expected at least {dimensions} features to turn, got {describe(x)}")
    if isinstance(positions, tuple):
        return
    if not jnp.issubdtype(positions.dtype, jnp.integer):
        raise LayerTypeError(f"expected positions of an integer dtype, got {describe(positions)}")
    if positions.shape != x.shape[:-2]:
        raise LayerValueError(f"expected positions {list(x.shape[:-2])} for x {describe(x)}, got {describe(positions)}")
