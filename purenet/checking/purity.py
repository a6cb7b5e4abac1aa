"""Whether forward and backward are functions of their arguments: traced twice, apart from each other.

Tracing shows what running cannot: random numbers from NumPy or a counter become constants of the trace, and a value
that forward leaves behind outside its residuals is a leaked tracer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..annotations import PyTree
from .forms.target import Target
from .points import join_inexact, split_inexact
from .probe import Probe, as_cotangents
from .vocabulary import CANNOT_TRACE, Diagnosis, distance


class LeftBehind(Exception):
    """A trace reads a value of another one that is over."""


def purity(target: Target, probe: Probe) -> list[Diagnosis]:
    """What is wrong with the target as a pair of pure functions."""
    _, fixed = split_inexact(probe.trees)

    def forward(leaves: list) -> Any:
        return target.forward(*join_inexact(leaves, fixed))

    try:
        if not same_trace(forward, probe.leaves):
            text = "the forward is not pure: two calls with the same arguments do different things"
            fix = "take randomness from a key that is passed in, and change nothing outside (no counters, no np.random)"
            return [Diagnosis("impure_forward", text, fix, 0.0, rank=0.0)]
        return backward_purity(target, probe, forward, fixed)
    except Exception:  # NumPy takes no tracer, whichever way it says so
        return twice(probe)


def backward_purity(target: Target, probe: Probe, forward: Callable[..., Any], fixed: Any) -> list[Diagnosis]:
    try:
        y, saved = jax.eval_shape(forward, probe.leaves)

        def backward(leaves: list, y: PyTree, saved: PyTree, dys: list) -> Any:
            return target.backward(*join_inexact(leaves, fixed), y, saved, as_cotangents(y, dys))

        if same_trace(backward, probe.leaves, y, saved, probe.dys):
            return []
    except (jax.errors.UnexpectedTracerError, LeftBehind):
        text = "the backward reads a value that the forward left behind outside its residuals"
        fix = "return what the backward needs as residuals: a backward reads its arguments and nothing else"
        return [Diagnosis("impure_backward", text, fix, 0.0, rank=0.0)]
    except CANNOT_TRACE:
        raise
    except Exception:  # residuals that only live in one trace (Python values): nothing is said about them
        return []
    text = "the backward is not deterministic: two calls with the same arguments do different things"
    fix = "draw nothing in the backward: keep the key, or what was drawn, as a residual"
    return [Diagnosis("nondeterministic", text, fix, 0.0, rank=0.0)]


def same_trace(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether two traces are the same program with the same constants."""
    first, second = (jax.make_jaxpr(lambda *a: function(*a))(*arguments) for _ in range(2))
    if any(isinstance(const, Tracer) for const in first.consts):
        raise LeftBehind
    if str(first) != str(second) or len(first.consts) != len(second.consts):
        return False
    return all(same_constant(a, b) for a, b in zip(first.consts, second.consts, strict=True))


def same_constant(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if jnp.issubdtype(getattr(a, "dtype", np.float64), jax.dtypes.extended):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")


def twice(probe: Probe) -> list[Diagnosis]:
    """For functions that cannot be traced: run them twice."""
    first, second = (probe.candidate(probe.leaves, probe.dys)[1] for _ in range(2))
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    if all(distance(a, b) < 1e-9 or np.array_equal(a, b, equal_nan=True) for a, b in pairs):
        return []
    text = "the gradient is not deterministic: two calls with the same arguments differ"
    return [Diagnosis("nondeterministic", text, "draw nothing in the backward", 0.0, rank=0.0)]


def in_numpy(probe: Probe) -> bool:
    """Whether the hand-written side is NumPy's, which takes no tracer."""
    try:
        jax.eval_shape(probe.plain[0], probe.leaves, probe.dys)
    except Exception:  # whichever way it says so
        return True
    return False


def low_precision(probe: Probe, candidate: Any) -> Any:
    """The lowest precision that the hand-written side computes in, if it is not float64; else None."""
    try:
        text = str(jax.make_jaxpr(lambda *a: probe.plain[0](*a))(probe.leaves, probe.dys))
    except Exception:
        text = ""
    for mark, dtype in (("bf16[", jnp.bfloat16), ("f16[", jnp.float16), ("f32[", jnp.float32)):
        if mark in text.replace("bf16[", "") or (mark == "bf16[" and mark in text):
            return dtype
    return jnp.float32 if np.array_equal(np.asarray(candidate, np.float32).astype(np.float64), candidate) else None
