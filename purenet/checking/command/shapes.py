"""`--shape`: 5,7 for every target without an input of its own, or name=lengths:dtype:bound for arguments by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .usage import UsageError

TARGET = re.compile(r"[^\W\d][\w.]*:[^\W\d][^=]*")
NAMED = re.compile(r"(?P<name>[^\W\d]\w*)=(?P<lengths>[\d,]*)(?::(?P<dtype>\w+))?(?::(?P<bound>\d+))?")
BOUND = 2  # a label or an index below it is within bounds wherever there are two of anything


class Shape(NamedTuple):
    """What to draw for one argument; integers below `bound`."""

    lengths: tuple[int, ...]
    dtype: np.dtype = np.dtype("float64")
    bound: int = BOUND


def sorted_out(words: Sequence[str]) -> tuple[dict[str, Shape], list[str]]:
    """Shapes by the names of their arguments, "" for the one without; and the targets that followed them."""
    targets = [word for word in words if TARGET.fullmatch(word)]
    rest = [word for word in words if word not in targets]
    shapes: dict[str, Shape] = {}
    for text in (part for word in rest for part in re.sub(r",\s+", ",", word).split() or [word]):
        name, shape = parsed(text)
        if name in shapes:
            raise UsageError(f"--shape: expected one shape for {name or 'all'}, got {text!r} beside another")
        shapes[name] = shape
    if "" in shapes and len(shapes) > 1:
        raise UsageError("--shape: expected one shape for all, such as 5,7, or names for each, got both")
    return shapes, targets


def parsed(text: str) -> tuple[str, Shape]:
    """One word of --shape."""
    if "=" not in text:
        return "", Shape(lengths(text, text))
    found = NAMED.fullmatch(text)
    if found is None:
        raise UsageError(f"--shape: expected name=lengths:dtype:bound, as in x=4,8 or labels=4:int32:10, got {text!r}")
    sizes = lengths(found["lengths"], text) if found["lengths"] else ()
    dtype = dtype_of(found["dtype"] or "float64", text)
    if found["bound"] is None:
        return found["name"], Shape(sizes, dtype)
    return found["name"], Shape(sizes, dtype, bound_of(int(found["bound"]), dtype, text))


def lengths(text: str, whole: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*,?", text):
        raise UsageError(f"--shape: expected lengths of at least 1, with commas, as in 5,7 or x=4,8, got {whole!r}")
    return tuple(int(length) for length in text.split(",") if length)


def dtype_of(name: str, text: str) -> np.dtype:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind in "iub" or jnp.issubdtype(dtype, jnp.floating):
        return dtype
    raise UsageError(f"--shape: expected a dtype such as float32, int32 or bool, got {name!r} in {text!r}")


def bound_of(bound: int, dtype: np.dtype, text: str) -> int:
    if jnp.issubdtype(dtype, jnp.floating):
        raise UsageError(f"--shape: only integers have a bound, as in labels=4:int32:10, got {text!r}")
    most = 2 if dtype.kind == "b" else int(np.iinfo(dtype).max) + 1
    if not 1 <= bound <= most:
        raise UsageError(f"--shape: expected a bound of 1 to {most} for {dtype}, got {text!r}")
    return bound


def draw(shape: Shape, random: np.random.Generator) -> Any:
    """What `purenet.check` is given: integers themselves, and for the rest a shape, for which it draws numbers."""
    if jnp.issubdtype(shape.dtype, jnp.floating):
        return jax.ShapeDtypeStruct(shape.lengths, shape.dtype)
    return np.asarray(random.integers(0, shape.bound, shape.lengths, np.uint64)).astype(shape.dtype)
