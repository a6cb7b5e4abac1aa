"""The picture of a report: what is in it, for leaves of every kind, and that nothing else changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet as pn
from purenet.checking.plot import block_largest, fold
from purenet.checking.report import Report
from purenet.checking.vocabulary import LeafReport

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(4, 6))


def report_of(*arrays: tuple[Any, np.ndarray], verdict: str = "WRONG", worst: tuple[int, ...] = ()) -> Report:
    leaves = tuple(
        LeafReport(f"leaf{k}", truth.shape, 0.5, verdict, worst, 0.0, 0.0) for k, (_, truth) in enumerate(arrays)
    )
    return Report("drawn", leaves, arrays=arrays)


def words(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def images(figure: Any) -> list[Any]:
    from matplotlib.image import AxesImage

    return figure.findobj(AxesImage)


def changed(values: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    values = values.copy()
    values[index] = value
    return values


def test_a_wrong_layer_is_drawn_and_saved(tmp_path: Path) -> None:
    pair = (lambda x: x @ x.T, lambda x, dy: dy @ x)  # the other factor's gradient is forgotten
    with pytest.raises(pn.GradientError) as caught:
        pn.check(pair, explain=False)
    figure = caught.value.report.plot(str(tmp_path / "picture.png"))
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "x  [5, 7]  WRONG" in words(figure)
    (yours, truth), drawn = caught.value.report.arrays[0], images(figure)
    largest = max(np.abs(yours).max(), np.abs(truth).max())
    np.testing.assert_allclose(drawn[0].get_array() * largest, yours)
    np.testing.assert_allclose(drawn[1].get_array() * largest, truth)
    np.testing.assert_allclose(drawn[2].get_array() * np.abs(yours - truth).max(), np.abs(yours - truth))
    assert drawn[0].get_clim() == drawn[1].get_clim() == (-1, 1)
    assert drawn[2].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("yours", "truth", "said"),
    [
        (np.array(4.5), np.array(3.0), "1.5"),
        (RANDOM.normal(size=7), RANDOM.normal(size=7), "axis 0"),
        (2 * RANDOM.normal(size=(2, 3, 4, 5)), RANDOM.normal(size=(2, 3, 4, 5)), "axes 0 to 2, folded"),
        (RANDOM.normal(size=(450, 3)), RANDOM.normal(size=(450, 3)), "axis 0, largest of each 3"),
        (RANDOM.normal(size=(1, 3)), RANDOM.normal(size=(1, 3)), "axis 1"),
        (np.ones((3, 2)), np.ones((3, 2)), "equal to the last bit"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "equal to the last bit"),
        (np.zeros((0, 4)), np.zeros((0, 4)), "no elements"),
        (np.zeros((4, 0)), np.zeros((4, 0)), "no elements"),
        (np.zeros(0), np.zeros(0), "no elements"),
        (None, MATRIX, "nothing that can be compared"),
        (changed(MATRIX, (1, 2), np.nan), MATRIX, "yours (1 not finite: black)"),
        (MATRIX, changed(MATRIX, (1, 2), np.inf), "jax.grad's (1 not finite: black)"),
        (np.full((2, 2), np.nan), np.full((2, 2), np.inf), "yours (4 not finite: black)"),
        (np.array([[1e308, -1e308]]), np.array([[-1e308, 1e308]]), "1e+308"),
        (np.array([[5e-324, 0.0]]), np.array([[0.0, 0.0]]), "4.94e-324"),
    ],
)
@pytest.mark.parametrize("verdict", ["PASS", "WRONG"])
def test_every_kind_of_leaf_is_drawn(yours: Any, truth: np.ndarray, said: str, verdict: str, tmp_path: Path) -> None:
    worst = tuple(side - 1 for side in truth.shape) if truth.size else ()
    figure = report_of((yours, truth), verdict=verdict, worst=worst).plot(tmp_path / "a.svg")
    assert said in words(figure)
    assert f"leaf0  {list(truth.shape)}  {verdict}  error 5.0e-01" in words(figure)
    assert (tmp_path / "a.svg").stat().st_size > 0


def test_the_six_worst_leaves_are_drawn_first() -> None:
    rows = [("a", "PASS", 1e-16), ("b", "WRONG", 0.1), ("c", "WRONG", np.inf), ("d", "VACUOUS", 0.0)]
    rows += [("e", "WRONG", np.nan), ("f", "PASS", 1e-15), ("g", "PRECISION", 1e-6)]
    leaves = tuple(LeafReport(path, (2,), error, verdict, (), 0.0, 0.0) for path, verdict, error in rows)
    found = words(Report("drawn", leaves, arrays=((np.ones(2), np.zeros(2)),) * len(rows)).plot())
    places = [found.index(f"{path}  [2]  ") for path in "cebgfa"]
    assert places == sorted(places)
    assert "d  [2]" not in found
    assert "not drawn, and none worse: 1 more" in found


def test_a_report_without_arrays_says_so() -> None:
    assert "the report holds no arrays to draw" in words(Report("empty", ()).plot())


def test_blocks_keep_their_largest_value_and_its_sign() -> None:
    values = np.array([[1.0, -5.0, 2.0, 0.0, -0.5], [3.0, 4.0, np.nan, 1e9, 0.0], [0.0, 0.0, 0.0, -7.0, 1.0]])
    expected = np.array([[-5.0, np.nan, -0.5], [0.0, -7.0, 1.0]])
    np.testing.assert_array_equal(block_largest(values, (2, 2)), expected)
    np.testing.assert_array_equal(block_largest(values, (1, 1)), values)
    assert block_largest(RANDOM.normal(size=(901, 203)), (5, 2)).shape == (181, 102)


@pytest.mark.parametrize(("shape", "folded"), [((), (1, 1)), ((3,), (1, 3)), ((2, 3), (2, 3)), ((2, 3, 4), (6, 4))])
def test_leaves_are_folded_with_the_last_axis_across(shape: tuple[int, ...], folded: tuple[int, int]) -> None:
    assert fold(np.ones(shape)).shape == folded


def test_no_state_of_matplotlib_changes() -> None:
    import matplotlib

    before, loaded = dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules
    report_of((2 * MATRIX, MATRIX), worst=(0, 0)).plot().canvas.draw()
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'purenet\[examples\]'"):
        report_of((MATRIX, MATRIX)).plot()
