"""Plots of a report: a few panels side by side, each with one thing to see."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memctl.bench.intervals import Estimate
from memctl.bench.measures import MEASURES
from memctl.bench.report import Row
from memctl.errors import BackendMissing

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind people tell apart."""

SMALL = 0.2
"""Bleeds that are all under it are drawn on an axis that ends there: one percent is to be seen."""

NEAREST_TICKS = 0.06
"""Share of the axis by which two named ticks are apart at least."""

POWERS = 5
"""Powers of ten that are named at most: a model that an edit has ruined has a perplexity of any length."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        measures: What is drawn; several make a line each, or a bar each.
        axis: The part of a cell along the horizontal axis; of bars, that which they are named by.
        series: The part of a cell that tells lines apart, where there are several.
        where: Parts that a cell must have to be drawn.
        log: The horizontal axis is logarithmic.
    """

    title: str
    measures: tuple[str, ...]
    axis: str
    kind: Literal["lines", "bars"] = "lines"
    series: str = ""
    where: tuple[tuple[str, str], ...] = ()
    log: bool = True


def draw(panels: Sequence[Panel], rows: Sequence[Row], title: str, path: Path) -> None:
    """Writes the PNG.

    Raises:
        BackendMissing: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissing("the plots need matplotlib, which is not installed", "pip install 'memctl[bench]'") from error
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.5 * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, fontweight="bold")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for place, panel in zip(axes, panels, strict=False):
        chosen = [row for row in rows if panel.axis in row.cell and all(row.cell.get(k) == v for k, v in panel.where)]
        (_lines if panel.kind == "lines" else _bars)(place, panel, chosen)
        place.set_title(panel.title, fontsize=10.5, loc="left")
        place.spines[["top", "right"]].set_visible(False)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    figure.savefig(path, dpi=130)


def _lines(axes: Any, panel: Panel, rows: Sequence[Row]) -> None:
    labels = list(dict.fromkeys(str(row.cell[panel.series]) for row in rows)) if panel.series else [""]
    drawn = 0
    for label in labels:
        for measure in panel.measures:
            points = [
                (row.cell[panel.axis], row.values[measure])
                for row in rows
                if measure in row.values and (not panel.series or str(row.cell[panel.series]) == label)
            ]
            if not points:
                continue
            name = " ".join(part for part in (label, MEASURES[measure].label if len(panel.measures) > 1 else "") if part)
            _line(axes, sorted(points, key=lambda point: point[0]), name, measure, COLORS[drawn % len(COLORS)])
            drawn += 1
    _ticks(axes, sorted({row.cell[panel.axis] for row in rows}), panel)
    _scale(axes.yaxis, axes.set_ylim, panel)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    if drawn > 1:
        axes.legend(fontsize=8, frameon=False)


def _ticks(axes: Any, values: Sequence[Any], panel: Panel) -> None:
    """The measured places along the axis; of those that stand too close, the first is named."""
    if panel.log and len(values) > 1:
        axes.set_xscale("log")
    place = math.log if panel.log else float
    named: list[Any] = []
    for value in values:
        span = place(values[-1]) - place(values[0])
        if not named or place(value) - place(named[-1]) >= NEAREST_TICKS * span:
            named.append(value)
    axes.set_xticks(values, [f"{value:g}" if value in named else "" for value in values])
    axes.minorticks_off()
    axes.set_xlabel({"size": "facts", "attached": "facts attached"}.get(panel.axis, panel.axis))


def _line(axes: Any, points: Sequence[tuple[Any, Estimate]], name: str, measure: str, color: str) -> None:
    x, means = [place for place, _ in points], [value.mean for _, value in points]
    unedited = measure.startswith("unedited")
    style = {"color": "#888888", "linestyle": ":"} if unedited else {"color": color, "marker": "o", "markersize": 4}
    axes.plot(x, means, label=name, linewidth=1.6, **style)
    if not unedited:
        low = [value.mean if value.low is None else value.low for _, value in points]
        high = [value.mean if value.high is None else value.high for _, value in points]
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def _bars(axes: Any, panel: Panel, rows: Sequence[Row]) -> None:
    """One group of horizontal bars for each row, the first one on top, with the numbers written beside."""
    height = 0.8 / len(panel.measures)
    for number, measure in enumerate(panel.measures):
        known = [(k, row.values[measure]) for k, row in enumerate(rows) if measure in row.values]
        for k, value in known:
            at = k + (number - (len(panel.measures) - 1) / 2) * height
            axes.barh(
                at, value.mean, height * 0.9, color=COLORS[number], label=MEASURES[measure].label if k == known[0][0] else None
            )
            if value.low is not None:
                axes.plot([value.low, value.high], [at, at], color="#333333", linewidth=1)
            text = f" {MEASURES[measure].text(value.mean)}"
            axes.annotate(text, (max(value.mean, value.high or value.mean), at), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [str(row.cell[panel.axis]) for row in rows])
    axes.invert_yaxis()
    _scale(axes.xaxis, lambda low, high: axes.set_xlim(low, high + 0.16 * (high - low)), panel)
    if len(panel.measures) > 1 and axes.patches:
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=len(panel.measures))


def _scale(axis: Any, limits: Any, panel: Panel) -> None:
    """Shares from 0 to 1; costs and drift with their zero; a drift that goes through the roof in powers of ten."""
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    kinds = {MEASURES[measure].kind for measure in panel.measures}
    low, high = axis.get_data_interval()
    if not math.isfinite(high - low):  # none of the panel's measures is known
        return
    if kinds == {"share"}:
        small = all("bleed" in measure for measure in panel.measures) and high < SMALL
        top = SMALL if small else 1.0
        limits(-0.02 * top, 1.02 * top)
    elif kinds == {"percent"}:
        if max(-low, high) > 1.0:
            axis._set_axes_scale("symlog", linthresh=0.01)
            axis.get_major_locator().set_params(numticks=(POWERS + 3) // 2)  # of n it makes 2n − 3 at most
            axis.set_major_formatter(FuncFormatter(lambda value, place: f"{100 * value:g}%"))
            limits(min(low, 0) * 2, high * 2)
        else:
            axis.set_major_formatter(PercentFormatter(1.0))
            limits(min(low, 0) * 1.05, max(high, 0.001) * 1.05)
    else:
        limits(0, high * 1.05)
