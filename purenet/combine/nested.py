"""nested: a stack of n blocks that keeps the input of every sqrt(n)-th block, whatever the blocks are.

The blocks stand in segments. Backward takes the segments from the last to the first: from the one input that was kept
it runs the segment forward again, keeping each block's input, and then takes its blocks in reverse, each of which runs
forward once more. At no time are there more than about 2 sqrt(n) inputs.
A block runs forward three times, the last of a segment twice; the last product of its last run is dead code. For a
block of two equal products that is less than 1.5 times the products of keeping everything.
What is left over, n modulo the segment, is a shorter segment. Gradients are written into their place in the stack.
Chen et al., *Training Deep Nets with Sublinear Memory Cost* (2016), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..annotations import Array, PyTree
from ..errors import layer_scope
from ..layer import Key, Layer, Params, Residuals, State, Value, run_backward
from ..planning import DROPPED, KEPT, RECOMPUTED
from ..randomness import clone_key
from ..validation import check_cotangent, spec
from .stack import REPEAT, check_shape_kept, check_stack, first, init_stack, predict_stack, split_stack


def nested(block: Layer, n: int) -> Layer:
    """`repeat(layer, n, keep="nested")`, where `block` is `remat(layer)`."""
    segments = segments_of(n)

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        stack = params, state, split_stack(key, n)

        def run(x: PyTree, i: Array) -> tuple[PyTree, State]:
            p, s, block_key = take(stack, i)
            y, s, _ = block.forward(p, s, x, block_key)
            check_shape_kept(y, x)
            return y, s

        def run_segment(x: PyTree, blocks: Array) -> tuple[PyTree, tuple]:
            y, states = lax.scan(run, x, blocks)
            return y, (states, x)

        y, states, inputs = x, [], []
        with layer_scope("repeat"):
            check_stack(params, n)
            for blocks in segments:
                y, (new, kept) = lax.scan(run_segment, y, jnp.asarray(blocks))
                states.append(new)
                inputs.append(kept)
        return y, joined(states), (stack[1:], inputs, spec(x))

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        rest, inputs, x_spec = residuals
        stack = params, *rest

        def pull(x: PyTree, dy: PyTree, i: Array) -> tuple[Params, PyTree]:
            p, s, block_key = take(stack, i)
            y, _, extra = block.forward(p, s, x, block_key)
            dparams, dx = run_backward(block, p, x, y, extra, dy)
            check_cotangent(dx, x_spec)
            return dparams, dx

        def pull_block(carry: tuple, each: tuple) -> tuple[tuple, None]:
            (dy, gradients), (i, x) = carry, each
            dparams, dx = pull(x, dy, i)
            return (dx, put(gradients, i, dparams)), None

        def run_again(carry: tuple, each: tuple) -> tuple[tuple, None]:
            (x, inputs), (i, k) = carry, each
            p, s, block_key = take(stack, i)
            y, _, _ = block.forward(p, s, x, block_key)
            return (y, put(inputs, k + 1, y)), None

        def pull_segment(carry: tuple, each: tuple) -> tuple[tuple, None]:
            blocks, x = each
            inputs = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(blocks), *leaf.shape)), x)
            (_, inputs), _ = lax.scan(run_again, (x, inputs), (blocks[:-1], jnp.arange(len(blocks) - 1)))
            return lax.scan(pull_block, carry, (blocks, inputs), reverse=True)

        with layer_scope("repeat"):
            one = jax.eval_shape(pull, first(inputs[0]), dy, segments[0][0, 0])
            gradients = jax.tree.map(lambda leaf: jnp.zeros((n, *leaf.shape), leaf.dtype), one[0])
            carry = dy, gradients
            for blocks, kept in reversed(list(zip(segments, inputs, strict=True))):
                carry, _ = lax.scan(pull_segment, carry, (blocks, kept), reverse=True)
        dx, gradients = carry
        return gradients, dx

    count = sum(len(blocks) for blocks in segments)
    return Layer(
        init=init_stack(block, n),
        forward=forward,
        backward=backward,
        predict=predict_stack(block, n),
        needs=(),
        name="repeat",
        kind=REPEAT,
        rules={"copies": lambda x: (n, n)},
        parts=((f"[{n}x]", block),),
        plan=(
            Value(
                f"input of {count} of {n} blocks",
                KEPT,
                f"up to {segments[0].shape[1]} blocks run forward from it again",
            ),
            Value("input of the other blocks", RECOMPUTED, "the forward that runs again computes it in the backward"),
            Value("output", DROPPED, "nothing reads it"),
        ),
        with_parts=lambda parts: nested(parts[0], n),
    )


def segments_of(n: int) -> list[np.ndarray]:
    """The numbers of the blocks [segments, size], so that segments and the blocks of one together are the fewest;
    what is left over is a segment [1, rest] of its own."""

    def inputs_at_a_time(size: int) -> tuple[int, int]:
        return -(-n // size) + size, n % size

    size = min(range(1, n + 1), key=inputs_at_a_time)
    blocks = np.arange(n, dtype=np.int32)
    whole = n - n % size
    return [part for part in (blocks[:whole].reshape(-1, size), blocks[whole:].reshape(1, -1)) if part.size]


def take(stack: PyTree, i: Array) -> tuple[Params, State, Key]:
    """Parameters, state and key of block i, the key for one more use on purpose."""
    params, state, key = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), stack)
    return params, state, clone_key(key)


def put(stack: PyTree, i: Array, each: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, one: lax.dynamic_update_index_in_dim(leaf, one, i, 0), stack, each)


def joined(states: Sequence[State]) -> State:
    """States stacked [segments, size, ...] as one stack [n, ...]."""
    flat = [jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), state) for state in states]
    return flat[0] if len(flat) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *flat)
