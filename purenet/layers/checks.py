"""What layers require of their inputs and parameters, checked while tracing, at no cost at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import Array, Integer
from ..errors import LayerValueError
from ..layer import Layer, Params, Shaped
from ..stateless import stateless
from ..validation import check_floating, describe


def checked_layer(
    name: str,
    check: Callable[[Any], Any],
    forward: Callable[[Any], Any],
    backward: Callable[..., Any],
    *,
    needs: tuple[str, ...] = (),
    keeps: tuple[str, ...] = (),
) -> Layer:
    """A layer without parameters, of twins as `stateless` takes them; `check(x)` comes first, forward recomputes y."""

    def checked_forward(x: Any) -> Any:
        check(x)
        return forward(x)

    def recompute(x: Any, *residuals: Any) -> Any:
        return forward(x)[0] if keeps else forward(x)

    return stateless(checked_forward, backward, name=name, needs=needs, keeps=keeps, recompute=recompute)


def check_axes(x: Shaped, *axes: str) -> None:
    """Raise unless x is floating-point and has at least the named axes."""
    check_floating(x)
    if x.ndim < len(axes):
        raise LayerValueError(f"expected x [..., {', '.join(axes)}], got {describe(x)}")


def check_features(x: Shaped, *axes: str) -> None:
    """Raise unless x is floating-point and has at least the named axes, by default features, the last one not empty."""
    axes = axes or ("features",)
    check_axes(x, *axes)
    if x.shape[-1] == 0:
        raise LayerValueError(f"expected x [..., {', '.join(axes)}] with at least one of {axes[-1]}, got {describe(x)}")


def spatial_sizes(x: Shaped, axes: int) -> tuple[int, ...]:
    """The lengths of the spatial axes of x [..., spatial..., channels], so many of them."""
    names = ("time",) if axes == 1 else ("depth", "height", "width")[-axes:]
    check_axes(x, *(names if len(names) == axes else [f"{axes} spatial axes"]), "channels")
    return x.shape[-1 - axes : -1]


def check_names(params: Params, names: Iterable[str]) -> None:
    """Raise unless params is a dict with these names."""
    if not isinstance(params, dict) or set(params) != set(names):
        raise LayerValueError(f"expected parameters {sorted(names)}, got {describe(params)}")


def widen_integers(x: Integer[Array, ...]) -> Integer[Array, ...]:
    """At least int32: in a narrower dtype the number of rows, classes or steps may have no value."""
    x = jnp.asarray(x)
    return x.astype(jnp.int32) if x.dtype.itemsize < 4 else x


def known_values(x: Shaped) -> np.ndarray | None:
    """The values of x, or None where only its shape is known."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return None
    try:
        return np.asarray(x)
    except jax.errors.TracerArrayConversionError:
        return None


def check_range(x: Shaped, count: int, what: str, ignored: int | None = None) -> None:
    """Raise unless the integers, where they are known, are in 0..count-1 or `ignored`."""
    known = known_values(x)
    if known is None:
        return
    wrong = (known < 0) | (known >= count)
    if ignored is not None:
        wrong &= known != ignored
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise LayerValueError(f"expected {what} in 0..{count - 1}, got {known[where]} at {where}")
