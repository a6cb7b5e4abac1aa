"""What mutation testing found: the mutants, how many of them the check noticed, and why not the others."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..report import wrap
from .mistakes import KINDS

MOST_SHOWN = 12


class Mutant(NamedTuple):
    """One mistake made in your backward, and whether the check noticed it.

    `kind` is the kind of mistake, `what` says which one, `line` where in the source. `equivalent`: the gradients are
    the right ones to 1e-12, so that no tolerance could tell them apart at this probe; `hint` says what hides it,
    where that is known.
    """

    kind: str
    what: str
    line: str
    noticed: bool
    equivalent: bool
    hint: str

    def __str__(self) -> str:
        place = f"{self.line}: " if self.line else ""
        return place + self.what + (f" ({self.hint})" if self.hint else "")


class MutationReport(NamedTuple):
    """How many mutants of a backward the check notices. It has no truth value: look at `rate`, or at `unnoticed`.

    `possible` is the number of mutants there were to choose `mutants` from.
    """

    name: str
    mutants: tuple[Mutant, ...]
    possible: int

    @property
    def noticed(self) -> int:
        return sum(mutant.noticed for mutant in self.mutants)

    @property
    def rate(self) -> float:
        """The part of the mutants that was noticed; NaN where there is nothing to mutate."""
        return self.noticed / len(self.mutants) if self.mutants else float("nan")

    @property
    def unnoticed(self) -> tuple[Mutant, ...]:
        return tuple(mutant for mutant in self.mutants if not mutant.noticed)

    def __bool__(self) -> bool:
        raise TypeError("a mutation report has no truth value: look at rate or unnoticed")

    def __str__(self) -> str:
        head = f"mutation test of {self.name}: {self.noticed} of {len(self.mutants)} mutants noticed"
        if self.possible > len(self.mutants):
            head += f" ({self.possible} were possible, these are evenly chosen)"
        return "\n".join([head, *kinds_text(self.mutants), *unnoticed_text(self.unnoticed)])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers, for JSON."""
        return {
            "name": self.name,
            "noticed": self.noticed,
            "possible": self.possible,
            "mutants": [mutant._asdict() for mutant in self.mutants],
        }


def kinds_text(mutants: Sequence[Mutant]) -> list[str]:
    """A row a kind of mutation, with how many were noticed."""
    made = Counter(mutant.kind for mutant in mutants)
    noticed = Counter(mutant.kind for mutant in mutants if mutant.noticed)
    head = f"{'mutation':<22}  {'noticed':>7}  {'of':>4}"
    return [head, *(f"{kind:<22}  {noticed[kind]:>7}  {made[kind]:>4}" for kind in KINDS if made[kind])]


def unnoticed_text(unnoticed: Sequence[Mutant]) -> list[str]:
    """The mutants that the check passes as right, as far as they fit."""
    if not unnoticed:
        return []
    shown = unnoticed if len(unnoticed) <= MOST_SHOWN else unnoticed[: MOST_SHOWN - 1]
    left = len(unnoticed) - len(shown)
    lines = [textwrap.indent(wrap("", str(mutant)), "  ") for mutant in shown]
    return ["unnoticed, the check passes them as right:", *lines, *[f"  ... and {left} more"] * bool(left)]
