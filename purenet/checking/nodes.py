"""A network as a tree of nodes, as the checker walks it: what each layer is, and the path under which it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..combine.per_example import PER_EXAMPLE
from ..combine.remat import REMAT
from ..combine.residual import RESIDUAL
from ..combine.stack import REPEAT
from ..layer import Layer
from ..objective import OBJECTIVE

COPIES, EXAMPLES = "copies", "examples"

# Combinators whose own path says which part is meant.
SILENT = (RESIDUAL, REMAT, OBJECTIVE, PER_EXAMPLE, REPEAT)
# What is stacked along the first axis of all that goes through the part.
STACKED = {REPEAT: COPIES, PER_EXAMPLE: EXAMPLES}


class Step(NamedTuple):
    """One step of a path: what is printed, the part's key, and what is stacked in the points behind it, if anything."""

    text: str
    key: str = ""
    axis: str = ""


class Node(NamedTuple):
    """A layer where it stands. A leaf has no parts: it is judged as a whole."""

    path: tuple[Step, ...]
    layer: Layer
    parts: tuple[Node, ...] = ()


def look_inside(layer: Layer, before: tuple[Step, ...] = ()) -> Node:
    """The layer and its parts; a leaf if there is no other way to make its forward than the one it has."""
    path = (*before, Step(layer.name))
    if not has_forward_of_parts(layer):
        return Node(path, layer)
    parts = [look_inside(part, (*before, step(layer, key))) for key, part in layer.parts]
    return Node(path, layer, tuple(parts))


def has_forward_of_parts(layer: Layer) -> bool:
    """Whether the layer made of its parts again has the same forward; its backward may be another."""
    return bool(layer.parts) and layer.with_parts is not None and not layer.replaced & {"forward", "predict"}


def step(layer: Layer, key: str) -> Step:
    """The step into a part, as `purenet.errors.layer_scope` names it."""
    text = layer.name if layer.kind in SILENT else layer.name + key
    return Step(text, key, STACKED.get(layer.kind, "") if layer.kind else "")


def leaves(node: Node) -> Iterator[Node]:
    if not node.parts:
        yield node
    for part in node.parts:
        yield from leaves(part)


def everything_in(node: Node) -> Iterator[Node]:
    """The node and all nodes inside it."""
    yield node
    for part in node.parts:
        yield from everything_in(part)


def printed(path: tuple[Step, ...], copy: tuple[int, ...] | None) -> str:
    """The path, with the numbers of the blocks of `repeat` unless `copy` is None."""
    texts, numbers = [], iter(copy or ())
    for step in path:
        number = next(numbers, None) if step.axis == COPIES else None
        texts.append(step.text if number is None else f"{step.text}[{number}]")
    return ".".join(texts)
