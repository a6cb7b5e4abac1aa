"""What a backward hands back in the place of its parameters' gradient: a norm, a record, updated parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from .annotations import PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Replacement:
    """Stands where a gradient would. Combinators whose kind passes gradients on pass this on too, and what compares
    gradients with parameters leaves it out."""

    value: PyTree


def is_replacement(leaf: Any) -> bool:
    return isinstance(leaf, Replacement)


def without_replaced(gradient: PyTree, target: PyTree) -> tuple[PyTree, PyTree]:
    """Both without those parts where something else stands in the gradient's place."""
    if not any(map(is_replacement, jax.tree.leaves(gradient, is_leaf=is_replacement))):
        return gradient, target
    kept = jax.tree.map(lambda leaf: None if is_replacement(leaf) else leaf, gradient, is_leaf=is_replacement)
    return kept, jax.tree.map(
        lambda leaf, own: None if is_replacement(leaf) else own,
        gradient,
        target,
        is_leaf=lambda leaf: leaf is None or is_replacement(leaf),
    )
