"""group_norm: each example centred and scaled over space and over a group of channels; instance_norm: each channel.

    x    [..., spatial, channels],  `groups` groups of neighbouring channels
    xhat = (x - mean) rstd,  mean = E[x],  rstd = 1 / sqrt(E[(x - mean)^2] + eps),  E over space and the group
    y    = scale xhat + bias
    dscale = sum dy xhat,  dbias = sum dy,  both over the leading axes and space
    dx     = rstd (dxhat - E[dxhat] - xhat E[dxhat xhat]),  dxhat = scale dy

All four sums of the backward come from two, sum dy and sum dy xhat over space, since scale does not vary there.
Kept: x and the two statistics [..., groups]; y is recomputed from them. Statistics and sums are at least float32.
Wu & He, *Group Normalization* (2018); Ulyanov, Vedaldi & Lempitsky, *Instance Normalization* (2016).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, NonNegativeFloat, NonNegativeInt, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Params, Shaped
from ..precision import widen
from ..stateless import stateless
from ..validation import check_floating, describe
from .checks import check_features
from .scale_and_bias import check_scale_and_bias, init_scale_and_bias, names_of, scale_and_bias_forward

Spatial = Float[Array, "... channels"]
Grouped = Float[Array, "... groups"]
Statistics = tuple[Grouped, Grouped]


def group_norm_forward(
    params: dict[str, Array], x: Spatial, groups: int, dimensions: int = 2, eps: float = 1e-5
) -> tuple[Spatial, Statistics]:
    wide, space = widen(x), spatial_axes(x, dimensions)
    mean = over_groups(jnp.mean(wide, space), groups)  # [..., groups]
    variance = over_groups(jnp.mean(jnp.square(wide - spread(mean, x)), space), groups)  # [..., groups]
    rstd = lax.rsqrt(variance + eps)  # [..., groups]
    return group_norm_recompute(params, x, (mean, rstd)), (mean, rstd)


def group_norm_recompute(params: dict[str, Array], x: Spatial, statistics: Statistics) -> Spatial:
    mean, rstd = statistics
    xhat = (x.astype(mean.dtype) - spread(mean, x)) * spread(rstd, x)  # [..., spatial, channels]
    return scale_and_bias_forward(params, xhat).astype(x.dtype)


def group_norm_backward(
    params: dict[str, Array], x: Spatial, statistics: Statistics, dy: Spatial
) -> tuple[dict[str, Array], Spatial]:
    mean, rstd = statistics
    space, leading = spatial_axes(x, x.ndim - mean.ndim), tuple(range(mean.ndim - 1))
    dy = dy.astype(mean.dtype)
    xhat = (x.astype(mean.dtype) - spread(mean, x)) * spread(rstd, x)  # [..., spatial, channels]
    # y = scale * xhat + bias
    sums = {"bias": jnp.sum(dy, space), "scale": jnp.sum(dy * xhat, space)}  # [..., channels]
    dparams = {name: jnp.sum(sums[name], leading).astype(params[name].dtype) for name in params}  # [channels]
    # xhat = (x - mean) * rstd, where mean and rstd depend on x too
    scale = {"scale": params["scale"]} if "scale" in params else {}
    size = math.prod(x.shape[axis] for axis in space)
    dmean, drstd = (
        over_groups(scale_and_bias_forward(scale, sums[name] / size), mean.shape[-1])  # [..., groups]
        for name in ("bias", "scale")
    )
    dxhat = scale_and_bias_forward(scale, dy)  # [..., spatial, channels]
    dx = spread(rstd, x) * (dxhat - spread(dmean, x) - xhat * spread(drstd, x))  # [..., spatial, channels]
    return dparams, dx.astype(x.dtype)


def spatial_axes(x: Shaped, dimensions: int) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1 - dimensions, x.ndim - 1))


def over_groups(of_channels: Spatial, groups: int) -> Grouped:
    """[..., channels] to its mean over the channels of each group [..., groups]."""
    return jnp.mean(of_channels.reshape(*of_channels.shape[:-1], groups, of_channels.shape[-1] // groups), -1)


def spread(of_groups: Grouped, x: Spatial) -> Spatial:
    """[..., groups] to the shape of x [..., spatial, channels]."""
    of_channels = jnp.repeat(of_groups, x.shape[-1] // of_groups.shape[-1], -1)  # [..., channels]
    return jnp.broadcast_to(jnp.expand_dims(of_channels, spatial_axes(x, x.ndim - of_groups.ndim)), x.shape)


@constructor
def group_norm(
    groups: PositiveInt,
    *,
    dimensions: NonNegativeInt = 2,
    eps: NonNegativeFloat = 1e-5,
    use_scale: bool = True,
    use_bias: bool = True,
) -> Layer:
    """Normalise [..., spatial, channels] over space and over each of `groups` groups of neighbouring channels.

    `dimensions` is the number of spatial axes before the channels: 2 for images [..., height, width, channels], 1 for
    sequences, 0 for none; any axes before them are examples. Parameters: scale [channels] of ones, bias [channels] of
    zeros. eps, at least 0, is added to the variance inside the root. Raises unless the groups divide the channels.
    """
    return normalise_groups("group_norm", groups, dimensions, eps, names_of(use_scale, use_bias))


@constructor
def instance_norm(
    *, dimensions: NonNegativeInt = 2, eps: NonNegativeFloat = 1e-5, use_scale: bool = True, use_bias: bool = True
) -> Layer:
    """Normalise every channel of every example of [..., spatial, channels] over space; else like `group_norm`."""
    return normalise_groups("instance_norm", None, dimensions, eps, names_of(use_scale, use_bias))


def normalise_groups(name: str, groups: int | None, dimensions: int, eps: float, names: tuple[str, ...]) -> Layer:
    """`groups` None: as many as channels."""

    def check_input(x: Shaped) -> None:
        check_floating(x)
        if x.ndim <= dimensions:
            raise LayerValueError(
                f"expected x [..., spatial, channels] with {dimensions} spatial axes, got {describe(x)}: "
                "say how many with dimensions="
            )
        check_features(x, "channels")
        if groups is not None and x.shape[-1] % groups:
            raise LayerValueError(f"expected channels that {groups} groups divide, got {describe(x)}")

    def init(key: Array, x: Shaped) -> Params:
        check_input(x)
        return init_scale_and_bias(names, x)

    def forward(params: Params, x: Spatial) -> tuple[Spatial, Statistics]:
        check_input(x)
        check_scale_and_bias(params, names, x)
        return group_norm_forward(params, x, groups or x.shape[-1], dimensions, eps)

    return stateless(
        forward, group_norm_backward, name=name, init=init, keeps=("mean", "rstd"), recompute=group_norm_recompute
    )
