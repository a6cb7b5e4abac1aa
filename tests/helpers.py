"""What several files of tests share: random numbers, forward and backward together, a block."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

import purenet as pn
from purenet.layer import run_backward


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def pull_all(layer: pn.Layer, params: Any, state: Any, x: Any, dy: Any) -> Any:
    """(y, new_state, dparams, dx)."""
    y, state, residuals = layer.forward(params, state, x, None)
    return y, state, *run_backward(layer, params, x, y, residuals, dy)


def pull(layer: pn.Layer, params: Any, x: Any, dy: Any) -> Any:
    """(y, (dparams, dx)) of a layer without state."""
    y, _, dparams, dx = pull_all(layer, params, (), x, dy)
    return y, (dparams, dx)


@functools.partial(jax.jit, static_argnums=0)
def pull_x(layer: pn.Layer, x: Any, dy: Any) -> tuple[Any, Any]:
    """(y, dx) of a layer without parameters."""
    y, (_, dx) = pull(layer, (), x, dy)
    return y, dx


def assert_close(actual: Any, expected: Any, relative: float = 1e-13) -> None:
    """Leaf by leaf, relative to its largest value."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected) > 0
    for mine, theirs in zip(map(np.asarray, actual), map(np.asarray, expected), strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=relative * np.max(np.abs(theirs)))


def residual_mlp(features: int, hidden: int) -> pn.Layer:
    return pn.residual(pn.serial(norm=pn.layer_norm(), up=pn.dense(hidden), act=pn.gelu(), down=pn.dense(features)))
