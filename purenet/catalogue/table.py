"""`python -m purenet layers [WORD]`: every layer with its equation, what it keeps, and where it comes from.

What is kept is what the layer says. Equation and source are read from the docstrings: the constructor's and its
module's.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from .. import combine, layer, layers, losses, models
from ..layer import Layer
from . import catalogue

MODULES = (layers, losses, combine, models)
CITATION = re.compile(
    r"([A-Z][\w'-]+(?: [A-Z][\w'-]+)?(?:(?:, | & | and )[A-Z][\w'-]+)*(?: et al\.)?),? (?:\*[^*]+\* )?\((\d{4})\)"
)
# Where an equation in a sentence ends.
BEYOND = re.compile(r",? (?:from \[|from an|in \(|of x|x \[|with |on the|while)|, (?:the|a|gelu|also|above|below) ")


class Line(NamedTuple):
    """A line of the table."""

    name: str
    equation: str
    kept: str
    source: str


def lines(word: str = "") -> list[Line]:
    """Those in which the word stands, in the order of the rows; networks without a row of their own come last."""
    made = {row.constructor: row.layer for row in reversed(catalogue())}
    names = [*reversed(made), *(name for name in public(models) if name not in made)]
    found = [line(name, made.get(name)) for name in names]
    return [line for line in found if word.lower() in " ".join(line).lower()]


def public(module: ModuleType) -> dict[str, Callable[..., Layer]]:
    """A module's constructors: functions that are annotated to return a layer."""
    functions = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
    return {name: f for name, f in functions.items() if f.__annotations__.get("return") in ("Layer", Layer)}


def line(name: str, made: Layer | None) -> Line:
    make = next(getattr(module, name) for module in (*MODULES, layer) if hasattr(module, name))
    package = combine.__doc__ if hasattr(combine, name) else ""
    own, around = inspect.getdoc(make) or "", f"{package}\n{sys.modules[make.__module__].__doc__}"
    return Line(name, equation(name, own, around), kept(made), source(name, own, around))


def kept(made: Layer | None) -> str:
    """What stands between forward and backward beside the parameters, and whether the output need not."""
    if made is None:
        return "what its plan says"
    own = ", ".join([*made.needs, *made.keeps]) or "nothing"
    if made.values:
        return "what its plan says" if own == "nothing" else f"{own}, what its plan says"
    return f"{own} (y recomputed)" if made.recompute and "y" not in made.needs else own


def equation(name: str, own: str, around: str) -> str:
    """The module's line for the name, or what the constructor's docstring begins with, or the module's line for y."""
    first = re.split(r"(?:\.|;|(?<! ):) |\.?\n", own)[0].rstrip(".")
    around = re.sub(r" +(\+?=) ", r" \1 ", around)
    block = re.findall(r"^ +(\S.*?)(?:   .*)?$", around, re.MULTILINE)
    labelled = re.search(rf"^ +{name}  +(.*?)(?:   |$)", around, re.MULTILINE)
    of_output = [entry for entry in block if re.match(r"(?:y|value)\S* = ", entry)]
    at_the_end = [entry for entry in block if re.search(r"\b[yz]\S* = ", entry)]
    if re.match(r"[yh]\w* = ", first):
        found = re.split(BEYOND, first)[0]
    elif labelled:
        found = labelled[1]
    elif of_output:
        found, where = of_output[0], block[0].split(",  ")[0]
        if re.match(r"\w+(?:\[\w\])? = ", where) and where not in found:
            found = f"{found}, {where}"
    else:
        found = at_the_end[0] if at_the_end else first
    return re.sub(r" +", " ", re.split(r",? +dx = ", found)[0])


def source(name: str, own: str, around: str) -> str:
    """The works cited for the name, or else by the module; at most two."""
    text = re.sub(r"\s+", " ", f"{own} {around}")
    works = re.findall(rf"\b{name}: {CITATION.pattern}", text) or CITATION.findall(text)
    return "; ".join(dict.fromkeys(f"{shortened(authors)} {year}" for authors, year in works[:2]))


def shortened(authors: str) -> str:
    return f"{authors.split(',')[0]} et al." if "," in authors else authors


def printed(found: list[Line]) -> str:
    """In columns, as wide as the terminal."""
    if not found:
        return "no layer with that word"
    heads = Line("layer", "equation", "kept", "source")
    room = max(shutil.get_terminal_size((140, 24)).columns - 2 * (len(heads) - 1), 60)
    widths = [max(len(cell) for cell in column) for column in zip(heads, *found, strict=True)]
    rest = room - widths[0]
    widths[1:] = [min(width, int(rest * share)) for width, share in zip(widths[1:], (0.5, 0.27, 0.23), strict=True)]
    rows = ["  ".join(cut(cell, width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *found)]
    return "\n".join(row.rstrip() for row in rows)


def cut(text: str, width: int) -> str:
    return f"{text if len(text) <= width else text[: width - 3] + '...':<{width}}"
