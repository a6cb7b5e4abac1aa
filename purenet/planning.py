"""What a chain of layers keeps between forward and backward, decided before anything is traced.

Layer k computes value k+1 from value k. Its backward reads value k if it needs "x" and value k+1 if it needs "y".
A value that nobody reads is dropped. A value that is read is kept, or recomputed: from the value before it where the
layer that made it can recompute, or from the value behind it where the layer that takes it finds its input from its
output. `choose` finds the assignment that keeps the fewest values and, among those, recomputes the fewest. The chain's
own input and output cost nothing here: whoever holds the chain decides about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .layer import Layer, Value, reverses

KEPT, RECOMPUTED, DROPPED = "kept", "recomputed", "dropped"


def choose(layers: Sequence[Layer]) -> tuple[str, ...]:
    """The fate of values 0..n of a chain of n layers: the cheapest path through (kept, recomputed, dropped) each."""
    n = len(layers)
    # best[fate of value k] = ((number kept, number recomputed), fates of values 0..k)
    # Of equal costs the first is taken, so that what nobody reads is dropped.
    best = {fate: ((0, 0), (fate,)) for fate in (DROPPED, KEPT) if fate == KEPT or not readers(layers, 0)}
    for k in range(1, n + 1):
        maker = layers[k - 1]
        step = {}
        for fate, (kept, recomputed) in {DROPPED: (0, 0), KEPT: (int(k < n), 0), RECOMPUTED: (0, 1)}.items():
            if fate == DROPPED and readers(layers, k):
                continue
            if fate == RECOMPUTED and not (recomputes(maker) or is_found(layers, k)):
                continue
            sources = [
                ((cost[0] + kept, cost[1] + recomputed), (*fates, fate))
                for before, (cost, fates) in best.items()
                if not (fate == RECOMPUTED and before == DROPPED and reads_before(layers, k))
            ]
            if sources:
                step[fate] = min(sources, key=lambda candidate: candidate[0])
        best = step
    return min(best.values(), key=lambda candidate: candidate[0])[1]


def recomputes(layer: Layer) -> bool:
    """Whether a layer's output can be had from its input: not if that is found from the output."""
    return layer.recompute is not None and not reverses(layer)


def is_found(layers: Sequence[Layer], k: int) -> bool:
    """Whether the layer behind value k finds it in its backward, in time for the layer before."""
    return k < len(layers) and reverses(layers[k])


def reads_before(layers: Sequence[Layer], k: int) -> bool:
    """Whether value k, recomputed, is computed from the value before it."""
    return not is_found(layers, k) and "x" in layers[k - 1].recompute_needs


def readers(layers: Sequence[Layer], k: int) -> list[str]:
    """Whose backward reads value k, in words."""
    found = []
    if k > 0 and "y" in layers[k - 1].needs:
        found.append(f"{layers[k - 1].name} reads its output")
    if k < len(layers) and "x" in layers[k].needs:
        found.append(f"{layers[k].name} reads its input")
    return found


def recompute_source(layers: Sequence[Layer], fates: Sequence[str], k: int) -> int | None:
    """The value from which value k can be computed again when only the chain's input and its kept values are there.

    0 is the chain's input; None says that it cannot be done without a matrix product.
    """
    if 0 < k < len(layers) and fates[k] == KEPT:
        return k
    if k == 0:
        return 0
    maker = layers[k - 1]
    if maker.recompute is None:
        return None
    return recompute_source(layers, fates, k - 1) if "x" in maker.recompute_needs else k


def explain(layers: Sequence[Layer], fates: Sequence[str], labels: Sequence[str]) -> tuple[Value, ...]:
    """The plan of a chain in words, a `Value` each."""
    values = []
    for k, (fate, label) in enumerate(zip(fates, labels, strict=True)):
        why = readers(layers, k)
        if k + 1 < len(fates) and fates[k + 1] == RECOMPUTED and reads_before(layers, k + 1):
            why.append(f"{layers[k].name} recomputes its output from it")
        if fate == RECOMPUTED and is_found(layers, k):
            why.append(f"{layers[k].name} finds it from its output")
        elif fate == RECOMPUTED:
            why.append(f"{layers[k - 1].name} recomputes it")
        values.append(Value(label, fate, "; ".join(why) or "nothing reads it"))
    return tuple(values)


class Plan(NamedTuple):
    """The plan of a network: rows of (path, `Value`). Print it."""

    rows: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        table = [("value", "fate", "why"), *((path, value.fate, value.why) for path, value in self.rows)]
        widths = [max(len(row[column]) for row in table) for column in (0, 1)]
        return "\n".join(f"{path:{widths[0]}}  {fate:{widths[1]}}  {why}" for path, fate, why in table)

    def __repr__(self) -> str:
        return str(self)


def plan(layer: Layer) -> Plan:
    """What a network keeps, recomputes and drops between forward and backward, every value with the reason.

    >>> print(purenet.plan(serial(dense(8), gelu(), dense(1))))
    value                             fate     why
    serial: input                     kept     dense reads its input
    serial: [0] dense -> [1] gelu     kept     gelu reads its input; gelu recomputes its output from it
    serial: [1] gelu -> [2] dense     recomputed  dense reads its input; gelu recomputes it
    serial: output                    dropped  nothing reads it
    """
    rows = list(plan_rows(layer, layer.name))
    return Plan(tuple(rows))


def plan_rows(layer: Layer, path: str, *, inside: bool = False) -> list[tuple[str, Value]]:
    """The rows of a layer; inside another, its input and output are rows of the one that holds it."""
    values = [value for value in layer.plan if not (inside and value.label in ("input", "output"))]
    rows = [(f"{path}: {value.label}", value) for value in values]
    if not layer.parts and not layer.plan:
        rows += [(f"{path}: {side}", leaf_value(layer, side)) for side in ("input", "output")]
    rows += [(f"{path}: {kept}", Value(kept, KEPT, f"{layer.name} keeps it")) for kept in layer.keeps]
    for key, part in layer.parts:
        if everything_inside(part) in {value.label for value in layer.plan}:
            continue  # one row speaks for all of it
        inner = plan_rows(part, f"{path}{key}.{part.name}", inside=True)
        rows += inner if part.parts or part.plan else [row for row in inner if row[1].label in part.keeps]
    return rows


def everything_inside(part: Layer) -> str:
    """The label of the row of a combinator that says what becomes of all its part's values at once."""
    return f"everything inside {part.name}"


def sides(layer: Layer) -> tuple[Value, ...]:
    """What becomes of a layer's own input and output, for a combinator that hands both through."""
    planned = {value.label: value for value in layer.plan}
    return tuple(planned.get(side) or leaf_value(layer, side) for side in ("input", "output"))


def leaf_value(layer: Layer, side: str) -> Value:
    letter = {"input": "x", "output": "y"}[side]
    if letter in layer.needs:
        return Value(side, KEPT, f"{layer.name} reads its {side}")
    return Value(side, DROPPED, "nothing reads it")
