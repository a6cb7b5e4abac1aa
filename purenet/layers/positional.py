"""learned_positions, sinusoidal_positions: a vector for each position t is added to x.

    y_t = x_t + P_t                         x, y [..., time, features]
    learned  P [length, features] is a parameter;  dP_t = sum of dy_t over the leading axes, 0 beyond `time`
    sinusoidal  P_t,2i = sin(t / base^(2i / features)),  P_t,2i+1 = cos(t / base^(2i / features))

dx = dy. Kept: nothing; y is recomputed from x. Angles and sums are at least float32.
Vaswani et al., *Attention Is All You Need* (2017), section 3.5; learned: Gehring et al. (2017).
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn.initializers import Initializer, normal

from ..annotations import Array, Float, Int, Integer, PositiveFloat, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Shaped, State, is_stateless
from ..precision import wide_dtype, widen
from ..stateless import stateless
from ..validation import describe
from .checks import check_features, check_names, checked_layer

Sequence = Float[Array, "... time features"]
Table = dict[str, Array]

POSITIONS_INIT = normal(0.02)


def learned_positions_forward(params: Table, x: Sequence, offset: int = 0) -> Sequence:
    positions = params["embedding"][offset : offset + x.shape[-2]]  # [time, features]
    return x + jnp.broadcast_to(positions, x.shape)


def learned_positions_backward(params: Table, dy: Sequence, offset: int = 0) -> tuple[Table, Sequence]:
    table = params["embedding"]
    # y = x + table[offset : offset + time]
    dpositions = jnp.sum(widen(dy), tuple(range(dy.ndim - 2))).astype(table.dtype)  # [time, features]
    after = table.shape[0] - offset - dy.shape[-2]
    return {"embedding": jnp.pad(dpositions, ((offset, after), (0, 0)))}, dy


@constructor
def learned_positions(length: PositiveInt, *, offset: int = 0, embedding_init: Initializer = POSITIONS_INIT) -> Layer:
    """y = x + embedding[offset : offset + time], x [..., time, features]. Parameter: embedding [length, features].

    `offset` is the position of the first step. Raises if the last position is beyond the table.
    """
    if not 0 <= offset < length:
        raise ValueError(f"learned_positions: expected an offset in 0..{length - 1}, got {offset!r}")

    def init(key: Array, x: Shaped) -> Table:
        check_fits(x)
        return {"embedding": embedding_init(key, (length, x.shape[-1]), x.dtype)}

    def forward(params: Table, x: Sequence) -> Sequence:
        check_fits(x)
        check_names(params, ("embedding",))
        if params["embedding"].shape != (length, x.shape[-1]):
            raise LayerValueError(
                f"expected embedding [{length}, {x.shape[-1]}] for x {describe(x)}, got {describe(params['embedding'])}"
            )
        return learned_positions_forward(params, x, offset)

    def check_fits(x: Shaped) -> None:
        check_sequence(x)
        if offset + x.shape[-2] > length:
            raise LayerValueError(
                f"expected at most {length - offset} steps from position {offset} of a table of {length}, "
                f"got {describe(x)}: make the table longer or cut the sequence"
            )

    def decode(params: Table, state: State, x: Sequence) -> tuple[Sequence, State]:
        positions, state = next_positions(state, x.shape[-2])
        rows = params["embedding"].at[offset + positions].get(mode="fill", fill_value=jnp.nan)  # [time, features]
        return x + jnp.broadcast_to(rows, x.shape), state

    return stateless(
        forward,
        functools.partial(learned_positions_backward, offset=offset),
        name="learned_positions",
        init=init,
        needs=(),
        recompute=functools.partial(learned_positions_forward, offset=offset),
    ).replace(rules={"decode": decode})


def sinusoidal_positions_forward(
    x: Sequence, base: float = 10000.0, offset: int | Integer[Array, ""] = 0, interleaved: bool = True
) -> Sequence:
    time, features = x.shape[-2:]
    angles = position_angles(offset + jnp.arange(time, dtype=jnp.int32), features, base, wide_dtype(x.dtype))
    waves = jnp.sin(angles), jnp.cos(angles)  # [time, ceil(features / 2)] each
    table = lax.collapse(jnp.stack(waves, -1), 1) if interleaved else jnp.concatenate(waves, -1)
    return x + jnp.broadcast_to(table[:, :features].astype(x.dtype), x.shape)


def sinusoidal_positions_backward(dy: Sequence) -> Sequence:
    return dy  # y = x + table


@constructor
def sinusoidal_positions(*, base: PositiveFloat = 10000.0, offset: int = 0, interleaved: bool = True) -> Layer:
    """y = x + sines and cosines of the positions offset, offset + 1, ...; x [..., time, features].

    Sines are the even and cosines the odd features, as in the paper; with interleaved=False all sines come first,
    then the cosines. No parameters; any number of features.
    """
    options = {"base": base, "offset": offset, "interleaved": interleaved}
    forward = functools.partial(sinusoidal_positions_forward, **options)

    def decode(params: tuple[()], state: State, x: Sequence) -> tuple[Sequence, State]:
        positions, state = next_positions(state, x.shape[-2])
        return sinusoidal_positions_forward(x, **{**options, "offset": offset + positions[0]}), state

    layer = checked_layer("sinusoidal_positions", check_sequence, forward, sinusoidal_positions_backward)
    return layer.replace(rules={"decode": decode})


def next_positions(state: State, time: int) -> tuple[Int[Array, " time"], State]:
    """The positions of new tokens behind as many as the state says, and the state behind them; () is none."""
    start = jnp.int32(0) if is_stateless(state) else state
    return start + jnp.arange(time, dtype=jnp.int32), start + time


def position_angles(
    positions: Integer[Array, "... time"], features: int, base: float, dtype: Any
) -> Float[Array, "... time pairs"]:
    """position / base^(2 i / features) for the pairs i of features; the last of an odd number is half a pair."""
    frequencies = jnp.asarray(float(base) ** (-np.arange(0, features, 2) / features), dtype)  # [pairs]
    shape = (*positions.shape, frequencies.size)
    return jnp.broadcast_to(positions[..., None].astype(dtype), shape) * jnp.broadcast_to(frequencies, shape)


def check_sequence(x: Shaped) -> None:
    check_features(x, "time", "features")
