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

from .. import combine, layers, losses, models
from ..functions import from_function
from ..layer import Layer
from ..objective import objective
from . import catalogue

MODULES = (layers, losses, combine, models)
BESIDE = {"objective": objective, "from_function": from_function}
CITATION = re.compile(
    r"([A-Z][\w'-]+(?: [A-Z][\w'-]+)?(?:(?:, | & | and )[A-Z][\w'-]+)*(?: et al\.)?),? (?:\*[^*]+\* )?\((\d{4})\)"
)
# Where an equation in a sentence ends.
BEYOND = re.compile(
    r",? (?:from \[|from an|in \(|of x|of (?:logits|scores|probabilities|log rates)|x \[|with |on the|while)"
    r"|, (?:the|a|gelu|also|above|below) "
)

SHARES = (0.5, 0.27, 0.23)  # of a terminal's width, for equation, kept and source


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
    functions = {name: getattr(module, name) for name in dir(module) if inspect.isfunction(getattr(module, name))}
    return {name: f for name, f in functions.items() if f.__annotations__.get("return") in ("Layer", Layer)}


def line(name: str, made: Layer | None) -> Line:
    make = next(module[name] for module in (*map(public, MODULES), BESIDE) if name in module)
    own, around = inspect.getdoc(make) or "", sys.modules[make.__module__].__doc__ or ""
    return Line(name, equation(name, own, around), kept(made), source(name, own, around))


def kept(made: Layer | None) -> str:
    """What stands between forward and backward beside the parameters, and whether the output need not."""
    if made is None:
        return "what its plan says"
    own = ", ".join([*made.needs, *made.keeps]) or "nothing"
    if made.plan:
        return "what its plan says" if own == "nothing" else f"{own}, what its plan says"
    return f"{own} (y recomputed)" if made.recompute and "y" not in made.needs else own


def equation(name: str, own: str, around: str) -> str:
    """What the constructor's docstring begins with, else the line of the package or module that has its name, else the
    module's for the output; where none of them is an equation, what the layer does."""
    first = re.sub(r"(?<!\.)\.$", "", re.split(r"(?:\.|;|(?<! ):) |\.?\n", own)[0])
    if re.match(r"(?:[yh]\w*|value) = ", first):
        return re.split(BEYOND, first)[0]
    labelled = re.findall(rf"^ +{name}  +(.*?)(?:   |$)", f"{combine.__doc__}\n{around}", re.MULTILINE)
    block = re.findall(r"^ +(\S.*?)(?:   .*)?$", re.sub(r" +(\+?=) ", r" \1 ", around), re.MULTILINE)
    begins = [entry for entry in block if re.match(r"(?:y|value|W)(?:\[.*?\]|\S)* = ", entry)]
    ends = [entry for entry in block if re.search(r"\by\S* = ", entry)]
    named = [entry for entry in labelled if "=" in entry]
    whole = [with_the_first(entry, block) for entry in begins]
    found = (named or whole or labelled or ends or [first])[0]
    return re.sub(r" +", " ", re.split(r",? +dx = ", found)[0]).rstrip(",")


def with_the_first(equation: str, block: list[str]) -> str:
    """An equation and the first one that stands before it, which says what it reads."""
    before = [entry.split(",  ")[0] for entry in block[: block.index(equation)]]
    return ", ".join([equation, *[entry for entry in before if re.match(r"\w+(?:\[\w\])? = ", entry)][:1]])


def source(name: str, own: str, around: str) -> str:
    """The works cited for the name, or else by the module; at most two."""
    text = re.sub(r"\s+", " ", f"{own} {around}")
    works = re.findall(rf"\b{name}: {CITATION.pattern}", text) or CITATION.findall(text)
    return "; ".join(dict.fromkeys(f"{shortened(authors)} {year}" for authors, year in works[:2]))


def shortened(authors: str) -> str:
    return f"{authors.split(',')[0]} et al." if "," in authors else authors


def printed(found: list[Line]) -> str:
    """In columns: cut to the width of a terminal, whole in a pipe or a file."""
    if not found:
        return "no layer with that word"
    table = [Line("layer", "equation", "kept", "source"), *found]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if sys.stdout.isatty():
        widths = fitted(widths, shutil.get_terminal_size((140, 24)).columns)
    rows = ["  ".join(cut(cell, width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(row.rstrip() for row in rows)


def fitted(widths: list[int], columns: int) -> list[int]:
    """The widths of columns that fit a terminal: names stay whole, the others share what is left."""
    rest = max(columns - 2 * (len(widths) - 1), 60) - widths[0]
    return [widths[0], *(min(width, int(rest * share)) for width, share in zip(widths[1:], SHARES, strict=True))]


def cut(text: str, width: int) -> str:
    return f"{text if len(text) <= width else text[: width - 3] + '...':<{width}}"
