"""Losses at their edges: reductions, labels out of range, masks, clipping, half precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet import losses

PREDICTIONS = jnp.array([[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]])
TARGETS = jnp.array([[0.0, 2.0, 1.0], [2.0, -1.0, 3.0]])


def loss_and_gradient(loss: pn.Layer, predictions: Any, targets: Any) -> tuple[Any, Any]:
    value = loss.predict((), (), (predictions, targets))
    gradient = jax.grad(lambda predictions: pn.as_function(loss)((), (predictions, targets)))(predictions)
    return value, gradient


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.squared_error("sum"), 1 + 9 + 4),
        (losses.squared_error("mean"), 14 / 6),
        (losses.squared_error("batch_mean"), 14 / 2),
        (losses.half_squared_error("batch_mean"), 14 / 4),
        (losses.absolute_error("sum"), 1 + 3 + 2),
    ],
)
def test_reductions_divide_by_what_they_say(loss: pn.Layer, expected: float) -> None:
    assert float(loss.predict((), (), (PREDICTIONS, TARGETS))) == pytest.approx(expected)


@pytest.mark.parametrize("reduction", ["mean", "batch_mean"])
def test_cross_entropy_means_are_over_examples(reduction: str) -> None:
    value = losses.softmax_cross_entropy(reduction).predict((), (), (PREDICTIONS, jnp.array([2, 0])))
    assert float(value) == pytest.approx(
        float(-jax.nn.log_softmax(PREDICTIONS)[jnp.arange(2), jnp.array([2, 0])].mean())
    )


@pytest.mark.parametrize("labels", [[0, 3], [-1, 1]])
def test_label_out_of_range_raises_where_its_value_is_known(labels: list[int]) -> None:
    loss = losses.softmax_cross_entropy()
    with pytest.raises(
        ValueError,
        match=r"softmax_cross_entropy: expected labels in 0..2, got (3 at \(1,\)|-1 at \(0,\))",
    ):
        loss.predict((), (), (PREDICTIONS, jnp.array(labels)))


@pytest.mark.parametrize("labels", [[0, 3], [0, -1]])
def test_label_out_of_range_is_nan_inside_jit(labels: list[int]) -> None:
    value, gradient = jax.jit(lambda z, t: loss_and_gradient(losses.softmax_cross_entropy(), z, t))(
        PREDICTIONS, jnp.array(labels)
    )
    assert bool(jnp.isnan(value))
    assert bool(jnp.all(jnp.isfinite(gradient[0])))
    assert bool(jnp.all(jnp.isnan(gradient[1])))


def test_ignored_and_masked_examples_have_no_weight() -> None:
    whole = losses.softmax_cross_entropy(ignore_index=-100)
    value, gradient = loss_and_gradient(whole, PREDICTIONS, jnp.array([1, -100]))
    alone, alone_gradient = loss_and_gradient(losses.softmax_cross_entropy(), PREDICTIONS[:1], jnp.array([1]))
    assert float(value) == pytest.approx(float(alone))
    np.testing.assert_allclose(gradient[:1], alone_gradient, rtol=1e-6)
    assert not np.any(gradient[1])
    masked = loss_and_gradient(
        losses.softmax_cross_entropy(), PREDICTIONS, (jnp.array([1, 0]), jnp.array([True, False]))
    )
    assert float(masked[0]) == pytest.approx(float(alone))
    np.testing.assert_allclose(masked[1], gradient, rtol=1e-6)


def test_nothing_left_in_gives_zero() -> None:
    value, gradient = loss_and_gradient(losses.softmax_cross_entropy(ignore_index=0), PREDICTIONS, jnp.array([0, 0]))
    assert float(value) == 0
    assert not np.any(gradient)


def test_classes_left_out_share_no_probability() -> None:
    where = jnp.array([[True, True, False], [True, False, True]])
    value, gradient = loss_and_gradient(losses.softmax_cross_entropy("sum"), PREDICTIONS, (jnp.array([1, 0]), where))
    expected = np.log1p(np.exp(1.0 - 2.0)) + np.log1p(np.exp(3.0))
    assert float(value) == pytest.approx(expected)
    assert not np.any(gradient[~where])


def test_a_class_of_weight_zero_may_be_impossible() -> None:
    logits = jnp.array([[0.0, 1.0, -jnp.inf]])
    value, gradient = loss_and_gradient(losses.softmax_cross_entropy(), logits, jnp.array([0]))
    assert float(value) == pytest.approx(np.log1p(np.e))
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_gradient_is_zero_where_the_clip_is_active() -> None:
    loss = losses.binary_cross_entropy("sum", clip=0.2)
    p = jnp.array([0.1, 0.2, 0.5, 0.8, 0.95])
    value, gradient = loss_and_gradient(loss, p, jnp.full(5, 0.3))
    np.testing.assert_array_equal(gradient == 0, [True, True, False, True, True])
    assert bool(jnp.isfinite(value))


def test_clip_that_rounds_away_is_refused() -> None:
    p = jnp.array([0.5])
    with pytest.raises(ValueError, match="1 - 1e-10 rounds to 1 in float32"):
        losses.binary_cross_entropy(clip=1e-10).predict((), (), (p, p))
    with jax.enable_x64(True):
        p = jnp.array([1.0, 0.0])
        value = losses.binary_cross_entropy("sum", clip=1e-10).predict((), (), (p, 1 - p))
        assert float(value) == pytest.approx(-2 * np.log(1e-10))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_cross_entropies_are_finite_at_extreme_logits(dtype: Any) -> None:
    z = jnp.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    for loss, targets in (
        (losses.softmax_cross_entropy(), jnp.array([1, 1])),
        (losses.sigmoid_binary_cross_entropy(), jnp.array([[0, 1], [0, 1]], dtype)),
        (losses.log_cosh(), jnp.zeros((2, 2), dtype)),
    ):
        value, gradient = loss_and_gradient(loss, z, targets)
        assert value.dtype == dtype
        assert bool(jnp.isfinite(value))
        assert bool(jnp.all(jnp.isfinite(gradient)))


def test_sums_are_float32_for_half_precision() -> None:
    """4,096 values of 1.001 add up to 4,104 in float32; in bfloat16 the sum would stand still at 256."""
    p = jnp.full((4096, 1), 1.0, jnp.bfloat16)
    value = losses.squared_error("sum").predict((), (), (p, 0 * p))
    assert float(value) == 4096


def test_integer_targets_get_no_gradient_and_float_targets_do() -> None:
    loss = losses.softmax_cross_entropy()
    for targets, expected in ((jnp.array([1, 0]), None), (TARGETS, TARGETS)):
        y, _, residuals = loss.forward((), (), (PREDICTIONS, targets), None)
        dtargets = loss.backward((), (PREDICTIONS, targets), None, residuals, jnp.ones_like(y))[1][1]
        assert (dtargets is None) == (expected is None)


@pytest.mark.parametrize(
    ("dtype", "classes"), [("uint8", 256), ("uint8", 300), ("int8", 200), ("int16", 70000), ("int64", 9)]
)
def test_labels_of_any_integer_dtype(dtype: str, classes: int) -> None:
    logits = jax.random.normal(jax.random.key(0), (3, classes))
    labels = np.array([0, 5, 8], dtype)
    value, gradient = loss_and_gradient(losses.softmax_cross_entropy(), logits, labels)
    expected = -jax.nn.log_softmax(logits)[jnp.arange(3), jnp.array([0, 5, 8])].mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_ignore_index_does_not_wrap() -> None:
    logits, labels = jax.random.normal(jax.random.key(0), (2, 256)), np.array([255, 3], np.uint8)
    ignoring = losses.softmax_cross_entropy("sum", ignore_index=-1).predict((), (), (logits, labels))
    assert float(ignoring) == float(losses.softmax_cross_entropy("sum").predict((), (), (logits, labels)))
