"""Networks of purenet's combinators with one layer whose backward has a mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import purenet as pn
from purenet import losses

from .rows import Fault, Right, normal

X = normal(161, 5, 7)
TARGETS = normal(162, 5, 11)
LABELS = np.array([3, 0, 6, 3, 1])


def bad(layer: pn.Layer, change: Callable[[Any, Any], Any]) -> pn.Layer:
    """change(dparams, dx) of what the layer's own backward gives."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        return change(*layer.backward(params, x, y, residuals, dy))

    return layer.replace(backward=backward)


def with_slope(layer: pn.Layer, slope: Callable[[Any], Any]) -> pn.Layer:
    """An activation whose backward multiplies dy by slope(y)."""
    return layer.replace(backward=lambda params, x, y, residuals, dy: ((), slope(y) * dy), needs=("y",))


def leaf(name: str, rule: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda dparams, dx: (dparams | {name: rule(dparams[name])}, dx)


def input_gradient(rule: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda dparams, dx: (dparams, rule(dx))


def fault(name: str, layer: pn.Layer, kinds: tuple[str, ...], says: str, at: str, x: Any = X) -> Fault:
    return Fault(f"network: {name}", layer, x, None, kinds, says, at)


def block(**changed: pn.Layer) -> pn.Layer:
    parts = {"norm": pn.layer_norm(), "up": pn.dense(11), "act": pn.gelu(), "down": pn.dense(7)}
    return pn.residual(pn.serial(**(parts | changed)))


def norm_without_mean() -> pn.Layer:
    norm = pn.layer_norm(use_scale=False, use_bias=False)

    def backward(params: Any, x: Any, y: Any, statistics: Any, dy: Any) -> Any:
        mean, rstd = statistics
        xhat = (x - mean) * rstd
        return {}, rstd * (dy - xhat * jnp.mean(dy * xhat, -1, keepdims=True))

    return norm.replace(backward=backward)


def softmax_diagonal() -> pn.Layer:
    return with_slope(pn.softmax(), lambda y: y * (1 - y))


HALF_KERNEL = leaf("kernel", lambda g: 0.5 * g)
LAST_BIAS = leaf("bias", lambda g: g.at[-1].set(0.0))
NEGATIVE_DX = input_gradient(lambda dx: -dx)
DOUBLE_DX = input_gradient(lambda dx: 2 * dx)
FIFTH = leaf("kernel", lambda g: g / 5)
TRANSPOSED = leaf("kernel", lambda g: g.T)
NO_BIAS = leaf("bias", jnp.zeros_like)

FAULTS = [
    fault(
        "dense behind tanh, kernel halved",
        pn.serial(pn.tanh(), bad(pn.dense(11), HALF_KERNEL)),
        ("scaled",),
        "1/2|0.5|half",
        "serial[1].dense",
    ),
    fault(
        "first of three, dx negative",
        pn.serial(bad(pn.dense(11), NEGATIVE_DX), pn.gelu(), pn.dense(3)),
        ("scaled",),
        "sign|-1|negat",
        "serial[0].dense",
    ),
    fault(
        "last of three, dx doubled",
        pn.serial(pn.dense(11), pn.gelu(), bad(pn.dense(3), DOUBLE_DX)),
        ("scaled",),
        r"\b2\b|twice|doubl",
        "serial[2].dense",
    ),
    fault(
        "last of five, kernel transposed",
        pn.serial(pn.dense(11), pn.silu(), pn.dense(7), pn.tanh(), bad(pn.dense(7), TRANSPOSED)),
        ("transposed",),
        r"transpos|\.T",
        "serial[4].dense",
    ),
    fault(
        "activation, slope left out",
        pn.serial(pn.dense(11), with_slope(pn.tanh(), jnp.ones_like), pn.dense(3)),
        ("local_derivative",),
        "derivative|tanh",
        "serial[1].tanh",
    ),
    fault(
        "activation, value as derivative",
        pn.serial(pn.dense(11), with_slope(pn.sigmoid(), lambda y: y), pn.dense(3)),
        ("local_derivative",),
        "derivative|value|logistic|sigmoid",
        "serial[1].sigmoid",
    ),
    fault(
        "relu without its gate",
        pn.serial(pn.dense(11), with_slope(pn.relu(), jnp.ones_like), pn.dense(3)),
        ("support", "local_derivative"),
        r"gate|zero|\b0\b|derivative",
        "serial[1].relu",
    ),
    fault(
        "named layer, bias missing a unit",
        pn.serial(up=bad(pn.dense(11), LAST_BIAS), act=pn.tanh(), down=pn.dense(3)),
        ("slices",),
        "last|feature|axis|element",
        "serial.up.dense",
    ),
    fault(
        "named layer at the end, no bias",
        pn.serial(up=pn.dense(11), act=pn.tanh(), down=bad(pn.dense(3), NO_BIAS)),
        ("zero",),
        r"zero|\b0\b",
        "serial.down.dense",
    ),
    fault(
        "softmax as a diagonal at the end",
        pn.serial(pn.dense(11), softmax_diagonal()),
        ("diagonal",),
        "diagonal",
        "serial[1].softmax",
    ),
    fault(
        "nested serial",
        pn.serial(pn.serial(pn.dense(11), bad(pn.layer_norm(), leaf("scale", lambda g: -g))), pn.dense(3)),
        ("scaled",),
        "sign|-1|negat",
        "serial[0].serial[1].layer_norm",
    ),
    fault(
        "norm inside a serial, mean held constant",
        pn.serial(pn.dense(11), norm_without_mean(), pn.dense(3)),
        ("path_missing",),
        "mean",
        "serial[1].layer_norm",
    ),
    fault(
        "inside a residual",
        pn.residual(pn.serial(bad(pn.dense(7), FIFTH), pn.tanh())),
        ("scaled",),
        "1/5|example|batch",
        "residual.serial[0].dense",
    ),
    fault(
        "block's second dense",
        block(down=bad(pn.dense(7), DOUBLE_DX)),
        ("scaled",),
        r"\b2\b|twice|doubl",
        "residual.serial.down.dense",
    ),
    fault(
        "block's activation",
        block(act=with_slope(pn.tanh(), lambda y: 1 - jnp.tanh(y) ** 2)),
        ("local_derivative",),
        "tanh|output|derivative",
        "residual.serial.act.tanh",
    ),
    fault(
        "block's norm, dx centred over the batch",
        block(norm=bad(pn.layer_norm(), input_gradient(lambda dx: dx - jnp.mean(dx, 0, keepdims=True)))),
        ("coupling",),
        "example|batch|axis",
        "residual.serial.norm.layer_norm",
    ),
    fault(
        "second of two blocks",
        pn.serial(block(), block(up=bad(pn.dense(11), FIFTH)), pn.dense(3)),
        ("scaled",),
        "1/5|example|batch",
        "serial[1].residual.serial.up.dense",
    ),
    fault(
        "repeated block's norm",
        pn.repeat(block(norm=bad(pn.layer_norm(), leaf("bias", lambda g: g / 5))), 3),
        ("scaled",),
        "1/5|example|batch",
        "repeat.residual.serial.norm.layer_norm",
    ),
    fault(
        "repeated dense, dx negative",
        pn.repeat(pn.serial(bad(pn.dense(7), NEGATIVE_DX), pn.tanh()), 3),
        ("scaled",),
        "sign|-1|negat",
        "repeat.serial[0].dense",
    ),
    fault(
        "parallel, second branch",
        pn.parallel(pn.dense(3), bad(pn.dense(3), HALF_KERNEL)),
        ("scaled",),
        "1/2|0.5|half",
        "parallel[1].dense",
    ),
    fault(
        "parallel, named branch",
        pn.parallel(a=bad(pn.dense(3), DOUBLE_DX), b=pn.dense(3), combine="mean"),
        ("scaled",),
        r"\b2\b|twice|doubl",
        "parallel.a.dense",
    ),
    fault(
        "concatenated branch",
        pn.parallel(pn.serial(pn.dense(3), with_slope(pn.tanh(), lambda y: 1 - y)), pn.gelu(), combine="concatenate"),
        ("local_derivative",),
        "tanh|derivative",
        "parallel[0].serial[1].tanh",
    ),
    fault(
        "inside remat",
        pn.remat(pn.serial(pn.dense(11), bad(pn.dense(3), FIFTH))),
        ("scaled",),
        "1/5|example|batch",
        "remat.serial[1].dense",
    ),
    fault(
        "dropout, scale left out",
        pn.serial(pn.dense(11), bad(pn.dropout(0.3), input_gradient(lambda dx: 0.7 * dx)), pn.dense(3)),
        ("scaled",),
        r"0\.7|7/10",
        "serial[1].dropout",
    ),
    fault(
        "loss summed",
        pn.objective(pn.dense(7), bad(losses.softmax_cross_entropy(), input_gradient(lambda dx: (5 * dx[0], dx[1])))),
        ("scaled",),
        r"\b5\b|example|batch",
        "objective.softmax_cross_entropy",
        (X, LABELS),
    ),
    fault(
        "loss without its last example",
        pn.objective(
            pn.serial(pn.dense(7), pn.tanh()),
            bad(losses.softmax_cross_entropy(), input_gradient(lambda dx: (dx[0].at[-1].set(0.0), dx[1]))),
        ),
        ("slices",),
        "last|example|axis",
        "objective.softmax_cross_entropy",
        (X, LABELS),
    ),
    fault(
        "squared error's factor",
        pn.objective(pn.dense(11), bad(losses.squared_error(), input_gradient(lambda dx: (0.5 * dx[0], 0.5 * dx[1])))),
        ("scaled",),
        "1/2|0.5|half",
        "objective.squared_error",
        (X, TARGETS),
    ),
    fault(
        "network of an objective",
        pn.objective(
            pn.serial(bad(pn.dense(11), leaf("bias", lambda g: g[::-1])), pn.relu(), pn.dense(11)), losses.huber()
        ),
        ("flipped",),
        "flip|revers|order",
        "objective.serial[0].dense",
        (X, TARGETS),
    ),
    fault(
        "objective of one example",
        pn.per_example(pn.objective(bad(pn.dense(11), NO_BIAS), losses.squared_error())),
        ("zero",),
        r"zero|\b0\b",
        "per_example.objective.dense",
        (X, TARGETS),
    ),
    fault(
        "two layers",
        pn.serial(bad(pn.dense(11), FIFTH), pn.tanh(), bad(pn.dense(3), leaf("bias", lambda g: -g))),
        ("scaled",),
        "1/5|example|sign|-1|negat",
        "serial[0].dense",
    ),
    fault(
        "wrong shape deep inside",
        block(down=bad(pn.dense(7), leaf("bias", lambda g: g[None]))),
        ("wrong_shape",),
        "shape|bias gradient",
        "residual.serial.down.dense",
    ),
    fault(
        "missing leaf deep inside",
        pn.repeat(block(up=bad(pn.dense(11), lambda d, dx: ({"kernel": d["kernel"]}, dx))), 2),
        ("missing_gradient", "wrong_tree"),
        "bias|missing",
        "repeat.residual.serial.up.dense",
    ),
    fault(
        "NaN deep inside",
        pn.serial(pn.dense(11), bad(pn.gelu(), input_gradient(lambda dx: dx.at[0, 0].set(jnp.nan))), pn.dense(3)),
        ("nonfinite",),
        "nan|finite",
        "serial[1].gelu",
    ),
]

RIGHTS: list[Right] = []
