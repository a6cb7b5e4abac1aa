"""The contract: a layer is a handful of pure functions, its backward pass written out by hand.

Everything works on plain pytrees, under jit, vmap and scan. How a layer is made of plain twins: `stateless`.
How networks are walked and changed: `purenet.parts`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from .annotations import Array, PyTree
from .call import Call
from .errors import layer_scope
from .validation import check_gradient

Params = PyTree
State = PyTree
Residuals = PyTree
Key = Array | None
Shaped = Array | jax.ShapeDtypeStruct

FUNCTIONS = ("forward", "backward", "predict", "recompute")


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """What a combinator is, compared by identity as JAX compares primitives: `GATED = Kind("gated")`.

    - `passes_gradients`: its backward returns each part's `dparams` untouched, where the part's parameters stand among
      its own. A combinator that sums, scales or drops them does not.
    - `has_params`: whether it has parameters besides those of its parts.

    The defaults are always right: transformations then treat the combinator as one layer where they have to, which is
    less lean.
    """

    name: str
    passes_gradients: bool = False
    has_params: bool = True


class Value(NamedTuple):
    """What becomes of one value between forward and backward: "kept", "recomputed" or "dropped", and why."""

    label: str
    fate: str
    why: str


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """A layer, a network or an objective: a few pure functions, and what others have to know about them.

    - `init(key, x) -> (params, state)`; x is an array or a `jax.ShapeDtypeStruct`.
    - `forward(params, state, x, key) -> (y, new_state, residuals)`, in training. A layer without state has
      `state == ()`; a layer without randomness ignores the key, which may then be None.
    - `backward(params, x, y, residuals, dy) -> (dparams, dx)`. It reads nothing but its arguments; x and y are
      None unless `needs` names them. The gradient of an integer input is None.
    - `predict(params, state, x) -> y`, at inference: no residuals, no randomness, frozen statistics.
    - `needs`: which of its own input "x" and output "y" the backward reads.
    - `recompute(params, x, residuals) -> y` where that costs no matrix product, else None; x is None unless
      `recompute_needs` names it.
    - `name` stands in paths and tables; `keeps` names what `residuals` holds.
    - `rules`: what a transformation cannot know without being told, under the transformation's name, such as
      "squared_norm" for `per_example_norms`. Rules describe this backward: replacing it drops them.

    A combinator has a structure besides:

    - `parts`, its layers with their keys as paths show them, such as ((".inside", layer),);
    - `with_parts(layers)`, the same combinator made of other layers, in the order of `parts`;
    - `kind`, an identity object of its own; `plan`, the values it keeps, recomputes or drops.

    It must hand each part the part's own parameters, state and key, and return the part's new state; also a state that
    it does not know, since transformations give parts states of their own (read with `init`, as shapes). `pack_state`
    of `purenet.combine.named` keeps the state () where no part has one. Its backward calls
    `run_backward(part, params, x, y, residuals, dy)` with the cotangent of the part's output, and gives x and y of the
    part where `part.needs` names them. It must not look at a part's name, nor at what kind of layer the part is.
    """

    init: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    predict: Callable[..., Any]
    needs: tuple[str, ...] = ("x",)
    recompute: Callable[..., Any] | None = None
    recompute_needs: tuple[str, ...] = ("x",)
    name: str = "layer"
    keeps: tuple[str, ...] = ()
    kind: Kind | None = None
    parts: tuple[tuple[str, Layer], ...] = ()
    with_parts: Callable[[Sequence[Layer]], Layer] | None = None
    plan: tuple[Value, ...] = ()
    rules: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    call: Call | None = None

    def replace(self, **changes: Any) -> Layer:
        """The layer with other fields. `replaced` remembers which functions are not its own any more, so that nobody
        takes it for what its `kind` or its constructor makes; a new `with_parts` states another structure."""
        functions = {name for name in FUNCTIONS if name in changes and changes[name] is not getattr(self, name)}
        if "backward" in functions:
            changes = {"rules": {}, **changes}
        if "with_parts" in changes:
            changes = {"kind": None, "replaced": frozenset(), "call": None, **changes}
        elif functions:
            changes = {"replaced": self.replaced | functions, "call": None, **changes}
        return dataclasses.replace(self, **changes)

    def __repr__(self) -> str:
        return str(self.call or Call.of_parts(self.name, self.parts))

    def __eq__(self, other: object) -> bool:
        if self.call is None or not isinstance(other, Layer):
            return self is other
        return self.call == other.call and self.name == other.name

    def __hash__(self) -> int:
        return object.__hash__(self) if self.call is None else hash(self.call)

    def __reduce__(self) -> Any:
        return object.__reduce__(self) if self.call is None else (make_again, (self.call, self.name))


def make_again(call: Call, name: str) -> Layer:
    """The layer of a constructor's call, under the name it had."""
    return call.run().replace(name=name)


def run_backward(
    layer: Layer, params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree
) -> tuple[Params, PyTree]:
    """The layer's backward, given x and y only where it needs them, its gradients compared with what they belong to."""
    x = x if "x" in layer.needs else None
    y = y if "y" in layer.needs else None
    dparams, dx = layer.backward(params, x, y, residuals, dy)
    with layer_scope(layer.name):
        check_gradient(dparams, params, "parameter")
        if x is not None:
            check_gradient(dx, x, "input")
    return dparams, dx


def reverses(layer: Layer) -> bool:
    """Whether the layer's backward can find its input from its output, by its rule "reverse":

    reverse(params, y, residuals, dy) -> (dparams, dx, x), the gradients of `backward`, which reads y and not x.
    """
    return "reverse" in layer.rules and "x" not in layer.needs


def run_reverse(
    layer: Layer, params: Params, y: PyTree, residuals: Residuals, dy: PyTree
) -> tuple[Params, PyTree, PyTree]:
    """(dparams, dx, x) of a layer that reverses, the gradients compared with what they belong to."""
    dparams, dx, x = layer.rules["reverse"](params, y, residuals, dy)
    with layer_scope(layer.name):
        check_gradient(dparams, params, "parameter")
        check_gradient(dx, x, "input")
    return dparams, dx, x


def is_stateless(state: State) -> bool:
    return isinstance(state, tuple) and not state
