"""Time series, box plots and bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array, Days
from ldas.pipeline.report.style import DIVERGING, OBSERVED, colour, hatch, line, new_figure, styled

MONTHS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D")
_WIDE = 9.0
_LEGEND_COLUMNS = 4
_LEGEND_ROW = 0.2  # inches
_CARD = (4.05, 2.0)  # inches, as wide as the maps of the first screen
_NUMBERS_MARGIN = 0.92  # inches left of an axis whose numbers may have three decimals and a sign


@dataclass(frozen=True)
class Line:
    """One line of a figure: `index` is that of its experiment (its colour and style)."""

    label: str
    values: Array
    index: int


def time_series(
    days: Days,
    lines: Sequence[Line],
    observed: Array | None,
    *,
    title: str,
    label: str,
    observed_label: str = "observed",
) -> Figure:
    """Lines (day,) and observations as points.

    Args:
        label: quantity and unit.
    """
    with styled():
        figure = new_figure(_WIDE, 3.2, left=_NUMBERS_MARGIN)
        axes = figure.subplots()
        for one in lines:
            axes.plot(days, one.values, color=colour(one.index), linestyle=line(one.index), label=one.label)
        if observed is not None:
            there = np.isfinite(observed)
            few = there.sum() < 400  # many lie so close that their rims would hide them
            axes.plot(
                days[there],
                observed[there],
                "o",
                color=OBSERVED,
                markeredgecolor="black",
                markeredgewidth=0.4 if few else 0.0,
                markersize=3.5 if few else 1.8,
                label=observed_label,
                zorder=1.5,
            )
        _time_axis(axes, days)
        axes.set_ylabel(label)
        axes.set_title(title)
        _legend_above(axes)
    return figure


def _legend_above(axes: Axes) -> None:
    """Beside the title, where it covers no data; the figure grows by the rows after the first."""
    entries = {"ncols": _LEGEND_COLUMNS, "columnspacing": 1.4, "markerscale": 1.5}
    rows = -(-len(axes.get_legend_handles_labels()[1]) // _LEGEND_COLUMNS)
    figure, box = axes.get_figure(root=True), axes.get_position()
    assert figure is not None
    width, height = figure.get_size_inches()
    grown = height + _LEGEND_ROW * max(rows - 1, 0)
    figure.set_size_inches(width, grown)
    axes.set_position((box.x0, box.y0 * height / grown, box.width, box.height * height / grown))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, **entries)


def mean_and_spread(days: Days, mean: Array, spread: Array, *, title: str, label: str) -> Figure:
    """Mean over the domain per day, with a band of one standard deviation to each side."""
    with styled():
        figure = new_figure(_WIDE, 2.6, left=_NUMBERS_MARGIN)
        axes = figure.subplots()
        there = np.isfinite(mean)
        axes.axhline(0.0, color="black", linewidth=0.8)
        few = there.sum() < 200
        axes.fill_between(days[there], (mean - spread)[there], (mean + spread)[there], color="#bcd3e6", linewidth=0)
        axes.plot(days[there], mean[there], "o-" if few else "-", color=colour(0), markersize=2.5, linewidth=0.8)
        _time_axis(axes, days)
        axes.set_ylabel(label)
        axes.set_title(title)
    return figure


def _time_axis(axes: Axes, days: Days) -> None:
    locator = mdates.AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    # Up to the last day and not to the midnight after it: a mark of the next year alone would hide which year it is.
    axes.set_xlim(days[0], max(days[-1], days[0] + np.timedelta64(1, "D")))
    axes.set_xlabel("date (UTC)")


def monthly_means(
    lines: Sequence[Line], observed: Array, *, title: str, label: str, observed_label: str = "observed"
) -> Figure:
    """Mean annual cycle: lines (12,) and observations (12,)."""
    with styled():
        figure = new_figure()
        axes = figure.subplots()
        month = np.arange(1, 13)
        axes.plot(month, observed, "o-", color=OBSERVED, markeredgecolor="black", markersize=5, label=observed_label)
        for one in lines:
            axes.plot(month, one.values, color=colour(one.index), linestyle=line(one.index), label=one.label)
        axes.set_xticks(month, MONTHS)
        axes.set_xlabel("month")
        axes.set_ylabel(label)
        axes.set_title(title)
        axes.legend()
    return figure


def gain_by_month(
    months: Days, low: Array, middle: Array, high: Array, *, heights: tuple[float, float], title: str, label: str
) -> Figure:
    """Bars of the middle of each month (month,), blue above zero and red below, with lines from low to high.

    Args:
        heights: lowest and highest value that is shown.
        label: quantity and unit.
    """
    with styled(axes__grid=False):
        figure = new_figure(*_CARD)
        axes = figure.subplots()
        whole = months.astype("datetime64[M]")
        start = whole.astype("datetime64[D]")
        width = 0.8 * ((whole + 1).astype("datetime64[D]") - start).astype(float)
        centre = start + 14
        shades = [DIVERGING(0.9 if value < 0.0 else 0.1) for value in np.nan_to_num(middle)]
        axes.bar(centre, middle, width, color=shades, linewidth=0)
        axes.vlines(centre, low, high, color="black", linewidth=0.8)
        axes.axhline(0.0, color="black", linewidth=0.8)
        margin = 0.05 * (heights[1] - heights[0])
        axes.set_ylim(heights[0] - margin, heights[1] + margin)
        _time_axis(axes, np.array([start[0], start[-1] + 31]))
        axes.set_xlabel("")
        axes.set_ylabel(label)
        axes.set_title(title)
    return figure


def by_step(
    lines: Sequence[Line], *, title: str, label: str, x_label: str = "days from the analysis", zero: bool = False
) -> Figure:
    """A score by steps 1, 2, ... such as the days from the analysis: lines (step,).

    Args:
        zero: draw a line at zero, and at least from -0.2 to 0.2 (correlations).
    """
    with styled():
        figure = new_figure()
        axes = figure.subplots()
        if zero:
            axes.axhline(0.0, color="black", linewidth=0.8)
        for one in lines:
            steps = np.arange(1, len(one.values) + 1)
            style = {"color": colour(one.index), "linestyle": line(one.index)}
            axes.plot(steps, one.values, marker="o", markersize=3.5, label=one.label, **style)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = axes.get_ylim()
        if zero:
            low, high = min(low, -0.2), max(high, 0.2)
        axes.set_ylim(low, high + 0.15 * (high - low))  # room for the legend, which would hide lines
        axes.set_xlabel(x_label)
        axes.set_ylabel(label)
        axes.set_title(title)
        axes.legend(loc="upper right", ncols=2)
    return figure


def found_against_expected(pairs: Sequence[tuple[Line, Array]], *, title: str, label: str, y_label: str) -> Figure:
    """Pairs of what is expected (a line) and found, with the line of equality; both axes have one scale.

    Args:
        label: of what is expected, along x.
    """
    with styled():
        figure = new_figure()
        axes = figure.subplots()
        values = np.concatenate([part for one, found in pairs for part in (one.values, found)])
        highest = 1.08 * float(np.nanmax(values, initial=0.0)) or 1.0
        axes.plot([0.0, highest], [0.0, highest], color="black", linewidth=0.8)
        for one, found in pairs:
            style = {"color": colour(one.index), "linestyle": line(one.index)}
            axes.plot(one.values, found, marker="o", markersize=3.5, label=one.label, **style)
        axes.set_xlim(0.0, highest)
        axes.set_ylim(0.0, highest)
        axes.set_xlabel(label)
        axes.set_ylabel(y_label)
        axes.set_title(title)
        axes.legend(loc="lower right")
    return figure


def boxes_by_month(groups: Sequence[Line], *, title: str, label: str) -> Figure:
    """Boxes (minimum, quartiles, maximum) per month side by side; the values of each group are (sample, 12)."""
    with styled():
        figure = new_figure(_WIDE, 3.4)
        axes = figure.subplots()
        width = 0.8 / len(groups)
        for place, group in enumerate(groups):
            samples = [column[np.isfinite(column)] for column in group.values.T]
            positions = np.arange(1, 13) + (place - (len(groups) - 1) / 2) * width
            _boxes(axes, samples, positions, 0.85 * width, group.index)
            axes.bar(np.nan, np.nan, color=colour(group.index), hatch=hatch(group.index), label=group.label)
        axes.set_xticks(range(1, 13), MONTHS)
        axes.set_xlim(0.5, 12.5)
        axes.set_xlabel("month")
        axes.set_ylabel(label)
        axes.set_title(title)
        _legend_above(axes)
    return figure


def boxes(
    samples: Sequence[Array],
    labels: Sequence[str],
    *,
    title: str,
    label: str,
    x_label: str,
    bold: str | None = None,
    level: tuple[float, str] | None = None,
) -> Figure:
    """One box (minimum, quartiles, maximum) per sample.

    Args:
        bold: the label that is set in bold.
        level: (value, name).
    """
    with styled():
        height = 3.7 if len(samples) <= 6 else 4.1
        figure = new_figure(max(4.6, 0.42 * len(samples) + 1.6), height)
        figure.subplots_adjust(bottom=(height - 2.88) / height)  # room for labels that are turned
        axes = figure.subplots()
        finite = [np.asarray(sample)[np.isfinite(sample)] for sample in samples]
        _boxes(axes, finite, np.arange(1, len(samples) + 1), 0.6, 0)
        axes.set_xticks(range(1, len(samples) + 1), labels, rotation=45 if len(samples) > 6 else 0)
        for text in axes.get_xticklabels():
            text.set_fontweight("bold" if text.get_text() == bold else "normal")
        if level is not None:
            axes.axhline(level[0], color="#d55e00", linestyle="--", label=level[1])
            axes.legend()
        axes.set_xlabel(x_label)
        axes.set_ylabel(label)
        axes.set_title(title)
    return figure


def _boxes(axes: Axes, samples: Sequence[Array], positions: NDArray[Any], width: float, index: int) -> None:
    drawn = axes.boxplot(
        samples,
        positions=positions,
        widths=width,
        whis=(0, 100),
        patch_artist=True,
        manage_ticks=False,
        medianprops={"color": "black", "linewidth": 1.4},
        whiskerprops={"linewidth": 0.7},
        capprops={"linewidth": 0.7},
    )
    for box in drawn["boxes"]:
        box.set(facecolor=colour(index), hatch=hatch(index), edgecolor="black", linewidth=0.6)


def bars(values: dict[str, dict[str, float]], *, title: str, label: str) -> Figure:
    """Groups of horizontal bars: name of the term -> experiment -> value."""
    experiments = list(dict.fromkeys(name for group in values.values() for name in group))
    with styled():
        figure = new_figure(4.8, 0.9 + 0.24 * len(values) * max(len(experiments), 1.5))
        figure.subplots_adjust(left=1.4 / 4.8)  # room for the names of the terms
        axes = figure.subplots()
        height = 0.8 / max(len(experiments), 1)
        for place, experiment in enumerate(experiments):
            positions = np.arange(len(values)) + (place - (len(experiments) - 1) / 2) * height
            numbers = [group.get(experiment, np.nan) for group in values.values()]
            axes.barh(
                positions,
                numbers,
                0.92 * height,
                color=colour(place),
                hatch=hatch(place),
                edgecolor="black",
                linewidth=0.4,
                label=experiment,
            )
        axes.set_yticks(range(len(values)), [name.replace("_", " ") for name in values])
        axes.invert_yaxis()
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(label)
        axes.set_title(title)
        if len(experiments) > 1:
            axes.legend()
    return figure
