"""The benchmark of layers has every layer, and measures."""

from __future__ import annotations

import importlib.util
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import pytest

import purenet as pn

PATH = Path(__file__).parent.parent / "examples" / "benchmarks" / "layers.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("layers_benchmark", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_layer_has_a_row(benchmark: ModuleType) -> None:
    named = {row.name.split(",")[0] for subject in benchmark.SUBJECTS for row in subject()}
    assert {name for name, value in vars(pn.layers).items() if isfunction(value)} <= named


@pytest.mark.complete
def test_a_row_is_measured(benchmark: ModuleType) -> None:
    row = benchmark.Row("gelu", pn.gelu(), benchmark.floats(7), 4096, 4096)
    found = benchmark.measure(row, row.examples, jnp.float32, rounds=3)
    assert found.by_hand > 0
    assert found.by_autodiff > 0
    assert found.memory < 1
