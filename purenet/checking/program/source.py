"""Where in the source an operation of the forward stands, and what it is called."""

from __future__ import annotations

import linecache
import os
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A place in the source: the file, the line's number, and the expression as it is written there."""

    file: str
    number: int
    text: str
    column: int = 0

    def __str__(self) -> str:
        return f"`{self.text}` ({os.path.basename(self.file)}:{self.number})" if self.text else f"{self.file}"


UNKNOWN = Line("", 0, "")


def line_of(source_info: Any) -> Line:
    """The user's line an equation of a jaxpr comes from; UNKNOWN where this JAX does not say.

    JAX offers no public way to ask, so whatever changes there costs the line and nothing else.
    """
    try:
        from jax._src import source_info_util

        frames = source_info_util.user_frames(source_info.traceback)
        own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the checker calls what it checks
        frame = next((frame for frame in frames if not frame.file_name.startswith(own)), None)
        return UNKNOWN if frame is None else line_at(frame)
    except Exception:
        return UNKNOWN


def line_at(frame: Any) -> Line:
    first = linecache.getline(frame.file_name, frame.start_line)
    one_line = frame.end_line == frame.start_line and frame.end_column > frame.start_column
    encoded = first.encode()
    text = encoded[frame.start_column : frame.end_column].decode(errors="ignore") if one_line else first
    text = with_name(first.strip(), text.strip())
    return Line(frame.file_name, frame.start_line, shorten(text.strip()), frame.start_column)


def with_name(line: str, text: str) -> str:
    """`variance = jnp.var(x)` rather than `jnp.var(x)`, where the expression is all of an assignment."""
    name, equals, value = line.partition(" = ")
    return line if equals and value == text and name.replace(", ", "").isidentifier() else text


def shorten(text: str, width: int = 70) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


NAMES = {
    "dot_general": "a matrix product",
    "conv_general_dilated": "a convolution",
    "reduce_sum": "a sum",
    "reduce_max": "a maximum",
    "integer_pow": "a power",
    "logistic": "the sigmoid",
    "select_n": "where",
    "div": "a division",
    "mul": "a product",
    "add": "a sum of two",
    "add_any": "a sum of two",
    "sub": "a difference",
    "cumsum": "a cumulative sum",
}


def op_name(op: str) -> str:
    """A primitive in words."""
    return NAMES.get(op, op)
