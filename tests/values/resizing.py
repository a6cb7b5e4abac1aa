"""Upsampling, pixel shuffling and padding."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from purenet.catalogue.row import Value


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


def back(params: Any, y: Any) -> Any:
    """What `shuffled` makes y of."""
    batch, height, width, channels = y.shape
    x = np.zeros((batch, height // 2, width // 2, channels * 4))
    for row, column, channel in np.ndindex(y.shape[1:]):
        x[:, row // 2, column // 2, channel * 4 + row % 2 * 2 + column % 2] = np.asarray(y)[:, row, column, channel]
    return x


def resized(method: str) -> Value:
    return lambda params, x: jax.image.resize(x, (len(x), 7, 3, 2), method, antialias=False)


def from_corner_to_corner(params: Any, x: Any) -> Any:
    for axis, length in ((1, 7), (2, 3)):
        places, wanted = np.arange(x.shape[axis]), np.linspace(0, x.shape[axis] - 1, length)
        x = np.apply_along_axis(lambda line, at=wanted, of=places: np.interp(at, of, line), axis, np.asarray(x))
    return x


def cubic(params: Any, x: Any) -> Any:
    """Keys' cubic of the four nearest places, those outside counting for the edge."""

    def weight(d: float, a: float = -0.75) -> float:
        near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * a * d - 4 * a
        return near if d <= 1 else far if d < 2 else 0.0

    for axis, factor in ((1, 1.5), (2, 2)):
        length, lines = x.shape[axis], np.moveaxis(np.asarray(x), axis, 0)
        at = (np.arange(int(length * factor)) + 0.5) / factor - 0.5
        near = [[int(np.floor(c)) + j for j in range(-1, 3)] for c in at]
        made = [
            sum(weight(abs(c - j)) * lines[min(max(j, 0), length - 1)] for j in js)
            for c, js in zip(at, near, strict=True)
        ]
        x = np.moveaxis(np.stack(made), 0, axis)
    return x


def padded(mode: str, **options: Any) -> Value:
    return lambda params, x: np.pad(np.asarray(x), ((0, 0), (1, 2), (0, 3), (0, 0)), mode, **options)  # type: ignore[call-overload]


VALUES = {
    "upsample, nearest to a size": resized("nearest"),
    "upsample, linear": resized("linear"),
    "upsample, linear with corners": from_corner_to_corner,
    "upsample, cubic": cubic,
    "pixel_shuffle": shuffled,
    "pixel_unshuffle": back,
    "pixel_unshuffle, blocks first": unshuffled,
    "pad": padded("constant", constant_values=2),
    "pad, reflect": padded("reflect"),
    "pad, edge": padded("edge"),
    "pad, wrap": padded("wrap"),
}
