"""The benchmark of layers has every layer, and measures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import pytest

import purenet as pn
from purenet.catalogue import catalogue
from purenet.catalogue.table import public

PATH = Path(__file__).parent.parent / "examples" / "benchmarks" / "layers.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("layers_benchmark", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sizes_are_those_of_rows_and_of_every_layer(benchmark: ModuleType) -> None:
    names = {row.name for row in catalogue()}
    assert set(benchmark.sizes()) <= names
    assert set(public(pn.layers)) <= {name.split(",")[0] for name in benchmark.sizes()}


@pytest.mark.complete
@pytest.mark.parametrize("name", ["gelu", "softplus", "negative_elbo"])
def test_a_row_is_measured(benchmark: ModuleType, name: str) -> None:
    size = benchmark.size_of(next(row for row in catalogue() if row.name == name))
    found = benchmark.measure(size, 4096, jnp.float32, rounds=3)
    assert found.by_hand > 0
    assert found.by_autodiff > 0
