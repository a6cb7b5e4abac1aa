"""with_dtype: mixed precision. Parameters, state, x and y in their own dtype, the arithmetic between in another.

y = cast(f(cast(params), cast(x)))        dparams = cast(f'(cast(dy)))

What is kept between forward and backward is in the compute dtype: half the bytes with bfloat16. The casts of the
parameters are not kept but made again where they are used, inside scans too.
Micikevicius et al., *Mixed Precision Training* (2018).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..annotations import PyTree
from ..constructor import constructor
from ..errors import layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..parts import Path, is_open, map_parts, with_changed_parts
from ..planning import KEPT, RECOMPUTED
from ..precision import cast, cast_like, widest
from ..static import Static
from ..validation import spec
from .named import at_step
from .reparametrised import REPARAMETRISED

WITH_DTYPE = Kind("with_dtype", passes_gradients=True, has_params=False)


@constructor
def with_dtype(layer: Layer, compute_dtype: Any, *, output_dtype: Any = None) -> Layer:
    """The layer computed in `compute_dtype` (jnp.bfloat16), with parameters and their gradients in their own dtype.

    x is cast at the door and y back to the dtype of x (of the parameters, where x holds integers), or to
    `output_dtype`: pass the compute dtype to leave y in it. A gradient is rounded to the compute dtype at most once,
    after products accumulated in float32, and summed over several uses in the parameters' dtype. State stays as it
    is; integers and keys are never cast. Check the layer itself in float64: all that this adds to it is rounding.
    """
    compute_dtype, output_dtype = floating(compute_dtype), None if output_dtype is None else floating(output_dtype)
    inner = casting(layer, compute_dtype)
    reads_x, reads_y = "x" in inner.needs, "y" in inner.needs

    def outer_dtype(params: Params, x_spec: Static) -> Any:
        return output_dtype or widest(x_spec.value[1]) or widest(jax.tree.leaves(params)) or compute_dtype

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        inside = cast(x, compute_dtype)
        y, state, extra = at_step("with_dtype", inner.forward)(params, state, inside, key)
        kept = jax.tree.map(narrower, x, inside) if reads_x else None
        specs = spec(x), spec(y)
        return cast(y, outer_dtype(params, specs[0])), state, (extra, kept, y if reads_y else None, specs)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        extra, kept, y, (x_spec, y_spec) = residuals
        with layer_scope("with_dtype"):
            dparams, dx = run_backward(inner, params, cast(kept, compute_dtype), y, extra, cast_like(dy, y_spec))
        return dparams, cast_like(dx, x_spec)

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        extra, kept, _, (x_spec, _) = residuals
        assert inner.recompute is not None
        inside = cast(kept if reads_x else x, compute_dtype)
        y = at_step("with_dtype", inner.recompute)(params, inside, extra)
        return cast(y, outer_dtype(params, x_spec))

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        y = at_step("with_dtype", inner.predict)(params, state, cast(x, compute_dtype))
        return cast(y, outer_dtype(params, spec(x)))

    read = [side for side, reads in (("input", reads_x), ("output", reads_y)) if reads]
    values = [Value(f"{side} in {compute_dtype}", KEPT, f"{layer.name} reads its {side}") for side in read]
    return Layer(
        init=at_step("with_dtype", layer.init),
        forward=forward,
        backward=backward,
        predict=predict,
        needs=(),
        recompute=None if inner.recompute is None else recompute,
        recompute_needs=() if reads_x else inner.recompute_needs,
        name="with_dtype",
        kind=WITH_DTYPE,
        parts=(("", layer),),
        plan=(*values, Value(f"parameters in {compute_dtype}", RECOMPUTED, "cast again where they are used")),
        with_parts=lambda parts: with_dtype(parts[0], compute_dtype, output_dtype=output_dtype),
    )


def casting(layer: Layer, dtype: Any) -> Layer:
    """The layer with the parameters cast in the innermost layers: in a scan block by block, in sums over several uses
    before the sum; a combinator with parameters of its own casts all of them."""

    def cast_innermost(layer: Layer, inside: Layer, path: Path) -> Layer:
        return cast_parameters(layer, dtype) if inside is layer else inside

    rules = {REPARAMETRISED: with_changed_parts}  # its own parameters make the kernel that the layer inside casts
    return map_parts(layer, rules, cast_innermost, enter=has_no_params_of_its_own)


def has_no_params_of_its_own(layer: Layer) -> bool:
    return is_open(layer) and layer.kind is not None and not layer.kind.has_params


def cast_parameters(layer: Layer, dtype: Any) -> Layer:
    """The layer that casts its parameters when it runs."""

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        return layer.forward(cast(params, dtype), state, x, key)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        dparams, dx = run_backward(layer, cast(params, dtype), x, y, residuals, dy)
        return cast_like(dparams, spec(params)), dx

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        assert layer.recompute is not None
        return layer.recompute(cast(params, dtype), x, residuals)

    return layer.replace(
        forward=forward,
        backward=backward,
        predict=lambda params, state, x: layer.predict(cast(params, dtype), state, x),
        recompute=None if layer.recompute is None else recompute,
    )


def floating(dtype: Any) -> Any:
    try:
        if jnp.issubdtype(dtype, jnp.floating):
            return jnp.dtype(dtype)
    except TypeError:
        pass
    raise ValueError(f"with_dtype: expected a floating dtype such as jnp.bfloat16, got {dtype!r}")


def narrower(own: Any, inside: Any) -> Any:
    return own if own.dtype.itemsize < inside.dtype.itemsize else inside
