"""What purenet.check takes, refuses and says beyond the diagnosis: forms, verdicts, bad input, reports."""

from __future__ import annotations

import json
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.layers.dense import dense_backward, dense_forward

PARAMS = {"kernel": np.linspace(-1, 1, 35).reshape(7, 5) ** 3 + 0.1, "bias": np.arange(5) / 3 + 0.2}
X = np.random.default_rng(0).standard_normal((5, 7))


def raised(*arguments: Any, **options: Any) -> pn.Report:
    with pytest.raises(pn.GradientError) as caught:
        pn.check(*arguments, verbose=False, **options)
    return caught.value.report


def kinds(report: pn.Report) -> list[str]:
    return [cause.kind for cause in report.causes]


# Functions with their own derivative.


@jax.custom_vjp
def log_sum_exp(x: Any) -> Any:
    return jax.nn.logsumexp(x, -1)


log_sum_exp.defvjp(
    lambda x: (jax.nn.logsumexp(x, -1), jax.nn.softmax(x, -1)), lambda weights, dy: (dy[..., None] * weights,)
)


@jax.custom_vjp
def halved(x: Any, factor: Any) -> Any:
    return jnp.sin(x) * factor


halved.defvjp(lambda x, factor: (jnp.sin(x) * factor, (x, factor)), lambda saved, dy: (0.5 * dy, dy * saved[0]))


def test_a_custom_vjp_is_checked_against_its_undecorated_function() -> None:
    assert pn.check(log_sum_exp, X, verbose=False).verdict == "PASS"
    report = raised(halved, (X, X + 2))
    assert [leaf.verdict for leaf in report.leaves] == ["WRONG", "WRONG"]


def test_a_function_is_checked_against_a_reference() -> None:
    def twice(x: Any) -> Any:
        return 2 * log_sum_exp(x)

    report = pn.check(twice, X, reference=lambda x: 2 * jax.nn.logsumexp(x, -1), verbose=False)
    assert report.verdict == "PASS"
    assert pn.check(twice, X, verbose=False).verdict == "PASS"  # beside itself, without the rule inside
    with pytest.raises(TypeError, match=r"has no derivative rule of its own"):
        pn.check(lambda x: 2 * x, X)


def test_a_forward_rule_that_returns_something_else_is_found() -> None:
    @jax.custom_vjp
    def double(x: Any) -> Any:
        return 2 * x

    double.defvjp(lambda x: (2 * x + 1, None), lambda saved, dy: (2 * dy,))
    report = raised(double, X)
    assert kinds(report) == ["primal"]
    assert "the forward rule returns another value" in str(report)


def test_as_function_is_what_the_layer_is() -> None:
    net = pn.serial(pn.dense(4), pn.tanh())
    params, _ = net.init(jax.random.key(0), jax.ShapeDtypeStruct((5, 7), jnp.float32))
    call = pn.as_function(net)
    report = pn.check(
        call, X.astype(np.float32), params=params, reference=lambda p, x: net.predict(p, (), x), verbose=False
    )
    assert report.verdict == "PASS"


# Gradient functions.


def loss(w: Any, x: Any, t: Any) -> Any:
    return jnp.mean(jnp.square(x @ w - t))


T = np.random.default_rng(1).standard_normal(5)
W = np.random.default_rng(2).standard_normal(7)


def test_a_gradient_in_plain_numpy_is_checked() -> None:
    def gradient(w: Any, x: Any, t: Any) -> Any:
        w, x, t = np.asarray(w), np.asarray(x), np.asarray(t)
        total = np.zeros_like(w)
        for k in range(len(x)):
            total += 2 * (x[k] @ w - t[k]) * x[k]
        return total / len(x)

    assert pn.check_gradient(gradient, loss, W, X, T, verbose=False).verdict == "PASS"


def test_the_last_example_alone_is_named() -> None:
    def gradient(w: Any, x: Any, t: Any) -> Any:
        total = 0 * w
        for k in range(len(x)):
            total = 2 * (x[k] @ w - t[k]) * x[k]
        return total / len(x)

    with pytest.raises(pn.GradientError, match="only the last of 5 examples"):
        pn.check_gradient(gradient, loss, W, X, T, verbose=False)


def test_gradients_of_several_arguments() -> None:
    both = jax.grad(loss, (0, 1))
    report = pn.check_gradient(both, loss, W, X, T, argnums=(0, 1), verbose=False)
    assert [leaf.path for leaf in report.leaves] == ["w", "x"]
    with pytest.raises(pn.GradientError):
        pn.check_gradient(lambda *a: both(*a)[::-1], loss, W, X, T, argnums=(0, 1), verbose=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pn.check_gradient(loss, cast(Any, "loss"), W), TypeError, "expected two functions"),
        (lambda: pn.check_gradient(loss, loss, W, X, T, argnums=3), ValueError, "argnums 3 does not fit 3 arguments"),
        (lambda: pn.check_gradient(loss, lambda w: w, W), TypeError, "expected a scalar"),
    ],
)
def test_what_is_no_gradient_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_learning_rate_is_to_blame() -> None:
    design = np.stack([np.ones(5), np.arange(5.0), np.arange(5.0) ** 2], 1)
    hessian = 2 * design.T @ design / 5
    largest = 2 / np.linalg.eigvalsh(hessian)[-1]
    gradient, start = jax.grad(loss), np.zeros(3)
    bad = pn.check_gradient(gradient, loss, start, design, T, learning_rate=1.1 * largest, verbose=False)
    assert "your gradient is right; your learning rate is not" in str(bad)
    assert f"{largest:.4g}" in str(bad)
    good = pn.check_gradient(gradient, loss, start, design, T, learning_rate=0.9 * largest, verbose=False)
    assert "is stable" in str(good)


# Verdicts.


def test_single_precision_is_not_called_a_wrong_formula() -> None:
    def backward(params: Any, x: Any, dy: Any) -> Any:
        dparams, dx = dense_backward(params, x, dy)
        return dparams, (dy.astype(jnp.float32) @ params["kernel"].T.astype(jnp.float32)).astype(dx.dtype)

    report = raised((dense_forward, backward), X, params=PARAMS)
    assert [leaf.verdict for leaf in report.leaves] == ["PASS", "PASS", "PRECISION"]
    assert kinds(report) == ["low_precision"]


def test_a_layers_verdict_is_its_networks() -> None:
    """Rounding, or a stop_gradient, in one layer is no wrong formula of the network around it."""
    dense = pn.dense(4)
    rounded = dense.replace(
        backward=lambda *a: jax.tree.map(lambda g: g.astype(jnp.float32).astype(g.dtype), dense.backward(*a))
    )
    report = raised(pn.serial(pn.dense(5), rounded), X)
    assert report.verdict == "PRECISION"
    assert {cause.kind for cause in report.causes} == {"low_precision"}
    stopped = pn.stateless(
        lambda x: x * jax.lax.stop_gradient(jnp.sin(x)),
        lambda x, dy: (jnp.sin(x) + x * jnp.cos(x)) * dy,
        name="stopped",
    )
    report = raised(pn.serial(pn.dense(5), stopped), X)
    assert report.verdict == "UNRESOLVED"
    assert "jax.grad is the one that is off here" in " ".join(str(report).split())


def test_accuracy_in_the_callers_dtype() -> None:
    near_one = np.full((5, 7), 9.0, np.float32)
    own = pn.check(pn.sigmoid(), near_one, dtype=jnp.float32, verbose=False)
    assert own.verdict == "PASS"
    assert "float32's precision, not a bug" in " ".join(str(own).split())
    careless = (lambda x: jnp.exp(-x), lambda x, dy: (jnp.sinh(x) - jnp.cosh(x)) * dy)
    with pytest.raises(pn.GradientError, match="less accurate than jax"):
        pn.check(careless, np.full((5, 7), 4.0, np.float32), dtype=jnp.float32, verbose=False)


def test_a_stop_gradient_is_said_to_be_jaxs() -> None:
    pair = (lambda x: x * jax.lax.stop_gradient(jnp.sin(x)), lambda x, dy: (jnp.sin(x) + x * jnp.cos(x)) * dy)
    report = raised(pair, X)
    assert report.verdict == "UNRESOLVED"
    assert kinds(report)[0] == "stop_gradient"
    assert "finite differences side with you: jax.grad is the one that is off here" in " ".join(str(report).split())


def test_finite_differences_side_with_jax_where_you_are_wrong() -> None:
    report = raised((jnp.tanh, lambda y, dy: (1 - y) * dy), X)
    assert "finite differences side with jax.grad" in str(report)


def test_a_reference_that_is_nan_where_you_are_right() -> None:
    def forward(x: Any) -> Any:
        return jnp.where(x > 0, x * x, jnp.sqrt(jnp.square(jnp.minimum(x, 0))) * 0)

    report = pn.check(
        (forward, lambda x, dy: jnp.where(x > 0, 2 * x, 0) * dy), np.array([3.0, -0.5, 2.0]), verbose=False
    )
    assert report.verdict == "PASS"


# Impurity, NaN, opaque operations.


def test_a_forward_with_numpy_randomness_is_not_pure() -> None:
    random = np.random.default_rng(0)
    report = raised((lambda x: x * random.random(), lambda x, dy: dy), X)
    assert "impure_forward" in kinds(report)


def test_a_backward_that_draws_is_not_deterministic() -> None:
    random = np.random.default_rng(0)
    report = raised((lambda x: 2 * x, lambda x, dy: dy * (2 + 1e-14 * random.random())), X)
    assert "nondeterministic" in kinds(report)


def test_a_backward_that_reads_what_forward_left_behind() -> None:
    left: list[Any] = []

    def forward(x: Any) -> Any:
        left.append(jnp.cos(x))
        return jnp.sin(x)

    report = raised((forward, lambda x, dy: left[-1] * dy), X)
    assert "impure_backward" in kinds(report)


def test_the_operation_that_makes_a_nan_is_named() -> None:
    def forward(x: Any) -> Any:
        shifted = x - 10
        return jnp.log(shifted)

    with pytest.raises(ValueError, match=r"log of -\d.* gives nan"):
        pn.check((forward, lambda x, dy: dy / (x - 10)), X)
    report = raised((lambda x: x * x, lambda x, dy: 2 * x * dy + 0 * jnp.log(-jnp.square(x))), X)
    assert kinds(report) == ["nonfinite"]
    assert "log" in report.causes[0].text


def test_an_operation_that_cannot_be_looked_into_is_said() -> None:
    def hosted(x: Any) -> Any:
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    @jax.custom_vjp
    def sine(x: Any) -> Any:
        return hosted(x)

    sine.defvjp(lambda x: (hosted(x), x), lambda x, dy: (jnp.cos(x) * dy,))
    assert pn.check((sine, lambda x, dy: jnp.cos(x) * dy), X, verbose=False).verdict == "PASS"
    report = raised((sine, lambda x, dy: -3 * jnp.cos(x) * dy), X)
    assert kinds(report)[0] == "scaled"
    assert "could not be looked into" in str(report)


@pytest.mark.parametrize(
    ("backward", "error", "message"),
    [
        (lambda dy: dy, TypeError, r"expected backward\(params, ..., dy\), got backward\(dy\)"),
        (lambda p, x, dy: dy, TypeError, r"expected backward to return \(dparams, dx\)"),
        (lambda p, x, y, res, more, dy: (p, x), pn.GradientError, "WRONG"),
        (lambda p, x, dy: ([x.T @ dy, dy.sum(0)], dy @ p["kernel"].T), pn.GradientError, "expected dict with"),
        (lambda p, x, dy: ({"kernel": x.T @ dy, "bias": None}, dy @ p["kernel"].T), pn.GradientError, "no gradient is"),
        (lambda p, x, dy: ({"kernel": x.T @ dy, "bias": dy}, dy @ p["kernel"].T), pn.GradientError, "sum over axis 0"),
    ],
    ids=["arity", "one result", "too many arguments", "list for dict", "None", "not summed"],
)
def test_bad_backwards_are_told_what_is_expected(backward: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        pn.check((dense_forward, backward), X, params=PARAMS, verbose=False)


# States, keys, empty leaves, trees.


def test_trees_integers_and_empty_leaves() -> None:
    def forward(params: Any, x: Any) -> Any:
        return {"a": params["w"] * x[0], "b": (jnp.sum(x[1]), jnp.take(params["table"], x[2], 0))}

    def backward(params: Any, x: Any, dy: Any) -> Any:
        dtable = jnp.zeros_like(params["table"]).at[x[2]].add(dy["b"][1])
        dparams = {"w": jnp.sum(dy["a"] * x[0]), "table": dtable, "n": None}
        return dparams, (params["w"] * dy["a"], dy["b"][0] * jnp.ones_like(x[1]), None)

    params = {"w": np.array(1.5), "table": np.random.default_rng(3).standard_normal((7, 3)), "n": np.array(2)}
    x = (X, np.zeros((0, 3)), np.array([1, 4, 1]))
    report = pn.check((forward, backward), x, params=params, verbose=False)
    assert {leaf.path: leaf.verdict for leaf in report.leaves} == {
        "table": "PASS",
        "w": "PASS",
        "x.0": "PASS",
        "x.1": "VACUOUS",
    }


@pytest.mark.parametrize("enabled", [False, True])
def test_the_callers_settings_stay(enabled: bool) -> None:
    with jax.enable_x64(enabled):
        before = dict(jax.config.values)
        pn.check(pn.dense(3), X.astype(np.float32), verbose=False)
        raised((jnp.tanh, lambda y, dy: y * dy))
        assert dict(jax.config.values) == before
        assert jnp.ones(1).dtype == (jnp.float64 if enabled else jnp.float32)


# The report.


def test_a_report_becomes_json() -> None:
    bad = pn.dense(3).replace(backward=lambda *a: (lambda d, dx: (d, 2 * dx))(*pn.dense(3).backward(*a)))
    report = raised(pn.serial(pn.dense(4), bad))
    known = json.loads(json.dumps(report.to_dict()))
    assert known["verdict"] == "WRONG"
    assert known["layers"][0]["path"] == "serial[1].dense"
    assert known["layers"][0]["diagnoses"][0]["kind"] == "scaled"
    assert {leaf["path"] for leaf in known["leaves"]} == {"0.kernel", "0.bias", "1.kernel", "1.bias", "x"}


def test_a_report_fits_one_screen() -> None:
    bad = pn.layer_norm().replace(backward=lambda *a: jax.tree.map(lambda g: -g, pn.layer_norm().backward(*a)))
    layers = [layer for _ in range(6) for layer in (pn.dense(7), pn.tanh())]
    report = raised(pn.serial(*layers[:6], bad, *layers[6:]))
    lines = str(report).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 118
    assert lines[0].startswith("WRONG  serial: ")
    assert lines[0].endswith("to blame: serial[6].layer_norm")


@pytest.mark.parametrize("x", [np.arange(12).reshape(3, 4), 2, np.zeros((0, 3))], ids=["integers", "number", "empty"])
@pytest.mark.parametrize(
    "check", [pn.check, pn.assert_gradients, lambda p, x: pn.assert_gradients(p, x, allow_vacuous=True)]
)
def test_a_check_that_compares_nothing_is_an_error(check: Any, x: Any) -> None:
    with pytest.raises(ValueError, match="check: nothing to compare: pass floating numbers for x or params"):
        check((lambda x: 1.5 * x, lambda dy: 3 * dy), x)


def test_a_gradient_of_integers_is_an_error() -> None:
    with pytest.raises(ValueError, match="check_gradient: nothing to compare: pass floating numbers for argument 0"):
        pn.check_gradient(lambda w: 3.0, lambda w: 2.0 * w, 4)


def test_integers_beside_floating_parameters_are_checked() -> None:
    assert pn.check(pn.embedding(5, 3), np.array([1, 4, 1]), verbose=False).verdict == "PASS"


def test_assert_gradients_is_strict_and_silent(capsys: pytest.CaptureFixture[str]) -> None:
    pn.assert_gradients(pn.dense(3))
    assert capsys.readouterr().out == ""
    pair = (lambda x: 0 * x, lambda dy: 0 * dy)
    with pytest.raises(pn.GradientError, match="VACUOUS"):
        pn.assert_gradients(pair)
    pn.assert_gradients(pair, allow_vacuous=True)
