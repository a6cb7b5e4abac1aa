"""What a check found: a row a leaf, printed as a table."""

from __future__ import annotations

from typing import NamedTuple

OK, WRONG, VACUOUS = "ok", "WRONG", "VACUOUS"


class LeafReport(NamedTuple):
    """One leaf of the gradient.

    `error` is the largest difference relative to the largest true value of the leaf (to the true value there, where
    only small values are wrong); `worst` is the index where it stands, with the hand-written value `yours` and
    `reference`, jax.grad's. VACUOUS: the true gradient is zero up to rounding, and so is yours, so the leaf proves
    nothing.
    """

    path: str
    shape: tuple[int, ...]
    error: float
    verdict: str
    worst: tuple[int, ...]
    yours: float
    reference: float


class Report(NamedTuple):
    """The result of a check. It has no truth value: a check that fails raises, so look at `verdict` or `leaves`."""

    name: str
    leaves: tuple[LeafReport, ...]

    @property
    def verdict(self) -> str:
        verdicts = [leaf.verdict for leaf in self.leaves]
        return WRONG if WRONG in verdicts else OK if OK in verdicts else VACUOUS

    def __bool__(self) -> bool:
        raise TypeError("a check's report has no truth value: purenet.check raises GradientError when a leaf is wrong")

    def __str__(self) -> str:
        return f"{self.summary}\n{table(self.leaves)}"

    @property
    def summary(self) -> str:
        counts = [(sum(leaf.verdict == verdict for leaf in self.leaves), verdict) for verdict in (WRONG, OK, VACUOUS)]
        found = ", ".join(f"{count} {verdict}" for count, verdict in counts if count)
        return f"{self.name}: {found} of {len(self.leaves)} gradient leaves, against jax.grad in float64"


class GradientError(AssertionError):
    """A hand-written gradient is wrong; `report` says where."""

    def __init__(self, report: Report):
        wrong = [leaf for leaf in report.leaves if leaf.verdict == WRONG]
        super().__init__(f"{report.summary}\n{table(wrong)}")
        self.report = report


def table(leaves: list[LeafReport] | tuple[LeafReport, ...]) -> str:
    rows = [("leaf", "shape", "error", "verdict", "worst at", "yours", "jax.grad")]
    rows += [
        (
            leaf.path,
            str(list(leaf.shape)),
            f"{leaf.error:.1e}",
            leaf.verdict,
            str(list(leaf.worst)),
            f"{leaf.yours:.9g}",
            f"{leaf.reference:.9g}",
        )
        for leaf in leaves
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
