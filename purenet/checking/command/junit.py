"""A run as JUnit XML, which build servers read: one test case a row of the table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from ..vocabulary import VACUOUS
from .forms import Job
from .output import ERROR, Outcome

# What XML 1.0 has no way to write, escaped or not: control characters and halves of surrogate pairs.
UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(jobs: Sequence[Job], outcomes: Sequence[Outcome], heading: Sequence[str]) -> str:
    """The XML of a run. What proves nothing counts as skipped: it is neither right nor wrong."""
    verdicts = [outcome.verdict for outcome in outcomes]
    counts = {
        "tests": len(outcomes),
        "failures": sum(bool(outcome.failure) and outcome.verdict != ERROR for outcome in outcomes),
        "errors": verdicts.count(ERROR),
        "skipped": verdicts.count(VACUOUS),
        "time": f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    }
    attributes = {name: str(value) for name, value in counts.items()}
    root = ElementTree.Element("testsuites", {"name": "purenet check"} | attributes)
    now = {"name": "purenet check", "timestamp": datetime.now(UTC).isoformat(timespec="seconds")}
    suite = ElementTree.SubElement(root, "testsuite", now | attributes)
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="run on", value=writable("; ".join(filter(None, heading))))
    for job, outcome in zip(jobs, outcomes, strict=True):
        suite.append(case(job.name, outcome))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True).decode() + "\n"


def case(name: str, outcome: Outcome) -> ElementTree.Element:
    """One row: module:name under the module's name, the library's own under purenet's."""
    module, colon, rest = name.partition(":")
    classname, title = (module, rest) if colon else ("purenet", name)
    names = {"classname": writable(classname), "name": writable(title)}
    element = ElementTree.Element("testcase", names | {"time": f"{outcome.seconds:.3f}"})
    if outcome.failure:
        kind = "error" if outcome.verdict == ERROR else "failure"
        message = writable(outcome.failure if outcome.verdict == ERROR else outcome.report.summary)
        found = ElementTree.SubElement(element, kind, message=message, type=outcome.verdict)
        found.text = writable(outcome.failure)
    elif outcome.verdict == VACUOUS:
        ElementTree.SubElement(element, "skipped", message="VACUOUS proves nothing: the true gradient is zero")
    return element


def writable(text: str) -> str:
    """The text without the characters that XML has not."""
    return UNWRITABLE.sub("", text)
