"""The programs about bugs run as a reader would run them, and the checker names every bug."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import jax.numpy as jnp
import pytest
from load_example import EXAMPLES, load

import purenet as pn

BUGS, WRONG = load("find_the_bug"), load("wrong_gradients")


@functools.cache
def find(name: str) -> Any:
    return BUGS.find(next(bug for bug in BUGS.BUGS if bug.name == name))


@pytest.fixture(autouse=True)
def _leaves_precision_alone():
    yield
    assert jnp.zeros(()).dtype == jnp.float32


@pytest.mark.complete
@pytest.mark.parametrize("bug", BUGS.BUGS, ids=lambda bug: bug.name)
def test_bug_is_named(bug: Any):
    finding = find(bug.name)
    assert finding.report.verdict == ("WRONG" if bug.kinds else "PASS")
    if bug.kinds:
        assert finding.kind in bug.kinds, finding.report
    assert BUGS.says_all(bug, finding.why), finding.report
    assert finding.named, finding.report  # and it accounts for every wrong leaf


@pytest.mark.complete
def test_the_layer_that_drops_the_cotangent_is_blamed():
    report = find("own_jacobian").report
    assert [layer.path for layer in report.layers] == ["serial.output.gate"]


@pytest.mark.parametrize("name", ["rows_alike", "own_jacobian", "whole_column", "bias_from_upstream", "wrong_axis"])
def test_only_the_faulty_leaf_is_wrong(name: str):
    """The rest of each gradient is right, so that what is found is the mistake in the row and no other."""
    report = find(name).report
    leaves = report.layers[0].leaves if report.layers else report.leaves
    assert [leaf.verdict for leaf in leaves].count("WRONG") == 1


def test_right_twins():
    pn.assert_gradients((WRONG.gate_forward, WRONG.gate_backward), WRONG.GATE_INPUT, params=WRONG.GATE_WEIGHTS)
    assert float(WRONG.one_weight_at_a_time().split("within ")[1].split()[0]) < 5e-9


def test_figures():
    assert "-5.6607e-08 in float32 and -5.3438e-08 in float64" in WRONG.what_is_lost()
    assert "12.3-fold" in WRONG.descent()
    assert "2 / 213.4 = 0.00937" in find("learning_rate").why


def test_one_bug_with_its_whole_report(capsys: pytest.CaptureFixture[str]):
    assert BUGS.main(["skipped_example", "--full"]) == 0
    printed = capsys.readouterr().out
    assert "found and named 1 of 1" in printed
    assert "jax.grad" in printed
    assert "HOUSES" not in printed


def test_names_are_listed(capsys: pytest.CaptureFixture[str]):
    assert BUGS.main(["--list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [bug.name for bug in BUGS.BUGS]


def test_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as refusal:
        BUGS.main(["no_such_bug"])
    assert refusal.value.code == 2
    assert "skipped_example" in capsys.readouterr().err


def test_a_bug_that_is_not_named_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    bug = next(bug for bug in BUGS.BUGS if bug.name == "skipped_example")
    monkeypatch.setattr(BUGS, "BUGS", (bug, bug._replace(says=("what nobody says",))))
    assert BUGS.main([]) == 1
    printed = capsys.readouterr().out
    assert "NOT NAMED" in printed
    assert "found and named 1 of 2" in printed


@pytest.mark.complete
def test_the_program_names_all_of_them():
    """As a reader runs it: with JAX as it is by default, and from the command line."""
    done = subprocess.run([sys.executable, EXAMPLES / "find_the_bug.py"], capture_output=True, text=True, timeout=120)
    count = len(BUGS.BUGS)
    assert f"found and named {count} of {count}" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_rule_of_your_own(capsys: pytest.CaptureFixture[str]):
    module = load("check_my_vjp")
    reports = module.main()
    assert {name: report.verdict for name, report in reports.items()} == {
        "right": "PASS",
        "wrong": "WRONG",
        "larger": "PASS",
    }
    first = reports["wrong"].causes[0]
    assert first.kind == "cotangent_ignored"
    assert "does not depend on the upstream cotangent" in first.text
    assert capsys.readouterr().out.count("finite differences side with jax.grad") == 1
    module.test_my_rule()
