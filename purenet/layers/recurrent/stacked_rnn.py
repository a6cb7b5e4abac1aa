"""stacked_rnn: recurrent layers on top of each other, all with the lengths of the same examples.

    y_k = f_k(y_{k-1}, lengths),  y_0 = inputs,  k = 1 .. number of layers

It is `serial` of layers that pass the lengths on beside their output. `without_lengths` does so with a layer that
takes none, such as dropout or an embedding. Kept: what the plan of `serial` says.
Sutskever, Vinyals & Le, *Sequence to Sequence Learning with Neural Networks* (2014), section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...annotations import PyTree
from ...combine import serial
from ...constructor import constructor
from ...layer import Key, Layer, Params, Residuals, State
from ...static import Static
from .sequence import split_lengths


@constructor
def stacked_rnn(*layers: Layer) -> Layer:
    """One layer after the other on x, an array or a pair (inputs, lengths) whose lengths each of them gets.

    `stacked_rnn(lstm(64), without_lengths(dropout(0.2)), lstm(64))`; y is the last layer's output, without lengths.
    """
    if not layers:
        raise ValueError("stacked_rnn: expected at least one layer, got none")
    return serial(*map(with_lengths, layers[:-1]), output_alone(layers[-1]))


@constructor
def without_lengths(layer: Layer) -> Layer:
    """The layer on the inputs alone: x = (inputs, lengths) becomes (layer(inputs), lengths), an array layer(x).

    `serial(without_lengths(embedding(100, 64)), lstm(64))` takes (tokens, lengths).
    """
    return with_lengths(on_inputs(layer))


def with_lengths(layer: Layer) -> Layer:
    """The layer with output (y, lengths) where its x is (inputs, lengths); one that has it already stays as it is."""

    def pass_on(x: PyTree, y: PyTree) -> PyTree:
        return (split_lengths(y)[0], x[1]) if isinstance(x, tuple) else y

    return with_output(layer, pass_on)


def output_alone(layer: Layer) -> Layer:
    """The layer without lengths beside its output."""
    return with_output(layer, lambda x, y: split_lengths(y)[0] if isinstance(x, tuple) else y)


def with_output(layer: Layer, change: Callable[[PyTree, PyTree], PyTree]) -> Layer:
    """The layer with change(x, y) for y: with lengths or without, which its backward leaves aside."""

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, state, residuals = layer.forward(params, state, x, key)
        return change(x, y), state, residuals

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        return layer.backward(params, x, split_lengths(y)[0], residuals, split_lengths(dy)[0])

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        assert layer.recompute is not None
        return change(x, layer.recompute(params, x, residuals))

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        return change(x, layer.predict(params, state, x))

    return layer.replace(
        forward=forward,
        backward=backward,
        recompute=layer.recompute and recompute,
        recompute_needs=("x",),
        predict=predict,
        with_parts=layer.with_parts and (lambda parts: with_output(assembled(layer, parts), change)),
    )


def on_inputs(layer: Layer) -> Layer:
    """The layer on the inputs of x = (inputs, lengths), or on x itself where it is one array."""

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        return layer.init(key, split_lengths(x)[0])

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, state, residuals = layer.forward(params, state, split_lengths(x)[0], key)
        return y, state, (residuals, Static(isinstance(x, tuple)))

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        own, has_lengths = residuals
        dparams, dx = layer.backward(params, split_lengths(x)[0], y, own, dy)
        return dparams, (dx, None) if has_lengths.value else dx

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        assert layer.recompute is not None
        return layer.recompute(params, split_lengths(x)[0], residuals[0])

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        return layer.predict(params, state, split_lengths(x)[0])

    return layer.replace(
        init=init,
        forward=forward,
        backward=backward,
        recompute=layer.recompute and recompute,
        predict=predict,
        with_parts=layer.with_parts and (lambda parts: on_inputs(assembled(layer, parts))),
    )


def assembled(layer: Layer, parts: Any) -> Layer:
    assert layer.with_parts is not None
    return layer.with_parts(parts)
