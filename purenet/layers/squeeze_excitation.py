"""squeeze_and_excitation: each channel scaled by a gate computed from the spatial means of all channels.

    m = E[x] over the spatial axes                           [..., channels]
    h = m W1 + b1                                            [..., hidden],   hidden = channels / reduction
    z = f(h) W2 + b2                                         [..., channels]
    y = g(z) x                                               [..., spatial..., channels]
    dz = g'(z) sum over the spatial axes of x dy,            down to dm through the two dense layers
    dx = g(z) dy + dm / (number of positions)

Kept: x, and m, h and z, a vector per example each; y is recomputed from x and z. Mean and sum are at least float32.
Hu, Shen & Sun, *Squeeze-and-Excitation Networks* (2018), with f = relu and g = sigmoid.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, lecun_normal

from ..annotations import Array, Float, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..layer import Layer, Params, Shaped
from ..precision import widen
from ..stateless import stateless
from ..validation import describe
from .checks import check_features, check_names, spatial_sizes
from .dense import dense, dense_backward, dense_forward
from .glu import ACTIVATIONS, Activation, check_activation

Floats = Float[Array, "..."]
Vectors = tuple[Floats, Floats, Floats]
SQUEEZE, EXCITE = "squeeze", "excite"


def squeeze_and_excitation_forward(
    params: Params, x: Floats, dimensions: int, activation: Activation, gate: Activation
) -> tuple[Floats, Vectors]:
    m = jnp.mean(widen(x), spatial(dimensions)).astype(x.dtype)  # [..., channels]
    h = dense_forward(params[SQUEEZE], m)  # [..., hidden]
    z = dense_forward(params[EXCITE], activation.forward(h))  # [..., channels]
    return squeeze_and_excitation_recompute(x, (m, h, z), dimensions, gate), (m, h, z)


def squeeze_and_excitation_recompute(x: Floats, vectors: Vectors, dimensions: int, gate: Activation) -> Floats:
    _, _, z = vectors
    return along_positions(gate.forward(z), x.shape, dimensions) * x


def squeeze_and_excitation_backward(
    params: Params, x: Floats, vectors: Vectors, dy: Floats, dimensions: int, activation: Activation, gate: Activation
) -> tuple[Params, Floats]:
    m, h, z = vectors
    positions = math.prod(x.shape[-1 - dimensions : -1])
    # y = gate(z) * x
    dgate = jnp.sum(widen(x) * widen(dy), spatial(dimensions)).astype(z.dtype)  # [..., channels]
    dz = gate.backward(z, dgate)  # [..., channels]
    # z = activation(h) @ kernel + bias
    dexcite, da = dense_backward(params[EXCITE], activation.forward(h), dz)
    # h = m @ kernel + bias
    dsqueeze, dm = dense_backward(params[SQUEEZE], m, activation.backward(h, da))
    # m = mean(x)
    scale, share = gate.forward(z), dm / positions  # [..., channels]
    dx = along_positions(scale, x.shape, dimensions) * dy + along_positions(share, x.shape, dimensions)
    return {SQUEEZE: dsqueeze, EXCITE: dexcite}, dx


def spatial(dimensions: int) -> tuple[int, ...]:
    return tuple(range(-1 - dimensions, -1))


def along_positions(vector: Floats, shape: tuple[int, ...], dimensions: int) -> Floats:
    """[..., channels] repeated at every position of x's shape [..., spatial..., channels]."""
    return jnp.broadcast_to(jnp.expand_dims(vector, spatial(dimensions)), shape)


@constructor
def squeeze_and_excitation(
    reduction: PositiveInt = 16,
    *,
    hidden: PositiveInt | None = None,
    dimensions: PositiveInt = 2,
    activation: str = "relu",
    gate: str = "sigmoid",
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
) -> Layer:
    """Scale the channels of x [..., spatial..., channels], with `dimensions` spatial axes, by gates in (0, 1).

    Parameters: squeeze {kernel [channels, hidden], bias}, excite {kernel [hidden, channels], bias}; hidden is
    channels / reduction unless it is given. activation and gate: "relu", "silu", "sigmoid", "hard_sigmoid", ...
    Raises if x has too few axes or another number of channels, or if the reduction does not divide it.
    """
    name = "squeeze_and_excitation"
    for chosen in (activation, gate):
        check_activation(name, chosen)
    f, g = ACTIVATIONS[activation], ACTIVATIONS[gate]

    def parts(x: Shaped) -> tuple[Layer, Layer]:
        spatial_sizes(x, dimensions)
        check_features(x, "channels")
        channels = x.shape[-1]
        if hidden is None and channels % reduction:
            raise LayerValueError(f"expected channels that reduction {reduction} divides, got {describe(x)}")
        widths = hidden or channels // reduction, channels
        squeeze, excite = (dense(width, use_bias=use_bias, kernel_init=kernel_init) for width in widths)
        return squeeze, excite

    def init(key: Array, x: Shaped) -> Params:
        squeeze, excite = parts(x)
        squeeze_key, excite_key = jax.random.split(key, 2)
        vector = jax.ShapeDtypeStruct(x.shape[-1:], x.dtype)
        h = jax.ShapeDtypeStruct((hidden or x.shape[-1] // reduction,), x.dtype)
        return {SQUEEZE: squeeze.init(squeeze_key, vector)[0], EXCITE: excite.init(excite_key, h)[0]}

    def forward(params: Params, x: Floats) -> tuple[Floats, Vectors]:
        check_parts(params, parts(x), x)
        return squeeze_and_excitation_forward(params, x, dimensions, f, g)

    def check_parts(params: Params, layers: tuple[Layer, Layer], x: Floats) -> None:
        check_names(params, (SQUEEZE, EXCITE))
        value = jax.ShapeDtypeStruct(x.shape[-1:], x.dtype)
        for part, layer in zip((SQUEEZE, EXCITE), layers, strict=True):
            with layer_scope(part):
                value = jax.eval_shape(layer.predict, params[part], (), value)

    return stateless(
        forward,
        lambda params, x, vectors, dy: squeeze_and_excitation_backward(params, x, vectors, dy, dimensions, f, g),
        name=name,
        init=init,
        keeps=("mean", "hidden", "gate"),
        recompute=lambda params, x, vectors: squeeze_and_excitation_recompute(x, vectors, dimensions, g),
    )
