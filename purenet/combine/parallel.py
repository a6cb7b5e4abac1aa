"""parallel: the same x into every layer, y = f_1(x) + ... + f_n(x), their mean, or side by side.

A value used n times gets the sum of n gradients: dx = f_1'(dy_1) + ... + f_n'(dy_n).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import PyTree
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..planning import DROPPED, KEPT, RECOMPUTED
from ..randomness import split_key
from ..static import Static
from ..validation import check_cotangent, describe, spec
from .named import Named, at_step, name_layers

PARALLEL = Kind("parallel", passes_gradients=True, has_params=False)


@constructor
def parallel(*layers: Layer, combine: str = "sum", axis: int = -1, **named: Layer) -> Layer:
    """The same x into every layer; the outputs combined by "sum", "mean" or "concatenate" (along `axis`).

    dx is the sum of what the branches give. Outputs that a branch reads in its backward are recomputed from x where
    that costs no matrix product, else kept; for "concatenate" they are sliced out of y, which the next layer
    holds anyway.
    """
    if combine not in ("sum", "mean", "concatenate"):
        raise ValueError(f'parallel: expected combine "sum", "mean" or "concatenate", got {combine!r}')
    fan = name_layers("parallel", layers, named)
    layers, n = fan.layers, len(fan.layers)
    reads_output = ["y" in layer.needs for layer in layers]
    slices_y = combine == "concatenate" and any(reads_output)
    reads_kept = [reads and not slices_y for reads in reads_output]
    recomputed = [reads and layer.recompute is not None for reads, layer in zip(reads_kept, layers, strict=True)]
    keeps = [reads and not again for reads, again in zip(reads_kept, recomputed, strict=True)]

    def join(outputs: list[Any]) -> Any:
        with layer_scope("parallel"):
            check_branches(outputs, combine, axis)
            if combine == "concatenate":
                return jnp.concatenate(outputs, axis)
            total = functools.reduce(jnp.add, outputs)
            return total / n if combine == "mean" else total

    def split(y: Any, sizes: Sequence[int]) -> list[Any]:
        """What of y, or of its cotangent, belongs to which branch."""
        if combine == "concatenate":
            ends = list(itertools.accumulate(sizes))
            return [lax.slice_in_dim(y, end - size, end, axis=axis) for size, end in zip(sizes, ends, strict=True)]
        return [y / n if combine == "mean" else y] * n

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        pairs = [at_step(fan.step(k), layers[k].init)(branch_key, x) for k, branch_key in enumerate(split_key(key, n))]
        params, states = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        packed = fan.pack(params), fan.pack_state(states)
        jax.eval_shape(predict, *packed, x)  # that the branches fit together
        return packed

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        outputs, states, extras = [], [], []
        branches = zip(fan.unpack(params), fan.unpack_state(state), split_key(key, n), strict=True)
        for k, (p, s, branch_key) in enumerate(branches):
            with layer_scope(fan.step(k)):
                y, s, extra = layers[k].forward(p, s, x, branch_key)
            outputs.append(y)
            states.append(s)
            extras.append(extra)
        y = join(outputs)
        sizes = Static(tuple(output.shape[axis] for output in outputs) if combine == "concatenate" else ())
        kept = [output if keep else None for output, keep in zip(outputs, keeps, strict=True)]
        return y, fan.pack_state(states), (extras, kept, sizes, spec(x))

    def branch_output(k: int, params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        extras, kept, *_ = residuals
        if kept[k] is not None:
            return kept[k]
        recompute = layers[k].recompute
        assert recompute is not None
        return at_step(fan.step(k), recompute)(params, x, extras[k])

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        extras, kept, sizes, x_spec = residuals
        outputs = split(y, sizes.value) if slices_y else kept
        gradients, dx = [], None
        for k, (p, dy_k) in enumerate(zip(fan.unpack(params), split(dy, sizes.value), strict=True)):
            y_k = branch_output(k, p, x, residuals) if recomputed[k] else outputs[k]
            with layer_scope(fan.step(k)):
                dparams, dx_k = run_backward(layers[k], p, x, y_k, extras[k], dy_k)
                check_cotangent(dx_k, x_spec)
            gradients.append(dparams)
            dx = dx_k if dx is None else jax.tree.map(jnp.add, dx, dx_k)
        return fan.pack(gradients), dx

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        return join([branch_output(k, p, x, residuals) for k, p in enumerate(fan.unpack(params))])

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        branches = zip(layers, fan.unpack(params), fan.unpack_state(state), strict=True)
        return join([at_step(fan.step(k), layer.predict)(p, s, x) for k, (layer, p, s) in enumerate(branches)])

    recovers = [layer.recompute is not None or keep for layer, keep in zip(layers, keeps, strict=True)]
    needs_x = any("x" in layer.needs for layer in layers) or any(recomputed)
    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("x",) * needs_x + ("y",) * slices_y,
        recompute=recompute if all(recovers) and not slices_y else None,
        name="parallel",
        kind=PARALLEL,
        parts=fan.parts,
        plan=parallel_values(fan, reads_output, recomputed, slices_y),
        with_parts=functools.partial(fan.build, functools.partial(parallel, combine=combine, axis=axis)),
    )


def check_branches(outputs: Sequence[Any], combine: str, axis: int) -> None:
    """Raise unless the branches' outputs can be combined."""
    shapes = [list(output.shape) for output in outputs]
    if combine == "concatenate":
        ndim = outputs[0].ndim
        if not -ndim <= axis < ndim:
            raise LayerValueError(f"expected axis within the branches' {ndim} axes, got {axis}")
        shapes = [shape[: axis % ndim] + shape[axis % ndim + 1 :] for shape in shapes if len(shape) == ndim]
    if len(shapes) < len(outputs) or any(shape != shapes[0] for shape in shapes):
        raise LayerValueError(f'"{combine}" cannot combine branches with outputs {describe(tuple(outputs))}')


def parallel_values(
    fan: Named, reads_output: Sequence[bool], recomputed: Sequence[bool], slices_y: bool
) -> tuple[Value, ...]:
    """The plan of the branches' outputs; x and y belong to whoever holds the layer."""
    values = []
    for k, (layer, reads, again) in enumerate(zip(fan.layers, reads_output, recomputed, strict=True)):
        label = f"output of {fan.label(k)} {layer.name}"
        if not reads:
            values.append(Value(label, DROPPED, "the combination's gradient needs no value"))
        elif again:
            values.append(Value(label, RECOMPUTED, f"{layer.name} reads its output; {layer.name} recomputes it"))
        elif slices_y:
            values.append(Value(label, DROPPED, f"{layer.name} reads its output: sliced out of the concatenation"))
        else:
            values.append(Value(label, KEPT, f"{layer.name} reads its output"))
    return tuple(values)
