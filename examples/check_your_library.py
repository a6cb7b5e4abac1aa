"""A library with gradients of your own, checked in one table: by pytest, or by purenet's command line.

    pytest examples/check_your_library.py                            a test for each row
    python -m purenet check examples.check_your_library:TABLE        the same rows, as a report

Below are five functions in the forms that such libraries have, as stand-ins for yours: twins, twins with parameters,
a function under jax.custom_vjp with labels, one under jax.custom_jvp and jit, and NumPy without JAX. A row of the table
is what `pn.assert_gradients` is given: the target, and the input and parameters where random ones do not serve.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn

# The library.


def swish_forward(x: Any) -> Any:
    return x * jax.nn.sigmoid(x)


def swish_backward(x: Any, dy: Any) -> Any:
    s = jax.nn.sigmoid(x)
    return (s + x * s * (1 - s)) * dy


def affine_forward(params: Any, x: Any) -> Any:
    """[rows, n] -> [rows, m]"""
    return x @ params["kernel"] + params["bias"]


def affine_backward(params: Any, x: Any, dy: Any) -> Any:
    return {"kernel": x.T @ dy, "bias": dy.sum(0)}, dy @ params["kernel"].T


@jax.custom_vjp
def cross_entropy(logits: Any, labels: Any) -> Any:
    """[rows, classes] and [rows] -> []"""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1))


def cross_entropy_rule(logits: Any, labels: Any) -> Any:
    return cross_entropy(logits, labels), (logits, labels)


def cross_entropy_transposed(saved: Any, dy: Any) -> Any:
    logits, labels = saved
    hits = jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    return dy * (jax.nn.softmax(logits) - hits) / len(logits), None


cross_entropy.defvjp(cross_entropy_rule, cross_entropy_transposed)


@jax.custom_jvp
def log1p_exp(x: Any) -> Any:
    return jnp.logaddexp(x, 0)


@log1p_exp.defjvp
def log1p_exp_tangent(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    return log1p_exp(x), jax.nn.sigmoid(x) * dx


def huber_forward(errors: np.ndarray) -> Any:
    """NumPy: a sum of squares near zero and of absolute values elsewhere."""
    size = np.abs(errors)
    return np.sum(np.where(size < 1, size**2 / 2, size - 0.5))


def huber_backward(errors: np.ndarray, dy: Any) -> np.ndarray:
    return np.clip(errors, -1, 1) * dy


# The table.

RANDOM = np.random.default_rng(0)
LOGITS, LABELS = RANDOM.normal(size=(4, 3)), np.array([0, 2, 1, 2])

TABLE = {
    "swish": {"target": (swish_forward, swish_backward)},
    "affine": {
        "target": (affine_forward, affine_backward),
        "params": {"kernel": RANDOM.normal(size=(7, 3)), "bias": RANDOM.normal(size=3)},
    },
    "cross_entropy": {"target": cross_entropy, "x": (LOGITS, LABELS)},
    "log1p_exp": {"target": jax.jit(log1p_exp), "x": jax.ShapeDtypeStruct((6,), np.float32)},
    "huber": {"target": (huber_forward, huber_backward), "x": 2 * RANDOM.normal(size=9)},
}


@pytest.mark.parametrize("row", TABLE)
def test_gradients(row: str) -> None:
    pn.assert_gradients(**TABLE[row])
