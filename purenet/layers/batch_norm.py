"""batch_norm: each channel centred and scaled over the whole batch in training, by running statistics in `predict`.

    xhat = (x - mean) rstd,  mean = E[x],  rstd = 1 / sqrt(var + eps),  var = E[(x - mean)^2]
    y    = scale xhat + bias                                            E over all axes but the last
    dscale = sum dy xhat,  dbias = sum dy
    dx     = scale rstd (dy - E[dy] - xhat E[dy xhat])
    state  = momentum state + (1 - momentum) (mean, var), no part of any gradient

With axis_name the means E are taken over that axis too, of `vmap` or `shard_map`: two pmeans forward, one backward.
Kept: x and the two statistics [channels]; y is recomputed from them. Statistics and sums are at least float32.
Ioffe & Szegedy, *Batch Normalization* (2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, NonNegativeFloat, PyTree
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..layer import Key, Layer, Params, Shaped, State
from ..precision import wide_dtype, widen
from ..validation import describe
from .checks import check_features
from .scale_and_bias import check_scale_and_bias, init_scale_and_bias, names_of, scale_and_bias_forward

Batch = Float[Array, "... channels"]
Statistics = tuple[Float[Array, " channels"], Float[Array, " channels"]]


def batch_norm_forward(
    params: dict[str, Array], x: Batch, eps: float = 1e-5, axis_name: Hashable = None
) -> tuple[Batch, Statistics]:
    statistics = batch_statistics(x, axis_name)
    return batch_norm_recompute(params, x, statistics, eps), statistics


def batch_statistics(x: Batch, axis_name: Hashable = None) -> Statistics:
    """(mean, variance), at least in float32."""
    wide, examples = widen(x), tuple(range(x.ndim - 1))
    mean = over_axis(jnp.mean(wide, examples), axis_name)  # [channels]
    deviation = wide - jnp.broadcast_to(mean, x.shape)
    return mean, over_axis(jnp.mean(jnp.square(deviation), examples), axis_name)


def batch_norm_recompute(params: dict[str, Array], x: Batch, statistics: Statistics, eps: float = 1e-5) -> Batch:
    xhat, _ = normalise(x, statistics, eps)
    return scale_and_bias_forward(params, xhat).astype(x.dtype)


def batch_norm_backward(
    params: dict[str, Array],
    x: Batch,
    statistics: Statistics,
    dy: Batch,
    eps: float = 1e-5,
    axis_name: Hashable = None,
) -> tuple[dict[str, Array], Batch]:
    xhat, rstd = normalise(x, statistics, eps)  # [..., channels], [channels]
    dparams, dx = normalised_backward(params, xhat, rstd, dy, axis_name)
    return dparams, dx.astype(x.dtype)


def normalised_backward(
    params: dict[str, Array], xhat: Batch, rstd: Float[Array, " channels"], dy: Batch, axis_name: Hashable
) -> tuple[dict[str, Array], Batch]:
    """(dparams, dx) from the normalised values, dx in their dtype."""
    dy, examples = dy.astype(xhat.dtype), tuple(range(dy.ndim - 1))
    # y = scale * xhat + bias
    sums = {"scale": jnp.sum(dy * xhat, examples), "bias": jnp.sum(dy, examples)}  # [channels]
    dparams = {name: sums[name].astype(params[name].dtype) for name in params}
    # xhat = (x - mean) * rstd, where mean and rstd depend on x too
    size = math.prod(dy.shape[:-1])
    drstd, dmean = over_axis((sums["scale"] / size, sums["bias"] / size), axis_name)  # [channels]
    gain = rstd * params["scale"].astype(rstd.dtype) if "scale" in params else rstd  # [channels]
    gain, drstd, dmean = (jnp.broadcast_to(value, dy.shape) for value in (gain, drstd, dmean))
    return dparams, gain * (dy - dmean - xhat * drstd)  # [..., channels]


def normalise(x: Batch, statistics: Statistics, eps: float) -> tuple[Batch, Float[Array, " channels"]]:
    """(xhat, rstd), at least in float32."""
    wide = widen(x)
    mean, variance = (value.astype(wide.dtype) for value in statistics)
    rstd = lax.rsqrt(variance + eps)
    return (wide - jnp.broadcast_to(mean, x.shape)) * jnp.broadcast_to(rstd, x.shape), rstd


def over_axis(means: PyTree, axis_name: Hashable) -> PyTree:
    """The mean of equal shards' means."""
    return means if axis_name is None else lax.pmean(means, axis_name)


def running_statistics(
    state: dict[str, Array], statistics: Statistics, values: int, momentum: float, unbiased: bool
) -> dict[str, Array]:
    """The state after a batch of so many values a channel."""
    mean, variance = lax.stop_gradient(statistics)  # training does not reach back through the running statistics
    if unbiased:
        variance = variance * (values / (values - 1))
    batch = {"mean": mean, "var": variance}
    return {name: momentum * old + (1 - momentum) * batch[name].astype(old.dtype) for name, old in state.items()}


@constructor
def batch_norm(
    *,
    momentum: float = 0.9,
    eps: NonNegativeFloat = 1e-5,
    use_scale: bool = True,
    use_bias: bool = True,
    unbiased: bool = False,
    axis_name: Hashable = None,
) -> Layer:
    """Normalise [..., channels] over all axes but the last, in training by the batch itself: it mixes examples.

    Parameters: scale [channels] of ones, bias [channels] of zeros. State, at least float32: mean and var [channels],
    by which `predict` normalises; a new state is momentum * old + (1 - momentum) * batch, as in Flax and ONNX
    (PyTorch's momentum is 1 - momentum). `unbiased`: var moves towards n / (n - 1) times the batch's variance, as in
    PyTorch. eps, at least 0, is added to the variance inside the root.

    `axis_name`: examples are also spread over that axis of `jax.vmap` or `jax.shard_map`. Parameter gradients are
    those of the shard: sum them over the axis like every other layer's. Raises in training if a channel has a single
    value, which has no variance.
    """

    def backward(params: Params, x: Batch, y: None, statistics: Statistics, dy: Batch) -> tuple[Params, Batch]:
        return batch_norm_backward(params, x, statistics, dy, eps, axis_name)

    return with_running_statistics(
        "batch_norm",
        lambda params, x: batch_norm_forward(params, x, eps, axis_name),
        lambda params, x, statistics: batch_norm_recompute(params, x, statistics, eps),
        backward,
        keeps=("mean", "variance"),
        names=names_of(use_scale, use_bias),
        momentum=momentum,
        eps=eps,
        unbiased=unbiased,
        axis_name=axis_name,
    )


def with_running_statistics(
    name: str,
    train: Callable[..., tuple[Batch, Statistics]],
    freeze: Callable[..., Batch],
    run_backward: Callable[..., tuple[Params, Batch]],
    *,
    needs: tuple[str, ...] = ("x",),
    keeps: tuple[str, ...],
    names: tuple[str, ...],
    momentum: float,
    eps: float,
    unbiased: bool,
    axis_name: Hashable,
) -> Layer:
    """A layer that normalises by the batch in training and by running means of its statistics in `predict`.

        train(params, x) -> (y, (mean, variance)),  freeze(params, x, (mean, variance)) -> y
        run_backward(params, x, y, residuals, dy) -> (dparams, dx)

    `keeps` says which of mean and variance the residuals hold; from both of them y is recomputed.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"{name}: expected a momentum in [0, 1], the part of the old that stays, got {momentum!r}")

    def init(key: Array, x: Shaped) -> tuple[Params, State]:
        with layer_scope(name):
            check_features(x, "channels")
            dtype = wide_dtype(x.dtype)
            state = {"mean": jnp.zeros(x.shape[-1:], dtype), "var": jnp.ones(x.shape[-1:], dtype)}
            return init_scale_and_bias(names, x), state

    def forward(params: Params, state: State, x: Batch, key: Key) -> tuple[Batch, State, Sequence[Array]]:
        with layer_scope(name):
            check(params, state, x)
            values = math.prod(x.shape[:-1]) * (1 if axis_name is None else lax.psum(1, axis_name))
            if values < 2:
                raise LayerValueError(
                    f"expected at least 2 values a channel in training, got {values} from {describe(x)}: "
                    "take a larger batch, or call predict"
                )
            y, statistics = train(params, x)
            residuals = tuple(
                value for kind, value in zip(("mean", "variance"), statistics, strict=True) if kind in keeps
            )
            return y, running_statistics(state, statistics, values, momentum, unbiased), residuals

    def backward(params: Params, x: Any, y: Any, residuals: Sequence[Array], dy: Batch) -> tuple[Params, Batch]:
        with layer_scope(name):
            return run_backward(params, x, y, residuals, dy)

    def recompute(params: Params, x: Batch, statistics: Statistics) -> Batch:
        with layer_scope(name):
            return freeze(params, x, statistics)

    def predict(params: Params, state: State, x: Batch) -> Batch:
        with layer_scope(name):
            check(params, state, x)
            return freeze(params, x, (state["mean"], state["var"]))

    def check(params: Params, state: State, x: Batch) -> None:
        check_features(x, "channels")
        check_scale_and_bias(params, names, x)
        if not isinstance(state, dict) or set(state) != {"mean", "var"}:
            raise LayerValueError(f"expected a state ['mean', 'var'] as init gives it, got {describe(state)}")
        for statistic, value in state.items():
            if value.shape != x.shape[-1:]:
                raise LayerValueError(f"expected x [..., {value.size}] for the state's {statistic}, got {describe(x)}")

    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=needs,
        recompute=recompute if keeps == ("mean", "variance") else None,
        name=name,
        keeps=keeps,
    )
