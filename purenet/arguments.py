"""Arguments of public functions, checked by their annotations, which saves every function from doing it.

    int, bool, float             a whole number, NumPy's included, and no bool; a bool; a number, and no nan
    PositiveInt and its like     in their range, and finite
    Sequence[PositiveInt]        at least one, each checked
    Layer                        one that has been called

In others NumPy's integers, also in tuples and lists, become Python's, and that is all. A value of another kind raises
TypeError, a number out of range ValueError.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .layer import Layer
from .validation import describe

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def checks_arguments(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, which looks at its arguments first."""

    @functools.wraps(function)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        given = bound(function, *args, **kwargs)
        return function(*given.args, **given.kwargs)

    return checked


def bound(function: Callable[..., Any], *args: Any, **kwargs: Any) -> inspect.BoundArguments:
    """The arguments of a call as their annotations say: NumPy's numbers as Python's."""
    given = inspect.signature(function).bind(*args, **kwargs)
    for name, value in given.arguments.items():
        given.arguments[name] = as_annotated(function.__name__, given.signature.parameters[name], value)
    return given


def as_annotated(name: str, parameter: inspect.Parameter, value: Any) -> Any:
    kinds = [kind.strip() for kind in str(parameter.annotation).split("|")]
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple(as_kind(name, f"{parameter.name}[{k}]", kinds, each) for k, each in enumerate(value))
    if parameter.kind is parameter.VAR_KEYWORD:
        return {key: as_kind(name, key, kinds, each) for key, each in value.items()}
    return as_kind(name, parameter.name, kinds, value)


def as_kind(name: str, what: str, kinds: list[str], value: Any) -> Any:
    if not set(kinds) <= set(CHECKS) | {"None", SIZES}:
        return plain_integers(value)
    if value is None and "None" in kinds:
        return None
    if SIZES in kinds and isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            raise ValueError(f"{name}: expected {what} of at least 1, got {value!r}")
        each = (as_kind(name, f"{what}[{k}]", ["PositiveInt"], size) for k, size in enumerate(value))
        return list(each) if isinstance(value, list) else tuple(each)
    for kind in kinds:
        if kind in CHECKS and (found := CHECKS[kind](value)) is not None:
            least, holds = RANGES.get(kind, ("", None))
            if holds is not None and not holds(found):
                raise ValueError(f"{name}: expected {what} {least}, got {value!r}")
            return found
    expected = " or ".join(EXPECTED[CHECKS[kind]] if kind in CHECKS else NAMES[kind] for kind in kinds)
    if isinstance(value, (float, np.floating)) and math.isnan(value):
        raise ValueError(f"{name}: expected {what} as {expected}, got nan")
    hint = f": call it, {value.__name__}()" if callable(value) and hasattr(value, "__name__") else ""
    raise TypeError(f"{name}: expected {what} as {expected}, got {describe(value)}{hint}")


def plain_integers(value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(plain_integers(each) for each in value)
    return int(value) if isinstance(value, np.integer) else value


def whole_number(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool_)) or getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def number(value: Any) -> float | None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    return None if math.isnan(value) else value.item() if isinstance(value, np.generic) else value


def truth(value: Any) -> bool | None:
    return bool(value) if isinstance(value, (bool, np.bool_)) else None


def called(value: Any) -> Layer | None:
    return value if isinstance(value, Layer) else None


CHECKS: dict[str, Callable[[Any], Any]] = {
    "int": whole_number,
    "PositiveInt": whole_number,
    "NonNegativeInt": whole_number,
    "float": number,
    "PositiveFloat": number,
    "NonNegativeFloat": number,
    "bool": truth,
    "Layer": called,
}
RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "PositiveInt": ("of at least 1", lambda value: value >= 1),
    "NonNegativeInt": ("of at least 0", lambda value: value >= 0),
    "PositiveFloat": ("above 0", lambda value: 0 < value < math.inf),
    "NonNegativeFloat": ("of at least 0", lambda value: 0 <= value < math.inf),
}
EXPECTED = {whole_number: "a whole number", number: "a number", truth: "True or False", called: "a Layer"}
SIZES = "Sequence[PositiveInt]"
NAMES = {SIZES: "a sequence of whole numbers", "None": "None"}
