"""What stacks of equal blocks share, whatever they keep: parameters and states stacked along a first axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from ..annotations import PyTree
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Kind, Layer, Params, State
from ..validation import describe, leaves_with_paths

REPEAT = Kind("repeat", passes_gradients=True, has_params=False)


def init_stack(layer: Layer, n: int) -> Callable[..., Any]:
    """The `init` of n blocks, each drawn with a key of its own."""

    def init(key: Any, x: PyTree) -> tuple[Params, State]:
        with layer_scope("repeat"):
            params, state = jax.vmap(lambda block_key: layer.init(block_key, x))(jax.random.split(key, n))
            check_shape_kept(jax.eval_shape(layer.predict, *first((params, state)), x), x)
            return params, state

    return init


def predict_stack(layer: Layer, n: int) -> Callable[..., Any]:
    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        with layer_scope("repeat"):
            check_stack(params, n)
            return lax.scan(lambda x, each: (layer.predict(*each, x), None), x, (params, state), length=n)[0]

    return predict


def split_stack(key: Key, n: int) -> Key:
    """A key a block, stacked, or None."""
    return None if key is None else jax.random.split(key, n)


def first(stacked: PyTree) -> PyTree:
    """Shapes of the first block of stacked arrays."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), stacked)


def check_stack(params: Params, n: int) -> None:
    for path, leaf in leaves_with_paths(params):
        if leaf.ndim == 0 or leaf.shape[0] != n:
            raise LayerValueError(f"expected {path} stacked for {n} blocks [{n}, ...], got {describe(leaf)}")


def check_shape_kept(y: PyTree, x: PyTree) -> None:
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), value) for value in (x, y)]
    if shapes[0] != shapes[1]:
        raise LayerValueError(f"expected each block to keep {describe(x)}, got {describe(y)}")
