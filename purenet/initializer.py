"""JAX's initializers that print, compare and pickle, for the networks that the library makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from .annotations import Array


@dataclasses.dataclass(frozen=True)
class Initialized:
    """`make(*arguments)`, such as jax.nn.initializers.normal(0.02); JAX's own is a closure, equal to no other."""

    make: Callable[..., Callable[..., Array]]
    arguments: tuple[Any, ...]

    def __call__(self, key: Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        return self.make(*self.arguments)(key, shape, dtype, out_sharding)

    def __repr__(self) -> str:
        return f"{self.make.__name__}({', '.join(map(repr, self.arguments))})"


def normal(stddev: float) -> Initialized:
    return Initialized(jax.nn.initializers.normal, (stddev,))


def he_normal() -> Initialized:
    return Initialized(jax.nn.initializers.he_normal, ())
