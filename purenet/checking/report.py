"""What a check found: a row a leaf, and why; printed so that it fits one screen."""

from __future__ import annotations

import math
import os
import textwrap
from typing import Any, NamedTuple

import numpy as np

from .plot import plot_report
from .vocabulary import PRECISION, UNRESOLVED, VACUOUS, WORST_FIRST, WRONG, Diagnosis, LeafReport

MOST_ROWS = 16
WIDTH = 118


class LayerReport(NamedTuple):
    """One layer of a network that is wrong although it got the true cotangent: its path, leaves and explanations.

    `reason` is "backward", "recompute" (what it recomputes is not its output) or "plumbing" (a combinator's own
    backward)."""

    path: str
    reason: str
    leaves: tuple[LeafReport, ...]
    diagnoses: tuple[Diagnosis, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        return WRONG if self.reason != "backward" else worst_verdict(self.leaves, self.diagnoses)


class Report(NamedTuple):
    """The result of a check. It has no truth value: look at `verdict`, `leaves`, `layers` or `diagnoses`.

    `layers` are the layers to blame in a network; `diagnoses` explain a target that has no parts; `notes` are
    sentences about the check itself. `arrays` holds (yours, the reference's) of each leaf, for `plot`; `against` names
    the reference, jax.grad or differences.
    """

    name: str
    leaves: tuple[LeafReport, ...]
    diagnoses: tuple[Diagnosis, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    notes: tuple[str, ...] = ()
    arrays: tuple[tuple[Any, Any], ...] = ()
    against: str = "jax.grad"

    @property
    def verdict(self) -> str:
        own = worst_verdict(self.leaves, self.diagnoses)
        return min([own, *(layer.verdict for layer in self.layers)], key=WORST_FIRST.index)

    @property
    def causes(self) -> tuple[Diagnosis, ...]:
        """All explanations, the layers' first."""
        return tuple(d for layer in self.layers for d in layer.diagnoses) + self.diagnoses

    def __bool__(self) -> bool:
        raise TypeError("a check's report has no truth value: purenet.check raises GradientError when a leaf is wrong")

    def __str__(self) -> str:
        parts = [self.summary, table(self.leaves, self.against)]
        for layer in self.layers:
            parts += ["", layer_text(layer, same_table=layer.path == self.name)]
        parts += [explanation(self.diagnoses), *(wrap("note: ", note) for note in self.notes)]
        return "\n".join(part for k, part in enumerate(parts) if part or (k == 2 and self.layers))

    @property
    def summary(self) -> str:
        counts = [(sum(leaf.verdict == verdict for leaf in self.leaves), verdict) for verdict in WORST_FIRST]
        found = ", ".join(f"{count} {verdict}" for count, verdict in counts if count) or "none"
        blamed = ", ".join(layer.path for layer in self.layers)
        to_blame = f"; to blame: {blamed}" if blamed else ""
        return f"{self.verdict}  {self.name}: {found} of {len(self.leaves)} gradient leaves{to_blame}"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers, for JSON; what is not finite is None."""
        return plain(
            {
                "name": self.name,
                "verdict": self.verdict,
                "leaves": self.leaves,
                "diagnoses": self.diagnoses,
                "layers": self.layers,
                "notes": self.notes,
            }
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A heat map of the error a leaf, yours beside the reference's; saved if a path is given. Needs matplotlib."""
        return plot_report(self.summary, self.leaves, self.arrays, path, self.against)


def worst_verdict(leaves: tuple[LeafReport, ...], diagnoses: tuple[Diagnosis, ...]) -> str:
    """WRONG where a leaf is, or where a finding is about the backward as a whole; else the worst of the leaves."""
    verdicts = {leaf.verdict for leaf in leaves}
    rounded = PRECISION in verdicts
    verdicts |= {WRONG for d in diagnoses if d.kind in DECISIVE and not (rounded and d.kind == "wrong_dtype")}
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), VACUOUS)


def plain(value: Any) -> Any:
    """The same of dicts, lists, strings and numbers only, with None for those that JSON has not: infinities and NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    value = [value.real, value.imag] if isinstance(value, complex) else value
    value = value._asdict() if hasattr(value, "_asdict") else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


DECISIVE = (
    "nondeterministic",
    "impure_forward",
    "impure_backward",
    "primal",
    "not_linear",
    "cotangent_ignored",
    "wrong_dtype",
    "wrong_tree",
    "malformed_rule",
)


class GradientError(AssertionError):
    """A hand-written gradient is not right; `report` says where and why."""

    def __init__(self, report: Report):
        super().__init__(str(report))
        self.report = report


BACKWARDS = {PRECISION: "right as a formula, but rounded", UNRESOLVED: "another one than jax.grad's"}


def layer_text(layer: LayerReport, same_table: bool) -> str:
    what = {
        "backward": f"its backward is {BACKWARDS.get(layer.verdict, 'wrong')}, given the true cotangent",
        "recompute": "what it recomputes is not its output",
        "plumbing": "its parts are right; its own backward, which connects them, is not",
    }[layer.reason]
    parts = [f"{layer.path}: {what}"]
    if not same_table and layer.leaves:
        parts.append(table(layer.leaves))
    return "\n".join([*parts, explanation(layer.diagnoses), *(wrap("note: ", note) for note in layer.notes)])


def explanation(diagnoses: tuple[Diagnosis, ...]) -> str:
    """Why, and what to do; what else would explain it in one line."""
    shown: list[str] = []
    explained: set[str] = set()
    also: list[Diagnosis] = []
    for diagnosis in diagnoses:
        if diagnosis.leaves and set(diagnosis.leaves) <= explained:
            also.append(diagnosis)
            continue
        explained.update(diagnosis.leaves)
        shown.append(wrap("why: ", diagnosis.text + evidence_text(diagnosis)))
        if diagnosis.fix:
            shown.append(wrap("fix: ", diagnosis.fix))
    shown += [wrap("  or: ", diagnosis.text) for diagnosis in also[:3]]
    return "\n".join(shown)


def evidence_text(diagnosis: Diagnosis) -> str:
    """How well it holds at points that nothing of it was fitted to."""
    if not diagnosis.held:
        return ""
    return " (exact)" if diagnosis.residual < 1e-12 else f" (unexplained part: {diagnosis.residual:.0e})"


def wrap(head: str, text: str) -> str:
    return textwrap.fill(head + text, WIDTH, subsequent_indent=" " * len(head), break_on_hyphens=False)


def table(leaves: tuple[LeafReport, ...] | list[LeafReport], against: str = "jax.grad") -> str:
    order = sorted(leaves, key=lambda leaf: WORST_FIRST.index(leaf.verdict))
    shown = order if len(order) <= MOST_ROWS else order[: MOST_ROWS - 1]
    chosen = [leaf for leaf in leaves if any(leaf is other for other in shown)]
    rows = [("leaf", "shape", "error", "verdict", "worst at", "yours", against)]
    rows += [row(leaf) for leaf in chosen]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)).rstrip() for cells in rows]
    left = len(leaves) - len(chosen)
    return "\n".join(lines + ([f"... and {left} more leaves, none worse"] if left else []))


def row(leaf: LeafReport) -> tuple[str, ...]:
    numbers = (f"{leaf.yours:.9g}", f"{leaf.reference:.9g}") if leaf.worst or not leaf.shape else ("-", "-")
    error = f"{leaf.error:.1e}" if leaf.error < float("inf") else "-" if not leaf.worst and leaf.shape else "inf"
    return (leaf.path, str(list(leaf.shape)), error, leaf.verdict, str(list(leaf.worst)), *numbers)
