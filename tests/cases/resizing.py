"""Rows of upsampling, pixel shuffling, padding and cropping."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import purenet as pn

from .case import Case
from .pooling import images


def linear(params: Any, x: Any) -> Any:
    return jax.image.resize(x, (len(x), 7, 3, x.shape[-1]), "linear", antialias=False)


def shuffled(params: Any, x: Any) -> Any:
    """Element by element, from PyTorch's definition."""
    batch, height, width, channels = x.shape
    y = np.zeros((batch, 2 * height, 2 * width, channels // 4))
    for row, column, channel in np.ndindex(y.shape[1:]):
        from_channel = channel * 4 + row % 2 * 2 + column % 2
        y[:, row, column, channel] = np.asarray(x)[:, row // 2, column // 2, from_channel]
    return y


def unshuffled(params: Any, x: Any) -> Any:
    """ONNX's SpaceToDepth: the places of a block, then the channels."""
    return np.concatenate([np.asarray(x)[:, i::2, j::2] for i in range(2) for j in range(2)], -1)


def reflected(params: Any, x: Any) -> Any:
    return np.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), "reflect")


ROWS = [
    Case("upsample", pn.upsample((2, 3)), images(3, 2, 2), lambda params, x: np.repeat(np.repeat(x, 2, 1), 3, 2)),
    Case("upsample_linear", pn.upsample(size=(7, 3), method="linear"), images(5, 4, 2), linear),
    Case("pixel_shuffle", pn.pixel_shuffle(2), images(3, 2, 8), shuffled),
    Case("pixel_unshuffle", pn.pixel_unshuffle(2, mode="DCR"), images(4, 6, 2), unshuffled),
    Case("pad", pn.pad(((2, 1), (0, 3)), mode="reflect"), images(4, 5, 2), reflected),
    Case("crop", pn.crop(((0, 2), (1, 0))), images(4, 6, 2), lambda params, x: x[:, :-2, 1:]),
]
