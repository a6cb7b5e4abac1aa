"""How a function with derivative rules of its own is called: f(x), f(params, x), f(*x) or f(**x).

Where x is several arguments, each leaf carries its argument's own name, and what is no array (an axis, a mode, a
function) stays as it is: a Python integer is one, a float is not.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ...annotations import PyTree
from ...static import Static
from ..running import as_numpy
from ..vocabulary import CANNOT_TRACE

PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function.fn if is_filtered(function) else function).parameters.values())
    except ValueError as error:
        raise TypeError(f"check: cannot read the arguments of {function!r}: wrap it in a def or lambda") from error


def is_filtered(function: Any) -> bool:
    """Whether it is Equinox's `filter_custom_vjp`, whose rule is for the first argument alone."""
    return all(hasattr(function, name) for name in ("fn", "def_fwd", "def_bwd"))


def positional(function: Callable[..., Any]) -> list[str]:
    """Names of the positional arguments without a default."""
    return [p.name for p in parameters_of(function) if p.kind in PLAIN and p.default is inspect.Parameter.empty]


def spread(function: Callable[..., Any], x: PyTree) -> OrderedDict[str, Any] | None:
    """The arguments by name where x is a tuple or a dict of all of them; None where x is the one argument."""
    parameters = parameters_of(function)
    plain = [p.name for p in parameters if p.kind in PLAIN]
    required, rest = positional(function), [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    if type(x) is dict:
        names = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        fits = set(required) <= set(x) and (set(x) <= names or any(p.kind is p.VAR_KEYWORD for p in parameters))
        return as_static(x.items()) if fits and not takes_whole(function, x, required) else None
    if type(x) is not tuple or not len(required) <= len(x) <= (len(x) if rest else len(plain)):
        return None
    if takes_whole(function, x, required):
        return None
    names = plain[: len(x)] + [f"{rest[0]}[{k}]" for k in range(len(x) - len(plain))] if rest else plain
    return as_static(zip(names, x, strict=False))


def takes_whole(function: Callable[..., Any], x: PyTree, required: list[str]) -> bool:
    """Whether x is the one argument of a function whose others have defaults."""
    if len(required) != 1:
        return False
    try:
        jax.eval_shape(function, x)
    except CANNOT_TRACE:
        return True
    except Exception:  # whatever a function raises that was given its arguments as one
        return False
    return True


def as_static(items: Any) -> OrderedDict[str, Any]:
    return OrderedDict((name, Static(value) if is_static(value) else value) for name, value in items)


class Held:
    """An argument that is held where it is: it stands in a tree of arguments without being a leaf, as itself only."""

    def __init__(self, value: Any):
        self.value = value


jax.tree_util.register_static(Held)


def held(
    arguments: OrderedDict[str, Any], argnums: int | Sequence[int] | None, given: Any = None
) -> OrderedDict[str, Any]:
    """The arguments, of which only those numbered are differentiated; Python's numbers among the others stay as they
    were `given`."""
    if argnums is None:
        return arguments
    chosen = {argnums} if isinstance(argnums, int) else set(argnums)
    if not chosen or not chosen <= set(range(len(arguments))):
        raise ValueError(f"check: argnums {argnums} does not fit {len(arguments)} arguments, {', '.join(arguments)}")
    plain = {name: value for name, value in (given or {}).items() if isinstance(value, float)}
    return OrderedDict(
        (name, value if k in chosen or isinstance(value, (Static, Held)) else Held(plain.get(name, value)))
        for k, (name, value) in enumerate(arguments.items())
    )


def is_static(value: Any) -> bool:
    plain = value is None or isinstance(value, (str, bytes, bool, int, np.dtype, type))
    return plain or (callable(value) and all(leaf is value for leaf in jax.tree.leaves(value)))


def call(function: Callable[..., Any], arguments: OrderedDict[str, Any], by_name: bool) -> Any:
    values = values_of(arguments)
    return function(**values) if by_name else function(*values.values())


def values_of(arguments: OrderedDict[str, Any]) -> dict[str, Any]:
    """The arguments as the caller gave them; what is held is NumPy's where the others are."""
    in_numpy = any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(arguments))

    def plain(value: Any) -> Any:
        if isinstance(value, Held):
            return jax.tree.map(as_numpy, value.value) if in_numpy else value.value
        return value.value if isinstance(value, Static) else value

    return {name: plain(value) for name, value in arguments.items()}
