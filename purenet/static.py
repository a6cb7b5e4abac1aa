"""Facts known while tracing that travel among arrays and cost nothing at run time."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """A hashable value, such as a shape, that stands in a pytree of residuals without being a leaf."""

    value: Any
