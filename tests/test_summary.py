"""The table of a network: every number against one worked out by hand, or counted another way."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from helpers import residual_mlp
from jax import lax

import purenet as pn
from purenet import losses
from purenet.catalogue import Row, catalogue, input_of
from purenet.flops import matmul_flops

B, D, N = 6, 8, 3
COMBINED = [entry for entry in catalogue() if entry.layer.parts]
X = jax.ShapeDtypeStruct((B, D), jnp.float32)


BLOCK_PARAMETERS = 2 * D + (D * 4 * D + 4 * D) + (4 * D * D + D)
BLOCK_KEPT = 4 * (2 * B + B * 4 * D)  # two statistics a row and the pre-activation; its input is its holder's
BLOCK_FLOPS = 2 * (2 * B * D * 4 * D)


def row(net: pn.Layer, path: str, x: Any = X) -> Any:
    return next(row for row in pn.summary(net, x).rows if row.path == path)


def test_a_chain_in_numbers() -> None:
    table = pn.summary(pn.serial(pn.dense(5), pn.tanh(), pn.dense(2)), X)
    assert [row.path for row in table.rows] == ["serial", "serial[0].dense", "serial[1].tanh", "serial[2].dense"]
    assert [row.name for row in table.rows] == ["serial", "dense", "tanh", "dense"]
    assert [row.output.shape for row in table.rows] == [(B, 2), (B, 5), (B, 5), (B, 2)]
    assert [row.parameters for row in table.rows] == [0, D * 5 + 5, 0, 5 * 2 + 2]
    assert [row.parameter_bytes for row in table.rows] == [0, 4 * (D * 5 + 5), 0, 4 * 12]
    # The input, read by the first layer, and the output of tanh, read twice and kept once.
    assert [row.kept_bytes for row in table.rows] == [4 * B * D, 0, 4 * B * 5, 0]
    assert [row.flops for row in table.rows] == [0, 2 * B * D * 5, 0, 2 * B * 5 * 2]


def test_blocks_are_counted_as_often_as_they_stand() -> None:
    table = pn.summary(pn.repeat(residual_mlp(D, 4 * D), N), X)
    assert table.parameters == N * BLOCK_PARAMETERS
    assert table.kept_bytes == N * (BLOCK_KEPT + 4 * B * D)
    assert table.flops == N * BLOCK_FLOPS
    up = row(pn.repeat(residual_mlp(D, 4 * D), N), "repeat[3x].residual.branch.serial.up.dense")
    assert (up.times, up.output.shape) == (N, (B, 4 * D))
    assert (up.parameters, up.kept_bytes, up.flops) == (
        N * (4 * D * D + 4 * D),
        N * 4 * B * 4 * D,
        N * BLOCK_FLOPS // 2,
    )
    nested = pn.summary(pn.repeat(pn.repeat(residual_mlp(D, 4 * D), N), 2), X)
    assert (nested.parameters, nested.flops) == (2 * N * BLOCK_PARAMETERS, 2 * N * BLOCK_FLOPS)
    assert nested.kept_bytes == 2 * N * (BLOCK_KEPT + 4 * B * D)


def test_remat_keeps_its_input_alone() -> None:
    table = pn.summary(pn.repeat(pn.remat(residual_mlp(D, 4 * D)), N), X)
    assert (table.parameters, table.flops) == (N * BLOCK_PARAMETERS, N * BLOCK_FLOPS)
    assert table.kept_bytes == N * 4 * B * D
    assert [row.kept_bytes for row in table.rows[1:]] == [0] * (len(table.rows) - 1)


def test_mixed_precision_halves_what_is_kept() -> None:
    table = pn.summary(pn.with_dtype(pn.repeat(residual_mlp(D, 4 * D), N), jnp.bfloat16), X)
    assert (table.parameter_bytes, table.flops) == (4 * N * BLOCK_PARAMETERS, N * BLOCK_FLOPS)
    statistics = 4 * 2 * B
    assert table.kept_bytes == N * ((BLOCK_KEPT - statistics) // 2 + statistics + 2 * B * D)
    assert [row.output.dtype for row in table.rows[:2]] == [jnp.float32, jnp.bfloat16]


def test_shared_parameters_count_once() -> None:
    net = pn.serial(embed=pn.dense(5, use_bias=False), act=pn.tanh(), head=pn.dense(D))
    table = pn.summary(pn.tied(net, {"head.kernel": "embed.kernel.T"}), X)
    assert table.parameters == 5 * D + D
    assert [row.parameters for row in table.rows] == [-5 * D, 0, 5 * D, 0, 5 * D + D]
    assert table.flops == 2 * (2 * B * D * 5)


def test_frozen_and_branching_layers_are_looked_into() -> None:
    table = pn.summary(pn.concatenate(a=pn.frozen(residual_mlp(D, 4 * D)), b=pn.serial(pn.dense(2), pn.sigmoid())), X)
    assert table.parameters == BLOCK_PARAMETERS + 2 * D + 2
    # sigmoid's output is a slice of the concatenation, which the layer reads
    assert table.kept_bytes == 4 * B * D + BLOCK_KEPT + 4 * B * (D + 2)
    assert table.flops == BLOCK_FLOPS + 2 * B * D * 2


def test_an_objective_counts_its_loss_and_targets() -> None:
    labels = jax.ShapeDtypeStruct((B,), jnp.int32)
    table = pn.summary(pn.objective(pn.dense(5), losses.softmax_cross_entropy()), (X, labels))
    assert table.rows[0].output == jax.ShapeDtypeStruct((), jnp.float32)
    assert table.rows[0].kept_bytes == 4 * B * D + 4 * B  # inputs and labels
    assert table.rows[1].kept_bytes == 4 * B * 5  # the predictions, which the loss reads
    assert table.kept_bytes == sum(row.kept_bytes for row in table.rows)


def test_examples_one_by_one_share_their_parameters() -> None:
    net = pn.objective(pn.serial(pn.dense(5), pn.tanh(), pn.dense(D)), losses.squared_error())
    table = pn.summary(pn.per_example(net), (X, X))
    assert table.parameters == D * 5 + 5 + 5 * D + D
    assert table.flops == 2 * (2 * B * D * 5)
    assert table.kept_bytes == 2 * 4 * B * D + 4 * B * 5 + 4 * B * D  # inputs, targets, tanh, predictions
    assert row(pn.per_example(net), "per_example.each.objective.net.serial[0].dense", (X, X)).output.shape == (5,)


def test_convolutions_are_counted() -> None:
    def same(params: Any, x: Any) -> Any:
        return lax.conv_general_dilated(
            x, params, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
        )

    layer = pn.from_function(same, init=lambda key, x: jax.random.normal(key, (3, 3, 2, 6)))
    table = pn.summary(layer, jax.ShapeDtypeStruct((B, 7, 5, 4), jnp.float32))
    assert table.flops == 2 * (B * 7 * 5 * 6) * (3 * 3 * 2)


def test_nothing_is_run() -> None:
    """A network that no machine could hold, and a layer whose forward cannot be run."""
    wide = 10**9
    table = pn.summary(pn.serial(pn.dense(wide), pn.relu()), jax.ShapeDtypeStruct((wide, wide), jnp.bfloat16))
    assert table.parameters == wide * wide + wide
    assert table.flops == 2 * wide**3


@pytest.mark.parametrize("entry", COMBINED, ids=[entry.name for entry in COMBINED])
def test_totals_are_those_of_the_whole(entry: Row) -> None:
    """Counted from the leaves of init, the residuals of forward and the whole program."""
    key = jax.random.key(0)
    x = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, input_of(entry, batch=B)))
    table = pn.summary(entry.layer, x, key=key)
    params, state = jax.eval_shape(entry.layer.init, key, x)
    assert table.parameters == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert table.parameter_bytes == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    program = jax.make_jaxpr(lambda *args: entry.layer.forward(*args)[0])(params, state, x, key)
    assert table.flops == matmul_flops(program.jaxpr)
    assert table.kept_bytes == kept_bytes(entry.layer, params, state, x, key)
    assert all(row.kept_bytes >= 0 and row.flops >= 0 for row in table.rows)


def kept_bytes(layer: pn.Layer, params: Any, state: Any, x: Any, key: Any) -> int:
    """Of the variables that forward hands to backward, each once, without parameters and state."""

    def forward(params: Any, state: Any, x: Any, key: Any) -> Any:
        y, _, residuals = layer.forward(params, state, x, key)
        return residuals, x if "x" in layer.needs else None, y if "y" in layer.needs else None

    jaxpr = jax.make_jaxpr(forward)(params, state, x, key).jaxpr
    aside = jaxpr.invars[: len(jax.tree.leaves((params, state)))]
    held = {id(variable): variable.aval for variable in jaxpr.outvars if variable not in aside}
    return sum(aval.size * aval.dtype.itemsize for aval in held.values())


# FLOPs of a program.


def flops(function: Any, *arguments: Any) -> int:
    return matmul_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


MATRIX = jnp.ones((4, 4))
PRODUCT = 2 * 4**3


def test_what_nobody_reads_is_not_counted() -> None:
    def rounds(x: Any) -> Any:
        return lax.scan(lambda carry, _: (carry @ x, (carry @ x @ x, carry)), x, None, length=5)

    assert flops(lambda x: (x @ x, x)[1], MATRIX) == 0
    assert flops(rounds, MATRIX) == 5 * 3 * PRODUCT
    assert flops(lambda x: rounds(x)[0], MATRIX) == 5 * PRODUCT
    assert flops(lambda x: jax.jit(rounds)(x)[1][1], MATRIX) == 5 * PRODUCT


def test_of_two_branches_the_dearer_counts() -> None:
    def either(x: Any) -> Any:
        return lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x)

    assert flops(either, MATRIX) == 2 * PRODUCT


# Print.


def test_the_table_reads_as_a_tree() -> None:
    net = pn.objective(pn.repeat(pn.residual(pn.serial(up=pn.dense(D), act=pn.gelu())), N), losses.squared_error())
    labels = [line[:23].rstrip() for line in str(pn.summary(net, (X, X))).splitlines()]
    assert labels == [
        "layer",
        "objective",
        "  .net repeat",
        "    [3x] residual",
        "      .branch serial",
        "        .up dense",
        "        .act gelu",
        "  .loss squared_error",
        "total",
    ]


def test_numbers_have_units() -> None:
    lines = str(pn.summary(pn.dense(1000), jax.ShapeDtypeStruct((4096, 3000), jnp.float32))).splitlines()
    assert lines[1].split("  ")[-1].strip() == "24.58 G"
    assert [cell.strip() for cell in lines[2].split("  ") if cell] == [
        "total",
        "3,001,000",
        "11.45 MiB",
        "46.88 MiB",
        "24.58 G",
    ]
