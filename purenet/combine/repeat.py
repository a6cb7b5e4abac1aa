"""repeat: n equal blocks one after the other, one compiled block scanned over stacked parameters.

Forward is `lax.scan` over the blocks' parameters, backward the same scan in reverse. What one block keeps is stacked
n times; what it recomputes or drops is really gone, since a scan stores nothing that is not carried out of it.
The backward of a block that finds its input from its output gives the block before it the output it needs.
"""

from __future__ import annotations

from jax import lax

from ..annotations import PositiveInt, PyTree
from ..constructor import constructor
from ..errors import layer_scope
from ..layer import Key, Layer, Params, Residuals, State, Value, reverses, run_backward, run_reverse
from ..planning import DROPPED, KEPT, RECOMPUTED
from ..validation import check_cotangent, spec
from .nested import nested
from .remat import remat
from .stack import REPEAT, check_shape_kept, check_stack, init_stack, predict_stack, split_stack


@constructor
def repeat(layer: Layer, n: PositiveInt, *, keep: str = "plan") -> Layer:
    """`layer` n times, its output of its input's shape; parameters, states and keys stacked along a first axis.

    `keep`, what is kept between forward and backward:

    - "plan": each block's input if it reads x or y (the output of a block is the input of the next), and the block's
      own residuals; of a `reversible` block the last output alone. Nothing is computed twice but what costs no product.
    - "inputs": each block's input alone; the backward runs each block forward again: `repeat(remat(layer), n)`.
    - "nested": the input of every sqrt(n)-th block; the backward runs a segment of blocks forward again, keeping their
      inputs, then each block. About 2 sqrt(n) inputs at a time, of any layer and exactly, for half as many products
      again at most.
    """
    if keep not in ("plan", "inputs", "nested"):
        raise ValueError(f'repeat: expected keep "plan", "inputs" or "nested", got {keep!r}')
    if keep != "plan":
        return repeat(remat(layer), n) if keep == "inputs" else nested(remat(layer), n)
    reads_x, reads_y, finds_x = "x" in layer.needs, "y" in layer.needs, reverses(layer)
    keeps_input = (reads_x or reads_y) and not finds_x

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        def block(x: PyTree, each: tuple) -> tuple[PyTree, tuple]:
            p, s, block_key = each
            y, s, extra = layer.forward(p, s, x, block_key)
            check_shape_kept(y, x)
            return y, (s, extra, x if keeps_input else None)

        with layer_scope("repeat"):
            check_stack(params, n)
            y, (state, extras, inputs) = lax.scan(block, x, (params, state, split_stack(key, n)), length=n)
        return y, state, (extras, inputs, spec(x))

    def reverse(params: Params, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree, PyTree]:
        extras, inputs, x_spec = residuals

        def block(carry: tuple, each: tuple) -> tuple[tuple, Params]:
            dy, y = carry
            p, extra, x = each
            if finds_x:
                dparams, dx, x = run_reverse(layer, p, y, extra, dy)
            else:
                dparams, dx = run_backward(layer, p, x, y, extra, dy)
            check_cotangent(dx, x_spec)
            return (dx, x if reads_y else None), dparams  # this block's input is the output of the one before

        with layer_scope("repeat"):
            (dx, x), gradients = lax.scan(block, (dy, y), (params, extras, inputs), length=n, reverse=True)
        return gradients, dx, x

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        dparams, dx, _ = reverse(params, y, residuals, dy)
        return dparams, dx

    why = "; ".join([f"{layer.name} reads its input"] * reads_x + [f"{layer.name} reads its output"] * reads_y)
    input_fate = KEPT if keeps_input else DROPPED, why or "nothing reads it"
    if finds_x:
        input_fate = RECOMPUTED, f"{layer.name} finds it from its output"
    return Layer(
        init=init_stack(layer, n),
        forward=forward,
        backward=backward,
        predict=predict_stack(layer, n),
        needs=("y",) if reads_y else (),
        name="repeat",
        kind=REPEAT,
        parts=((f"[{n}x]", layer),),
        plan=(
            Value(f"input of each of {n} blocks", *input_fate),
            Value("output", KEPT if reads_y else DROPPED, why if reads_y else "nothing reads it"),
        ),
        with_parts=lambda parts: repeat(parts[0], n),
        rules={"copies": lambda x: (n, n), **({"reverse": reverse} if finds_x else {})},
    )
