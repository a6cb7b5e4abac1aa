"""scale_gradient: y = x, dx = factor dy. A factor of -1 reverses the gradient.

Nothing is kept. The derivative is declared to be `factor`, so that jax.grad of the forward says the same.
Ganin & Lempitsky, *Unsupervised Domain Adaptation by Backpropagation* (2015).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax

from ..annotations import Array, Float
from ..constructor import constructor
from ..layer import Layer
from ..stateless import stateless
from ..validation import check_floating

Floats = Float[Array, "..."]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def scale_gradient_forward(x: Floats, factor: float) -> Floats:
    return x


@scale_gradient_forward.defjvp
def scale_gradient_jvp(factor: float, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Floats, Floats]:
    return scale_gradient_forward(*primals, factor), factor * tangents[0]


def scale_gradient_backward(dy: Floats, factor: float) -> Floats:
    return factor * dy


@constructor
def scale_gradient(factor: float) -> Layer:
    """The identity, exactly, whose gradient is multiplied by `factor`; x [...] of any shape.

    -1 is the gradient reversal between features and a domain classifier; 0.1 lets what stands before it learn ten
    times more slowly. Raises unless the factor is finite.
    """
    if not math.isfinite(factor):
        raise ValueError(f"scale_gradient: expected a finite number as factor, got {factor!r}")

    def forward(x: Floats) -> Floats:
        check_floating(x)
        return scale_gradient_forward(x, factor)

    return stateless(
        forward,
        lambda dy: scale_gradient_backward(dy, factor),
        name="scale_gradient",
        needs=(),
        recompute=lambda x: scale_gradient_forward(x, factor),
    )
