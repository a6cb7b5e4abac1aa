"""Programs in documents: what a document says that they print is compared with what they print."""

from __future__ import annotations

import contextlib
import io
import linecache
import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def programs(document: str) -> list[tuple[str, str]]:
    """(program, output) of every block of Python and the text below it."""
    return re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def assert_prints(code: str, expected: str) -> None:
    """Under JAX's own defaults, as a reader runs it; the tests are stricter."""
    printed = io.StringIO()
    by_default = jax.numpy_rank_promotion("allow")
    with by_default, jax.numpy_dtype_promotion("standard"), contextlib.redirect_stdout(printed):
        # The checker quotes the program's lines.
        linecache.cache["program.py"] = (len(code), None, code.splitlines(keepends=True), "program.py")
        exec(compile(code, "program.py", "exec"), {})
    assert_same_output(printed.getvalue(), expected)


def assert_same_output(actual: str, expected: str) -> None:
    """Equal but for spaces and the numbers' last digits. In a row of right gradients, where the rounding is largest
    is chance: there only the error is compared, which must be rounding too."""

    def words(line: str) -> str:
        return re.sub(r"[-\s]+", " ", NUMBER.sub("#", line)).strip()

    lines = list(zip(actual.splitlines(), expected.splitlines(), strict=True))
    for mine, theirs in lines:
        if "  PASS  " in theirs:
            assert words(mine.split("]")[0]) == words(theirs.split("]")[0])
            assert float(mine.split("]")[1].split()[0]) < 1e-13
            assert "  PASS  " in mine
            continue
        assert words(mine) == words(theirs)
        for number, expected_number in zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True):
            assert float(number) == pytest.approx(float(expected_number), rel=0.3, abs=0.02)
