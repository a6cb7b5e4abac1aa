"""What is said of complex leaves, which stand as pairs of real numbers while they are checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from .vocabulary import Diagnosis, LeafReport, norm


def as_complex_row(leaf: LeafReport, candidate: Any, reference: Any) -> LeafReport:
    """The row of a leaf of pairs, as JAX gives its gradient: d/da - i d/db."""
    at = leaf.worst[:-1]
    numbers = [np.nan if pairs is None else complex(pairs[at][0], -pairs[at][1]) for pairs in (candidate, reference)]
    return leaf._replace(shape=leaf.shape[:-1], worst=at, yours=numbers[0], reference=numbers[1])


def is_conjugate(candidate: Any, reference: Any) -> bool:
    return norm(candidate * [1, -1] - reference) <= 1e-9 * norm(reference)


def conjugate_finding(name: str) -> Diagnosis:
    text = f"your gradient of {name} is the complex conjugate of the right one: JAX's is d/da - i d/db for {name} = "
    text += "a + i b, so that dz = dw f'(z) where w = f(z)"
    return Diagnosis(
        "conjugate", text, "conjugate it, or the factors that are conjugated in it", 0.0, (name,), rank=0.1
    )
