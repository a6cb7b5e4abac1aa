"""purenet.check leaves right programs alone, also where a gradient is zero but for rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn

ELEMENTWISE = (pn.gelu, pn.silu, pn.tanh, pn.sigmoid, pn.softplus, pn.relu, pn.elu, pn.mish, pn.hard_swish, pn.prelu)
BARE = {"use_scale": False, "use_bias": False}
NORMS = (pn.layer_norm, lambda: pn.layer_norm(**BARE), pn.rms_norm, pn.batch_norm, lambda: pn.batch_norm(**BARE))
IMAGE_NORMS = (*NORMS, pn.instance_norm, lambda: pn.instance_norm(**BARE), lambda: pn.group_norm(2))
ROWS = (lambda: pn.dense(4), pn.softmax, pn.log_softmax, pn.l2_normalize, lambda: pn.dropout(0.5), pn.highway)
IMAGES = (
    lambda: pn.conv(4, (3, 3)),
    lambda: pn.depthwise_conv((3, 3)),
    lambda: pn.weight_standardize(pn.conv(4, (2, 2))),
    lambda: pn.max_pool(2, strides=1, padding="SAME"),
    lambda: pn.avg_pool(2, strides=1),
    lambda: pn.squeeze_and_excitation(2),
    lambda: pn.upsample(2),
    lambda: pn.softmax(),
)
POOLS = (pn.global_avg_pool, pn.global_max_pool, pn.global_lp_pool)
ENDS: tuple[Callable[[Any], Any], ...] = (
    lambda x: jnp.sum(x, -1),
    lambda x: jnp.mean(x, -1),
    lambda x: jnp.mean(x, 0),
    lambda x: jnp.sum(jnp.square(x), -1),
    lambda x: jnp.sum(jnp.exp(x), -1),
    lambda x: x - jnp.mean(x),
    jax.nn.logsumexp,
)


def random_program(seed: int) -> tuple[pn.Layer, np.ndarray]:
    """A right network of a few public layers, often with a sum or a mean of what is normalised, and an input."""
    random = np.random.default_rng(seed)

    def drawn(*families: Sequence[Callable[[], pn.Layer]]) -> pn.Layer:
        family = families[int(random.integers(len(families)))]
        return family[int(random.integers(len(family)))]()

    count, ends = random.integers(1, 4), random.random() < 0.7
    if random.random() < 0.5:
        layers = [drawn(IMAGES, IMAGE_NORMS, ELEMENTWISE) for _ in range(count)] + [drawn(POOLS)]
        x = random.normal(size=(3, 4, 4, 4))
    else:
        layers = [drawn(ROWS, NORMS, NORMS, ELEMENTWISE) for _ in range(count)]
        x = random.normal(size=(5, 4))
    if random.random() < 0.3:
        layers.append(pn.residual(pn.serial(drawn(NORMS), pn.dense(4))))
    end = ENDS[int(random.integers(len(ENDS)))]
    return pn.serial(*layers, *([pn.from_function(lambda params, x: end(x))] if ends else [])), x


@pytest.mark.parametrize("seed", range(16))
def test_random_right_programs_are_accepted(seed: int) -> None:
    network, x = random_program(seed)
    pn.check(network, x, seed=seed, verbose=False)


def pythagoras(x: Any) -> Any:
    return jnp.sin(x) ** 2 + jnp.cos(x) ** 2


X = np.random.default_rng(0).normal(size=(4, 5))
MEAN = pn.from_function(lambda params, x: jnp.mean(x, -1))
SUM = pn.from_function(lambda params, x: jnp.sum(x, -1))
ZERO = {
    "softmax, summed": (pn.serial(pn.softmax(), SUM), X),
    "layer norm, averaged": (pn.serial(pn.layer_norm(**BARE), MEAN), X),
    "instance norm, averaged": (pn.serial(pn.instance_norm(**BARE), pn.global_avg_pool()), np.reshape(X, (1, 2, 2, 5))),
    "one": ((pythagoras, lambda x, dy: (2 * jnp.sin(x) * jnp.cos(x) - 2 * jnp.cos(x) * jnp.sin(x)) * dy), X),
    "one, by autodiff": ((pythagoras, lambda x, dy: jax.vjp(pythagoras, x)[1](dy)[0]), X),
    "one, known": ((pythagoras, lambda x, dy: 0 * x), X),
}


@pytest.mark.parametrize("name", ZERO)
def test_a_gradient_that_is_zero_but_for_rounding_is_vacuous(name: str) -> None:
    target, x = ZERO[name]
    for dtype in (None, jnp.float32):
        report = pn.check(target, x, dtype=dtype, verbose=False)
        assert {leaf.path: leaf.verdict for leaf in report.leaves} == {"x": "VACUOUS"}


@pytest.mark.parametrize(
    "backward",
    [
        lambda x, dy: (2 * jnp.sin(x) * jnp.cos(x) - 2 * jnp.cos(x) * jnp.sin(x + 1e-12)) * dy,
        lambda x, dy: 1e-12 * dy,
        lambda x, dy: jnp.where(jnp.abs(dy) > 100, dy, 0 * x),
    ],
    ids=["terms that do not quite cancel", "a trace of dy", "large cotangents only"],
)
def test_what_is_more_than_rounding_of_the_terms_is_wrong(backward: Any) -> None:
    with pytest.raises(pn.GradientError):
        pn.check((pythagoras, backward), X, verbose=False)


def test_a_small_gradient_is_no_rounding() -> None:
    """Thirty decades below the cotangent, but nothing cancels: a factor of 1.001 is found."""
    pair = (lambda x: 1e-30 * jnp.sin(x), lambda x, dy: 1e-30 * jnp.cos(x) * dy)
    assert pn.check(pair, X, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check((pair[0], lambda x, dy: 1.001 * pair[1](x, dy)), X, verbose=False)


def test_what_is_left_of_terms_that_cancel_is_known_to_their_rounding() -> None:
    """The derivative, 2 c x, is a billionth of its two terms: right to their rounding, and wrong where it is not."""

    def forward(x: Any) -> Any:
        return 1e9 * jnp.square(x) - (1e9 - 1) * jnp.square(x)

    assert pn.check((forward, lambda x, dy: 2 * x * dy), X, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check((forward, lambda x, dy: 2.01 * x * dy), X, verbose=False)


def test_an_output_of_another_dtype_is_checked() -> None:
    network = pn.with_dtype(pn.dense(3), jnp.float64, output_dtype=jnp.float32)
    assert pn.check(network, X, verbose=False).verdict == "PASS"
    pair = (lambda x: jnp.sin(x).astype(jnp.float32), lambda x, dy: jnp.cos(x) * dy.astype(x.dtype))
    assert pn.check(pair, X, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check((pair[0], lambda x, dy: 1.01 * pair[1](x, dy)), X, verbose=False)
