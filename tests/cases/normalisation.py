"""Rows of normalising layers and weights."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import purenet as pn

from .case import FEATURES, Case, features


def images(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, 5, 2, 6))


def lines(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, 5, FEATURES))


def affine(params: Any, xhat: Any) -> Any:
    return xhat * np.asarray(params.get("scale", 1.0)) + np.asarray(params.get("bias", 0.0))


def normalised(params: Any, x: Any) -> Any:
    return affine(params, jax.nn.standardize(x, axis=-1, epsilon=1e-5))


def root_mean_square(params: Any, x: Any) -> Any:
    x = np.asarray(x)
    return affine(params, x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6))


def groups_one_by_one(groups: int) -> Any:
    def one(group: Any) -> Any:
        return (group - group.mean((1, 2, 3), keepdims=True)) / np.sqrt(group.var((1, 2, 3), keepdims=True) + 1e-5)

    return lambda params, x: affine(params, np.concatenate([one(g) for g in np.split(np.asarray(x), groups, -1)], -1))


def unit_length(axis: int) -> Any:
    return lambda params, x: np.asarray(x) / np.linalg.norm(x, axis=axis, keepdims=True)


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


ROWS = [
    Case("layer_norm", pn.layer_norm(), features, normalised),
    Case("layer_norm_plain", pn.layer_norm(use_scale=False, use_bias=False), features, normalised),
    Case("rms_norm", pn.rms_norm(), lines, root_mean_square),
    Case("batch_norm", pn.batch_norm(), features, by_initial_statistics, batched=False, statistics=True),
    Case(
        "batch_norm_plain",
        pn.batch_norm(use_scale=False, use_bias=False, unbiased=True),
        images,
        by_initial_statistics,
        batched=False,
        statistics=True,
    ),
    Case(
        "activated_batch_norm",
        pn.activated_batch_norm(negative_slope=0.2),
        images,
        activated(by_initial_statistics),
        batched=False,
        statistics=True,
    ),
    Case("group_norm", pn.group_norm(3), images, groups_one_by_one(3)),
    Case("instance_norm", pn.instance_norm(use_bias=False), images, groups_one_by_one(6)),
    Case("l2_normalize", pn.l2_normalize(), features, unit_length(-1)),
    Case("l2_normalize_axis", pn.l2_normalize(axis=-2), lines, unit_length(-2)),
    Case("weight_standardize", pn.weight_standardize(pn.dense(4)), features, with_kernel(standardised)),
    Case("weight_norm", pn.weight_norm(pn.dense(4)), features, with_kernel(lengthened)),
    Case("spectral_norm", pn.spectral_norm(pn.dense(4), iterations=2), features, statistics=True),
]
