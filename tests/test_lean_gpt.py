"""GPT-2 124M's gradient at its full size: temporary bytes and matrix products beside everyday and expert JAX.

Nothing is run; `examples/benchmarks/memory.py` has the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost import cost
from load_example import load

import purenet as pn

pytestmark = [pytest.mark.complete, pytest.mark.usefixtures("everyday_rules")]
PLAIN, EXPERT = "jax.value_and_grad", "the same, chunked, products saved"


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    return load("benchmarks/memory")


@pytest.fixture(scope="module")
def everyday_rules() -> Iterator[None]:
    """Everyday code is not written for the strict rules of these tests."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def costs(memory: ModuleType, everyday_rules: None) -> dict[str, Any]:
    table = memory.gpt()
    names = (PLAIN, EXPERT, "purenet, keep plan", "purenet, keep inputs")
    return {name: cost(table.contenders[name], *table.args) for name in names}


def test_a_sixth_of_the_bytes_at_fewer_products(costs: dict[str, Any]) -> None:
    plain, planned = costs[PLAIN], costs["purenet, keep plan"]
    assert plain.temporary >= 6 * planned.temporary
    assert planned.flops <= 0.96 * plain.flops


def test_a_twentieth_of_the_bytes_from_the_blocks_inputs(costs: dict[str, Any]) -> None:
    plain, inputs = costs[PLAIN], costs["purenet, keep inputs"]
    assert plain.temporary >= 20 * inputs.temporary
    assert inputs.flops <= 1.13 * plain.flops


def test_fewer_products_than_an_expert_at_equal_bytes(costs: dict[str, Any]) -> None:
    expert, planned = costs[EXPERT], costs["purenet, keep plan"]
    assert planned.temporary <= 1.1 * expert.temporary
    assert planned.flops <= 0.85 * expert.flops


def test_everyday_and_expert_code_compute_the_same(memory: ModuleType) -> None:
    """What the figures are compared with is the same function, to the last leaf of its gradient."""
    config = pn.models.GPTConfig(31, 16, features=16, blocks=2, heads=2, init_std=0.3)
    objective = pn.models.gpt_objective(config, block=4)
    ids = jax.random.randint(jax.random.key(1), (2, 17), 0, 31)
    batch = ids[:, :-1], ids[:, 1:]
    with jax.enable_x64(True):
        params, _ = jax.jit(objective.init)(jax.random.key(0), batch)
        value, gradients = jax.jit(memory.of_loss(objective))(params, batch)
        loss = memory.functools.partial(memory.plain.gpt_loss, heads=2, dtype=jnp.float64)
        lean = {"attend": memory.functools.partial(memory.plain.expert_attention, block=4)}
        lean["loss"] = memory.functools.partial(memory.plain.expert_head_loss, chunks=4)
        for options in ({}, {"policy": memory.plain.DOTS, **lean}):
            gradient = jax.value_and_grad(memory.functools.partial(loss, **options))
            other, theirs = jax.jit(gradient)(params, *batch)
            np.testing.assert_allclose(value, other, rtol=1e-12)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13), gradients, theirs)
