"""A constant matrix along each spatial axis of x [..., spatial..., channels]: resizing, and means of unequal bins.

Along an axis of length n, y = M x with M [m, n]; M^T takes dy back. Such a matrix has a few entries in each row, so y
is a sum of a few gathers, which XLA fuses into one pass; where rows are long it is a matrix product.
The matrices are made while tracing, in float64; products are at least float32 and never rounded to tensor-float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..annotations import Array
from ..precision import widen

LONGEST_SUM = 16


def multiply_axes(x: Array, matrices: Sequence[np.ndarray]) -> Array:
    """M x along each spatial axis."""
    y = widen(x)
    for axis, matrix in enumerate(matrices, x.ndim - 1 - len(matrices)):
        if not np.array_equal(matrix, np.eye(len(matrix))):
            y = multiply_axis(y, matrix, axis)
    return y.astype(x.dtype)


def multiply_axis(x: Array, matrix: np.ndarray, axis: int) -> Array:
    """[..., n, ...] to [..., m, ...]."""
    columns, weights = entries(matrix)
    shape = (*x.shape[:axis], len(matrix), *x.shape[axis + 1 :])
    if columns.shape[1] > LONGEST_SUM:
        flat = lax.collapse(x, axis + 1)  # [..., n, rest]
        product = jnp.einsum("mn,...nr->...mr", jnp.asarray(matrix, x.dtype), flat, precision=lax.Precision.HIGHEST)
        return product.reshape(shape)
    y = jnp.zeros(shape, x.dtype)
    for column, weight in zip(columns.T, weights.T, strict=True):
        taken = jnp.take(x, column, axis, mode="clip")  # [..., m, ...]
        if np.any(weight != 1):
            taken = taken * lax.broadcast_in_dim(jnp.asarray(weight, x.dtype), shape, (axis,))
        y = y + taken
    return y


def entries(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(columns, weights), each [m, entries in the longest row]; shorter rows end in entries of weight 0."""
    rows = [np.flatnonzero(row) for row in matrix]
    longest = max(1, *map(len, rows))
    columns = np.zeros((len(matrix), longest), np.int32)
    for i, row in enumerate(rows):
        columns[i, : len(row)] = row
        columns[i, len(row) :] = row[-1] if len(row) else 0
    filled = np.arange(longest)[None] < np.array([len(row) for row in rows])[:, None]
    return columns, np.where(filled, np.take_along_axis(matrix, columns, 1), 0)
