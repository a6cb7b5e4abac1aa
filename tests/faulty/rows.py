"""The two kinds of rows and what the subjects share: data, and a right backward with one leaf replaced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

KINDS = (
    "missing_gradient",
    "wrong_tree",
    "wrong_shape",
    "not_summed",
    "transposed",
    "wrong_dtype",
    "cotangent_ignored",
    "not_linear",
    "extra_term",
    "scaled",
    "zero",
    "flipped",
    "shifted",
    "permuted",
    "swapped_leaves",
    "slices",
    "diagonal",
    "coupling",
    "support",
    "path_missing",
    "path_doubled",
    "path_sign",
    "path_scaled",
    "two_paths",
    "local_derivative",
    "wrong_operand",
    "wrong_cotangent",
    "forward_variant",
    "stop_gradient",
    "nonfinite",
    "nondeterministic",
    "low_precision",
    "plumbing",
)


class Fault(NamedTuple):
    """A pair or a layer whose backward has a mistake, and what a diagnosis has to say about it.

    `kinds`: the acceptable kinds, best first. `says`: a regular expression that the sentence contains, whatever the
    case of its letters. `layer`: in a network, the path that is to blame.
    """

    name: str
    target: Any
    x: Any
    params: Any
    kinds: tuple[str, ...]
    says: str
    layer: str = ""


class Right(NamedTuple):
    """A pair or a layer whose backward is right."""

    name: str
    target: Any
    x: Any
    params: Any = None


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=shape)


def uniform(seed: int, *shape: int, low: float, high: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, size=shape)


def integers(seed: int, *shape: int, below: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, size=shape)


def altered(backward: Callable[..., Any], **rules: Callable[..., Any]) -> Callable[..., Any]:
    """The backward with leaves of its result replaced by rule(gradient, *arguments); the leaf `x` is dx."""

    @functools.wraps(backward)
    def wrong(*args: Any) -> Any:
        dparams, dx = backward(*args)
        leaves = {**dparams, "x": dx}
        leaves |= {leaf: rule(leaves[leaf], *args) for leaf, rule in rules.items()}
        dx = leaves.pop("x")
        return leaves, dx

    return wrong
