"""Dropout and its relatives: y = mask x / (1 - rate), a fraction `rate` dropped in training and the rest scaled up.

    mask ~ Bernoulli(1 - rate), one draw for each entry of x; the axes of `broadcast_dims` share a draw
    y  = mask x / (1 - rate)
    dx = mask dy / (1 - rate)

dropout draws for each element, spatial_dropout for each channel of an example, drop_path for each example.
alpha_dropout puts selu's negative limit in place of what it drops, and keeps mean 0 and variance 1.

Kept: the key, from which the backward draws the same mask again. `predict` is the identity.
Srivastava et al., *Dropout* (2014), in the inverted form; Tompson et al. (2015), channels;
Huang et al., *Deep Networks with Stochastic Depth* (2016); Klambauer et al., *Self-Normalizing Networks* (2017).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from ..annotations import Array, Bool, Float, NonNegativeInt
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError, layer_scope
from ..layer import Key, Layer, Params, Residuals, State
from ..stateless import no_params
from ..validation import check_floating, describe
from .activations import SELU_ALPHA, SELU_SCALE

Floats = Float[Array, "..."]
Mask = Bool[Array, "..."]


def draw_mask(key: Array, rate: float, shape: Sequence[int], broadcast_dims: Sequence[int]) -> Mask:
    """True with probability 1 - rate, in the given shape; one draw along each axis of `broadcast_dims`."""
    shared = {axis % len(shape) for axis in broadcast_dims}
    drawn_shape = [1 if axis in shared else length for axis, length in enumerate(shape)]
    # The dtype of the probability decides how bits become a mask: float32 draws the same mask with and without x64.
    return jnp.broadcast_to(jax.random.bernoulli(key, jnp.float32(1 - rate), drawn_shape), shape)


def dropout_forward(x: Floats, key: Array, rate: float, broadcast_dims: Sequence[int] = ()) -> Floats:
    mask = draw_mask(key, rate, x.shape, broadcast_dims)
    return jnp.where(mask, x / (1 - rate), 0)


def dropout_backward(key: Array, dy: Floats, rate: float, broadcast_dims: Sequence[int] = ()) -> Floats:
    # y = mask * x / (1 - rate), linear in x: dx is dropout of dy with the same mask, drawn again on purpose
    return dropout_forward(dy, jax.random.clone(key), rate, broadcast_dims)


@constructor
def dropout(rate: float, *, broadcast_dims: Sequence[int] = ()) -> Layer:
    """Drop each element with probability `rate` in [0, 1) while training; x [...] of any shape, y the same.

    Elements that differ only along `broadcast_dims` are dropped or kept together. `forward` needs a key unless the rate
    is 0. Raises if the rate is outside [0, 1), an axis is not one of x or the key is missing.
    """
    dims = tuple(broadcast_dims)

    def axes(x: Floats) -> tuple[int, ...]:
        if any(not -x.ndim <= axis < x.ndim for axis in dims):
            raise LayerValueError(f"expected x with the axes {list(dims)} of broadcast_dims, got {describe(x)}")
        return dims

    return masking("dropout", rate, axes)


@constructor
def spatial_dropout(rate: float, *, dimensions: NonNegativeInt = 2) -> Layer:
    """Drop whole channels of an example while training: x [..., spatial..., channels] with `dimensions` spatial axes.

    `forward` needs a key unless the rate is 0. Raises if the rate is outside [0, 1), x has too few axes or the key
    is missing.
    """

    def axes(x: Floats) -> tuple[int, ...]:
        if x.ndim <= dimensions:
            raise LayerValueError(f"expected x with {dimensions} spatial axes and channels, got {describe(x)}")
        return tuple(range(-1 - dimensions, -1))

    return masking("spatial_dropout", rate, axes)


@constructor
def drop_path(rate: float, *, dimensions: NonNegativeInt | None = None) -> Layer:
    """Drop whole examples while training (stochastic depth): for the branch of a residual block.

    An example is all but the first axis of x, or with `dimensions` its last dimensions + 1 axes: 2 for
    [..., height, width, channels], 1 for [..., time, features], 0 for [..., features]. All leading axes are
    then examples, and there may be none. `forward` needs a key unless the rate is 0.
    Raises if the rate is outside [0, 1), x has too few axes or the key is missing.
    """

    def axes(x: Floats) -> tuple[int, ...]:
        if dimensions is None and x.ndim < 2:
            raise LayerValueError(f"expected x [examples, ...], got {describe(x)}: for one example pass dimensions=")
        if dimensions is not None and x.ndim <= dimensions:
            raise LayerValueError(f"expected x with at least {dimensions + 1} axes an example, got {describe(x)}")
        return tuple(range(1, x.ndim)) if dimensions is None else tuple(range(-1 - dimensions, 0))

    return masking("drop_path", rate, axes)


def alpha_dropout_forward(x: Floats, key: Array, rate: float) -> Floats:
    scale, shift, dropped = alpha_constants(rate)
    mask = draw_mask(key, rate, x.shape, ())
    return scale * jnp.where(mask, x, dropped) + shift


def alpha_dropout_backward(key: Array, dy: Floats, rate: float) -> Floats:
    scale, _, _ = alpha_constants(rate)
    mask = draw_mask(jax.random.clone(key), rate, dy.shape, ())
    # y = scale * where(mask, x, dropped) + shift
    return jnp.where(mask, scale * dy, 0)


def alpha_constants(rate: float) -> tuple[float, float, float]:
    """Scale and shift that give x of mean 0 and variance 1 the same after dropping, and what a dropped element is."""
    dropped = -SELU_SCALE * SELU_ALPHA
    scale = ((1 - rate) * (1 + rate * dropped**2)) ** -0.5
    return scale, -scale * rate * dropped, dropped


@constructor
def alpha_dropout(rate: float) -> Layer:
    """Dropout for networks of `selu`: x [...] of mean 0 and variance 1 keeps both.

    Raises if the rate is outside [0, 1) or the key is missing.
    """
    check_rate("alpha_dropout", rate)
    forward, backward = (functools.partial(f, rate=rate) for f in (alpha_dropout_forward, alpha_dropout_backward))
    return random_layer("alpha_dropout", forward, backward, draws=rate > 0)


def masking(name: str, rate: float, axes: Callable[[Floats], Sequence[int]]) -> Layer:
    """Dropout with one draw along the axes that `axes` finds in x, or in its cotangent."""
    check_rate(name, rate)
    return random_layer(
        name,
        lambda x, key: dropout_forward(x, key, rate, axes(x)),
        lambda key, dy: dropout_backward(key, dy, rate, axes(dy)),
        draws=rate > 0,
    )


def random_layer(
    name: str, forward: Callable[[Floats, Array], Floats], backward: Callable[[Array, Floats], Floats], *, draws: bool
) -> Layer:
    """A layer that draws in training: forward(x, key) -> y, and backward(key, dy) -> dx, which draws the same again.

    Only the key is kept. Without `draws` it is the identity, in training too, and needs no key.
    """

    def run(params: Params, state: State, x: Floats, key: Key) -> tuple[Floats, State, Residuals]:
        with layer_scope(name):
            check_floating(x)
            if not draws:
                return x, state, ()
            drawn = check_key(key)
            residuals = jax.random.clone(drawn)
            return forward(x, drawn), state, residuals

    def run_back(params: Params, x: None, y: None, key: Residuals, dy: Floats) -> tuple[Params, Floats]:
        with layer_scope(name):
            return (), backward(key, dy) if draws else dy

    def recompute(params: Params, x: Floats, key: Residuals) -> Floats:
        with layer_scope(name):
            return forward(x, jax.random.clone(key)) if draws else x

    return Layer(
        init=no_params,
        forward=run,
        backward=run_back,
        predict=lambda params, state, x: x,
        needs=(),
        recompute=recompute,
        name=name,
        keeps=("key",) if draws else (),
    )


def check_key(key: Key) -> Array:
    if key is None:
        raise LayerTypeError("expected a key, got None: pass jax.random.key(...) to forward, or call predict")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise LayerTypeError(f"expected a typed key from jax.random.key, got {describe(key)}")
    return key


def check_rate(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: expected a rate in [0, 1), the part that is dropped, got {rate!r}")
