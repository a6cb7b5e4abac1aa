"""What `fit` is given, checked on the host before anything is compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..data import check_finite
from ..validation import describe, leaves_with_paths
from .state import TrainState, check_key


def check_data(data: PyTree, name: str, batch_size: int | None = None) -> PyTree:
    """The data as arrays on the device; raises unless it is a pair of equally many, finite examples."""
    if not (isinstance(data, tuple) and len(data) == 2):
        raise TypeError(f"fit: expected {name} as a pair (inputs, targets), got {describe(data)}")
    parts = [(f"{name} {half}", part) for half, part in zip(("inputs", "targets"), data, strict=True)]
    leaves = [(f"{half}.{path}".rstrip("."), leaf) for half, part in parts for path, leaf in leaves_with_paths(part)]
    for path, leaf in leaves:
        if not hasattr(leaf, "shape") or np.ndim(leaf) == 0:
            raise TypeError(f"fit: expected {path} as an array [examples, ...], got {describe(leaf)}")
    lengths = {path: leaf.shape[0] for path, leaf in leaves}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"fit: expected one number of examples, got {lengths}")
    examples = next(iter(lengths.values()))
    if examples == 0:
        raise ValueError(f"fit: expected at least one example, got empty {name}")
    if batch_size is not None and batch_size > examples:
        raise ValueError(f"fit: expected a batch_size of at most the {examples} examples, got {batch_size}")
    data = jax.tree.map(jnp.asarray, data)
    for (path, _), leaf in zip(leaves, jax.tree.leaves(data), strict=True):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            check_finite("fit", path, np.asarray(leaf))
    return data


def check_start(key: Any, train_state: Any) -> None:
    """Raise unless `fit` has one start."""
    if (key is None) == (train_state is None):
        raise TypeError("fit: expected either key=jax.random.key(...) to start or train_state=... to go on")
    if key is not None:
        check_key(key)
    elif not isinstance(train_state, TrainState):
        raise TypeError(f"fit: expected a TrainState to go on from, got {describe(train_state)}")


def check_metrics(values: PyTree) -> None:
    for name, value in values.items():
        if jnp.shape(value) != ():
            raise ValueError(f"fit: expected metric {name!r} as a scalar, the mean over a batch, got {describe(value)}")
