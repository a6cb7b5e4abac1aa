"""Gated, mixed and other composed units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.special

from purenet.catalogue.draws import affine


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


VALUES = {
    "glu, over the first axis": lambda params, x: x[:2] * scipy.special.expit(x[2:]),
    "swiglu, value first": lambda params, x: x[..., :3] * silu(x[..., 3:]),
    "prelu": prelu,
    "prelu, channels": prelu,
    "gated_mlp": gated_mlp,
    "gated_mlp, to other features": gated_mlp,
    "highway": highway,
    "maxout": maxout,
    "squeeze_and_excitation": squeezed,
    "squeeze_and_excitation, one axis": lambda params, x: squeezed(params, x[:, :, None])[:, :, 0],
    "mixture_of_experts": lambda params, x: mixture(params, x, 2, True, swish_gate),
    "mixture_of_experts, with balance": mixture_and_losses,
}
