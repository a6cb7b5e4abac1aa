"""One check after the other: what its target raises is a failure of that target, and the next one follows."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax

from ... import __version__
from ..check import check
from ..report import GradientError, Report
from .forms import Job
from .output import ERROR, Outcome, cells, row, summary, titled
from .usage import UsageError, sentence


def header(dtype: str | None) -> list[str]:
    """Where and how precisely the checks run."""
    try:
        device = jax.devices()[0]
    except RuntimeError as error:
        raise UsageError(f"JAX finds no device to run on: {sentence(error)}") from error
    where = f"purenet {__version__} on {jax.default_backend()} ({device.device_kind}), jax {jax.__version__}"
    also = f"; accuracy compared in {dtype} too" if dtype else ""
    return [where, f"float64, matrix products at full precision (highest){also}", ""]


def run_all(jobs: Sequence[Job], heading: Sequence[str], quiet: bool) -> list[Outcome]:
    """Check one after the other and print: rows as they come, then the failures, then the summary."""
    start = time.perf_counter()
    width = max(len(job.name) for job in jobs)
    outcomes = []
    if not quiet:
        say(*heading, cells(width, "name", "leaves", "largest error", "verdict", "seconds"))
    for job in jobs:
        outcome = run_one(job)
        outcomes.append(outcome)
        if not quiet:
            say(row(width, job.name, outcome))
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.failure:
            say(*([""] * (not quiet)), titled(job.name, outcome), *([""] * quiet))
    say(*([""] * (not quiet)), summary(outcomes, time.perf_counter() - start))
    return outcomes


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def run_one(job: Job) -> Outcome:
    """One check. Whatever its target raises is a failure of that target, and the next one follows."""
    start = time.perf_counter()
    try:
        report, failure = check(**job.arguments), ""
    except GradientError as error:
        report, failure = error.report, str(error)
    except (Exception, SystemExit) as error:
        report, failure = Report(job.name, (), notes=(sentence(error),)), sentence(error)
        return Outcome(report, ERROR, time.perf_counter() - start, failure)
    return Outcome(report, report.verdict, time.perf_counter() - start, failure)
