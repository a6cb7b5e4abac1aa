"""Normalising layers and weights."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from purenet.catalogue.row import Value


def affine(params: Any, xhat: Any) -> Any:
    return xhat * np.asarray(params.get("scale", 1.0)) + np.asarray(params.get("bias", 0.0))


def normalised(eps: float = 1e-5) -> Value:
    return lambda params, x: affine(params, jax.nn.standardize(x, axis=-1, epsilon=eps))


def root_mean_square(eps: float = 1e-6) -> Value:
    return lambda params, x: affine(params, x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + eps))


def groups_one_by_one(groups: int) -> Any:
    def one(group: Any) -> Any:
        return (group - group.mean((1, 2, 3), keepdims=True)) / np.sqrt(group.var((1, 2, 3), keepdims=True) + 1e-5)

    return lambda params, x: affine(params, np.concatenate([one(g) for g in np.split(np.asarray(x), groups, -1)], -1))


def by_initial_statistics(params: Any, x: Any) -> Any:
    """Mean 0 and variance 1, which predict takes before any training."""
    return affine(params, np.asarray(x) / np.sqrt(1 + 1e-5))


def activated(value: Any) -> Any:
    def leaky(params: Any, x: Any) -> Any:
        z = value(params, x)
        return np.maximum(z, 0) + 0.2 * np.minimum(z, 0)

    return leaky


def with_kernel(kernel: Any) -> Any:
    return lambda params, x: np.asarray(x) @ kernel(params) + np.asarray(params["bias"])


def standardised(params: Any) -> Any:
    v = np.asarray(params["kernel"])
    return (v - v.mean(0)) / np.sqrt(v.var(0) + 1e-10)


def lengthened(params: Any) -> Any:
    return np.asarray(params["scale"]) * params["kernel"] / np.linalg.norm(params["kernel"], axis=0)


def unit_length(axis: int) -> Value:
    return lambda params, x: np.asarray(x) / np.linalg.norm(x, axis=axis, keepdims=True)


VALUES = {
    "l2_normalize": unit_length(-1),
    "l2_normalize, another axis": unit_length(-2),
    "layer_norm": normalised(),
    "layer_norm, no scale": normalised(),
    "layer_norm, large eps": normalised(1.0),
    "rms_norm": root_mean_square(),
    "rms_norm, no scale, large eps": root_mean_square(1.0),
    "group_norm": groups_one_by_one(3),
    "group_norm, no space, no bias": lambda params, x: groups_one_by_one(2)(params, x[:, None, None])[:, 0, 0],
    "instance_norm": groups_one_by_one(6),
    "batch_norm": by_initial_statistics,
    "batch_norm, no parameters": by_initial_statistics,
    "activated_batch_norm": activated(by_initial_statistics),
    "activated_batch_norm, no parameters": activated(by_initial_statistics),
    "weight_standardize": with_kernel(standardised),
    "weight_norm": with_kernel(lengthened),
}
