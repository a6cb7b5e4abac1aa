"""Networks whose layers hand something else back than their parameters' gradient: a norm, a record, new parameters.

What is handed back (`layer.Replacement`) comes out where the gradient of those parameters would, stacked where they are
stacked, as long as the combinators around only hand gradients on. Those that compute with them, or that are not known
here, are changed as one layer with all that is inside: slower, but right.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .combine import head_objective, parallel, remat, repeat, residual, reversible, serial, with_dtype
from .combine._named import reassembled
from .layer import Layer, objective
from .layers import identity
from .losses import squared_error

EXAMPLES = (
    serial(identity()),
    residual(identity()),
    parallel(identity()),
    repeat(identity(), 1),
    repeat(identity(), 1, keep="nested"),
    reversible(identity(), identity()),
    head_objective(identity(), squared_error()),
    remat(identity()),
    with_dtype(identity(), jnp.bfloat16),
    objective(identity(), squared_error()),
)


def code(layer: Layer) -> tuple[Any, ...]:
    """What tells the kinds of layers apart: closures of one `def` share their code, so that neither a name nor a
    replaced backward deceives; nor, where a decorator is around all functions, the code of the decorator."""
    return tuple(getattr(f, "__code__", None) for f in (layer.backward, inspect.unwrap(layer.backward)))


HANDS_ON = frozenset(map(code, EXAMPLES))


def hands_on(layer: Layer) -> bool:
    """Whether the layer's backward is that of a combinator which only hands its parts' gradients on."""
    return code(layer) in HANDS_ON


def changed_inside(layer: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """The network with its innermost layers changed, or the outermost ones that do not hand on."""
    anew = reassembled(layer, lambda part: changed_inside(part, change)) if hands_on(layer) else None
    return change(layer) if anew is None else anew
