"""Pooling by its definition: loops over windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


def windows(
    x: Any, window: tuple[int, ...], strides: int, pads: int = 0, dilation: int = 1, ceil: bool = False
) -> dict[tuple[int, ...], Any]:
    """The elements [batch, places in x, channels] of each window, by its output position."""
    free = [n + 2 * pads - dilation * (w - 1) - 1 for n, w in zip(x.shape[1:-1], window, strict=True)]
    outputs = [(f + (strides - 1) * ceil) // strides + 1 for f in free]
    outputs = [m - (ceil and (m - 1) * strides >= n + pads) for m, n in zip(outputs, x.shape[1:-1], strict=True)]
    found = {}
    for at in itertools.product(*map(range, outputs)):
        seen = [
            [i for i in range(o * strides - pads, o * strides - pads + dilation * w, dilation) if 0 <= i < n]
            for o, w, n in zip(at, window, x.shape[1:-1], strict=True)
        ]
        found[at] = x[(slice(None), *np.ix_(*seen))].reshape(len(x), -1, x.shape[-1])
    return found


def pooled(reduce: Callable[[Any], Any], *args: Any, **options: Any) -> Callable[[Any, Any], Any]:
    def value(params: Any, x: Any) -> Any:
        outputs = windows(np.asarray(x), *args, **options)
        shape = [last + 1 for last in max(outputs)]
        y = np.stack([reduce(elements) for elements in outputs.values()], 1)
        return y.reshape(len(x), *shape, x.shape[-1])

    return value


def largest(elements: Any) -> Any:
    return elements.max(1)


def mean(elements: Any) -> Any:
    return elements.mean(1)


def norm(p: float) -> Callable[[Any], Any]:
    return lambda elements: (np.abs(elements) ** p).sum(1) ** (1 / p)


def bins(n: int, m: int) -> list[slice]:
    return [slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m))) for i in range(m)]


def binned(reduce: Callable[..., Any], *size: int) -> Callable[[Any, Any], Any]:
    def value(params: Any, x: Any) -> Any:
        rows, columns = (bins(n, m) for n, m in zip(x.shape[1:-1], size, strict=True))
        return np.stack([np.stack([reduce(np.asarray(x)[:, r, c], (1, 2)) for c in columns], 1) for r in rows], 1)

    return value


def with_padding_counted(params: Any, x: Any) -> Any:
    """Means over what lies in x and its padding."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return pooled(mean, (3, 2), 2, ceil=True)(params, wide)


VALUES = {
    "max_pool": pooled(largest, (2, 2), 2, ceil=True),
    "max_pool, overlapping": pooled(largest, (3, 3), 2, 1),
    "max_pool, dilated": pooled(largest, (3,), 1, dilation=2),
    "avg_pool": with_padding_counted,
    "avg_pool, padding not counted": pooled(mean, (3, 2), 2, 1, ceil=True),
    "lp_pool": pooled(norm(2), (2, 3), 2),
    "lp_pool, p 3": pooled(norm(3), (3, 2), 1, 1),
    "adaptive_avg_pool": binned(np.mean, 3, 2),
    "adaptive_max_pool": binned(np.max, 3, 2),
}
