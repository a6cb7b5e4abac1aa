"""Path attribution: a gradient is the sum over all paths from output to leaf; which one is missing, doubled, flipped?

With the cotangent of one value, or of one use of it, multiplied by g instead of 1, the gradient is
reference + (g - 1) c, where c is what flows through there. One division tells whether some g explains your gradient:
g = 0 is a path that was forgotten, 2 one counted twice, -1 a wrong sign.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..program.record import Program
from ..program.source import op_name
from ..program.sweep import Change, Edge, from_value, out_cotangent, pull
from ..vocabulary import norm
from .evidence import (
    Claim,
    Evidence,
    Leaves,
    Match,
    Point,
    explains,
    explains_scaled,
    of_leaf,
    reads_program,
    regradient,
)
from .naming import number_list
from .slices import combine, slice_weights
from .values import describe_value, last_of_line

Node = tuple[int, int]  # (step, operand) is one use of a value; (-1, number) the value, all uses together

MOST_PAIRS = 48


def nodes(program: Program) -> list[Node]:
    """All values with a path to a leaf, and all uses of those that are used more than once."""
    uses: dict[int, list[Node]] = {}
    for k, step in enumerate(program.steps):
        for operand, number in enumerate(step.inputs):
            if number in program.active and any(output in program.active for output in step.outputs):
                uses.setdefault(number, []).append((k, operand))
    values: list[Node] = [(-1, number) for number in uses if number not in program.inputs]
    return values + [use for found in uses.values() if len(found) > 1 for use in found]


def number_of(program: Program, node: Node) -> int:
    return node[1] if node[0] < 0 else program.steps[node[0]].inputs[node[1]]


def contribution(point: Point, node: Node) -> Leaves | None:
    """What flows through a node to the leaves."""
    dy = cotangent_at(point, node)
    return None if dy is None else from_value(point.recorded, number_of(point.recorded, node), dy)


def cotangent_at(point: Point, node: Node) -> Any:
    """The cotangent of a value, or what one use of it adds to that."""
    program = point.recorded
    if node[0] < 0:
        return point.cotangents.get(node[1])
    step = program.steps[node[0]]
    if not any(output in point.cotangents for output in step.outputs):
        return None
    return pull(program, step, node[1], out_cotangent(program, step, point.cotangents))


def may_matter(evidence: Evidence, node: Node) -> bool:
    """Whether some factor before what flows through a node may explain a leaf."""
    dy = cotangent_at(evidence.first, node)
    return dy is not None and evidence.screen.passes(number_of(evidence.first.recorded, node), 0 * dy, dy)


@reads_program
def single_paths(evidence: Evidence, program: Program) -> Iterator[Claim]:
    grouped: dict[tuple, list[tuple[Node, Match, float]]] = {}
    for node in nodes(program):
        if not may_matter(evidence, node):
            continue

        def parts(point: Point, node: Node = node) -> Any:
            through = contribution(point, node)
            return None if through is None else (point.reference, through)

        for match, c in explains_scaled(evidence, parts):
            grouped.setdefault((match.leaves, match.whole, round(c, 6)), []).append((node, match, c))
    for (_, whole, _), found in grouped.items():
        yield path_diagnosis(evidence, found, whole)


def path_diagnosis(evidence: Evidence, found: list[tuple[Node, Match, float]], whole: bool) -> Claim:
    _, match, c = found[0]
    path = f"the path through {describe_nodes(evidence, [node for node, _, _ in found])}"
    own, factor = f"your gradient of {match.label}", evidence.factor(1 + c)
    rank = 1.6 if whole else 2.3
    if abs(c + 1) < 1e-6:
        kind, text = "path_missing", f"{path} is missing in {own}: treated as constant"
        fix = "add the term that this path contributes"
    elif abs(c - 1) < 1e-6:
        kind, text = "path_doubled", f"{path} is counted twice in {own}"
        fix, rank = "count it once", rank + 0.1
    elif abs(c + 2) < 1e-6:
        kind, text = "path_sign", f"{path} has the wrong sign in {own}"
        fix, rank = "flip the sign of this term", rank + 0.1
    else:
        kind, text = "path_scaled", f"{path} is {factor.text} times the right one in {own}"
        text += f": {factor.cause}" if factor.cause else ""
        fix, rank = f"multiply this term by {evidence.factor(1 / (1 + c)).text}", rank + 0.2 + factor.rank
    return match.claim(kind, text, fix, rank, line=line_of(evidence, found[0][0]))


def line_of(evidence: Evidence, node: Node) -> str:
    program = evidence.first.recorded
    step = node[0] if node[0] >= 0 else program.maker.get(node[1], -1)
    return str(program.steps[step].line) if step >= 0 else ""


def describe_nodes(evidence: Evidence, found: Sequence[Node]) -> str:
    """A few of several equivalent places, those that make the value of a whole expression first."""
    program = evidence.first.recorded
    values = [node for node in found if node[0] < 0]
    if values:
        plain = [n for n in values if n[1] in program.maker and last_of_line(program, program.maker[n[1]])]
        texts = list(dict.fromkeys(describe_value(evidence, number) for _, number in plain or values))
        texts.sort(key=lambda text: " = " not in text)
        return ", ".join(texts[:2])
    k, operand = found[0]
    step = program.steps[k]
    at = f" in {step.line}" if step.line.text else ""
    return f"{describe_value(evidence, step.inputs[operand])} as operand {operand + 1} of {op_name(step.op)}{at}"


# Loops: the same use in all turns.


@reads_program
def repeated_paths(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """The same path cut or flipped in every turn of a loop: truncated backpropagation through time."""
    for edges in loop_edges(program):
        for kind, gate, what in (
            ("path_missing", 0.0, "is missing in every turn of the loop: treated as constant, the recursion is cut"),
            ("path_sign", -1.0, "has the wrong sign in every turn of the loop"),
            ("path_doubled", 2.0, "is counted twice in every turn of the loop"),
        ):
            changes = {edge: gated(evidence, edge, gate) for edge in edges}
            match = explains(evidence, lambda point, changes=changes: regradient(point, at_point(point, changes)))
            if match:
                where = describe_nodes(evidence, [edges[0]])
                text = f"the path through {where} {what}, in your gradient of {match.label}"
                fix = "go through this term of the loop's backward"
                fix = "carry the cotangent from turn to turn: dh of step t goes into step t - 1" if not gate else fix
                yield match.claim(kind, text, fix, 1.7, 2.4, line_of(evidence, edges[0]))


def loop_edges(program: Program) -> list[list[Edge]]:
    grouped: dict[tuple, list[Edge]] = {}
    for k, step in enumerate(program.steps):
        for operand, number in enumerate(step.inputs):
            if step.turn and number in program.active:
                grouped.setdefault((step.template, step.op, operand), []).append((k, operand))
    return [edges for edges in grouped.values() if len(edges) > 1]


def gated(evidence: Evidence, edge: Edge, gate: float) -> tuple[Edge, float]:
    return edge, gate


def at_point(point: Point, changes: dict[Edge, tuple[Edge, float]]) -> dict[Edge, Change]:
    return {edge: gate_change(point, edge, gate) for edge, (_, gate) in changes.items()}


def gate_change(point: Point, edge: Edge, gate: float) -> Change:
    program = point.recorded

    def change(dy: Any) -> Any:
        dx = pull(program, program.steps[edge[0]], edge[1], dy)
        return None if dx is None else gate * dx

    return change


# The uses of one leaf: tied weights, a kernel used in every turn.


@reads_program
def leaf_uses(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """candidate = sum_k a_k (what use k of the leaf contributes): some uses are forgotten, or overwritten."""
    for i in evidence.wrong:
        uses = [node for node in nodes(program) if node[0] >= 0 and number_of(program, node) == program.inputs[i]]
        uses = [use for use in uses if carries(evidence.first, use, i)]
        if not 2 <= len(uses) <= 32:
            continue
        found = [[contribution(point, use) for use in uses] for point in evidence.points]
        parts = [[leaves for leaves in part if leaves is not None] for part in found]
        if any(len(part) < len(uses) for part in parts):
            continue
        weights = slice_weights(evidence, parts, i)
        if weights is None:
            continue
        kept = [k for k, w in enumerate(weights) if abs(w - 1) < 1e-6]
        plain = all(abs(w) < 1e-6 or abs(w - 1) < 1e-6 for w in weights)
        whole_numbers = all(abs(w - round(w)) < 1e-6 and abs(w) < 3.5 for w in weights)
        if len(kept) >= len(uses) - 1 and not program.steps[uses[0][0]].turn:
            continue  # one path alone, which `single_paths` names
        text = f"{evidence.names[i]} is used {len(uses)} times, and your gradient of it counts "
        text += counted(kept, len(uses)) if plain else f"the uses {number_list(weights)} times instead of 1"
        fix = "add up the gradients of all uses (+=, not =)"
        in_loop = any(program.steps[use[0]].turn for use in uses)
        rank = (1.5 if in_loop else 1.9 if whole_numbers else 2.2) if plain or whole_numbers else 2.45
        predict = of_leaf(i, lambda point, i=i, uses=uses, w=weights: weighted_uses(point, i, uses, w))
        kind, name = "path_missing" if plain else "path_scaled", evidence.names[i]
        yield Claim(kind, text, fix, (name,), rank, predict, fitted=len(uses))


def weighted_uses(point: Point, i: int, uses: Sequence[Node], weights: Any) -> Any:
    """The gradient of leaf i with each of its uses counted so many times."""
    parts = [leaves for leaves in (contribution(point, use) for use in uses) if leaves is not None]
    return point.reference[i] + combine(parts, i, weights - 1) if len(parts) == len(uses) else None


def carries(point: Point, use: Node, i: int) -> bool:
    through = contribution(point, use)
    return through is not None and norm(through[i]) > 0


def counted(kept: Sequence[int], count: int) -> str:
    if kept == [count - 1]:
        return "the last use only: each overwrites the one before"
    if kept == [0]:
        return "the first use only"
    return f"the uses {', '.join(str(k + 1) for k in kept)} only"


# Two at once.


@reads_program
def two_paths(evidence: Evidence, program: Program) -> Iterator[Claim]:
    """Two paths missing, doubled or flipped together: statistics treated as constants, both mean and variance."""
    distinct = distinct_nodes(evidence, nodes(program))[:MOST_PAIRS]
    for group in [evidence.wrong, *([(i,) for i in evidence.wrong] if len(evidence.wrong) > 1 else [])]:
        found = list(fitting_pairs(evidence, distinct, group))
        for first, second, gates in sorted(found, key=lambda pair: plainness(evidence, pair[2]))[:1]:
            match = explains(evidence, lambda p, a=first, b=second, g=gates: pair_sum(p, a, b, g))
            if match and plainness(evidence, gates) < 1:
                yield pair_diagnosis(evidence, (first, second), gates, match)
                return
    yield from cut_pairs(evidence, distinct)


def distinct_nodes(evidence: Evidence, found: list[Node]) -> list[tuple[Node, Leaves]]:
    """Nodes with different contributions, values before uses."""
    kept: list[tuple[Node, Leaves]] = []
    directions: list[Any] = []
    for node in found:
        through = contribution(evidence.first, node)
        if through is None:
            continue
        flat = np.concatenate([np.ravel(through[i]) for i in evidence.wrong])
        size = norm(flat)
        if not size or not np.isfinite(size) or any(abs(abs(float(flat @ d)) / size - 1) < 1e-10 for d in directions):
            continue
        directions.append(flat / size)
        kept.append((node, through))
    return kept


def fitting_pairs(
    evidence: Evidence, distinct: list[tuple[Node, Leaves]], group: Sequence[int]
) -> Iterator[tuple[Node, Node, tuple[float, float]]]:
    point = evidence.first
    error = np.concatenate([np.ravel(point.candidate[i] - point.reference[i]) for i in group])
    if error.size <= 4 or not np.all(np.isfinite(error)):
        return
    columns = np.stack([np.concatenate([np.ravel(c[i]) for i in group]) for _, c in distinct], 1) if distinct else None
    if columns is None:
        return
    gram, across, total = columns.T @ columns, columns.T @ error, float(error @ error)
    for a, b in itertools.combinations(range(len(distinct)), 2):
        det = gram[a, a] * gram[b, b] - gram[a, b] ** 2
        if det <= 1e-10 * gram[a, a] * gram[b, b]:
            continue
        x = (gram[b, b] * across[a] - gram[a, b] * across[b]) / det
        y = (gram[a, a] * across[b] - gram[a, b] * across[a]) / det
        if total - x * across[a] - y * across[b] > 1e-8 * total:
            continue
        if norm(error - x * columns[:, a] - y * columns[:, b]) < 1e-6 * np.sqrt(total):
            yield distinct[a][0], distinct[b][0], (float(x), float(y))


def plainness(evidence: Evidence, gates: Sequence[float]) -> float:
    """How far two gates are from missing, doubled and flipped; the same named factor on both is plain too."""
    if abs(gates[0] - gates[1]) < 1e-6 * abs(gates[0]) and evidence.factor(1 + gates[0]).rank < 1:
        return 0.2
    return sum(min(abs(g - plain) for plain in (-1.0, 1.0, -2.0)) for g in gates)


def pair_sum(point: Point, first: Node, second: Node, gates: Sequence[float]) -> Leaves | None:
    one, two = contribution(point, first), contribution(point, second)
    if one is None or two is None:
        return None
    return [t + gates[0] * a + gates[1] * b for t, a, b in zip(point.reference, one, two, strict=True)]


def pair_diagnosis(evidence: Evidence, pair: tuple[Node, Node], gates: Sequence[float], match: Match) -> Claim:
    phrases = {-1.0: "is missing", 1.0: "is counted twice", -2.0: "has the wrong sign"}
    pieces = []
    for node, gate in zip(pair, gates, strict=True):
        how = phrases.get(round(gate, 6)) or f"counts {evidence.factor(1 + gate).text} times"
        pieces.append(f"the path through {describe_nodes(evidence, [node])} {how}")
    text = f"in your gradient of {match.label}, " + " and ".join(pieces)
    fix = "go through these two terms of the backward"
    cut = all(abs(gate + 1) < 1e-6 for gate in gates)
    rank = (1.9 if cut else 2.3) + plainness(evidence, gates)
    return match.claim("two_paths", text, fix, rank, rank + 0.4, line_of(evidence, pair[0]))


def cut_pairs(evidence: Evidence, distinct: list[tuple[Node, Leaves]]) -> Iterator[Claim]:
    """Two values that lie behind each other, both treated as constants: not a sum of two effects, so cut exactly."""
    values = [node for node, _ in distinct if node[0] < 0][:24]
    for first, second in itertools.combinations(values, 2):

        def predict(point: Point, pair: tuple[Node, Node] = (first, second)) -> Leaves:
            cut = {number for _, number in pair}
            edges = [(k, j) for k, s in enumerate(point.recorded.steps) for j, n in enumerate(s.inputs) if n in cut]
            return regradient(point, {edge: lambda dy: None for edge in edges})

        if match := explains(evidence, predict):
            yield pair_diagnosis(evidence, (first, second), (-1.0, -1.0), match)
            return
