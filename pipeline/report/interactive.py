"""The interactive part of a report: a map on which variable and score are chosen, and the series of a chosen cell.

Bokeh draws both. The numbers are not in its plots but beside them, as 16-bit integers, and `interactive.js` hands the
plots those that are shown: so the page stays small, and its security policy allows these scripts and no others.
"""

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.pipeline.evaluation.blocks import CellBlock
from ldas.pipeline.evaluation.plan import JUDGED, Comparison, Series
from ldas.pipeline.evaluation.stations import grid_spacing
from ldas.pipeline.evaluation.tables import place_name, places
from ldas.pipeline.report.document import InteractivePart
from ldas.pipeline.report.interactive_plots import bokeh_library, map_plot, palettes, series_plot
from ldas.pipeline.report.maps import colour_limits, grid_places
from ldas.pipeline.report.sections import HEADLINES
from ldas.pipeline.report.sources import Sources, axis_label
from ldas.pipeline.report.style import OBSERVED, colour

MOST_CELLS = 20_000  # on the map; of more, blocks of cells are averaged
MOST_VALUES = 1_000_000  # of all series: two megabytes
MISSING = -32768
_PLOTS = 100_000  # bytes of the plots without their numbers
OBSERVED_LABEL, TRUTH_LABEL = "observed", "truth"


def interactive_part(sources: Sources, room: int) -> InteractivePart | None:
    """The interactive part; None where nothing can be compared, or there is no room.

    Args:
        room: bytes that it may take; what is left beside the maps is for series.
    """
    judged = [(key, comparison) for key in JUDGED if (comparison := sources.judged_comparison(key)) is not None]
    if not judged:
        return None
    data: dict[str, Any] = {"start": str(sources.plan.days[0]), "days": len(sources.plan.days)}
    plots: dict[str, Any] = {}
    groups, note = np.arange(sources.plan.cells), ""
    names = _names(sources)
    stations = {cell for _, cell in _stations(sources)}
    if sources.has_map:
        latitude, longitude = sources.centres
        groups, side = blocks_of_cells(latitude, longitude, MOST_CELLS)
        if side > 1:
            note = f"Each square is the mean over up to {side} x {side} cells. "
        north, east = (_means(axis, groups) for axis in (latitude, longitude))
        data["cells"] = {"y": north.round(5).tolist(), "x": east.round(5).tolist()}
        data["maps"] = [_layers(sources, key, comparison, groups, side > 1) for key, comparison in judged]
        data["names"] = {int(groups[cell]): names[cell] for cell in sorted(stations)}
        data["palettes"] = palettes()
        spacing = grid_spacing(latitude, longitude)
        size = side * spacing if side > 1 or grid_places(latitude, longitude, spacing)[2] else None
        plots["map"] = map_plot(north, east, size, sources.station_marks)
    library, script = bokeh_library(), (files("ldas.pipeline.report") / "interactive.js").read_text(encoding="utf-8")
    left = room - len(library) - len(script) - len(_inside_a_page(data)) - _PLOTS
    chosen = _chosen_cells(sources, [comparison for _, comparison in judged], min(MOST_VALUES, left * 3 // 8))
    if not chosen:
        return None
    data["series"] = [_series(sources, key, comparison, chosen) for key, comparison in judged]
    data["places"] = [{"name": names[cell], "cell": int(groups[cell]), "station": cell in stations} for cell in chosen]
    plots["series"] = series_plot(_lines(sources, data["series"]), sources.plan.days)
    if len(chosen) < sources.plan.cells:
        note += f"There are series of {len(chosen)} of the {sources.plan.cells} cells: a click shows the nearest."
    return InteractivePart(_inside_a_page(plots), _inside_a_page(data), library, script, note, sources.has_map)


def _inside_a_page(value: dict[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def packed(values: Array) -> dict[str, Any]:
    """Numbers as 16-bit integers in base64, little-endian: value = offset + scale x integer; -32768 is missing."""
    there = np.isfinite(values)
    low, high = (float(values[there].min()), float(values[there].max())) if there.any() else (0.0, 0.0)
    scale = (high - low) / 65534.0 or 1.0
    whole = np.rint((np.where(there, values, low) - low) / scale) - 32767.0
    integers = np.where(there, whole, MISSING).astype("<i2")
    encoded = base64.b64encode(integers.tobytes()).decode("ascii")
    return {"offset": low + 32767.0 * scale, "scale": scale, "data": encoded}


def blocks_of_cells(latitude: Array, longitude: Array, most: int) -> tuple[np.ndarray, int]:
    """Groups (cell,) of square blocks of cells, numbered from 0, at most `most`; and how many cells wide they are."""
    rows, columns, _ = grid_places(latitude, longitude, grid_spacing(latitude, longitude))
    if len(latitude) <= most:
        return np.arange(len(latitude)), 1
    side, groups = 1, np.arange(len(latitude))
    while groups.max() >= most:
        side *= 2
        places = np.stack([rows // side, columns // side], axis=1)
        groups = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    return groups, side


def _means(values: Array, groups: np.ndarray) -> Array:
    """Means over groups, NaN left out."""
    there = np.isfinite(values)
    number = np.bincount(groups, there)
    total = np.bincount(groups, np.where(there, values, 0.0))
    return np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)


def _layers(sources: Sources, key: str, comparison: Comparison, groups: np.ndarray, averaged: bool) -> dict[str, Any]:
    """All maps of one variable."""
    score = JUDGED[key][0]
    open_loop, others = sources.analysed(comparison)
    layers: list[dict[str, Any]] = []
    if open_loop is not None and others:
        parts = {"values": f"nic_{score}"}
        if not averaged:  # means of limits are no limits
            parts |= {"low": f"nic_{score}_low", "high": f"nic_{score}_high"}
        gains = [
            {part: 100.0 * sources.scores.score(comparison, name, series) for part, name in parts.items()}
            for series in others
        ]
        most = min(colour_limits(np.concatenate([gain["values"] for gain in gains]), diverging=True)[1], 100.0)
        for series, gain in zip(others, gains, strict=True):
            look = {"name": f"error removed by {series.label}", "unit": "%", "diverging": True, "limits": [-most, most]}
            layers.append(look | {part: packed(_means(values, groups)) for part, values in gain.items()})
    for name, title in (("rmsd", "RMSD"), ("r", "R")):
        if name in sources.scores.dataset(comparison.name):
            layers += _levels(sources, comparison, name, title, [*([open_loop] if open_loop else []), *others], groups)
    return {"what": HEADLINES[key][0], "layers": layers}


def _levels(
    sources: Sources, comparison: Comparison, score: str, title: str, shown: Sequence[Series], groups: np.ndarray
) -> list[dict[str, Any]]:
    """Maps of a score of several series, on one scale."""
    values = [sources.scores.score(comparison, score, series) for series in shown]
    limits = colour_limits(np.concatenate(values), diverging=False)
    unit = axis_label("", "1" if score == "r" else comparison.unit).strip(" ()")
    return [
        {
            "name": f"{title} of {series.label}",
            "unit": unit,
            "diverging": False,
            "limits": list(limits),
            "values": packed(_means(one, groups)),
        }
        for series, one in zip(shown, values, strict=True)
    ]


def _names(sources: Sources) -> list[str]:
    """Names of all cells: their places, with the codes of the stations in them."""
    latitude, longitude = sources.centres
    names = [place_name(round(float(y), 3), round(float(x), 3)) for y, x in zip(latitude, longitude, strict=True)]
    for codes, cell in _stations(sources):
        names[cell] = f"{codes} ({names[cell]})"
    return names


def _stations(sources: Sources) -> list[tuple[str, int]]:
    """Codes and cells of the stations in the domain."""
    return places(sources.scores) if sources.scores.stations else []


def _chosen_cells(sources: Sources, comparisons: Sequence[Comparison], values: int) -> list[int]:
    """Cells whose series are kept, of so many values: all or, where these are too many, those with stations and some
    spread evenly."""
    lines = sum(len(comparison.series) + 2 for comparison in comparisons)
    most, cells = max(values, 0) // (lines * len(sources.plan.days)), sources.plan.cells
    if cells <= most:
        return list(range(cells))
    spread = np.linspace(0, cells - 1, most).round().astype(int).tolist()
    return sorted(list(dict.fromkeys([*(cell for _, cell in _stations(sources)), *spread]))[:most])


def _series(sources: Sources, key: str, comparison: Comparison, chosen: Sequence[int]) -> dict[str, Any]:
    """Lines (place, day) of one variable: every series, truth and observations."""
    plan, reader = sources.plan, sources.reader
    runs = [slice(chosen[0], chosen[-1] + 1)] if len(chosen) == plan.cells else [slice(c, c + 1) for c in chosen]
    same = (one for one in plan.comparisons if one.variable == comparison.variable and one.same_unit)
    observed = next((one.observation for one in same if one.observation), None)
    parts: dict[str, list[Array]] = {}
    for cells in runs:
        block = CellBlock(reader, plan, cells)
        everywhere = np.ones((len(plan.days), cells.stop - cells.start), dtype=bool)
        for series in comparison.series:
            experiment = plan.experiment(series.experiment)
            parts.setdefault(series.label, []).append(
                block.series(experiment, comparison.variable, series.kind, everywhere)
            )
        if comparison.reference_path == "truth":
            parts.setdefault(TRUTH_LABEL, []).append(block.reference(comparison))
        if observed is not None:
            values = reader.usable_observations(observed, plan.days, cells, plan.hour)
            parts.setdefault(OBSERVED_LABEL, []).append(values)
    what = HEADLINES[key][0]
    lines = {label: packed(np.concatenate(values, axis=1).T) for label, values in parts.items()}
    return {"what": what, "label": axis_label(what, comparison.unit), "lines": lines}


def _lines(sources: Sources, series: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How each line of any variable looks, in the order of the legend."""
    labels = list(dict.fromkeys(label for one in series for label in one["lines"]))
    analysed = [experiment.name for experiment in sources.plan.experiments if experiment.is_analysis]
    first = {OBSERVED_LABEL, TRUTH_LABEL, sources.plan.open_loop, *analysed[:1]}
    lines = []
    for label in labels:
        experiment = label.removesuffix(" (analysis)")
        look: dict[str, Any] = {"label": label, "shown": label in first or not analysed}
        if label == OBSERVED_LABEL:
            look |= {"colour": OBSERVED, "points": True}
        elif label == TRUTH_LABEL:
            look["colour"] = "#000000"
        else:
            look |= {"colour": colour(sources.index(experiment)), "dashed": label != experiment}
        lines.append(look)
    return lines
