"""A gradient as people return it, in the containers of what it is the gradient of.

Under the same names, or with d, grad and the like around them; in the order of the arguments; as one flat vector.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Any

import jax
import numpy as np

from ...annotations import PyTree
from ...static import Static
from ..points import is_inexact
from .arguments import Held

AROUND = ("{}", "d{}", "d_{}", "grad_{}", "{}_grad", "g{}", "g_{}", "D{}", "grad{}", "{}_gradient", "{}grad", "del{}")
AROUND += ("{}.grad",)


def named(gradients: dict[str, Any], name: Any) -> Any:
    """The gradient of a name in a dict, or KeyError."""
    if not isinstance(name, str):
        return gradients[name]
    return gradients[next((key for key in map(str.format, AROUND, [name] * len(AROUND)) if key in gradients), name)]


def like(tree: PyTree, gradient: Any) -> Any:
    """A gradient with the keys of the tree, where its own are these with something around them; else as it is."""
    if not (isinstance(tree, dict) and isinstance(gradient, dict)):
        return unflattened(tree, gradient)
    if len(tree) != len(gradient):
        return gradient  # what belongs to nothing is a mistake
    try:
        return type(tree)((key, like(value, named(gradient, key))) for key, value in tree.items())
    except KeyError:
        return gradient


def unflattened(tree: PyTree, gradient: Any) -> Any:
    """One flat vector of all numbers as the tree whose leaves it holds, one after the other; else as it is."""
    leaves, structure = jax.tree.flatten(tree)
    sizes = [int(np.size(leaf)) for leaf in leaves]
    if len(leaves) < 2 or not all(map(is_inexact, leaves)) or getattr(gradient, "shape", ()) != (sum(sizes),):
        return gradient
    starts = np.cumsum([0, *sizes])
    parts = [gradient[a:b].reshape(leaf.shape) for a, b, leaf in zip(starts, starts[1:], leaves, strict=False)]
    return jax.tree.unflatten(structure, parts)


def gradients_of(arguments: OrderedDict[str, Any], returned: Any) -> Any:
    """What a backward returns, as the gradients of a function's arguments by name; what cannot be read so as it is."""
    moving = [name for name, value in arguments.items() if is_moving(value)]
    if isinstance(returned, (tuple, list)) and len(returned) in (len(arguments), len(moving)):
        names = list(arguments) if len(returned) == len(arguments) else moving
        found = dict(zip(names, returned, strict=True))
    elif isinstance(returned, dict) and (found := of_names(arguments, returned)):
        pass
    elif len(moving) == 1:
        found = {moving[0]: returned}
    else:
        return returned
    return OrderedDict((name, one(value, found.get(name))) for name, value in arguments.items())


def of_names(arguments: OrderedDict[str, Any], returned: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name in arguments:
        with contextlib.suppress(KeyError):
            found[name] = named(returned, name)
    return found


def one(value: Any, gradient: Any) -> Any:
    if isinstance(value, (Static, Held)):
        return value
    return like(value, gradient) if is_moving(value) else jax.tree.map(lambda leaf: None, value)


def is_moving(value: Any) -> bool:
    return any(map(is_inexact, jax.tree.leaves(value)))
