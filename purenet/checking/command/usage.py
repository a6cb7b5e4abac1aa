"""Errors in one sentence: of wrong usage, and of what the caller's code raises."""

from __future__ import annotations

import traceback
from pathlib import Path

PACKAGE = Path(__file__).parents[2]


class UsageError(Exception):
    """Nothing can be checked, for the reason that the message states in one sentence."""


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
