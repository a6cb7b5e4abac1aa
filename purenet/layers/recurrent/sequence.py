"""What the recurrent layers share: their parameters, x with or without lengths, the carry as state, and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer

from ...annotations import Array, PyTree
from ...errors import LayerTypeError, LayerValueError, layer_scope
from ...layer import Key, Kind, Layer, Residuals, Shaped, State, is_stateless
from ...precision import wide_dtype
from ...validation import check_floating, describe
from ..checks import check_names, check_range
from .through_time import Carry, Cell, Lengths, Params, backward_through_time, forward_through_time

# From the first step to the last, and back.
FORWARD, REVERSED = Kind("recurrent"), Kind("recurrent, reversed")


class Weights(NamedTuple):
    """A cell's parameters: kernel [in, gates * features], recurrent_kernel [features, gates * features] and biases.

    Kernels are drawn gate by gate, in float32 at least. `biases`: a number of gates and an initialiser each.
    """

    features: int
    gates: int
    kernel_init: Initializer
    recurrent_init: Initializer
    biases: Mapping[str, tuple[int, Initializer]]

    def init(self, key: Array, inputs: Shaped) -> Params:
        wide = wide_dtype(inputs.dtype)
        keys = jax.random.split(key, 2 + len(self.biases))

        def gate_by_gate(init: Initializer, key: Array, rows: int) -> Array:
            blocks = [init(k, (rows, self.features), wide) for k in jax.random.split(key, self.gates)]
            return jnp.concatenate(blocks, -1)

        params = {
            "kernel": gate_by_gate(self.kernel_init, keys[0], inputs.shape[-1]),
            "recurrent_kernel": gate_by_gate(self.recurrent_init, keys[1], self.features),
        }
        for bias_key, (name, (gates, init)) in zip(keys[2:], self.biases.items(), strict=True):
            params[name] = init(bias_key, (gates * self.features,), wide)
        return {name: value.astype(inputs.dtype) for name, value in params.items()}

    def check(self, params: PyTree, inputs: Array) -> None:
        names = {"kernel", "recurrent_kernel", *self.biases}
        check_names(params, names)
        columns = self.gates * self.features
        shapes = {name: (gates * self.features,) for name, (gates, _) in self.biases.items()}
        shapes |= {"kernel": (params["kernel"].shape[0], columns), "recurrent_kernel": (self.features, columns)}
        for name, shape in shapes.items():
            if params[name].shape != shape:
                raise LayerValueError(
                    f"expected {name} {list(shape)} for {self.features} features, got {describe(params[name])}"
                )
        if inputs.shape[-1] != shapes["kernel"][0]:
            raise LayerValueError(
                f"expected x [..., time, {shapes['kernel'][0]}] for kernel {list(shapes['kernel'])}, "
                f"got {describe(inputs)}"
            )


def recurrent_layer(
    name: str,
    cell: Cell,
    weights: Weights,
    *,
    states: int = 1,
    keep: str = "states",
    keeps: tuple[str, ...] = (),
    reverse: bool,
    last_only: bool,
    stateful: bool,
) -> Layer:
    """The layer of a cell whose carry is a tuple of so many states [..., features], the first one its output."""
    check_options(name, keep, reverse, stateful)
    path = f"reversed_{name}" if reverse else name

    def zero_carry(inputs: Shaped) -> Carry:
        return (jnp.zeros((*inputs.shape[:-2], weights.features), wide_dtype(inputs.dtype)),) * states

    def init(key: Array, x: PyTree) -> tuple[Params, State]:
        with layer_scope(path):
            inputs, _ = check_input(x)
            return weights.init(key, inputs), zero_carry(inputs) if stateful else ()

    def start(params: Params, state: State, x: PyTree) -> tuple[Array, Any, Lengths]:
        inputs, lengths = check_input(x)
        weights.check(params, inputs)
        if is_stateless(state) and not stateful:
            return inputs, zero_carry(inputs), lengths
        check_state(state, inputs, zero_carry(inputs))
        return inputs, state, lengths

    def output(inputs: Array, y: Array, final: Carry) -> Array:
        return final[0].astype(inputs.dtype) if last_only else y

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[Array, State, Residuals]:
        with layer_scope(path):
            inputs, carry, lengths = start(params, state, x)
            (y, final), of_chunks = forward_through_time(cell, params, inputs, carry, lengths, reverse, keep)
            residuals = of_chunks, y if last_only else None, carry if stateful else None
            # Truncated back-propagation through time: no gradient from one call into the one before.
            return output(inputs, y, final), lax.stop_gradient(final) if stateful else state, residuals

    def backward(params: Params, x: PyTree, y: Any, residuals: Residuals, dy: Any) -> tuple[Params, PyTree]:
        inputs, lengths = split_lengths(x)
        of_chunks, hidden, carry = residuals
        with layer_scope(path):
            start = carry if stateful else zero_carry(inputs)
            dfinal = zero_carry(inputs)
            if last_only:  # y = h of the final carry
                y, dfinal, dy = hidden, (dy, *dfinal[1:]), None
            dparams, dinputs, _ = backward_through_time(
                cell, params, inputs, y, start, of_chunks, dy, dfinal, lengths, reverse
            )
        return dparams, (dinputs, None) if isinstance(x, tuple) else dinputs

    def predict(params: Params, state: State, x: PyTree) -> Array:
        with layer_scope(path):
            inputs, carry, lengths = start(params, state, x)
            (y, final), _ = forward_through_time(cell, params, inputs, carry, lengths, reverse)
            return output(inputs, y, final)

    def decode(params: Params, state: State, x: PyTree) -> tuple[Array, State]:
        inputs, carry, lengths = start(params, zero_carry(split_lengths(x)[0]) if is_stateless(state) else state, x)
        (y, final), _ = forward_through_time(cell, params, inputs, carry, lengths, reverse)
        return output(inputs, y, final), final

    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("x",) if last_only else ("x", "y"),
        name=path,
        keeps=keeps + ("gates",) * (keep == "gates") + ("states",) * last_only + ("carry",) * stateful,
        kind=REVERSED if reverse else FORWARD,
        rules={} if reverse else {"decode": decode},
    )


def split_lengths(x: PyTree) -> tuple[Any, Any]:
    """(inputs, lengths), lengths None where x is one array."""
    return x if isinstance(x, tuple) else (x, None)


# Checks while tracing.


def check_options(name: str, keep: str, reverse: bool, stateful: bool) -> None:
    if keep not in ("states", "gates"):
        raise ValueError(f'{name}: expected keep="states" or "gates", got {keep!r}')
    if reverse and stateful:
        raise ValueError(f"{name}: expected reverse or stateful, got both: the end of a later chunk is not known yet")


def check_input(x: PyTree) -> tuple[Any, Any]:
    """The halves of (inputs, lengths), or x and None."""
    if isinstance(x, tuple) and len(x) != 2:
        raise LayerTypeError(f"expected x as one array or a pair (inputs, lengths), got {describe(x)}")
    inputs, lengths = split_lengths(x)
    check_floating(inputs, "inputs" if isinstance(x, tuple) else "x")
    if inputs.ndim < 2 or 0 in inputs.shape[-2:]:
        raise LayerValueError(f"expected x [..., time, in] with at least one step and feature, got {describe(inputs)}")
    if isinstance(x, tuple):
        check_lengths(lengths, inputs)
    return inputs, lengths


def check_lengths(lengths: Any, inputs: Shaped) -> None:
    if not hasattr(lengths, "dtype"):
        raise LayerTypeError(f"expected lengths as one array of integers, got {describe(lengths)}")
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise LayerTypeError(f"expected lengths of an integer dtype, got {describe(lengths)}")
    *leading, time, _ = inputs.shape
    if list(lengths.shape) != leading:
        raise LayerValueError(f"expected lengths {leading} for inputs {list(inputs.shape)}, got {describe(lengths)}")
    check_range(lengths, time + 1, "lengths")


def check_state(state: State, inputs: Array, expected: Any) -> None:
    shapes = [jax.tree.map(jnp.shape, carry) for carry in (state, expected)]
    if shapes[0] == shapes[1]:
        return
    wanted, given = jax.tree.leaves(expected)[0], jax.tree.leaves(state)
    if jax.tree.structure(state) != jax.tree.structure(expected) or given[0].shape[-1:] != wanted.shape[-1:]:
        raise LayerValueError(f"expected the state that init gives, {describe(expected)}, got {describe(state)}")
    raise LayerValueError(
        f"expected x with leading axes {list(given[0].shape[:-1])}, those of the state, got {describe(inputs)}: "
        "a state belongs to one batch, init another for this one"
    )
