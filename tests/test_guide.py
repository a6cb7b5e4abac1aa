"""The guide's programs run and print what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from program_blocks import NUMBER, ROOT, assert_prints, programs

GUIDE = (ROOT / "examples" / "README.md").read_text()
PROGRAMS = programs("examples/README.md")
COMMANDS = re.findall(r"```sh\n([^\n]*)\n```\n+```text\n(.*?)\n```", GUIDE, re.DOTALL)
SECTIONS = re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]
TOPICS = [section.partition("\n")[0] for section in SECTIONS if "```python\n" in section]


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=TOPICS[: len(PROGRAMS)])
def test_guide_prints_what_it_says(number: int) -> None:
    assert_prints(*PROGRAMS[number])


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[command.split()[-1] for command, _ in COMMANDS])
def test_commands_of_the_guide_print_what_it_says(command: str, expected: str, tmp_path: Path) -> None:
    """In a folder of its own, since they write files; times and roundings differ from run to run."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "examples/check_your_library.py", tmp_path / "examples")
    program, *words = shlex.split(command)
    call = [sys.executable, *(["-m", "pytest"] if program == "pytest" else []), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = expected.splitlines()
    assert [*map(shape_of, done.stdout.splitlines()[-len(lines) :])] == [*map(shape_of, lines)]
    assert all((tmp_path / name).stat().st_size for name in re.findall(r"\S+\.(?:xml|json)", command))


def shape_of(line: str) -> str:
    """A line without its numbers and the widths that depend on them."""
    return re.sub(r"[-=\s]+", " ", NUMBER.sub("#", line))


def test_every_topic_has_its_program_or_commands() -> None:
    *topics, last = SECTIONS
    of_commands = [topic for topic in topics if "```sh\n" in topic]
    assert [topic.partition("\n")[0] for topic in of_commands] == ["A library of your own, checked"]
    assert [topic.count("```python\n") for topic in topics if topic not in of_commands] == [1] * len(PROGRAMS)
    assert GUIDE.count("```sh\n") == len(COMMANDS) == 3
    assert last.startswith("Contributing")
    assert "```python" not in last


@pytest.mark.parametrize("document", ["README.md", "examples/README.md"])
def test_files_that_documents_name_are_there(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"(?:examples|tests|purenet)/[\w/]+\.\w+", text))
    named |= {f"examples/{name}" for name in re.findall(r"`(\w+\.py)`", text)}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
