"""What a diagnosis says is true: of programs made to mislead it, and of the table of faults at points it never saw."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections import Counter
from typing import Any, NamedTuple

import jax.numpy as jnp
import pytest
from faulty import FAULTS, SUBJECTS, Fault
from repairs import REPAIRS
from truth_programs import PAIRS, PENALTIES, Program

import purenet as pn
from purenet.checking import examine
from purenet.checking.check import double
from purenet.checking.diagnose import fresh, search
from purenet.checking.diagnose.evidence import Claim, Evidence, Point
from purenet.checking.diagnose.fresh import confirmed, with_fresh_points
from purenet.checking.diagnose.search import diagnose
from purenet.checking.vocabulary import Diagnosis, norm


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


# What is said to be exact holds at a point that the diagnosis never saw.


class Told(NamedTuple):
    """One search for explanations: what it started from, what it said, and what each sentence predicts."""

    evidence: Evidence
    found: tuple[Diagnosis, ...]
    claims: dict[str, Claim]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """The searches that a check makes, one a layer to blame; each draws one point more than it may look at."""
    seen: list[Told] = []
    claims: dict[str, Claim] = {}
    drawn: list[Evidence] = []

    def confirm(evidence: Evidence, claim: Claim) -> Diagnosis | None:
        claims[claim.text] = claim
        return confirmed(evidence._replace(fresh=evidence.fresh[:-1]), claim)

    def draw(evidence: Evidence) -> Evidence:
        drawn.append(with_fresh_points(evidence))
        return drawn[-1]

    def search_and_keep(evidence: Evidence) -> tuple[Diagnosis, ...]:
        found = diagnose(evidence)
        seen.append(Told(drawn.pop(), found, dict(claims)))
        claims.clear()
        return found

    monkeypatch.setattr(fresh, "FRESH", fresh.FRESH + 1)
    monkeypatch.setattr(search, "with_fresh_points", draw)
    monkeypatch.setattr(search, "confirmed", confirm)
    monkeypatch.setattr(examine, "diagnose", search_and_keep)
    return seen


def exact_sentences_hold(fault: Fault, searches: list[Told]) -> Counter[str]:
    """Assert that every fix makes the gradient right where it can be applied, and count the kinds; where it cannot,
    that the sentence predicts the caller's gradient."""
    searches.clear()
    counts: Counter[str] = Counter()
    with pytest.raises(pn.GradientError):
        pn.check(fault.target, fault.x, params=fault.params, seconds=math.inf, verbose=False)
    with double():
        for told in searches:
            point = told.evidence.fresh[-1]
            counts.update(holds(told, diagnosis, point) for diagnosis in told.found if diagnosis.held)
    return counts


def holds(told: Told, diagnosis: Diagnosis, point: Point) -> str:
    how = "predicted"
    for i in (i for i in told.evidence.wrong if told.evidence.names[i] in diagnosis.leaves):
        repair = REPAIRS.get(diagnosis.kind)
        found = repair(diagnosis, told.evidence, point, i) if repair else None
        if found is None:
            predict = told.claims[diagnosis.text].predict
            predicted = predict(point) if predict else None
            assert predicted is not None, diagnosis
            assert point.unexplained(i, predicted[i]) < 1e-6, diagnosis
        else:
            how = "repaired"
            gap = norm(found.gradient - found.right)
            assert gap <= found.tolerance * max(norm(found.right), norm(found.gradient)), (diagnosis, gap)
    return f"{diagnosis.kind} {how}"


@pytest.mark.parametrize("row", FAULTS[3::11], ids=lambda row: row.name)
def test_an_exact_sentence_holds_at_another_point(row: Fault, searches: list[Told]) -> None:
    exact_sentences_hold(row, searches)


@pytest.mark.table
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__.split(".")[-1])
def test_all_exact_sentences_of_the_table_hold(
    subject: Any, searches: list[Told], capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for row in subject.FAULTS:
        counts += exact_sentences_hold(row, searches)
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())))
