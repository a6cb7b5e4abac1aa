"""softmax, log_softmax and the losses; a loss takes the pair (predictions, targets)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from purenet import losses
from purenet.layers import activations as own

from .rows import Fault, Right, integers, normal, uniform

X = normal(61, 5, 7, scale=1.5)
TARGETS = normal(62, 5, 7)
PAIR = (X, TARGETS)
SIGNS = np.where(normal(63, 5, 7) > 0, 1.0, -1.0)
COUNTS = integers(64, 5, 7, below=6).astype(np.float64)
UNIT = uniform(65, 5, 7, low=0.02, high=0.98)
SOFT = uniform(66, 5, 7, low=0.05, high=0.95)
LABELS = np.array([3, 0, 6, 3, 1])
WEIGHTS = normal(67, 5, 7) ** 2
DISTRIBUTIONS = WEIGHTS / np.sum(WEIGHTS, -1, keepdims=True)
LOG_PROBABILITIES = X - np.log(np.sum(np.exp(X), -1, keepdims=True))


def fault(name: str, pair: Any, kinds: tuple[str, ...], says: str, x: Any = X) -> Fault:
    return Fault(name, pair, x, None, kinds, says)


def total(x: Any) -> Any:
    return jnp.sum(x, -1, keepdims=True)


# softmax


def softmax(x: Any) -> Any:
    largest = jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True))
    e = jnp.exp(x - largest)
    normalizer = jnp.sum(e, -1, keepdims=True)
    return e / normalizer


def softmax_backward(y: Any, dy: Any) -> Any:
    return y * (dy - total(y * dy))


def twice(y: Any, dy: Any) -> Any:
    return softmax_backward(y, softmax_backward(y, dy))


def batch_softmax(y: Any, dy: Any) -> Any:
    return y * (dy - jnp.sum(y * dy, 0, keepdims=True))


def with_temperature(x: Any) -> Any:
    scaled = x / 2.5
    return jax.nn.softmax(scaled, -1)


def log_softmax_backward(y: Any, dy: Any) -> Any:
    return dy - jnp.exp(y) * total(dy)


SOFTMAX, LOG_SOFTMAX = (lambda x: own.softmax_forward(x, -1)), (lambda x: own.log_softmax_forward(x, -1))

FAULTS = [
    fault("softmax: Jacobian's diagonal alone", (softmax, lambda y, dy: y * (1 - y) * dy), ("diagonal",), "diagonal"),
    fault(
        "softmax: sum left out", (softmax, lambda y, dy: y * dy), ("path_missing", "diagonal"), "sum|div|normali|path"
    ),
    fault("softmax: sum over the batch", (softmax, batch_softmax), ("coupling",), "batch|example|axis"),
    fault(
        "softmax: mean instead of sum",
        (softmax, lambda y, dy: y * (dy - jnp.mean(y * dy, -1, keepdims=True))),
        ("path_scaled",),
        "1/7|sum|mean",
    ),
    fault(
        "softmax: sum of dy alone",
        (softmax, lambda y, dy: y * (dy - total(dy))),
        ("wrong_operand", "path_scaled", "local_derivative", "wrong_cotangent"),
        "",
    ),
    fault(
        "softmax: sign of the sum", (softmax, lambda y, dy: y * (dy + total(y * dy))), ("path_sign",), "sign|negat|-1"
    ),
    fault("softmax: applied twice", (softmax, twice), ("local_derivative", "path_doubled"), "twice|again|squar|doubl"),
    fault(
        "softmax: not multiplied by y",
        (softmax, lambda y, dy: dy - total(y * dy)),
        ("local_derivative", "wrong_operand"),
        "",
    ),
    fault(
        "purenet's softmax: Jacobian's diagonal alone",
        (SOFTMAX, lambda y, dy: y * (1 - y) * dy),
        ("diagonal",),
        "diagonal",
    ),
    fault("purenet's softmax: sum over the batch", (SOFTMAX, batch_softmax), ("coupling",), "batch|example|axis"),
    fault(
        "softmax with temperature: temperature forgotten",
        (with_temperature, softmax_backward),
        ("scaled",),
        r"2\.5|5/2",
    ),
    fault(
        "softmax with temperature: temperature multiplied",
        (with_temperature, lambda y, dy: 2.5 * softmax_backward(y, dy)),
        ("scaled",),
        r"6\.25|25/4|2\.5",
    ),
    fault(
        "log_softmax: sum left out",
        (LOG_SOFTMAX, lambda dy: dy),
        ("path_missing", "diagonal", "two_paths"),
        "sum|exp|path|normali|diagonal",
    ),
    fault(
        "log_softmax: exp forgotten",
        (LOG_SOFTMAX, lambda y, dy: dy - y * total(dy)),
        ("local_derivative", "wrong_operand"),
        "exp|log|derivative|operand",
    ),
    fault(
        "log_softmax: backward of softmax",
        (LOG_SOFTMAX, lambda y, dy: softmax_backward(jnp.exp(y), dy)),
        ("local_derivative",),
        "log|derivative",
    ),
    fault(
        "log_softmax: sum over the batch",
        (LOG_SOFTMAX, lambda y, dy: dy - jnp.exp(y) * jnp.sum(dy, 0, keepdims=True)),
        ("coupling",),
        "batch|example|axis",
    ),
]


# Losses with one value an element.


def squared_error(x: Any) -> Any:
    predictions, targets = x
    error = predictions - targets
    square = error**2
    return jnp.mean(square)


def squared_error_backward(x: Any, dy: Any) -> Any:
    predictions, targets = x
    dpredictions = 2 * (predictions - targets) * dy / predictions.size
    return dpredictions, -dpredictions


def scaled_by(factor: Callable[[Any], float]) -> Any:
    """The squared error with both gradients too large by factor(predictions)."""

    def backward(x: Any, dy: Any) -> Any:
        dpredictions, dtargets = squared_error_backward(x, dy)
        return factor(x[0]) * dpredictions, factor(x[0]) * dtargets

    return squared_error, backward


def batch_squared_error(x: Any) -> Any:
    predictions, targets = x
    values = jnp.sum((predictions - targets) ** 2, -1)
    return 0.5 * jnp.mean(values)


def batch_squared_error_with(divisor: Callable[[Any], float]) -> Any:
    def backward(x: Any, dy: Any) -> Any:
        predictions, targets = x
        dpredictions = (predictions - targets) * dy / divisor(predictions)
        return dpredictions, -dpredictions

    return batch_squared_error, backward


def error_pair(forward: Callable[..., Any], slope: Callable[[Any], Any]) -> Any:
    """A loss of the error p - t, averaged, from its derivative."""

    def backward(x: Any, dy: Any) -> Any:
        predictions, targets = x
        dpredictions = slope(predictions - targets) * dy / predictions.size
        return dpredictions, -dpredictions

    return forward, backward


def huber(x: Any) -> Any:
    predictions, targets = x
    error = predictions - targets
    size = jnp.abs(error)
    inside = 0.5 * error**2
    outside = 0.6 * (size - 0.3)
    values = jnp.where(size <= 0.6, inside, outside)
    return jnp.mean(values)


def log_cosh(x: Any) -> Any:
    predictions, targets = x
    error = predictions - targets
    values = jnp.log(jnp.cosh(error))
    return jnp.mean(values)


def absolute_error(x: Any) -> Any:
    predictions, targets = x
    return jnp.mean(jnp.abs(predictions - targets))


def sigmoid_bce(x: Any) -> Any:
    logits, labels = x
    values = jax.nn.softplus(logits) - labels * logits
    return jnp.mean(values)


def sigmoid_bce_with(dlogits: Callable[[Any, Any], Any], dlabels: Callable[[Any, Any], Any] = lambda z, t: -z) -> Any:
    def backward(x: Any, dy: Any) -> Any:
        logits, labels = x
        dvalues = dy / logits.size
        return dlogits(logits, labels) * dvalues, dlabels(logits, labels) * dvalues

    return sigmoid_bce, backward


def clipped_bce(x: Any) -> Any:
    probabilities, labels = x
    p = jnp.clip(probabilities, 0.1, 0.9)
    values = -labels * jnp.log(p) - (1 - labels) * jnp.log(1 - p)
    return jnp.mean(values)


def clipped_bce_with(mistake: str = "") -> Any:
    def backward(x: Any, dy: Any) -> Any:
        probabilities, labels = x
        inside = (probabilities > 0.1) & (probabilities < 0.9)
        p = jnp.clip(probabilities, 0.1, 0.9)
        dvalues = dy / p.size
        if mistake == "eps":
            p = probabilities + 1e-3
        slope = (p - labels) / (p * (1 - p))
        if mistake == "second":
            slope = -labels / p
        if mistake == "sign":
            slope = -labels / p - (1 - labels) / (1 - p)
        if mistake == "logits":
            slope = p - labels
        gated = slope if mistake == "gate" else jnp.where(inside, slope, 0.0)
        dlabels = -jnp.log(p) if mistake == "labels" else jnp.log(1 - p) - jnp.log(p)
        return gated * dvalues, dlabels * dvalues

    return clipped_bce, backward


def hinge(x: Any) -> Any:
    scores, signs = x
    margin = 1 - scores * signs
    return jnp.mean(jnp.maximum(margin, 0.0))


def hinge_with(mistake: str = "") -> Any:
    def backward(x: Any, dy: Any) -> Any:
        scores, signs = x
        dmargin = jnp.where(scores * signs < 1, dy / scores.size, 0.0)
        if mistake == "gate":
            dmargin = jnp.full_like(scores, 1.0) * dy / scores.size
        if mistake == "zero":
            dmargin = jnp.where(scores * signs < 0, dy / scores.size, 0.0)
        dscores = -dmargin if mistake == "signs" else -signs * dmargin
        return dscores, -scores * dmargin

    return hinge, backward


def poisson(x: Any) -> Any:
    log_rates, counts = x
    rates = jnp.exp(log_rates)
    return jnp.mean(rates - counts * log_rates)


def poisson_with(dlog_rates: Callable[[Any, Any], Any], dcounts: Callable[[Any, Any], Any] = lambda p, t: -p) -> Any:
    def backward(x: Any, dy: Any) -> Any:
        p, t = x
        return dlog_rates(p, t) * dy / p.size, dcounts(p, t) * dy / p.size

    return poisson, backward


FAULTS += [
    fault(
        "squared error: factor of the square missing",
        scaled_by(lambda p: 0.5),
        ("scaled", "path_scaled"),
        "1/2|0.5|half",
        PAIR,
    ),
    fault("squared error: mean forgotten", scaled_by(lambda p: p.size), ("scaled",), r"35|\b5\b|mean|number", PAIR),
    fault(
        "squared error: divided by the examples alone",
        scaled_by(lambda p: p.shape[1]),
        ("scaled",),
        r"\b7\b|feature",
        PAIR,
    ),
    fault("squared error: divided by the features alone", scaled_by(len), ("scaled",), r"\b5\b|example|batch", PAIR),
    fault("squared error: sign", scaled_by(lambda p: -1), ("scaled",), "sign|-1|negat", PAIR),
    fault(
        "squared error: same sign for the targets",
        (squared_error, lambda x, dy: (squared_error_backward(x, dy)[0],) * 2),
        ("scaled",),
        "sign|-1|negat",
        PAIR,
    ),
    fault(
        "squared error: no gradient of the targets",
        (squared_error, lambda x, dy: (squared_error_backward(x, dy)[0], None)),
        ("missing_gradient", "wrong_tree"),
        "missing|None",
        PAIR,
    ),
    fault(
        "squared error: targets held constant",
        (squared_error, lambda x, dy: (squared_error_backward(x, dy)[0], jnp.zeros_like(x[1]))),
        ("zero",),
        r"zero|\b0\b",
        PAIR,
    ),
    fault(
        "squared error: upstream gradient forgotten",
        (squared_error, lambda x, dy: squared_error_backward(x, 1.0)),
        ("cotangent_ignored",),
        "upstream|ignor",
        PAIR,
    ),
    fault(
        "squared error: upstream gradient twice",
        (squared_error, lambda x, dy: squared_error_backward(x, dy * dy)),
        ("not_linear",),
        "linear|twice|squar",
        PAIR,
    ),
    fault(
        "squared error: error forgotten",
        (squared_error, lambda x, dy: (2 * x[0] * dy / x[0].size, -2 * x[0] * dy / x[0].size)),
        ("wrong_operand", "extra_term", "local_derivative", "path_missing"),
        "",
        PAIR,
    ),
    fault(
        "squared error an example: divided by all elements",
        batch_squared_error_with(lambda p: p.size),
        ("scaled",),
        "1/7|feature",
        PAIR,
    ),
    fault(
        "squared error an example: not divided",
        batch_squared_error_with(lambda p: 1),
        ("scaled",),
        r"\b5\b|example|batch",
        PAIR,
    ),
    fault(
        "squared error an example: two kept",
        batch_squared_error_with(lambda p: 0.5 * len(p)),
        ("scaled",),
        r"\b2\b|twice|doubl",
        PAIR,
    ),
    fault(
        "absolute error: error instead of its sign",
        error_pair(absolute_error, lambda e: e),
        ("local_derivative", "wrong_operand"),
        "abs|sign|derivative|value",
        PAIR,
    ),
    fault(
        "huber: quadratic everywhere",
        error_pair(huber, lambda e: e),
        ("forward_variant", "local_derivative", "wrong_operand"),
        "",
        PAIR,
    ),
    fault(
        "huber: slope one outside",
        error_pair(huber, lambda e: jnp.where(jnp.abs(e) <= 0.6, e, jnp.sign(e))),
        ("path_scaled",),
        r"5/3|1\.6|abs|where|path|0\.6",
        PAIR,
    ),
    fault(
        "huber: sign forgotten outside",
        error_pair(huber, lambda e: jnp.where(jnp.abs(e) <= 0.6, e, 0.6)),
        ("local_derivative",),
        "abs|sign",
        PAIR,
    ),
    fault(
        "huber: another delta",
        error_pair(huber, lambda e: jnp.clip(e, -1.0, 1.0)),
        ("forward_variant", "local_derivative"),
        "",
        PAIR,
    ),
    fault(
        "huber: gate upside down",
        error_pair(huber, lambda e: jnp.where(jnp.abs(e) > 0.6, e, 0.6 * jnp.sign(e))),
        ("local_derivative", "two_paths"),
        "",
        PAIR,
    ),
    fault(
        "log_cosh: tanh of half",
        error_pair(log_cosh, lambda e: jnp.tanh(0.5 * e)),
        ("local_derivative", "forward_variant"),
        "",
        PAIR,
    ),
    fault("log_cosh: sinh alone", error_pair(log_cosh, jnp.sinh), ("local_derivative",), "log|derivative|div", PAIR),
    fault("log_cosh: reciprocal", error_pair(log_cosh, lambda e: 1 / jnp.tanh(e)), ("local_derivative",), "", PAIR),
    fault(
        "sigmoid BCE: labels forgotten",
        sigmoid_bce_with(lambda z, t: jax.nn.sigmoid(z)),
        ("path_missing",),
        "label|path|mul",
        (X, SOFT),
    ),
    fault(
        "sigmoid BCE: sigmoid forgotten",
        sigmoid_bce_with(lambda z, t: z - t),
        ("local_derivative",),
        "softplus|logaddexp|derivative|sigmoid",
        (X, SOFT),
    ),
    fault(
        "sigmoid BCE: slope of the sigmoid once more",
        sigmoid_bce_with(lambda z, t: (jax.nn.sigmoid(z) - t) * jax.nn.sigmoid(z) * (1 - jax.nn.sigmoid(z))),
        ("local_derivative", "slices", "forward_variant"),
        "",
        (X, SOFT),
    ),
    fault(
        "sigmoid BCE: sign",
        sigmoid_bce_with(lambda z, t: t - jax.nn.sigmoid(z)),
        ("scaled",),
        "sign|-1|negat",
        (X, SOFT),
    ),
    fault(
        "sigmoid BCE: sign of the labels' gradient",
        sigmoid_bce_with(lambda z, t: jax.nn.sigmoid(z) - t, lambda z, t: z),
        ("scaled",),
        "sign|-1|negat",
        (X, SOFT),
    ),
    fault(
        "clipped BCE: gate of the clip missing",
        clipped_bce_with("gate"),
        ("support", "local_derivative"),
        r"clip|zero|\b0\b|gate",
        (UNIT, SOFT),
    ),
    fault("clipped BCE: second term missing", clipped_bce_with("second"), ("path_missing",), "log|path", (UNIT, SOFT)),
    fault(
        "clipped BCE: sign of the second term", clipped_bce_with("sign"), ("path_sign",), "sign|negat|-1", (UNIT, SOFT)
    ),
    fault(
        "clipped BCE: eps added instead of clipped",
        clipped_bce_with("eps"),
        ("forward_variant", "wrong_operand", "local_derivative"),
        "",
        (UNIT, SOFT),
    ),
    fault(
        "clipped BCE: the rule of logits",
        clipped_bce_with("logits"),
        ("local_derivative",),
        "derivative|log|sigmoid",
        (UNIT, SOFT),
    ),
    fault(
        "clipped BCE: labels' second term missing",
        clipped_bce_with("labels"),
        ("path_missing",),
        "log|path|1 -",
        (UNIT, SOFT),
    ),
    fault(
        "hinge: gate missing", hinge_with("gate"), ("support", "local_derivative"), r"gate|max|zero|\b0\b", (X, SIGNS)
    ),
    fault(
        "hinge: margin of zero",
        hinge_with("zero"),
        ("forward_variant", "slices", "support", "local_derivative"),
        "",
        (X, SIGNS),
    ),
    fault(
        "hinge: signs forgotten",
        hinge_with("signs"),
        ("local_derivative", "wrong_operand", "path_missing"),
        "",
        (X, SIGNS),
    ),
    fault(
        "poisson: counts forgotten",
        poisson_with(lambda p, t: jnp.exp(p)),
        ("path_missing",),
        "count|path|mul",
        (X, COUNTS),
    ),
    fault(
        "poisson: exp forgotten", poisson_with(lambda p, t: 1 - t), ("local_derivative",), "exp|derivative", (X, COUNTS)
    ),
    fault(
        "poisson: rates for log rates",
        poisson_with(lambda p, t: jnp.exp(p) - t, lambda p, t: -jnp.exp(p)),
        ("wrong_operand", "local_derivative"),
        "exp|operand|value|count|derivative",
        (X, COUNTS),
    ),
]


# Losses over the last axis.


def cross_entropy(x: Any) -> Any:
    logits, labels = x
    largest = jnp.max(logits, -1, keepdims=True)
    shifted = logits - largest
    log_normalizer = jnp.log(jnp.sum(jnp.exp(shifted), -1, keepdims=True))
    log_probabilities = shifted - log_normalizer
    picked = jnp.take_along_axis(log_probabilities, labels[:, None], -1)
    return -jnp.mean(picked)


def cross_entropy_with(dlogits: Callable[[Any, Any], Any]) -> Any:
    """dlogits(probabilities, one-hot labels), still to be divided by the examples."""

    def backward(x: Any, dy: Any) -> Any:
        logits, labels = x
        one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        return dlogits(jax.nn.softmax(logits, -1), one_hot) * dy / len(logits), None

    return cross_entropy, backward


def one_hot_cross_entropy(x: Any) -> Any:
    logits, target = x
    log_probabilities = jax.nn.log_softmax(logits, -1)
    values = -jnp.sum(target * log_probabilities, -1)
    return jnp.mean(values)


def one_hot_cross_entropy_with(mistake: str = "") -> Any:
    def backward(x: Any, dy: Any) -> Any:
        logits, target = x
        dvalue = dy / len(logits)
        p = jax.nn.softmax(logits, -1)
        weight = 1.0 if mistake == "weight" else total(target)
        dlogits = (p * weight - target) * dvalue
        if mistake == "probabilities":
            return dlogits, -p * dvalue
        if mistake == "sign":
            return dlogits, jnp.log(p) * dvalue
        return dlogits, -jnp.log(p) * dvalue

    return one_hot_cross_entropy, backward


def smoothed_cross_entropy(x: Any) -> Any:
    logits, labels = x
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    target = 0.8 * one_hot + 0.2 / logits.shape[-1]
    log_probabilities = jax.nn.log_softmax(logits, -1)
    return -jnp.mean(jnp.sum(target * log_probabilities, -1))


def smoothed_cross_entropy_with(keep: float, rest: float) -> Any:
    def backward(x: Any, dy: Any) -> Any:
        logits, labels = x
        one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        target = keep * one_hot + rest / logits.shape[-1]
        return (jax.nn.softmax(logits, -1) - target) * dy / len(logits), None

    return smoothed_cross_entropy, backward


MASK = np.array([True, False, True, True, False])


def masked_cross_entropy(x: Any) -> Any:
    logits, labels, mask = x
    log_probabilities = jax.nn.log_softmax(logits, -1)
    picked = jnp.take_along_axis(log_probabilities, labels[:, None], -1)[:, 0]
    kept = jnp.where(mask, picked, 0.0)
    count = jnp.sum(mask, dtype=logits.dtype)
    return -jnp.sum(kept) / count


def masked_cross_entropy_with(mistake: str = "") -> Any:
    def backward(x: Any, dy: Any) -> Any:
        logits, labels, mask = x
        one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        count = len(logits) if mistake == "count" else jnp.sum(mask, dtype=logits.dtype)
        dlogits = (jax.nn.softmax(logits, -1) - one_hot) * dy / count
        if mistake != "mask":
            dlogits = jnp.where(mask[:, None], dlogits, 0.0)
        return dlogits, None, None

    return masked_cross_entropy, backward


def kl(x: Any) -> Any:
    log_predictions, targets = x
    log_ratio = jnp.log(targets) - log_predictions
    values = jnp.sum(targets * log_ratio, -1)
    return jnp.mean(values)


def kl_with(mistake: str = "") -> Any:
    def backward(x: Any, dy: Any) -> Any:
        p, t = x
        dvalue = dy / len(p)
        dp = jnp.exp(p) - t if mistake == "softmax" else -t
        dt = jnp.log(t) - p if mistake == "one" else jnp.log(t) + 1 - p
        if mistake == "reversed":
            dp, dt = dt, dp
        if mistake == "elements":
            dvalue = dy / p.size
        return dp * dvalue, dt * dvalue

    return kl, backward


def cosine(x: Any) -> Any:
    a, b = x
    product = jnp.sum(a * b, -1)
    a_length = jnp.sqrt(jnp.sum(a**2, -1))
    b_length = jnp.sqrt(jnp.sum(b**2, -1))
    similarity = product / (a_length * b_length)
    return jnp.mean(similarity)


def cosine_with(mistake: str = "") -> Any:
    def one(a: Any, b: Any, dvalue: Any) -> Any:
        a_length = jnp.sqrt(total(a**2))
        b_length = jnp.sqrt(total(b**2))
        similarity = total(a * b) / (a_length * b_length)
        if mistake == "length":
            return b / (a_length * b_length) * dvalue
        if mistake == "unit":
            return (b / b_length - similarity * a / a_length) * dvalue
        if mistake == "sign":
            return (b / b_length + similarity * a / a_length) * dvalue / a_length
        if mistake == "batch":
            similarity = jnp.mean(similarity)
        return (b / b_length - similarity * a / a_length) * dvalue / a_length

    def backward(x: Any, dy: Any) -> Any:
        a, b = x
        dvalue = dy / len(a)
        right = cosine_with()[1](x, dy)[1] if mistake else one(b, a, dvalue)
        return one(a, b, dvalue), right

    return cosine, backward


CE, SMOOTHED = (X, LABELS), (X, LABELS)
ONE_HOT = (X, SOFT)  # rows that do not sum to one

FAULTS += [
    fault(
        "cross entropy: one-hot not subtracted",
        cross_entropy_with(lambda p, t: p),
        ("path_missing", "two_paths"),
        "pick|gather|take|label|path",
        CE,
    ),
    fault("cross entropy: sign", cross_entropy_with(lambda p, t: t - p), ("scaled",), "sign|-1|negat", CE),
    fault(
        "cross entropy: probabilities forgotten",
        cross_entropy_with(lambda p, t: -t),
        ("path_missing", "two_paths"),
        "",
        CE,
    ),
    fault(
        "cross entropy: mean forgotten",
        cross_entropy_with(lambda p, t: (p - t) * len(p)),
        ("scaled",),
        r"\b5\b|example|batch",
        CE,
    ),
    fault(
        "cross entropy: divided by the classes too",
        cross_entropy_with(lambda p, t: (p - t) / p.shape[1]),
        ("scaled",),
        "1/7|class|feature",
        CE,
    ),
    fault(
        "cross entropy: softmax on top",
        cross_entropy_with(lambda p, t: p * ((p - t) - total(p * (p - t)))),
        ("local_derivative", "path_doubled", "forward_variant"),
        "",
        CE,
    ),
    fault(
        "cross entropy: only the label's class",
        cross_entropy_with(lambda p, t: t * (p - t)),
        ("diagonal", "support", "slices", "path_missing", "local_derivative"),
        "",
        CE,
    ),
    fault(
        "cross entropy: slope of the log instead",
        cross_entropy_with(lambda p, t: -t / p),
        ("local_derivative", "wrong_operand", "two_paths", "path_missing"),
        "",
        CE,
    ),
    fault(
        "cross entropy: softmax over the batch",
        (
            cross_entropy,
            lambda x, dy: ((jax.nn.softmax(x[0], 0) - jax.nn.one_hot(x[1], 7, dtype=x[0].dtype)) * dy / 5, None),
        ),
        ("coupling", "wrong_operand", "forward_variant", "local_derivative"),
        "",
        CE,
    ),
    fault(
        "cross entropy: labels shifted by one",
        cross_entropy_with(lambda p, t: p - jnp.roll(t, 1, -1)),
        ("wrong_operand", "shifted", "forward_variant"),
        "",
        CE,
    ),
    fault(
        "cross entropy of distributions: weight of the target",
        one_hot_cross_entropy_with("weight"),
        ("path_scaled", "slices", "local_derivative", "forward_variant", "wrong_operand"),
        "",
        ONE_HOT,
    ),
    fault(
        "cross entropy of distributions: probabilities for logarithms",
        one_hot_cross_entropy_with("probabilities"),
        ("wrong_operand", "local_derivative"),
        "",
        ONE_HOT,
    ),
    fault(
        "cross entropy of distributions: sign of the labels' gradient",
        one_hot_cross_entropy_with("sign"),
        ("scaled",),
        "sign|-1|negat",
        ONE_HOT,
    ),
    fault(
        "smoothed cross entropy: smoothing forgotten",
        smoothed_cross_entropy_with(1.0, 0.0),
        ("forward_variant", "extra_term", "wrong_operand"),
        "",
        SMOOTHED,
    ),
    fault(
        "smoothed cross entropy: uniform part forgotten",
        smoothed_cross_entropy_with(0.8, 0.0),
        ("extra_term", "forward_variant", "path_missing"),
        "",
        SMOOTHED,
    ),
    fault(
        "smoothed cross entropy: uniform part not divided",
        smoothed_cross_entropy_with(0.8, 7 * 0.2),
        ("extra_term", "forward_variant", "path_scaled"),
        "",
        SMOOTHED,
    ),
    fault(
        "masked cross entropy: mask ignored",
        masked_cross_entropy_with("mask"),
        ("support", "forward_variant", "slices"),
        r"mask|zero|\b0\b|example",
        (X, LABELS, MASK),
    ),
    fault(
        "masked cross entropy: all examples counted",
        masked_cross_entropy_with("count"),
        ("scaled",),
        "3/5|0.6",
        (X, LABELS, MASK),
    ),
    fault(
        "kl: the rule of softmax",
        kl_with("softmax"),
        ("extra_term", "forward_variant", "local_derivative"),
        "",
        (LOG_PROBABILITIES, DISTRIBUTIONS),
    ),
    fault(
        "kl: product rule's one forgotten",
        kl_with("one"),
        ("path_missing",),
        "log|path",
        (LOG_PROBABILITIES, DISTRIBUTIONS),
    ),
    fault(
        "kl: gradients exchanged",
        kl_with("reversed"),
        ("swapped_leaves",),
        "swap|exchang|order",
        (LOG_PROBABILITIES, DISTRIBUTIONS),
    ),
    fault(
        "kl: averaged over the classes too",
        kl_with("elements"),
        ("scaled",),
        "1/7|class|feature",
        (LOG_PROBABILITIES, DISTRIBUTIONS),
    ),
    fault("cosine: length held constant", cosine_with("length"), ("path_missing",), "sqrt|length|path", PAIR),
    fault(
        "cosine: divided by the length once less",
        cosine_with("unit"),
        ("slices", "local_derivative", "wrong_operand"),
        "",
        PAIR,
    ),
    fault("cosine: sign of the projection", cosine_with("sign"), ("path_sign",), "sign|negat|-1", PAIR),
    fault(
        "cosine: mean similarity for each",
        cosine_with("batch"),
        ("coupling", "path_scaled", "wrong_operand", "slices"),
        "",
        PAIR,
    ),
]


def replaced(layer: pn.Layer, change: Callable[[Any, Any], Any]) -> pn.Layer:
    """change(dpredictions, dtargets) of what the loss's own backward gives."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, dx = layer.backward(params, x, y, residuals, dy)
        return dparams, change(*dx)

    return layer.replace(backward=backward)


FAULTS += [
    fault(
        "pn.softmax_cross_entropy: summed",
        replaced(losses.softmax_cross_entropy(), lambda dp, dt: (5 * dp, dt)),
        ("scaled",),
        r"\b5\b|example|batch",
        CE,
    ),
    fault(
        "pn.softmax_cross_entropy: last example left out",
        replaced(losses.softmax_cross_entropy(), lambda dp, dt: (dp.at[-1].set(0.0), dt)),
        ("slices",),
        "last|example|axis 0",
        CE,
    ),
    fault(
        "pn.squared_error: targets' gradient with the same sign",
        replaced(losses.squared_error("sum"), lambda dp, dt: (dp, dp)),
        ("scaled",),
        "sign|-1|negat",
        PAIR,
    ),
    fault(
        "pn.huber: predictions in float32",
        replaced(losses.huber(), lambda dp, dt: (dp.astype(jnp.float32), dt)),
        ("wrong_dtype",),
        "float32",
        PAIR,
    ),
    fault(
        "pn.poisson_nll: gradients exchanged",
        replaced(losses.poisson_nll(), lambda dp, dt: (dt, dp)),
        ("swapped_leaves",),
        "swap|exchang|order",
        (X, COUNTS),
    ),
    fault(
        "pn.cosine_distance: sign",
        replaced(losses.cosine_distance(), lambda dp, dt: (-dp, -dt)),
        ("scaled",),
        "sign|-1|negat",
        PAIR,
    ),
    fault(
        "pn.hinge: examples reversed",
        replaced(losses.hinge(), lambda dp, dt: (dp[::-1], dt)),
        ("flipped",),
        "revers|flip|order",
        (X, SIGNS),
    ),
]

SATURATED = np.array([[60.0, -40.0, 0.0], [-700.0, 5.0, 5.5]])

RIGHTS = [
    Right("softmax", (softmax, softmax_backward), X),
    Right("pn.softmax over the first axis", pn.softmax(axis=0), X),
    Right("pn.softmax of one class", pn.softmax(), normal(68, 5, 1)),
    Right("pn.softmax, saturated", pn.softmax(), SATURATED),
    Right("pn.log_softmax, saturated", pn.log_softmax(), SATURATED),
    Right("softmax with temperature", (with_temperature, lambda y, dy: softmax_backward(y, dy) / 2.5), X),
    Right("squared error", (squared_error, squared_error_backward), PAIR),
    Right("squared error an example", batch_squared_error_with(len), PAIR),
    Right("huber", error_pair(huber, lambda e: jnp.clip(e, -0.6, 0.6)), PAIR),
    Right("log_cosh", error_pair(log_cosh, jnp.tanh), PAIR),
    Right("sigmoid BCE", sigmoid_bce_with(lambda z, t: jax.nn.sigmoid(z) - t), (X, SOFT)),
    Right("clipped BCE", clipped_bce_with(), (UNIT, SOFT)),
    Right("hinge", hinge_with(), (X, SIGNS)),
    Right("poisson", poisson_with(lambda p, t: jnp.exp(p) - t), (X, COUNTS)),
    Right("cross entropy", cross_entropy_with(lambda p, t: p - t), CE),
    Right("cross entropy, one example", cross_entropy_with(lambda p, t: p - t), (X[:1], LABELS[:1])),
    Right("cross entropy of distributions", one_hot_cross_entropy_with(), ONE_HOT),
    Right("smoothed cross entropy", smoothed_cross_entropy_with(0.8, 0.2), SMOOTHED),
    Right("masked cross entropy", masked_cross_entropy_with(), (X, LABELS, MASK)),
    Right("kl", kl_with(), (LOG_PROBABILITIES, DISTRIBUTIONS)),
    Right("cosine", cosine_with(), PAIR),
    Right("pn.squared_error, float32", losses.squared_error(), (X.astype(np.float32), TARGETS.astype(np.float32))),
    Right("pn.huber", losses.huber(delta=0.6), PAIR),
    Right("pn.log_cosh, far tails", losses.log_cosh(), (X * 200, TARGETS)),
    Right("pn.sigmoid_binary_cross_entropy, far tails", losses.sigmoid_binary_cross_entropy(), (X * 300, SOFT)),
    Right("pn.binary_cross_entropy", losses.binary_cross_entropy(clip=0.1), (UNIT, SOFT)),
    Right("pn.hinge", losses.hinge("sum"), (X, SIGNS)),
    Right("pn.kl_divergence", losses.kl_divergence(), (LOG_PROBABILITIES, DISTRIBUTIONS)),
    Right("pn.cosine_distance", losses.cosine_distance(), PAIR),
    Right("pn.softmax_cross_entropy", losses.softmax_cross_entropy(), CE),
    Right(
        "pn.softmax_cross_entropy, smoothed, steps",
        losses.softmax_cross_entropy(label_smoothing=0.2),
        (normal(69, 2, 3, 7), integers(70, 2, 3, below=7)),
    ),
    Right("pn.softmax_cross_entropy with a mask", losses.softmax_cross_entropy(), (X, (LABELS, MASK))),
]
