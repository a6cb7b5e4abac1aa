"""Rows of pooling. The independent values are loops over windows in NumPy, written from the definition."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import purenet as pn

from .case import Case, Draw


def images(*shape: int) -> Draw:
    return lambda key, batch: jax.random.normal(key, (batch, *shape))


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


ROWS = [
    Case(
        "max_pool",
        pn.max_pool((2, 2), strides=2, padding=((0, 1), (0, 0))),
        images(5, 4, 2),
        pooled(largest, (2, 2), 2, ceil=True),
    ),
    Case(
        "max_pool_overlapping",
        pn.max_pool((3, 3), strides=2, padding=1),
        images(5, 6, 2),
        pooled(largest, (3, 3), 2, 1),
    ),
    Case("max_pool_dilated", pn.max_pool(3, dilation=2), images(7, 2), pooled(largest, (3,), 1, dilation=2)),
    Case(
        "avg_pool",
        pn.avg_pool((3, 2), strides=2, padding=1, ceil_mode=True, count_include_pad=False),
        images(5, 6, 2),
        pooled(mean, (3, 2), 2, 1, ceil=True),
    ),
    Case("lp_pool", pn.lp_pool((2, 3), 3, strides=2), images(4, 5, 2), pooled(norm(3), (2, 3), 2)),
    Case("global_max_pool", pn.global_max_pool(), images(3, 4, 2), lambda params, x: np.max(x, (1, 2))),
    Case("global_avg_pool", pn.global_avg_pool(keepdims=True), images(3, 4, 2), pooled(mean, (3, 4), 1)),
    Case("global_lp_pool", pn.global_lp_pool(), images(3, 4, 2), lambda params, x: np.sqrt(np.sum(x**2, (1, 2)))),
    Case("adaptive_avg_pool", pn.adaptive_avg_pool((3, 2)), images(5, 4, 2), binned(np.mean, 3, 2)),
    Case("adaptive_max_pool", pn.adaptive_max_pool((3, 2)), images(5, 4, 2), binned(np.max, 3, 2)),
]
