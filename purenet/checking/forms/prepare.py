"""What a check is given, as a target in its one form at a probe."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...annotations import PyTree
from ...layer import Layer
from ...validation import describe
from ..points import draw_like, probe_params, require_floats
from ..probe import NoRule, Probe, make_probe
from ..running import taking_arrays
from .arguments import held, is_filtered, positional, spread, values_of
from .gradient_names import gradients_of
from .loss_and_gradients import loss_and_gradients
from .objects import is_object, object_target
from .own_rule import function_target
from .pairs import differentiated, pair_target
from .target import Target, layer_target, two


class Given(NamedTuple):
    """What a check is asked about: the arguments of `purenet.check` of these names."""

    target: Any
    x: PyTree
    params: PyTree
    reference: Callable[..., Any] | None
    seed: int = 0
    intended: Callable[..., Any] | None = None
    argnums: int | tuple[int, ...] | None = None

    @property
    def function(self) -> Any:
        """The function whose arguments params and x are; None where the target is an object of its own kind."""
        if isinstance(self.target, Layer) or is_object(self.target):
            return None
        return self.reference or (self.target[0] if is_pair(self.target) else self.target)


def is_pair(target: Any) -> bool:
    return isinstance(target, (tuple, list)) and len(target) == 2 and all(map(callable, target))


def prepared(given: Given) -> tuple[Target, Probe]:
    """What a check compares: the target in its one form, at a probe of the caller's or drawn ones."""
    keys = jax.random.split(jax.random.key(given.seed), 5)
    given = given._replace(x=jax.ShapeDtypeStruct((5, 7), jnp.float64) if given.x is None else given.x)
    subject, params, x = in_one_form(given, keys)
    if given.intended is not None:
        subject = subject._replace(intended=intended_gradient(given, subject, params))
    require_floats("check", (params, x), "x or params")
    try:
        return subject, make_probe(subject, params, x, keys[3])
    except NoRule:
        found = loss_and_gradients(
            taking_arrays(given.target), params or named_alone(given, x), given.argnums, is_dict(given.x)
        )
        if found is None:
            if numbers := arrays_beside_floats(given):
                return prepared(given._replace(argnums=numbers))
            raise
        subject, params = found
        return subject, make_probe(subject, params, (), keys[4])


def in_one_form(given: Given, keys: Any) -> tuple[Target, PyTree, PyTree]:
    """The target, its parameters and its x, of which a function of several arguments has none."""
    arguments = spread_arguments(given)
    if arguments is None:
        x = draw_like(given.x, keys[1])
        if is_object(given.target):
            return object_target(given.target, x)
        subject = as_target(given, keys[2], x)
        return subject, probe_params(subject, given.params, x, keys[0]), x
    numbers = 0 if given.argnums is None and is_filtered(given.target) else given.argnums
    way = "by name" if is_dict(given.x) and given.params is None else "by position"
    if is_pair(given.target):
        forward, backward = map(taking_arrays, given.target)
        if numbers is None:
            numbers = differentiated(forward, backward, arguments, is_dict(given.x))
        subject = pair_target(forward, backward, way)
    else:
        subject = function_target(given.target, given.reference, False, way)
    return subject, held(draw_like(arguments, keys[1]), numbers, arguments), ()


def spread_arguments(given: Given) -> OrderedDict[str, Any] | None:
    """All arguments of a function by name, where x holds them or `argnums` numbers them; else None."""
    if is_filtered(given.target) and given.params is not None:
        return OrderedDict(zip(positional(given.target), (given.params, given.x), strict=False))
    if given.params is not None or not callable(given.function):
        return None
    found = spread(given.function, given.x)
    return named_alone(given, given.x) if found is None and given.argnums is not None else found


def named_alone(given: Given, x: PyTree) -> OrderedDict[str, Any]:
    return OrderedDict([((*positional(given.function), "x")[0], x)])


def intended_gradient(given: Given, subject: Target, params: PyTree) -> Callable[..., Any]:
    """`intended`, which takes the function's arguments and dy, as (params, x, dy) -> (dparams, dx)."""
    intended = given.intended
    assert intended is not None

    def meant(params: PyTree, x: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        if isinstance(params, OrderedDict) and given.params is None and x == ():
            values = values_of(params)
            found = intended(**values, dy=dy) if is_dict(given.x) else intended(*values.values(), dy)
            return gradients_of(params, found), ()
        if subject.has_params:
            return two(intended(params, x, dy))
        found = intended(x, dy)
        return (), found[0] if isinstance(found, tuple) and not isinstance(x, tuple) else found

    return meant


def arrays_beside_floats(given: Given) -> tuple[int, ...]:
    """The numbers of the arguments that are no Python floats, which a function may want to branch on; () if all are."""
    values = list((spread_arguments(given) or {}).values()) if given.argnums is None else []
    floats = [isinstance(value, float) for value in values]
    return tuple(k for k, is_float in enumerate(floats) if not is_float) if any(floats) else ()


def is_dict(x: PyTree) -> bool:
    return type(x) is dict


def as_target(given: Given, key: jax.Array, x: PyTree) -> Target:
    """What takes params and x. Randomness is frozen: every call sees the same key."""
    target = given.target
    if isinstance(target, Layer):
        return layer_target(target, key, x)
    if is_pair(target):
        return pair_target(taking_arrays(target[0]), taking_arrays(target[1]))
    if callable(target):
        return function_target(target, given.reference, given.params is not None, "")
    raise TypeError(
        "check: expected a Layer, an objective, a pair (forward, backward), an object with forward and backward, or a "
        f"function with a derivative rule of its own or that returns (loss, gradients), got {describe(target)}"
    )
