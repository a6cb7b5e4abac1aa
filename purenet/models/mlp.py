"""mlp: dense layers with an activation between them.

    h_0 = x,  h_k = f(h_{k-1} W_k + b_k),  y = h_{n-1} W_n + b_n

    x [..., in], h_k [..., widths[k-1]], y [..., widths[-1]]

Rumelhart, Hinton & Williams, *Learning representations by back-propagating errors* (1986).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..annotations import PositiveInt
from ..arguments import checks_arguments
from ..combine import serial
from ..layer import Layer
from ..layers import dense, dropout, relu


@checks_arguments
def mlp(widths: Sequence[PositiveInt], *, activation: Callable[[], Layer] = relu, dropout_rate: float = 0.0) -> Layer:
    """[..., in] -> [..., widths[0]] -> ... -> [..., widths[-1]], the activation behind all but the last.

    `mlp([128, 64, 10])` has two hidden layers and 10 outputs. `activation` is a constructor such as `pn.gelu`; with
    a dropout_rate there is dropout behind each. Parameters: dense1, dense2, ..., a kernel and a bias each.
    """
    layers: dict[str, Layer] = {}
    for k, width in enumerate(widths, 1):
        layers[f"dense{k}"] = dense(width)
        if k < len(widths):
            layers[f"act{k}"] = activation()
            if dropout_rate:
                layers[f"drop{k}"] = dropout(dropout_rate)
    return serial(**layers).replace(name="mlp")
