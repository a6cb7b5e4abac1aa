"""Experts: MLPs with stacked parameters, each applied to the rows that chose it, and to no other.

    y_r = sum_j gate_rj E_c(x_r),  c = chosen_rj;   E_c(x) = f(x up_c + a_c) down_c + b_c
    x [rows, in],  gates, chosen [rows, k],  y [rows, out];  up [experts, in, width],  down [experts, hidden, out]

The rows k choices, sorted by expert, are cut into blocks of one expert each, the last of an expert padded with zeros: a
scan over the blocks has static shapes, drops nothing and multiplies with the chosen experts only. Both directions
gather, none scatters. Kept: x, h = x up + a of each choice; dgate = f(h) (dy down^T) + b dy needs no output.
Gale et al., *MegaBlocks* (2022); Tan et al., *Scattered Mixture-of-Experts* (2024).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, Int
from ..layer import Params
from ..precision import wide_dtype, widen
from .dense import dense_forward
from .glu import Activation

Rows = Float[Array, "rows _"]
PerChoice = Float[Array, "rows k"]
Choices = Int[Array, "rows k"]
Hidden = Float[Array, "blocks size width"]
LARGEST_BLOCK = 128


class Blocks(NamedTuple):
    """Choices, numbered through rows and k, put into blocks of one expert each."""

    choice: Int[Array, "blocks size"]  # which choice sits there, or the number of choices where none does
    expert: Int[Array, " blocks"]
    place: Choices  # where each choice sits, counted through all blocks


def group(chosen: Choices, experts: int) -> Blocks:
    choices = chosen.size
    size = max(1, min(LARGEST_BLOCK, choices // experts))
    # As many blocks as there are when as many as can be are padded; one of padding alone where nothing is chosen.
    count = max(1, (choices + min(experts, choices) * (size - 1)) // size)
    flat = chosen.reshape(-1)
    order = jnp.argsort(flat)  # [choices], by expert
    rows_each = jnp.bincount(flat, length=experts)  # [experts]
    last_block = jnp.cumsum((rows_each + size - 1) // size)  # [experts]
    first_place = size * jnp.concatenate([jnp.zeros_like(last_block[:1]), last_block[:-1]])
    first_row = jnp.cumsum(rows_each) - rows_each
    ranked = flat[order]
    place_in_order = first_place[ranked] + jnp.arange(choices, dtype=first_row.dtype) - first_row[ranked]
    choice = jnp.full(count * size, choices, order.dtype).at[place_in_order].set(order, unique_indices=True)
    expert = jnp.searchsorted(last_block, jnp.arange(count, dtype=last_block.dtype), side="right")
    place = jnp.zeros_like(place_in_order).at[order].set(place_in_order, unique_indices=True)
    return Blocks(choice.reshape(count, size), jnp.minimum(expert, experts - 1), place.reshape(chosen.shape))


def experts_forward(
    params: Params, x: Rows, gates: PerChoice, chosen: Choices, activation: Activation
) -> tuple[Rows, Hidden]:
    k, blocks = chosen.shape[1], group(chosen, len(params["up"]["kernel"]))

    def one_block(carry: tuple[()], block: Any) -> Any:
        choice, expert = block
        own = of_expert(params, expert)
        h = dense_forward(own["up"], rows_or_zeros(x, choice // k))  # [size, width]
        out = dense_forward(own["down"], activation.forward(h))  # [size, out]
        return carry, (h, out)

    _, (h, out) = lax.scan(one_block, (), (blocks.choice, blocks.expert))
    y = gather_choices(out, blocks.place, gates)  # [rows, out]
    return y.astype(x.dtype), h


def experts_backward(
    params: Params, x: Rows, gates: PerChoice, chosen: Choices, h: Hidden, dy: Rows, activation: Activation
) -> tuple[Params, Rows, PerChoice]:
    k, blocks = chosen.shape[1], group(chosen, len(params["up"]["kernel"]))
    flat_gates = gates.reshape(-1)

    def one_block(dparams: Params, block: Any) -> Any:
        choice, expert, h = block
        own = of_expert(params, expert)
        x_block, dy_block = (rows_or_zeros(rows, choice // k) for rows in (x, dy))
        gate = jnp.expand_dims(rows_or_zeros(flat_gates, choice), 1)  # [size, 1]
        a = activation.forward(h)  # [size, hidden]
        # y = gate * (a @ down + bias)
        back = widen(dy_block @ own["down"]["kernel"].T)  # [size, hidden]
        dgate = jnp.sum(widen(a) * back, 1)  # [size]
        if "bias" in own["down"]:
            dgate = dgate + widen(dy_block) @ widen(own["down"]["bias"])
        dout = (gate * widen(dy_block)).astype(dy.dtype)  # [size, out]
        dh = activation.backward(h, (gate * back).astype(h.dtype))  # [size, width]
        gradients = {"up": dense_gradient(own["up"], x_block, dh), "down": dense_gradient(own["down"], a, dout)}
        # h = x @ up + bias
        dx = dh @ own["up"]["kernel"].T  # [size, in]
        return jax.tree.map(lambda total, part: add_at(total, part, expert), dparams, gradients), (dx, dgate)

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, wide_dtype(p.dtype)), params)
    dparams, (dx, dgates) = lax.scan(one_block, zeros, (blocks.choice, blocks.expert, h))
    dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)
    return dparams, gather_choices(dx, blocks.place), dgates.reshape(-1)[blocks.place]


def dense_gradient(params: Params, x: Rows, dy: Rows) -> Params:
    """The gradient of one expert's dense layer from one block, in the dtype that blocks are added in."""
    dparams = {"kernel": jnp.matmul(x.T, dy, preferred_element_type=wide_dtype(dy.dtype))}
    return dparams | ({"bias": jnp.sum(widen(dy), 0)} if "bias" in params else {})


def of_expert(params: Params, expert: Array) -> Params:
    return jax.tree.map(lambda stacked: lax.dynamic_index_in_dim(stacked, expert, keepdims=False), params)


def add_at(total: Array, part: Array, expert: Array) -> Array:
    return lax.dynamic_update_index_in_dim(total, of_expert(total, expert) + part, expert, 0)


def rows_or_zeros(x: Array, index: Array) -> Array:
    """The rows of x with these numbers; zeros for a number that is none."""
    if not len(x):
        return jnp.zeros((*index.shape, *x.shape[1:]), x.dtype)
    return x.at[index].get(mode="fill", fill_value=0)


def gather_choices(blocked: Float[Array, "blocks size out"], place: Choices, gates: PerChoice | None = None) -> Rows:
    """Each row's sum over its k places, weighted by the gates if there are any, in float32 at least."""
    flat = blocked.reshape(-1, blocked.shape[-1])
    total = None
    for j in range(place.shape[1]):
        part = widen(flat[place[:, j]])
        if gates is not None:
            part = jnp.expand_dims(gates[:, j], 1) * part
        total = part if total is None else total + part
    assert total is not None
    return total
