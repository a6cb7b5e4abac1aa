"""purenet.mutation_test must call noticed what `check` rejects, unnoticed what it accepts, and say what hides it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import purenet as pn
from purenet.checking.mutation import MutationReport, mutation_test, testing
from purenet.layers.dense import dense_backward, dense_forward
from purenet.layers.layer_norm import layer_norm_backward, layer_norm_forward

RANDOM = np.random.default_rng(7)
LABELS = (RANDOM.standard_normal((4, 3)), np.array([0, 2, 1, 1]))
SQUARE = RANDOM.standard_normal((7, 7))
measure = functools.partial(mutation_test, verbose=False)


def kinds(report: MutationReport) -> dict[str, tuple[int, int]]:
    """(noticed, made) of each kind of mutation."""
    found: dict[str, tuple[int, int]] = {}
    for mutant in report.mutants:
        seen, made = found.get(mutant.kind, (0, 0))
        found[mutant.kind] = (seen + mutant.noticed, made + 1)
    return found


def unnoticed(report: MutationReport) -> dict[str, str]:
    """The hint of each unnoticed mutant, by what it is."""
    return {mutant.what: mutant.hint for mutant in report.unnoticed}


def test_the_default_probe_of_dense_notices_everything() -> None:
    report = measure(pn.dense(7))
    assert report.rate == 1
    assert not report.unnoticed
    assert kinds(report) == {
        "another value read": (2, 2),  # W in place of W^T; in x_rows.T, y in place of x
        "sign flipped": (3, 3),
        "times 2": (3, 3),
        "times 1.01": (3, 3),
        "factor left out": (4, 4),
        "operand transposed": (1, 1),
        "last of a sum only": (3, 3),
        "averaged, not summed": (3, 3),
        "gradient left at zero": (3, 3),
    }
    assert all("dense.py" in mutant.line for mutant in report.mutants if mutant.kind != "gradient left at zero")


def test_a_symmetric_kernel_and_a_batch_of_one_hide_mistakes() -> None:
    params = {"kernel": SQUARE + SQUARE.T, "bias": np.zeros(7)}
    report = measure(pn.dense(7), np.ones((1, 7)), params=params)
    assert unnoticed(report) == {
        "without the factor x": "x is all ones",
        "only the last of 1 terms": "the axis has length 1",
        "averaged over 1, not summed": "the axis has length 1",
        "kernel transposed": "kernel is symmetric",
    }
    assert len(report.unnoticed) == 6  # two of the sums are over the batch
    assert all(mutant.equivalent for mutant in report.unnoticed)
    assert not any(mutant.equivalent for mutant in report.mutants if mutant.noticed)


def test_a_kernel_of_ones_hides_which_kernel_was_read() -> None:
    params = {"kernel": np.ones((7, 7)), "bias": np.zeros(7)}
    found = unnoticed(measure(pn.dense(7), np.ones((4, 7)), params=params))
    assert found["without the factor kernel"] == "kernel is all ones"
    assert found['kernel in place of `params["kernel"].T`'] == "the two are equal"
    assert "averaged over 4, not summed" not in found


def test_a_kernel_of_zeros_hides_everything_about_dx() -> None:
    params = {"kernel": np.zeros((7, 3)), "bias": np.zeros(3)}
    found = unnoticed(measure(pn.dense(3), params=params))
    assert found["with the other sign"].endswith("is all zeros")
    assert found["gradient of x left at zero"] == "the gradient of x is all zeros"


def test_a_scale_of_one_hides_that_it_was_left_out() -> None:
    assert measure(pn.layer_norm()).rate == 1
    report = measure(pn.layer_norm(), params={"scale": np.ones(7), "bias": np.zeros(7)})
    assert unnoticed(report) == {"without the factor scale": "scale is all ones"}
    assert "scale_and_bias.py" in report.unnoticed[0].line


# What a mutant is, written by hand: `check` must agree at the same probe.


def averaged(params: Any, x: Any, dy: Any) -> Any:
    dparams, dx = dense_backward(params, x, dy)
    return {"kernel": dparams["kernel"] / len(x), "bias": dparams["bias"]}, dx


def untransposed(params: Any, x: Any, dy: Any) -> Any:
    return dense_backward(params, x, dy)[0], dy @ params["kernel"]


def without_scale(params: Any, x: Any, statistics: Any, dy: Any) -> Any:
    dparams, _ = layer_norm_backward(params, x, statistics, dy)
    ones = {"scale": jnp.ones_like(params["scale"]), "bias": params["bias"]}
    return dparams, layer_norm_backward(ones, x, statistics, dy)[1]


@pytest.mark.parametrize(
    ("forward", "right", "wrong", "x", "params", "what"),
    [
        (dense_forward, dense_backward, averaged, np.ones((1, 7)), {"kernel": SQUARE}, "averaged over 1, not summed"),
        (dense_forward, dense_backward, untransposed, None, {"kernel": SQUARE + SQUARE.T}, "kernel transposed"),
        (
            layer_norm_forward,
            layer_norm_backward,
            without_scale,
            None,
            {"scale": np.ones(7)},
            "without the factor scale",
        ),
    ],
    ids=["averaged", "transposed", "scale"],
)
def test_check_passes_what_is_unnoticed_and_rejects_it_elsewhere(
    forward: Any, right: Any, wrong: Any, x: Any, params: Any, what: str
) -> None:
    params = params | {"bias": np.zeros(7)}
    assert what in unnoticed(measure((forward, right), x, params=params))
    pn.check((forward, wrong), x, params=params, verbose=False)
    generic = {name: value + RANDOM.standard_normal(value.shape) for name, value in params.items()}
    x = RANDOM.standard_normal((3, 7))
    assert not measure((forward, right), x, params=generic).unnoticed
    with pytest.raises(pn.GradientError):
        pn.check((forward, wrong), x, params=generic, verbose=False)


def test_only_the_backward_is_mutated() -> None:
    """Forward and backward are traced apart: the sums and divisions of the forward are no mistakes of the backward."""
    report = measure((lambda x: (jnp.exp(2 * x) - 1) / (jnp.exp(2 * x) + 1), lambda y, dy: (1 - y * y) * dy))
    assert report.rate == 1
    assert not any("exp" in mutant.line for mutant in report.mutants)
    assert kinds(report)["sign flipped"] == (3, 3)
    assert {mutant.what for mutant in report.mutants} >= {"x in place of y", "without the factor dy"}


def test_softmax_over_the_other_axis_is_a_mutant() -> None:
    report = measure(pn.softmax())
    assert report.rate == 1
    assert kinds(report)["another axis summed"] == (1, 1)
    assert kinds(report)["term left out"] == (2, 2)
    assert "summed over axis 0, not 1" in {mutant.what for mutant in report.mutants}


def test_a_sum_over_another_axis_of_the_same_length() -> None:
    pair = (lambda p, x: x + p[None, :], lambda p, x, dy: (jnp.sum(dy, 0), dy))
    axis = [m for m in measure(pair, np.ones((3, 3)), params=np.ones(3)).mutants if m.kind == "another axis summed"]
    assert [(mutant.what, mutant.noticed) for mutant in axis] == [("summed over axis 1, not 0", True)]
    assert "another axis summed" not in kinds(measure(pair, np.ones((4, 3)), params=np.ones(3)))


def test_labels_that_stand_for_one_hot_targets_hide_their_sum() -> None:
    objective = pn.objective(pn.dense(5), pn.losses.softmax_cross_entropy())
    report = measure(objective, LABELS)
    assert len(report.unnoticed) == 1
    hidden = report.unnoticed[0]
    assert hidden.kind == "factor left out"
    assert hidden.hint == "`jnp.sum(target, -1, keepdims=True)` is all ones"
    assert {"dense.py", "cross_entropy.py"} <= {mutant.line.split("(")[-1].split(":")[0] for mutant in report.mutants}


def test_a_one_written_in_the_source_is_no_factor_of_the_probe() -> None:
    """Without smoothing, the labels' gradient is multiplied by 1 - 0: no probe could notice that it is left out."""
    logits, labels = RANDOM.standard_normal((4, 3)), RANDOM.uniform(size=(4, 3))
    assert measure(pn.losses.softmax_cross_entropy(), (logits, labels)).rate == 1


def test_networks_are_mutated_layer_by_layer() -> None:
    report = measure(pn.serial(pn.dense(4), pn.tanh(), pn.dense(3)))
    assert report.rate == 1
    places = {mutant.line for mutant in report.mutants}
    assert any("activations.py" in place for place in places)
    assert kinds(report)["last of a sum only"] == (6, 6)


def test_the_turns_of_a_scan_are_one_place() -> None:
    once, twice = (measure(pn.repeat(pn.serial(pn.dense(7), pn.tanh()), n)) for n in (1, 2))
    assert once.rate == twice.rate == 1
    assert len(twice.mutants) == len(once.mutants)


def test_backwards_that_do_nothing_can_be_mutated_too() -> None:
    for layer in (pn.identity(), pn.flatten()):
        report = measure(layer)
        assert report.rate == 1
        assert {mutant.what for mutant in report.mutants} == {
            "gradient of x left at zero",
            "gradient of x with the other sign",
            "gradient of x times 2",
            "gradient of x times 1.01",
        }


def test_a_condition_turned_round_and_what_hides_a_slope() -> None:
    assert kinds(measure(pn.relu()))["condition turned round"] == (1, 1)
    found = unnoticed(measure((jnp.abs, lambda x, dy: jnp.sign(x) * dy), np.array([[1.0, 2.0], [3.0, 4.0]])))
    assert found == {
        "y in place of x": "the two are equal",
        "without the factor `jnp.sign(x)`": "`jnp.sign(x)` is all ones",
    }


def test_where_an_effect_ends_is_said() -> None:
    """1 - y^2 does not ask for the sign of y."""
    report = measure(pn.remat(pn.tanh()))
    assert [mutant.what for mutant in report.unnoticed] == ["with the other sign"]
    assert report.unnoticed[0].hint.startswith("its effect ends at `(1 + y) * (1 - y)`")


def saved_x_forward(params: Any, x: Any) -> Any:
    return params * x, (params, x)


def saved_x_backward(params: Any, saved: Any, dy: Any) -> Any:
    return jnp.sum(saved[1] * dy), saved[0] * dy


def test_x_kept_under_a_second_name_is_not_another_value() -> None:
    report = measure((saved_x_forward, saved_x_backward), params=np.float32(3))
    assert report.rate == 1
    assert [mutant.what for mutant in report.mutants if mutant.kind == "another value read"] == ["y in place of x"]


def test_custom_rules_and_operations_without_a_numpy_rule() -> None:
    @jax.custom_vjp
    def sine(x: Any) -> Any:
        return jnp.sin(x)

    sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (jnp.cos(x) * dy,))
    assert measure(sine).rate == 1

    def convolve(kernel: Any, x: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME")

    image, kernel = RANDOM.standard_normal((2, 1, 4, 4)), RANDOM.standard_normal((2, 1, 3, 3))
    pair = (convolve, lambda params, x, dy: jax.vjp(convolve, params, x)[1](dy))
    report = measure(pair, image, params=kernel)
    assert report.rate == 1
    assert kinds(report)["sign flipped"] == (2, 2)


def test_random_numbers_are_not_mutated() -> None:
    report = measure(pn.dropout(0.5))
    drawing = [mutant for mutant in report.mutants if "bernoulli" in mutant.line]
    assert len(drawing) < 8  # the probability, not what is done to random bits
    assert all(mutant in drawing for mutant in report.unnoticed)


def test_a_wrong_backward_is_refused_first() -> None:
    with pytest.raises(pn.GradientError) as caught:
        measure((jnp.tanh, lambda y, dy: (1 - y) * dy))
    assert caught.value.report.verdict == "WRONG"


@pytest.mark.parametrize(
    ("backward", "error", "message"),
    [
        (lambda y, dy: jnp.asarray((1 - np.square(np.asarray(y))) * np.asarray(dy)), TypeError, "cannot be traced"),
        (lambda y, dy: lax.fori_loop(0, 1500, lambda i, z: z * 2 / 2, (1 - y * y) * dy), ValueError, "2000 steps"),
    ],
    ids=["NumPy", "long"],
)
def test_what_cannot_be_recorded_is_said(backward: Callable[..., Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        measure((jnp.tanh, backward))


def test_many_mutants_are_chosen_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = measure(pn.layer_norm())
    assert everything.possible == len(everything.mutants)
    assert "possible" not in str(everything)
    monkeypatch.setattr(testing, "MOST_MUTANTS", 10)
    some = measure(pn.layer_norm())
    assert len(some.mutants) == 10
    assert f"10 of 10 mutants noticed ({everything.possible} were possible, these are evenly chosen)" in str(some)
    assert [some.mutants[0], some.mutants[-1]] == [everything.mutants[0], everything.mutants[-1]]


def test_the_report_fits_one_screen_and_has_no_truth_value(capsys: pytest.CaptureFixture[str]) -> None:
    report = mutation_test(pn.serial(pn.dense(7), pn.dense(7)), np.ones((1, 7)), params=[ZERO_DENSE] * 2)
    printed = capsys.readouterr().out.rstrip("\n")
    assert printed == str(report)
    lines = printed.splitlines()
    assert lines[0] == f"mutation test of serial: {report.noticed} of {len(report.mutants)} mutants noticed"
    assert lines[-1] == f"  ... and {len(report.unnoticed) - 11} more"
    assert len(lines) < 45
    assert max(map(len, lines)) <= 120
    with pytest.raises(TypeError, match="no truth value"):
        bool(report)
    as_json = json.loads(json.dumps(report.to_dict()))
    assert as_json["noticed"] == report.noticed
    assert as_json["mutants"][0] == report.mutants[0]._asdict()


ZERO_DENSE = {"kernel": np.zeros((7, 7)), "bias": np.zeros(7)}


def test_the_probe_is_that_of_check_whatever_the_seed() -> None:
    first, again, other = (measure(pn.softmax(), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert other.rate == 1
    assert jnp.ones(1).dtype == jnp.float32
