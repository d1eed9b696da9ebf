"""The two Bokeh plots of the interactive part of a report, without numbers: `interactive.js` fills them."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from ldas.landmodel.array_types import Array, Days
from ldas.pipeline.report.style import DIVERGING, SEQUENTIAL

Limits = tuple[float, float]
PALETTE = 64
_MARK = 9  # points, of a cell on no grid
_LONGEST, _TALLEST = 3.2, 0.9  # width over height of the map's frame


def map_plot(
    latitude: Array, longitude: Array, spacing: float | None, stations: Sequence[tuple[str, float, float]]
) -> dict[str, Any]:
    """Squares around cell centres (degrees) with a colour bar; stations as circles.

    Args:
        spacing: degrees from cell to cell; None for cells on no grid, which are marks of one size.
    """
    from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper, Range1d
    from bokeh.plotting import figure

    extent = max(float(np.ptp(latitude)), float(np.ptp(longitude)))
    x, y, ratio = _ranges(latitude, longitude, 0.75 * spacing if spacing else 0.03 * extent)
    plot = figure(
        x_range=Range1d(*x), y_range=Range1d(*y), aspect_ratio=ratio, sizing_mode="stretch_width",
        min_height=220, max_height=520, tools="pan,wheel_zoom,box_zoom,tap,reset", name="plot", title="Map",
        background_fill_color="#d3d7db", x_axis_label="longitude (°E)", y_axis_label="latitude (°N)",
    )  # fmt: skip
    plot.grid.visible = False
    plot.toolbar.logo = None
    colours = LinearColorMapper(
        palette=palettes()["sequential"], low=0.0, high=1.0, nan_color="#ffffff", name="colours"
    )
    cells = ColumnDataSource({"x": [], "y": [], "value": [], "text": [], "place": []}, name="cells")
    shade = {"field": "value", "transform": colours}
    look = {"fill_color": shade, "line_color": shade, "line_width": 0.3}
    same = {"nonselection_fill_alpha": 1.0, "nonselection_line_alpha": 1.0}
    chosen = ColumnDataSource({"x": [], "y": []}, name="chosen")
    outline = {"fill_alpha": 0.0, "line_color": "black", "line_width": 2.5}
    if spacing is None:
        mark = {"marker": "square", "size": _MARK}
        squares = plot.scatter("x", "y", source=cells, **look, **same, **mark)
        plot.scatter("x", "y", source=chosen, **outline, **mark)
    else:
        size = {"width": spacing, "height": spacing}
        squares = plot.rect("x", "y", source=cells, **look, **same, **size)
        plot.rect("x", "y", source=chosen, **outline, **size)
    if stations:
        places = {"x": [one[2] for one in stations], "y": [one[1] for one in stations]}
        plot.scatter("x", "y", source=ColumnDataSource(places), size=5, fill_color="white", line_color="black")
    plot.add_tools(HoverTool(renderers=[squares], tooltips=[("", "@place"), ("", "@text")]))
    plot.add_layout(ColorBar(color_mapper=colours, width=12), "right")
    return _item(plot)


def series_plot(lines: Sequence[dict[str, Any]], days: Days) -> dict[str, Any]:
    """One line, or points, for each label over these days, with a legend that shows and hides them."""
    from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, Legend, LegendItem, Range1d
    from bokeh.plotting import figure

    first, last = (int(day.astype("datetime64[ms]").astype(np.int64)) for day in (days[0], days[-1] + 1))
    plot = figure(
        x_range=Range1d(first, last), y_range=DataRange1d(only_visible=True), x_axis_type="datetime", height=330,
        sizing_mode="stretch_width", tools="xpan,xwheel_zoom,box_zoom,reset", name="plot", title="Series",
    )  # fmt: skip
    plot.toolbar.logo = None
    items = []
    for line in lines:
        source = ColumnDataSource({"x": [first], "y": [0]}, name=f"line {line['label']}")
        look = {"source": source, "visible": line["shown"], "name": line["label"]}
        if line.get("points"):
            look |= {"size": 5, "fill_color": line["colour"], "line_color": "black", "line_width": 0.4}
            drawn = plot.scatter("x", "y", **look)
        else:
            dash = "dashed" if line.get("dashed") else "solid"
            drawn = plot.line("x", "y", line_color=line["colour"], line_dash=dash, line_width=1.5, **look)
        items.append(LegendItem(label=line["label"], renderers=[drawn]))
    place = {"border_line_width": 0, "padding": 2, "margin": 2, "location": "left"}
    plot.add_layout(Legend(items=items, click_policy="hide", ncols=4, name="legend", **place), "above")
    tooltips = [("", "$name"), ("", "@x{%F}"), ("", "@y{0.000}")]
    plot.add_tools(HoverTool(tooltips=tooltips, formatters={"@x": "datetime"}))
    return _item(plot)


@cache
def palettes() -> dict[str, list[str]]:
    """Colours of maps, from low to high."""
    steps = np.linspace(0.0, 1.0, PALETTE)
    return {
        "sequential": [to_hex(shade) for shade in SEQUENTIAL(steps)],
        "diverging": [to_hex(shade) for shade in DIVERGING.reversed()(steps)],
    }


@cache
def bokeh_library() -> str:
    """BokehJS, without widgets: what a page needs to draw plots."""
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw).replace("\r\n", "\n")


def _ranges(latitude: Array, longitude: Array, margin: float) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Ranges of x and y, margin (degrees) included, and width over height of the frame, so that a cell has its
    proportions on the ground."""
    stretch = 1.0 / max(float(np.cos(np.deg2rad(latitude.mean()))), 0.1)
    centre = [float(axis.min() + axis.max()) / 2.0 for axis in (longitude, latitude)]
    width, height = (float(np.ptp(axis)) + 2.0 * margin for axis in (longitude, latitude))
    ratio = float(np.clip(width / (height * stretch), _TALLEST, _LONGEST))
    width, height = max(width, ratio * height * stretch), max(height, width / (ratio * stretch))
    x, y = ((middle - size / 2.0, middle + size / 2.0) for middle, size in zip(centre, (width, height), strict=True))
    return x, y, ratio


def _item(plot: Any) -> dict[str, Any]:
    """A plot as JSON. Its parts are numbered from 1, whatever was drawn before: the same plot has the same bytes."""
    from bokeh.embed import json_item

    numbers: dict[str, str] = {}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: numbers.setdefault(item, str(len(numbers) + 1)) if key == "id" else renamed(item)
                for key, item in value.items()
            }
        return [renamed(item) for item in value] if isinstance(value, list) else value

    item: dict[str, Any] = renamed(dict(json_item(plot)))
    item["root_id"] = numbers[item["root_id"]]
    return item
