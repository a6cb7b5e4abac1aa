"""Parameter gradients in bfloat16: summed in float32 and rounded once, where jax.grad of the plain forward sums in
bfloat16.

Errors are against float64 from the same rounded numbers, of a leaf's norm. Rounding a right result to bfloat16 costs
1.7e-3; a long sum in bfloat16 loses up to all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal
from jax import lax

import purenet as pn
from purenet.layer import run_backward

pytestmark = pytest.mark.complete


class Row(NamedTuple):
    """A layer, the same as one writes it, its input, and what jax.grad's worst leaf is at least off by."""

    layer: pn.Layer
    plain: Callable[[Any, Any], Any]
    x: Any
    worst: float


def layer_norm(params: Any, x: Any) -> Any:
    centred = x - jnp.mean(x, -1, keepdims=True)
    rstd = lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + 1e-5)
    return centred * rstd * params["scale"] + params["bias"]


def rms_norm(params: Any, x: Any) -> Any:
    return x * lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * params["scale"]


def rnn(params: Any, x: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(x @ params["kernel"] + h @ params["recurrent_kernel"] + params["bias"])
        return h, h

    first = jnp.zeros((x.shape[0], params["recurrent_kernel"].shape[0]), x.dtype)
    return jnp.moveaxis(lax.scan(step, first, jnp.moveaxis(x, 1, 0))[1], 0, 1)


def lstm(params: Any, x: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        z = x @ params["kernel"] + h @ params["recurrent_kernel"] + params["bias"]
        i, f, g, o = jnp.split(z, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    first = jnp.zeros((x.shape[0], params["recurrent_kernel"].shape[0]), x.dtype)
    return jnp.moveaxis(lax.scan(step, (first, first), jnp.moveaxis(x, 1, 0))[1], 0, 1)


def conv(params: Any, x: Any) -> Any:
    return lax.conv_general_dilated(x, params["kernel"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))


HOT_ROWS = np.minimum(np.random.default_rng(0).geometric(0.2, size=4096) - 1, 63).astype(np.int32)

TABLE = {
    "dense": Row(pn.dense(16), lambda p, x: x @ p["kernel"] + p["bias"], normal(65536, 16), 3e-3),
    "embedding": Row(pn.embedding(64, 16), lambda p, x: p["embedding"][x], HOT_ROWS, 1e-2),
    "layer_norm": Row(pn.layer_norm(), layer_norm, normal(8192, 32), 5e-3),
    "rms_norm": Row(pn.rms_norm(), rms_norm, normal(8192, 32), 5e-3),
    "learned_positions": Row(
        pn.learned_positions(16), lambda p, x: x + p["embedding"][None], normal(2048, 16, 8), 3e-3
    ),
    "rnn": Row(pn.rnn(16), rnn, normal(4, 1024, 16), 2e-2),
    "lstm": Row(pn.lstm(16), lstm, normal(4, 128, 16), 1e-2),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameter_gradients_in_bfloat16_are_rounded_once(name: str) -> None:
    layer, plain, x, worst = TABLE[name]
    x = in_bfloat16(x)
    params = in_bfloat16(perturbed(jax.eval_shape(layer.init, jax.random.key(0), x)[0]))
    dy = in_bfloat16(0.2 + normal(*jax.eval_shape(layer.predict, params, (), x).shape, seed=1))
    hand = jax.jit(by_hand(layer))(params, x, dy)
    with jax.numpy_rank_promotion("allow"):
        auto = jax.jit(by_autodiff(plain))(params, x, dy)
        with jax.enable_x64(True):
            truth = jax.jit(by_autodiff(plain))(*in_float64((params, x, dy)))
    assert max(errors(hand, truth)) <= 2e-3
    assert max(errors(auto, truth)) >= worst


@pytest.mark.parametrize(
    ("layer", "plain", "x"),
    [
        (pn.dense(16, use_bias=False), lambda p, x: x @ p["kernel"], normal(4096, 16)),
        (pn.conv(8, 3, use_bias=False), conv, normal(32, 64, 8)),
    ],
    ids=["dense", "conv"],
)
def test_products_in_bfloat16_with_float32_parameters_are_not_rounded(layer: pn.Layer, plain: Any, x: Any) -> None:
    """The gradient of a kernel in float32 is the product's own sum."""
    mixed = pn.with_dtype(layer, jnp.bfloat16)
    x = in_bfloat16(x)
    params = in_bfloat16(perturbed(jax.eval_shape(layer.init, jax.random.key(0), x)[0]))
    dy = in_bfloat16(normal(*jax.eval_shape(layer.predict, params, (), x).shape, seed=1))
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x, dy))
    hand = jax.jit(by_hand(mixed))(*wide)
    with jax.enable_x64(True):
        truth = jax.jit(by_autodiff(plain))(*in_float64((params, x, dy)))
    assert max(errors(hand, truth)) <= 5e-7


def by_hand(layer: pn.Layer) -> Callable[..., Any]:
    def gradient(params: Any, x: Any, dy: Any) -> Any:
        y, _, residuals = layer.forward(params, (), x, None)
        return run_backward(layer, params, x, y, residuals, dy)[0]

    return gradient


def by_autodiff(plain: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, x, dy: jax.vjp(lambda params: plain(params, x), params)[1](dy)[0]


def perturbed(shapes: Any) -> Any:
    """Parameters away from zero and one; matrices as small as initialisers draw them."""

    def draw(leaf: Any) -> Any:
        if leaf.ndim == 1:
            return 0.5 + 0.3 * normal(*leaf.shape, seed=2)
        return normal(*leaf.shape, seed=3) / np.sqrt(2 * leaf.size / leaf.shape[-1])

    return jax.tree.map(draw, shapes)


def in_bfloat16(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == np.int32 else jnp.asarray(leaf, jnp.bfloat16), tree)


def in_float64(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == np.int32 else np.asarray(leaf, np.float64), tree)


def errors(actual: Any, truth: Any) -> list[float]:
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(truth), strict=True)
    wide = ((np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs)
    return [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in wide]
