"""Find the bug: gradients written by hand that other people got wrong, each found and named by the checker.

    python examples/find_the_bug.py                          all of them: what is wrong, and what to do
    python examples/find_the_bug.py --list                   their names
    python examples/find_the_bug.py skipped_example --full   one of them, with the whole report

Five public questions about small networks are behind these systems; their mistakes stand in `wrong_gradients.py`.

A bug counts as named only if the checker's first explanation accounts for every wrong gradient and says what stands
beside the bug in BUGS, the words a teacher would not leave out. The exit code is 1 unless all of them are named.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
import time
from collections.abc import Callable
from typing import NamedTuple

from wrong_gradients import (
    bias_from_upstream,
    descent,
    last_example_only,
    learning_rate,
    one_weight_at_a_time,
    own_jacobian,
    rows_alike,
    single_precision,
    skipped_example,
    slope_at_upstream,
    through_the_clip,
    value_as_slope,
    what_is_lost,
    whole_column,
    wrong_axis,
)

import purenet as pn

# The list, and what is done with it.


class Bug(NamedTuple):
    """`kinds` of explanation that name it, best first, and `says`, regular expressions that all have to be found in
    the explanation's sentence; no kinds where the gradient is right and a note of the report explains. `aside`: a
    figure to print beside it."""

    run: Callable[[], pn.Report]
    title: str
    kinds: tuple[str, ...]
    says: tuple[str, ...]
    aside: Callable[[], str] | None = None

    @property
    def name(self) -> str:
        return self.run.__name__


BUGS = (
    Bug(
        rows_alike,
        "AND and OR at once: all rows of the weights get the same gradient",
        ("coupling", "slices"),
        (r"\bsum", "axis 0|output|row"),
    ),
    Bug(
        own_jacobian,
        "a stack for XOR: a layer hands back its own Jacobian",
        ("cotangent_ignored",),
        ("does not depend on the upstream",),
    ),
    Bug(
        whole_column,
        "central differences that move a whole column of weights at a time",
        ("coupling", "slices"),
        (r"\bsum", "axis 0|output|row"),
        one_weight_at_a_time,
    ),
    Bug(
        value_as_slope,
        "a generic loop over the layers, with f(z) where f'(z) belongs",
        ("local_derivative",),
        ("output|value", "where its derivative belongs"),
    ),
    Bug(
        last_example_only,
        "XOR: the hidden gradient is assigned in the loop over the examples",
        ("slices",),
        ("only the last of 4", "overwrote"),
    ),
    Bug(
        slope_at_upstream,
        "the activation's derivative, taken at the upstream gradient",
        ("local_derivative",),
        ("derivative", "at the upstream"),
    ),
    Bug(
        bias_from_upstream,
        "the gradient of the bias, summed from the wrong cotangent",
        ("wrong_cotangent",),
        (r"\bbias\b", "wrong cotangent|instead of the cotangent"),
    ),
    Bug(
        wrong_axis,
        "a mean over the batch, divided by the length of the other axis",
        ("scaled",),
        ("divided by", "4.* where .*6", "examples|axis 0 of x"),
    ),
    Bug(
        through_the_clip,
        "clipped cross entropy, with a gradient where the clip is active",
        ("forward_variant", "local_derivative", "support"),
        ("clip", "not zero|passes|ignored"),
    ),
    Bug(
        skipped_example,
        "house prices: the loop ends before the last example",
        ("slices",),
        ("leaves out the last of 5",),
    ),
    Bug(
        single_precision,
        "no bug: a saturated sigmoid in float32",
        (),
        ("float32", "precision|rounding", "not a (bug|mistake)"),
        what_is_lost,
    ),
    Bug(
        learning_rate,
        "no bug: a cubic fit whose loss explodes",
        (),
        ("your gradient is right; your learning rate is not", "largest stable rate"),
        descent,
    ),
)


class Finding(NamedTuple):
    """What the checker said of a bug, and whether that names it; `fix` is "" where there is nothing to repair."""

    report: pn.Report
    kind: str
    why: str
    fix: str
    named: bool


def find(bug: Bug) -> Finding:
    """Run the checker on a bug and read the first explanation, or the notes where the gradient is right."""
    report = bug.run()
    if not bug.kinds:
        why = next((note for note in report.notes if says_all(bug, note)), " ".join(report.notes))
        return Finding(report, "", why, "", report.verdict == "PASS" and says_all(bug, why))
    if not report.causes:
        return Finding(report, "", "", "", False)
    first = report.causes[0]
    leaves = report.layers[0].leaves if report.layers else report.leaves  # of the layer to blame, in a network
    whole = {leaf.path for leaf in leaves if leaf.verdict == "WRONG"} <= set(first.leaves)
    named = report.verdict == "WRONG" and whole and first.kind in bug.kinds and says_all(bug, first.text)
    return Finding(report, first.kind, first.text, first.fix, named)


def says_all(bug: Bug, text: str) -> bool:
    return all(re.search(words, text, re.IGNORECASE) for words in bug.says)


def show(bug: Bug, finding: Finding, full: bool) -> None:
    print(f"\n{bug.name}: {bug.title}")
    if full:
        print(textwrap.indent(str(finding.report), "  "))
    else:
        print_wrapped("", finding.report.summary)
        print_wrapped("why: " if bug.kinds else "note: ", finding.why)
        print_wrapped("fix: ", finding.fix)
    if bug.aside is not None:
        print_wrapped("also: ", bug.aside())
    if not finding.named:
        wanted = ", ".join(bug.kinds) or "a note"
        print_wrapped(
            "NOT NAMED: ", f"wanted {wanted}, saying {' and '.join(bug.says)}; got {finding.kind or 'a note'}"
        )


def print_wrapped(head: str, text: str) -> None:
    if text:
        indent = " " * (2 + len(head))
        print(textwrap.fill(text, 118, initial_indent="  " + head, subsequent_indent=indent, break_on_hyphens=False))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [bug.name for bug in BUGS]
    parser.add_argument("name", nargs="?", choices=names, metavar="NAME", help="one bug (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--full", action="store_true", help="print whole reports")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print what the checker says of each bug; returns the exit code."""
    options = parse(arguments)
    if options.list:
        print("\n".join(f"{bug.name:<20}{bug.title}" for bug in BUGS))
        return 0
    start = time.perf_counter()
    chosen = [bug for bug in BUGS if options.name in (None, bug.name)]
    named = 0
    for bug in chosen:
        finding = find(bug)
        show(bug, finding, options.full)
        named += finding.named
    print(f"\nfound and named {named} of {len(chosen)}, in {time.perf_counter() - start:.1f} seconds")
    return 0 if named == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
