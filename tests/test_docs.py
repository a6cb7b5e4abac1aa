"""The README's programs run and print what it says; so do the examples in docstrings."""

from __future__ import annotations

import doctest
import re
from types import ModuleType

import jax
import jax.numpy as jnp
import pytest
from program_blocks import ROOT, assert_prints, programs

import purenet as pn
import purenet.planning
import purenet.summarize

README = (ROOT / "README.md").read_text()
BLOCKS = programs("README.md")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_readme_prints_what_it_says(number: int) -> None:
    assert_prints(*BLOCKS[number])


def test_readme_has_its_programs_and_commands() -> None:
    assert len(README.encode()) <= 10 * 1024
    assert len(BLOCKS) == README.count("```python\n") == 4
    assert len([line for line in BLOCKS[0][0].splitlines() if line]) <= 15
    commands = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)
    assert commands == [
        "pip install -e .",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
        ".venv/bin/pytest -m complete",
    ]


def test_readme_names_what_there_is() -> None:
    """`pn.name(...)`, in programs and between them."""
    named = set(re.findall(r"\bpn((?:\.\w+)+)", README))
    assert len(named) > 20
    for path in named:
        found = pn
        for name in path.split(".")[1:]:
            assert hasattr(found, name), path
            found = getattr(found, name)


@pytest.mark.parametrize("module", [purenet.planning, purenet.summarize], ids=["plan", "summary"])
def test_docstrings_print_what_they_say(module: ModuleType) -> None:
    names = {"purenet": pn, "serial": pn.serial, "dense": pn.dense, "gelu": pn.gelu, "jax": jax, "jnp": jnp}
    results = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
