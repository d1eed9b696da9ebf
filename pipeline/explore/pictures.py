"""Maps, series and profiles as HoloViews draws them."""

from collections.abc import Callable, Sequence
from typing import Any

import holoviews as hv
import numpy as np
from bokeh.models import BasicTickFormatter, DatetimeTickFormatter, HoverTool
from holoviews.operation.datashader import rasterize
from matplotlib.colors import Colormap, to_hex

from ldas.pipeline.evaluation.stations import Station
from ldas.pipeline.explore.maps import Map
from ldas.pipeline.explore.series import TRUTH, CellSeries, Line, Points, Profile
from ldas.pipeline.report.maps import colour_limits
from ldas.pipeline.report.sentences import shown_unit
from ldas.pipeline.report.style import DIVERGING, OBSERVED, SEQUENTIAL, colour
from ldas.pipeline.store.layout import Grid
from ldas.pipeline.store.layout import Points as Scattered

MOST_SENT = 200_000  # places of a map that the browser gets as they are; of more, an image of what is in view
MAP_TOOLS = ["pan", "wheel_zoom", "box_zoom", "reset", "save"]
_GREY = "#8a8f94"
_LAND = "#d3d7db"  # behind the cells: darker than the middle of the differences
_STATION = "#7b4a12"
_DASHES = {"free": "solid", "analysis": "solid", "forecast": "dashed", "truth": "dotted", "station": "solid"}


def _colours(map_: Colormap) -> list[str]:
    return [to_hex(one) for one in map_(np.linspace(0.0, 1.0, 256))]


_SEQUENTIAL, _DIVERGING = _colours(SEQUENTIAL), _colours(DIVERGING)


def named(name: str, unit: str) -> str:
    """A name with its unit, as on an axis."""
    return f"{name} ({shown_unit(unit)})" if shown_unit(unit) else name


def limits_of(shown: Map) -> tuple[float, float]:
    """Limits of the colours of a map: the middle 96 % of its values, about zero where they are signed."""
    return colour_limits(shown.values, shown.signed)


def map_element(shown: Map, grid: Grid | Scattered, limits: tuple[float, float]) -> hv.Element:
    """A map as an image of a regular grid, or as points."""
    vdim = hv.Dimension("value", label=named(shown.name, shown.unit))
    kdims = [hv.Dimension("longitude", unit="°E"), hv.Dimension("latitude", unit="°N")]
    drawn: hv.Element
    if isinstance(grid, Scattered):
        drawn = hv.Points((grid.longitude, grid.latitude, shown.values), kdims, vdim)
    else:
        drawn = hv.Image((grid.longitude, grid.latitude, grid.on_map(shown.values, np.nan)), kdims, vdim)
    return drawn.opts(clim=limits)


def map_picture(
    draw: Callable[..., hv.Element], streams: Sequence[Any], shown: Map, grid: Grid | Scattered, stretch: float
) -> hv.DynamicMap:
    """The map of what `draw` gives whenever one of the streams changes, looking as `shown` asks for.

    Args:
        stretch: of the latitude, so that a kilometre is as long in both directions.
    """
    picture = hv.DynamicMap(draw, streams=list(streams))
    colours = _SEQUENTIAL
    if shown.signed:
        colours = _DIVERGING[::-1] if shown.more_is_better else _DIVERGING
    hover = _hover(shown.name, "@image", "$y", "$x")
    look: dict[str, Any] = {
        "cmap": colours,
        "colorbar": True,
        "colorbar_opts": {
            "title": named(shown.name, shown.unit),
            "width": 14,
            "formatter": BasicTickFormatter(power_limit_low=-4),
        },
        "clipping_colors": {"NaN": "rgba(0,0,0,0)"},
        "responsive": True,
        "min_height": 260,
        "data_aspect": stretch,
        "bgcolor": _LAND,
        "show_title": False,
        "active_tools": ["wheel_zoom"],
        "default_tools": MAP_TOOLS,
        "toolbar": "above",
    }
    if grid.places > MOST_SENT:
        rastered = rasterize(picture, **({} if isinstance(grid, Grid) else {"aggregator": "mean"}))
        return rastered.opts(hv.opts.Image(tools=[hover], **look))
    if isinstance(grid, Scattered):
        points = {"color": "value", "size": 9, "line_color": "black", "line_width": 0.4}
        tools = [_hover(shown.name, "@value", "@latitude", "@longitude")]
        return picture.opts(hv.opts.Points(tools=tools, **points, **look))
    return picture.opts(hv.opts.Image(tools=[hover], **look))


def _hover(name: str, value: str, north: str, east: str) -> HoverTool:
    tooltips = [(name, f"{value}{{%.4g}}"), ("latitude", f"{north}{{%.3f°}}"), ("longitude", f"{east}{{%.3f°}}")]
    return HoverTool(tooltips=tooltips, formatters=dict.fromkeys((value, north, east), "printf"))


def cell_mark(latitude: float, longitude: float) -> hv.Points:
    """The chosen cell."""
    return hv.Points([(longitude, latitude)], ["longitude", "latitude"]).opts(
        color="white", fill_alpha=0.0, line_color="black", line_width=2.5, size=15, marker="square"
    )


def station_marks(stations: Sequence[Station]) -> hv.Points:
    """Stations with their codes."""
    places = [(one.longitude, one.latitude, one.code) for one in stations]
    hover = HoverTool(tooltips=[("station", "@code")])
    return hv.Points(places, ["longitude", "latitude"], "code").opts(
        marker="triangle", color="white", line_color="black", size=8, tools=[hover]
    )


# --- series ------------------------------------------------------------------------------------------------------

TIME_TOOLS = ["xpan", "xwheel_zoom", "box_zoom", "reset", "save"]
_LEGEND = {
    "click_policy": "hide",
    "padding": 2,
    "spacing": 6,
    "margin": 0,
    "border_line_alpha": 0.0,
    "background_fill_alpha": 0.0,
}
_DATES = DatetimeTickFormatter(years="%Y", months="%b\n%Y", days="%d %b\n%Y")
_FIGURE: dict[str, Any] = {
    "responsive": True,
    "show_grid": True,
    "legend_position": "top",
    "legend_cols": 2,
    "legend_opts": _LEGEND,
    "xlabel": "",
    "fontsize": {"title": 9, "legend": 8, "labels": 10, "ticks": 8},
}
_HEIGHTS = {"value": 250, "increment": 190, "innovation": 190}  # pixels, without the legend
_LEGEND_ROW = 25


def parts_of(series: CellSeries) -> list[str]:
    """The figures of a cell: the quantity, its increments and the innovations, where there are any."""
    return ["value", *(["increment"] if series.increments else []), *(["innovation"] if series.innovations else [])]


def structure_of(series: CellSeries) -> tuple[object, ...]:
    """What two cells must have in common for one figure to be drawn for the other."""
    drawn = (series.lines, series.observed, series.increments, series.innovations)
    unused = tuple(bool(one.codes.any()) for one in (*series.observed, *series.innovations))
    return (series.quantity, unused, *(tuple(one.label for one in part) for part in drawn))


def series_picture(stream: Any, day: Any, series: CellSeries) -> tuple[hv.Layout, hv.DynamicMap]:
    """The figures of a cell one below the other, with one time axis; drawn anew whenever the stream has the series of
    another cell of the same structure. And the first of them alone, for clicks.

    Args:
        day: stream of the day that a line marks.
    """
    alone = f", {series.increments[0].label}" if len(series.increments) == 1 else ""
    titles = {
        "value": (series.long_name, named(series.quantity, series.unit)),
        "increment": (f"analysis increments of {series.quantity}{alone}", named("increment", series.unit)),
        "innovation": ("innovations: observation minus forecast", "innovation"),
    }
    mark = hv.DynamicMap(lambda data: hv.VLine(data).opts(color=_GREY, line_width=1), streams=[day])
    figures, marked = [], []
    for part in parts_of(series):
        title, axis = titles[part]
        look = {**_FIGURE, "title": title, "ylabel": axis, "height": _HEIGHTS[part]}
        if part == "value":
            look["height"] += _LEGEND_ROW * -(-len(_overlay(series, part)) // look["legend_cols"])
        look["show_legend"] = not (part == "increment" and alone)
        figure = hv.DynamicMap(lambda data, part=part: _overlay(data, part), streams=[stream])
        shown = hv.opts.Overlay(
            default_tools=TIME_TOOLS, active_tools=["xpan"], xformatter=_DATES, framewise=True, **look
        )
        figures.append(figure)
        marked.append((figure * mark).opts(shown))
    return hv.Layout(marked).cols(1).opts(toolbar="above", sizing_mode="stretch_width"), figures[0]


def _overlay(series: CellSeries, part: str) -> hv.Overlay:
    if part == "value":
        return hv.Overlay([*map(_curve, series.lines), *_points(series.observed, part)])
    if part == "increment":
        return hv.Overlay([_spikes(one) for one in series.increments])
    return hv.Overlay(_points(series.innovations, part))


def _curve(line: Line) -> hv.Curve:
    is_forecast = line.kind == "forecast"
    return hv.Curve((line.times, line.values), "time", "value", label=line.label).opts(
        color=_STATION if line.kind == "station" else _colour(line.place),
        line_dash=_DASHES[line.kind],
        line_width=1.1 if is_forecast else 1.7,
        alpha=0.75 if is_forecast else 1.0,
    )


def _colour(place: int) -> str:
    return "black" if place == TRUTH else colour(place)


def _spikes(line: Line) -> hv.Spikes:
    return hv.Spikes((line.times, line.values), "time", "increment", label=line.label).opts(
        color=_colour(line.place), line_width=1.2
    )


def _points(points: Sequence[Points], part: str) -> list[hv.Scatter]:
    """Of each kind those that were used and those that were not, as two entries of the legend."""
    return [_scatter(one, part, used) for one in points for used in ((True, False) if one.codes.any() else (True,))]


def _scatter(points: Points, part: str, used: bool) -> hv.Scatter:
    chosen = (points.codes == 0) == used
    meanings = np.array(points.meanings, dtype=object)[chosen]
    label = points.label if used else f"{points.label} (not used)"
    hover = HoverTool(
        tooltips=[
            ("", label), ("time", "@time{%F %H:%M} UTC"), (part, f"@{part}{{%.4g}}"), ("quality", "@code: @meaning")
        ],
        formatters={"@time": "datetime", f"@{part}": "printf"},
    )  # fmt: skip
    look = {"color": OBSERVED, "line_color": "black"} if used else {"color": "white", "line_color": _GREY}
    data = (points.times[chosen], points.values[chosen], points.codes[chosen], meanings)
    found = hv.Scatter(data, "time", [part, "code", "meaning"], label=label)
    return found.opts(size=5, line_width=0.5, tools=[hover], **look)


def profile_picture(profile: Profile) -> hv.Overlay:
    """A soil profile, the surface on top."""
    lines: list[hv.Element] = []
    for label, column in profile.values.items():
        look: dict[str, Any] = {"color": _colour(profile.places[label])}
        lines.append(hv.Curve((column, profile.depths), profile.name, "depth", label=label).opts(**look))
        lines.append(hv.Scatter((column, profile.depths), profile.name, "depth", label=label).opts(size=6, **look))
    look = {**_FIGURE, "title": profile.long_name, "xlabel": named(profile.name, profile.unit), "height": 420}
    depth = "depth of the layer's middle (m)"
    return hv.Overlay(lines).opts(hv.opts.Overlay(invert_yaxis=True, ylabel=depth, default_tools=MAP_TOOLS, **look))
