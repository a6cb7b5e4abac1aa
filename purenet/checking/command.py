"""`python -m purenet check`: every gradient of the library, or of yours, checked on the machine it runs on.

One row a target, printed when its check is done, then every failure in full, then one line that sums up. The exit
code is 0 where nothing failed, 1 where something did, 2 where nothing could be started, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import inspect
import json
import math
import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import __version__
from ..catalogue import catalogue, input_of
from ..catalogue.table import lines, printed
from ..layer import Layer
from .check import check
from .report import PASS, VACUOUS, GradientError, Report, plain, wrap

PROGRAM = "python -m purenet"
ERROR = "ERROR"
FAILED, WRONG_USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
PACKAGE = Path(__file__).parent.parent

DESCRIPTION = "Check hand-written gradients against jax.grad in float64, leaf by leaf."

EPILOGUE = """\
what module:name may be (the current directory is searched too):
  a purenet layer, network or objective
  a pair (forward, backward), or a function under jax.custom_vjp
  a stem, where the module has the twins NAME_forward and NAME_backward
  a tuple (any of these, input), or a dict of the arguments of purenet.check: "target", "x", "params", ...
  a function without required arguments that returns any of these

examples:
  python -m purenet check                                   every layer, combinator and loss of purenet
  python -m purenet check mylayers:swish mylayers:network   your own
  python -m purenet check mylayers:swish --shape 3,4,8      at an input of another shape
  python -m purenet check mylayers:swish --dtype float32    and whether it is as accurate as jax.grad in float32
  python -m purenet check --quiet --json report.json        for a build server

exit code: 0 all right, 1 a gradient is wrong or could not be checked, 2 wrong usage
"""


class UsageError(Exception):
    """Nothing can be checked, for the reason that the message states in one sentence."""


class Job(NamedTuple):
    """One check to make: the arguments of `purenet.check`, target included, under a name for the table."""

    name: str
    arguments: dict[str, Any]


class Outcome(NamedTuple):
    """What came of one check. `failure` is the text to print in full, empty where the gradient is right."""

    report: Report
    verdict: str
    seconds: float
    failure: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        return run(arguments)
    except UsageError as error:
        print(f"{PROGRAM} check: {error}", file=sys.stderr)
        return WRONG_USAGE
    except SystemExit as stop:  # argparse has said what it had to say
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return BROKEN_PIPE


def run(arguments: Sequence[str] | None) -> int:
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return WRONG_USAGE
    if options.command == "layers":
        print(printed(lines(options.word)), flush=True)
        return 0
    if options.list:
        print("\n".join(row.name for row in catalogue()), flush=True)
        return 0
    jobs = jobs_of(options)
    if options.json is not None:
        check_writable(options.json)
    outcomes = run_all(jobs, header(options.dtype), options.quiet)
    if options.json is not None:
        write_json(options.json, [as_dict(job.name, outcome) for job, outcome in zip(jobs, outcomes, strict=True)])
    return FAILED if any(outcome.failure for outcome in outcomes) else 0


def discard_output() -> None:
    """Let the interpreter flush what is left of the output into nothing, after the reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# The command line.


def command_line() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(PROGRAM, description=DESCRIPTION, epilog=EPILOGUE, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"purenet {__version__}, jax {jax.__version__}")
    commands = parser.add_subparsers(dest="command", title="commands")
    about = "check every layer, combinator and loss of purenet, or your own gradients"
    add_options(commands.add_parser("check", help=about, description=about, epilog=EPILOGUE, formatter_class=raw))
    about = "print every layer, loss, combinator and model: equation, what is kept for the backward, source"
    commands.add_parser("layers", help=about, description=about).add_argument(
        "word", nargs="?", default="", metavar="WORD", help="only those in whose line it stands"
    )
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("targets", nargs="*", metavar="module:name", help="what to check; without any, all of purenet")
    add("--seed", type=whole_number, metavar="N", help="decides about everything random (default 0)")
    add("--shape", type=lengths, metavar="5,7", help="shape of the input for targets that bring none (default 5,7)")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="also compare the accuracy in this dtype")
    add("--quiet", action="store_true", help="print failures and the summary only")
    add("--list", action="store_true", help="print the names of what is checked in purenet, and stop")
    add("--json", type=Path, metavar="FILE", help="write the reports to a file, too")


def whole_number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def lengths(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*,?", text.replace(" ", "")):
        raise argparse.ArgumentTypeError(f"expected lengths of at least 1 with commas between, got {text!r}")
    return tuple(int(length) for length in text.split(",") if length.strip())


# What to check.


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """The caller's targets with what the options say about all of them, or the library's."""
    chosen = {} if options.seed is None else {"seed": options.seed}
    chosen |= {} if options.dtype is None else {"dtype": jnp.dtype(options.dtype)}
    if options.targets:
        return [Job(target, with_input(load(target), options.shape) | chosen) for target in options.targets]
    if options.shape is not None:
        raise UsageError("--shape is for your own targets: purenet's have inputs of their own")
    return [
        Job(row.name, {"target": row.layer, "x": input_of(row, options.seed or 0), "verbose": False} | chosen)
        for row in catalogue()
    ]


def with_input(arguments: dict[str, Any], shape: tuple[int, ...] | None) -> dict[str, Any]:
    if shape is None or arguments.get("x") is not None:
        return arguments
    return arguments | {"x": jax.ShapeDtypeStruct(shape, np.float32)}


def load(target: str) -> dict[str, Any]:
    """The arguments of `purenet.check` that `module:name` stands for."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise UsageError(f"expected module:name, got {target!r}")
    module = import_module(module_name)
    missing = object()
    found = getattr(module, name, missing)
    arguments = None if found is missing else arguments_of(found) or returned_arguments(found, target)
    arguments = arguments or arguments_of(twins(module, name))
    if arguments is None:
        raise UsageError(no_such_name(module, name) if found is missing else not_checkable(target, name, found))
    arguments = arguments | {"verbose": False}
    unknown = set(arguments) - set(inspect.signature(check).parameters)
    if unknown:
        raise UsageError(f"{target} gives {', '.join(map(repr, sorted(unknown)))}, which purenet.check does not take")
    return arguments


def import_module(name: str) -> ModuleType:
    """Import a module, from the current directory too."""
    if name.endswith(".py") or "/" in name or os.sep in name:
        raise UsageError(f"expected the name of a module, such as package.module, got the file {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"importing {name} failed: {sentence(error)}") from error
        raise UsageError(f"no module named {error.name!r} in {os.getcwd()} or where Python looks") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"importing {name} failed: {sentence(error)}") from error


def arguments_of(value: Any) -> dict[str, Any] | None:
    """The arguments of `purenet.check` that a value stands for; None where it is nothing that can be checked."""
    if isinstance(value, dict):
        return value if "target" in value else None
    if is_target(value):
        return {"target": value}
    if is_pair(value) and is_target(value[0]):
        return {"target": value[0], "x": value[1]}
    return None


def is_target(value: Any) -> bool:
    return isinstance(value, (Layer, jax.custom_vjp)) or (is_pair(value) and all(map(callable, value)))


def is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and not isinstance(value, Layer) and len(value) == 2


def returned_arguments(function: Any, target: str) -> dict[str, Any] | None:
    """The same of what a function without required arguments returns."""
    if not callable(function) or required(function):
        return None
    try:
        return arguments_of(function())
    except (Exception, SystemExit) as error:
        raise UsageError(f"calling {target} failed: {sentence(error)}") from error


def required(function: Callable[..., Any]) -> bool:
    """Whether a function has to be given arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return True
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is inspect.Parameter.empty and p.kind not in optional for p in parameters)


def twins(module: ModuleType, name: str) -> tuple[Any, Any]:
    """name_forward and name_backward; either of them may be the name that was given."""
    stem = name.removesuffix("_forward").removesuffix("_backward")
    return getattr(module, f"{stem}_forward", None), getattr(module, f"{stem}_backward", None)


def no_such_name(module: ModuleType, name: str) -> str:
    names = {public.removesuffix("_forward").removesuffix("_backward") for public in vars(module)}
    close = difflib.get_close_matches(name, sorted(names), 1)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"{module.__name__} has no {name!r} and no twins {name}_forward and {name}_backward{hint}"


def not_checkable(target: str, name: str, found: Any) -> str:
    kind = f"got {type(found).__name__}"
    if callable(found):
        kind = "this one needs arguments" if required(found) else "this one returns something else"
    return (
        f"{target} cannot be checked: expected a layer, a pair (forward, backward), a jax.custom_vjp function, twins "
        f"{name}_forward and {name}_backward, or a function without required arguments that returns one of these; "
        f"{kind}"
    )


# Running the checks.


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


def sentence(error: BaseException) -> str:
    """An error in one line: its kind unless it is purenet's own, what it says, and where in the caller's code."""
    text = " ".join(str(error).split()) or "no message"
    own = text.startswith("check: ")
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if is_callers(frame.filename)]
    where = f" ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places and not own else ""
    return text.removeprefix("check: ") if own else f"{type(error).__name__}: {text}{where}"


def is_callers(file: str) -> bool:
    """Whether a line of a traceback is in the current directory's code, and not in purenet's or an installed one's."""
    path = Path(file)
    return path.is_relative_to(Path.cwd()) and PACKAGE not in path.parents and "site-packages" not in path.parts


# What is printed and written.


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


def check_writable(path: Path) -> None:
    """Raise before the checks what would spoil them at their end."""
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {path}: expected a file in a directory that can be written to")


def write_json(path: Path, reports: list[dict[str, Any]]) -> None:
    """Write the file, which appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(reports, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
