"""What a value of the caller's stands for: one target or several, each with the arguments of `purenet.check`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeGuard

import jax

from ...layer import Layer
from ..forms.arguments import positional
from .usage import UsageError, sentence


class Job(NamedTuple):
    """One check to make: the arguments of `purenet.check`, target included, under a name for the table."""

    name: str
    arguments: dict[str, Any]


def jobs_in(name: str, value: Any, called: bool = False) -> list[Job]:
    """A job for each target that a value stands for; `called`: a function of the caller's returned it."""
    if (arguments := arguments_of(value)) is not None:
        return [Job(name, arguments)]
    if isinstance(value, (dict, list, tuple)):
        if not value:
            raise UsageError(f"{name} is empty: expected at least one target")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [job for key, item in items for job in jobs_in(f"{name}[{key}]", item)]
    if called or not callable(value) or required(value):
        raise UsageError(not_checkable(name, value, called))
    return returned(name, value)


def returned(name: str, function: Callable[..., Any]) -> list[Job]:
    """The jobs of what a function without required arguments returns. One of *args or **kwargs may be a target."""
    try:
        return jobs_in(name, function(), called=True)
    except (Exception, SystemExit) as error:
        if takes_any(function):
            return [Job(name, {"target": function})]
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"calling {name} failed: {sentence(error)}") from error


def arguments_of(value: Any) -> dict[str, Any] | None:
    """The arguments of `purenet.check` where a value is one target; None where it is several, or none."""
    if isinstance(value, dict):
        return value if "target" in value else None
    if is_target(value):
        return {"target": value}
    if is_two(value) and is_target(value[0]) and may_be_input(value[0], value[1]):
        return {"target": value[0], "x": value[1]}
    return None


def is_target(value: Any) -> bool:
    return isinstance(value, Layer) or is_pair(value) or is_function(value)


def is_pair(value: Any) -> TypeGuard[Sequence[Callable[..., Any]]]:
    """Whether a value is (forward, backward), and not a list of two functions with rules of their own."""
    return is_two(value) and all(map(is_function, value)) and not all(map(has_rule, value))


def is_two(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (tuple, list)) and len(value) == 2


def is_function(value: Any) -> bool:
    """Whether a value is a function of arrays: one without required arguments is so only by its derivative rule."""
    if not callable(value) or isinstance(value, (type, Layer)):
        return False
    return has_rule(value) or required(value)


def has_rule(function: Any) -> bool:
    """Whether a function is known to have a derivative rule, at any depth of jit, vmap and partial."""
    if isinstance(function, (jax.custom_vjp, jax.custom_jvp)):
        return True
    if isinstance(function, functools.partial):
        return has_rule(function.func)
    inside = getattr(function, "__wrapped__", None)
    return callable(inside) and has_rule(inside)


def may_be_input(target: Any, x: Any) -> bool:
    """Whether (target, x) is a target and its input. Targets are an input only where each is an argument."""
    if not holds_targets(x):
        return True
    return is_function(target) and isinstance(x, (tuple, dict)) and len(names(target)) == len(x) > 1


def holds_targets(value: Any) -> bool:
    """Whether a value is made of targets, and of nothing else but their inputs."""
    if is_target(value):
        return True
    if isinstance(value, dict):
        items = [value["target"]] if "target" in value else list(value.values())
    elif isinstance(value, (list, tuple)):
        items = list(value[:1] if is_two(value) and is_target(value[0]) else value)
    else:
        return False
    return bool(items) and all(map(holds_targets, items))


def names(function: Callable[..., Any]) -> list[str]:
    """Names of the positional arguments without a default; none where they cannot be read."""
    try:
        return positional(function)
    except TypeError:
        return []


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return []


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function takes *args or **kwargs."""
    return any(map(is_rest, parameters(function))) and not isinstance(function, type)


def is_rest(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def required(function: Callable[..., Any]) -> bool:
    """Whether a function has to be given arguments."""
    try:
        found = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return True
    return any(p.default is p.empty and not is_rest(p) for p in found)


def not_checkable(name: str, value: Any, called: bool) -> str:
    stem = name.rpartition(":")[2]
    kind = f"got {type(value).__name__}"
    if called:
        kind = f"this one returns something else, {type(value).__name__}"
    elif isinstance(value, type):
        kind = "this is a class that needs arguments"
    twins = "" if "[" in stem else f"twins {stem}_forward and {stem}_backward, "
    return (
        f"{name} cannot be checked: expected a layer, a pair (forward, backward), a function with a derivative rule, "
        f"(any of these, input), a list or dict of them, {twins}or a function without required arguments that returns "
        f"one of these; {kind}"
    )
