"""What can be checked, in one form: `forward(params, x) -> (y, saved)` and `backward(params, x, y, saved, dy)`.

- A Layer; a network and an objective are layers too.
- A pair of plain functions whose arguments say what is kept, as in `purenet.stateless`:

      forward([params], x) -> y                                 or (y, residuals)
      backward([params], [x], [y], [residuals], dy) -> dx       or (dparams, dx) with params

  `[params]` is there when forward takes two arguments. A backward argument called x or y is that value, any other
  one stands for the residuals where forward returns them, and for x where it does not. A pair that forward returns
  is two outputs only where backward reads nothing but x and y, and both are arrays that forward has made.
- A function with derivative rules of its own, `f(x)`, `f(params, x)`, `f(*x)` or `f(**x)`: `jax.custom_vjp`,
  `custom_jvp` or `custom_gradient`, at any depth of jit, vmap, partial, methods and loops. It is compared with itself
  without these rules, or with another function given as `reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..annotations import PyTree
from ..layer import Layer
from ..randomness import clone_key
from ..static import Static
from ..validation import describe
from .arguments import call, positional


class Target(NamedTuple):
    """`params` as init gives them, or None; `forward(params, x) -> (y, saved)`; `backward(params, x, y, saved, dy)`
    gives (dparams, dx); `reference(params, x) -> y` is what jax.vjp differentiates. `layer`, `state` and `key` for a
    Layer, to look into its parts. `own_rule`: the reference is the function itself, which has to have a rule."""

    name: str
    params: PyTree
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    reference: Callable[..., Any]
    has_params: bool
    layer: Layer | None = None
    state: PyTree = ()
    key: jax.Array | None = None
    own_rule: bool = False


def as_target(
    target: Any,
    key: jax.Array,
    x: PyTree,
    *,
    reference: Callable[..., Any] | None = None,
    has_params: bool = True,
    spread: str = "",
) -> Target:
    """Give anything that can be checked its one form. Randomness is frozen: every call sees the same key.

    `has_params` says whether the caller passes params, which decides how a function of two arguments is called;
    `spread`: params are all arguments of the function, "by position" or "by name".
    """
    if isinstance(target, Layer):
        return layer_target(target, key, x)
    if isinstance(target, (tuple, list)) and len(target) == 2 and all(map(callable, target)):
        return pair_target(*target)
    if callable(target):
        return function_target(target, reference, has_params, spread)
    raise TypeError(
        "check: expected a Layer, an objective, a pair (forward, backward) or a function with a derivative rule of its "
        f"own, got {describe(target)}"
    )


def layer_target(layer: Layer, key: jax.Array, x: PyTree) -> Target:
    init_key, run_key = jax.random.split(key)
    try:
        params, state = jax.jit(lambda key: layer.init(key, x))(init_key)
    except jax.errors.ConcretizationTypeError:
        params, state = layer.init(clone_key(init_key), x)
    return layer_at(layer, params, state, run_key)


def layer_at(layer: Layer, params: PyTree, state: PyTree, run_key: jax.Array | None) -> Target:
    """A layer with the parameters and state of its init, and the key of its randomness."""

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        y, _, residuals = layer.forward(params, state, x, clone_key(run_key))
        return y, residuals

    def backward(params: PyTree, x: PyTree, y: PyTree, saved: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        read = (x if "x" in layer.needs else None), (y if "y" in layer.needs else None)
        return two(layer.backward(params, *read, saved, dy))

    def reference(params: PyTree, x: PyTree) -> PyTree:
        return forward(params, x)[0]

    return Target(layer.name, params, forward, backward, reference, True, layer, state, run_key)


def pair_target(forward: Callable[..., Any], backward: Callable[..., Any]) -> Target:
    name = getattr(forward, "__name__", "forward").removesuffix("_forward")
    arguments = positional(forward)
    if len(arguments) not in (1, 2):
        raise TypeError(f"check: expected forward(x) or forward(params, x), got forward({', '.join(arguments)})")
    has_params = len(arguments) == 2
    reads = positional(backward)[has_params:-1]
    if len(positional(backward)) < 1 + has_params:
        expected = "backward(params, ..., dy)" if has_params else "backward(..., dy)"
        raise TypeError(f"check: expected {expected}, got backward({', '.join(positional(backward))})")

    def run(params: PyTree, x: PyTree) -> tuple[PyTree, tuple[PyTree, Static]]:
        result = forward(params, x) if has_params else forward(x)
        saves = isinstance(result, tuple) and len(result) == 2
        saves = saves and (reads_residuals(reads) or not is_output(result[1], (params, x, result[0])))
        return (result[0], (result[1], Static(True))) if saves else (result, ((), Static(False)))

    def run_back(params: PyTree, x: PyTree, y: PyTree, saved: tuple[PyTree, Static], dy: PyTree) -> Any:
        residuals, saves = saved
        values = {"x": x, "y": y}
        read = [values.get(name, residuals if saves.value else x) for name in reads]
        try:
            result = backward(*((params,) if has_params else ()), *read, dy)
        except Exception as error:
            if "y" in reads and "x" not in reads:
                error.add_note("backward's argument y is the forward's output: call the input x if that is meant")
            raise
        return two(result) if has_params else ((), result)

    return Target(name, None, run, run_back, lambda params, x: run(params, x)[0], has_params)


def reads_residuals(reads: list[str]) -> bool:
    """Whether a pair's backward reads anything that can only be what forward saved beside y."""
    return any(name not in ("x", "y") for name in reads) or not reads


def is_output(second: Any, arguments: Any) -> bool:
    """Whether the second of two things a forward returns is an output: floating arrays, neither what it was
    given nor the first output again."""
    given = {id(leaf) for leaf in jax.tree.leaves(arguments)}
    leaves = jax.tree.leaves(second)
    arrays = [hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    return bool(leaves) and all(arrays) and not any(id(leaf) in given for leaf in leaves)


def two(result: Any) -> tuple[PyTree, PyTree]:
    if not (isinstance(result, (tuple, list)) and len(result) == 2):
        raise TypeError(f"check: expected backward to return (dparams, dx), got {describe(result)}")
    return result[0], result[1]


def function_target(
    function: Callable[..., Any], reference: Callable[..., Any] | None, has_params: bool, spread: str
) -> Target:
    """A function with derivative rules of its own, beside the function that it should be the derivative of."""
    required = positional(reference or function)
    if not spread and len(required) not in (has_params, 1 + has_params):
        form = "f(params, x)" if has_params else "f(x), or f(*x) with x a tuple of all arguments"
        raise TypeError(f"check: expected {form}, got {len(required)} arguments: {', '.join(required)}")

    def run(f: Callable[..., Any], params: PyTree, x: PyTree) -> PyTree:
        if spread:
            return call(f, params, by_name=spread == "by name")
        return f(params, x) if has_params else f(x)

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        return jax.vjp(lambda params, x: run(function, params, x), params, x)

    def backward(params: PyTree, x: PyTree, y: PyTree, pull: Any, dy: PyTree) -> tuple[PyTree, PyTree]:
        return jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, pull(dy))

    undecorated = reference or (function.__wrapped__ if isinstance(function, jax.custom_vjp) else function)
    name = getattr(function, "__name__", "function")
    own_rule = undecorated is function and not isinstance(function, jax.custom_jvp)
    return Target(
        name,
        None,
        forward,
        backward,
        lambda params, x: run(undecorated, params, x),
        has_params or bool(spread),
        own_rule=own_rule,
    )
