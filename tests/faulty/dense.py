"""Dense layers: y = x kernel + bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import purenet as pn
from purenet.layers.dense import dense_backward as any_axes_backward, dense_forward as any_axes_forward

from .rows import Fault, Right, altered, normal

X = normal(1, 5, 7)
PARAMS = {"kernel": normal(2, 7, 11), "bias": normal(3, 11)}
SQUARE = {"kernel": normal(4, 7, 7), "bias": normal(5, 7)}

LEAVES = ("kernel", "bias", "x")
SHUFFLED = np.array([3, 0, 6, 2, 5, 1, 4])


def negative(gradient: Any, *_: Any) -> Any:
    return -gradient


def dense_forward(params: Any, x: Any) -> Any:
    product = x @ params["kernel"]
    bias = jnp.broadcast_to(params["bias"], product.shape)
    return product + bias


def dense_backward(params: Any, x: Any, dy: Any) -> Any:
    dkernel = x.T @ dy
    dbias = jnp.sum(dy, 0)
    dx = dy @ params["kernel"].T
    return {"kernel": dkernel, "bias": dbias}, dx


def fault(
    name: str, kinds: tuple[str, ...], says: str, *, params: Any = PARAMS, at: Any = X, **rules: Callable[..., Any]
) -> Fault:
    """A rule gets (gradient, params, x, dy)."""
    return Fault(f"dense: {name}", (dense_forward, altered(dense_backward, **rules)), at, params, kinds, says)


def without_bias(params: Any, x: Any, dy: Any) -> Any:
    dparams, dx = dense_backward(params, x, dy)
    return {"kernel": dparams["kernel"]}, dx


def with_another_leaf(params: Any, x: Any, dy: Any) -> Any:
    dparams, dx = dense_backward(params, x, dy)
    return dparams | {"scale": jnp.sum(dy, 0)}, dx


def as_a_list(params: Any, x: Any, dy: Any) -> Any:
    dparams, dx = dense_backward(params, x, dy)
    return [dparams["kernel"], dparams["bias"]], dx


def with_ones(params: Any, x: Any, dy: Any) -> Any:
    return dense_backward(params, x, jnp.ones_like(dy))


def normalised_cotangent(params: Any, x: Any, dy: Any) -> Any:
    return dense_backward(params, x, dy / jnp.linalg.norm(dy))


def clipped_cotangent(params: Any, x: Any, dy: Any) -> Any:
    return dense_backward(params, x, jnp.clip(dy, -0.5, 0.5))


def whole(name: str, backward: Callable[..., Any], kinds: tuple[str, ...], says: str) -> Fault:
    return Fault(f"dense: {name}", (dense_forward, backward), X, PARAMS, kinds, says)


def loop_over_examples(params: Any, x: Any, dy: Any) -> Any:
    """The sum overwritten in each turn of a loop instead of added to."""
    dparams, dx = dense_backward(params, x, dy)
    for x_row, dy_row in zip(x, dy, strict=True):
        dparams["kernel"] = jnp.outer(x_row, dy_row)
    return dparams, dx


def no_bias_forward(params: Any, x: Any) -> Any:
    return x @ params["kernel"]


def no_bias_backward(params: Any, x: Any, dy: Any) -> Any:
    return {"kernel": x.T @ dy}, dy @ params["kernel"].T


def sequence_forward(params: Any, x: Any) -> Any:
    product = jnp.einsum("bti,io->bto", x, params["kernel"])
    bias = params["bias"][None, None, :]
    return product + bias


def sequence_backward(params: Any, x: Any, dy: Any) -> Any:
    dkernel = jnp.einsum("bti,bto->io", x, dy)
    dbias = jnp.sum(dy, (0, 1))
    dx = jnp.einsum("bto,io->bti", dy, params["kernel"])
    return {"kernel": dkernel, "bias": dbias}, dx


STEPS = normal(6, 5, 3, 7)


def sequence_fault(name: str, kinds: tuple[str, ...], says: str, **rules: Callable[..., Any]) -> Fault:
    target = (sequence_forward, altered(sequence_backward, **rules))
    return Fault(f"dense over steps: {name}", target, STEPS, PARAMS, kinds, says)


FAULTS = [
    # Factors and signs.
    fault("kernel averaged over the batch", ("scaled",), "1/5|example|batch", kernel=lambda g, p, x, dy: g / len(x)),
    fault("kernel times the batch", ("scaled",), r"\b5\b|example|batch", kernel=lambda g, p, x, dy: g * len(x)),
    fault("bias averaged over the batch", ("scaled",), "1/5|example|batch", bias=lambda g, p, x, dy: jnp.mean(dy, 0)),
    fault("kernel divided by the inputs", ("scaled",), "1/7|feature", kernel=lambda g, p, x, dy: g / x.shape[1]),
    fault("kernel divided by examples and outputs", ("scaled",), r"1/55|\b5\b", kernel=lambda g, p, x, dy: g / dy.size),
    fault("kernel halved", ("scaled",), "1/2|0.5|half", kernel=lambda g, *_: 0.5 * g),
    fault("dx a thousandth too large", ("scaled",), "1.001", x=lambda g, *_: 1.001 * g),
    fault("sign of the bias", ("scaled",), "sign|-1|minus|negat", bias=lambda g, *_: -g),
    fault("everything with the sign of descent", ("scaled",), "sign|-1|minus|negat", **dict.fromkeys(LEAVES, negative)),
    # Sums over examples.
    fault("bias not summed", ("not_summed", "wrong_shape"), "sum|axis 0", bias=lambda g, p, x, dy: dy),
    fault(
        "kernel gradient of each example",
        ("not_summed", "wrong_shape"),
        "sum|axis 0",
        kernel=lambda g, p, x, dy: jnp.einsum("bi,bo->bio", x, dy),
    ),
    fault("bias summed over the outputs", ("wrong_shape",), "shape|axis|sum", bias=lambda g, p, x, dy: jnp.sum(dy, 1)),
    fault(
        "bias summed over the outputs, as many as examples",
        ("wrong_operand", "transposed", "coupling", "local_derivative"),
        "axis|transpos|sum|feature",
        params=SQUARE,
        at=normal(7, 7, 7),
        bias=lambda g, p, x, dy: jnp.sum(dy, 1),
    ),
    fault(
        "bias keeps the axis it is summed over",
        ("wrong_shape", "not_summed"),
        "shape|axis|keepdims",
        bias=lambda g, p, x, dy: jnp.sum(dy, 0, keepdims=True),
    ),
    fault("bias of the last example", ("slices",), "last|example", bias=lambda g, p, x, dy: dy[-1]),
    whole("kernel overwritten in the loop over examples", loop_over_examples, ("slices",), "last|example"),
    fault(
        "kernel without the first example", ("slices",), "first|example", kernel=lambda g, p, x, dy: x[1:].T @ dy[1:]
    ),
    fault("no dx for the last example", ("slices",), "last|example|axis 0", x=lambda g, *_: g.at[-1].set(0.0)),
    fault(
        "kernel of half the outputs",
        ("slices",),
        "half|feature|column|output|axis",
        kernel=lambda g, *_: g.at[:, 5:].set(0.0),
    ),
    fault(
        "last row of the kernel forgotten",
        ("slices",),
        "last|row|feature|axis",
        kernel=lambda g, *_: g.at[-1].set(0.0),
    ),
    fault(
        "examples weighted by their number",
        ("slices",),
        "example|weight|axis",
        bias=lambda g, p, x, dy: jnp.sum(jnp.arange(1.0, 6.0)[:, None] * dy, 0),
    ),
    # Order.
    fault("kernel transposed, square", ("transposed",), r"transpos|\.T", params=SQUARE, kernel=lambda g, *_: g.T),
    fault("kernel transposed", ("transposed", "wrong_shape"), r"transpos|\.T", kernel=lambda g, *_: g.T),
    fault(
        "dx through the kernel, square",
        ("wrong_operand", "transposed"),
        r"transpos|\.T",
        params=SQUARE,
        x=lambda g, p, x, dy: dy @ p["kernel"],
    ),
    fault("bias reversed", ("flipped",), "revers|flip|order", bias=lambda g, *_: g[::-1]),
    fault(
        "kernel shifted by one input", ("shifted",), "shift|roll|by one|by 1", kernel=lambda g, *_: jnp.roll(g, 1, 0)
    ),
    fault("dx with shuffled features", ("permuted",), "order|permut|place", x=lambda g, *_: g[:, SHUFFLED]),
    fault("bias sorted", ("permuted", "not_linear"), "order|permut|place|sort", bias=lambda g, *_: jnp.sort(g)),
    fault(
        "kernel from the inputs of the next example",
        ("wrong_operand", "shifted", "coupling", "slices"),
        "example|shift|axis 0",
        kernel=lambda g, p, x, dy: jnp.roll(x, -1, 0).T @ dy,
    ),
    # The upstream gradient.
    whole("upstream gradient taken as ones", with_ones, ("cotangent_ignored",), r"upstream|cotangent|\bdy\b|ignor"),
    fault(
        "bias ignores the upstream gradient",
        ("cotangent_ignored",),
        r"upstream|cotangent|\bdy\b|ignor",
        bias=lambda g, p, x, dy: jnp.full_like(g, len(x)),
    ),
    whole("upstream gradient normalised", normalised_cotangent, ("not_linear",), "linear|normal|scale"),
    whole("upstream gradient clipped", clipped_cotangent, ("not_linear",), "linear|clip|add"),
    fault(
        "upstream gradient squared", ("not_linear",), "linear|squar|twice", bias=lambda g, p, x, dy: jnp.sum(dy * dy, 0)
    ),
    fault(
        "gradient thresholded",
        ("not_linear",),
        "linear|threshold|add|small",
        kernel=lambda g, *_: jnp.where(jnp.abs(g) > 1, g, 0.0),
    ),
    fault("kernel clipped to one", ("not_linear",), "linear|clip|add", kernel=lambda g, *_: jnp.clip(g, -1.0, 1.0)),
    # Terms that do not belong.
    fault(
        "weight decay", ("extra_term",), "kernel|weight|param|decay", kernel=lambda g, p, x, dy: g + 1e-4 * p["kernel"]
    ),
    fault("L1 penalty", ("extra_term",), "sign|kernel|L1", kernel=lambda g, p, x, dy: g + 0.01 * jnp.sign(p["kernel"])),
    fault("constant added to dx", ("extra_term",), "constant|0.01|add", x=lambda g, *_: g + 0.01),
    fault(
        "skip connection that the forward has not",
        ("extra_term",),
        r"\bdy\b|upstream|cotangent|skip",
        params=SQUARE,
        x=lambda g, p, x, dy: g + dy,
    ),
    # Leaves.
    fault("kernel never filled in", ("zero",), r"zero|\b0\b", kernel=lambda g, *_: jnp.zeros_like(g)),
    fault("no dx", ("zero",), r"zero|\b0\b", x=lambda g, *_: jnp.zeros_like(g)),
    whole("bias missing", without_bias, ("missing_gradient", "wrong_tree"), "bias|missing"),
    fault("None for the kernel", ("missing_gradient", "wrong_tree"), "kernel|missing|None", kernel=lambda *_: None),
    whole("gradient of a parameter that is not there", with_another_leaf, ("wrong_tree",), "scale|belongs|tree"),
    whole("gradients in a list", as_a_list, ("wrong_tree", "missing_gradient"), "list|tree|structure|missing|kernel"),
    fault("bias in float32", ("wrong_dtype",), "float32", bias=lambda g, *_: g.astype(jnp.float32)),
    fault("dx in float32", ("wrong_dtype",), "float32", x=lambda g, *_: g.astype(jnp.float32)),
    fault(
        "dx by way of float32",
        ("low_precision",),
        "precision|float32|round",
        x=lambda g, *_: g.astype(jnp.float32).astype(g.dtype),
    ),
    fault(
        "kernel by way of bfloat16",
        ("low_precision",),
        "precision|bfloat16|float16|round",
        kernel=lambda g, p, x, dy: (x.T.astype(jnp.bfloat16) @ dy.astype(jnp.bfloat16)).astype(g.dtype),
    ),
    fault("NaN in the bias", ("nonfinite",), "nan|finite", bias=lambda g, *_: g.at[2].set(jnp.nan)),
    # Two mistakes in two leaves.
    fault(
        "bias averaged and kernel transposed",
        ("transposed", "scaled"),
        r"transpos|\.T|1/5|example",
        params=SQUARE,
        kernel=lambda g, *_: g.T,
        bias=lambda g, *_: g / 5,
    ),
    fault(
        "dx negative and bias of the last example",
        ("slices", "scaled"),
        "last|example|sign|-1",
        x=negative,
        bias=lambda g, p, x, dy: dy[-1],
    ),
    # Steps in front of the features.
    sequence_fault(
        "bias summed over the batch alone",
        ("not_summed", "wrong_shape"),
        "sum|axis",
        bias=lambda g, p, x, dy: jnp.sum(dy, 0),
    ),
    sequence_fault(
        "bias averaged over the steps",
        ("scaled",),
        "1/3|step|axis 1",
        bias=lambda g, p, x, dy: jnp.sum(jnp.mean(dy, 1), 0),
    ),
    sequence_fault(
        "kernel of the last step",
        ("slices",),
        "last|step|axis 1",
        kernel=lambda g, p, x, dy: x[:, -1].T @ dy[:, -1],
    ),
]


def layer_with(**rules: Callable[..., Any]) -> pn.Layer:
    return pn.stateless(
        dense_forward,
        altered(dense_backward, **rules),
        name="my_dense",
        init=lambda key, x: {"kernel": jnp.ones((x.shape[-1], 11), x.dtype), "bias": jnp.zeros(11, x.dtype)},
    )


FAULTS += [
    Fault(
        "my_dense layer: kernel averaged over the batch",
        layer_with(kernel=lambda g, p, x, dy: g / len(x)),
        X,
        PARAMS,
        ("scaled",),
        "1/5|example|batch",
    ),
    Fault(
        "dense without bias: dx negative",
        (no_bias_forward, altered(no_bias_backward, x=negative)),
        X,
        {"kernel": PARAMS["kernel"]},
        ("scaled",),
        "sign|-1|minus|negat",
    ),
]

PAIR = (dense_forward, dense_backward)
ANY_AXES = (any_axes_forward, any_axes_backward)

RIGHTS = [
    Right("dense", PAIR, X, PARAMS),
    Right("dense, square", PAIR, X, SQUARE),
    Right("dense, one example", PAIR, normal(8, 1, 7), PARAMS),
    Right("dense, one feature", PAIR, normal(9, 5, 1), {"kernel": normal(10, 1, 1), "bias": normal(11, 1)}),
    Right("dense, no example", PAIR, np.zeros((0, 7)), PARAMS),
    Right("dense, ones everywhere", PAIR, np.ones((5, 7)), {"kernel": np.ones((7, 11)), "bias": np.ones(11)}),
    Right("dense, float32", PAIR, X.astype(np.float32), {k: v.astype(np.float32) for k, v in PARAMS.items()}),
    Right("dense over steps", (sequence_forward, sequence_backward), STEPS, PARAMS),
    Right("purenet's dense, no batch", ANY_AXES, normal(12, 7), PARAMS),
    Right("purenet's dense, three leading axes", ANY_AXES, normal(13, 2, 3, 5, 7), PARAMS),
    Right("purenet's dense, badly scaled", ANY_AXES, X * 10.0 ** np.arange(-6, 8, 2), PARAMS),
    Right("pn.dense", pn.dense(11), X),
    Right("pn.dense without bias", pn.dense(3, use_bias=False), X),
    Right("my_dense layer", layer_with(), X, PARAMS),
]
