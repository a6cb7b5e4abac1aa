"""What combinators share: layers with keys, static facts beside the residuals, keys of randomness, named steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import LayerValueError, layer_scope
from ..layer import Layer, State, is_stateless
from ..validation import describe


class Named(NamedTuple):
    """The layers of a combinator with their keys: numbers in a list, or names in a dict."""

    kind: str
    keys: tuple[int, ...] | tuple[str, ...]
    layers: tuple[Layer, ...]

    def step(self, k: int) -> str:
        return self.kind + self.label(k)

    def label(self, k: int) -> str:
        return f".{self.keys[k]}" if self.is_dict else f"[{self.keys[k]}]"

    @property
    def is_dict(self) -> bool:
        return isinstance(self.keys[0], str)

    @property
    def parts(self) -> tuple[tuple[str, Layer], ...]:
        return tuple((self.label(k), layer) for k, layer in enumerate(self.layers))

    def pack(self, items: Sequence[Any]) -> Any:
        """A list or dict of one item a layer."""
        return dict(zip(self.keys, items, strict=True)) if self.is_dict else list(items)

    def build(self, combinator: Callable[..., Layer], layers: Sequence[Layer]) -> Layer:
        """The combinator made of other layers under the same keys."""
        return combinator(**self.pack(layers)) if self.is_dict else combinator(*layers)

    def unpack(self, items: Any, what: str = "parameters") -> list[Any]:
        """The items in the layers' order; anything that is not made for these layers is refused."""
        with layer_scope(self.kind):
            if self.is_dict:
                if not isinstance(items, Mapping) or set(items) != set(self.keys):
                    raise LayerValueError(
                        f"expected {what} for {list(self.keys)}, got {describe(items)}: are they another network's?"
                    )
                return [items[key] for key in self.keys]
            if not isinstance(items, (list, tuple)) or len(items) != len(self.layers):
                raise LayerValueError(
                    f"expected {what} for {len(self.layers)} layers, got {describe(items)}: are they another network's?"
                )
            return list(items)

    def pack_state(self, states: Sequence[State]) -> State:
        """() when no layer has a state, as the contract says; else like `pack`."""
        return () if all(is_stateless(state) for state in states) else self.pack(states)

    def unpack_state(self, state: State) -> list[State]:
        return [()] * len(self.layers) if is_stateless(state) else self.unpack(state, "states")


def name_layers(kind: str, layers: Sequence[Layer], named: Mapping[str, Layer]) -> Named:
    if layers and named:
        raise TypeError(f"{kind}: layers are all positional or all named, got {len(layers)} and {len(named)}")
    chosen = tuple(layers) or tuple(named.values())
    if not chosen:
        raise ValueError(f"{kind}: expected at least one layer, got none")
    return Named(kind, tuple(named) or tuple(range(len(chosen))), chosen)


def at_step(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its errors and operations under `step`."""

    @functools.wraps(function)
    def named(*args: Any) -> Any:
        with layer_scope(step):
            return function(*args)

    return named
