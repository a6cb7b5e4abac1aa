"""A picture of a report: your gradient beside jax.grad's, and where they differ.

A row a leaf, the worst first: yours and jax.grad's on one diverging scale symmetric about 0, so that a transposed, a
shifted or a scaled gradient is seen for what it is, and the error on a scale of its own, which shows where it sits: in
a row, in a column, at the border or everywhere.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .vocabulary import JAX, PASS, VACUOUS, WORST_FIRST, LeafReport

Arrays = tuple[Any, Any]

MOST_LEAVES = 6
MOST_SIDE = 200
WIDTH = 10.0
SMALL = 8
DIVERGING, SEQUENTIAL, NOT_FINITE, MARK = "RdBu_r", "Reds", "black", "limegreen"


class Panel(NamedTuple):
    """One heat map of a leaf: `values` from -`largest` to `largest`, or from 0 where `signed` is False; or `words`
    where there is nothing to draw."""

    title: str
    values: np.ndarray
    largest: float
    signed: bool = True
    words: str = ""


def plot_report(
    summary: str,
    leaves: Sequence[LeafReport],
    arrays: Sequence[Arrays],
    path: str | os.PathLike[str] | None = None,
    against: str = JAX,
) -> Any:
    """The figure of a report: its first line, its leaves, (yours, the reference's) of each; saved if a path is given,
    in the format that its ending names. `against` names the reference.

    At most six leaves are drawn. A leaf of any rank is folded to two dimensions, the last axis across and the leading
    ones down; of more than 200 values a side, each block is drawn by its largest. Values that are not finite are black,
    and a circle stands where a wrong leaf is worst. No state of matplotlib or pyplot changes.
    """
    new_figure = figure_class()
    chosen = worst_first(leaves, arrays)[:MOST_LEAVES]
    left_out = len(arrays) - len(chosen)
    title = textwrap.fill(summary, 105) + f"\nnot drawn, and none worse: {left_out} more" * (left_out > 0)
    heights = [height(leaf.shape) for leaf, _ in chosen] or [0.6]
    figure = new_figure(figsize=(WIDTH, sum(heights) + 0.4 + 0.2 * title.count("\n")), layout="constrained")
    figure.suptitle(title, fontsize=SMALL + 3)
    if chosen:
        draw_leaves(figure, chosen, heights, f"{JAX}'s" if against == JAX else against)
    else:
        figure.text(0.5, 0.2, "the report holds no arrays to draw", ha="center", color="gray")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plotting a report needs matplotlib: pip install 'purenet[examples]'") from error
    return Figure


def worst_first(leaves: Sequence[LeafReport], arrays: Sequence[Arrays]) -> list[tuple[LeafReport, Arrays]]:
    """The leaves with their arrays: the worst verdict and in it the largest error first."""

    def order(row: tuple[LeafReport, Arrays]) -> tuple[int, float]:
        leaf = row[0]
        return WORST_FIRST.index(leaf.verdict), -math.inf if math.isnan(leaf.error) else -leaf.error

    return sorted(zip(leaves, arrays, strict=False), key=order)


def height(shape: tuple[int, ...]) -> float:
    """Inches for the row of a leaf: fewer for one that folds to a single line."""
    return 1.4 if math.prod(shape[:-1]) == 1 or 0 in shape else 2.7


def draw_leaves(figure: Any, rows: list[tuple[LeafReport, Arrays]], heights: list[float], theirs: str) -> None:
    """One grid for all leaves, so that their panels stand below each other: a line of words and three panels each."""
    lines = [size for height in heights for size in (0.2, height)]
    grid = figure.add_gridspec(2 * len(rows), 3, height_ratios=lines)
    for k, (leaf, arrays) in enumerate(rows):
        words = figure.add_subplot(grid[2 * k, :])
        axes = [figure.add_subplot(grid[2 * k + 1, column]) for column in range(3)]
        draw_leaf(words, axes, leaf, panels_of(*arrays, theirs))


def draw_leaf(words: Any, axes: list[Any], leaf: LeafReport, panels: tuple[Panel, ...]) -> None:
    wrong = leaf.verdict not in (PASS, VACUOUS)
    text = f"{leaf.path}  {list(leaf.shape)}  {leaf.verdict}  error {leaf.error:.1e}"
    style = {"fontsize": SMALL + 2, "fontweight": "bold", "color": "firebrick" if wrong else "black"}
    words.text(0, 0, text, **style)
    words.axis("off")
    for column, (each, panel) in enumerate(zip(axes, panels, strict=True)):
        image = draw_panel(each, panel)
        if image is None:
            continue
        if column > 0:
            each.yaxis.set_visible(panels[0].words != "")
            draw_scale(each, panel, image)
        if wrong and leaf.worst:
            mark(each, leaf.worst, panel.values.shape)


def panels_of(candidate: Any, reference: Any, theirs: str) -> tuple[Panel, Panel, Panel]:
    """Yours, `theirs` and the error, with what they are drawn on; `yours` is None where nothing comparable came."""
    reference = np.asarray(reference, np.float64)
    empty = "" if reference.size else "no elements"
    if candidate is None:
        words = "nothing that can be compared\nwas returned for this leaf"
        own = Panel("yours", reference, 0.0, words=empty or words)
        error = Panel(f"|yours - {theirs}|", reference, 0.0, words=empty or "no error to draw")
        return own, Panel(theirs, reference, largest_finite(reference), words=empty), error
    candidate = np.asarray(candidate, np.float64)
    with np.errstate(all="ignore"):
        gap = np.abs(candidate - reference)
    largest = max(largest_finite(candidate), largest_finite(reference))
    equal = "" if np.any(gap != 0) else "equal to the last bit"
    return (
        Panel("yours", candidate, largest, words=empty),
        Panel(theirs, reference, largest, words=empty),
        Panel(f"|yours - {theirs}|", gap, largest_finite(gap), signed=False, words=empty or equal),
    )


def largest_finite(values: np.ndarray) -> float:
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


# One panel.


def draw_panel(axes: Any, panel: Panel) -> Any:
    """The image of a panel, or None and its words. What is drawn is relative to the largest value of the scale, so
    that no value is too large or too small for matplotlib."""
    from matplotlib import colormaps

    odd = int(np.sum(~np.isfinite(panel.values))) if not panel.words else 0
    axes.set_title(panel.title + f" ({odd} not finite: black)" * bool(odd), fontsize=SMALL + 1)
    if panel.words:
        axes.text(0.5, 0.5, panel.words, ha="center", va="center", fontsize=SMALL, color="gray")
        axes.set(xticks=[], yticks=[])
        return None
    flat = fold(panel.values)
    blocks = tuple(math.ceil(side / MOST_SIDE) for side in flat.shape)
    drawn = np.ma.masked_invalid(block_largest(flat, blocks) / (panel.largest or 1.0))
    colours = colormaps[DIVERGING if panel.signed else SEQUENTIAL].with_extremes(bad=NOT_FINITE)
    rows, columns = (side * block for side, block in zip(drawn.shape, blocks, strict=True))
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    scale = {"vmin": -1.0 if panel.signed else 0.0, "vmax": 1.0, "cmap": colours}
    image = axes.imshow(drawn, extent=extent, aspect="auto", interpolation="nearest", **scale)
    axes.set(xlim=(-0.5, flat.shape[1] - 0.5), ylim=(flat.shape[0] - 0.5, -0.5))
    label_axes(axes, panel.values.shape, blocks)
    return image


def fold(values: np.ndarray) -> np.ndarray:
    """Two dimensions of any number: the last axis across, the leading ones down."""
    return values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)


def block_largest(values: np.ndarray, blocks: tuple[int, ...]) -> np.ndarray:
    """The largest value by size of each block, with its sign; one that is not finite is larger than all."""
    sizes = [-(-side // block) for side, block in zip(values.shape, blocks, strict=True)]
    padding = [(0, n * block - side) for n, block, side in zip(sizes, blocks, values.shape, strict=True)]
    ranks = np.pad(np.where(np.isfinite(values), np.abs(values), np.inf), padding, constant_values=-1.0)
    split = (sizes[0], blocks[0], sizes[1], blocks[1])

    def grouped(whole: np.ndarray) -> np.ndarray:
        return whole.reshape(split).transpose(0, 2, 1, 3).reshape(*sizes, -1)

    chosen = np.argmax(grouped(ranks), -1, keepdims=True)
    return np.take_along_axis(grouped(np.pad(values, padding)), chosen, -1)[..., 0]


def label_axes(axes: Any, shape: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    """Which axis of the leaf runs where, with its indices; nothing for an axis of one."""
    from matplotlib.ticker import MaxNLocator

    last = max(len(shape) - 1, 0)
    leading = "axis 0" if last == 1 else f"axes 0 to {last - 1}, folded"
    down, across = (axes.yaxis, leading, math.prod(shape[:last])), (axes.xaxis, f"axis {last}", math.prod(shape[last:]))
    for (axis, name, length), block in zip((down, across), blocks, strict=True):
        axis.set_tick_params(labelsize=SMALL - 1)
        if length == 1:
            axis.set_ticks([])
            continue
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axis.set_label_text(name + f", largest of each {block}" * (block > 1), fontsize=SMALL - 1, color="gray")


def mark(axes: Any, worst: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """A circle around the worst element."""
    *leading, column = worst
    row = int(np.ravel_multi_index(leading, shape[:-1])) if leading else 0
    axes.scatter([column], [row], s=90, facecolors="none", edgecolors=MARK, linewidths=1.6, clip_on=False)


def draw_scale(axes: Any, panel: Panel, image: Any) -> None:
    """The meaning of the colours: both ends of the scale and its middle."""
    ends = (-1.0, 0.0, 1.0) if panel.signed else (0.0, 0.5, 1.0)
    ends = ends if panel.largest else (0.0,)
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_ticks(ends, labels=[f"{end * panel.largest:.3g}" for end in ends], fontsize=SMALL - 1)
