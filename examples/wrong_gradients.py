"""The gradients of `find_the_bug.py`: mistakes of public questions about small networks, and what checks each.

Each is rewritten, at the sizes and on the data of its question; the line that is wrong ends in `# BUG`. In the last
two the gradient is right and something else is not: single precision, and the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import purenet as pn


def report_of(check: Callable[..., pn.Report], *args: Any, **options: Any) -> pn.Report:
    """The report, whether the check passes or raises it."""
    try:
        return check(*args, verbose=False, **options)
    except pn.GradientError as error:
        return error.report


# AND and OR at once: y = 0.5 (1 + erf(weights [1, x])), column 0 of the weights [outputs, 1 + inputs] is the bias.

GATE_WEIGHTS = np.array([[-1.0, 0.8, 0.6], [-0.3, 0.9, 0.7]])
GATE_INPUT, GATE_TRUTH = np.array([1.0, 1.0]), np.array([1.0, 1.0])


def after_one(x: Any) -> Any:
    return jnp.concatenate([jnp.ones(1, x.dtype), x])


def gate_forward(weights: Any, x: Any) -> Any:
    return 0.5 * (1 + erf(weights @ after_one(x)))


def gate_slope(weights: Any, x: Any) -> Any:
    """The derivative of 0.5 (1 + erf(z)): exp(-z^2) / sqrt(pi)."""
    return jnp.exp(-jnp.square(weights @ after_one(x))) / math.sqrt(math.pi)


def gate_backward(weights: Any, x: Any, dy: Any) -> tuple[Any, Any]:
    """The right one: dweights is the outer product of the error before the bend and the input."""
    dz = gate_slope(weights, x) * dy
    return jnp.outer(dz, after_one(x)), dz @ weights[:, 1:]


def rows_alike_backward(weights: Any, x: Any, dy: Any) -> tuple[Any, Any]:
    jacobian = jnp.outer(gate_slope(weights, x), after_one(x))  # row o: output o by the weights of its own row
    dweights = jnp.broadcast_to(dy @ jacobian, weights.shape)  # BUG: the sum over the outputs, the same for every row
    return dweights, gate_backward(weights, x, dy)[1]


def rows_alike() -> pn.Report:
    return report_of(pn.check, (gate_forward, rows_alike_backward), GATE_INPUT, params=GATE_WEIGHTS)


# The same layer stacked, for XOR: two inputs, four hidden units, one output.


def own_jacobian_backward(weights: Any, x: Any, dy: Any) -> tuple[Any, Any]:
    jacobian = gate_slope(weights, x)[:, None] * weights[:, 1:]  # [1 output, inputs]
    return gate_backward(weights, x, dy)[0], jacobian[0]  # BUG: dy @ jacobian belongs here


def gate_layer(outputs: int, backward: Callable[..., Any]) -> pn.Layer:
    def init(key: jax.Array, x: Any) -> Any:
        return jax.random.normal(key, (outputs, 1 + x.shape[0]))

    return pn.stateless(gate_forward, backward, name="gate", init=init)


def own_jacobian() -> pn.Report:
    stack = pn.serial(hidden=gate_layer(4, gate_backward), output=gate_layer(1, own_jacobian_backward))
    return report_of(pn.check, stack, GATE_INPUT)


# A gradient by central differences, for any function of a matrix of weights.


def differences_by_column(function: Callable[[Any], Any], weights: Any, width: float = 1e-4) -> Any:
    slopes = []
    for column in width * np.eye(weights.shape[1]):
        move = np.tile(column, (len(weights), 1))  # BUG: moves the weights of all outputs together
        slopes.append((function(weights + move) - function(weights - move)) / (2 * width))
    return np.tile(np.stack(slopes), (len(weights), 1))


def differences_by_weight(function: Callable[[Any], Any], weights: Any, width: float = 1e-4) -> Any:
    """The right one: one weight at a time."""
    slopes = np.zeros_like(weights)
    for index in np.ndindex(weights.shape):
        move = np.zeros_like(weights)
        move[index] = width
        slopes[index] = (function(weights + move) - function(weights - move)) / (2 * width)
    return slopes


def gate_loss(weights: Any) -> Any:
    return jnp.sum(jnp.square(gate_forward(weights, GATE_INPUT) - GATE_TRUTH))


def whole_column() -> pn.Report:
    def gradient(weights: Any) -> Any:
        return differences_by_column(gate_loss, np.asarray(weights))

    return report_of(pn.check_gradient, gradient, gate_loss, GATE_WEIGHTS)


def one_weight_at_a_time() -> str:
    with jax.enable_x64(True):
        exact = np.asarray(jax.grad(gate_loss)(jnp.asarray(GATE_WEIGHTS)))
        difference = np.max(np.abs(differences_by_weight(gate_loss, GATE_WEIGHTS) - exact))
    return f"one weight at a time, central differences are within {difference:.1e} of jax.grad"


# A generic loop over dense layers with leaky ReLU, 2-4-4-3, on one example.

LEAKY_WIDTHS = 2, 4, 4, 3


def leaky_relu(z: Any) -> Any:
    return jnp.where(z > 0, z, 0.1 * z)


def leaky_forward(params: Any, x: Any) -> Any:
    for layer in params:
        x = leaky_relu(layer["weights"] @ x + layer["bias"])
    return x


def value_as_slope_backward(params: Any, x: Any, dy: Any) -> tuple[Any, Any]:
    xs = [x]
    for layer in params:
        xs.append(leaky_relu(layer["weights"] @ xs[-1] + layer["bias"]))
    gradients = []
    for layer, layer_x in zip(reversed(params), reversed(xs[:-1]), strict=True):
        z = layer["weights"] @ layer_x + layer["bias"]
        dz = leaky_relu(z) * dy  # BUG: the value; its derivative is 1 where z > 0, else 0.1
        gradients.append({"weights": jnp.outer(dz, layer_x), "bias": dz})
        dy = layer["weights"].T @ dz
    return gradients[::-1], dy


def value_as_slope() -> pn.Report:
    random = np.random.default_rng(0)
    params = [
        {"weights": random.normal(size=(outs, ins)), "bias": random.normal(size=outs)}
        for ins, outs in pairwise(LEAKY_WIDTHS)
    ]
    return report_of(pn.check, (leaky_forward, value_as_slope_backward), random.normal(size=2), params=params)


# XOR in plain NumPy: three inputs (the last is always 1), three sigmoid hidden units, summed squared error.

XOR_INPUTS = np.array([[0.0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]])
XOR_LABELS = np.array([0.0, 0, 1, 1])


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def xor_loss(hidden: Any, output: Any) -> Any:
    """`hidden` [3, 3] and `output` [1, 3] are the weights."""
    predicted = jax.nn.sigmoid(jax.nn.sigmoid(XOR_INPUTS @ hidden.T) @ output[0])
    return jnp.sum(jnp.square(predicted - XOR_LABELS))


def xor_gradient(hidden: Any, output: Any) -> tuple[Any, Any]:
    hidden, output = np.asarray(hidden), np.asarray(output)
    dhidden, doutput = np.zeros_like(hidden), np.zeros_like(output)
    for x, label in zip(XOR_INPUTS, XOR_LABELS, strict=True):
        h = sigmoid(hidden @ x)
        y = sigmoid(output @ h)
        dz = 2 * (y - label) * y * (1 - y)
        doutput += np.outer(dz, h)
        dhidden = np.outer(dz * output[0] * h * (1 - h), x)  # BUG: = where += belongs
    return dhidden, doutput


def last_example_only() -> pn.Report:
    random = np.random.RandomState(0)
    weights = random.rand(3, 3), random.rand(1, 3)
    return report_of(pn.check_gradient, xor_gradient, xor_loss, *weights, argnums=(0, 1))


# One dense layer of a class, y = sigmoid(x weights + bias) on a mini-batch, and the class's cross entropy.

BATCH = np.random.default_rng(1).normal(size=(6, 4))  # six examples of four features
LABELS = np.array([1.0, 0, 0, 1, 1, 0])
DENSE = {"weights": np.random.default_rng(2).normal(size=(4, 3)), "bias": np.array([0.3, -0.2, 0.5])}


def dense_forward(params: Any, x: Any) -> Any:
    return jax.nn.sigmoid(x @ params["weights"] + params["bias"][None, :])


def sigmoid_slope(z: Any) -> Any:
    return jax.nn.sigmoid(z) * (1 - jax.nn.sigmoid(z))


def slope_at_upstream_backward(params: Any, x: Any, dy: Any) -> tuple[Any, Any]:
    dz = sigmoid_slope(dy)  # BUG: dy * sigmoid_slope(z) belongs here, with z = x weights + bias
    return {"weights": x.T @ dz, "bias": jnp.sum(dz, 0)}, dz @ params["weights"].T


def slope_at_upstream() -> pn.Report:
    return report_of(pn.check, (dense_forward, slope_at_upstream_backward), BATCH, params=DENSE)


def bias_from_upstream_backward(params: Any, x: Any, dy: Any) -> tuple[Any, Any]:
    dz = dy * sigmoid_slope(x @ params["weights"] + params["bias"][None, :])
    dbias = jnp.sum(dy, 0)  # BUG: dz, the cotangent of what the bias is added to, belongs here
    return {"weights": x.T @ dz, "bias": dbias}, dz @ params["weights"].T


def bias_from_upstream() -> pn.Report:
    return report_of(pn.check, (dense_forward, bias_from_upstream_backward), BATCH, params=DENSE)


def logistic_loss(weights: Any, x: Any, labels: Any) -> Any:
    """Binary cross entropy of sigmoid(x weights), the mean over the examples."""
    y = jax.nn.sigmoid(x @ weights)
    return -jnp.mean(labels * jnp.log(y) + (1 - labels) * jnp.log(1 - y))


def wrong_axis_gradient(weights: Any, x: Any, labels: Any) -> Any:
    dz = jax.nn.sigmoid(x @ weights) - labels
    return x.T @ dz / x.shape[1]  # BUG: the number of features; the mean is over x.shape[0] examples


def wrong_axis() -> pn.Report:
    weights = DENSE["weights"][:, 0]
    return report_of(pn.check_gradient, wrong_axis_gradient, logistic_loss, weights, BATCH, LABELS)


PROBABILITIES = np.array([0.7, 0.2, 1e-14, 0.9, 1e-12, 1.0])  # the third, the fifth and the last are clipped


def clip(probability: Any) -> Any:
    return jnp.clip(probability, 1e-10, 1 - 1e-10)


def clipped_cross_entropy(x: Any) -> Any:
    return -jnp.mean(LABELS * jnp.log(clip(x)) + (1 - LABELS) * jnp.log(1 - clip(x)))


def through_the_clip_backward(x: Any, dloss: Any) -> Any:
    slope = (1 - LABELS) / (1 - clip(x)) - LABELS / clip(x)
    return dloss * slope / x.shape[0]  # BUG: where the clip is active the derivative is 0


def through_the_clip() -> pn.Report:
    return report_of(pn.check, (clipped_cross_entropy, through_the_clip_backward), PROBABILITIES)


# Least mean squares: house prices from area and bedrooms, a column of ones, every column divided by its sum.

HOUSES = np.array([[1.0, 2104, 3], [1, 1600, 3], [1, 2400, 3], [1, 1416, 2], [1, 3000, 4]])
FEATURES, PRICES = HOUSES / np.sum(HOUSES, 0), np.array([400.0, 330, 369, 232, 540])


def half_squares(theta: Any) -> Any:
    return 0.5 * jnp.sum(jnp.square(FEATURES @ theta - PRICES))


def houses_gradient(theta: Any) -> Any:
    total = np.zeros_like(theta)
    for i in range(0, len(FEATURES) - 1):  # BUG: range leaves out its end already
        total += (FEATURES[i] @ theta - PRICES[i]) * FEATURES[i]
    return total


def skipped_example() -> pn.Report:
    return report_of(pn.check_gradient, houses_gradient, half_squares, np.array([0.0, 0.5, 0.5]))


# Nothing wrong with the next gradient. A 2-2-2 sigmoid network with a saturated hidden unit, in single precision.

SATURATED = {"W": np.array([[6.0, -3], [-2, 5]]), "V": np.array([[1.0, -2], [0.25, 2]])}
SATURATED_INPUT, SATURATED_TARGET = np.array([3.0, 1.0]), np.array([1.0, 0.0])


def saturated_forward(params: Any, x: Any) -> Any:
    h = jax.nn.sigmoid(x @ params["W"])
    y = jax.nn.sigmoid(h @ params["V"])
    return jnp.sum(jnp.square(y - SATURATED_TARGET.astype(x.dtype))), (x, h, y)


def saturated_backward(params: Any, residuals: Any, dloss: Any) -> tuple[Any, Any]:
    x, h, y = residuals
    dy = 2 * (y - SATURATED_TARGET.astype(x.dtype)) * dloss
    dv = dy * y * (1 - y)
    dw = params["V"] @ dv * h * (1 - h)  # h = 0.9999999: float32 keeps one digit of 1 - h
    return {"W": jnp.outer(x, dw), "V": jnp.outer(h, dv)}, params["W"] @ dw


def single_precision() -> pn.Report:
    pair = saturated_forward, saturated_backward
    return report_of(pn.check, pair, SATURATED_INPUT, params=SATURATED, dtype=jnp.float32)


def first_weight(dtype: Any) -> float:
    """The gradient of W[0, 0] in a dtype."""
    with jax.enable_x64(dtype == jnp.float64):
        params = {name: jnp.asarray(leaf, dtype) for name, leaf in SATURATED.items()}
        _, residuals = saturated_forward(params, jnp.asarray(SATURATED_INPUT, dtype))
        return float(saturated_backward(params, residuals, jnp.ones((), dtype))[0]["W"][0, 0])


def what_is_lost() -> str:
    single, double = first_weight(jnp.float32), first_weight(jnp.float64)
    return f"of the loss itself, dW[0, 0] is {single:.4e} in float32 and {double:.4e} in float64"


# Nor with this one. A cubic is fitted by gradient descent at rate 0.01, and the loss explodes. The points are spread so
# that it grows as fast as in the question, where they are not given.

CUBIC_X = np.linspace(-2.951, 2.951, 60)
CUBIC_Y = CUBIC_X**3 - 2 * CUBIC_X**2 - CUBIC_X + 1 + np.random.default_rng(3).normal(size=60)
CUBIC_START = np.array([0.02, 0.001, 0.002, -0.04])
POWERS = np.stack([CUBIC_X**3, CUBIC_X**2, CUBIC_X, np.ones_like(CUBIC_X)], 1)  # [points, coefficients]


def cubic_loss(coefficients: Any) -> Any:
    return jnp.mean(jnp.square(POWERS @ coefficients - CUBIC_Y))


def cubic_gradient(coefficients: Any) -> Any:
    return 2 / len(CUBIC_X) * (POWERS @ coefficients - CUBIC_Y) @ POWERS


def learning_rate() -> pn.Report:
    return report_of(pn.check_gradient, cubic_gradient, cubic_loss, CUBIC_START, learning_rate=0.01)


def after_steps(rate: float, steps: int) -> float:
    """The loss after steps of gradient descent."""
    coefficients = CUBIC_START
    for _ in range(steps):
        coefficients = coefficients - rate * cubic_gradient(coefficients)
    return float(np.mean(np.square(POWERS @ coefficients - CUBIC_Y)))


def descent() -> str:
    growth = after_steps(0.01, 100) / after_steps(0.01, 90)
    start, end = after_steps(0.0001, 0), after_steps(0.0001, 100)
    return f"at 0.01 the loss grows {growth:.1f}-fold in ten steps; at 0.0001 it falls from {start:.4g} to {end:.3g}"
