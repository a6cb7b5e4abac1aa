"""The search for explanations: families of hypotheses, cheap and plain ones first.

A family is a function from the evidence to claims; those that hold at fresh points are diagnoses. Families stop being
tried once something plain explains every wrong leaf; what is left unexplained is said.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ..vocabulary import Diagnosis, OutOfTime
from .axes import other_sums
from .blocks import compositions, constant_cotangents, expressions, repeated_expressions, rewired
from .coupling import coupled, localised, support
from .evidence import Evidence, Family
from .formula import formulas
from .fresh import confirmed, with_fresh_points
from .leafwise import arranged, extra, extra_values, scaled, swapped, zero
from .linearity import nonlinear
from .local import derivatives
from .naming import factors
from .operands import operands, other_cotangents
from .outputs import output_cotangents
from .paths import leaf_uses, repeated_paths, single_paths, two_paths
from .screen import screen_of
from .slices import inner_slices, leaf_factors, output_slices, overwritten
from .terms import term_factors, terms
from .variants import (
    known_functions,
    open_clips,
    open_gates,
    other_constants,
    swapped_values,
    through_stops,
)

UNTRIED = "untried"  # a note, and no explanation
LOG = logging.getLogger(__name__)

# A stage is left out when explanations below its rank cover every wrong leaf.
STAGES: tuple[tuple[float, tuple[Family, ...]], ...] = (
    (9.0, (nonlinear, zero, output_cotangents, scaled, arranged, swapped, extra, output_slices, through_stops)),
    (
        2.5,
        (
            derivatives,
            single_paths,
            leaf_uses,
            repeated_paths,
            expressions,
            repeated_expressions,
            open_clips,
            open_gates,
            known_functions,
            coupled,
        ),
    ),
    (1.85, (operands, other_cotangents)),
    (
        2.5,
        (
            other_sums,
            compositions,
            other_constants,
            inner_slices,
            leaf_factors,
            extra_values,
            formulas,
            overwritten,
            term_factors,
            constant_cotangents,
            two_paths,
            rewired,
            support,
        ),
    ),
    (2.5, (swapped_values, terms, localised)),
)


def diagnose(evidence: Evidence) -> tuple[Diagnosis, ...]:
    """Explanations of the wrong leaves, the most plausible first, duplicates left out."""
    found: list[Diagnosis] = []
    try:
        evidence = with_fresh_points(evidence._replace(named_factors=tuple(factors(evidence))))
        evidence = evidence._replace(screen=screen_of(evidence) if evidence.first.program else None)
    except OutOfTime:
        return ranked(evidence, found, [family for _, families in STAGES for family in families])
    left: list[Family] = []
    for rank, families in STAGES:
        if found and not unexplained(evidence, [d for d in found if d.rank < rank]):
            continue
        for family in families:
            more, ended = tried(family, evidence)
            found += more
            left += [family] * (not ended)
    return ranked(evidence, found, left)


def tried(family: Family, evidence: Evidence) -> tuple[list[Diagnosis], bool]:
    """A family's explanations that hold, and whether there was time for all of it. One that breaks on a forward it was
    not made for costs itself only."""
    found: list[Diagnosis] = []
    try:
        with np.errstate(all="ignore"):
            for claim in family(evidence):
                if (diagnosis := confirmed(evidence, claim)) is not None:
                    found.append(diagnosis)
    except OutOfTime:
        return found, False
    except Exception:  # nothing that a caller could act on
        LOG.debug("%s could not be tried", family.__name__, exc_info=True)
    return found, True


def unexplained(evidence: Evidence, found: Sequence[Diagnosis]) -> list[str]:
    """The wrong leaves that no explanation covers."""
    covered = {leaf for diagnosis in found for leaf in diagnosis.leaves}
    return [evidence.names[i] for i in evidence.wrong if evidence.names[i] not in covered]


def ranked(evidence: Evidence, found: Sequence[Diagnosis], untried: Sequence[Family]) -> tuple[Diagnosis, ...]:
    """What covers more leaves and is plainer comes first; for each leaf at most three are kept."""
    wrong = len(evidence.wrong)
    ordered = sorted(found, key=lambda d: d.rank + 0.8 * (1 - len(d.leaves) / wrong))
    kept: list[Diagnosis] = []
    for diagnosis in ordered:
        same = [d for d in kept if set(diagnosis.leaves) <= set(d.leaves)]
        if all(d.text != diagnosis.text for d in kept) and len(same) < 3:
            kept.append(diagnosis)
    left = unexplained(evidence, kept)
    if left:
        what = "no single mistake that was tried" if untried else "no single mistake that purenet knows"
        text = f"{what} explains your gradient of {', '.join(left)}"
        fix = "check the layer in smaller parts, or compare the backward with the forward line by line"
        kept.append(Diagnosis("unexplained", text, fix, 1.0, tuple(left), rank=9.0))
    if untried and (left or not found):
        names = ", ".join(family.__name__.replace("_", " ") for family in untried)
        kept.append(Diagnosis(UNTRIED, f"there was no time to try {names}: seconds=60 looks further", "", 1.0))
    return tuple(kept)
