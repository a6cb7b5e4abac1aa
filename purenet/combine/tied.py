"""tied: one parameter in several places of a network, its gradient the sum over the places.

y = f(W, W^T, ...)        dW = df/d(first) + (df/d(second))^T + ...

The shared parameter is stored once; where else it is used, the parameters hold None.
Press & Wolf, *Using the Output Embedding to Improve Language Models* (2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from ..annotations import PyTree
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError, layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..planning import RECOMPUTED, sides
from ..validation import describe, leaves_with_paths

TIED = Kind("tied", has_params=False)


@constructor
def tied(network: Layer, ties: Mapping[str, str]) -> Layer:
    """The network with parameters that are others': `tied(net, {"head.kernel": "embed.embedding.T"})`.

    Each target takes the value of its source, transposed if the source ends in `.T`. Paths are those of errors and
    checkpoints; several targets may share a source. Targets leave the parameters, and their gradients are added to
    the source's. Raises if a path leads to no parameter or the two differ in shape or dtype.
    """
    check_ties(ties)

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        with layer_scope("tied"):
            params, state = network.init(key, x)
            leaves = dict(leaves_with_paths(params))
            for target, source in ties.items():
                check_alike(target, parameter(leaves, target), source, parameter(leaves, source))
            return replace(params, dict.fromkeys(ties)), state

    def complete(params: Params) -> Params:
        """The network's own parameters."""
        leaves = dict(leaves_with_paths(params))
        for target, source in ties.items():
            if target in leaves:
                raise LayerValueError(
                    f"expected None for {target}, which is {source}, got {describe(leaves[target])}: take the "
                    "parameters of init, or set it to None"
                )
        return replace(params, {target: parameter(leaves, source) for target, source in ties.items()})

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        with layer_scope("tied"):
            return network.forward(complete(params), state, x, key)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        with layer_scope("tied"):
            dparams, dx = run_backward(network, complete(params), x, y, residuals, dy)
            return shared(dparams), dx

    def shared(dparams: Params) -> Params:
        gradients = dict(leaves_with_paths(dparams))
        for target, source in ties.items():
            # target = source, or its transpose
            found, (owner, transposed) = parameter(gradients, target), find(gradients, source)
            gradients[owner] += found.T if transposed else found
        return replace(dparams, gradients | dict.fromkeys(ties))

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        assert network.recompute is not None
        with layer_scope("tied"):
            return network.recompute(complete(params), x, residuals)

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        with layer_scope("tied"):
            return network.predict(complete(params), state, x)

    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=network.needs,
        recompute=None if network.recompute is None else recompute,
        recompute_needs=network.recompute_needs,
        name="tied",
        kind=TIED,
        parts=(("", network),),
        plan=(*sides(network), *(Value(target, RECOMPUTED, f"it is {source}") for target, source in ties.items())),
        with_parts=lambda parts: tied(parts[0], ties),
    )


def check_ties(ties: Mapping[str, str]) -> None:
    if not isinstance(ties, Mapping) or not all(isinstance(path, str) for tie in ties.items() for path in tie):
        raise TypeError(f'tied: expected paths {{"target": "source"}}, got {describe(ties)}')
    if not ties:
        raise ValueError("tied: expected at least one pair of a target and its source, got none")
    for target, source in ties.items():
        if source in ties or source.removesuffix(".T") in ties:
            raise ValueError(f"tied: {target} is to be {source}, which is a target itself: name the last source")


def find(leaves: Mapping[str, Any], path: str) -> tuple[str, bool]:
    """The path of the parameter, and whether it is to be transposed."""
    if path in leaves:
        return path, False
    if path.endswith(".T") and path[:-2] in leaves:
        return path[:-2], True
    raise LayerValueError(f"expected the path of a parameter, got {path!r}: there are {', '.join(leaves) or 'none'}")


def parameter(leaves: Mapping[str, Any], path: str) -> Any:
    owner, transposed = find(leaves, path)
    return leaves[owner].T if transposed else leaves[owner]


def check_alike(target: str, own: Any, source: str, other: Any) -> None:
    if own.shape != other.shape:
        raise LayerValueError(f"expected {source} of the shape of {target} {list(own.shape)}, got {describe(other)}")
    if own.dtype != other.dtype:
        raise LayerTypeError(f"expected {source} of the dtype of {target}, {own.dtype}, got {describe(other)}")


def replace(tree: PyTree, values: Mapping[str, Any]) -> PyTree:
    """The tree with these values at these paths."""

    def put(path: tuple[Any, ...], leaf: Any) -> Any:
        return values.get(jax.tree_util.keystr(path, simple=True, separator="."), leaf)

    return jax.tree_util.tree_map_with_path(put, tree, is_leaf=lambda leaf: leaf is None)
