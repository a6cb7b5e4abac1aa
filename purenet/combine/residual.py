"""residual: y = x + f(x), dx = dy + f'(dy). He et al., *Deep Residual Learning* (2016)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..annotations import PyTree
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..planning import DROPPED, KEPT, RECOMPUTED
from ..validation import check_cotangent, describe, spec
from .named import at_step

RESIDUAL = Kind("residual", passes_gradients=True, has_params=False)


@constructor
def residual(layer: Layer) -> Layer:
    """y = x + f(x), with f's output of x's shape. dx = dy + what f's backward gives."""

    def add(x: PyTree, f: PyTree) -> PyTree:
        with layer_scope("residual"):
            if jax.tree.map(jnp.shape, x) != jax.tree.map(jnp.shape, f):
                raise LayerValueError(f"expected {layer.name} to keep the shape {describe(x)}, got {describe(f)}")
            return jax.tree.map(jnp.add, x, f)

    reads_output, recomputes = "y" in layer.needs, layer.recompute is not None
    keeps_output = reads_output and not recomputes

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        with layer_scope("residual"):
            f, state, extra = layer.forward(params, state, x, key)
        return add(x, f), state, (extra, f if keeps_output else None)

    def branch_output(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        extra, f = residuals
        if f is None:
            assert layer.recompute is not None
            f = layer.recompute(params, x, extra)
        return f

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        with layer_scope("residual"):
            f = branch_output(params, x, residuals) if reads_output else None
            dparams, df = run_backward(layer, params, x, f, residuals[0], dy)
            check_cotangent(df, spec(dy))
        # y = x + f(x)
        return dparams, jax.tree.map(jnp.add, dy, df)

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        return add(x, branch_output(params, x, residuals))

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        with layer_scope("residual"):
            f = layer.predict(params, state, x)
        return add(x, f)

    fate = KEPT if keeps_output else RECOMPUTED if reads_output else DROPPED
    why = f"{layer.name} reads its output" if reads_output else "the sum's gradient needs no value"
    return Layer(
        init=at_step("residual", layer.init),
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("x",) if "x" in layer.needs or (reads_output and recomputes) else (),
        recompute=recompute if keeps_output or recomputes else None,
        name="residual",
        kind=RESIDUAL,
        parts=((".branch", layer),),
        plan=(Value(f"output of {layer.name}", fate, why),),
        with_parts=lambda parts: residual(*parts),
    )
