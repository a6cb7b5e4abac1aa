"""A function that returns (loss, gradients), as course work and optimisers want it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ...annotations import PyTree
from ..running import as_numpy
from .arguments import call, held
from .gradient_names import gradients_of, is_moving, of_names
from .target import Target


def loss_and_gradients(
    function: Callable[..., Any], arguments: OrderedDict[str, Any], argnums: Any, by_name: bool
) -> tuple[Target, OrderedDict[str, Any]] | None:
    """The target of a function that returns (loss, gradients), and its arguments; None where it returns else."""
    result = call(function, jax.tree.map(as_numpy, arguments), by_name)
    if not (isinstance(result, tuple) and len(result) == 2 and is_loss(result[0])):
        return None
    chosen = held(arguments, numbers(arguments, result[1]) if argnums is None else argnums)

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        return call(function, params, by_name)

    def backward(params: PyTree, x: PyTree, y: PyTree, gradients: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        return gradients_of(params, jax.tree.map(lambda gradient: gradient * dy, gradients)), ()

    def reference(params: PyTree, x: PyTree) -> PyTree:
        return forward(params, x)[0]

    name = getattr(function, "__name__", "function")
    return Target(name, None, forward, backward, reference, True, lenient=True), chosen


def is_loss(value: Any) -> bool:
    return np.shape(value) == () and np.asarray(value).dtype.kind == "f"


def numbers(arguments: OrderedDict[str, Any], gradients: Any) -> tuple[int, ...]:
    """Which arguments the gradients are by: those that a dict names, else the first ones."""
    moving = [k for k, value in enumerate(arguments.values()) if is_moving(value)]
    if isinstance(gradients, (tuple, list)):
        return tuple(moving[: len(gradients)])
    names = list(arguments)
    if isinstance(gradients, dict) and not isinstance(arguments[names[moving[0]]], dict):
        found = of_names(arguments, gradients)
        return tuple(k for k in moving if names[k] in found)
    return (moving[0],)
