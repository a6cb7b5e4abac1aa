"""remat: keep the input alone, run forward again when the backward comes.

Chen et al., *Training Deep Nets with Sublinear Memory Cost* (2016).
"""

from __future__ import annotations

from ..annotations import PyTree
from ..barrier import after
from ..constructor import constructor
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..planning import DROPPED, KEPT, everything_inside
from ..randomness import clone_key
from .named import at_step

REMAT = Kind("remat", passes_gradients=True, has_params=False)


@constructor
def remat(layer: Layer) -> Layer:
    """The same layer, its residuals recomputed by a second forward inside the backward.

    Kept: x, the state and the key. On accelerators a barrier over x and dy keeps XLA from merging the second forward
    with the first (outside a scan), and from running it before dy is there: `purenet.barrier`. What the second
    forward would compute for y alone, its last matrix product, is dead code unless the layer reads y.
    """

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, new_state, _ = at_step("remat", layer.forward)(params, state, x, key)
        return y, new_state, (state, clone_key(key))

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        state, key = residuals
        dy, (x, key) = after(dy, (x, clone_key(key)))
        y, _, extra = at_step("remat", layer.forward)(params, state, x, key)
        return at_step("remat", run_backward)(layer, params, x, y, extra, dy)

    return Layer(
        init=at_step("remat", layer.init),
        forward=forward,
        backward=backward,
        predict=at_step("remat", layer.predict),
        name="remat",
        kind=REMAT,
        parts=((".inside", layer),),
        plan=(
            Value("input", KEPT, f"{layer.name} runs forward from it again"),
            Value(everything_inside(layer), DROPPED, "the second forward computes it in the backward"),
        ),
        with_parts=lambda parts: remat(*parts),
    )
