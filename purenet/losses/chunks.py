"""Chunks of one length along an axis: what is too large for memory is computed a chunk at a time.

Where the length does not divide the axis, the last chunk starts early enough to end with it: it overlaps the one
before, and what both hold must count only once. Nothing is padded, and nothing is copied but the chunk itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Bool, Integer

ALIGNED = 8  # of 16 bits: what a tensor core loads at once


class Chunks(NamedTuple):
    """`number` chunks of `length` places that cover `size` places."""

    size: int
    length: int
    number: int

    @property
    def numbers(self) -> Integer[Array, " number"]:
        """The k of every chunk, to scan over."""
        return jnp.arange(self.number, dtype=jnp.int32)

    def start(self, k: Any) -> Any:
        """Where chunk k starts."""
        return jnp.minimum(k * self.length, self.size - self.length)

    def is_new(self, k: Any) -> Bool[Array, " length"]:
        """Which places of chunk k were in none before."""
        return self.start(k) + jnp.arange(self.length, dtype=jnp.int32) >= k * self.length


def equal_chunks(size: int, at_most: int) -> Chunks:
    """About as many chunks as chunks of `at_most` places would be, as even as can be, so that few places come twice.

    A length that is a multiple of 8 stays one, which matrix products on a GPU like.
    """
    unit = ALIGNED if at_most % ALIGNED == 0 else 1
    fewest = -(-size // at_most)
    numbers = range(fewest, fewest + fewest // 8 + 1)
    lengths = [min(-(-size // (number * unit)) * unit, size) for number in numbers]
    number, length = min(zip(numbers, lengths, strict=True), key=lambda chunks: chunks[0] * chunks[1])
    return Chunks(size, length, number)


def slice_at(x: Array, chunks: Chunks, k: Any, axis: int = 0) -> Array:
    """Chunk k of x."""
    return lax.dynamic_slice_in_dim(x, chunks.start(k), chunks.length, axis)


def add_at(x: Array, chunk: Array, chunks: Chunks, k: Any, axis: int = 0) -> Array:
    """x with something added to chunk k."""
    return lax.dynamic_update_slice_in_dim(x, slice_at(x, chunks, k, axis) + chunk, chunks.start(k), axis)
