"""l2_normalize: x divided by its Euclidean norm along one axis, so that it has length 1.

    y  = x inverse,  inverse = 1 / max(|x|, eps)
    dx = inverse (dy - y sum(y dy)) where |x| > eps, inverse dy elsewhere; the sum runs along the axis

dx has no part along y, which would change only the length. At x = 0 both are finite: y = 0, dx = dy / eps.
Kept: x and the squared norms, one number an example; y is recomputed from them. The norm is at least float32.
The clamp is torch.nn.functional.normalize's; Salimans & Kingma, *Weight Normalization* (2016), section 2.1.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer
from ..precision import widen
from ..stateless import stateless
from ..validation import check_floating, describe

Floats = Float[Array, "..."]


def l2_normalize_forward(x: Floats, axis: int = -1, eps: float = 1e-12) -> tuple[Floats, Floats]:
    squares = jnp.sum(jnp.square(widen(x)), axis, keepdims=True)  # [..., 1]
    return l2_normalize_recompute(x, squares, eps), squares


def l2_normalize_recompute(x: Floats, squares: Floats, eps: float = 1e-12) -> Floats:
    y = x.astype(squares.dtype) * inverse_norm(squares, eps)
    return y.astype(x.dtype)


def l2_normalize_backward(x: Floats, squares: Floats, dy: Floats, axis: int = -1, eps: float = 1e-12) -> Floats:
    inverse = inverse_norm(squares, eps)  # [..., 1]
    y, dy = x.astype(squares.dtype) * inverse, dy.astype(squares.dtype)
    # y = x * inverse, where inverse depends on x too unless it is clamped
    along = jnp.where(squares > eps**2, jnp.sum(y * dy, axis, keepdims=True), 0)  # [..., 1]
    dx = inverse * (dy - y * along)
    return dx.astype(x.dtype)


def inverse_norm(squares: Floats, eps: float) -> Floats:
    return lax.rsqrt(jnp.maximum(squares, eps**2))


@constructor
def l2_normalize(*, axis: int = -1, eps: float = 1e-12) -> Layer:
    """y = x / max(|x|, eps), the norm along `axis`; x and y [...] of any shape with such an axis.

    eps is at least 1e-18, so that its square is a float32. Raises unless x is floating-point with that axis.
    """
    if not 1e-18 <= eps < float("inf"):
        raise ValueError(f"l2_normalize: expected a finite eps of at least 1e-18, got {eps!r}")

    def forward(x: Floats) -> tuple[Floats, Floats]:
        check_floating(x)
        if not -x.ndim <= axis < x.ndim:
            raise LayerValueError(f"expected x with an axis {axis}, got {describe(x)}")
        return l2_normalize_forward(x, axis, eps)

    return stateless(
        forward,
        functools.partial(l2_normalize_backward, axis=axis, eps=eps),
        name="l2_normalize",
        keeps=("squared norm",),
        recompute=functools.partial(l2_normalize_recompute, eps=eps),
    )
