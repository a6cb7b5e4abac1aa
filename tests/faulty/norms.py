"""Normalisations: over the features (layer norm, rms norm, length), over the batch, over groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import purenet as pn

from .norm_functions import (
    EPS,
    FROZEN,
    GROUP_PARAMS,
    IMAGES,
    PARAMS,
    X,
    batch_dx,
    batch_fault,
    batch_norm,
    batch_norm_backward,
    frozen_as_training,
    frozen_norm,
    frozen_norm_backward,
    group_dx,
    group_fault,
    group_norm,
    group_norm_backward,
    layer_fault,
    layer_norm,
    layer_norm_backward,
    length_fault,
    mean_first,
    mean_last,
    mean_of_group,
    plain_norm,
    plain_norm_backward,
    rms_dx,
    rms_fault,
    rms_norm,
    rms_norm_backward,
    unit_length,
    unit_length_backward,
    wrong_dx,
)
from .rows import Fault, Right, altered, normal

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
