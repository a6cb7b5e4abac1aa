"""Networks with one combinator whose own backward has a mistake."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import purenet as pn
from purenet import losses

from .networks import LABELS, TARGETS, X, bad, block, input_gradient
from .rows import Fault, Right, normal

# The combinator's own mistakes.


def without_skip(layer: pn.Layer) -> pn.Layer:
    """dx = f'(dy), where it should be dy + f'(dy)."""
    whole = pn.residual(layer)

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, dx = whole.backward(params, x, y, residuals, dy)
        return dparams, dx - dy

    return whole.replace(backward=backward)


def skip_alone(layer: pn.Layer) -> pn.Layer:
    whole = pn.residual(layer)

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, _ = whole.backward(params, x, y, residuals, dy)
        return dparams, dy

    return whole.replace(backward=backward)


def skip_twice(layer: pn.Layer) -> pn.Layer:
    whole = pn.residual(layer)

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, dx = whole.backward(params, x, y, residuals, dy)
        return dparams, dx + dy

    return whole.replace(backward=backward)


def without_branch(layer: pn.Layer, k: int) -> pn.Layer:
    """A parallel of dense layers that forgets to add the dx of branch k."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, dx = layer.backward(params, x, y, residuals, dy)
        return dparams, dx - dy @ params[k]["kernel"].T

    return layer.replace(backward=backward)


def mean_forgotten(*layers: pn.Layer) -> pn.Layer:
    """A parallel that averages forward and sums backward."""
    whole, n = pn.parallel(*layers, combine="mean"), len(layers)

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        return whole.backward(params, x, y, residuals, n * dy)

    return whole.replace(backward=backward)


def exchanged(layer: pn.Layer, first: int, second: int) -> pn.Layer:
    """A combinator that returns two parts' gradients in each other's place."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        dparams, dx = layer.backward(params, x, y, residuals, dy)
        dparams[first], dparams[second] = dparams[second], dparams[first]
        return dparams, dx

    return layer.replace(backward=backward)


def blocks_reversed(layer: pn.Layer) -> pn.Layer:
    return bad(layer, lambda dparams, dx: (jax.tree.map(lambda g: g[::-1], dparams), dx))


def one_block_short(layer: pn.Layer) -> pn.Layer:
    """A repeat whose first block gets no gradient."""
    return bad(layer, lambda dparams, dx: (jax.tree.map(lambda g: g.at[0].set(0.0), dparams), dx))


def not_divided(layer: pn.Layer, size: int) -> pn.Layer:
    """A per_example that takes the mean forward and the sum backward."""

    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        return layer.backward(params, x, y, residuals, size * dy)

    return layer.replace(backward=backward)


def targets_for_inputs(layer: pn.Layer) -> pn.Layer:
    return bad(layer, lambda dparams, dx: (dparams, (dx[1], dx[0])))


BRANCH = pn.serial(pn.dense(7), pn.tanh())
SUM = pn.parallel(pn.dense(3), pn.dense(3))
UNLIKE = pn.parallel(BRANCH, pn.serial(pn.dense(7), pn.sigmoid()))
TWO = pn.serial(pn.dense(7), pn.tanh(), pn.dense(7))
SQUARED = pn.objective(pn.serial(pn.dense(7), pn.tanh()), losses.squared_error())


def plumbing(name: str, layer: pn.Layer, others: tuple[str, ...], says: str, at: str, x: Any = X) -> Fault:
    return Fault(f"plumbing: {name}", layer, x, None, ("plumbing", *others), says, at)


FAULTS = [
    plumbing("skip left out", without_skip(BRANCH), ("path_missing", "extra_term"), "", "residual"),
    plumbing("skip twice", skip_twice(BRANCH), ("path_doubled", "extra_term"), "", "residual"),
    plumbing("skip alone", skip_alone(BRANCH), ("path_missing",), "", "residual"),
    plumbing(
        "skip left out inside a network",
        pn.serial(pn.dense(7), without_skip(BRANCH), pn.dense(3)),
        ("path_missing", "extra_term"),
        "",
        "serial[1].residual",
    ),
    plumbing(
        "skip left out in repeated blocks",
        pn.repeat(without_skip(BRANCH), 2),
        ("path_missing", "extra_term"),
        "",
        "repeat.residual",
    ),
    plumbing("branch not added", without_branch(SUM, 1), ("path_missing",), "", "parallel"),
    plumbing(
        "branch not added, under a loss",
        pn.objective(without_branch(SUM, 0), losses.squared_error()),
        ("path_missing",),
        "",
        "objective.parallel",
        (X, normal(163, 5, 3)),
    ),
    plumbing("mean of the branches forgotten", mean_forgotten(pn.dense(3), pn.dense(3)), ("scaled",), "", "parallel"),
    plumbing("parts' gradients exchanged", exchanged(TWO, 0, 2), ("swapped_leaves",), "", "serial"),
    plumbing("branches' gradients exchanged", exchanged(UNLIKE, 0, 1), ("swapped_leaves",), "", "parallel"),
    plumbing("blocks in the order of the backward", blocks_reversed(pn.repeat(BRANCH, 3)), ("flipped",), "", "repeat"),
    plumbing("first block left out", one_block_short(pn.repeat(BRANCH, 3)), ("slices",), "", "repeat"),
    plumbing(
        "mean over examples forgotten",
        not_divided(pn.per_example(SQUARED), 5),
        ("scaled",),
        "",
        "per_example",
        (X, normal(164, 5, 7)),
    ),
    plumbing(
        "inputs and targets exchanged",
        targets_for_inputs(SQUARED),
        ("swapped_leaves",),
        "",
        "objective",
        (X, normal(165, 5, 7)),
    ),
    plumbing(
        "serial without its last factor",
        bad(TWO, input_gradient(lambda dx: jnp.zeros_like(dx))),
        ("zero",),
        "",
        "serial",
    ),
]

RIGHTS = [
    Right("serial", pn.serial(pn.dense(11), pn.gelu(), pn.dense(3)), X),
    Right("serial of named layers", pn.serial(up=pn.dense(11), act=pn.tanh(), down=pn.dense(3)), X),
    Right("block", block(), X),
    Right("block of one example without a batch", block(), X[0]),
    Right("repeated blocks", pn.repeat(block(), 3), X),
    Right("parallel", pn.parallel(pn.dense(3), pn.serial(pn.dense(3), pn.sigmoid())), X),
    Right("concatenated", pn.parallel(pn.serial(pn.dense(3), pn.tanh()), pn.gelu(), combine="concatenate"), X),
    Right("remat with dropout", pn.remat(pn.serial(pn.dense(11), pn.dropout(0.2), pn.tanh())), X),
    Right(
        "objective",
        pn.objective(pn.serial(pn.dense(11), pn.relu(), pn.dense(7)), losses.softmax_cross_entropy()),
        (X, LABELS),
    ),
    Right("per example", pn.per_example(pn.objective(pn.dense(11), losses.squared_error())), (X, TARGETS)),
    Right("deep", pn.serial(pn.dense(7), *(block() for _ in range(4)), pn.layer_norm(), pn.dense(3)), X),
    Right("bias in front of a norm", pn.serial(pn.dense(11), pn.layer_norm(), pn.dense(3)), X),
    Right(
        "with autodiff in the middle",
        pn.serial(pn.dense(11), pn.from_function(lambda p, x: jnp.sin(x)), pn.dense(3)),
        X,
    ),
]
