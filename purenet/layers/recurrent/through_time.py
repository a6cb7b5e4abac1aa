"""Back-propagation through time: a cell's step scanned over a sequence, and its backward scanned in reverse.

    x [..., time, in],  y [..., time, features],  carry = (h, ...) with h [..., features]
    a_t = x_t kernel + bias                            [..., gates * features]
    carry_t = update(gates(h_{t-1}, a_t), carry_{t-1}),  y_t = h_t,  t = 1 .. time, or time .. 1 with `reverse`
    dcarry_{t-1}, dz_t = step_backward(gates_t, carry_{t-1}, dcarry_t + (dy_t, 0))

Time is walked in chunks of 16 steps, more for few examples. What does not depend on the step before is one product
per chunk: a in the forward; in the backward the gates, recomputed from x_t and h_{t-1} = y_{t-1}, dx and the weights'
gradients. So nothing of the gates' size spans all steps, unless they are kept on demand. Kept: x, y and, once per
chunk, what y does not show of the carry. Past an example's length its carry stays, and outputs and input gradients are
zero. Carries and sums are at least float32.
Werbos, *Backpropagation through time: what it does and how to do it* (1990).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...annotations import Array, Float, Integer, PyTree
from ...precision import wide_dtype, widen

Params = dict[str, Array]
Carry = tuple[Array, ...]
Lengths = Integer[Array, "..."] | None
Steps = Integer[Array, "steps"]

# Enough rows for an efficient product, few enough that what a chunk holds is small.
CHUNK_STEPS, CHUNK_ROWS = 16, 256


class Cell(NamedTuple):
    """One step of a recurrent network and its backward.

    - `gates(params, h, a) -> gates` of a step: what needs a product, from h of the step before.
    - `update(gates, carry) -> carry`, carry = (h, ...): what needs none.
    - `step_backward(params, gates, before, dcarry) -> (dbefore, dz)`, `before` and `dbefore` of the carry before.
    - `weights(params, gates, x, before, dz) -> (dparams, dx)`, for a chunk of steps.
    - `again(params, x, before, y) -> gates`, for a chunk of steps: where there is a shorter way than `gates`.
    """

    gates: Callable[..., PyTree]
    update: Callable[..., Carry]
    step_backward: Callable[..., tuple[Carry, PyTree]]
    weights: Callable[..., tuple[Params, Array]]
    again: Callable[..., PyTree] | None = None


class ChunkResiduals(NamedTuple):
    """Of each chunk, stacked: what of its first carry y does not show; the gates of its steps, or None."""

    borders: Carry
    gates: PyTree = None


def forward_through_time(
    cell: Cell,
    params: Params,
    x: Float[Array, "... time in"],
    carry: Carry,
    lengths: Lengths,
    reverse: bool,
    keep: str = "states",
) -> tuple[tuple[Float[Array, "... time features"], Carry], ChunkResiduals]:
    """((y, final carry), residuals besides x and y)."""
    walk = chunks(x, reverse)  # [chunks, steps]

    def one(carry: Carry, now: Any) -> Any:
        a, active = now
        gates = cell.gates(params, carry[0], a)
        after = select(active, cell.update(gates, carry), carry)
        y = select(active, after[0], jnp.zeros_like(after[0]))
        gates = select(active, gates, jax.tree.map(jnp.zeros_like, gates)) if keep == "gates" else None
        return after, (y.astype(x.dtype), gates)

    def chunk(so_far: tuple[Carry, Array], steps: Steps) -> Any:
        carry, y = so_far
        a = project(params, pick(x, steps))  # [steps, ..., gates * features]
        after, (y_now, gates) = lax.scan(one, carry, (a, active_if_any(steps, x, lengths)))
        return (after, put(y, y_now, steps, x, reverse)), ChunkResiduals(carry[1:], gates)

    carry_wide = jax.tree.map(widen, carry)
    (final, y), residuals = lax.scan(chunk, (carry_wide, empty(walk, carry[0], x)), walk)
    return (inside(y, x, reverse), like(final, carry)), residuals


def backward_through_time(
    cell: Cell,
    params: Params,
    x: Float[Array, "... time in"],
    y: Float[Array, "... time features"],
    carry: Carry,
    residuals: ChunkResiduals,
    dy: Float[Array, "... time features"] | None,
    dfinal: Carry,
    lengths: Lengths,
    reverse: bool,
) -> tuple[Params, Float[Array, "... time in"], Carry]:
    """(dparams, dx, gradient of the first carry), from the gradients of y (None for zero) and of the final carry."""
    walk = chunks(x, reverse)

    def one(dcarry: Carry, now: Any) -> Any:
        gates, before, dy, active = now
        dh, *rest = dcarry
        # y = h
        dh = dh if dy is None else dh + widen(dy)
        dbefore, dz = cell.step_backward(params, gates, before, (dh, *rest))
        dz = select(active, dz, jnp.zeros_like(dz))
        return select(active, dbefore, dcarry), dz

    def chunk(so_far: tuple[Carry, Params, Array], now: Any) -> Any:
        dcarry, dparams, dx = so_far
        steps, (border, gates) = now
        active = active_if_any(steps, x, lengths)
        x_now = pick(x, steps)  # [steps, ..., in]
        x_now = select(active, x_now, jnp.zeros_like(x_now))
        h = hidden_before(y, carry[0], steps, lengths, reverse)  # [steps, ..., features]
        if gates is None:
            gates = gates_again(cell, params, x_now, h, pick(y, steps))
        before = carries_before(cell, gates, h, border, active)
        each = gates, before, None if dy is None else pick(dy, steps), active
        dcarry, dz = lax.scan(one, dcarry, each, reverse=True)
        dparams_now, dx_now = cell.weights(params, gates, x_now, before[0], dz)
        dx = put(dx, dx_now.astype(x.dtype), steps, x, reverse)
        return (dcarry, jax.tree.map(jnp.add, dparams, dparams_now), dx), None

    none_yet = jax.tree.map(lambda p: jnp.zeros(p.shape, wide_dtype(p.dtype)), params)
    start = jax.tree.map(widen, dfinal), none_yet, empty(walk, x[..., 0, :], x)
    (dcarry, dparams, dx), _ = lax.scan(chunk, start, (walk, residuals), reverse=True)
    return like(dparams, params), inside(dx, x, reverse), like(dcarry, carry)


def gates_again(cell: Cell, params: Params, x: Array, before: Array, y: Array) -> PyTree:
    if cell.again is not None:
        return cell.again(params, x, before, y)
    return cell.gates(params, before, project(params, x))


def carries_before(cell: Cell, gates: PyTree, h: Array, border: Carry, active: Array | None) -> Carry:
    """The carry before each step of a chunk. y shows all of it, unless there is a border or y is a rounded h."""
    if not border and h.dtype == wide_dtype(h.dtype):
        return (h,)

    def one(carry: Carry, now: Any) -> tuple[Carry, Carry]:
        gates, active = now
        return select(active, cell.update(gates, carry), carry), carry

    return lax.scan(one, (widen(h[0]), *border), (gates, active))[1]


# Products.


def product(x: Float[Array, "... in"], kernel: Float[Array, "in out"]) -> Float[Array, "... out"]:
    """x @ kernel, summed in float32 at least; x is rounded to the kernel's dtype, as a stored state would be."""
    return jnp.matmul(x.astype(kernel.dtype), kernel, preferred_element_type=wide_dtype(kernel.dtype))


def project(params: Params, x: Float[Array, "steps ... in"]) -> Float[Array, "steps ... out"]:
    a = product(x, params["kernel"])
    return a + jnp.broadcast_to(widen(params["bias"]), a.shape) if "bias" in params else a


def outer(x: Float[Array, "steps ... in"], dz: Float[Array, "steps ... out"]) -> Float[Array, "in out"]:
    """sum x^T dz over steps and examples, in float32 at least."""
    x, dz = (value.reshape(-1, value.shape[-1]) for value in (x, dz))
    return product(x.T, dz)


def total(dz: Float[Array, "steps ... out"]) -> Float[Array, " out"]:
    return jnp.sum(widen(dz), tuple(range(dz.ndim - 1)))


def weight_gradients(params: Params, gates: PyTree, x: Array, before: Array, dz: Array) -> tuple[Params, Array]:
    """For z = x @ kernel + bias + before @ recurrent_kernel: (dparams, dx)."""
    dparams = {"kernel": outer(x, dz), "recurrent_kernel": outer(before, dz)}
    if "bias" in params:
        dparams["bias"] = total(dz)
    return dparams, product(dz, params["kernel"].T)


# Steps.


def chunk_steps(examples: int) -> int:
    return max(CHUNK_STEPS, CHUNK_ROWS // max(examples, 1))


def chunks(x: Float[Array, "... time _"], reverse: bool) -> Integer[Array, "chunks steps"]:
    """The steps in the order they are taken, a row a chunk. The last row may go on beyond the sequence."""
    *leading, time, _ = x.shape
    count = -(-time // chunk_steps(math.prod(leading)))
    size = -(-time // count)
    steps = np.arange(count * size, dtype=np.int32).reshape(count, size)
    return jnp.asarray(time - 1 - steps if reverse else steps)


def pick(x: Float[Array, "... time features"], steps: Steps) -> Float[Array, "steps ... features"]:
    """x at some steps, which become the first axis. Steps outside the sequence read one inside."""
    return jnp.moveaxis(jnp.take(x, steps, axis=-2, mode="clip"), -2, 0)


def put(
    y: Float[Array, "... steps_of_all_chunks features"],
    part: Float[Array, "steps ... features"],
    steps: Steps,
    x: Float[Array, "... time _"],
    reverse: bool,
) -> Float[Array, "... steps_of_all_chunks features"]:
    """Write the part of some steps into its place, so that nothing has to be moved when all are there."""
    part = jnp.moveaxis(jnp.flip(part, 0) if reverse else part, 0, -2)
    start = steps[-1] + (y.shape[-2] - x.shape[-2]) if reverse else steps[0]
    return lax.dynamic_update_slice_in_dim(y, part, start, y.ndim - 2)


def empty(
    walk: Integer[Array, "chunks steps"], one: Float[Array, "... features"], x: Array
) -> Float[Array, "... steps_of_all_chunks features"]:
    """Zeros [..., steps of all chunks, features]: the last chunk may go on beyond the sequence."""
    return jnp.zeros((*one.shape[:-1], walk.size, one.shape[-1]), x.dtype)


def inside(
    y: Float[Array, "... steps_of_all_chunks features"], x: Float[Array, "... time _"], reverse: bool
) -> Float[Array, "... time features"]:
    time = x.shape[-2]
    return y[..., -time:, :] if reverse else y[..., :time, :]


def active_at(steps: Steps, x: Float[Array, "... time _"], lengths: Lengths) -> Array:
    """Which examples have these steps: boolean [steps, ..., 1]."""
    leading = x.shape[:-2]
    ends = jnp.full(leading, x.shape[-2], steps.dtype) if lengths is None else lengths.astype(steps.dtype)
    shape = (steps.size, *leading, 1)
    steps = jnp.broadcast_to(steps.reshape(-1, *[1] * len(leading), 1), shape)
    return (steps >= 0) & (steps < jnp.broadcast_to(ends[None, ..., None], shape))


def active_if_any(steps: Steps, x: Float[Array, "... time _"], lengths: Lengths) -> Array | None:
    """None where every example has every step of every chunk, which is known before tracing."""
    all_inside = x.shape[-2] % steps.size == 0
    return None if lengths is None and all_inside else active_at(steps, x, lengths)


def hidden_before(
    y: Float[Array, "... time features"], h: Float[Array, "... features"], steps: Steps, lengths: Lengths, reverse: bool
) -> Float[Array, "steps ... features"]:
    """The states that these steps start from: the output of the step before, or h where an example has none."""
    steps_before = steps + 1 if reverse else steps - 1
    before = pick(y, steps_before)
    return select(active_at(steps_before, y, lengths), before, jnp.broadcast_to(h.astype(y.dtype)[None], before.shape))


def select(active: Array | None, new: PyTree, old: PyTree) -> PyTree:
    return new if active is None else jax.tree.map(lambda a, b: jnp.where(active, a, b), new, old)


def like(values: PyTree, originals: PyTree) -> PyTree:
    """The values in the originals' dtypes."""
    return jax.tree.map(lambda value, original: value.astype(original.dtype), values, originals)
