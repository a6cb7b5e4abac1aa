"""Networks are walked here, and nowhere else: every transformation of networks is a `map_parts`.

    squared = map_parts(network, rules={}, default=squared_norms, enter=passes_gradients)

A transformation says what becomes of a layer that has no parts, or that it does not enter, and registers a rule for
each kind of combinator of which it knows more. What it cannot know about a layer that it meets, the layer tells it
(`Layer.rules`). No layer is recognised by its name or its code, so that anybody's combinator is treated like the
library's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .layer import Kind, Layer

Path = tuple[str, ...]
Walk = Callable[[Layer, Path], Layer]
# rule(layer, path, walk): what a layer of its kind becomes; walk(part, path) is what a part becomes.
Rule = Callable[[Layer, Path, Walk], Layer]


def is_open(layer: Layer) -> bool:
    """Whether the layer is a combinator, all of whose functions are those that `with_parts` gives it."""
    return bool(layer.parts) and layer.with_parts is not None and not layer.replaced


def map_parts(
    layer: Layer,
    rules: Mapping[Kind, Rule],
    default: Callable[[Layer, Layer, Path], Layer],
    *,
    enter: Callable[[Layer], bool] = is_open,
) -> Layer:
    """The network with its layers changed, from the inside out.

    A layer whose kind has a rule becomes what the rule says. Any other becomes `default(layer, inside, path)`, where
    `inside` is the combinator made of changed parts if `enter(layer)`, and else the layer itself. `path` is the keys of
    the parts on the way to it. By default every combinator is entered, but for one that had a function replaced, which
    would be lost: it has no rule either.
    """

    def walk(layer: Layer, path: Path) -> Layer:
        enters = enter(layer)
        rule = None if layer.kind is None else rules.get(layer.kind)
        if rule is not None and (enters or not layer.replaced):
            return rule(layer, path, walk)
        inside = with_changed_parts(layer, path, walk) if enters else layer
        return default(layer, inside, path)

    return walk(layer, ())


def with_changed_parts(layer: Layer, path: Path, walk: Walk) -> Layer:
    """The same combinator, made of what `walk` makes of its parts."""
    assert layer.with_parts is not None
    changed = [walk(part, (*path, key)) for key, part in layer.parts]
    return layer.with_parts(changed).replace(name=layer.name)


def passes_gradients(layer: Layer) -> bool:
    """Whether what a part hands back in its gradient's place comes out of the combinator in its place."""
    return is_open(layer) and layer.kind is not None and layer.kind.passes_gradients
