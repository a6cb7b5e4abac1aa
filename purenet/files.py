"""Parameters in a safetensors file, by their paths (`0.kernel`); needs the extra `io`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .annotations import PyTree
from .validation import describe, leaves_with_paths


def save_params(path: str | Path, params: PyTree) -> None:
    """Write all leaves to one file, which appears whole or not at all."""
    tensors = safetensors_numpy()
    # The format stores memory as it lies: only contiguous arrays come back as they were.
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in leaves_with_paths(params)}
    path = Path(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        tensors.save_file(arrays, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_params(path: str | Path, like: PyTree) -> PyTree:
    """Read parameters into the tree of `like`: arrays or `jax.ShapeDtypeStruct`s, such as `net.init` under
    `jax.eval_shape`. Raises ValueError naming tensors that are missing, unknown or of another shape or dtype."""
    try:
        arrays = safetensors_numpy().load_file(path)
    except safetensors_error() as error:
        raise ValueError(f"{path}: no readable safetensors file: {error}") from error
    names = [name for name, _ in leaves_with_paths(like)]
    missing, unknown = sorted(set(names) - set(arrays)), sorted(set(arrays) - set(names))
    if missing or unknown:
        raise ValueError(f"{path}: expected other parameters: missing {missing}, unknown {unknown}")
    for name, leaf in leaves_with_paths(like):
        found = arrays[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise ValueError(f"{path}: expected {name} as {describe(leaf)}, got {describe(found)}")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name]) for name in names])


def safetensors_numpy() -> Any:
    try:
        from safetensors import numpy as tensors
    except ImportError as error:
        raise ImportError("saving parameters needs safetensors: pip install 'purenet[io]'") from error
    return tensors


def safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError
