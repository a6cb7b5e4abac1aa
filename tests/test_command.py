"""`python -m purenet check`: what it takes, what it prints and what it returns."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import purenet as pn
import purenet.combine
from purenet.catalogue import Row, catalogue, input_of
from purenet.catalogue.table import lines, public
from purenet.checking import command
from purenet.checking.report import plain

MINE = """
import jax
import jax.numpy as jnp
import numpy as np
import purenet as pn


def cube_forward(x):
    return x * x * x


def cube_backward(x, dy):
    return 3 * x * x * dy


def bad_forward(x):
    return jnp.sin(2 * x)


def bad_backward(x, dy):
    return jnp.cos(2 * x) * dy


layer = pn.dense(3)
pair = (jnp.tanh, lambda y, dy: (1 - y * y) * dy)
with_input = (pn.softplus(), np.ones((2, 3)))
scaled = {"target": (lambda p, x: p * x, lambda p, x, dy: (jnp.sum(x * dy), p * dy)), "params": 2.0}
silent = (lambda x: 0 * x, lambda dy: 0 * dy)
log = (jnp.log, lambda x, dy: dy / x)
crash = (jnp.tanh, lambda y, dy: undefined)
whole = ((cube_forward, cube_backward), np.arange(12).reshape(3, 4))
number = 3
surplus = {"target": layer, "colour": "red"}


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (jnp.cos(x) * dy,))


def network(width=3):
    return pn.serial(pn.dense(width), pn.tanh())


def loss():
    return pn.losses.softmax_cross_entropy(), (np.zeros((2, 3)), np.array([0, 2]))


def scaled_twice():
    return scaled


def needs_arguments(x):
    return x


def returns_function():
    return network


def raises():
    raise RuntimeError("no data here")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to be in, with one module of the caller's; what is imported there is forgotten after it."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mine", "broken", "lacking"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def verdicts(printed: str) -> dict[str, str]:
    """The verdict of each row of the table."""
    rows = printed[printed.index("name ") :].split("\n\n")[0].splitlines()[1:]
    return {row.split("  ")[0]: row.split()[-2] for row in rows}


# The library.


def test_the_catalogue_has_every_public_constructor() -> None:
    constructors = {name for module in (pn, pn.layers, pn.losses, purenet.combine) for name in public(module)}
    rows = catalogue()
    no_rules = {"stateless", "decoding"}  # the one makes layers of twins, the other has no backward
    assert constructors - no_rules <= {row.constructor for row in rows}
    assert len({row.name for row in rows}) == len(rows)
    places = (pn, pn.losses, pn.models)
    assert all(any(hasattr(place, row.constructor) for place in places) for row in rows)


def test_inputs_of_the_catalogue_are_numpy_follow_the_seed_and_stand_alone() -> None:
    for row in catalogue():
        leaves, again, moved = (jax.tree.leaves(input_of(row, seed)) for seed in (0, 0, 1))
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves), row.name
        assert all(map(np.array_equal, leaves, again)), row.name
        assert not all(map(np.array_equal, leaves, moved)), row.name


def test_inputs_of_activations_lie_on_both_sides_of_every_kink() -> None:
    x = next(input_of(row) for row in catalogue() if row.name == "relu6")
    bounds = (-np.inf, -6, -3, -1, 0, 1, 3, 6, np.inf)
    assert np.all(np.histogram(x, bounds)[0] > 0)
    assert not np.isin(x, bounds).any()


def some_of_the_library() -> list[Row]:
    names = (
        "gelu, exact",
        "hard_swish",
        "layer_norm, no scale",
        "softmax_cross_entropy, where, classes",
        "per_example",
    )
    return [row for row in catalogue() if row.name in names]


@pytest.mark.complete
def test_the_library_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command.jobs, "catalogue", some_of_the_library)
    assert command.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert f"on {jax.default_backend()} ({jax.devices()[0].device_kind}), jax {jax.__version__}" in printed
    assert "float64, matrix products at full precision (highest)" in printed
    assert verdicts(printed) == dict.fromkeys([row.name for row in some_of_the_library()], "PASS")
    assert printed.splitlines()[-1].startswith("OK  5 checked in ")
    assert printed.splitlines()[-1].endswith(" s: 5 PASS")


def test_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [row.name for row in catalogue()]


# The table of layers.


def test_the_table_says_something_of_every_layer(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines()
    public_names = {name for module in (pn.layers, pn.losses, purenet.combine, pn.models) for name in public(module)}
    assert public_names <= {line.name for line in found}
    assert not [line.name for line in found if not line.equation or not line.kept]
    reordering = {"flatten", "reshape", "swap_axes", "pad", "crop", "stacked_rnn", "without_lengths"}
    around = {
        "parallel",
        "concatenate",
        "repeat",
        "frozen",
        "per_example",
        "head_objective",
        "objective",
        "from_function",
    }
    assert {line.name for line in found if not line.source} <= reordering | around
    assert command.main(["layers", "Keys"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["layer", "upsample"]


def test_the_table_reads_equations_what_is_kept_and_sources() -> None:
    table = {line.name: line[1:] for line in lines()}
    assert table["dense"] == ("y = x @ kernel + bias", "x", "Goodfellow et al. 2016")
    assert table["rms_norm"] == ("y = scale xhat, xhat = x rstd", "x, rstd (y recomputed)", "Zhang & Sennrich 2019")
    assert table["elu"][1:] == ("y", "Clevert et al. 2016")
    assert table["global_max_pool"][:2] == ("y = max_i x_i", "place (y recomputed)")
    assert table["serial"][:2] == ("y = f_n(... f_2(f_1(x)))", "x, what its plan says")


def test_the_table_is_whole_in_a_pipe_and_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert command.main(["layers"]) == 0
    piped = capsys.readouterr().out.splitlines()[1:]
    assert [re.split(r"  +", row) for row in piped] == [[re.sub(r"  +", " ", c) for c in row if c] for row in lines()]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert command.main(["layers"]) == 0
    shown = capsys.readouterr().out.splitlines()[1:]
    assert max(map(len, shown)) <= 100 < max(map(len, piped))
    assert [row.split()[0] for row in shown] == [row.split()[0] for row in piped]
    assert any("..." in row for row in shown)


# The caller's own.


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("cube", "PASS"),
        ("cube_forward", "PASS"),
        ("cube_backward", "PASS"),
        ("layer", "PASS"),
        ("pair", "PASS"),
        ("with_input", "PASS"),
        ("scaled", "PASS"),
        ("scaled_twice", "PASS"),
        ("sine", "PASS"),
        ("network", "PASS"),
        ("loss", "PASS"),
        ("silent", "VACUOUS"),
    ],
)
def test_every_form_is_taken(mine: Path, capsys: pytest.CaptureFixture[str], name: str, verdict: str) -> None:
    assert command.main(["check", f"mine:{name}"]) == 0
    captured = capsys.readouterr()
    assert verdicts(captured.out) == {f"mine:{name}": verdict}
    assert captured.err == ""


def test_a_wrong_gradient_is_explained_after_the_table(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check", "mine:bad", "mine:cube"]) == 1
    printed = capsys.readouterr().out
    assert verdicts(printed) == {"mine:bad": "WRONG", "mine:cube": "PASS"}
    table, failure = printed.index("mine:cube"), printed.index("\nmine:bad:\n")
    assert table < failure < printed.index("why: ") < printed.index("FAILED  2 checked in ")
    assert printed.splitlines()[-1].endswith(" s: 1 PASS, 1 WRONG")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("log", "the output of log is not finite"),
        ("whole", "nothing to compare: pass floating numbers for x or params"),
        ("needs_arguments", "needs_arguments has no derivative rule of its own"),
        ("crash", "NameError: name 'undefined' is not defined (mine.py, line"),
    ],
)
def test_what_cannot_be_checked_fails_and_the_next_one_is_checked(
    mine: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert command.main(["check", f"mine:{name}", "mine:cube"]) == 1
    printed = capsys.readouterr().out
    assert verdicts(printed) == {f"mine:{name}": "ERROR", "mine:cube": "PASS"}
    assert f"ERROR  mine:{name}: {message}" in printed


def test_quiet_prints_failures_and_the_summary(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check", "--quiet", "mine:cube"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert command.main(["check", "--quiet", "mine:bad", "mine:cube"]) == 1
    assert capsys.readouterr().out.startswith("mine:bad:\nWRONG  bad: 1 WRONG of 1")


def test_options_reach_the_check(mine: Path) -> None:
    assert command.main(["check", "mine:cube", "mine:loss", "--shape=3,4", "--json=a.json", "--dtype=float32"]) == 0
    first, loss = json.loads(Path("a.json").read_text())
    assert first["leaves"][0]["shape"] == [3, 4]
    assert loss["leaves"][0]["shape"] == [2, 3]
    assert any("float32" in note for note in first["notes"])
    assert command.main(["check", "mine:cube", "--shape=3,4", "--json=b.json", "--seed=7"]) == 0
    assert json.loads(Path("b.json").read_text())[0]["leaves"][0]["yours"] != first["leaves"][0]["yours"]


def test_json_holds_every_report_and_nothing_else_is_left(mine: Path) -> None:
    assert command.main(["check", "mine:bad", "mine:log", "--json", "reports.json"]) == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    wrong, error = json.loads(Path("reports.json").read_text(), parse_constant=refuse)
    assert (wrong["name"], wrong["verdict"], wrong["leaves"][0]["path"]) == ("mine:bad", "WRONG", "x")
    assert wrong["diagnoses"]
    assert (error["name"], error["verdict"], error["leaves"]) == ("mine:log", "ERROR", [])
    assert "not finite" in error["notes"][0]
    assert {path.name for path in mine.iterdir()} - {"__pycache__"} == {"mine.py", "reports.json"}


def test_numbers_that_json_has_not_become_null() -> None:
    assert plain({"a": (np.inf, np.float64("nan"), np.int64(3)), "b": [1.5, "x"]}) == {
        "a": [None, None, 3],
        "b": [1.5, "x"],
    }


# Wrong usage.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine"], "expected module:name, got 'mine'"),
        (["mine:"], "expected module:name, got 'mine:'"),
        ([":cube"], "expected module:name, got ':cube'"),
        (["mine.py:cube"], "expected the name of a module, such as package.module, got the file 'mine.py'"),
        (["nowhere:x"], "no module named 'nowhere'"),
        (["mine.sub:x"], "no module named 'mine.sub'"),
        (["broken:x"], "importing broken failed: ZeroDivisionError: division by zero (broken.py, line 2)"),
        (["lacking:x"], "importing lacking failed: ModuleNotFoundError: No module named 'nosuchmodule'"),
        (["mine:cub"], "mine has no 'cub' and no twins cub_forward and cub_backward: did you mean cube?"),
        (["mine:number"], "mine:number cannot be checked: expected a layer"),
        (["mine:jnp"], "one of these; got module"),
        (["mine:returns_function"], "one of these; this one returns something else"),
        (["mine:raises"], "calling mine:raises failed: RuntimeError: no data here (mine.py, line"),
        (["mine:surplus"], "mine:surplus gives 'colour', which purenet.check does not take"),
        (["mine:cube", "--json", "nowhere/a.json"], "cannot write nowhere/a.json"),
        (["mine:cube", "--junit", "."], "cannot write .: expected a file"),
        (["mine:cube", "--junit", "a", "--json", "./a"], "cannot write a twice"),
        (["--shape", "5"], "--shape is for your own targets"),
    ],
)
def test_wrong_usage_is_one_sentence(
    mine: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (mine / "broken.py").write_text("import os\n1 / 0\n")
    (mine / "lacking.py").write_text("import nosuchmodule\n")
    assert command.main(["check", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--seed", "-1"], "expected a whole number"),
        (["check", "--shape", "5,0"], "expected lengths of at least 1"),
        (["check", "--dtype", "int32"], "invalid choice: 'int32'"),
        (["check", "--colour"], "unrecognized arguments: --colour"),
        (["chekc"], "invalid choice: 'chekc'"),
    ],
)
def test_wrong_options_are_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 2
    assert "usage: python -m purenet" in capsys.readouterr().out
    for arguments in (["--help"], ["check", "--help"]):
        assert command.main(arguments) == 0
        assert "python -m purenet check mylayers:swish" in capsys.readouterr().out
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"purenet {pn.__version__}, jax {jax.__version__}\n"


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_interruptions_end_quietly(
    mine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: type[BaseException],
    code: int,
) -> None:
    def stopped(*arguments: object) -> None:
        raise stop

    monkeypatch.setattr(command.running, "run_one", stopped)
    assert command.main(["check", "mine:cube", "--json", "reports.json"]) == code
    assert capsys.readouterr().err == ""
    assert not Path("reports.json").exists()


def test_it_runs_as_a_program(mine: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    call = [sys.executable, "-P", "-m", "purenet", "check", "mine:bad", "--quiet"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=mine, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("mine:bad:\nWRONG  bad: 1 WRONG of 1")
    assert "why: " in done.stdout
    assert done.stderr == ""
