"""`python -m purenet check` of a library of the caller's: lists, functions with rules, shapes by name, JUnit XML."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from purenet.checking import command
from purenet.checking.command.junit import writable
from purenet.checking.command.shapes import Shape, draw, parsed, sorted_out

MINE = """
import functools

import jax
import jax.numpy as jnp
import numpy as np
import purenet as pn

pair = (jnp.tanh, lambda y, dy: (1 - y * y) * dy)
wrong = (jnp.tanh, lambda x, dy: dy)
silent = (lambda x: 0 * x, lambda dy: 0 * dy)


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (jnp.cos(x) * dy,))


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, dy: (3 * dy,))


@jax.custom_jvp
def cosine(x):
    return jnp.cos(x)


cosine.defjvp(lambda x, dx: (jnp.cos(x[0]), -jnp.sin(x[0]) * dx[0]))
square = jax.custom_gradient(lambda x: (x * x, lambda dy: 2 * x * dy))
compiled, mapped, twice = jax.jit(sine), jax.vmap(sine), jax.jit(jax.vmap(cosine))
layered = functools.partial(lambda scale, x: scale * sine(x), 2.0)


def inside(x):
    return 1 + jnp.sum(sine(x))


def with_default(x=None):
    return sine(x)


ruled = jax.custom_vjp(with_default)
ruled.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (jnp.cos(x) * dy,))
ruled_default = jax.jit(ruled)


def wrapped(*args):
    return sine(*args)


class Curve:
    def rise(self, x):
        return sine(x)


method = Curve().rise


def sine_forward(x):
    raise AssertionError("a rule is no twin")


def sine_backward(x, dy):
    raise AssertionError("a rule is no twin")


def factory():
    return inside


def library():
    return {"a": sine, "b": [square, sine, pair]}


listed = [pn.dense(3), pair, sine, {"target": pair, "seed": 3}, (pn.softplus(), np.ones((2, 3))), factory]
named = {"tanh": pair, "bad": wrong, "layer": pn.tanh()}
two_layers, two_pairs, two_rules = [pn.tanh(), pn.relu()], (pair, pair), [functools.partial(sine), compiled]
layer_and_rest = [pn.tanh(), [pair, sine, square]]


def apply(function, x):
    return function(sine(x))


taken_whole = (apply, (jnp.tanh, np.ones(3)))
by_name = (lambda x, target: target * sine(x), {"x": np.ones(3), "target": np.ones(3)})
empty, odd, nested_odd = [], [pair, 3, pair], {"good": pair, "bad": [pair, "text", pair]}


@jax.custom_vjp
def cross_entropy(logits, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1))


def entropy_rule(logits, labels):
    return cross_entropy(logits, labels), (logits, labels)


def entropy_back(saved, dy):
    logits, labels = saved
    return dy * (jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[1])) / len(logits), None


cross_entropy.defvjp(entropy_rule, entropy_back)


def linear_forward(w, x):
    return x @ w


def linear_backward(w, x, dy):
    return x.T @ dy, dy @ w.T


given = {"target": (linear_forward, linear_backward), "params": np.ones((8, 2))}
scaled = {"target": lambda w, x: w * sine(x), "params": 2.0}
brought = (cross_entropy, (np.ones((2, 3)), np.array([0, 2])))


def clipped(x, high, *, low):
    return jnp.clip(sine(x), low, high)


def product(left, right, /):
    return sine(left) @ right


def keywords(**arrays):
    return sine(arrays["a"]) * sine(arrays["b"])


def added(*arrays):
    return sine(arrays[0]) @ arrays[1]


def control():
    raise RuntimeError("a \\x00 bell \\x07 and <tags> & \\ud800 \\U0001f600")


faulty = (lambda x: control(), lambda x, dy: dy)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to be in, with one module of the caller's; what is imported there is forgotten after it."""
    (tmp_path / "own.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    return tmp_path


def checked(*arguments: str, code: int = 0) -> dict[str, dict]:
    """The reports of a run by the names of their rows."""
    assert command.main(["check", *arguments, "--quiet", "--json", "reports.json"]) == code
    return {report["name"]: report for report in json.loads(Path("reports.json").read_text())}


def verdicts(*arguments: str, code: int = 0) -> dict[str, str]:
    return {name: report["verdict"] for name, report in checked(*arguments, code=code).items()}


def shapes(report: dict) -> dict[str, list[int]]:
    return {leaf["path"]: leaf["shape"] for leaf in report["leaves"]}


# What is a target.


def test_a_function_with_rules_is_a_target_in_any_form(mine: Path) -> None:
    plain, around = ["sine", "cosine", "square"], ["compiled", "mapped", "twice", "layered", "inside", "wrapped"]
    names = [*plain, *around, "ruled_default", "method", "factory"]
    assert verdicts(*[f"own:{name}" for name in names]) == {f"own:{name}": "PASS" for name in names}


def test_a_wrong_rule_is_found(mine: Path) -> None:
    assert verdicts("own:doubled", code=1) == {"own:doubled": "WRONG"}


def test_each_target_of_a_list_is_a_row(mine: Path) -> None:
    assert verdicts("own:listed", "own:sine") == {f"own:listed[{k}]": "PASS" for k in range(6)} | {"own:sine": "PASS"}


def test_each_target_of_a_dict_is_a_row(mine: Path) -> None:
    found = {"own:named[tanh]": "PASS", "own:named[bad]": "WRONG", "own:named[layer]": "PASS"}
    assert verdicts("own:named", code=1) == found
    assert list(verdicts("own:library")) == ["own:library[a]", *(f"own:library[b][{k}]" for k in range(3))]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("pair", [""]),
        ("two_layers", ["[0]", "[1]"]),
        ("two_pairs", ["[0]", "[1]"]),
        ("two_rules", ["[0]", "[1]"]),
        ("layer_and_rest", ["[0]", "[1][0]", "[1][1]", "[1][2]"]),
        ("taken_whole", [""]),
        ("by_name", [""]),
    ],
)
def test_pairs_and_inputs_are_no_lists(mine: Path, name: str, rows: list[str]) -> None:
    assert verdicts(f"own:{name}") == {f"own:{name}{row}": "PASS" for row in rows}


def test_a_row_is_checked_alone(mine: Path) -> None:
    assert verdicts("own:named[tanh]", "own:library[b][1]") == {"own:named[tanh]": "PASS", "own:library[b][1]": "PASS"}
    assert list(verdicts("own:library[b]")) == [f"own:library[b][{k}]" for k in range(3)]


# Shapes by name.


def test_words_of_shape_are_read() -> None:
    assert parsed("5,7") == ("", Shape((5, 7)))
    assert parsed("x=4,8") == ("x", Shape((4, 8), np.dtype("float64")))
    assert parsed("x=4:float32") == ("x", Shape((4,), np.dtype("float32")))
    assert parsed("labels=4:int32") == ("labels", Shape((4,), np.dtype("int32"), 2))
    assert parsed("labels=4,:int8:128") == ("labels", Shape((4,), np.dtype("int8"), 128))
    assert parsed("scale=") == ("scale", Shape(()))
    assert sorted_out(["5, 7", "own:sine"]) == ({"": Shape((5, 7))}, ["own:sine"])
    assert sorted_out(["x=4, 8 y=3"])[0] == {"x": Shape((4, 8)), "y": Shape((3,))}
    assert parsed("x=3:bfloat16")[1].dtype.name == "bfloat16"


def test_integers_are_drawn_below_their_bound() -> None:
    random = np.random.default_rng(0)
    labels = draw(parsed("labels=500:int32:5")[1], random)
    assert labels.dtype == np.int32
    assert set(labels) == set(range(5))
    assert set(draw(parsed("mask=50:bool")[1], random)) == {False, True}


def test_arguments_have_shapes_by_name(mine: Path) -> None:
    entropy = checked("own:cross_entropy", "--shape", "logits=4,6", "labels=4:int32:6")["own:cross_entropy"]
    assert shapes(entropy) == {"logits": [4, 6]}
    again = checked("own:cross_entropy", "--shape", "logits=4,6 labels=4:int32:6", "--seed=1")["own:cross_entropy"]
    assert again["leaves"][0]["yours"] != entropy["leaves"][0]["yours"]
    assert shapes(checked("own:clipped", "--shape", "x=3,4", "high=", "low=")["own:clipped"])["x"] == [3, 4]


def test_every_target_takes_the_names_that_it_has(mine: Path) -> None:
    names = ["linear", "given", "scaled", "sine", "listed[0]", "brought", "keywords"]
    words = ["--shape=w=8,2", "--shape", "x=3,8:float32", "a=2", "b=2", *(f"own:{name}" for name in names)]
    found = {name: shapes(report) for name, report in checked(*words).items()}
    assert found["own:linear"] == {"params": [8, 2], "x": [3, 8]}
    assert found["own:given"] == {"params": [8, 2], "x": [3, 8]}
    assert found["own:scaled"] == {"params": [], "x": [3, 8]}
    assert found["own:sine"] == {"x": [3, 8]}
    assert found["own:listed[0]"]["x"] == [3, 8]
    assert found["own:brought"] == {"x.0": [2, 3]} or found["own:brought"] == {"logits": [2, 3]}
    assert found["own:keywords"]["a"] == found["own:keywords"]["b"] == [2]


def test_arguments_without_names_come_in_their_order(mine: Path) -> None:
    added = checked("own:added", "--shape", "first=2,3", "second=3,4")["own:added"]
    assert list(shapes(added).values()) == [[2, 3], [3, 4]]
    product = checked("own:product", "--shape", "right=3,4", "left=2,3")["own:product"]
    assert shapes(product) == {"left": [2, 3], "right": [3, 4]}


# What is written.


def test_junit_has_a_case_for_every_row(mine: Path) -> None:
    names = ["own:named", "own:faulty", "own:silent"]
    assert command.main(["check", *names, "--junit", "report.xml"]) == 1
    root = ElementTree.parse("report.xml").getroot()
    (suite,) = root
    counts = {"tests": "5", "failures": "1", "errors": "1", "skipped": "1"}
    assert counts.items() <= suite.attrib.items()
    assert counts.items() <= root.attrib.items()
    cases = suite.findall("testcase")
    assert [(case.get("classname"), case.get("name")) for case in cases] == [
        ("own", name) for name in ("named[tanh]", "named[bad]", "named[layer]", "faulty", "silent")
    ]
    total = sum(float(case.get("time", "nan")) for case in cases)
    assert float(suite.attrib["time"]) == pytest.approx(total, abs=0.01)
    assert [[child.tag for child in case] for case in cases] == [[], ["failure"], [], ["error"], ["skipped"]]
    failure, error = cases[1][0], cases[3][0]
    assert failure.attrib == {"type": "WRONG", "message": "WRONG  tanh: 1 WRONG of 1 gradient leaves"}
    assert failure.text is not None
    assert failure.text.startswith("WRONG  tanh")
    assert "\nwhy: " in failure.text
    assert error.get("type") == "ERROR"
    assert error.get("message") == error.text
    assert {path.name for path in mine.iterdir()} - {"__pycache__"} == {"own.py", "report.xml"}


def test_junit_is_well_formed_whatever_a_target_says(mine: Path) -> None:
    assert command.main(["check", "own:faulty", "--junit", "report.xml"]) == 1
    error = ElementTree.parse("report.xml").getroot().find("testsuite/testcase/error")
    assert error is not None
    assert error.text is not None
    assert "a  bell  and <tags> &  \U0001f600" in " ".join(error.text.split(" "))
    assert writable("".join(map(chr, [*range(0x30), 0xD800, 0xDFFF, 0xFFFE, 0xFFFF, 0x10FFFF]))) == "\t\n\r" + "".join(
        map(chr, [*range(0x20, 0x30), 0x10FFFF])
    )


def test_a_file_that_cannot_be_written_leaves_nothing(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    Path("report.xml").write_text("before")
    monkeypatch.setattr(command.output.os, "replace", refuse)
    assert command.main(["check", "own:sine", "--junit", "report.xml"]) == 2
    assert Path("report.xml").read_text() == "before"
    assert {path.name for path in mine.iterdir()} - {"__pycache__"} == {"own.py", "report.xml"}


# Wrong usage.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("own:empty", "own:empty is empty: expected at least one target"),
        ("own:odd", "own:odd[1] cannot be checked: expected a layer"),
        ("own:nested_odd", "own:nested_odd[bad][1] cannot be checked"),
        ("own:Curve", "one of these; this one returns something else, Curve"),
        ("own:named[tan]", "there is no own:named[tan]: expected one of own:named[tanh], own:named[bad]"),
        ("own:cross_entropy", "takes logits, labels: give a shape for each, such as --shape logits=4,8 labels=4,8"),
        ("own:cross_entropy --shape 5,7", "own:cross_entropy takes logits, labels: give a shape for each"),
        ("own:cross_entropy --shape logits=4,6", "own:cross_entropy needs labels, too: add labels=4,8"),
        ("own:cross_entropy --shape logit=4,6", "no target takes: expected logits, labels: did you mean logits?"),
        ("own:brought --shape logits=4", "every target brings an input of its own"),
        ("own:sine --shape x:4", "expected lengths of at least 1, with commas, as in 5,7 or x=4,8, got 'x:4'"),
        ("own:sine --shape x=4,0", "expected lengths of at least 1, with commas, as in 5,7 or x=4,8, got 'x=4,0'"),
        ("own:sine --shape ", "expected lengths of at least 1, with commas, as in 5,7 or x=4,8, got ''"),
        ("own:sine --shape x=(4)", "expected name=lengths:dtype:bound, as in x=4,8 or labels=4:int32:10, got 'x=(4)'"),
        ("own:sine --shape 4x=4", "expected name=lengths:dtype:bound"),
        ("own:sine --shape x=4:flot32", "a dtype such as float32, int32 or bool, got 'flot32' in 'x=4:flot32'"),
        ("own:sine --shape x=4:complex64", "expected a dtype such as float32, int32 or bool, got 'complex64'"),
        ("own:sine --shape x=4:float32:5", "only integers have a bound, as in labels=4:int32:10, got 'x=4:float32:5'"),
        ("own:sine --shape x=4:int8:129", "expected a bound of 1 to 128 for int8, got 'x=4:int8:129'"),
        ("own:sine --shape x=4:int8:0", "expected a bound of 1 to 128 for int8"),
        ("own:sine --shape x=4 x=5", "expected one shape for x, got 'x=5' beside another"),
        ("own:sine --shape 4 --shape 5", "expected one shape for all, got '5' beside another"),
        ("own:sine --shape 4 x=5", "expected one shape for all, such as 5,7, or names for each, got both"),
    ],
)
def test_wrong_usage_is_one_sentence(
    mine: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert command.main(["check", *arguments.split(" ")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
