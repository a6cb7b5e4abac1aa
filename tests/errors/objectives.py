"""Bad input to losses and objectives, and gradients that do not belong to their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from purenet import losses

from .calls import Table, params_of

X = jnp.ones((4, 6))
NET = pn.serial(pn.dense(8), pn.relu(), pn.dense(3))
OBJECTIVE = pn.objective(NET, losses.softmax_cross_entropy())
INPUTS, LABELS = np.ones((20, 6), np.float32), np.zeros(20, np.int32)
SQUARED = pn.objective(NET, losses.squared_error())


def loss(layer: pn.Layer, *pair: Any) -> Callable[[], Any]:
    return lambda: jax.jit(lambda pair: layer.forward((), (), pair, None)[0])(pair)


def wrong_backward(change: Callable[[Any, Any], Any]) -> pn.Layer:
    dense = pn.dense(3)
    return dense.replace(backward=lambda *args: change(*dense.backward(*args)))


def gradient_of(layer: pn.Layer) -> Callable[[], Any]:
    net = pn.objective(pn.serial(pn.dense(8), pn.relu(), layer), losses.squared_error())
    x = (X, jnp.ones((4, 3)))
    return lambda: jax.jit(pn.value_and_grad(net))(net.init(jax.random.key(0), x)[0], (), x)


TABLE: Table = {
    # Losses and objectives.
    "targets' shape": (
        loss(losses.squared_error(), X, jnp.ones((4, 5))),
        ValueError,
        r"squared_error: expected targets \[4, 6\] like the predictions, got float32 \[4, 5\]",
    ),
    "targets' length": (
        loss(losses.softmax_cross_entropy(), X, jnp.zeros(5, int)),
        ValueError,
        r"softmax_cross_entropy: expected labels as integers \[4\] or distributions \[4, 6\]",
    ),
    "integer targets": (
        loss(losses.huber(), X, jnp.ones((4, 6), int)),
        TypeError,
        "huber: expected targets of a floating dtype",
    ),
    "boolean labels": (
        loss(losses.softmax_cross_entropy(), X, jnp.ones(4, bool)),
        TypeError,
        "expected labels of an integer",
    ),
    "mask": (
        loss(losses.softmax_cross_entropy(), X, (jnp.zeros(4, int), jnp.ones(3, bool))),
        ValueError,
        r"softmax_cross_entropy: expected where as bool \[4\] or \[4, 6\], got bool \[3\]",
    ),
    "empty batch": (
        loss(losses.squared_error(), jnp.ones((0, 6)), jnp.ones((0, 6))),
        ValueError,
        r"squared_error: expected at least one example, got an empty batch",
    ),
    "empty batch of labels": (
        loss(losses.softmax_cross_entropy(), jnp.ones((0, 6)), jnp.ones(0, int)),
        ValueError,
        "softmax_cross_entropy: expected at least one example",
    ),
    "no pair": (loss(SQUARED, X, X, X), TypeError, r"expected a pair \(inputs, targets\), got tuple of 3"),
    "no scalar": (
        lambda: pn.value_and_grad(NET)(params_of(NET), (), X),
        ValueError,
        r"expected a scalar from serial, got float32 \[4, 3\]",
    ),
    # Gradients that do not belong to their parameters, found while tracing.
    "gradient transposed": (
        gradient_of(wrong_backward(lambda d, dx: (d | {"kernel": d["kernel"].T}, dx))),
        ValueError,
        r"serial\[2\].dense: kernel gradient \(3, 8\), parameter \(8, 3\)",
    ),
    "gradient missing": (
        gradient_of(wrong_backward(lambda d, dx: ({"kernel": d["kernel"]}, dx))),
        ValueError,
        r"serial\[2\].dense: bias gradient is missing, parameter \(3,\)",
    ),
    "gradient of nothing": (
        gradient_of(wrong_backward(lambda d, dx: (d | {"scale": dx}, dx))),
        ValueError,
        r"serial\[2\].dense: scale gradient belongs to no parameter",
    ),
    "gradient's dtype": (
        gradient_of(wrong_backward(lambda d, dx: (jax.tree.map(lambda g: g.astype(jnp.float16), d), dx))),
        TypeError,
        r"serial\[2\].dense: bias gradient float16, parameter float32",
    ),
    "input gradient's shape": (
        gradient_of(wrong_backward(lambda d, dx: (d, dx[:, :1]))),
        ValueError,
        r"serial\[2\].dense: input gradient \(4, 1\), input \(4, 8\)",
    ),
    "input gradient's shape, input dropped": (
        gradient_of(pn.serial(pn.tanh().replace(backward=lambda p, x, y, r, dy: ((), dy[:, :1])), pn.dense(3))),
        ValueError,
        r"serial\[2\].serial\[0\]: input gradient \(4, 1\), input \(4, 8\)",
    ),
    "gradient's tree": (
        gradient_of(wrong_backward(lambda d, dx: (list(d.values()), dx))),
        ValueError,
        r"serial\[2\].dense: bias gradient is missing",
    ),
    "targets of three": (
        loss(losses.softmax_cross_entropy(), X, (LABELS, LABELS, LABELS)),
        TypeError,
        r"expected labels or a pair \(labels, where\), got tuple of 3",
    ),
}
