"""`python -m purenet check`: every gradient of the library, or of yours, checked on the machine it runs on.

One row a target, printed when its check is done, then every failure in full, then one line that sums up. The exit
code is 0 where nothing failed, 1 where something did, 2 where nothing could be started, 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from ...catalogue import catalogue
from ...catalogue.table import lines, printed
from .jobs import jobs_of
from .junit import as_junit
from .options import PROGRAM, command_line
from .output import as_json, check_writable, write
from .running import header, run_all
from .usage import UsageError

FAILED, WRONG_USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


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
    jobs, heading = jobs_of(options), header(options.dtype)
    check_writable(options.json, options.junit)
    outcomes = run_all(jobs, heading, options.quiet)
    if options.json is not None:
        write(options.json, as_json([job.name for job in jobs], outcomes))
    if options.junit is not None:
        write(options.junit, as_junit(jobs, outcomes, heading))
    return FAILED if any(outcome.failure for outcome in outcomes) else 0


def discard_output() -> None:
    """Let the interpreter flush what is left of the output into nothing, after the reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
