"""prelu: leaky_relu with a learned slope: one for all elements, one per channel, or one per element.

    y = x for x >= 0, else slope x;  x, y [..., shape], slope [shape]
    dx     = dy for x >= 0, else slope dy
    dslope = sum over the leading axes where x < 0 of x dy

At zero dx = dy and dslope = 0, as in jax.nn.leaky_relu and here (PyTorch takes the slope's side for dx).
Kept: x, which dslope reads and a slope of zero or less hides from y; y is recomputed from x.
He et al., *Delving Deep into Rectifiers* (2015); numbers of ONNX PRelu.
"""

from __future__ import annotations

import jax.numpy as jnp

from ..annotations import Array, Float, NonNegativeInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Params, Shaped
from ..precision import widen
from ..stateless import stateless
from ..validation import check_floating, describe
from .checks import check_names

Floats = Float[Array, "..."]


def prelu_forward(params: dict[str, Array], x: Floats) -> Floats:
    slope = jnp.broadcast_to(params["slope"], x.shape)
    return jnp.where(x >= 0, x, slope * x)


def prelu_backward(params: dict[str, Array], x: Floats, dy: Floats) -> tuple[dict[str, Array], Floats]:
    slope = params["slope"]
    examples = tuple(range(x.ndim - slope.ndim))
    # y = x where x >= 0, else slope * x
    dslope = jnp.sum(jnp.where(x >= 0, 0, widen(x) * widen(dy)), examples)  # slope's shape
    dx = jnp.where(x >= 0, dy, jnp.broadcast_to(slope, x.shape) * dy)
    return {"slope": dslope.astype(slope.dtype)}, dx


@constructor
def prelu(*, init: float = 0.25, axes: NonNegativeInt = 0) -> Layer:
    """y = x for x >= 0, else slope x. Parameter: slope, of the shape of the last `axes` axes of x, starting at `init`.

    axes = 0: one slope for all; 1: one per channel; all axes of an example: one per element.
    Raises unless x is floating-point and its last axes are the slope's.
    """

    def init_slope(key: Array, x: Shaped) -> Params:
        check_floating(x)
        if x.ndim < axes:
            raise LayerValueError(f"expected x with at least {axes} axes, got {describe(x)}")
        return {"slope": jnp.full(x.shape[x.ndim - axes :], init, x.dtype)}

    def forward(params: Params, x: Floats) -> Floats:
        check_floating(x)
        check_names(params, ("slope",))
        slope = params["slope"]
        if slope.ndim != axes or x.ndim < axes or slope.shape != x.shape[x.ndim - axes :]:
            raise LayerValueError(f"expected a slope of the last {axes} axes of x {describe(x)}, got {describe(slope)}")
        return prelu_forward(params, x)

    return stateless(forward, prelu_backward, name="prelu", init=init_slope, recompute=prelu_forward)
