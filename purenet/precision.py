"""In what precision sums, statistics and logarithms are computed: at least float32."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from .annotations import Array


def wide_dtype(dtype: Any) -> Any:
    """float32 for float16 and bfloat16, else the dtype itself."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)


def widen(x: Array) -> Array:
    return x.astype(wide_dtype(x.dtype))
