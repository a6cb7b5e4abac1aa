"""How a layer was made: its constructor and arguments, which say what it is, whether it equals another, how to print.

    serial(up=dense(128), act=gelu(), logits=dense(10))

Arguments that have their default values are left out, so that two ways to write the same are the same.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

WIDTH = 100


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Call:
    """A call of `function`, printed as `name(...)`."""

    name: str
    positional: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()
    function: Callable[..., Any] | None = None

    @staticmethod
    def of(function: Callable[..., Any], arguments: inspect.BoundArguments) -> Call:
        """The call with these arguments, less those that are defaults."""
        positional: list[Any] = []
        named: list[tuple[str, Any]] = []
        for name, value in arguments.arguments.items():
            parameter = arguments.signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional += value
            elif parameter.kind is parameter.VAR_KEYWORD:
                named += value.items()
            elif parameter.default is parameter.empty and not named and parameter.kind is not parameter.KEYWORD_ONLY:
                positional.append(value)
            elif not same(value, parameter.default):
                named.append((name, value))
        return Call(function.__name__, tuple(positional), tuple(named), function)

    @staticmethod
    def of_parts(name: str, parts: Sequence[tuple[str, Any]]) -> Call:
        """A layer that no constructor of the library made, with its parts."""
        keys = [key.strip(".") for key, _ in parts]
        layers = [part for _, part in parts]
        if not all(key.isidentifier() for key in keys):
            return Call(name, tuple(layers))
        return Call(name, (), tuple(zip(keys, layers, strict=True)))

    def run(self) -> Any:
        assert self.function is not None
        return self.function(*self.positional, **dict(self.named))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Call) or self.function is not other.function:
            return False
        return same(self.positional, other.positional) and same(self.named, other.named)

    def __hash__(self) -> int:
        return hash((self.function, len(self.positional), tuple(name for name, _ in self.named)))

    def __str__(self) -> str:
        """As one would type it; equal layers in a row once, `*[block] * 3`."""
        arguments = [
            shown(group[0]) if len(group) == 1 else f"*[{shown(group[0])}] * {len(group)}"
            for group in equal_layers(self.positional)
        ]
        arguments += [f"{name}={shown(value)}" for name, value in self.named]
        return laid_out(self.name, arguments)


def laid_out(name: str, arguments: Sequence[str]) -> str:
    """On one line where it fits; around a first argument of several lines; else as many arguments a line as fit."""
    line = f"{name}({', '.join(arguments)})"
    several = [k for k, argument in enumerate(arguments) if "\n" in argument]
    if several in ([], [0]) and max(map(len, (line.splitlines()[0], line.splitlines()[-1]))) <= WIDTH:
        return line
    lines: list[str] = []
    for k, argument in enumerate(arguments):
        argument += "," if k < len(arguments) - 1 else ")"
        joins = lines and k - 1 not in several and k not in several
        if joins and len(lines[-1]) + 1 + len(argument) <= WIDTH:
            lines[-1] += f" {argument}"
        else:
            lines.append(argument)
    inside = textwrap.indent("\n".join(lines), "    ")
    return f"{name}(\n{inside}"


def same(one: Any, other: Any) -> bool:
    """Whether two arguments are equal, arrays and what holds them included."""
    if one is other:
        return True
    if is_dtype(one) and is_dtype(other):
        return np.dtype(one) == np.dtype(other)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and same(list(one.items()), list(other.items()))
    if isinstance(one, (np.ndarray, jax.Array)) or isinstance(other, (np.ndarray, jax.Array)):
        return np.shape(one) == np.shape(other) and bool(np.all(np.asarray(one) == np.asarray(other)))
    return type(one) is type(other) and bool(one == other)


def equal_layers(values: Sequence[Any]) -> list[list[Any]]:
    """The values, equal layers that follow each other in one group."""
    groups: list[list[Any]] = []
    for value in values:
        if groups and hasattr(value, "parts") and same(groups[-1][0], value):
            groups[-1].append(value)
        else:
            groups.append([value])
    return groups


def shown(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        inside = ", ".join(map(shown, value)) + "," * (isinstance(value, tuple) and len(value) == 1)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {shown(each)}" for name, each in value.items()) + "}"
    if is_dtype(value):
        return f"jnp.{np.dtype(value).name}"
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return repr(value)


def is_dtype(value: Any) -> bool:
    """NumPy's dtypes, and the scalar types of NumPy and JAX."""
    return isinstance(value, (np.dtype, type))
