"""purenet.check must reject faulty twins, accept right ones, and leave the caller's JAX as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.layers.activations import gelu_tanh_backward, gelu_tanh_forward
from purenet.layers.dense import dense_backward, dense_forward
from purenet.layers.layer_norm import layer_norm_backward, layer_norm_forward
from purenet.layers.softmax import softmax_forward

PARAMS = {"kernel": np.linspace(-1, 1, 35).reshape(7, 5) ** 3 + 0.1, "bias": np.arange(5) / 3 + 0.2}
SQUARE = {"kernel": np.linspace(-1, 1, 49).reshape(7, 7) ** 3 + 0.1, "bias": np.arange(7) / 3 + 0.2}
NORM = {"scale": np.arange(7) / 5 + 0.5, "bias": np.arange(7) / 7 + 0.1}


def dense_with(change: Callable[..., Any]) -> Callable[..., Any]:
    """dense_backward with a mistake made in its result: change(dkernel, dbias, dx, params, x, dy)."""

    def backward(params: Any, x: Any, dy: Any) -> Any:
        dparams, dx = dense_backward(params, x, dy)
        dkernel, dbias, dx = change(dparams["kernel"], dparams["bias"], dx, params, x, dy)
        return {"kernel": dkernel, "bias": dbias}, dx

    return backward


DENSE_FAULTS = {
    "kernel averaged over the batch": lambda dk, db, dx, p, x, dy: (dk / len(x), db, dx),
    "bias of the last example only": lambda dk, db, dx, p, x, dy: (dk, dy[-1], dx),
    "one example left out": lambda dk, db, dx, p, x, dy: (x[:-1].T @ dy[:-1], db, dx),
    "sign of the bias": lambda dk, db, dx, p, x, dy: (dk, -db, dx),
    "kernel 0.1% too large": lambda dk, db, dx, p, x, dy: (1.001 * dk, db, dx),
    "one element of the kernel": lambda dk, db, dx, p, x, dy: (dk.at[2, 3].add(1e-6), db, dx),
    "weight decay leaked in": lambda dk, db, dx, p, x, dy: (dk + 1e-4 * p["kernel"], db, dx),
    "dx in float32": lambda dk, db, dx, p, x, dy: (dk, db, dx.astype(jnp.float32).astype(dx.dtype)),
    "upstream cotangent ignored": lambda dk, db, dx, p, x, dy: (dk, db, jnp.ones_like(dy) @ p["kernel"].T),
    "nothing": lambda dk, db, dx, p, x, dy: (0 * dk, db, dx),
    "NaN": lambda dk, db, dx, p, x, dy: (dk, db * jnp.nan, dx),
}


@pytest.mark.parametrize("fault", DENSE_FAULTS)
def test_faulty_dense_is_rejected(fault: str) -> None:
    with pytest.raises(pn.GradientError):
        pn.check((dense_forward, dense_with(DENSE_FAULTS[fault])), params=PARAMS, verbose=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda dk, db, dx, p, x, dy: (dk.T, db, dx),
        lambda dk, db, dx, p, x, dy: (dk, db, dy @ p["kernel"]),
    ],
    ids=["kernel gradient transposed", "dx without the transpose"],
)
def test_transposed_square_gradients_are_rejected(change: Any) -> None:
    with pytest.raises(pn.GradientError):
        pn.check((dense_forward, dense_with(change)), params=SQUARE, verbose=False)


def norm_faults() -> dict[str, Callable[..., Any]]:
    def parts(params: Any, x: Any, statistics: Any, dy: Any) -> Any:
        mean, rstd = statistics
        xhat = (x - mean) * rstd
        return xhat, rstd, dy * params["scale"], layer_norm_backward(params, x, statistics, dy)

    def no_mean(params: Any, x: Any, statistics: Any, dy: Any) -> Any:
        xhat, rstd, dxhat, (dparams, _) = parts(params, x, statistics, dy)
        return dparams, rstd * (dxhat - xhat * jnp.mean(dxhat * xhat, -1, keepdims=True))

    def no_variance(params: Any, x: Any, statistics: Any, dy: Any) -> Any:
        _, rstd, dxhat, (dparams, _) = parts(params, x, statistics, dy)
        return dparams, rstd * (dxhat - jnp.mean(dxhat, -1, keepdims=True))

    def no_scale(params: Any, x: Any, statistics: Any, dy: Any) -> Any:
        dparams, _ = layer_norm_backward(params, x, statistics, dy)
        return dparams, layer_norm_backward({"bias": params["bias"]}, x, statistics, dy)[1]

    def scale_by_x(params: Any, x: Any, statistics: Any, dy: Any) -> Any:
        dparams, dx = layer_norm_backward(params, x, statistics, dy)
        return dparams | {"scale": jnp.sum(dy * x, 0)}, dx

    def wrong_eps(params: Any, x: Any, statistics: Any, dy: Any) -> Any:
        mean, _ = statistics
        return layer_norm_backward(params, x, (mean, 1 / (jnp.std(x, -1, keepdims=True) + 1e-5)), dy)

    return {
        "mean held constant": no_mean,
        "variance held constant": no_variance,
        "scale left out of dx": no_scale,
        "dscale from x": scale_by_x,
        "eps outside the root": wrong_eps,
    }


@pytest.mark.parametrize("fault", norm_faults())
def test_faulty_layer_norm_is_rejected(fault: str) -> None:
    with jax.numpy_rank_promotion("allow"), pytest.raises(pn.GradientError):
        pn.check((layer_norm_forward, norm_faults()[fault]), params=NORM, verbose=False)


ELEMENTWISE_FAULTS = {
    "value used as derivative": (jnp.tanh, lambda y, dy: y * dy),
    "derivative of the output": (jnp.tanh, lambda x, dy: (1 - jnp.square(x)) * dy),
    "derivative applied to the cotangent": (jnp.tanh, lambda y, dy: 1 - jnp.square(dy)),
    "cotangent forgotten": (jnp.tanh, lambda y, dy: 1 - jnp.square(y)),
    "cotangent squared": (jnp.tanh, lambda y, dy: (1 - jnp.square(y)) * dy * jnp.abs(dy)),
    "erf rule for the tanh formula": (
        gelu_tanh_forward,
        lambda x, dy: jax.vjp(lambda x: jax.nn.gelu(x, approximate=False), x)[1](dy)[0],
    ),
    "softmax as a diagonal": (lambda x: softmax_forward(x, -1), lambda y, dy: y * (1 - y) * dy),
    "softmax over the batch": (
        lambda x: softmax_forward(x, -1),
        lambda y, dy: y * (dy - jnp.sum(y * dy, 0, keepdims=True)),
    ),
}


@pytest.mark.parametrize("fault", ELEMENTWISE_FAULTS)
def test_faulty_activation_is_rejected(fault: str) -> None:
    with pytest.raises(pn.GradientError):
        pn.check(ELEMENTWISE_FAULTS[fault], verbose=False)


def replace_backward(layer: pn.Layer, change: Callable[[Any, Any], Any]) -> pn.Layer:
    def backward(params: Any, x: Any, y: Any, residuals: Any, dy: Any) -> Any:
        return change(*layer.backward(params, x, y, residuals, dy))

    return layer.replace(backward=backward)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda bad: pn.serial(pn.dense(3), pn.tanh(), bad),
        lambda bad: pn.residual(pn.serial(bad, pn.dense(7))),
        lambda bad: pn.parallel(pn.dense(4), bad),
        lambda bad: pn.repeat(pn.serial(bad, pn.dense(7)), 2),
        lambda bad: pn.remat(bad),
    ],
    ids=["serial", "residual", "parallel", "repeat", "remat"],
)
def test_a_fault_inside_a_network_is_rejected(wrap: Any) -> None:
    bad = replace_backward(pn.dense(4), lambda dparams, dx: (dparams, 0.5 * dx))
    with pytest.raises(pn.GradientError):
        pn.check(wrap(bad), verbose=False)


def test_an_objective_is_checked() -> None:
    x = (np.ones((4, 3), np.float32), np.array([0, 2, 1, 1]))
    loss = pn.losses.softmax_cross_entropy()
    pn.check(pn.objective(pn.dense(5), loss), x, verbose=False)
    bad = replace_backward(loss, lambda dparams, dx: (dparams, (dx[0] * 4, dx[1])))
    with pytest.raises(pn.GradientError, match="kernel"):
        pn.check(pn.objective(pn.dense(5), bad), x, verbose=False)


@pytest.mark.parametrize(
    ("pair", "params"),
    [
        ((dense_forward, dense_backward), PARAMS),
        ((layer_norm_forward, layer_norm_backward), NORM),
        ((gelu_tanh_forward, gelu_tanh_backward), None),
        ((jnp.tanh, lambda y, dy: (1 - y * y) * dy), None),
        ((lambda x: (jnp.sin(x), jnp.cos(x)), lambda cosine, dy: cosine * dy), None),
        ((lambda p, x: (p * x, (p, x)), lambda p, saved, dy: (jnp.sum(saved[1] * dy), saved[0] * dy)), np.float32(3)),
    ],
    ids=["params x", "params x residuals", "x", "y", "residuals", "params residuals"],
)
def test_every_form_of_a_pair_is_taken(pair: Any, params: Any) -> None:
    report = pn.check(pair, params=params, verbose=False)
    assert report.verdict == "PASS"
    assert max(leaf.error for leaf in report.leaves) < 1e-13


def test_the_table_has_a_row_a_leaf(capsys: pytest.CaptureFixture[str]) -> None:
    report = pn.check(pn.dense(3))
    printed = capsys.readouterr().out
    assert [leaf.path for leaf in report.leaves] == ["bias", "kernel", "x"]
    for leaf in report.leaves:
        assert leaf.path in printed
        assert str(list(leaf.shape)) in printed
        assert f"{leaf.reference:.9g}" in printed
    bad = replace_backward(
        pn.dense(3), lambda d, dx: ({"kernel": d["kernel"].at[4, 1].add(7.0), "bias": d["bias"]}, dx)
    )
    with pytest.raises(pn.GradientError) as caught:
        pn.check(bad)
    kernel = next(leaf for leaf in caught.value.report.leaves if leaf.path == "kernel")
    assert kernel.worst == (4, 1)
    assert kernel.yours == pytest.approx(kernel.reference + 7)
    assert [leaf.verdict for leaf in caught.value.report.leaves] == ["PASS", "WRONG", "PASS"]
    assert "[4, 1]" in str(caught.value)
    assert str(caught.value).splitlines()[0] == "WRONG  dense: 1 WRONG, 2 PASS of 3 gradient leaves"


def test_a_report_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="no truth value"):
        bool(pn.check(pn.tanh(), verbose=False))


def test_float64_whatever_the_default_and_nothing_is_changed() -> None:
    before = dict(jax.config.values)
    report = pn.check(pn.dense(3), jnp.ones((2, 4), jnp.float32), verbose=False)
    assert max(leaf.error for leaf in report.leaves) < 1e-14
    assert jnp.ones(1).dtype == jnp.float32
    assert dict(jax.config.values) == before


def test_a_gradient_that_cancels_is_vacuous_and_a_wrong_one_there_is_found() -> None:
    """The bias in front of a normalisation over the same axis has the gradient zero, up to rounding."""
    shift = pn.stateless(
        lambda params, x: x + params,
        lambda params, dy: (jnp.sum(dy), dy),
        name="shift",
        init=lambda key, x: jnp.zeros((), x.dtype),
        needs=(),
    )
    report = pn.check(pn.serial(shift, pn.layer_norm(use_scale=False, use_bias=False)), verbose=False)
    assert [leaf.verdict for leaf in report.leaves] == ["VACUOUS", "PASS"]
    bad = replace_backward(shift, lambda dparams, dx: (dparams + 1e-6, dx))
    with pytest.raises(pn.GradientError):
        pn.check(pn.serial(bad, pn.layer_norm(use_scale=False, use_bias=False)), verbose=False)


def test_all_zero_gradients_prove_nothing() -> None:
    report = pn.check((lambda x: 0 * x, lambda dy: 0 * dy), verbose=False)
    assert report.verdict == "VACUOUS"
    with pytest.raises(pn.GradientError):
        pn.check((lambda x: 0 * x, lambda dy: dy), verbose=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pn.check("net"), TypeError, "expected a Layer, an objective, a pair"),
        (lambda: pn.check((dense_forward, dense_backward)), TypeError, "pass params"),
        (lambda: pn.check((lambda: 1, lambda dy: dy)), TypeError, "expected forward"),
        (lambda: pn.check((lambda p, x: p * x, lambda p, x, dy: dy), params=2.0), TypeError, "dparams, dx"),
        (lambda: pn.check((jnp.log, lambda x, dy: dy / x)), ValueError, "not finite"),
        (lambda: pn.check((jnp.tanh, lambda y, dy: dy[0])), pn.GradientError, r"x has shape \[7\], x has \[5, 7\]"),
        (
            lambda: pn.check((dense_forward, dense_with(lambda dk, db, *rest: (dk.T, db, rest[0]))), params=PARAMS),
            pn.GradientError,
            r"kernel has shape \[5, 7\], kernel has \[7, 5\]: it is the right gradient transposed",
        ),
        (
            lambda: pn.check(
                (dense_forward, lambda p, x, dy: ({"kernel": x.T @ dy}, dy @ p["kernel"].T)), params=PARAMS
            ),
            pn.GradientError,
            r"missing: \['bias'\]",
        ),
    ],
)
def test_what_cannot_be_checked_is_said(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_small_element_beside_large_ones_must_be_right_too() -> None:
    """Features that were never scaled: the second row of the gradient is ten decades below the first."""
    x = np.stack([1e10 + np.arange(6.0) * 1e9, np.arange(6.0) * 0.1], 1)
    params = {"kernel": np.ones((2, 3))}

    def doubled(params: Any, x: Any, dy: Any) -> Any:
        dparams, dx = dense_backward(params, x, dy)
        return {"kernel": dparams["kernel"].at[1].mul(2.0)}, dx

    pn.check((dense_forward, dense_backward), x, params=params, verbose=False)
    with pytest.raises(pn.GradientError) as caught:
        pn.check((dense_forward, doubled), x, params=params, verbose=False)
    assert caught.value.report.leaves[0].worst[0] == 1


def test_elements_that_cancel_are_not_called_wrong() -> None:
    """Sums of terms a billion times larger than what is left of them: right, and right only up to noise."""
    x = np.array([[1e9, 1.0], [-1e9, 1.0], [3.0, 2.0]])
    pair = (lambda p, x: x @ p, lambda p, x, dy: (jnp.stack([x[:, i] @ dy for i in (0, 1)]), dy @ p.T))
    report = pn.check(pair, x, params=np.ones((2, 2)), verbose=False)
    assert report.verdict == "PASS"


def test_float32_and_integer_parameters_are_taken() -> None:
    def forward(params: Any, x: Any) -> Any:
        return jnp.sin(x) * params["w"] * params["n"]

    def backward(params: Any, x: Any, dy: Any) -> Any:
        dw = jnp.sum(dy * jnp.sin(x) * params["n"])
        return {"w": dw, "n": None}, dy * params["w"] * params["n"] * jnp.cos(x)

    layer = pn.stateless(
        forward, backward, name="f32", init=lambda key, x: {"w": jnp.ones((), jnp.float32), "n": jnp.array(3)}
    )
    report = pn.check(layer, verbose=False)
    assert [(leaf.path, leaf.verdict) for leaf in report.leaves] == [("w", "PASS"), ("x", "PASS")]
    assert max(leaf.error for leaf in report.leaves) < 1e-13


@pytest.mark.parametrize("loss", [pn.losses.softmax_cross_entropy(), pn.losses.kl_divergence()])
def test_one_hot_targets_pass(loss: pn.Layer) -> None:
    logits = np.log(np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]))
    pn.check(loss, (logits, np.eye(3)[[2, 0]]), verbose=False)


def test_ties_pass() -> None:
    ties = np.array([[1.0, 2.0], [3.0, 4.0]])
    pn.check(pn.losses.absolute_error(), (ties, np.array([[1.0, 0.0], [5.0, 4.0]])), verbose=False)


def test_a_reference_that_is_not_finite_is_not_held_against_you() -> None:
    safe = (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0), lambda x, dy: jnp.where(x > 0, 0.5 / jnp.sqrt(x), 0) * dy)
    with pytest.raises(pn.GradientError, match=r"jax.grad is the one that is off here") as caught:
        pn.check(safe, np.array([0.0, 4.0]), verbose=False)
    assert caught.value.report.verdict == "UNRESOLVED"
