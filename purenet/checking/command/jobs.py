"""What to check: the library's catalogue, or what the caller's `module:name` stands for."""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...catalogue import catalogue, input_of
from ...layer import Layer
from ..check import check
from .usage import UsageError, sentence


class Job(NamedTuple):
    """One check to make: the arguments of `purenet.check`, target included, under a name for the table."""

    name: str
    arguments: dict[str, Any]


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """The caller's targets with what the options say about all of them, or the library's."""
    chosen = {} if options.seed is None else {"seed": options.seed}
    chosen |= {} if options.dtype is None else {"dtype": jnp.dtype(options.dtype)}
    if options.targets:
        return [Job(target, with_input(load(target), options.shape) | chosen) for target in options.targets]
    if options.shape is not None:
        raise UsageError("--shape is for your own targets: purenet's have inputs of their own")
    return [
        Job(row.name, {"target": row.layer, "x": input_of(row, options.seed or 0), "verbose": False} | chosen)
        for row in catalogue()
    ]


def with_input(arguments: dict[str, Any], shape: tuple[int, ...] | None) -> dict[str, Any]:
    if shape is None or arguments.get("x") is not None:
        return arguments
    return arguments | {"x": jax.ShapeDtypeStruct(shape, np.float32)}


def load(target: str) -> dict[str, Any]:
    """The arguments of `purenet.check` that `module:name` stands for."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise UsageError(f"expected module:name, got {target!r}")
    module = import_module(module_name)
    missing = object()
    found = getattr(module, name, missing)
    arguments = None if found is missing else arguments_of(found) or returned_arguments(found, target)
    arguments = arguments or arguments_of(twins(module, name))
    if arguments is None:
        raise UsageError(no_such_name(module, name) if found is missing else not_checkable(target, name, found))
    arguments = arguments | {"verbose": False}
    unknown = set(arguments) - set(inspect.signature(check).parameters)
    if unknown:
        raise UsageError(f"{target} gives {', '.join(map(repr, sorted(unknown)))}, which purenet.check does not take")
    return arguments


def import_module(name: str) -> ModuleType:
    """Import a module, from the current directory too."""
    if name.endswith(".py") or "/" in name or os.sep in name:
        raise UsageError(f"expected the name of a module, such as package.module, got the file {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"importing {name} failed: {sentence(error)}") from error
        raise UsageError(f"no module named {error.name!r} in {os.getcwd()} or where Python looks") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"importing {name} failed: {sentence(error)}") from error


def arguments_of(value: Any) -> dict[str, Any] | None:
    """The arguments of `purenet.check` that a value stands for; None where it is nothing that can be checked."""
    if isinstance(value, dict):
        return value if "target" in value else None
    if is_target(value):
        return {"target": value}
    if is_pair(value) and is_target(value[0]):
        return {"target": value[0], "x": value[1]}
    return None


def is_target(value: Any) -> bool:
    return isinstance(value, (Layer, jax.custom_vjp)) or (is_pair(value) and all(map(callable, value)))


def is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and not isinstance(value, Layer) and len(value) == 2


def returned_arguments(function: Any, target: str) -> dict[str, Any] | None:
    """The same of what a function without required arguments returns."""
    if not callable(function) or required(function):
        return None
    try:
        return arguments_of(function())
    except (Exception, SystemExit) as error:
        raise UsageError(f"calling {target} failed: {sentence(error)}") from error


def required(function: Callable[..., Any]) -> bool:
    """Whether a function has to be given arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return True
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is inspect.Parameter.empty and p.kind not in optional for p in parameters)


def twins(module: ModuleType, name: str) -> tuple[Any, Any]:
    """name_forward and name_backward; either of them may be the name that was given."""
    stem = name.removesuffix("_forward").removesuffix("_backward")
    return getattr(module, f"{stem}_forward", None), getattr(module, f"{stem}_backward", None)


def no_such_name(module: ModuleType, name: str) -> str:
    names = {public.removesuffix("_forward").removesuffix("_backward") for public in vars(module)}
    close = difflib.get_close_matches(name, sorted(names), 1)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"{module.__name__} has no {name!r} and no twins {name}_forward and {name}_backward{hint}"


def not_checkable(target: str, name: str, found: Any) -> str:
    kind = f"got {type(found).__name__}"
    if callable(found):
        kind = "this one needs arguments" if required(found) else "this one returns something else"
    return (
        f"{target} cannot be checked: expected a layer, a pair (forward, backward), a jax.custom_vjp function, twins "
        f"{name}_forward and {name}_backward, or a function without required arguments that returns one of these; "
        f"{kind}"
    )
