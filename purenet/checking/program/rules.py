"""Local rules in NumPy: what each primitive computes, and the gradient of each of its operands.

`run(params, *operands) -> output` and `pull(params, k, operands, output, cotangent) -> cotangent of operand k`.
They serve the diagnosis, which changes one rule of a recorded forward at a time and asks for the gradient again:
thousands of times on tiny arrays, where NumPy needs microseconds and a compiler would need seconds.

Primitives that are not here run through JAX, one compiled equation each (`record.opaque`). Conventions at ties
are JAX's: half the cotangent to each of two equal operands of max, equal shares among the maxima of a reduction.
Griewank & Walther, *Evaluating Derivatives* (2008), chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Run = Callable[..., Any]

# These move elements about, or give what they are given.
MOVES = ("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "dynamic_slice", "rev", "pad")
MOVES += ("concatenate", "dynamic_update_slice", "copy", "copy_p", "convert_element_type", "reduce_precision")
MOVES += ("stop_gradient", "optimization_barrier", "index", "stack", "iota", "gather")


class Rule(NamedTuple):
    run: Run
    pull: Callable[..., Any]


class Unary(NamedTuple):
    """An elementwise function and its derivative `slope(x, y)`; `from_output(y)` is the derivative as people
    remember it when it is written with the output, which is where input and output get confused."""

    value: Callable[[Any], Any]
    slope: Callable[[Any, Any], Any]
    from_output: Callable[[Any], Any] | None = None


erf = np.vectorize(math.erf, otypes=[np.float64])
erfc = np.vectorize(math.erfc, otypes=[np.float64])


def logistic(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


def smooth_gauss(x: Any) -> Any:
    return 2 / math.sqrt(math.pi) * np.exp(-np.square(x))


UNARY: dict[str, Unary] = {
    "neg": Unary(np.negative, lambda x, y: -np.ones_like(x)),
    "exp": Unary(np.exp, lambda x, y: y, lambda y: y),
    "exp2": Unary(np.exp2, lambda x, y: math.log(2) * y),
    "log": Unary(np.log, lambda x, y: 1 / x),
    "log1p": Unary(np.log1p, lambda x, y: 1 / (1 + x)),
    "expm1": Unary(np.expm1, lambda x, y: y + 1, lambda y: y + 1),
    "tanh": Unary(np.tanh, lambda x, y: 1 - y * y, lambda y: 1 - y * y),
    "logistic": Unary(logistic, lambda x, y: y * (1 - y), lambda y: y * (1 - y)),
    "sin": Unary(np.sin, lambda x, y: np.cos(x)),
    "cos": Unary(np.cos, lambda x, y: -np.sin(x)),
    "tan": Unary(np.tan, lambda x, y: 1 + y * y, lambda y: 1 + y * y),
    "asin": Unary(np.arcsin, lambda x, y: 1 / np.sqrt(1 - x * x)),
    "acos": Unary(np.arccos, lambda x, y: -1 / np.sqrt(1 - x * x)),
    "atan": Unary(np.arctan, lambda x, y: 1 / (1 + x * x)),
    "sinh": Unary(np.sinh, lambda x, y: np.cosh(x)),
    "cosh": Unary(np.cosh, lambda x, y: np.sinh(x)),
    "asinh": Unary(np.arcsinh, lambda x, y: 1 / np.sqrt(x * x + 1)),
    "acosh": Unary(np.arccosh, lambda x, y: 1 / np.sqrt(x * x - 1)),
    "atanh": Unary(np.arctanh, lambda x, y: 1 / (1 - x * x)),
    "sqrt": Unary(np.sqrt, lambda x, y: 0.5 / y, lambda y: 0.5 / y),
    "rsqrt": Unary(lambda x: 1 / np.sqrt(x), lambda x, y: -0.5 * y / x, lambda y: -0.5 * y**3),
    "cbrt": Unary(np.cbrt, lambda x, y: y / (3 * x)),
    "abs": Unary(np.abs, lambda x, y: np.sign(x)),
    "square": Unary(np.square, lambda x, y: 2 * x),
    "erf": Unary(erf, lambda x, y: smooth_gauss(x)),
    "erfc": Unary(erfc, lambda x, y: -smooth_gauss(x)),
    "sign": Unary(np.sign, lambda x, y: np.zeros_like(x)),
    "floor": Unary(np.floor, lambda x, y: np.zeros_like(x)),
    "ceil": Unary(np.ceil, lambda x, y: np.zeros_like(x)),
    "round": Unary(np.round, lambda x, y: np.zeros_like(x)),
    "stop_gradient": Unary(np.asarray, lambda x, y: np.zeros_like(x)),
}


def unary_rule(function: Unary) -> Rule:
    return Rule(
        lambda params, x: function.value(x),
        lambda params, k, operands, y, dy: dy * function.slope(operands[0], y),
    )


def fit(cotangent: Any, shape: tuple[int, ...]) -> Any:
    """Sum a cotangent over what broadcasting added: a jaxpr has scalars and axes of length 1 beside arrays."""
    if np.shape(cotangent) == shape:
        return cotangent
    if not shape:
        return np.sum(cotangent)
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return np.sum(cotangent, axes, keepdims=True)


def binary_rule(value: Run, slopes: tuple[Run, Run]) -> Rule:
    def pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
        return fit(dy * slopes[k](*operands, y), np.shape(operands[k]))

    return Rule(lambda params, a, b: value(a, b), pull)


def share(wins: Any, ties: Any) -> Any:
    return np.where(ties, 0.5, np.where(wins, 1.0, 0.0))


BINARY = {
    "add": (np.add, (lambda a, b, y: 1.0, lambda a, b, y: 1.0)),
    "add_any": (np.add, (lambda a, b, y: 1.0, lambda a, b, y: 1.0)),
    "sub": (np.subtract, (lambda a, b, y: 1.0, lambda a, b, y: -1.0)),
    "mul": (np.multiply, (lambda a, b, y: b, lambda a, b, y: a)),
    "div": (np.divide, (lambda a, b, y: 1 / b, lambda a, b, y: -y / b)),
    "max": (np.maximum, (lambda a, b, y: share(a > b, a == b), lambda a, b, y: share(b > a, a == b))),
    "min": (np.minimum, (lambda a, b, y: share(a < b, a == b), lambda a, b, y: share(b < a, a == b))),
    "pow": (
        np.power,
        (
            lambda a, b, y: np.where(b == 0, 0.0, b * np.power(a, np.where(b == 0, 1.0, b - 1))),
            lambda a, b, y: np.where(y == 0, 0.0, np.log(np.where(a > 0, a, 1.0)) * y),
        ),
    ),
    "atan2": (np.arctan2, (lambda a, b, y: b / (a * a + b * b), lambda a, b, y: -a / (a * a + b * b))),
}

PLAIN: dict[str, Run] = {  # without gradients
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": lambda a: ~a,
    "is_finite": np.isfinite,
}


def power_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    n = params["y"]
    return dy * n * np.power(operands[0], n - 1.0) if n else np.zeros_like(dy)


def select_run(params: Mapping, which: Any, *cases: Any) -> Any:
    return np.choose(np.broadcast_to(which, cases[0].shape).astype(int), cases)


def select_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    return np.where(np.asarray(operands[0]).astype(int) == k - 1, dy, 0.0) if k else None


def clamp_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    low, x, high = operands
    inside = {0: x < low, 1: (x > low) & (x < high), 2: x > high}[k]
    return fit(np.where(inside, dy, 0.0), np.shape(operands[k]))


def convert_run(params: Mapping, x: Any) -> Any:
    return np.asarray(x).astype(params["new_dtype"])


# Reductions.


def spread(reduced: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """The value of a reduction, broadcast again over what was reduced."""
    return np.broadcast_to(np.expand_dims(reduced, axes), shape)


def sum_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    return spread(dy, params["axes"], operands[0].shape)


def extreme_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    x, axes = operands[0], params["axes"]
    wins = x == spread(y, axes, x.shape)
    return np.where(wins, spread(dy / np.sum(wins, axes), axes, x.shape), 0.0)


def product_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    x, axes = operands[0], params["axes"]
    return spread(y * dy, axes, x.shape) / x


def cumulate(function: Run) -> Run:
    def run(params: Mapping, x: Any) -> Any:
        axis = params["axis"]
        return np.flip(function(np.flip(x, axis), axis), axis) if params["reverse"] else function(x, axis)

    return run


def cumsum_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    return cumulate(np.cumsum)({**params, "reverse": not params["reverse"]}, dy)


# Matrix products.


def product_letters(params: Mapping, ranks: tuple[int, int]) -> tuple[str, str, str]:
    """Index letters of the operands and the result, as `numpy.einsum` has them."""
    (left_sum, right_sum), (left_batch, right_batch) = params["dimension_numbers"]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left = [next(letters) for _ in range(ranks[0])]
    right = [next(letters) for _ in range(ranks[1])]
    for i, j in [*zip(left_sum, right_sum, strict=True), *zip(left_batch, right_batch, strict=True)]:
        right[j] = left[i]
    kept_left = [c for i, c in enumerate(left) if i not in left_sum and i not in left_batch]
    kept_right = [c for j, c in enumerate(right) if j not in right_sum and j not in right_batch]
    return "".join(left), "".join(right), "".join([left[i] for i in left_batch] + kept_left + kept_right)


def product_run(params: Mapping, a: Any, b: Any) -> Any:
    left, right, out = product_letters(params, (a.ndim, b.ndim))
    return np.einsum(f"{left},{right}->{out}", a, b, optimize=True)


def product_operand_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    left, right, out = product_letters(params, (operands[0].ndim, operands[1].ndim))
    if k == 0:
        return np.einsum(f"{out},{right}->{left}", dy, operands[1], optimize=True)
    return np.einsum(f"{left},{out}->{right}", operands[0], dy, optimize=True)


# Moving elements about: the same movement of their indices tells where each cotangent goes.


def moving(run: Run) -> Rule:
    def pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
        if k:
            return None
        x = operands[0]
        index = run(params, np.arange(x.size).reshape(x.shape), *operands[1:])
        return np.bincount(np.ravel(index), np.ravel(dy), x.size).reshape(x.shape)

    return Rule(run, pull)


def broadcast_run(params: Mapping, x: Any) -> Any:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], np.shape(x), strict=True):
        shape[axis] = size
    return np.broadcast_to(np.reshape(x, shape), params["shape"])


def slice_run(params: Mapping, x: Any) -> Any:
    strides = params["strides"] or (1,) * x.ndim
    steps = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return x[tuple(slice(*step) for step in steps)]


def dynamic_slice_run(params: Mapping, x: Any, *starts: Any) -> Any:
    corner = [int(np.clip(s, 0, n - m)) for s, n, m in zip(starts, x.shape, params["slice_sizes"], strict=True)]
    return x[tuple(slice(s, s + m) for s, m in zip(corner, params["slice_sizes"], strict=True))]


def update_run(params: Mapping, x: Any, update: Any, *starts: Any) -> Any:
    y = np.array(x)
    dynamic_slice_run({"slice_sizes": update.shape}, y, *starts)[...] = update
    return y


def update_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    _, update, *starts = operands
    if k == 0:
        return update_run(params, dy, np.zeros_like(update), *starts)
    return dynamic_slice_run({"slice_sizes": update.shape}, dy, *starts) if k == 1 else None


def concatenate_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    axis = params["dimension"]
    sizes = np.cumsum([0] + [operand.shape[axis] for operand in operands])
    return np.take(dy, np.arange(sizes[k], sizes[k + 1]), axis)


def pad_places(params: Mapping, shape: tuple[int, ...]) -> tuple:
    """Where each element of the padded operand goes; None stands for elements that negative padding removes."""
    configuration = zip(params["padding_config"], shape, strict=True)
    places = [low + np.arange(n) * (inside + 1) for (low, _, inside), n in configuration]
    return np.ix_(*places) if places else ()


def pad_run(params: Mapping, x: Any, value: Any) -> Any:
    config = params["padding_config"]
    sizes = [
        n + max(n - 1, 0) * i + max(low, 0) + max(high, 0) for (low, high, i), n in zip(config, x.shape, strict=True)
    ]
    grown = [(max(low, 0), 0, inside) for low, _, inside in config]
    y = np.full(sizes, value)
    y[pad_places({"padding_config": grown}, x.shape)] = x
    return y[tuple(slice(max(-low, 0), n - max(-high, 0)) for (low, high, _), n in zip(config, sizes, strict=True))]


def pad_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    x, value = operands
    index = pad_run(params, np.arange(x.size).reshape(x.shape), -1)
    inside = index >= 0
    if k == 1:
        return np.sum(np.where(inside, 0.0, dy)).reshape(np.shape(value))
    return np.bincount(index[inside], dy[inside], x.size).reshape(x.shape)


MOVING: dict[str, Run] = {
    "broadcast_in_dim": broadcast_run,
    "reshape": lambda params, x: np.reshape(x, params["new_sizes"]),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
    "squeeze": lambda params, x: np.squeeze(x, params["dimensions"]),
    "expand_dims": lambda params, x: np.expand_dims(x, params["dimensions"]),
    "slice": slice_run,
    "dynamic_slice": dynamic_slice_run,
    "rev": lambda params, x: np.flip(x, params["dimensions"]),
}


def same_pull(params: Mapping, k: int, operands: Any, y: Any, dy: Any) -> Any:
    return dy


RULES: dict[str, Rule] = {
    **{name: unary_rule(function) for name, function in UNARY.items()},
    **{name: binary_rule(*both) for name, both in BINARY.items()},
    **{name: moving(run) for name, run in MOVING.items()},
    **{
        name: Rule(lambda params, *operands, run=run: run(*operands), lambda *arguments: None)
        for name, run in PLAIN.items()
    },
    "copy": Rule(lambda params, x: x, same_pull),
    "copy_p": Rule(lambda params, x: x, same_pull),
    "reduce_precision": Rule(lambda params, x: x, same_pull),
    "convert_element_type": Rule(convert_run, same_pull),
    "integer_pow": Rule(lambda params, x: np.power(x, float(params["y"])), power_pull),
    "select_n": Rule(select_run, select_pull),
    "clamp": Rule(lambda params, low, x, high: np.clip(x, low, high), clamp_pull),
    "reduce_sum": Rule(lambda params, x: np.sum(x, params["axes"]), sum_pull),
    "reduce_max": Rule(lambda params, x: np.max(x, params["axes"]), extreme_pull),
    "reduce_min": Rule(lambda params, x: np.min(x, params["axes"]), extreme_pull),
    "reduce_prod": Rule(lambda params, x: np.prod(x, params["axes"]), product_pull),
    "cumsum": Rule(cumulate(np.cumsum), cumsum_pull),
    "dot_general": Rule(product_run, product_operand_pull),
    "dynamic_update_slice": Rule(update_run, update_pull),
    "concatenate": Rule(lambda params, *xs: np.concatenate(xs, params["dimension"]), concatenate_pull),
    "pad": Rule(pad_run, pad_pull),
}
