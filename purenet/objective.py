"""objective: the layer whose output is the loss of a network; its value and gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .annotations import PyTree
from .barrier import after
from .constructor import constructor
from .layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from .validation import check_scalar, pair

Objective = Layer  # one whose output is a scalar, the loss
OBJECTIVE = Kind("objective", passes_gradients=True, has_params=False)


@constructor
def objective(net: Layer, loss: Layer) -> Layer:
    """The layer whose output is the loss of `net`: x is the pair (inputs, targets), params are the network's own.

    `loss` is a layer of `purenet.losses` (or your own) whose input is the pair (predictions, targets).
    What stands between them, the predictions, is kept when the loss or the network reads it and the network
    cannot recompute it. `predict` gives the loss at inference.
    """
    recomputed = net.recompute is not None and "y" not in net.needs and "x" in loss.needs
    kept = ("y" in net.needs or "x" in loss.needs) and not recomputed

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        inputs, targets = pair(x)
        predictions, state, net_residuals = net.forward(params, state, inputs, key)
        value, _, loss_residuals = loss.forward((), (), (predictions, targets), None)
        check_scalar(value, loss.name)
        return value, state, (net_residuals, loss_residuals, predictions if kept else None)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        inputs, targets = x
        net_residuals, loss_residuals, predictions = residuals
        if recomputed:
            assert net.recompute is not None
            dy, (x_again, saved) = after(dy, (inputs, net_residuals))
            predictions = net.recompute(params, x_again, saved)
        # value = loss(predictions, targets)
        _, (dpredictions, dtargets) = run_backward(loss, (), (predictions, targets), y, loss_residuals, dy)
        # predictions = net(inputs)
        dparams, dinputs = run_backward(net, params, inputs, predictions, net_residuals, dpredictions)
        return dparams, (dinputs, dtargets)

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        inputs, targets = pair(x)
        return loss.predict((), (), (net.predict(params, state, inputs), targets))

    reads = [f"{loss.name} reads it"] * ("x" in loss.needs) + ["the network reads its output"] * ("y" in net.needs)
    fate = "kept" if kept else "recomputed" if recomputed else "dropped"
    why = "; ".join(reads + ["the network recomputes it"] * recomputed) or "nothing reads it"
    return Layer(
        init=lambda key, x: net.init(key, pair(x)[0]),
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("x", "y") if "y" in loss.needs else ("x",),
        name="objective",
        parts=((".net", net), (".loss", loss)),
        plan=(Value("predictions", fate, why),),
        kind=OBJECTIVE,
        with_parts=lambda parts: objective(*parts),
    )


def value_and_grad(objective: Layer) -> Callable[..., Any]:
    """The value of an objective and the gradient of its parameters, by the hand-written backward.

    Returns `f(params, state, x, key=None) -> ((value, new_state), gradients)`, the form of
    `jax.value_and_grad(..., has_aux=True)`; the gradients have the parameters' tree and feed optax.
    Tree, shapes and dtypes are compared while tracing, at no cost at run time.
    """

    def value_and_gradient(params: Params, state: State, x: PyTree, key: Key = None) -> Any:
        value, state, residuals = objective.forward(params, state, x, key)
        check_scalar(value, objective.name)
        gradients, _ = run_backward(objective, params, x, value, residuals, jnp.ones_like(value))
        return (value, state), gradients

    return value_and_gradient
