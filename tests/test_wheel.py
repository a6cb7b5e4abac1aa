"""What is published: an sdist, the wheel made of it, and README's first program out of the wheel in an empty place."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from program_blocks import assert_same_output, programs

pytestmark = pytest.mark.complete
ROOT = Path(__file__).parent.parent


class Built(NamedTuple):
    sdist: Path
    wheel: Path


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(folder: Path) -> Path:
    """The Python of a new environment with nothing in it."""
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    python = environment(folder / "tools")
    run(python, "-m", "pip", "install", "-q", "hatchling")
    run(python, "-m", "hatchling", "build", "-t", "sdist", "-d", folder)
    (sdist,) = folder.glob("*.tar.gz")
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, sdist, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return Built(sdist, wheel)


def test_the_wheel_holds_the_library_and_nothing_else(built: Built) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()
    sources = {
        str(path.relative_to(ROOT)) for path in (ROOT / "purenet").rglob("*") if path.suffix in (".py", ".typed")
    }
    assert {name for name in names if not name.startswith("purenet-")} == sources
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_a_packager_tests(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "tests/conftest.py",
        "examples/digits.py",
    } <= names


def test_readmes_first_program_runs_from_the_wheel(built: Built, tmp_path: Path) -> None:
    python = environment(tmp_path / "empty")
    run(python, "-m", "pip", "install", "-q", built.wheel, cwd=tmp_path)
    code, expected = programs("README.md")[0]
    (tmp_path / "program.py").write_text(code)
    assert_same_output(run(python, "-I", "program.py", cwd=tmp_path), expected)
