"""autoencoder: through a bottleneck and back, so that what passes it says most about x.

    z = encoder(x) [..., bottleneck],  y = decoder(z) [..., features]

Trained on pairs (x, x). With a linear encoder and decoder and squared error the best it can do is principal component
analysis of the same width: Baldi & Hornik (1989); Hinton & Salakhutdinov (2006) for deep ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..annotations import PositiveInt
from ..arguments import checks_arguments
from ..combine import serial
from ..layer import Layer
from ..layers import gelu
from .mlp import mlp


@checks_arguments
def autoencoder(
    features: PositiveInt,
    bottleneck: PositiveInt,
    *,
    hidden: Sequence[int] = (128,),
    activation: Callable[[], Layer] = gelu,
) -> Layer:
    """[..., features] to [..., features] through [..., bottleneck].

    `hidden` are the widths of the encoder, of the decoder in reverse; none at all for the linear one. Parameters:
    encoder and decoder, an `mlp` each.
    """
    return serial(
        encoder=mlp([*hidden, bottleneck], activation=activation),
        decoder=mlp([*reversed(hidden), features], activation=activation),
    ).replace(name="autoencoder")
