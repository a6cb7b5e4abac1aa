"""Objects with forward and backward, or with loss, that hold their parameters and leave gradients in themselves.

A parameter is an array of the object that has a gradient after `backward`: in `grads` beside `params`, in an
attribute such as `dW` for `W`, or as `grad` beside `data`, in the object itself or in its layers. Every call works on
a copy, whose gradients are set to zero first, so that nothing of the caller's changes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ...annotations import PyTree
from ...layer import Layer
from ..points import is_inexact
from .arguments import Held
from .gradient_names import AROUND, like
from .target import Target

Path = tuple[tuple[str, Any], ...]  # ("attribute", name) or ("item", key)
HOLDERS = {"params": ("grads", "gradients", "dparams", "grad"), "parameters": ("gradients", "grads")}
HOLDERS |= {"weights": ("grads", "dweights"), "data": ("grad",), "value": ("grad", "gradient")}


def is_object(target: Any) -> bool:
    forward = callable(target) or callable(getattr(target, "forward", None))
    return forward and callable(getattr(target, "backward", None)) and not isinstance(target, Layer)


def object_target(thing: Any, x: PyTree) -> tuple[Target, OrderedDict[str, Any], PyTree]:
    """The target of an object, its parameters, and x, held where backward gives no gradient for it."""
    trial, given = copy.deepcopy(thing), jax.tree.map(np.asarray, x)
    y = run_forward(trial, given)
    kept = {path: value for path, value in arrays(thing) if same(trial, path, value)}
    returned = trial.backward(jax.tree.map(np.ones_like, y))
    slots = {path: slot for path in kept if (slot := gradient_slot(trial, path, kept)) is not None}
    params = OrderedDict((title(path), np.asarray(kept[path])) for path in slots)

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, Any]:
        own = copy.deepcopy(thing)
        for path, slot in slots.items():
            put(own, path, params[title(path)])
            if find(own, slot) is not None:
                put(own, slot, np.zeros(np.shape(find(own, slot))))
        return run_forward(own, x.value if isinstance(x, Held) else x), own

    def backward(params: PyTree, x: PyTree, y: PyTree, own: Any, dy: PyTree) -> tuple[PyTree, PyTree]:
        dx = own.backward(dy)
        gradients = OrderedDict((title(path), find(own, slot)) for path, slot in slots.items())
        return gradients, x if isinstance(x, Held) else like(x, dx)

    name = type(thing).__name__
    target = Target(name, None, forward, backward, lambda params, x: forward(params, x)[0], True, lenient=True)
    return target, params, Held(x) if returned is None else x


def run_forward(thing: Any, x: PyTree) -> Any:
    forward = getattr(thing, "forward", thing)
    return forward(*x) if isinstance(x, tuple) else forward(x)


def arrays(thing: Any, path: Path = (), seen: tuple[int, ...] = ()) -> Iterator[tuple[Path, Any]]:
    """The floating arrays in an object, in its lists and dicts, and in the objects in it."""
    if is_inexact(thing):
        yield path, thing
    elif id(thing) not in seen:
        for step, value in members(thing):
            yield from arrays(value, (*path, step), (*seen, id(thing)))


def members(thing: Any) -> Iterator[tuple[tuple[str, Any], Any]]:
    if isinstance(thing, dict):
        yield from ((("item", key), value) for key, value in thing.items())
    elif isinstance(thing, (list, tuple)):
        yield from ((("item", k), value) for k, value in enumerate(thing))
    elif hasattr(thing, "__dict__") and not isinstance(thing, type) and not callable(getattr(thing, "__code__", None)):
        yield from ((("attribute", name), value) for name, value in vars(thing).items())


def find(thing: Any, path: Path) -> Any:
    """What stands at a path; None where nothing does."""
    for kind, key in path:
        try:
            thing = getattr(thing, key) if kind == "attribute" else thing[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            return None
    return thing


def put(thing: Any, path: Path, value: Any) -> None:
    holder, (kind, key) = find(thing, path[:-1]), path[-1]
    if kind == "attribute":
        setattr(holder, key, value)
    else:
        holder[key] = value


def same(trial: Any, path: Path, value: Any) -> bool:
    """Whether forward left an array as it was: what it overwrites is its memory, and no parameter."""
    now = find(trial, path)
    return np.shape(now) == np.shape(value) and np.array_equal(now, value, equal_nan=True)


def gradient_slot(thing: Any, path: Path, kept: Any) -> Path | None:
    """Where the gradient of the array at a path stands after backward."""
    for slot in slots_of(path):
        found = find(thing, slot)
        if is_inexact(found) and np.size(found) == np.size(find(thing, path)):
            return slot
    return None


def slots_of(path: Path) -> Iterator[Path]:
    """Where it may stand: beside it under a name made from its own, or in a container beside its container."""
    *before, (kind, key) = path
    around = [form.format(key) for form in AROUND] if isinstance(key, str) else [key]
    yield from ((*before, (kind, name)) for name in around if name != key)
    for k, (step, holder) in enumerate(path):
        for other in HOLDERS.get(holder, ()) if step == "attribute" else ():
            if k == len(path) - 1:
                yield (*path[:k], (step, other))
            else:
                yield from ((*path[:k], (step, other), *path[k + 1 : -1], (kind, name)) for name in around)


def title(path: Path) -> str:
    """`layers.0.W`: a path in words, without the name of the container of all parameters."""
    return ".".join(str(key) for _, key in path if key not in HOLDERS) or str(path[-1][1])
