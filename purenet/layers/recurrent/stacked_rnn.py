"""stacked_rnn: recurrent layers on top of each other, all with the lengths of the same examples.

    y_k = f_k(y_{k-1}, lengths),  y_0 = inputs

This is `serial` of layers that hand the lengths on beside their output. What stands between recurrent layers and sees
no lengths, such as dropout, is put in by `without_lengths`.
"""

from __future__ import annotations

from typing import Any

from ...annotations import PyTree
from ...combine import serial
from ...layer import Key, Layer, Params, Residuals, State
from ...static import Static
from .sequence import split_lengths


def stacked_rnn(*layers: Layer) -> Layer:
    """One layer after the other on x, an array or a pair (inputs, lengths) whose lengths each of them gets.

    `stacked_rnn(lstm(64), without_lengths(dropout(0.2)), lstm(64))`; y is the last layer's output alone.
    """
    if not layers:
        raise ValueError("stacked_rnn: expected at least one layer, got none")
    return serial(*map(handing_on_lengths, layers[:-1]), layers[-1])


def handing_on_lengths(layer: Layer) -> Layer:
    """The layer with output (y, lengths) where its x is (inputs, lengths)."""

    def hand_on(x: PyTree, y: PyTree) -> PyTree:
        return (y, x[1]) if isinstance(x, tuple) else y

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, state, residuals = layer.forward(params, state, x, key)
        return hand_on(x, y), state, residuals

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        return layer.backward(params, x, split_lengths(y)[0], residuals, split_lengths(dy)[0])

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        assert layer.recompute is not None
        return hand_on(x, layer.recompute(params, x, residuals))

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        return hand_on(x, layer.predict(params, state, x))

    return layer.replace(
        forward=forward,
        backward=backward,
        recompute=layer.recompute and recompute,
        recompute_needs=("x",),
        predict=predict,
        with_parts=layer.with_parts and (lambda parts: handing_on_lengths(assembled(layer, parts))),
    )


def without_lengths(layer: Layer) -> Layer:
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
        with_parts=layer.with_parts and (lambda parts: without_lengths(assembled(layer, parts))),
    )


def assembled(layer: Layer, parts: Any) -> Layer:
    assert layer.with_parts is not None
    return layer.with_parts(parts)
