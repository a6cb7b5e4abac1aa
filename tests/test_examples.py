"""Every example runs as a reader would run it, and reproduces the figures that were known before it was written."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from load_example import load

import purenet as pn


@pytest.fixture(autouse=True)
def _leaves_precision_alone():
    yield
    assert jnp.zeros(()).dtype == jnp.float32


def test_worked_example_reproduces_every_number():
    found = load("worked_example").main()
    expected = {
        "hidden": [0.9999998874648379, 0.01798620996209156],
        "output": [0.7319417133694889, 0.12303185591001443],
        "loss": 0.08699208259994781,
        "dV": [[-0.10518769048825163, 0.02654904571226164], [-0.00189192809945763, 0.00047751676421133]],
        "dW": [[-5.3438148366532e-08, 1.4201436720081408e-03], [-1.7812716122177e-08, 4.7338122400271e-04]],
        "dx": [-0.0014202505483048738, 0.0023669417454458123],
        "loss of both": 0.4172441091113719,
        "W after 1 step": [[6.0000001625922925, -3.000710071835023], [-2.000000534586515, 4.999763309384074]],
        "V after 1 step": [[1.0525937301848995, -2.0132745124490783], [0.11257513061524965, 2.012276817979357]],
        "loss after 1 step": 0.3743412636647394,
        "outputs after 200 more": [
            [0.9462136820061762, 0.04892312105800783],
            [0.05590821589568423, 0.9509302258307656],
        ],
    }
    for name, figure in expected.items():
        np.testing.assert_allclose(found[name], figure, rtol=1e-12, err_msg=name)
    assert found["two ways"] < 1e-15


def test_worked_example_loses_digits_in_float32():
    np.testing.assert_allclose(load("worked_example").main()["dW in float32"], -5.6607e-08, rtol=1e-5)


@pytest.mark.complete
def test_logic_gates_are_learned():
    module = load("logic_gates")
    results = module.main(starts=8)
    assert list(results) == ["AND", "OR", "AND and OR", "XOR"]
    for name, result in results.items():
        np.testing.assert_array_equal(np.round(result.outputs), module.GATES[name], err_msg=name)
        assert result.starts >= 4, name
        assert result.gradient_error < 1e-9, name
    np.testing.assert_allclose(results["AND"].outputs[:, 0], [0, 0.003, 0.003, 0.997], atol=1e-3)
    np.testing.assert_allclose(results["OR"].outputs[:, 0], [0.003, 0.998, 0.998, 1], atol=1e-3)


def test_xor_losses():
    losses = list(load("xor").main().values())
    np.testing.assert_allclose(losses, [0.99999, 0.9970, 0.00148, 0.000115], rtol=5e-3)
    np.testing.assert_allclose(losses[:2], [0.99999, 0.9970], rtol=5e-5)


def test_regression_reaches_least_squares():
    line, houses = load("regression").main().values()
    np.testing.assert_allclose(line["2,000 steps at 0.5"], line["least squares"], rtol=1e-12)
    assert np.max(np.abs(line["1,000 steps at 0.05"] - line["least squares"])) > 1e-4
    assert round(houses["least squares"], 4) == 1444.1444
    assert round(houses["all five examples"], 3) == 1444.192
    assert round(houses["without the last"], 2) == 1723.07


@pytest.mark.parametrize("widths", [[3, 4, 4, 2], [3, 7, 6, 5, 4, 2]])
def test_three_layer_gradients_are_those_of_jax_grad(widths: list[int]):
    differences = load("three_layer").main(["--widths", *map(str, widths)])
    assert len(differences) == 2 * (len(widths) - 1)
    assert max(differences.values()) <= 1e-12


def test_three_layer_verifies_each_layer(capsys: pytest.CaptureFixture[str]):
    load("three_layer").main(["--verify"])
    printed = capsys.readouterr().out
    assert printed.count("dense: 3 PASS of 3") == 3
    assert printed.count("sigmoid: 1 PASS of 1") == 2


@pytest.mark.complete
def test_quadrants_and_zeros(tmp_path: Path):
    picture = tmp_path / "quadrants.png"
    found = load("quadrants").main(["--starts", "3", "--plot", str(picture)])
    before, after = found["zeros"].T
    assert np.any((before > 5) & (before < 20) & (after < 0.02))
    assert 0.001 < np.median(after[(before > 5) & (before < 20)]) < 0.1
    quadrants = {which: np.median(run.accuracy, 0) for which, run in found["quadrants"].items()}
    assert all(accuracy[0] < 0.7 for accuracy in quadrants.values())
    assert 0.8 < quadrants[3, "constant rate"][1] < 0.97
    assert quadrants[8, "falling rate"][1] >= 0.97
    assert found["by hand"].accuracy == 1
    trained = found["quadrants"][3, "falling rate"]
    assert trained.error[trained.median, 1] < found["by hand"].error
    assert picture.stat().st_size > 10_000


@pytest.mark.complete
def test_unet_finds_sky_and_petals(tmp_path: Path) -> None:
    picture = tmp_path / "unet.png"
    module = load("unet")
    found = module.main(module.parse(["--steps", "60", "--plot", str(picture)]))
    assert found.loss < 0.5
    assert found.overlaps[0] > 0.8
    assert found.overlaps[0] > found.baseline[0]
    assert picture.stat().st_size > 10_000


def test_a_table_of_your_own_gradients_is_right():
    module = load("check_your_library")
    assert list(module.TABLE) == ["swish", "affine", "cross_entropy", "log1p_exp", "huber"]
    for row in module.TABLE:
        module.test_gradients(row)
    module.TABLE["huber"]["target"] = module.huber_forward, lambda errors, dy: np.sign(errors) * dy
    with pytest.raises(pn.GradientError, match="WRONG  huber"):
        module.test_gradients("huber")
