"""vae: an autoencoder whose code is a distribution, trained on the evidence lower bound.

    (mean, log_variance) = encoder(x),  z = mean + exp(log_variance / 2) n,  y = decoder(z),  n ~ N(0, 1)
    negative_elbo  reconstruction(y, x) + beta KL(N(mean, variance) || N(0, 1))

With sigmoid cross entropy the first term is -log p(x | z) of black and white pixels, with half the squared error that
of a normal distribution of variance 1 (up to a constant): for beta = 1 the loss bounds -log p(x) from above.
What the backward passes of both terms give to the moments is added where they part.
Kingma & Welling, *Auto-Encoding Variational Bayes* (2014); beta: Higgins et al. (2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..annotations import Array, Float, NonNegativeFloat, PositiveInt, PyTree
from ..arguments import checks_arguments
from ..combine import serial
from ..constructor import constructor
from ..errors import LayerTypeError
from ..layer import Key, Kind, Layer, Params, Residuals, State, run_backward
from ..layers import gelu
from ..losses import sigmoid_binary_cross_entropy
from ..stateless import stateless
from ..validation import describe, pair
from .gaussian import gaussian_kl, gaussian_sample
from .mlp import mlp


@checks_arguments
def vae(
    features: PositiveInt,
    latent: PositiveInt,
    *,
    hidden: Sequence[int] = (128,),
    activation: Callable[[], Layer] = gelu,
) -> Layer:
    """x [..., features] to (y [..., features], moments [..., 2 latent]): the input of `negative_elbo`.

    y are logits or values, as the reconstruction's loss takes them; moments are the means and log-variances of z side
    by side. In training z is a sample, which needs a key, in `predict` the mean. `hidden` are the widths of the
    encoder, of the decoder in reverse. Parameters: encoder, latent.decoder, an `mlp` each. `decode` is the way from z.
    """
    decoder = mlp([*reversed(hidden), features], activation=activation)
    return serial(
        encoder=mlp([*hidden, 2 * latent], activation=activation),
        latent=beside_input(serial(sample=gaussian_sample(), decoder=decoder)),
    ).replace(name="vae")


def decode(net: Layer, params: Params, z: Float[Array, "... latent"]) -> Float[Array, "... features"]:
    """The decoder of a `vae` on z [..., latent]: new examples where z is drawn from N(0, 1)."""
    ((_, generator),) = dict(net.parts)[".latent"].parts
    decoder = dict(generator.parts)[".decoder"]
    return decoder.predict(params["latent"]["decoder"], (), z)


@constructor
def negative_elbo(
    reconstruction: Callable[[str], Layer] = sigmoid_binary_cross_entropy, *, beta: NonNegativeFloat = 1.0
) -> Layer:
    """reconstruction + beta KL of ((y, moments), targets), summed over features and latent, the mean over examples.

    `reconstruction` is a loss with one value an element: `losses.sigmoid_binary_cross_entropy` for logits y and targets
    in [0, 1], `losses.half_squared_error` for real ones. `pn.objective(vae(...), negative_elbo())` takes (x, x).
    """
    recomputed, divergence = reconstruction("batch_mean"), gaussian_kl("mean")

    def forward(x: PyTree) -> Any:
        y, moments, targets = parts_of(x)
        value, _, kept = recomputed.forward((), (), (y, targets), None)
        value = value + beta * divergence.predict((), (), moments).astype(value.dtype)
        return (value, kept) if recomputed.keeps else value

    def backward(x: PyTree, *kept_and_dy: Any) -> PyTree:
        y, moments, targets = parts_of(x)
        *kept, dy = kept_and_dy
        # value = reconstruction(y, targets) + beta * kl(moments)
        _, (dy_hat, dtargets) = run_backward(recomputed, (), (y, targets), None, kept[0] if kept else (), dy)
        _, dmoments = run_backward(divergence, (), moments, None, (), beta * dy)
        return (dy_hat, dmoments), dtargets

    return stateless(forward, backward, name="negative_elbo", keeps=recomputed.keeps)


def parts_of(x: PyTree) -> tuple[Array, Array, Array]:
    """y, moments and targets of ((y, moments), targets)."""
    predictions, targets = pair(x)
    if not (isinstance(predictions, tuple) and len(predictions) == 2):
        raise LayerTypeError(f"expected predictions (y, moments) as `vae` gives them, got {describe(predictions)}")
    return *predictions, targets


BESIDE_INPUT = Kind("beside_input", passes_gradients=True, has_params=False)


@constructor
def beside_input(layer: Layer) -> Layer:
    """y = (f(x), x); dx = f'(dy_0) + dy_1. Nothing is kept that f does not read."""

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        f, state, extra = layer.forward(params, state, x, key)
        return (f, x), state, extra

    def backward(params: Params, x: PyTree, y: PyTree, extra: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        # y = (f(x), x)
        dparams, df = run_backward(layer, params, x, None if y is None else y[0], extra, dy[0])
        return dparams, jax.tree.map(jnp.add, df, dy[1])

    def recompute(params: Params, x: PyTree, extra: Residuals) -> PyTree:
        assert layer.recompute is not None
        return layer.recompute(params, x, extra), x

    return Layer(
        init=layer.init,
        forward=forward,
        backward=backward,
        predict=lambda params, state, x: (layer.predict(params, state, x), x),
        needs=layer.needs,
        recompute=layer.recompute and recompute,
        name="beside_input",
        kind=BESIDE_INPUT,
        parts=((".branch", layer),),
        with_parts=lambda parts: beside_input(*parts),
    )
