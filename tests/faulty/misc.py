"""Everything else: blocks in one piece, sums over indices, dropout, stopped gradients, other trees, numerics."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import purenet as pn

from .rows import Fault, Right, altered, normal

X = normal(181, 5, 7)


def fault(name: str, forward: Any, backward: Any, params: Any, kinds: tuple[str, ...], says: str, x: Any = X) -> Fault:
    return Fault(name, (forward, backward), x, params, kinds, says)


# A residual block of two dense layers.

BLOCK = {"up": normal(182, 7, 11, scale=0.5), "down": normal(183, 11, 7, scale=0.5), "bias": normal(184, 7)}
SQUARE_BLOCK = {"up": normal(185, 7, 7, scale=0.5), "down": normal(186, 7, 7, scale=0.5), "bias": normal(187, 7)}


def block(params: Any, x: Any) -> Any:
    z = x @ params["up"]
    h = jnp.tanh(z)
    f = h @ params["down"]
    y = x + f
    return y + params["bias"][None, :], (x, h)


def block_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, h = saved
        dh = dy @ params["down"].T
        dz = dh if mistake == "slope" else (1 - h**2) * dh
        df = dz @ params["up"].T
        skip = {"skip": 0.0, "skip twice": 2.0, "skip sign": -1.0, "skip half": 0.5}.get(mistake, 1.0)
        dx = skip * dy + (0.0 if mistake == "branch" else 1.0) * df
        dup = x.T @ (dh if mistake == "up from dh" else dz)
        ddown = (x if mistake == "down from x" else h).T @ dy
        dbias = jnp.sum(dz if mistake == "bias from dz" else dy, 0)
        if mistake == "exchanged":
            dup, ddown = ddown, dup
        return {"up": dup, "down": ddown, "bias": dbias}, dx

    return backward


def block_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str, params: Any = BLOCK) -> Fault:
    return fault(f"residual block: {name}", block, block_with(mistake), params, kinds, says)


FAULTS = [
    block_fault("skip left out", ("path_missing", "extra_term"), r"skip|\bdy\b|upstream|\bx\b|add|path", "skip"),
    block_fault("skip twice", ("path_doubled", "extra_term"), r"skip|twice|doubl|\bdy\b|upstream|\bx\b", "skip twice"),
    block_fault("skip with the wrong sign", ("path_sign", "extra_term"), "", "skip sign"),
    block_fault("skip halved", ("path_scaled", "extra_term"), "1/2|0.5|half", "skip half"),
    block_fault("branch left out", ("path_missing",), "path|dot|up|tanh", "branch"),
    block_fault("slope left out", ("local_derivative",), "tanh|derivative", "slope"),
    block_fault(
        "up from dh instead of dz",
        ("wrong_cotangent", "local_derivative"),
        r"tanh|\bdh\b|\bdz\b|derivative",
        "up from dh",
    ),
    block_fault(
        "down from x instead of h", ("wrong_operand",), r"\bx\b|\bh\b|tanh|operand|value", "down from x", SQUARE_BLOCK
    ),
    block_fault(
        "bias from dz instead of dy",
        ("wrong_cotangent", "local_derivative", "wrong_operand"),
        "",
        "bias from dz",
        SQUARE_BLOCK,
    ),
    block_fault(
        "up and down exchanged", ("swapped_leaves",), "swap|exchang|up.*down|down.*up", "exchanged", SQUARE_BLOCK
    ),
]


# SwiGLU: silu(x W) * (x V) U.

GLU = {"gate": normal(188, 7, 11, scale=0.5), "value": normal(189, 7, 11, scale=0.5), "out": normal(190, 11, 3)}


def swiglu(params: Any, x: Any) -> Any:
    gate = x @ params["gate"]
    value = x @ params["value"]
    s = jax.nn.sigmoid(gate)
    a = gate * s
    h = a * value
    return h @ params["out"], (x, gate, value, s, a, h)


def swiglu_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, gate, value, s, a, h = saved
        dh = dy @ params["out"].T
        da = dh if mistake == "value" else dh * value
        dvalue = dh * (s if mistake == "a" else a)
        slope = s if mistake == "product" else s + gate * s * (1 - s)
        if mistake == "sigmoid":
            slope = s * (1 - s)
        dgate = da * slope
        dx = dgate @ params["gate"].T + dvalue @ params["value"].T
        if mistake == "gate path":
            dx = dvalue @ params["value"].T
        if mistake == "value path":
            dx = dgate @ params["gate"].T
        kernels = {"gate": x.T @ dgate, "value": x.T @ dvalue, "out": (a if mistake == "out" else h).T @ dy}
        if mistake == "exchanged":
            kernels["gate"], kernels["value"] = kernels["value"], kernels["gate"]
        return kernels, dx

    return backward


def glu_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str) -> Fault:
    return fault(f"swiglu: {name}", swiglu, swiglu_with(mistake), GLU, kinds, says)


FAULTS += [
    glu_fault("value left out of the gate's gradient", ("local_derivative", "wrong_operand"), "", "value"),
    glu_fault("sigmoid instead of silu for the value", ("wrong_operand", "local_derivative"), "", "a"),
    glu_fault("second term of the silu's slope missing", ("path_missing",), "sigmoid|logistic|path", "product"),
    glu_fault("slope of the sigmoid", ("local_derivative", "path_missing", "two_paths"), "", "sigmoid"),
    glu_fault("path through the gate left out of dx", ("path_missing",), "gate|path|dot", "gate path"),
    glu_fault("path through the value left out of dx", ("path_missing",), "value|path|dot", "value path"),
    glu_fault("out kernel from the gate alone", ("wrong_operand", "local_derivative"), "", "out"),
    glu_fault(
        "gate and value kernels exchanged", ("swapped_leaves",), "swap|exchang|gate.*value|value.*gate", "exchanged"
    ),
]


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


FAULTS += [
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


# Dropout, stopped gradients and gates that are constant.


def mask_of(seed: int) -> Any:
    return jax.random.bernoulli(jax.random.key(seed), 0.7, (5, 7))


def dropout(x: Any) -> Any:
    mask = mask_of(3)
    y = jnp.where(mask, x / 0.7, 0.0)
    return y, mask


def random_dropout(x: Any) -> Any:
    return dropout(x)[0]


DRAWS = itertools.count(10)


def drawn_anew(x: Any, dy: Any) -> Any:
    """Another mask each time it is called."""
    return jnp.where(mask_of(next(DRAWS)), dy / 0.7, 0.0)


def stopped(x: Any) -> Any:
    weight = lax.stop_gradient(jax.nn.sigmoid(x))
    return weight * x, (x, weight)


def straight_through(x: Any) -> Any:
    rounded = jnp.round(x)
    return x + lax.stop_gradient(rounded - x)


def target_network(params: Any, x: Any) -> Any:
    online = x @ params["kernel"]
    target = lax.stop_gradient(jnp.tanh(online))
    error = online - target
    return 0.5 * jnp.sum(error**2, -1), (x, online, target)


def target_with(through: bool) -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, online, target = saved
        donline = (online - target) * dy[:, None]
        if through:
            donline = donline * (1 - (1 - target**2))
        return {"kernel": x.T @ donline}, donline @ params["kernel"].T

    return backward


FAULTS += [
    fault(
        "dropout: mask of another key",
        dropout,
        lambda mask, dy: jnp.where(mask_of(4), dy / 0.7, 0.0),
        None,
        ("support", "wrong_operand", "permuted", "local_derivative"),
        r"mask|zero|\b0\b|gate|where",
    ),
    fault(
        "dropout: mask left out",
        dropout,
        lambda mask, dy: dy / 0.7,
        None,
        ("support", "local_derivative"),
        r"mask|zero|\b0\b|gate|where",
    ),
    fault(
        "dropout: scale left out", dropout, lambda mask, dy: jnp.where(mask, dy, 0.0), None, ("scaled",), r"0\.7|7/10"
    ),
    fault(
        "dropout: mask upside down",
        dropout,
        lambda mask, dy: jnp.where(mask, 0.0, dy / 0.7),
        None,
        ("support", "local_derivative"),
        "",
    ),
    fault(
        "dropout: drawn anew at each call",
        random_dropout,
        drawn_anew,
        None,
        ("nondeterministic",),
        "twice|differ|random|determin|again",
    ),
    fault(
        "stop_gradient: flows through",
        stopped,
        lambda s, dy: (s[1] + s[0] * s[1] * (1 - s[1])) * dy,
        None,
        ("stop_gradient",),
        "stop_gradient|stop",
    ),
    fault(
        "stop_gradient: weight forgotten", stopped, lambda s, dy: dy, None, ("local_derivative", "wrong_operand"), ""
    ),
    fault("straight through: stopped", straight_through, lambda dy: jnp.zeros_like(dy), None, ("zero",), r"zero|\b0\b"),
    fault(
        "target network: flows through",
        target_network,
        target_with(True),
        {"kernel": normal(195, 7, 3)},
        ("stop_gradient",),
        "stop_gradient|stop",
    ),
    Fault(
        "pn.dropout: dx for all",
        pn.dropout(0.3).replace(backward=lambda p, x, y, key, dy: ((), dy / 0.7)),
        X,
        None,
        ("support", "local_derivative"),
        r"mask|zero|\b0\b|gate|where",
    ),
    Fault(
        "pn.dropout: mask of another key",
        pn.dropout(0.3).replace(backward=lambda p, x, y, key, dy: ((), jnp.where(mask_of(4), dy / 0.7, 0.0))),
        X,
        None,
        ("support", "wrong_operand", "permuted", "local_derivative"),
        r"mask|zero|\b0\b|gate|where|operand",
    ),
]


# Numerics: infinities, and what is lost.


def safe_root(x: Any) -> Any:
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def entropy(x: Any) -> Any:
    positive = x > 0
    logarithm = jnp.log(jnp.where(positive, x, 1.0))
    return -jnp.sum(x * logarithm, -1)


def big_softplus(x: Any) -> Any:
    return jnp.logaddexp(x, 0.0)


NONNEGATIVE = np.maximum(normal(196, 5, 7), 0.0)
TAILS = np.array([[-900.0, -2.0, 0.5, 3.0, 800.0, 1.0, -1.0]])
CALLS = itertools.count(1)

FAULTS += [
    fault(
        "root: infinity at zero",
        safe_root,
        lambda x, dy: 0.5 * dy / jnp.sqrt(jnp.maximum(x, 0.0)),
        None,
        ("nonfinite",),
        "inf|nan|finite",
        NONNEGATIVE,
    ),
    fault(
        "root: zero times infinity",
        safe_root,
        lambda x, dy: (x > 0).astype(dy.dtype) * 0.5 * dy / jnp.sqrt(x),
        None,
        ("nonfinite",),
        "inf|nan|finite",
        NONNEGATIVE,
    ),
    fault(
        "entropy: logarithm of zero",
        entropy,
        lambda x, dy: -(jnp.log(x) + 1) * dy[:, None],
        None,
        ("nonfinite",),
        "inf|nan|finite",
        NONNEGATIVE,
    ),
    fault(
        "softplus: exp overflows",
        big_softplus,
        lambda x, dy: jnp.exp(x) / (1 + jnp.exp(x)) * dy,
        None,
        ("nonfinite",),
        "inf|nan|finite",
        TAILS,
    ),
    fault(
        "tanh: noise",
        jnp.tanh,
        lambda y, dy: (1 - y**2) * dy * (1 + 1e-3 * next(CALLS)),
        None,
        ("nondeterministic",),
        "twice|differ|random|determin|again",
    ),
    fault(
        "tanh: slope in float32",
        jnp.tanh,
        lambda y, dy: (1 - y**2).astype(jnp.float32).astype(dy.dtype) * dy,
        None,
        ("low_precision",),
        "precision|float32|round",
    ),
    fault(
        "cumulative sum: in the forward's order",
        lambda x: jnp.cumsum(x, 1),
        lambda dy: jnp.cumsum(dy, 1),
        None,
        ("local_derivative", "flipped", "transposed", "coupling"),
        "",
    ),
    fault(
        "cumulative sum: left out",
        lambda x: jnp.cumsum(x, 1),
        lambda dy: dy,
        None,
        ("diagonal", "path_missing", "coupling"),
        "",
    ),
    fault(
        "sort: not put back", lambda x: jnp.sort(x, -1), lambda dy: dy, None, ("permuted",), "order|permut|place|sort"
    ),
    fault(
        "mean over the features: over the batch",
        lambda x: jnp.mean(x, 1),
        lambda x, dy: jnp.broadcast_to(dy[None, :], x.shape) / 7,
        None,
        ("transposed", "coupling"),
        "",
        normal(197, 7, 7),
    ),
    fault(
        "variance: mean held constant twice",
        lambda x: jnp.mean((x - jnp.mean(x, 1, keepdims=True)) ** 2, 1),
        lambda x, dy: 2 * x * dy[:, None] / 7,
        None,
        ("wrong_operand", "path_missing"),
        "",
    ),
    fault(
        "product of features: value as derivative",
        lambda x: jnp.prod(x, 1),
        lambda y, dy: jnp.broadcast_to((y * dy)[:, None], (5, 7)),
        None,
        ("local_derivative",),
        "prod|derivative|value",
    ),
    fault(
        "maximum of two: both get it",
        lambda x: jnp.maximum(x["a"], x["b"]),
        lambda dy: {"a": dy, "b": dy},
        None,
        ("support", "local_derivative"),
        r"max|zero|\b0\b|gate",
        {"a": X, "b": normal(198, 5, 7)},
    ),
]


def quotient(x: Any) -> Any:
    return x["a"] / x["b"]


def quotient_with(power: int, sign: int = -1) -> Callable[..., Any]:
    return lambda x, dy: {"a": dy / x["b"], "b": sign * x["a"] / x["b"] ** power * dy}


QUOTIENT = {"a": X, "b": normal(199, 5, 7) ** 2 + 0.5}
NESTED = {"first": (X, normal(200, 3)), "second": [normal(201, 2, 5), np.array([4, 2])]}


def nested(x: Any) -> Any:
    matrix, vector = x["first"]
    other, counts = x["second"]
    sums = {"vector": jnp.sin(vector), "rows": jnp.sum(matrix**2, -1)}
    return {"sums": sums, "other": [other * counts[:, None].astype(other.dtype)]}


def nested_backward(x: Any, dy: Any) -> Any:
    matrix, vector = x["first"]
    dmatrix = 2 * matrix * dy["sums"]["rows"][:, None]
    dvector = jnp.cos(vector) * dy["sums"]["vector"]
    dother = dy["other"][0] * x["second"][1][:, None].astype(matrix.dtype)
    return {"first": (dmatrix, dvector), "second": [dother, None]}


def nested_doubled(x: Any, dy: Any) -> Any:
    dx = nested_backward(x, dy)
    return dx | {"first": (dx["first"][0], 2 * dx["first"][1])}


def nested_as_list(x: Any, dy: Any) -> Any:
    dx = nested_backward(x, dy)
    return dx | {"first": list(dx["first"])}


FAULTS += [
    fault("quotient: sign", quotient, quotient_with(2, 1), None, ("scaled",), "sign|-1|negat", QUOTIENT),
    fault(
        "quotient: square forgotten",
        quotient,
        quotient_with(1),
        None,
        ("local_derivative",),
        "div|derivative",
        QUOTIENT,
    ),
    fault("nested trees: vector doubled", nested, nested_doubled, None, ("scaled",), r"\b2\b|twice|doubl", NESTED),
    fault(
        "nested trees: list for a tuple",
        nested,
        nested_as_list,
        None,
        ("wrong_tree",),
        "tree|list|tuple|structure",
        NESTED,
    ),
]

RIGHTS = [
    Right("residual block", (block, block_with()), X, BLOCK),
    Right("swiglu", (swiglu, swiglu_with()), X, GLU),
    Right("bilinear", (bilinear, bilinear_backward), BOTH, BILINEAR),
    Right("quadratic form", (quadratic, quadratic_with()), X, QUADRATIC),
    Right("dropout", (dropout, lambda mask, dy: jnp.where(mask, dy / 0.7, 0.0)), X),
    Right("pn.dropout", pn.dropout(0.3), X),
    Right("pn.dropout, rate 0", pn.dropout(0.0), X),
    Right("stop_gradient", (stopped, lambda saved, dy: saved[1] * dy), X),
    Right("straight through", (straight_through, lambda dy: dy), X),
    Right("target network", (target_network, target_with(False)), X, {"kernel": normal(195, 7, 3)}),
    Right(
        "root at zero",
        (safe_root, lambda x, dy: jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0) * dy),
        NONNEGATIVE,
    ),
    Right("cumulative sum", (lambda x: jnp.cumsum(x, 1), lambda dy: jnp.cumsum(dy[:, ::-1], 1)[:, ::-1]), X),
    Right("quotient", (quotient, quotient_with(2)), QUOTIENT),
    Right("quotient, badly scaled", (quotient, quotient_with(2)), {"a": X * 1e8, "b": QUOTIENT["b"] * 1e-5}),
    Right("nested trees", (nested, nested_backward), NESTED),
    Right(
        "params that are an array", (lambda p, x: p * x, lambda p, x, dy: (jnp.sum(x * dy), p * dy)), X, np.float64(1.7)
    ),
]
