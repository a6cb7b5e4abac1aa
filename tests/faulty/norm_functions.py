"""Normalisations, right ones and their backwards with one term changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from .rows import Fault, altered, normal

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
