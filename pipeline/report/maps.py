"""Maps of values per grid cell, good without coastlines: cells as squares in their place, stations by name."""

from collections.abc import Sequence
from typing import Literal

import matplotlib as mpl
import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array, IntArray
from ldas.pipeline.evaluation.stations import grid_spacing
from ldas.pipeline.report.style import DIVERGING, SEQUENTIAL, new_figure, styled

_MAP_WIDTH = 3.35  # inches
SMALL_MAP_WIDTH = 2.4
MOST_VECTOR_CELLS = 2000  # beyond, the squares are drawn as an image inside the figure: a page must stay small
MOST_MARKED_CELLS = 600
MOST_GRID_POINTS = 4_000_000  # of the rectangle around the cells; sparser cells are drawn as points
_LABEL_SIZE = 6.5  # points, of station codes
_LABEL_LETTER = (0.8 * _LABEL_SIZE, 1.15 * _LABEL_SIZE)  # width and height of a wide capital, with space around it
# Where a station's code may stand (points from the station's centre, alignment), the first that is free is taken.
_LABEL_PLACES: tuple[tuple[float, float, Literal["center", "left", "right"]], ...] = (
    (0.0, 4.0, "center"),
    (0.0, -4.0 - _LABEL_LETTER[1], "center"),
    (5.0, -0.4 * _LABEL_LETTER[1], "left"),
    (-5.0, -0.4 * _LABEL_LETTER[1], "right"),
)


def cell_map(
    latitude: Array,
    longitude: Array,
    values: Array,
    *,
    title: str,
    label: str,
    diverging: bool = False,
    better: Literal["less", "more"] = "less",
    limits: tuple[float, float] | None = None,
    worse: NDArray[np.bool_] | None = None,
    stations: Sequence[tuple[str, float, float]] = (),
    width: float = _MAP_WIDTH,
) -> Figure:
    """Values (cell,) at cell centres (degrees), missing ones hatched.

    Args:
        label: quantity and unit, for the colour bar.
        diverging: colours centred at zero, blue where it is `better` to be.
        limits: of the colours (default: the 2nd and 98th percentile, with arrows where values lie beyond).
        worse: cells to mark with a cross, so that the sign of a change survives a grey print.
        stations: (code, latitude, longitude).
        width: of the map in inches, without the numbers beside it.
    """
    with styled(axes__grid=False):
        spacing = grid_spacing(latitude, longitude)
        figure, axes, bar = _frame(latitude, longitude, spacing, width)
        low, high = limits or colour_limits(values, diverging)
        norm = Normalize(low, high)
        drawn = _draw(axes, latitude, longitude, values, spacing, norm, _colours(diverging, better))
        _mark(axes, latitude, longitude, worse)
        _stations(axes, stations)
        axes.set_title(title)
        finite = values[np.isfinite(values)]
        below, above = bool((finite < low).any()), bool((finite > high).any())
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        solids = figure.colorbar(drawn, cax=bar, label=label, extend=extend[below, above]).solids
        if solids is not None:
            solids.set_rasterized(True)  # as squares they would be larger than the map
    return figure


def _colours(diverging: bool, better: Literal["less", "more"]) -> Colormap:
    if not diverging:
        return SEQUENTIAL
    return DIVERGING if better == "less" else DIVERGING.reversed()


def colour_limits(values: Array, diverging: bool) -> tuple[float, float]:
    """Limits of the colours; symmetric about zero where `diverging`."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (-1.0, 1.0) if diverging else (0.0, 1.0)
    low, high = (float(value) for value in np.percentile(finite, [2.0, 98.0]))
    if diverging:
        size = max(abs(low), abs(high)) or 1.0
        return -size, size
    if low == high:  # one value everywhere (or one cell): a scale around it
        size = abs(low) * 0.1 or 1.0
        return low - size, high + size
    return low, high


def grid_places(latitude: Array, longitude: Array, spacing: float) -> tuple[IntArray, IntArray, bool]:
    """Rows and columns of cells in the grid of that spacing (degrees), and whether they lie on it."""
    rows, columns = (np.round((axis - axis.min()) / spacing).astype(np.int64) for axis in (latitude, longitude))
    regular = all(
        np.allclose(axis.min() + steps * spacing, axis, atol=0.02 * spacing)
        for axis, steps in ((latitude, rows), (longitude, columns))
    )
    return rows, columns, regular


def _draw(
    axes: Axes,
    latitude: Array,
    longitude: Array,
    values: Array,
    spacing: float,
    norm: Normalize,
    colours: Colormap,
) -> mpl.cm.ScalarMappable:
    north, east = latitude.min(), longitude.min()
    rows, columns, regular = grid_places(latitude, longitude, spacing)
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    if not regular or shape[0] * shape[1] > MOST_GRID_POINTS:
        axes.scatter(longitude, latitude, s=14, c="#bbbbbb", marker="s", linewidths=0)
        return axes.scatter(longitude, latitude, s=14, c=values, norm=norm, cmap=colours, marker="s", linewidths=0)
    grid, member = np.full(shape, np.nan), np.full(shape, np.nan)
    grid[rows, columns], member[rows, columns] = values, 1.0
    x = east + (np.arange(shape[1] + 1) - 0.5) * spacing
    y = north + (np.arange(shape[0] + 1) - 0.5) * spacing
    edges = _outline(np.isfinite(member), x, y).reshape(-1, 2)
    outline = Path(edges, np.tile([Path.MOVETO, Path.LINETO], len(edges) // 2))  # one path: small in a page
    axes.add_patch(PathPatch(outline, fill=False, edgecolor="#555555", linewidth=0.6, zorder=2))
    missing = np.isfinite(member) & ~np.isfinite(grid)
    if missing.any() and len(values) <= MOST_VECTOR_CELLS:
        hatched = np.ma.masked_where(~missing, np.ones(shape))
        axes.pcolor(x, y, hatched, cmap="Greys", norm=Normalize(0.0, 8.0), hatch="////", edgecolor="#888888", lw=0)
    return axes.pcolormesh(
        x,
        y,
        np.ma.masked_invalid(grid),
        norm=norm,
        cmap=colours,
        edgecolors="face",  # without, the page shows through between neighbours
        linewidth=0.5,
        rasterized=len(values) > MOST_VECTOR_CELLS,
    )


def _outline(member: NDArray[np.bool_], x: Array, y: Array) -> NDArray[np.float64]:
    """Edges (edge, end, x or y) between cells and what is no cell: they show the coast and the gaps of a domain."""
    padded = np.pad(member, 1)
    upright = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])  # (row, place of the edge in x)
    level = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # (place of the edge in y, column)
    row, column = upright.T
    sides = np.stack([np.stack([x[column], y[row]], -1), np.stack([x[column], y[row + 1]], -1)], axis=1)
    row, column = level.T
    caps = np.stack([np.stack([x[column], y[row]], -1), np.stack([x[column + 1], y[row]], -1)], axis=1)
    return np.concatenate([sides, caps])


def _mark(axes: Axes, latitude: Array, longitude: Array, worse: NDArray[np.bool_] | None) -> None:
    if worse is not None and len(worse) <= MOST_MARKED_CELLS:
        axes.plot(longitude[worse], latitude[worse], "x", color="black", markersize=3.0, markeredgewidth=0.7)


def _stations(axes: Axes, stations: Sequence[tuple[str, float, float]]) -> None:
    """Stations as dots, with their codes where they cover neither each other nor another station."""
    inch = axes.get_window_extent().width / axes.figure.dpi
    points = 72.0 * inch / np.ptp(axes.get_xlim()), 72.0 * inch * _aspect(axes) / np.ptp(axes.get_xlim())
    centres = [(east * points[0], north * points[1]) for _, north, east in stations]
    taken = [(x - 2.0, y - 2.0, x + 2.0, y + 2.0) for x, y in centres]
    for (code, latitude, longitude), (x, y) in zip(stations, centres, strict=True):
        axes.plot(longitude, latitude, "o", color="white", markeredgecolor="black", markersize=3.5, markeredgewidth=0.8)
        width, height = len(code) * _LABEL_LETTER[0], _LABEL_LETTER[1]
        boxes = []
        for right, up, side in _LABEL_PLACES:
            left = x + right - {"center": width / 2.0, "left": 0.0, "right": width}[side]
            boxes.append((left, y + up, left + width, y + up + height))
        covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = int(np.argmin(covered))
        taken.append(boxes[best])
        right, up, side = _LABEL_PLACES[best]
        text = axes.annotate(
            code, (longitude, latitude), xytext=(right, up), textcoords="offset points", fontsize=_LABEL_SIZE, ha=side
        )
        text.set_path_effects([mpl.patheffects.withStroke(linewidth=1.6, foreground="white")])


def _aspect(axes: Axes) -> float:
    """Length of a degree of latitude on the page over that of a degree of longitude."""
    aspect = axes.get_aspect()
    return 1.0 if isinstance(aspect, str) else float(aspect)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Area that two boxes (left, bottom, right, top) share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return across * up if across > 0.0 and up > 0.0 else 0.0


def _frame(latitude: Array, longitude: Array, spacing: float, map_width: float) -> tuple[Figure, Axes, Axes]:
    """A figure as high as the domain needs, with the axes of the map and of its colour bar."""
    margin = 0.75 * spacing
    # Near a pole a degree of longitude is next to nothing, and the map would collapse.
    stretch = 1.0 / max(float(np.cos(np.deg2rad(latitude.mean()))), 0.1)
    across = np.ptp(longitude) + 2 * margin
    tall = float(np.clip(map_width * stretch * (np.ptp(latitude) + 2 * margin) / across, 1.4, 4.6))
    left = 0.8  # room for `-44.25` and the name of the axis
    width, height = left + map_width + 1.03, tall + 0.85
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, 0.5 / height, map_width / width, tall / height))
    bar = figure.add_axes(((left + map_width + 0.1) / width, 0.5 / height, 0.13 / width, tall / height))
    axes.set_xlim(longitude.min() - margin, longitude.max() + margin)
    axes.set_ylim(latitude.min() - margin, latitude.max() + margin)
    axes.set_aspect(stretch, anchor="W")
    axes.set_facecolor("#d3d7db")  # darker than the middle of the differences: no cell is told from no change
    axes.set_xlabel("longitude (°E)")
    axes.set_ylabel("latitude (°N)")
    axes.locator_params(nbins=5)
    return figure, axes, bar
