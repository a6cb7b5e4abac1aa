"""Losses with one value an element: binary cross entropy, hinge and Poisson of (predictions, targets)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .rows import Right
from .softmax import COUNTS, SIGNS, SOFT, UNIT, X, fault


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


FAULTS = [
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

RIGHTS: list[Right] = []
