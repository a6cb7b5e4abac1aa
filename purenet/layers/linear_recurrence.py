"""linear_recurrence: a state multiplied and added to, feature by feature, all steps of a sequence at once.

    h_t = a_t h_{t-1} + b_t,  y_t = h_t,  t = 1 .. time            a, b, y [..., time, features],  h_0 [..., features]
    g_t = a_t g_{t+1} + a_t dy_t                                   the same recurrence in reverse
    dh_t = dy_t + g_{t+1},  db_t = dh_t,  da_t = dh_t h_{t-1},  dh_0 = g_1

Two steps compose to one: (a, b) then (a', b') is (a a', a' b + b'). This is associative, so a parallel scan takes
O(log time) rounds, forward and backward. Kept: a and y (and h_0), where autodiff of the scan keeps what its rounds
multiply. Products and sums are at least float32.
Blelloch, *Prefix Sums and Their Applications* (1990), section 1.4; Martin & Cundy, *Parallelizing Linear Recurrent
Neural Nets Over Sequence Length* (2018).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError
from ..layer import Layer
from ..precision import widen
from ..stateless import stateless
from ..validation import check_floating, describe

Steps = Float[Array, "... time features"]
State = Float[Array, "... features"] | None
Inputs = tuple[Array, ...]


def linear_recurrence_forward(
    a: Steps, b: Steps, h: State = None, *, reverse: bool = False, method: str = "associative"
) -> Steps:
    """All states, from the state h before the first step, by default 0."""
    wide_a, wide_b = widen(a), widen(b)
    if h is not None:  # h_1 = a_1 h_0 + b_1: into the first b
        first = (..., slice(-1, None) if reverse else slice(0, 1), slice(None))
        wide_b = wide_b.at[first].add(wide_a[first] * widen(h)[..., None, :])
    scan = one_by_one if method == "sequential" else in_parallel
    return scan(wide_a, wide_b, reverse).astype(b.dtype)


def linear_recurrence_backward(
    a: Steps, y: Steps, dy: Steps, h: State = None, *, reverse: bool = False, method: str = "associative"
) -> Inputs:
    """(da, db), and dh of the state before the first step where there is one."""
    wide_a, wide_dy = widen(a), widen(dy)
    # y_t = a_t y_t-1 + b_t, and g_t is what reaches y_t-1
    g = linear_recurrence_forward(wide_a, wide_a * wide_dy, reverse=not reverse, method=method)
    dh = wide_dy + shifted(g, not reverse)  # [..., time, features]
    da = dh * widen(shifted(y, reverse))
    if h is None:
        return da.astype(a.dtype), dh.astype(y.dtype)
    first = (..., slice(-1, None) if reverse else slice(0, 1), slice(None))
    da = da.at[first].add(dh[first] * widen(h)[..., None, :])
    return da.astype(a.dtype), dh.astype(y.dtype), g[first][..., 0, :].astype(h.dtype)


def in_parallel(a: Steps, b: Steps, reverse: bool) -> Steps:
    def then(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        return one[0] * other[0], other[0] * one[1] + other[1]

    return lax.associative_scan(then, (a, b), reverse=reverse, axis=a.ndim - 2)[1]


def one_by_one(a: Steps, b: Steps, reverse: bool) -> Steps:
    def step(h: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        h = now[0] * h + now[1]
        return h, h

    in_time = jnp.moveaxis(a, -2, 0), jnp.moveaxis(b, -2, 0)
    _, y = lax.scan(step, jnp.zeros_like(in_time[0][0]), in_time, reverse=reverse)
    return jnp.moveaxis(y, 0, -2)


def shifted(values: Steps, reverse: bool) -> Steps:
    """What stood one step before, 0 before the first step."""
    padding = [(0, 0, 0)] * (values.ndim - 2) + [(-1, 1, 0) if reverse else (1, -1, 0), (0, 0, 0)]
    return lax.pad(values, jnp.zeros((), values.dtype), padding)


@constructor
def linear_recurrence(*, reverse: bool = False, method: str = "associative") -> Layer:
    """h_t = a_t h_{t-1} + b_t of x = (a, b), both [..., time, features], to all states [..., time, features].

    x may be (a, b, h), h [..., features] the state before the first step, else zero. `reverse` goes from the last
    step to the first. No parameters: let other layers compute a, in [0, 1] for a state that does not grow, and b.

    `method`: "associative" takes log2(time) parallel rounds; "sequential" takes the steps one by one, with fewer
    multiplications and bytes, usually the faster one on a CPU. Both give the same up to rounding.
    """
    if method not in ("associative", "sequential"):
        raise ValueError(f'linear_recurrence: expected method "associative" or "sequential", got {method!r}')
    options: dict[str, Any] = {"reverse": reverse, "method": method}

    def forward(x: Inputs) -> tuple[Steps, tuple[Array, ...]]:
        check_input(x)
        a, _, *h = x
        return linear_recurrence_forward(*x, **options), (a, *h)

    def backward(y: Steps, residuals: tuple[Array, ...], dy: Steps) -> Inputs:
        a, *h = residuals
        return linear_recurrence_backward(a, y, dy, *h, **options)

    return stateless(forward, backward, name="linear_recurrence", needs=("y",), keeps=("a", "h"))


def check_input(x: Any) -> None:
    if not isinstance(x, tuple) or len(x) not in (2, 3):
        raise LayerTypeError(f"expected x as (a, b) or (a, b, h), got {describe(x)}")
    for name, value in zip("abh", x, strict=False):
        check_floating(value, name)
    a, b, *h = x
    if a.ndim < 2 or a.shape[-2] < 1:
        raise LayerValueError(f"expected a [..., time, features] with at least one step, got {describe(a)}")
    if a.shape != b.shape:
        raise LayerValueError(f"expected a and b of one shape, got {describe(a)} and {describe(b)}: broadcast them")
    if h and h[0].shape != (*a.shape[:-2], a.shape[-1]):
        expected = [*a.shape[:-2], a.shape[-1]]
        raise LayerValueError(f"expected h {expected} for a {list(a.shape)}, got {describe(h[0])}")
    if len({value.dtype for value in x}) > 1:
        raise LayerTypeError(f"expected a, b and h of one dtype, got {describe(x)}")
