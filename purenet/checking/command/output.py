"""What is printed and written: a row a check, failures in full, the summary, and JSON."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..report import Report, plain, wrap
from ..vocabulary import PASS, VACUOUS
from .usage import UsageError

ERROR = "ERROR"


class Outcome(NamedTuple):
    """What came of one check. `failure` is the text to print in full, empty where the gradient is right."""

    report: Report
    verdict: str
    seconds: float
    failure: str


def cells(width: int, name: str, leaves: str, error: str, verdict: str, seconds: str) -> str:
    return f"{name:<{width}}  {leaves:>6}  {error:>13}  {verdict:<10}  {seconds:>7}"


def row(width: int, name: str, outcome: Outcome) -> str:
    leaves = outcome.report.leaves
    count, error = (str(len(leaves)), f"{largest_error(outcome):.1e}") if leaves else ("-", "-")
    return cells(width, name, count, error, outcome.verdict, f"{outcome.seconds:.2f}")


def largest_error(outcome: Outcome) -> float:
    errors = [leaf.error for leaf in outcome.report.leaves]
    return math.inf if any(map(math.isnan, errors)) else max(errors)


def titled(name: str, outcome: Outcome) -> str:
    """A failure in full, under the name it has in the table where its own is another."""
    if outcome.verdict == ERROR:
        return wrap(f"{ERROR}  ", f"{name}: {outcome.failure}")
    return outcome.failure if outcome.report.name == name else f"{name}:\n{outcome.failure}"


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    found = Counter(outcome.verdict for outcome in outcomes)
    failed = sum(bool(outcome.failure) for outcome in outcomes)
    right = found.pop(PASS, 0)
    others = "".join(f", {count} {verdict}" for verdict, count in found.items())
    proves = "; VACUOUS proves nothing: the true gradient is zero" if VACUOUS in found else ""
    result = "FAILED" if failed else "OK"
    return f"{result}  {len(outcomes)} checked in {seconds:.1f} s: {right} {PASS}{others}{proves}"


def as_dict(name: str, outcome: Outcome) -> dict[str, Any]:
    """A report for JSON, under the name it has in the table."""
    return plain(outcome.report.to_dict() | {"name": name, "verdict": outcome.verdict, "seconds": outcome.seconds})


def as_json(names: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    reports = [as_dict(name, outcome) for name, outcome in zip(names, outcomes, strict=True)]
    return json.dumps(reports, indent=1, allow_nan=False) + "\n"


def check_writable(*paths: Path | None) -> None:
    """Raise before the checks what would spoil them at their end."""
    given = [path for path in paths if path is not None]
    for path in given:
        if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            raise UsageError(f"cannot write {path}: expected a file in a directory that can be written to")
    if len({path.resolve() for path in given}) < len(given):
        raise UsageError(f"cannot write {given[0]} twice: expected another file for each of --json and --junit")


def write(path: Path, text: str) -> None:
    """Write the file, which appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
