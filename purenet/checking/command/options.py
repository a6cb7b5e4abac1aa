"""What may stand on the command line, and the help that says so."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import jax

from ... import __version__

PROGRAM = "python -m purenet"

DESCRIPTION = "Check hand-written gradients against jax.grad in float64, leaf by leaf."

EPILOGUE = """\
what module:name may be (the current directory is searched too):
  a purenet layer, network or objective
  a pair (forward, backward), or a stem, where the module has the twins NAME_forward and NAME_backward
  a function with a derivative rule (custom_vjp, custom_jvp, custom_gradient), under jit, vmap or partial too
  a tuple (any of these, input), or a dict of the arguments of purenet.check: "target", "x", "params", ...
  a list of any of these, or a dict from names to them: a row for each, module:name[0] or module:name[key]
  a function without required arguments that returns any of these

what --shape may be:
  5,7                  the shape of the input of every target that brings none
  x=4,8 labels=4:int32:10
                       a shape for each argument by its name, in float64 or of another dtype (integers below 10,
                       without a bound below 2), for functions of several arguments, twins and layers (x);
                       without lengths (scale=) a single number. Floating numbers are checked in float64 anyway

examples:
  python -m purenet check                                   every layer, combinator and loss of purenet
  python -m purenet check mylayers:swish mylayers:network   your own
  python -m purenet check mylayers:swish --shape 3,4,8      at an input of another shape
  python -m purenet check mylayers:loss --shape logits=4,8 labels=4:int32:8
  python -m purenet check mylayers:swish --dtype float32    and whether it is as accurate as jax.grad in float32
  python -m purenet check --quiet --junit report.xml        for a build server

exit code: 0 all right, 1 a gradient is wrong or could not be checked, 2 wrong usage
"""


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
    about = "shape of the input for targets that bring none (default 5,7), or a shape for each argument by its name"
    add("--shape", nargs="+", action="extend", default=[], metavar="5,7|NAME=5,7", help=about)
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="also compare the accuracy in this dtype")
    add("--quiet", action="store_true", help="print failures and the summary only")
    add("--list", action="store_true", help="print the names of what is checked in purenet, and stop")
    add("--json", type=Path, metavar="FILE", help="write the reports to a file, too")
    add("--junit", type=Path, metavar="FILE", help="write a JUnit XML file, too, as build servers read it")


def whole_number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)
