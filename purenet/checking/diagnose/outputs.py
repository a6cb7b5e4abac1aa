"""Hypotheses about functions of several outputs: how often the cotangent of one of them counts.

The gradient is a sum over the outputs, so each of them can be looked at alone, the cotangents of the others as drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ..vocabulary import distance
from .evidence import Claim, Evidence, Leaves, Match, Point, explains, explains_scaled
from .slices import masked

MOST = 6


def output_cotangents(evidence: Evidence) -> Iterator[Claim]:
    """candidate = reference + c (the gradient for the cotangent of output k alone)."""
    count = len(evidence.first.dys)
    if not evidence.linear or not 2 <= count <= MOST:
        return
    for some in itertools.chain.from_iterable(itertools.combinations(range(count), n) for n in range(1, count)):

        def ignoring(point: Point, some: Sequence[int] = some) -> Leaves:
            dys = [0 * dy if k in some else dy for k, dy in enumerate(point.dys)]
            return evidence.reference(point.inputs, dys)

        if match := explains(evidence, ignoring):
            yield ignored_claim(match, some, count)
            return
    for k in range(count):
        yield from scaled_output(evidence, k)
    for a, b in itertools.combinations(range(count), 2):
        if evidence.first.dys[a].shape == evidence.first.dys[b].shape:
            yield from exchanged(evidence, a, b)


def exchanged(evidence: Evidence, a: int, b: int) -> Iterator[Claim]:
    def predict(point: Point) -> Leaves:
        dys = list(point.dys)
        dys[a], dys[b] = dys[b], dys[a]
        return evidence.reference(point.inputs, dys)

    if match := explains(evidence, predict):
        text = f"in your gradient of {match.label} the cotangents of outputs {a} and {b} (counted from 0) are exchanged"
        yield match.claim("wrong_cotangent", text, "use the cotangent of each output for it", 1.1, 1.8)


def ignored_claim(match: Match, some: Sequence[int], count: int) -> Claim:
    which = f"output {some[0]}" if len(some) == 1 else f"outputs {', '.join(map(str, some))}"
    text = f"in your gradient of {match.label} the cotangent of {which} (of {count}, counted from 0) is ignored"
    fix = f"add what {which} contributes: a gradient is the sum over all outputs"
    return match.claim("cotangent_ignored", text, fix, 0.85, 1.75)


def scaled_output(evidence: Evidence, k: int) -> Iterator[Claim]:
    def parts(point: Point) -> tuple[Leaves, Leaves]:
        return point.reference, masked(evidence, point, k, 1.0)

    for match, c in explains_scaled(evidence, parts):
        alone = parts(evidence.first)[1]
        if all(distance(alone[i], evidence.first.reference[i]) < 1e-9 for i in match.leaves):
            continue  # of this output only: a matter of the whole gradient
        factor = evidence.factor(1 + c)
        text = f"in your gradient of {match.label} the cotangent of output {k} (of {len(evidence.first.dys)}, counted "
        text += f"from 0) counts {factor.text} times" + (f": {factor.cause}" if factor.cause else "")
        yield match.claim("path_scaled", text, "count the cotangent of each output once", 1.2 + factor.rank)
