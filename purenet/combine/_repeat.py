"""repeat: n equal blocks one after the other, one compiled block scanned over stacked parameters.

Forward is `lax.scan` over the blocks' parameters, backward the same scan in reverse. What one block keeps is stacked
n times; what it rebuilds or drops is really gone, since a scan stores nothing that is not carried out of it.
"""

from __future__ import annotations

import jax
from jax import lax

from ..annotations import Array, PyTree
from ..errors import LayerValueError, at
from ..layer import Key, Layer, Params, Residuals, State, Value, describe, leaves_with_paths, run_backward
from ..planning import DROPPED, KEPT
from ._named import check_cotangent, spec


def repeat(layer: Layer, n: int) -> Layer:
    """`layer` n times, its output of its input's shape; parameters, states and keys stacked along a first axis.

    Kept a block: its input if it reads x or y (the output of a block is the input of the next), its own residuals.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"repeat: expected a number of blocks of at least 1, got {n!r}")
    reads_x, reads_y = "x" in layer.needs, "y" in layer.needs
    keeps_input = reads_x or reads_y

    def init(key: Array, x: PyTree) -> tuple[Params, State]:
        with at("repeat"):
            params, state = jax.vmap(lambda block_key: layer.init(block_key, x))(jax.random.split(key, n))
            check_shape_kept(jax.eval_shape(layer.predict, *first((params, state)), x), x)
            return params, state

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        def block(x: PyTree, each: tuple) -> tuple[PyTree, tuple]:
            p, s, block_key = each
            y, s, extra = layer.forward(p, s, x, block_key)
            check_shape_kept(y, x)
            return y, (s, extra, x if keeps_input else None)

        with at("repeat"):
            check_stack(params)
            keys = None if key is None else jax.random.split(key, n)
            y, (state, extras, inputs) = lax.scan(block, x, (params, state, keys), length=n)
        return y, state, (extras, inputs, spec(x))

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        extras, inputs, x_spec = residuals

        def block(carry: tuple, each: tuple) -> tuple[tuple, Params]:
            dy, y = carry
            p, extra, x = each
            dparams, dx = run_backward(layer, p, x, y, extra, dy)
            check_cotangent(dx, x_spec)
            return (dx, x if reads_y else None), dparams  # this block's input is the output of the one before

        with at("repeat"):
            (dx, _), gradients = lax.scan(block, (dy, y), (params, extras, inputs), length=n, reverse=True)
        return gradients, dx

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        with at("repeat"):
            check_stack(params)
            return lax.scan(lambda x, each: (layer.predict(*each, x), None), x, (params, state), length=n)[0]

    def check_stack(params: Params) -> None:
        for path, leaf in leaves_with_paths(params):
            if leaf.ndim == 0 or leaf.shape[0] != n:
                raise LayerValueError(f"expected {path} stacked for {n} blocks [{n}, ...], got {describe(leaf)}")

    why = "; ".join([f"{layer.name} reads its input"] * reads_x + [f"{layer.name} reads its output"] * reads_y)
    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("y",) if reads_y else (),
        name="repeat",
        parts=((f"[{n}x]", layer),),
        values=(
            Value(f"input of each of {n} blocks", KEPT if keeps_input else DROPPED, why or "nothing reads it"),
            Value("output", KEPT if reads_y else DROPPED, why if reads_y else "nothing reads it"),
        ),
        assemble=lambda parts: repeat(parts[0], n),
    )


def first(stacked: PyTree) -> PyTree:
    """Shapes of the first block of stacked arrays."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), stacked)


def check_shape_kept(y: PyTree, x: PyTree) -> None:
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), value) for value in (x, y)]
    if shapes[0] != shapes[1]:
        raise LayerValueError(f"expected each block to keep {describe(x)}, got {describe(y)}")
