"""Two functions (forward, backward), in the forms in which people write them.

Which value each argument of the backward stands for is read from its name, as is the order of its arguments:

    forward([params], x) -> y, or (y, residuals)         backward([params], [x], [y], [residuals], dy)
    forward(x, w, b) -> out, or (out, cache)             backward(dout, cache), backward(cache, dout),
                                                         backward(dout, x, w, b) and the like

The gradient of several arguments comes in their order, or as a dict under their names, with or without a d before them.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ...annotations import PyTree
from ...static import Static
from ..points import is_inexact
from .arguments import call, positional, values_of
from .gradient_names import gradients_of, is_moving, like
from .target import Target, two

COTANGENT = re.compile(
    r"(?!data|dims?|dist)(d|g|ct|delta|d[a-z]?_?out\w*|d_?[A-Za-z]{1,4}\d?|grad\w*|\w+_grad|\w*cotangent\w*|upstream\w*)_?"
)


def pair_target(forward: Callable[..., Any], backward: Callable[..., Any], spread: str = "") -> Target:
    """The target of a pair; `spread`: params are all arguments of the forward, "by position" or "by name"."""
    name = getattr(forward, "__name__", "forward").removesuffix("_forward")
    arguments, reads = positional(forward), positional(backward)
    if not spread and len(arguments) not in (1, 2):
        got = f"forward({', '.join(arguments)})"
        raise TypeError(f"check: expected forward(x) or forward(params, x), or x a tuple of all arguments, got {got}")
    has_params = not spread and len(arguments) == 2
    if len(reads) < 1 + has_params:
        expected = "backward(params, ..., dy)" if has_params else "backward(..., dy)"
        raise TypeError(f"check: expected {expected}, got backward({', '.join(reads)})")
    if spread:
        return several(name, forward, backward, spread == "by name")
    return single(name, forward, backward, has_params)


def single(name: str, forward: Callable[..., Any], backward: Callable[..., Any], has_params: bool) -> Target:
    """A pair whose forward takes x, or (params, x)."""
    order = positional(backward)[has_params:]
    cotangent = cotangent_of(order, ())
    reads = [argument for argument in order if argument != cotangent]

    def run(params: PyTree, x: PyTree) -> tuple[PyTree, tuple[PyTree, Static]]:
        result = forward(params, x) if has_params else forward(x)
        return saved_beside(result, reads_residuals(reads), (params, x))

    def run_back(params: PyTree, x: PyTree, y: PyTree, saved: tuple[PyTree, Static], dy: PyTree) -> Any:
        residuals, saves = saved
        values = {"x": x, "y": y, cotangent: dy}
        read = [values.get(argument, residuals if saves.value else x) for argument in order]
        try:
            result = backward(*((params,) if has_params else ()), *read)
        except Exception as error:
            if "y" in reads and "x" not in reads:
                error.add_note("backward's argument y is the forward's output: call the input x if that is meant")
            raise
        if not has_params:
            return (), like(x, result)
        dparams, dx = two(result)
        return like(params, dparams), like(x, dx)

    return Target(name, None, run, run_back, lambda params, x: run(params, x)[0], has_params)


def several(name: str, forward: Callable[..., Any], backward: Callable[..., Any], by_name: bool) -> Target:
    """A pair whose forward takes several arguments, which stand in params."""
    order = positional(backward)

    def run(params: OrderedDict[str, Any], x: PyTree) -> tuple[PyTree, tuple[PyTree, Static]]:
        reads = [argument for argument in order if argument not in (*params, "y", "out")]
        return saved_beside(call(forward, params, by_name), len(reads) > 1, params)

    def run_back(params: OrderedDict[str, Any], x: PyTree, y: PyTree, saved: Any, dy: PyTree) -> Any:
        values = {"y": y, "out": y} | values_of(params) | {cotangent_of(order, params): dy}
        returned = backward(*(values[argument] if argument in values else saved[0] for argument in order))
        return gradients_of(params, returned), ()

    return Target(name, None, run, run_back, lambda params, x: run(params, x)[0], True, lenient=True)


def differentiated(
    forward: Callable[..., Any], backward: Callable[..., Any], arguments: OrderedDict[str, Any], by_name: bool
) -> list[int] | None:
    """Which arguments of a pair the gradient is by: not Python's floats beside arrays, where backward gives none."""
    floats = [k for k, value in enumerate(arguments.values()) if isinstance(value, float)]
    rest = [k for k, value in enumerate(arguments.values()) if is_moving(value)]
    if not floats or not rest:
        return None
    target = several("", forward, backward, by_name)
    given = OrderedDict((name, jax.tree.map(np.asarray, value)) for name, value in arguments.items())
    y, saved = target.forward(given, ())
    gradients, _ = target.backward(given, (), y, saved, jax.tree.map(np.ones_like, y))
    told = isinstance(gradients, OrderedDict) and all(list(gradients.values())[k] is not None for k in floats)
    return None if told else rest


def cotangent_of(arguments: Sequence[str], values: Any) -> str:
    """Which argument of a backward is the upstream gradient: the last one, or the first where only its name says so."""
    named = [argument for argument in arguments if COTANGENT.fullmatch(argument) and argument not in values]
    return arguments[-1] if arguments[-1] in named or not named else named[0]


def saved_beside(result: Any, reads: bool, given: Any) -> tuple[PyTree, tuple[PyTree, Static]]:
    """(y, (residuals, whether there are any)) of what a forward returns, where the backward `reads` some."""
    saves = isinstance(result, tuple) and len(result) == 2 and (reads or not is_output(result[1], (given, result[0])))
    return (result[0], (result[1], Static(True))) if saves else (result, ((), Static(False)))


def reads_residuals(reads: list[str]) -> bool:
    """Whether a pair's backward reads anything that can only be what forward saved beside y."""
    return any(name not in ("x", "y") for name in reads) or not reads


def is_output(second: Any, arguments: Any) -> bool:
    """Whether the second of two things a forward returns is an output: floating arrays, neither what it was
    given nor the first output again."""
    given = {id(leaf) for leaf in jax.tree.leaves(arguments)}
    leaves = jax.tree.leaves(second)
    return bool(leaves) and all(map(is_inexact, leaves)) and not any(id(leaf) in given for leaf in leaves)
