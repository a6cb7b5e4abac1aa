"""The guide's programs run and print what it says."""

from __future__ import annotations

import re

import pytest
from program_blocks import ROOT, assert_prints, programs

GUIDE = (ROOT / "examples" / "README.md").read_text()
PROGRAMS = programs("examples/README.md")
TOPICS = re.findall(r"^## (.*)", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=TOPICS[: len(PROGRAMS)])
def test_guide_prints_what_it_says(number: int) -> None:
    assert_prints(*PROGRAMS[number])


def test_every_topic_has_its_program() -> None:
    topics = re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]
    assert [topic.count("```python\n") for topic in topics] == [1] * len(PROGRAMS) + [0]
    assert topics[-1].startswith("Contributing")


@pytest.mark.parametrize("document", ["README.md", "examples/README.md"])
def test_files_that_documents_name_are_there(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"(?:examples|tests|purenet)/[\w/]+\.\w+", text))
    named |= {f"examples/{name}" for name in re.findall(r"`(\w+\.py)`", text)}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
