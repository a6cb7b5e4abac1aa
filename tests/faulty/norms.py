"""Normalisations: over the features (layer norm, rms norm, length), over the batch, over groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

import purenet as pn

from .rows import Fault, Right, altered, normal

EPS = 1e-3
X = normal(41, 5, 7)
PARAMS = {"scale": normal(42, 7, scale=0.4) + 1.3, "bias": normal(43, 7)}


def mean_last(x: Any) -> Any:
    return jnp.mean(x, -1, keepdims=True)


def mean_first(x: Any) -> Any:
    return jnp.mean(x, 0, keepdims=True)


# Over the features.


def layer_norm(params: Any, x: Any) -> Any:
    mean = jnp.mean(x, -1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred**2, -1, keepdims=True)
    rstd = lax.rsqrt(variance + EPS)
    xhat = centred * rstd
    y = params["scale"][None, :] * xhat + params["bias"][None, :]
    return y, (xhat, rstd, x)


def layer_norm_dx(mistake: str = "") -> Callable[..., Any]:
    """The rule of dx, to put in the place of the right one."""

    def dx(g: Any, params: Any, saved: Any, dy: Any) -> Any:
        xhat, rstd, x = saved
        n = xhat.shape[-1]
        dxhat = dy if mistake == "scale" else dy * params["scale"][None, :]
        dmean = mean_last(dxhat)
        drstd = mean_last(dxhat * xhat)
        if mistake == "sum":
            dmean, drstd = n * dmean, n * drstd
        if mistake == "unbiased":
            drstd = drstd * n / (n - 1)
        if mistake == "batch":
            dmean, drstd = mean_first(dxhat), mean_first(dxhat * xhat)
        if mistake == "dy":
            dmean = mean_last(dy)
        weights = {
            "mean": (0, 1),
            "variance": (1, 0),
            "constant": (0, 0),
            "mean twice": (2, 1),
            "variance twice": (1, 2),
            "mean sign": (-1, 1),
            "variance sign": (1, -1),
        }
        a, b = weights.get(mistake, (1, 1))
        if mistake == "outside":
            rstd = 1 / (1 / rstd + EPS)
        if mistake == "eps":
            rstd = 1 / jnp.sqrt(1 / rstd**2 - EPS + 1e-5)
        if mistake == "rstd":
            return dxhat - a * dmean - b * xhat * drstd
        if mistake == "x":
            return rstd * (dxhat - dmean - x * drstd)
        if mistake == "squared":
            rstd = rstd**2
        return rstd * (dxhat - a * dmean - b * xhat * drstd)

    return dx


def layer_norm_backward(params: Any, saved: Any, dy: Any) -> Any:
    dx = layer_norm_dx()(None, params, saved, dy)
    return {"scale": jnp.sum(dy * saved[0], 0), "bias": jnp.sum(dy, 0)}, dx


def layer_fault(name: str, kinds: tuple[str, ...], says: str, **rules: Callable[..., Any]) -> Fault:
    target = (layer_norm, altered(layer_norm_backward, **rules))
    return Fault(f"layer norm: {name}", target, X, PARAMS, kinds, says)


def wrong_dx(name: str, kinds: tuple[str, ...], says: str, mistake: str) -> Fault:
    return layer_fault(name, kinds, says, x=layer_norm_dx(mistake))


def plain_norm(x: Any) -> Any:
    """Written with the variance as a difference of means: E[x^2] - E[x]^2."""
    mean = jnp.mean(x, -1, keepdims=True)
    square = jnp.mean(x**2, -1, keepdims=True)
    variance = square - mean**2
    std = jnp.sqrt(variance + EPS)
    return (x - mean) / std, (x, mean, std)


def plain_norm_backward(mistake: str = "") -> Callable[..., Any]:
    def backward(saved: Any, dy: Any) -> Any:
        x, mean, std = saved
        n = x.shape[-1]
        centred = x - mean
        dvariance = jnp.sum(dy * centred, -1, keepdims=True) * -0.5 / std**3
        if mistake == "power":
            dvariance = jnp.sum(dy * centred, -1, keepdims=True) * -0.5 / std**2
        dmean = -jnp.sum(dy / std, -1, keepdims=True) - 2 * mean * dvariance
        if mistake == "mean of the variance":
            dmean = -jnp.sum(dy / std, -1, keepdims=True)
        if mistake == "two":
            return dy / std + dvariance * x / n + dmean / n
        return dy / std + dvariance * 2 * x / n + dmean / n

    return backward


# Over the batch.


def batch_norm(params: Any, x: Any) -> Any:
    mean = jnp.mean(x, 0, keepdims=True)
    centred = x - mean
    variance = jnp.mean(jnp.square(centred), 0, keepdims=True)
    std = jnp.sqrt(variance + EPS)
    xhat = centred / std
    scaled = params["scale"][None, :] * xhat
    y = scaled + params["bias"][None, :]
    return y, (x, xhat, std)


def batch_norm_backward(params: Any, saved: Any, dy: Any) -> Any:
    _, xhat, std = saved
    dxhat = dy * params["scale"][None, :]
    dx = (dxhat - mean_first(dxhat) - xhat * mean_first(dxhat * xhat)) / std
    return {"scale": jnp.sum(dy * xhat, 0), "bias": jnp.sum(dy, 0)}, dx


def batch_dx(weight_of_mean: float, weight_of_variance: float, mean: Callable[..., Any] = mean_first) -> Any:
    def dx(g: Any, params: Any, saved: Any, dy: Any) -> Any:
        _, xhat, std = saved
        dxhat = dy * params["scale"][None, :]
        return (dxhat - weight_of_mean * mean(dxhat) - weight_of_variance * xhat * mean(dxhat * xhat)) / std

    return dx


def batch_fault(name: str, kinds: tuple[str, ...], says: str, **rules: Callable[..., Any]) -> Fault:
    target = (batch_norm, altered(batch_norm_backward, **rules))
    return Fault(f"batch norm: {name}", target, X, PARAMS, kinds, says)


# Root mean square and length.


def rms_norm(params: Any, x: Any) -> Any:
    square = jnp.mean(x**2, -1, keepdims=True)
    r = lax.rsqrt(square + EPS)
    y = params["scale"][None, :] * x * r
    return y, (x, r)


def rms_norm_backward(params: Any, saved: Any, dy: Any) -> Any:
    x, r = saved
    dxhat = dy * params["scale"][None, :]
    dx = r * dxhat - x * r**3 * mean_last(dxhat * x)
    return {"scale": jnp.sum(dy * x * r, 0)}, dx


def rms_dx(g: Any, params: Any, saved: Any, dy: Any, power: int = 3, sign: int = -1, scale: bool = True) -> Any:
    x, r = saved
    dxhat = dy * params["scale"][None, :] if scale else dy
    return r * dxhat + sign * x * r**power * mean_last(dxhat * x)


def rms_fault(name: str, kinds: tuple[str, ...], says: str, **rules: Callable[..., Any]) -> Fault:
    target = (rms_norm, altered(rms_norm_backward, **rules))
    return Fault(f"rms norm: {name}", target, X, {"scale": PARAMS["scale"]}, kinds, says)


def unit_length(x: Any) -> Any:
    square = jnp.sum(x**2, -1, keepdims=True)
    length = jnp.sqrt(square + EPS)
    y = x / length
    return y, (x, y, length)


def unit_length_backward(mistake: str = "") -> Callable[..., Any]:
    def backward(saved: Any, dy: Any) -> Any:
        x, y, length = saved
        along = jnp.sum(y * dy, -1, keepdims=True)
        if mistake == "projection":
            return dy / length
        if mistake == "x":
            return (dy - x * along) / length
        if mistake == "length":
            return dy - y * along
        if mistake == "mean":
            return (dy - y * mean_last(y * dy)) / length
        if mistake == "batch":
            return (dy - y * jnp.sum(y * dy, 0, keepdims=True)) / length
        if mistake == "diagonal":
            return (dy - y * y * dy) / length
        return (dy - y * along) / length

    return backward


def length_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str) -> Fault:
    return Fault(f"unit length: {name}", (unit_length, unit_length_backward(mistake)), X, None, kinds, says)


# Groups of channels: [batch, positions, groups, channels], normalised over positions and channels of a group.

IMAGES = normal(44, 5, 7, 6)
GROUP_PARAMS = {"scale": normal(45, 6, scale=0.4) + 1.3, "bias": normal(46, 6)}


def grouped(x: Any) -> Any:
    return x.reshape(x.shape[0], x.shape[1], 2, 3)


def mean_of_group(x: Any) -> Any:
    return jnp.mean(x, (1, 3), keepdims=True)


def group_norm(params: Any, x: Any) -> Any:
    groups = grouped(x)
    mean = jnp.mean(groups, (1, 3), keepdims=True)
    centred = groups - mean
    variance = jnp.mean(centred**2, (1, 3), keepdims=True)
    rstd = lax.rsqrt(variance + EPS)
    xhat = (centred * rstd).reshape(x.shape)
    y = params["scale"][None, None, :] * xhat + params["bias"][None, None, :]
    return y, (xhat, rstd)


def group_norm_backward(params: Any, saved: Any, dy: Any) -> Any:
    dx = group_dx(mean_of_group)(None, params, saved, dy)
    return {"scale": jnp.sum(dy * saved[0], (0, 1)), "bias": jnp.sum(dy, (0, 1))}, dx


def group_dx(mean: Callable[..., Any], weight_of_mean: float = 1.0) -> Callable[..., Any]:
    def dx(g: Any, params: Any, saved: Any, dy: Any) -> Any:
        xhat, rstd = saved
        dxhat = grouped(dy * params["scale"][None, None, :])
        xhat = grouped(xhat)
        dx = rstd * (dxhat - weight_of_mean * mean(dxhat) - xhat * mean(dxhat * xhat))
        return dx.reshape(dy.shape)

    return dx


def group_fault(name: str, kinds: tuple[str, ...], says: str, **rules: Callable[..., Any]) -> Fault:
    target = (group_norm, altered(group_norm_backward, **rules))
    return Fault(f"group norm: {name}", target, IMAGES, GROUP_PARAMS, kinds, says)


# Statistics of training held as state, a standardised kernel.


def frozen_norm(params: Any, x: Any) -> Any:
    """Batch norm at inference: mean and variance are inputs, not statistics of x."""
    centred = x["x"] - x["mean"][None, :]
    rstd = lax.rsqrt(x["variance"] + EPS)
    return params["scale"][None, :] * centred * rstd[None, :]


def frozen_norm_backward(params: Any, x: Any, dy: Any) -> Any:
    centred = x["x"] - x["mean"][None, :]
    rstd = lax.rsqrt(x["variance"] + EPS)
    dscale = jnp.sum(dy * centred * rstd[None, :], 0)
    dcentred = dy * (params["scale"] * rstd)[None, :]
    drstd = jnp.sum(dy * centred, 0) * params["scale"]
    dx = {"x": dcentred, "mean": -jnp.sum(dcentred, 0), "variance": -0.5 * rstd**3 * drstd}
    return {"scale": dscale}, dx


def frozen_as_training(g: Any, params: Any, x: Any, dy: Any) -> Any:
    return g | {"x": g["x"] - mean_first(g["x"])}


FROZEN = {"x": X, "mean": normal(47, 7), "variance": normal(48, 7) ** 2 + 0.5}

FAULTS = [
    wrong_dx("mean held constant", ("path_missing",), "mean", "mean"),
    wrong_dx("variance held constant", ("path_missing",), "variance|rsqrt|rstd", "variance"),
    wrong_dx(
        "both statistics held constant", ("two_paths", "diagonal", "path_missing"), "mean|diagonal|path", "constant"
    ),
    wrong_dx("mean term twice", ("path_doubled",), "mean|twice|doubl", "mean twice"),
    wrong_dx("variance term twice", ("path_doubled",), "variance|rsqrt|rstd|twice|doubl", "variance twice"),
    wrong_dx("sign of the mean term", ("path_sign",), "mean|sign|negat", "mean sign"),
    wrong_dx("sign of the variance term", ("path_sign",), "variance|rsqrt|rstd|sign|negat", "variance sign"),
    wrong_dx("sums instead of means", ("two_paths", "path_scaled"), r"mean|\b7\b|sum", "sum"),
    wrong_dx("variance over n - 1", ("path_scaled",), "7/6|variance|rsqrt|1.16", "unbiased"),
    wrong_dx("statistics over the batch", ("coupling",), "batch|example|axis", "batch"),
    wrong_dx("scale left out of dx", ("local_derivative", "wrong_operand", "path_missing"), "scale", "scale"),
    wrong_dx("mean term without the scale", ("path_scaled", "wrong_cotangent", "wrong_operand"), "", "dy"),
    wrong_dx("rstd left out", ("local_derivative", "wrong_operand", "slices"), "rstd|rsqrt|example|derivative", "rstd"),
    wrong_dx("rstd squared", ("wrong_operand", "local_derivative", "slices"), "", "squared"),
    wrong_dx("x instead of xhat in the variance term", ("wrong_operand", "path_scaled", "two_paths"), "", "x"),
    wrong_dx("eps outside the root", ("forward_variant", "slices"), "eps|constant|root|0.001|1e-3|example", "outside"),
    wrong_dx("another eps", ("forward_variant", "slices"), "eps|constant|0.001|1e-3|1e-05|example", "eps"),
    layer_fault(
        "dscale from x",
        ("wrong_operand",),
        r"\bx\b|operand|value",
        scale=lambda g, p, saved, dy: jnp.sum(dy * saved[2], 0),
    ),
    layer_fault(
        "dscale without xhat", ("local_derivative", "wrong_operand"), "", scale=lambda g, p, s, dy: jnp.sum(dy, 0)
    ),
    layer_fault(
        "dscale over the features", ("wrong_shape",), "shape|sum|axis", scale=lambda g, p, s, dy: jnp.sum(dy * s[0], 1)
    ),
    layer_fault("dscale averaged", ("scaled",), "1/5|example|batch", scale=lambda g, *_: g / 5),
    layer_fault(
        "dscale times the scale",
        ("slices", "local_derivative"),
        "scale|feature",
        scale=lambda g, p, s, dy: g * p["scale"],
    ),
    layer_fault(
        "dscale and dbias exchanged",
        ("swapped_leaves",),
        "swap|exchang|scale.*bias|bias.*scale",
        scale=lambda g, p, s, dy: jnp.sum(dy, 0),
        bias=lambda g, p, s, dy: jnp.sum(dy * s[0], 0),
    ),
    Fault(
        "plain norm: power of std in the variance term",
        (plain_norm, plain_norm_backward("power")),
        X,
        None,
        ("local_derivative", "path_scaled", "slices"),
        "",
    ),
    Fault(
        "plain norm: mean inside the variance forgotten",
        (plain_norm, plain_norm_backward("mean of the variance")),
        X,
        None,
        ("path_missing",),
        "mean|square|pow",
    ),
    Fault(
        "plain norm: two of the square forgotten",
        (plain_norm, plain_norm_backward("two")),
        X,
        None,
        ("path_scaled",),
        "1/2|0.5|half|square|pow",
    ),
    batch_fault("mean held constant", ("path_missing",), "mean", x=batch_dx(0, 1)),
    batch_fault("variance held constant", ("path_missing",), "variance|sqrt|std", x=batch_dx(1, 0)),
    batch_fault(
        "inference's dx in training", ("two_paths", "coupling", "diagonal", "path_missing"), "", x=batch_dx(0, 0)
    ),
    batch_fault("mean term twice", ("path_doubled",), "mean|twice|doubl", x=batch_dx(2, 1)),
    batch_fault(
        "statistics over the features", ("coupling",), "feature|axis|batch|example", x=batch_dx(1, 1, mean_last)
    ),
    batch_fault("variance over n - 1", ("path_scaled",), "5/4|1.25|variance|sqrt", x=batch_dx(1, 5 / 4)),
    batch_fault(
        "dscale from x", ("wrong_operand",), r"\bx\b|operand|value", scale=lambda g, p, s, dy: jnp.sum(dy * s[0], 0)
    ),
    batch_fault(
        "dx times the variance's root",
        ("local_derivative", "wrong_operand", "slices"),
        "",
        x=lambda g, p, s, dy: g * s[2] ** 2,
    ),
    batch_fault("dbias averaged", ("scaled",), "1/5|example|batch", bias=lambda g, *_: g / 5),
    rms_fault(
        "rms held constant",
        ("path_missing",),
        "rsqrt|square|mean|path",
        x=lambda g, p, s, dy: s[1] * dy * p["scale"][None, :],
    ),
    rms_fault(
        "r instead of its cube", ("local_derivative", "path_scaled", "slices"), "", x=lambda *a: rms_dx(*a, power=1)
    ),
    rms_fault("sign of the second term", ("path_sign",), "sign|negat|-1", x=lambda *a: rms_dx(*a, sign=1)),
    rms_fault(
        "scale left out",
        ("local_derivative", "wrong_operand", "path_missing"),
        "scale",
        x=lambda *a: rms_dx(*a, scale=False),
    ),
    rms_fault(
        "dscale without r",
        ("local_derivative", "wrong_operand", "slices"),
        "",
        scale=lambda g, p, s, dy: jnp.sum(dy * s[0], 0),
    ),
    length_fault("projection left out", ("path_missing",), "sqrt|length|sum|path", "projection"),
    length_fault(
        "x instead of the unit vector", ("wrong_operand", "path_scaled", "local_derivative", "slices"), "", "x"
    ),
    length_fault("length left out", ("local_derivative", "slices", "wrong_operand"), "", "length"),
    length_fault("mean instead of sum", ("path_scaled",), "1/7|sum|mean|feature", "mean"),
    length_fault("projection over the batch", ("coupling",), "batch|example|axis", "batch"),
    length_fault("Jacobian's diagonal alone", ("diagonal",), "diagonal", "diagonal"),
    group_fault("mean held constant", ("path_missing",), "mean", x=group_dx(mean_of_group, 0.0)),
    group_fault(
        "statistics of each channel", ("coupling", "two_paths"), "", x=group_dx(lambda x: jnp.mean(x, 1, keepdims=True))
    ),
    group_fault(
        "statistics of the layer",
        ("coupling", "two_paths"),
        "",
        x=group_dx(lambda x: jnp.mean(x, (1, 2, 3), keepdims=True)),
    ),
    group_fault(
        "dscale not summed over positions",
        ("not_summed", "wrong_shape"),
        "sum|axis",
        scale=lambda g, p, s, dy: jnp.sum(dy * s[0], 0),
    ),
    Fault(
        "batch norm at inference: mean of training's dx",
        (frozen_norm, altered(frozen_norm_backward, x=frozen_as_training)),
        FROZEN,
        {"scale": PARAMS["scale"]},
        ("coupling", "path_doubled", "extra_term"),
        "",
    ),
    Fault(
        "batch norm at inference: no gradient of the mean",
        (frozen_norm, altered(frozen_norm_backward, x=lambda g, *_: g | {"mean": 0 * g["mean"]})),
        FROZEN,
        {"scale": PARAMS["scale"]},
        ("zero",),
        r"zero|\b0\b",
    ),
    Fault(
        "batch norm at inference: half of the power rule left out",
        (frozen_norm, altered(frozen_norm_backward, x=lambda g, *_: g | {"variance": 2 * g["variance"]})),
        FROZEN,
        {"scale": PARAMS["scale"]},
        ("scaled",),
        r"\b2\b|twice|doubl",
    ),
]


def replaced(layer: pn.Layer, change: Callable[..., Any]) -> pn.Layer:
    """change(dparams, dx, dy) of what the layer's own backward gives."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        return change(*layer.backward(params, x, y, residuals, dy), dy)

    return layer.replace(backward=backward)


FAULTS += [
    Fault(
        "pn.layer_norm: dbias of the last example",
        replaced(pn.layer_norm(eps=EPS), lambda dparams, dx, dy: (dparams | {"bias": dy[-1]}, dx)),
        X,
        PARAMS,
        ("slices",),
        "last|example",
    ),
    Fault(
        "pn.layer_norm: dx centred once more",
        replaced(pn.layer_norm(eps=EPS), lambda dparams, dx, dy: (dparams, dx - mean_first(dx))),
        X,
        PARAMS,
        ("coupling",),
        "example|batch|axis",
    ),
]

SCALED = X * np.array([1.0, 1e-2, 1e3, 1e-4, 10.0])[:, None]

RIGHTS = [
    Right("layer norm", (layer_norm, layer_norm_backward), X, PARAMS),
    Right("layer norm, one example", (layer_norm, layer_norm_backward), X[:1], PARAMS),
    Right(
        "layer norm, one feature",
        (layer_norm, layer_norm_backward),
        X[:, :1],
        {"scale": np.array([1.5]), "bias": np.array([0.3])},
    ),
    Right("layer norm, examples of all sizes", (layer_norm, layer_norm_backward), SCALED, PARAMS),
    Right("layer norm, moved far from zero", (layer_norm, layer_norm_backward), X + 30, PARAMS),
    Right("variance as a difference of means", (plain_norm, plain_norm_backward()), X),
    Right("batch norm", (batch_norm, batch_norm_backward), X, PARAMS),
    Right("batch norm, two examples", (batch_norm, batch_norm_backward), X[:2], PARAMS),
    Right("batch norm at inference", (frozen_norm, frozen_norm_backward), FROZEN, {"scale": PARAMS["scale"]}),
    Right("rms norm", (rms_norm, rms_norm_backward), X, {"scale": PARAMS["scale"]}),
    Right("unit length", (unit_length, unit_length_backward()), X),
    Right("group norm", (group_norm, group_norm_backward), IMAGES, GROUP_PARAMS),
    Right("pn.layer_norm", pn.layer_norm(eps=EPS), X),
    Right("pn.layer_norm without parameters", pn.layer_norm(use_scale=False, use_bias=False), normal(49, 7)),
    Right("pn.layer_norm, three leading axes, float32", pn.layer_norm(), normal(50, 2, 3, 5, 7).astype(np.float32)),
]
