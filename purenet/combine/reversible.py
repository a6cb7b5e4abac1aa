"""reversible: a block that finds its input again from its output, so that a stack of them keeps the last output alone.

    x  = (x1, x2),  y = (y1, y2)      halves of the last axis, [..., d] each
    y1 = x1 + f(x2)                   x2 = y2 - g(y1),   dx1 = dy1 + g'(dy2)
    y2 = x2 + g(y1)                   x1 = y1 - f(x2),   dx2 = dy2 + f'(dx1)

The backward runs f and g once more for this, and what they keep serves their gradients too: a third more products.
Subtraction finds x but for its last digits, and the error grows with depth. Of `serial(layer_norm(), dense, gelu(),
dense)` as f and g in float32, parameters as drawn, the worst gradient at depth 4, 16, 64 and 256 is off by 6e-7, 2e-6,
1e-5 and 1e-4 of its largest entry, against float64; by jax.grad, which keeps all, 5e-7, 7e-7, 2e-6 and 3e-6.
Gomez, Ren, Urtasun & Grosse, *The Reversible Residual Network* (2017), equations 6 to 8 and algorithm 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..annotations import Array, Float, PyTree
from ..barrier import after
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError, layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, Shaped, State, Value, run_backward
from ..planning import DROPPED, KEPT, everything_inside
from ..precision import wide_dtype
from ..randomness import clone_key, split_key
from ..validation import check_floating, describe
from .named import name_layers

Stream = Float[Array, "... two_d"]
Half = Float[Array, "... d"]


REVERSIBLE = Kind("reversible", passes_gradients=True, has_params=False)


@constructor
def reversible(f: Layer, g: Layer) -> Layer:
    """y1 = x1 + f(x2), y2 = x2 + g(y1) on the halves of the last axis of x [..., 2 d]; f and g keep [..., d].

    Kept: y, which the layer behind reads anyway, the state and the keys. `repeat` and `serial` of reversible layers
    keep their last output alone, whatever the depth. Parameters: f and g.

    x has to be float32 or wider, since it is found again by subtraction. For narrow arithmetic inside:
    `reversible(with_dtype(f, jnp.bfloat16), with_dtype(g, jnp.bfloat16))`.
    Raises before anything is compiled if x is narrower or has an odd last axis, or f or g do not keep shape and dtype.
    """
    both = name_layers("reversible", (), {"f": f, "g": g})

    def init(key: Key, x: Shaped) -> tuple[Params, State]:
        with layer_scope("reversible"):
            check_stream(x)
        half = jax.ShapeDtypeStruct((*x.shape[:-1], x.shape[-1] // 2), x.dtype)
        params, states = [], []
        for k, layer_key in enumerate(split_key(key, 2)):
            with layer_scope(both.step(k)):
                p, s = both.layers[k].init(layer_key, half)
                check_like(jax.eval_shape(both.layers[k].predict, p, s, half), half)
            params.append(p)
            states.append(s)
        return both.pack(params), both.pack_state(states)

    def run(k: int, params: Params, state: State, x: Half, key: Key) -> tuple[Half, State, Residuals]:
        with layer_scope(both.step(k)):
            y, state, extra = both.layers[k].forward(params, state, x, key)
            check_like(y, x)
        return y, state, extra

    def forward(params: Params, state: State, x: Stream, key: Key) -> tuple[Stream, State, Residuals]:
        with layer_scope("reversible"):
            x1, x2 = halves(x)
        (of_f, of_g), (f_state, g_state) = both.unpack(params), both.unpack_state(state)
        f_key, g_key = split_key(key, 2)
        f_x2, f_state, _ = run(0, of_f, f_state, x2, f_key)
        y1 = x1 + f_x2
        g_y1, g_state, _ = run(1, of_g, g_state, y1, g_key)
        y2 = x2 + g_y1
        return jnp.concatenate((y1, y2), -1), both.pack_state([f_state, g_state]), (state, clone_key(key))

    def reverse(params: Params, y: Stream, residuals: Residuals, dy: Stream) -> tuple[Params, Stream, Stream]:
        state, key = residuals
        dy, (y, key) = after(dy, (y, clone_key(key)))
        (of_f, of_g), (f_state, g_state) = both.unpack(params), both.unpack_state(state)
        f_key, g_key = split_key(key, 2)
        (y1, y2), (dy1, dy2) = halves(y), halves(dy)
        # y2 = x2 + g(y1)
        g_y1, _, extra = run(1, of_g, g_state, y1, g_key)
        x2 = y2 - g_y1
        with layer_scope(both.step(1)):
            dg, dy1_of_g = run_backward(g, of_g, y1, g_y1, extra, dy2)
        dx1 = dy1 + dy1_of_g
        # y1 = x1 + f(x2)
        f_x2, _, extra = run(0, of_f, f_state, x2, f_key)
        x1 = y1 - f_x2
        with layer_scope(both.step(0)):
            df, dx2_of_f = run_backward(f, of_f, x2, f_x2, extra, dx1)
        dx2 = dy2 + dx2_of_f
        return both.pack([df, dg]), jnp.concatenate((dx1, dx2), -1), jnp.concatenate((x1, x2), -1)

    def backward(params: Params, x: None, y: Stream, residuals: Residuals, dy: Stream) -> tuple[Params, Stream]:
        dparams, dx, _ = reverse(params, y, residuals, dy)
        return dparams, dx

    def predict(params: Params, state: State, x: Stream) -> Stream:
        with layer_scope("reversible"):
            x1, x2 = halves(x)
        (of_f, of_g), (f_state, g_state) = both.unpack(params), both.unpack_state(state)
        with layer_scope(both.step(0)):
            y1 = x1 + f.predict(of_f, f_state, x2)
        with layer_scope(both.step(1)):
            y2 = x2 + g.predict(of_g, g_state, y1)
        return jnp.concatenate((y1, y2), -1)

    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("y",),
        name="reversible",
        kind=REVERSIBLE,
        parts=both.parts,
        plan=(
            Value("input", DROPPED, "found from the output where somebody reads it"),
            *dict.fromkeys(Value(everything_inside(layer), DROPPED, "run again in the backward") for layer in (f, g)),
            Value("output", KEPT, "the input is found from it"),
        ),
        with_parts=lambda parts: reversible(*parts),
        rules={"reverse": reverse},
    )


def halves(x: Stream) -> tuple[Half, Half]:
    check_stream(x)
    first, second = jnp.split(x, 2, -1)
    return first, second


def check_stream(x: Shaped) -> None:
    check_floating(x)
    if not x.shape or x.shape[-1] % 2 or not x.shape[-1]:
        raise LayerValueError(f"expected x [..., 2 d], two halves along the last axis, got {describe(x)}")
    if x.dtype != wide_dtype(x.dtype):
        raise LayerTypeError(
            f"expected x in float32 or wider, since it is found again by subtraction, got {describe(x)}: keep the "
            f"stream wide and compute in {x.dtype} inside, reversible(with_dtype(f, ...), with_dtype(g, ...))"
        )


def check_like(y: PyTree, x: Shaped) -> None:
    if jax.tree.structure(y) != jax.tree.structure(x) or y.shape != x.shape:
        raise LayerValueError(f"expected an output like the input, {describe(x)}, got {describe(y)}")
    if y.dtype != x.dtype:
        raise LayerTypeError(f"expected an output of the dtype of the input, {describe(x)}, got {describe(y)}")
