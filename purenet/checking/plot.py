"""A picture of a report: your gradient beside jax.grad's, and where they differ.

A row a leaf, the worst first: yours and jax.grad's on one diverging scale symmetric about 0, so that a transposed, a
shifted or a scaled gradient is seen for what it is, and the error on a scale of its own, which shows where it sits: in
a row, in a column, at the border or everywhere.
"""

from __future__ import annotations

import math
import os
import textwrap
from typing import Any, NamedTuple

import numpy as np

from .report import PASS, VACUOUS, WORST_FIRST, LeafReport, Report

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


def plot_report(report: Report, path: str | os.PathLike[str] | None = None) -> Any:
    """The figure of a report; saved if a path is given, in the format that its ending names.

    At most six leaves are drawn. A leaf of any rank is folded to two dimensions, the last axis across and the leading
    ones down; of more than 200 values a side, each block is drawn by its largest. Values that are not finite are black,
    and a circle stands where a wrong leaf is worst. No state of matplotlib or pyplot changes.
    """
    new_figure = figure_class()
    chosen = worst_first(report)[:MOST_LEAVES]
    left_out = len(report.arrays) - len(chosen)
    title = textwrap.fill(report.summary, 105) + f"\n{left_out} more leaves, none worse, are not drawn" * (left_out > 0)
    heights = [height(leaf.shape) for leaf, _ in chosen] or [0.8]
    figure = new_figure(figsize=(WIDTH, sum(heights) + 0.25 * (2 + title.count("\n"))), layout="constrained")
    figure.suptitle(title, fontsize=SMALL + 3)
    if not chosen:
        figure.text(0.5, 0.3, "the report holds no arrays to draw", ha="center", color="gray")
    else:
        rows = figure.subfigures(len(chosen), 1, squeeze=False, height_ratios=heights)[:, 0]
        for row, (leaf, arrays) in zip(rows, chosen, strict=True):
            draw_leaf(row, leaf, *arrays)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plotting a report needs matplotlib: pip install 'purenet[examples]'") from error
    return Figure


def worst_first(report: Report) -> list[tuple[LeafReport, tuple[Any, Any]]]:
    """The leaves with their arrays: the worst verdict and in it the largest error first."""

    def order(row: tuple[LeafReport, Any]) -> tuple[int, float]:
        leaf = row[0]
        return WORST_FIRST.index(leaf.verdict), -math.inf if math.isnan(leaf.error) else -leaf.error

    return sorted(zip(report.leaves, report.arrays, strict=False), key=order)


def height(shape: tuple[int, ...]) -> float:
    """Inches for the row of a leaf: fewer for one that folds to a single line."""
    return 1.5 if math.prod(shape[:-1]) == 1 else 3.0


def draw_leaf(row: Any, leaf: LeafReport, yours: Any, truth: Any) -> None:
    """A row: three panels, the first two on one scale."""
    wrong = leaf.verdict not in (PASS, VACUOUS)
    text = f"{leaf.path}  {list(leaf.shape)}  {leaf.verdict}  error {leaf.error:.1e}"
    row.suptitle(text, fontsize=SMALL + 2, fontweight="bold", color="firebrick" if wrong else "black")
    axes = row.subplots(1, 3)
    panels = panels_of(yours, truth)
    images = [draw_panel(each, panel) for each, panel in zip(axes, panels, strict=True)]
    for each, panel, image in zip(axes, panels, images, strict=True):
        if image is not None and wrong and leaf.worst:
            mark(each, leaf.worst, panel.values.shape)
    if images[1] is not None:
        add_scale(row, images[1], list(axes[:2]), panels[1])
    if images[2] is not None:
        add_scale(row, images[2], [axes[2]], panels[2])


def panels_of(yours: Any, truth: Any) -> tuple[Panel, Panel, Panel]:
    """Yours, jax.grad's and the error, with what they are drawn on; `yours` is None where nothing comparable came."""
    truth = np.asarray(truth, np.float64)
    empty = "" if truth.size else "no elements"
    if yours is None:
        words = "nothing that can be compared\nwas returned for this leaf"
        mine = Panel("yours", truth, 0.0, words=empty or words)
        error = Panel("|yours - jax.grad's|", truth, 0.0, words=empty or "no error to draw")
        return mine, Panel("jax.grad's", truth, largest_finite(truth), words=empty), error
    yours = np.asarray(yours, np.float64)
    with np.errstate(all="ignore"):
        gap = np.abs(yours - truth)
    largest = max(largest_finite(yours), largest_finite(truth))
    return (
        Panel("yours", yours, largest, words=empty),
        Panel("jax.grad's", truth, largest, words=empty),
        Panel("|yours - jax.grad's|", gap, largest_finite(gap), signed=False, words=empty),
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
    extent, aspect = (-0.5, columns - 0.5, rows - 0.5, -0.5), "equal" if 1 / 4 <= rows / columns <= 4 else "auto"
    scale = {"vmin": -1.0 if panel.signed else 0.0, "vmax": 1.0, "cmap": colours}
    image = axes.imshow(drawn, extent=extent, aspect=aspect, interpolation="nearest", **scale)
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

    leading = "axis 0" if len(shape) == 2 else f"axes 0 to {len(shape) - 2}, folded"
    sides = ((axes.yaxis, math.prod(shape[:-1]), leading), (axes.xaxis, (*shape, 1)[max(len(shape) - 1, 0)], ""))
    for axis, length, label in sides:
        block = blocks[0] if axis is axes.yaxis else blocks[1]
        name = label or f"axis {len(shape) - 1}"
        axis.set_tick_params(labelsize=SMALL - 1)
        if length == 1:
            axis.set_ticks([])
            continue
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axis.set_label_text(name + f", the largest of each {block}" * (block > 1), fontsize=SMALL - 1, color="gray")


def mark(axes: Any, worst: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """A circle around the worst element."""
    row = int(np.ravel_multi_index(worst[:-1], shape[:-1])) if len(worst) > 1 else 0
    axes.scatter([worst[-1]], [row], s=90, facecolors="none", edgecolors=MARK, linewidths=1.6)


def add_scale(row: Any, image: Any, axes: list[Any], panel: Panel) -> None:
    """The colours' meaning: both ends of the scale and its middle."""
    bar = row.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    ends = (-1.0, 0.0, 1.0) if panel.signed else (0.0, 0.5, 1.0)
    bar.set_ticks(ends, labels=[f"{end * (panel.largest or 1.0):.3g}" for end in ends], fontsize=SMALL - 1)
