"""Rows of gated, mixed and other composed units, and random layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.special

import purenet as pn

from .case import Case, features, sequence, wide
from .layers import affine


def pairs(key: Any, batch: int) -> Any:
    """A gate and a value of three features each."""
    return 3 * jax.random.normal(key, (batch, 6))


def images(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, 3, 5, 4))


def identity(params: Any, x: Any) -> Any:
    return x


def gate_first(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda params, x: function(x[..., :3]) * x[..., 3:]


def gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def silu(x: Any) -> Any:
    return x * scipy.special.expit(x)


def gated_mlp(params: Any, x: Any) -> Any:
    packed = affine(params["up"], x)
    hidden = packed.shape[-1] // 2
    return affine(params["down"], silu(packed[..., :hidden]) * packed[..., hidden:])


def mixture(params: Any, x: Any, k: int, renormalise: bool, expert: Callable[[Any], Any]) -> Any:
    """Token by token: the probabilities, the k largest, and each chosen expert's MLP."""
    params = jax.tree.map(np.asarray, params)
    rows = np.asarray(x).reshape(-1, x.shape[-1])
    y = []
    for row in rows:
        probabilities = scipy.special.softmax(row @ params["router"]["kernel"])
        chosen = np.argsort(-probabilities, kind="stable")[:k]
        gates = probabilities[chosen] / (probabilities[chosen].sum() if renormalise else 1)
        total = 0
        for gate, e in zip(gates, chosen, strict=True):
            up, down = ({name: p[e] for name, p in params[part].items()} for part in ("up", "down"))
            total = total + gate * affine(down, expert(affine(up, row)))
        y.append(total)
    return np.stack(y).reshape(*x.shape[:-1], -1)


def swish_gate(packed: Any) -> Any:
    gate, value = np.split(packed, 2)
    return silu(gate) * value


def mixture_and_losses(params: Any, x: Any) -> Any:
    logits = np.asarray(x) @ np.asarray(params["router"]["kernel"])
    probabilities = scipy.special.softmax(logits, -1)
    counts = np.bincount(np.argmax(probabilities, -1), minlength=3)
    balance = 3 * np.sum(counts / len(logits) * probabilities.mean(0))
    z = np.mean(scipy.special.logsumexp(logits, -1) ** 2)
    return mixture(params, x, 1, False, lambda h: np.maximum(h, 0)), np.asarray(balance + 0.1 * z)


def squeezed(params: Any, x: Any) -> Any:
    hidden = np.maximum(affine(params["squeeze"], np.mean(x, (1, 2))), 0)
    return x * scipy.special.expit(affine(params["excite"], hidden))[:, None, None]


def highway(params: Any, x: Any) -> Any:
    t = scipy.special.expit(affine(params["gate"], x))
    return t * np.tanh(affine(params["transform"], x)) + (1 - t) * x


def maxout(params: Any, x: Any) -> Any:
    return np.max(np.einsum("bi,ipo->bpo", x, params["kernel"]) + params["bias"], 1)


def prelu(params: Any, x: Any) -> Any:
    return np.maximum(x, 0) + np.asarray(params["slope"]) * np.minimum(x, 0)


MIXTURE = pn.mixture_of_experts(4, 3, top_k=2, features=5)
SWITCH = pn.mixture_of_experts(
    3, 5, top_k=1, activation="relu", gated=False, renormalise=False, use_bias=True, balance=True, z_weight=0.1
)

ROWS = [
    Case("glu", pn.glu(), pairs, lambda params, x: x[..., :3] * scipy.special.expit(x[..., 3:])),
    Case("geglu", pn.geglu(), pairs, gate_first(gelu_tanh)),
    Case("geglu_erf", pn.geglu(approximate=False), pairs, gate_first(lambda x: x * scipy.special.ndtr(x))),
    Case("swiglu", pn.swiglu(), pairs, gate_first(silu)),
    Case("reglu", pn.reglu(), pairs, gate_first(lambda x: np.maximum(x, 0))),
    Case("gated_mlp", pn.gated_mlp(5, use_bias=True), sequence, gated_mlp),
    Case("mixture", MIXTURE, sequence, lambda params, x: mixture(params, x, 2, True, swish_gate)),
    Case("mixture_balance", SWITCH, features, mixture_and_losses, batched=False, alone=True),
    Case("squeeze_and_excitation", pn.squeeze_and_excitation(2), images, squeezed),
    Case("highway", pn.highway(activation="tanh"), features, highway),
    Case("maxout", pn.maxout(3, 4), features, maxout),
    Case("prelu", pn.prelu(), wide, prelu),
    Case("prelu_channels", pn.prelu(axes=1), sequence, prelu),
    Case("spatial_dropout", pn.spatial_dropout(0.4), images, identity, random=True),
    Case("drop_path", pn.drop_path(0.4, dimensions=1), sequence, identity, random=True),
    Case("alpha_dropout", pn.alpha_dropout(0.3), features, identity, random=True),
    Case("gaussian_noise", pn.gaussian_noise(0.5), features, identity, random=True),
    Case("gaussian_dropout", pn.gaussian_dropout(0.3), features, identity, random=True),
]
