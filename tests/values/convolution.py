"""Convolutions by their definitions: loops over positions and taps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


def padded(x: Any, pads: Any) -> Any:
    """Zeros around the spatial axes; what is negative is cropped."""
    wide = np.pad(x, ((0, 0), *np.maximum(pads, 0).tolist(), (0, 0)))
    crops = (slice(max(-p, 0), n - max(-q, 0)) for (p, q), n in zip(pads, wide.shape[1:], strict=False))
    return wide[:, *crops]


def slid(strides: Any, pads: Any, dilation: Any = None, groups: int = 1) -> Callable[[Any, Any], Any]:
    """conv by its definition: a loop over positions and taps, a group at a time."""
    dilation = dilation or (1,) * len(strides)

    def value(params: Any, x: Any) -> Any:
        kernel = np.asarray(params["kernel"])
        size, outputs = kernel.shape[:-2], np.split(kernel, groups, -1)
        wide = padded(np.asarray(x), pads)
        lengths = [
            (n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(wide.shape[1:], dilation, size, strides, strict=False)
        ]
        y = np.zeros((len(x), *lengths, kernel.shape[-1]))
        for t, j in itertools.product(np.ndindex(*lengths), np.ndindex(*size)):
            seen = wide[:, *np.multiply(strides, t) + np.multiply(dilation, j)]
            parts = zip(np.split(seen, groups, -1), outputs, strict=True)
            y[:, *t] += np.concatenate([inputs @ output[j] for inputs, output in parts], -1)
        return y + np.asarray(params["bias"]) if "bias" in params else y

    return value


def spread(
    strides: Any, cut: Any, dilation: Any = None, groups: int = 1, more: Any = 0, turned: bool = True
) -> Callable[[Any, Any], Any]:
    """conv_transpose by its definition: each element of x is added to y, times the kernel; then `cut` is cut off.

    `turned`: the kernel is JAX's, [spatial..., in / groups, out] and turned round.
    """
    dilation = dilation or (1,) * len(strides)

    def value(params: Any, x: Any) -> Any:
        kernel, x = np.asarray(params["kernel"]), np.asarray(x)
        axes = len(strides)
        if turned:
            outputs = np.split(np.flip(kernel, tuple(range(axes))), groups, -1)
        else:
            outputs = [np.swapaxes(part, -1, -2) for part in np.split(kernel, groups, -1)]
        size, lengths = kernel.shape[:axes], x.shape[1 : axes + 1]
        full = np.multiply(strides, np.subtract(lengths, 1)) + np.multiply(dilation, np.subtract(size, 1)) + 1 + more
        y = np.zeros((len(x), *full, groups * outputs[0].shape[-1]))
        for t, j in itertools.product(np.ndindex(*lengths), np.ndindex(*size)):
            parts = zip(np.split(x[:, *t], groups, -1), outputs, strict=True)
            given = np.concatenate([inputs @ output[j] for inputs, output in parts], -1)
            y[:, *np.multiply(strides, t) + np.multiply(dilation, j)] += given
        y = y[:, *(slice(before, length - after) for (before, after), length in zip(cut, full, strict=True))]
        return y + np.asarray(params["bias"]) if "bias" in params else y

    return value


SAME, UNEVEN = (1, 1), ((2, 0), (-1, 3))

VALUES = {
    "conv": slid((1, 1), (SAME, SAME)),
    "conv, 1x1": slid((1, 1), ((0, 0), (0, 0))),
    "conv, strided": slid((2, 3), UNEVEN, (1, 2)),
    "conv, causal": slid((1,), ((4, 0),), (2,)),
    "conv, grouped": slid((2,), ((2, 1),), groups=2),
    "conv, 32 groups": slid((1,), (SAME,), groups=32),
    "conv, 3d": slid((1, 1, 1), ((0, 0),) * 3),
    "depthwise_conv": slid((1, 1), (SAME, SAME), groups=3),
    "depthwise_conv, strided": slid((2, 1), UNEVEN, (1, 2), groups=3),
    "conv_transpose": spread((2, 1), ((0, 1), (1, 2))),
    "conv_transpose, gaps": spread((3,), ((0, 0),), more=1),
    "conv_transpose, grouped": spread((2,), ((1, 2),), (2,), groups=2, more=1),
    "conv_transpose, kernel transposed": spread((2,), ((2, 1),), groups=2, turned=False),
}
