"""What a diagnosis says is true: of programs made to mislead it, and of the table of faults at points it never saw."""

from __future__ import annotations

import functools
import logging
import re

import jax.numpy as jnp
import pytest
from truth_programs import PAIRS, PENALTIES, Program

import purenet as pn


def told(program: Program) -> str:
    """What the report says, in one line."""
    x = jnp.asarray(program.x)
    if program in PENALTIES:
        check = functools.partial(pn.check_gradient, *program.target, program.params, x)
    else:
        check = functools.partial(pn.check, program.target, x, params=program.params)
    with pytest.raises(pn.GradientError) as caught:
        check(verbose=False)
    return str(caught.value.report)


@pytest.mark.parametrize("program", [*PAIRS, *PENALTIES], ids=lambda program: program.name)
def test_nothing_false_is_said(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="purenet.checking"):
        text = told(program)
    sentences = [re.sub(r"\s+", " ", part) for part in re.split(r"\n(?=\S|  or:)", text)]
    assert not [s for s in sentences if re.search(program.never, s.removesuffix(" (exact)"))], text
    assert re.search(program.says, " ".join(sentences)), text
    assert not caplog.records, [record.exc_info for record in caplog.records]
