"""Sums over indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .blocks import fault
from .rows import Right, altered, normal

# Sums over indices.

BILINEAR = {"kernel": normal(191, 7, 11, 3)}
BOTH = {"a": normal(192, 5, 7), "b": normal(193, 5, 11)}


def bilinear(params: Any, x: Any) -> Any:
    return jnp.einsum("bi,bj,ijo->bo", x["a"], x["b"], params["kernel"])


def bilinear_backward(params: Any, x: Any, dy: Any) -> Any:
    dkernel = jnp.einsum("bi,bj,bo->ijo", x["a"], x["b"], dy)
    da = jnp.einsum("bj,ijo,bo->bi", x["b"], params["kernel"], dy)
    db = jnp.einsum("bi,ijo,bo->bj", x["a"], params["kernel"], dy)
    return {"kernel": dkernel}, {"a": da, "b": db}


def summed_kernel(g: Any, params: Any, x: Any, dy: Any) -> Any:
    """Sums over the examples of each factor instead of the sum of products."""
    return jnp.einsum("bi,cj,co->ijo", x["a"], x["b"], dy)


def outer(x: Any) -> Any:
    return jnp.einsum("bi,bj->bij", x, x)


def quadratic(params: Any, x: Any) -> Any:
    moved = x @ params["kernel"]
    return jnp.sum(moved * x, -1)


QUADRATIC = {"kernel": normal(194, 7, 7)}


def quadratic_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, x: Any, dy: Any) -> Any:
        scaled = x * dy[:, None]
        dkernel = x.T @ scaled
        dx = scaled @ params["kernel"] + scaled @ params["kernel"].T
        if mistake == "symmetric":
            dx = 2 * scaled @ params["kernel"]
        if mistake == "one":
            dx = scaled @ params["kernel"].T
        return {"kernel": dkernel}, dx

    return backward


FAULTS = [
    fault(
        "bilinear: sums multiplied",
        bilinear,
        altered(bilinear_backward, kernel=summed_kernel),
        BILINEAR,
        ("coupling", "wrong_operand"),
        "",
        BOTH,
    ),
    fault(
        "bilinear: example axis kept",
        bilinear,
        altered(bilinear_backward, kernel=lambda g, p, x, dy: jnp.einsum("bi,bj,bo->bijo", x["a"], x["b"], dy)),
        BILINEAR,
        ("not_summed", "wrong_shape"),
        "sum|axis 0",
        BOTH,
    ),
    fault(
        "bilinear: axes of the kernel exchanged",
        bilinear,
        altered(bilinear_backward, kernel=lambda g, *_: jnp.swapaxes(g, 0, 1)),
        BILINEAR,
        ("transposed", "wrong_shape"),
        "transpos|axes|swap|shape",
        BOTH,
    ),
    fault(
        "bilinear: gradient of b missing",
        bilinear,
        altered(bilinear_backward, x=lambda g, *_: {"a": g["a"]}),
        BILINEAR,
        ("missing_gradient", "wrong_tree"),
        r"missing|\bb\b",
        BOTH,
    ),
    fault(
        "outer product: one factor alone",
        outer,
        lambda x, dy: jnp.einsum("bij,bj->bi", dy, x),
        None,
        ("path_missing",),
        "path|dot|einsum|operand",
    ),
    fault(
        "outer product: taken as symmetric",
        outer,
        lambda x, dy: 2 * jnp.einsum("bij,bj->bi", dy, x),
        None,
        ("transposed", "two_paths", "wrong_cotangent", "local_derivative", "path_doubled"),
        "",
    ),
    fault(
        "quadratic form: taken as symmetric",
        quadratic,
        quadratic_with("symmetric"),
        QUADRATIC,
        ("wrong_operand", "two_paths", "path_doubled", "local_derivative", "transposed"),
        "",
    ),
    fault(
        "quadratic form: one factor alone",
        quadratic,
        quadratic_with("one"),
        QUADRATIC,
        ("path_missing",),
        r"path|mul|\bx\b",
    ),
]

RIGHTS: list[Right] = []
