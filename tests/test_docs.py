"""The README's programs run and print what it says; so do the examples in docstrings."""

from __future__ import annotations

import contextlib
import doctest
import io
import linecache
import re
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import pytest

import purenet as pn
import purenet.planning
import purenet.summarize

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", README, re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def assert_same_output(actual: str, expected: str) -> None:
    """Equal but for spaces and the numbers' last digits. In a row of right gradients, where the rounding is largest
    is chance: there only the error is compared, which must be rounding too."""

    def words(line: str) -> str:
        return re.sub(r"[-\s]+", " ", NUMBER.sub("#", line)).strip()

    lines = list(zip(actual.splitlines(), expected.splitlines(), strict=True))
    for mine, theirs in lines:
        if "  PASS  " in theirs:
            assert words(mine.split("]")[0]) == words(theirs.split("]")[0])
            assert float(mine.split("]")[1].split()[0]) < 1e-13
            assert "  PASS  " in mine
            continue
        assert words(mine) == words(theirs)
        for number, expected_number in zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True):
            assert float(number) == pytest.approx(float(expected_number), rel=0.3, abs=0.02)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_readme_prints_what_it_says(number: int) -> None:
    code, expected = BLOCKS[number]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        # The checker quotes the program's lines.
        linecache.cache["program.py"] = (len(code), None, code.splitlines(keepends=True), "program.py")
        exec(compile(code, "program.py", "exec"), {})
    assert_same_output(printed.getvalue(), expected)


def test_readme_has_its_programs_and_commands() -> None:
    assert len(BLOCKS) == 6
    assert len(BLOCKS[0][0].splitlines()) < 30
    commands = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install -e '.[examples]' && .venv/bin/python examples/digits.py",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
    ]


def test_readme_names_what_there_is() -> None:
    named = set(re.findall(r"`(\w+)`", README[README.index("## What is in the box") :]))
    for name in [name for name in dir(pn) if isinstance(getattr(pn, name), type(pn.dense))]:
        assert name in README, name
    losses = {name for name in dir(pn.losses) if callable(getattr(pn.losses, name))}
    assert losses <= named, losses - named


@pytest.mark.parametrize("module", [purenet.planning, purenet.summarize], ids=["plan", "summary"])
def test_docstrings_print_what_they_say(module: ModuleType) -> None:
    names = {"purenet": pn, "serial": pn.serial, "dense": pn.dense, "gelu": pn.gelu, "jax": jax, "jnp": jnp}
    results = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
