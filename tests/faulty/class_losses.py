"""Losses over the last axis: cross entropy, divergence and cosine of (predictions, targets)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .rows import Right
from .softmax import DISTRIBUTIONS, LABELS, LOG_PROBABILITIES, PAIR, SOFT, X, fault, total

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

FAULTS = [
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

RIGHTS: list[Right] = []
