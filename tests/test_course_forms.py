"""Gradients as course work brings them: caches, dicts, objects that keep their gradients, (loss, gradients)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal

import purenet as pn

X, W, B = normal(6, 4), normal(4, 3, seed=1), normal(3, seed=2)
LABELS = np.array([0, 1, 2, 1, 0, 2])


def affine(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b, (x, w)


def affine_back(dout: Any, cache: Any, c: float) -> tuple[Any, Any, Any]:
    x, w = cache
    return dout @ w.T, c * x.T @ dout, dout.sum(0)


def affine_pair(c: float) -> Any:
    return affine, lambda dout, cache: affine_back(dout, cache, c)


def cache_first(c: float) -> Any:
    return affine, lambda cache, dout: affine_back(dout, cache, c)


def recomputing(c: float) -> Any:
    return lambda x, w, b: x @ w + b, lambda dout, x, w, b: affine_back(dout, (x, w), c)


def under_names(c: float) -> Any:
    def backward(dout: Any, cache: Any) -> Any:
        return dict(zip(("dx", "dw", "db"), affine_back(dout, cache, c), strict=True))

    return affine, backward


def keepdims(c: float) -> Any:
    def backward(dout: Any, cache: Any) -> Any:
        dx, dw, _ = affine_back(dout, cache, c)
        return dx, dw, dout.sum(0, keepdims=True)

    return affine, backward


def relu_pair(c: float) -> Any:
    def backward(dout: Any, cache: Any) -> Any:
        dx = c * dout.copy()
        dx[cache <= 0] = 0
        return dx

    return lambda x: (np.maximum(x, 0), x), backward


def batch_norm_pair(c: float) -> Any:
    def forward(x: Any, gamma: Any, beta: Any, eps: float) -> Any:
        deviation = np.sqrt(x.var(0) + eps)
        normalised = (x - x.mean(0)) / deviation
        return gamma * normalised + beta, (normalised, gamma, deviation)

    def backward(dout: Any, cache: Any) -> Any:
        normalised, gamma, deviation = cache
        d = dout * gamma
        dx = (d - d.mean(0) - normalised * (d * normalised).mean(0)) / deviation
        return dx, c * (dout * normalised).sum(0), dout.sum(0)

    return forward, backward


def convolution_pair(c: float) -> Any:
    """Loops, in place, and a dict of settings beside the arrays."""

    def forward(x: Any, w: Any, b: Any, settings: Any) -> Any:
        starts = range(0, len(x) - len(w) + 1, settings["stride"])
        out = np.zeros(len(starts))
        for i, start in enumerate(starts):
            out[i] = np.sum(x[start : start + len(w)] * w) + b
        return out, (x, w, settings)

    def backward(dout: Any, cache: Any) -> Any:
        x, w, settings = cache
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for i in range(len(dout)):
            part = slice(i * settings["stride"], i * settings["stride"] + len(w))
            dx[part] += w * dout[i]
            dw += c * x[part] * dout[i]
        return dx, dw, dout.sum()

    return forward, backward


def softmax_loss(c: float) -> Any:
    def function(w: Any, x: Any, labels: Any, penalty: float) -> Any:
        p = np.exp(x @ w)
        p /= p.sum(1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.mean(np.log(p[rows, labels])) + penalty * np.sum(w * w)
        p[rows, labels] -= 1
        return loss, x.T @ p / len(labels) + c * 2 * penalty * w

    return function


def network_loss(c: float) -> Any:
    """Two layers: the gradients in a dict under dW1 for W1."""

    def function(params: Any, x: Any, y: Any) -> Any:
        h = np.tanh(x @ params["W1"] + params["b1"])
        error = h @ params["W2"] - y
        dh = error @ params["W2"].T * (1 - h**2)
        gradients = {"dW2": c * h.T @ error, "dW1": x.T @ dh, "db1": dh.sum(0)}
        return 0.5 * np.sum(error**2), gradients

    return function


def by_argument(c: float) -> Any:
    """The same with an argument a parameter."""
    loss = network_loss(c)
    return lambda W1, b1, W2, x, y: loss({"W1": W1, "b1": b1, "W2": W2}, x, y)


class Beside:
    """Gradients in `grads` beside `params`."""

    def __init__(self, c: float):
        self.c, self.params, self.grads = c, {"W": W, "b": B}, {}

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout: Any) -> Any:
        self.grads["W"], self.grads["b"] = self.c * self.x.T @ dout, dout.sum(0)
        return dout @ self.params["W"].T


class InAttributes:
    """Gradients in attributes, added up in place; a shape that keepdims makes."""

    def __init__(self, c: float):
        self.c, self.W, self.b = c, W, np.zeros((1, 3))
        self.dW, self.db = np.ones_like(W), np.zeros((1, 3))

    def __call__(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout: Any) -> Any:
        self.dW += self.c * self.x.T @ dout
        self.db = dout.sum(0, keepdims=True)
        return dout @ self.W.T


class Parameter:
    def __init__(self, data: Any):
        self.data, self.grad = data, np.zeros_like(data)


class WithParameters:
    """Parameters that hold their gradients."""

    def __init__(self, c: float):
        self.c, self.W = c, Parameter(W)

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W.data

    def backward(self, dout: Any) -> Any:
        self.W.grad += self.c * self.x.T @ dout
        return dout @ self.W.data.T


class Tanh:
    def forward(self, x: Any) -> Any:
        self.y = np.tanh(x)
        return self.y

    def backward(self, dout: Any) -> Any:
        return dout * (1 - self.y**2)


class Sequence:
    """Layers in a list; the input's gradient is not asked for."""

    def __init__(self, *layers: Any):
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout: Any) -> None:
        for layer in reversed(self.layers):
            dout = layer.backward(dout)


P = {"W1": normal(4, 5), "b1": normal(5), "W2": normal(5, 3, seed=3)}
SETTINGS = {"stride": 2, "pad": 0}
FORMS: dict[str, tuple[Callable[[float], Any], Any]] = {
    "forward gives (out, cache), backward(dout, cache)": (affine_pair, (X, W, B)),
    "arguments by name": (affine_pair, {"x": X, "w": W, "b": B}),
    "backward(cache, dout)": (cache_first, (X, W, B)),
    "backward(dout, x, w, b)": (recomputing, (X, W, B)),
    "a dict under dw for w": (under_names, (X, W, B)),
    "a bias with keepdims": (keepdims, (X, W, B)),
    "one argument, in place": (relu_pair, X),
    "a number that is a setting": (batch_norm_pair, (X, normal(4), normal(4), 1e-5)),
    "a dict of settings": (convolution_pair, (normal(9), normal(3), 0.3, SETTINGS)),
    "(loss, gradient)": (softmax_loss, (W, X, LABELS, 0.1)),
    "(loss, gradients) of a dict": (network_loss, (P, X, normal(6, 3))),
    "(loss, gradients) under arguments' names": (by_argument, (*P.values(), X, normal(6, 3))),
    "grads beside params": (Beside, X),
    "gradients in attributes": (InAttributes, X),
    "parameters that hold their gradients": (WithParameters, X),
    "layers in a list": (lambda c: Sequence(Tanh(), WithParameters(c), Tanh()), X),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_taken(name: str) -> None:
    make, x = FORMS[name]
    assert pn.check(make(1.0), x, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError) as caught:
        pn.check(make(1.01), x, verbose=False)
    report = caught.value.report
    assert [leaf.verdict for leaf in report.leaves].count("WRONG") == 1


def paths(target: Any, x: Any, **options: Any) -> list[str]:
    return [leaf.path for leaf in pn.check(target, x, verbose=False, **options).leaves]


def test_leaves_carry_the_callers_names() -> None:
    assert paths(affine_pair(1.0), (X, W, B)) == ["x", "w", "b"]
    assert paths(softmax_loss(1.0), (W, X, LABELS, 0.1)) == ["w"]
    assert paths(network_loss(1.0), (P, X, normal(6, 3))) == ["params.W1", "params.W2", "params.b1"]
    assert paths(Beside(1.0), X) == ["W", "b", "x"]
    assert paths(Sequence(Tanh(), WithParameters(1.0)), X) == ["layers.1.W"]


def test_a_number_with_a_gradient_is_no_setting() -> None:
    """Python's float beside arrays is held only where backward says nothing of it."""

    def backward(dy: Any, x: Any, scale: Any) -> Any:
        return dy * scale, 2 * np.sum(dy * x)

    with pytest.raises(pn.GradientError) as caught:
        pn.check((lambda x, scale: x * scale, backward), (X, 3.0), verbose=False)
    assert [leaf.path for leaf in caught.value.report.leaves if leaf.verdict == "WRONG"] == ["scale"]


def test_argnums_says_what_is_differentiated() -> None:
    pair = (lambda x, t: 0.5 * jnp.sum((x - t) ** 2), lambda x, t, dy: (dy * (x - t),))
    assert paths(pair, (X, X + 1), argnums=0) == ["x"]
    assert paths(softmax_loss(1.0), (W, X, LABELS, 0.1), argnums=0) == ["w"]
    with pytest.raises(ValueError, match="argnums 2 does not fit 2 arguments, x, t"):
        pn.check(pair, (X, X), argnums=2)


def test_an_object_stays_as_it_was() -> None:
    layer = InAttributes(1.0)
    before = layer.dW.copy()
    pn.check(layer, X, verbose=False)
    assert np.array_equal(layer.dW, before)
    assert not hasattr(layer, "x")


def test_a_shape_that_differs_in_ones_is_noted() -> None:
    (note,) = pn.check(keepdims(1.0), (X, W, B), verbose=False).notes
    assert note.startswith("your gradient of b has shape [1, 3], b has [3]: its values are compared, but an update")


def test_a_flat_vector_is_taken_for_a_dict() -> None:
    def gradient(params: Any) -> Any:
        found = network_loss(1.0)(params, X, normal(6, 3))[1]
        return np.concatenate([found["d" + name].ravel() for name in sorted(params)])

    def value(params: Any) -> Any:
        return network_loss(1.0)(params, X, normal(6, 3))[0]

    assert pn.check_gradient(gradient, value, P, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check_gradient(lambda params: 1.01 * gradient(params), value, P, verbose=False)


def test_a_function_without_any_gradient_is_refused() -> None:
    with pytest.raises(TypeError, match="has no derivative rule of its own"):
        pn.check(lambda x: x**2, X)
