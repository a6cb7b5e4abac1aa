"""Parameters in a safetensors file, by their paths (`0.kernel`); needs the extra `io`."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .annotations import PyTree
from .validation import describe, leaves_with_paths


def save_params(path: str | Path, params: PyTree) -> None:
    """Write all leaves to one file, which appears whole or not at all. Raises ValueError, before anything is written,
    if two leaves have the same path, since a layer's name holds a dot."""
    tensors = safetensors_numpy()
    # The format stores memory as it lies: only contiguous arrays come back as they were.
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in named_leaves(params).items()}
    appear(Path(path), lambda file: tensors.save_file(arrays, file))


def load_params(path: str | Path, like: PyTree) -> PyTree:
    """Read parameters into the tree of `like`: arrays or `jax.ShapeDtypeStruct`s, such as `net.init` under
    `jax.eval_shape`. Raises ValueError naming tensors that are missing, unknown or of another shape or dtype."""
    try:
        arrays = safetensors_numpy().load_file(path)
    except safetensors_error() as error:
        raise ValueError(f"{path}: no readable safetensors file: {error}") from error
    leaves = named_leaves(like)
    missing, unknown = sorted(set(leaves) - set(arrays)), sorted(set(arrays) - set(leaves))
    if missing or unknown:
        raise ValueError(f"{path}: expected other parameters: missing {missing}, unknown {unknown}")
    for name, leaf in leaves.items():
        found = arrays[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise ValueError(f"{path}: expected {name} as {describe(leaf)}, got {describe(found)}")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name]) for name in leaves])


def named_leaves(params: PyTree) -> dict[str, Any]:
    """The leaves by their paths, or ValueError where a path means two of them."""
    leaves = leaves_with_paths(params)
    named = dict(leaves)
    if len(named) < len(leaves):
        paths = [path for path, _ in leaves]
        twice = sorted(path for path in named if paths.count(path) > 1)
        raise ValueError(f"expected one parameter a path, got several of {twice}: give layers names without dots")
    return named


def appear(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside the path and move it there when it is whole.

    A process that is killed leaves the file beside it; whoever saves there an hour later takes it away.
    """
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if time.time() - abandoned.stat().st_mtime > 3600:
            abandoned.unlink(missing_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, (OSError, safetensors_error())):
            raise OSError(f"{path}: could not be written: {error}") from error
        raise


def safetensors_numpy() -> Any:
    try:
        from safetensors import numpy as tensors
    except ImportError as error:
        raise ImportError("saving parameters needs safetensors: pip install 'purenet[io]'") from error
    return tensors


def safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError
