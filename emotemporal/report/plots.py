"""Pictures of how far a network can be trusted.

Drawn through matplotlib's objects alone: no window system, and no state shared between figures.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter

from emotemporal.files import replacing
from emotemporal.labelling.calibration import RiskCoverage, reliability_bins
from emotemporal.report.palette import INK, emotion_colour

_DPI = 150
_INK = tuple(value / 255 for value in INK)
_FAINT = "#b0b5bd"
# Curves stand for no emotion: other hues, told apart by their dashes too (Tol 2021, "Colour Schemes").
_CURVES = (("#4477aa", "-"), ("#aa3377", "--"), ("#228833", "-."), ("#bb5500", ":"))
_PANELS_IN_ROW = 3
# Before it so few faces are kept that each makes a risk-coverage curve jump.
_FIRST_COVERAGE = 0.02


def plot_confusion(
    confusion: np.ndarray | Sequence[Sequence[int]], labels: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw a confusion matrix: in each cell the share of its row, and below it the count.

    Args:
        confusion: int (C, C), rows of truth, columns of what was predicted.
        labels: the C emotions.
        title: above the matrix.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"expected counts ({len(labels)}, {len(labels)}), found {counts.shape}")
    support = counts.sum(axis=1)
    shares = np.divide(counts, support[:, None], out=np.zeros(counts.shape), where=support[:, None] > 0)
    side = 1.9 + 0.68 * len(labels)
    figure, axes = _figure(side + 0.3, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.65 else _INK
        if support[row]:
            axes.text(column, row - 0.12, f"{share:.0%}", ha="center", va="center", color=colour)
        count = f"{counts[row, column]}"
        axes.text(column, row + 0.25, count, ha="center", va="center", color=colour, fontsize=7)
    at = np.arange(len(labels))
    axes.set_xticks(at, labels, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(at, [f"{name} ({num})" for name, num in zip(labels, support, strict=True)])
    axes.tick_params(length=0, pad=13)
    axes.spines[:].set_visible(False)
    # A swatch of each emotion's own colour between its name and its row or column.
    colours = [tuple(value / 255 for value in emotion_colour(name)) for name in labels]
    for x, y in ((np.full(len(labels), -0.62), at), (at, np.full(len(labels), len(labels) - 0.38))):
        axes.scatter(x, y, s=49, c=colours, marker="s", edgecolors=_FAINT, linewidths=0.5, clip_on=False)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (number)")
    axes.set_title(title, fontsize=11)
    return figure


def plot_risk_coverage(curves: Mapping[str, RiskCoverage], *, title: str = "") -> Figure:
    """Draw the errors among the kept faces against the share kept, the least confident set aside first.

    Args:
        curves: name -> curve, as `risk_coverage` finds it; beyond four the lines look alike.
        title: above the axes.
    """
    figure, axes = _figure(6.2, 4.2)
    for (name, curve), (colour, dashes) in zip(curves.items(), cycle(_CURVES), strict=False):
        shown = f"{name} (AURC {curve.aurc:.3f})"
        shows = curve.coverage >= _FIRST_COVERAGE
        axes.plot(
            curve.coverage[shows],
            curve.risk[shows],
            dashes,
            color=colour,
            label=shown,
            drawstyle="steps-post",
        )
        axes.annotate(
            f"{curve.risk[-1]:.1%}",
            (1, curve.risk[-1]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )
    axes.set_xlim(0, 1)
    top = max(float(np.asarray(line.get_ydata()).max()) for line in axes.lines)
    axes.set_ylim(0, max(1.1 * top, 0.01))
    axes.set_xlabel("coverage: share of faces kept, the most confident first")
    axes.set_ylabel("errors among the kept faces")
    _percent(axes.xaxis, 0.2)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, loc="upper left")
    axes.set_title(title, fontsize=11)
    return figure


def plot_reliability(
    probs: np.ndarray, labels: np.ndarray, *, title: str = "", items: str = "faces"
) -> Figure:
    """Draw accuracy against confidence in 15 bins, and how many items each bin holds.

    Args:
        probs: (N, C), rows sum to 1.
        labels: int (N,), true classes in [0, C).
        title: above the axes.
        items: what they are, in the plural.
    """
    bins = reliability_bins(probs, labels)
    held = bins.num > 0
    edges = np.linspace(0, 1, len(bins.num) + 1)
    width = edges[1]
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for axes in (upper, lower):
        _plain(axes)
    colour = _CURVES[0][0]
    upper.plot([0, 1], [0, 1], color=_FAINT, lw=1, label="confidence = accuracy")
    upper.bar(edges[:-1][held], bins.accuracy[held], width, align="edge", color=colour, alpha=0.25)
    # Two standard errors of a share: bins of few items say little.
    spread = 2 * np.sqrt(bins.accuracy * (1 - bins.accuracy) / np.maximum(bins.num, 1))[held]
    upper.errorbar(
        bins.confidence[held],
        bins.accuracy[held],
        spread,
        fmt="o",
        ms=4,
        color=colour,
        elinewidth=1,
        label=f"{items} of a bin",
    )
    upper.set_ylim(0, 1)
    upper.set_ylabel("accuracy (± 2 standard errors)")
    # On white: few items in a bin of low confidence can be all right, and reach up to here.
    upper.legend(
        loc="upper left",
        title=f"ECE {bins.expected_error:.3f}",
        alignment="left",
        framealpha=0.85,
        edgecolor="none",
    )
    upper.set_title(title, fontsize=11)
    lower.bar(edges[:-1], bins.num / bins.num.sum(), width, align="edge", color=colour, alpha=0.6)
    lower.set_xlim(0, 1)
    lower.set_ylabel(f"share of {items}")
    lower.set_xlabel("confidence")
    for axis in (upper.yaxis, lower.xaxis):
        _percent(axis, 0.2)
    lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def plot_robustness(
    panels: Mapping[str, Sequence[tuple[str, float]]], *, constant: float | None = None, title: str = ""
) -> Figure:
    """Draw accuracy against severity, one small plot for each corruption, all to one scale.

    Args:
        panels: heading (its second line says what the levels measure) -> name of the level and accuracy, by
            severity, the clean faces first.
        constant: accuracy of always guessing the most frequent emotion.
        title: above all.
    """
    num_rows = -(-len(panels) // _PANELS_IN_ROW)
    figure = Figure(figsize=(2.7 * _PANELS_IN_ROW, 2.3 * num_rows + 0.4), layout="constrained")
    grid = figure.subplots(num_rows, _PANELS_IN_ROW, sharey=True, squeeze=False)
    colour = _CURVES[0][0]
    for axes, (heading, points) in zip(grid.flat, panels.items(), strict=False):
        _plain(axes)
        names, accuracies = zip(*points, strict=True)
        at = np.arange(len(points))
        axes.axhline(accuracies[0], color=_FAINT, lw=1)
        if constant is not None:
            axes.axhline(constant, color=_FAINT, lw=1, ls=":")
        axes.plot(at, accuracies, "o-", color=colour, ms=4)
        # The first above the curve and the last below it: accuracy falls.
        for i, above_pt in ((0, 6), (len(points) - 1, -13)):
            axes.annotate(
                f"{accuracies[i]:.0%}",
                (i, accuracies[i]),
                xytext=(0, above_pt),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.set_xticks(at, names, fontsize=8)
        axes.margins(x=0.1)
        axes.set_title(heading, fontsize=9)
        axes.set_ylim(0, 1)
        _percent(axes.yaxis, 0.25)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    figure.supylabel("accuracy", fontsize=10)
    figure.suptitle(title, fontsize=11)
    return figure


def render_figure(figure: Figure, *, dpi: int = _DPI) -> np.ndarray:
    """Return a figure's pixels as uint8 (H, W, 3) RGB."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: str | Path, *, comment: str = "") -> None:
    """Write a figure in the format of the path's suffix, whole or not at all; folders are made.

    Args:
        comment: kept in a PNG's text of that name; other formats have no place for it.
    Raises:
        OutputError: it cannot be written; `path` is then as it was before.
    """
    with replacing(path) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        noted = comment and temporary.suffix.lower() == ".png"
        figure.savefig(temporary, dpi=_DPI, metadata={"Comment": comment} if noted else None)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with one plain pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _percent(axis: Axis, step: float) -> None:
    axis.set_major_locator(MultipleLocator(step))
    axis.set_major_formatter(PercentFormatter(1, decimals=0))
