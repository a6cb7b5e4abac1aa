"""What purenet.layers says of adding a layer, followed in a copy of the library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import purenet as pn

ROOT = Path(__file__).parent.parent
GUIDE = pn.layers.__doc__ or ""
CODE = textwrap.dedent(GUIDE[GUIDE.index("       def square_forward") : GUIDE.index("   `needs`")]).strip()
HEAD = '''"""square: each element times itself.

    y  = x^2
    dx = 2 x dy

Kept: x. Euclid, *Elements* (1956), book 2.
"""

from ..constructor import constructor
from ..layer import Layer
from ..stateless import stateless

'''
PROPERTIES = "gradient_equals_autodiff or independent_value or linear or vmap or memory_alone"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with one layer more: its file, its export and its row."""
    root = tmp_path_factory.mktemp("copy")
    for part in ("purenet", "tests"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "purenet/layers/square.py").write_text(HEAD + CODE + "\n")
    with (root / "purenet/layers/__init__.py").open("a") as exports:
        exports.write("from .square import square as square\n")
    row = re.search(r"Row\(.*\)$", GUIDE, re.MULTILINE)
    assert row is not None
    subject = root / "purenet/catalogue/features.py"
    subject.write_text(subject.read_text().replace("    return [\n", f"    return [\n        {row[0]},\n", 1))
    return root


def run(copy: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_guide_is_short() -> None:
    assert len(GUIDE.splitlines()) <= 30


def test_check_and_layers_read_the_row(copy: Path) -> None:
    assert "square" in run(copy, "-m", "purenet", "check", "--list").splitlines()
    line = run(copy, "-m", "purenet", "layers", "Euclid").splitlines()[1]
    assert re.split(r" {2,}", line) == ["square", "y = x^2", "x (y recomputed)", "Euclid 1956"]


def test_its_gradient_is_checked(copy: Path) -> None:
    assert "1 PASS" in run(copy, "-m", "purenet", "check", "purenet.layers:square")


@pytest.mark.complete
def test_the_properties_run_over_it(copy: Path) -> None:
    which = f"square] and ({PROPERTIES})"
    out = run(copy, "-m", "pytest", "-n", "0", "-m", "not table", "tests/test_properties.py", "-k", which)
    assert "5 passed" in out
