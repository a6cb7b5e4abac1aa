"""A layer whose kernel is computed from its parameters: what weight_standardize, spectral_norm and weight_norm share.

    y = layer(f(own), x)        down = f'(own) dkernel,  dkernel and dx from the layer's own backward

`own` are the parameters that f reads, "kernel" and perhaps more; the layer's others, such as its bias, pass through.
Kept: what the layer keeps, and what f names. The computed kernel itself is computed again when the backward comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..annotations import PyTree
from ..barrier import after
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..planning import RECOMPUTED, leaf_value
from ..randomness import split_key
from ..validation import describe

REPARAMETRISED = Kind("reparametrised")


class Reparametrisation(NamedTuple):
    """The twins of a kernel, `name` in paths. A `state` of its own stands beside the layer's; else it is ().

    - `init(key, kernel) -> (own, state)` from the kernel of the layer's own init
    - `forward(own, state) -> (kernel, new_state, saved)`; `keeps` names what is saved
    - `recompute(own, saved) -> kernel`, the same again
    - `backward(own, saved, dkernel) -> down`
    - `predict(own, state) -> kernel`
    """

    name: str
    init: Callable[..., Any]
    forward: Callable[..., Any]
    recompute: Callable[..., Any]
    backward: Callable[..., Any]
    predict: Callable[..., Any]
    keeps: tuple[str, ...]
    own: tuple[str, ...] = ("kernel",)
    has_state: bool = False


def reparametrised(layer: Layer, how: Reparametrisation, with_parts: Callable[..., Layer]) -> Layer:
    """`layer` run with the kernel that `how` computes; `with_parts([layer])` makes the same of another layer."""

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        layer_key, own_key = split_key(key, 2) if how.has_state else (key, None)
        with layer_scope(how.name):
            params, inside = layer.init(layer_key, x)
            check_kernel(params, layer.name)
            if taken := set(params) & set(how.own[1:]):
                raise LayerValueError(f"expected a layer without a parameter {taken.pop()}, got {layer.name}")
            own, state = how.init(own_key, params["kernel"])
        return {**params, **own}, join(state, inside)

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        with layer_scope(how.name):
            own, rest, (state, inside) = *split(params), part(state)
            kernel, state, saved = how.forward(own, state)
            y, inside, extra = layer.forward({**rest, "kernel": kernel}, inside, x, key)
        return y, join(state, inside), (extra, saved)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        own, rest = split(params)
        extra, saved = residuals
        dy, (own, saved) = after(dy, (own, saved))
        with layer_scope(how.name):
            kernel = how.recompute(own, saved)
            drest, dx = run_backward(layer, {**rest, "kernel": kernel}, x, y, extra, dy)
            # kernel = f(own)
            down = how.backward(own, saved, drest["kernel"])
        return {**drest, **down}, dx

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        own, rest = split(params)
        extra, saved = residuals
        assert layer.recompute is not None
        with layer_scope(how.name):
            return layer.recompute({**rest, "kernel": how.recompute(own, saved)}, x, extra)

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        with layer_scope(how.name):
            own, rest, (state, inside) = *split(params), part(state)
            return layer.predict({**rest, "kernel": how.predict(own, state)}, inside, x)

    def split(params: Params) -> tuple[Params, Params]:
        """(own, the others)."""
        check_kernel(params, layer.name)
        if missing := [name for name in how.own if name not in params]:
            raise LayerValueError(f"expected parameters with {missing}, got {describe(params)}")
        return {name: params[name] for name in how.own}, {k: v for k, v in params.items() if k not in how.own}

    def join(state: State, inside: State) -> State:
        return {"kernel": state, "inside": inside} if how.has_state else inside

    def part(state: State) -> tuple[State, State]:
        """(own, the layer's)."""
        if not how.has_state:
            return (), state
        if not isinstance(state, dict) or set(state) != {"kernel", "inside"}:
            raise LayerValueError(f"expected a state ['inside', 'kernel'] as init gives it, got {describe(state)}")
        return state["kernel"], state["inside"]

    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=layer.needs,
        recompute=None if layer.recompute is None else recompute,
        recompute_needs=layer.recompute_needs,
        name=how.name,
        kind=REPARAMETRISED,
        keeps=how.keeps,
        parts=(("", layer),),
        plan=(
            leaf_value(layer, "input"),
            Value(f"kernel of {layer.name}", RECOMPUTED, f"{how.name} computes it from the parameters again"),
            leaf_value(layer, "output"),
        ),
        with_parts=with_parts,
    )


def check_kernel(params: Params, name: str) -> None:
    kernel = params.get("kernel") if isinstance(params, dict) else None
    if kernel is None or kernel.ndim < 2:
        raise LayerValueError(
            f"expected a layer with a kernel [..., in, out], like dense, got {name} with {describe(params)}"
        )
