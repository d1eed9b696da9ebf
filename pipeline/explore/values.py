"""What is read of a store for what is shown: the values of a map, the series of a cell, a soil profile; and both as
datasets and tables to take away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ldas.assim.quality import QUALITY_MEANING, Quality
from ldas.landmodel.array_types import Array, Days, Times
from ldas.landmodel.soil_properties import LAYER_BOTTOMS
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.evaluation.plan import FORECAST_SUFFIX, MODEL_EQUIVALENT, OTHER_UNIT
from ldas.pipeline.evaluation.reading import variable_names
from ldas.pipeline.evaluation.stations import MODEL_NAMES
from ldas.pipeline.explore.choice import Choice
from ldas.pipeline.explore.content import LAND, SCORES, Content, Source
from ldas.pipeline.stages.forecast import AXIS, LEAD
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.stages.observations import (
    good_values,
    read_observations,
    values_of_windows,
)
from ldas.pipeline.store.arrays import existing_array, open_lazily, read_region
from ldas.pipeline.store.grid import to_grid
from ldas.pipeline.store.ledger import Block

_FAMILIES = ("linear_residual_", "innovation_", "residual_", "increment_", "quality_", "dfs_")
_SIGNED = ("linear_residual_", "innovation_", "residual_", "increment_")
_MORE_IS_BETTER = ("r", "kge", "anomaly_r", "nic_r", "r_test", "r_training")
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Map:
    """Values (cell,) with what they are. `signed`: zero is the middle; `more_is_better`: of scores."""

    values: Array
    name: str
    title: str
    long_name: str
    unit: str
    signed: bool = False
    more_is_better: bool = False


def map_of(content: Content, choice: Choice) -> Map:
    """The map of a choice; only what is shown is read.

    Raises:
        StoreError: if it is not stored.
    """
    if choice.show == "land":
        long_name, unit = described(content, LAND, choice.land)
        return Map(read_land(content.root, choice.land).astype(np.float64), choice.land, choice.land, long_name, unit)
    return _map_of_score(content, choice) if choice.show == "score" else _map_of_day(content, choice)


def _map_of_day(content: Content, choice: Choice) -> Map:
    source = content.sources[choice.experiment]
    long_name, unit = described(content, source.path, choice.variable)
    values = values_of_day(content, source, choice.variable, choice.day, choice.lead)
    title = f"{choice.variable} of {source.name}"
    if choice.minus:
        other = content.sources[choice.minus]
        values = values - values_of_day(content, other, choice.variable, choice.day, choice.lead)
        title = f"{choice.variable} of {source.name} minus {other.name}"
        long_name = f"difference of {long_name}"
    when = f"start {choice.day}, day {choice.lead}" if source.leads else str(choice.day)
    signed = bool(choice.minus) or choice.variable.startswith(_SIGNED)
    return Map(values, choice.variable, f"{title}, {when}", long_name, unit, signed)


def values_of_day(content: Content, source: Source, variable: str, day: np.datetime64, lead: int) -> Array:
    """A variable of all cells, (cell,), on a day; of forecasts, on the lead day of the forecast of that day; NaN where
    the source has no such day."""
    cells = len(content.centres[0])
    if not source.leads:
        return content.reader.daily(source.path, variable, np.array([day]), slice(0, cells))[0]
    place = np.flatnonzero(source.days == day)
    if not place.size:
        return np.full(cells, np.nan)
    region = {AXIS: slice(int(place[0]), int(place[0]) + 1), LEAD: slice(lead - 1, lead)}
    read = read_region(content.root, source.path, variable, region, dims=(AXIS, LEAD, "cell"))
    return read[0, 0].astype(np.float64)


def _map_of_score(content: Content, choice: Choice) -> Map:
    group = content.scores(choice.score)
    found = open_lazily(content.root, f"{SCORES}/{choice.score}")[choice.measure]
    if group.leads:
        found = found.isel(lead_day=choice.lead - 1)
    unit = str(found.attrs.get("units", ""))
    measure = choice.measure.replace("_", " ")
    values, title = found, f"{measure} ({choice.score})"
    if choice.series:
        values = found.isel(series=group.series.index(choice.series))
        title = f"{measure} of {choice.series}"
    if choice.less:
        values = values - found.isel(series=group.series.index(choice.less))
        title = f"{title} minus {choice.less}"
    against = f" against {group.reference}" if group.reference else ""
    lead = f", day {choice.lead}" if group.leads else ""
    long_name = f"{measure} of {group.variable}{against}" if group.variable else f"{measure}, {choice.score}"
    signed = bool(choice.less) or choice.measure.startswith(("bias", "nic_", "mean"))
    better = choice.measure in _MORE_IS_BETTER
    return Map(
        np.asarray(values.values, dtype=np.float64), choice.measure, title + lead, long_name, unit, signed, better
    )


def described(content: Content, path: str, name: str) -> tuple[str, str]:
    """Long name and unit of a stored array: of the registry, or its own."""
    observed = path.removeprefix("observations/") if path.startswith("observations/") else ""
    try:
        entry = registry.variable(observed if name in ("value", "uncertainty") else name)
    except RegistryError:
        stored = existing_array(content.root, path, name).attrs.asdict()
        return str(stored.get("long_name", name.replace("_", " "))), str(stored.get("units", ""))
    return (f"uncertainty of {entry.long_name}" if name == "uncertainty" else entry.long_name), entry.unit


# --- series of a cell --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """Values (day,) of a source, at the hour of each day at which they hold. `place`: the number of its colour."""

    label: str
    days: Days
    values: Array
    hour: float
    place: int
    kind: str  #: free, analysis, forecast, truth or station

    @property
    def times(self) -> Times:
        """When they hold."""
        return self.days.astype("datetime64[s]") + np.timedelta64(round(3600 * self.hour), "s")


@dataclass(frozen=True)
class Points:
    """Values at times of their own with the quality code of each; `assimilated`: whether code 0 is a run's."""

    label: str
    times: Times
    values: Array
    codes: np.ndarray
    assimilated: bool = True

    @property
    def meanings(self) -> list[str]:
        """The codes in words."""
        words = {**QUALITY_MEANING, **({} if self.assimilated else {Quality.USED: "usable, not assimilated here"})}
        return [words[Quality(int(code))] for code in self.codes]


@dataclass(frozen=True)
class CellSeries:
    """All that is drawn of a cell. `quantity`: the model variable; `observed`: as points in its unit; `increments` of
    it, (day,) each; `innovations`: of each kind of observation."""

    cell: int
    latitude: float
    longitude: float
    quantity: str
    long_name: str
    unit: str
    lines: tuple[Line, ...]
    observed: tuple[Points, ...]
    increments: tuple[Line, ...]
    innovations: tuple[Points, ...]


def quantity_of(content: Content, choice: Choice) -> str:
    """The model variable of what is shown: `LAI` of `increment_LAI`, `sigma40` of `innovation_sigma40`."""
    name = choice.variable
    if choice.show == "score" and (variable := content.scores(choice.score).variable):
        name = variable
    elif choice.experiment.startswith("observations/"):
        name = choice.experiment.removeprefix("observations/")
    name = name.removesuffix(FORECAST_SUFFIX)
    prefix = next((family for family in _FAMILIES if name.startswith(family)), "")
    name = name.removeprefix(prefix)
    return MODEL_EQUIVALENT.get(name, name)


def compared(content: Content, choice: Choice) -> list[Source]:
    """The runs and the truth whose series are drawn: the open loop, what is shown and what it is compared with."""
    named = {choice.experiment, choice.minus}
    if choice.show == "score":
        named = {f"runs/{series.removesuffix(' (analysis)')}" for series in (choice.series, choice.less)}
    named |= {str(content.root[path].attrs["from_run"]) for path in named if path.startswith("forecasts/")}
    shown = [run for run in content.runs if run.path in named or run.name in named]
    free = [run for run in content.runs if run.is_free][:1]
    if all(run.is_free for run in shown):  # what is shown is not a run with observations: the first one of those
        shown += [run for run in content.runs if not run.is_free][:1]
    return list(dict.fromkeys([*free, *shown, *(one for one in content.sources.values() if one.kind == "truth")]))


def series_at(content: Content, choice: Choice) -> CellSeries:
    """The series of the chosen cell for the quantity that is shown."""
    quantity, cell = quantity_of(content, choice), choice.cell
    long_name, unit = _words_of(quantity)
    sources = compared(content, choice)
    lines = [line for source in sources for line in _lines_of(content, source, quantity, cell)]
    forecasts = content.sources.get(choice.experiment)
    if choice.show == "day" and forecasts is not None and forecasts.leads and quantity in forecasts.variables:
        lines.append(_forecast_line(content, forecasts, quantity, choice))
    lines += _station_lines(content, quantity, cell, sources)
    innovations, observed, increments = [], [], []
    for source in sources:
        if source.kind != "run":
            continue
        if (increment := f"increment_{quantity}") in source.variables:
            increments.append(_line(content, source, increment, cell, "analysis"))
        for name in _observations_of(source, quantity):
            found = _innovations(content, source, name, cell)
            innovations.append(found)
            if name in OTHER_UNIT and quantity + FORECAST_SUFFIX in source.variables:
                forecast = _line(content, source, quantity + FORECAST_SUFFIX, cell, "forecast")
                observed.append(_as_model_sees(found, forecast, name, source))
    observed += [
        _observed(content, name, cell, sources)
        for name in (path.removeprefix("observations/") for path in content.sources if path.startswith("observations/"))
        if MODEL_EQUIVALENT.get(name) == quantity and name not in OTHER_UNIT
    ]
    latitude, longitude = (float(axis[cell]) for axis in content.centres)
    return CellSeries(
        cell, latitude, longitude, quantity, long_name, unit,
        tuple(lines), tuple(observed), tuple(increments), tuple(innovations),
    )  # fmt: skip


def _words_of(quantity: str) -> tuple[str, str]:
    try:
        entry = registry.variable(quantity)
    except RegistryError:
        return quantity.replace("_", " "), ""
    return entry.long_name, entry.unit


def _place(content: Content, source: Source) -> int:
    """The number of its colour: that of its place among the runs."""
    return content.runs.index(source) if source.kind == "run" else len(content.runs)


def _line(content: Content, source: Source, name: str, cell: int, kind: str) -> Line:
    days = np.arange(source.days[0], source.days[-1] + _DAY)
    values = content.reader.daily(source.path, name, days, slice(cell, cell + 1))[:, 0]
    label = f"{source.name} 24 h forecast" if kind == "forecast" else source.name
    return Line(label, days, values, _hour_of(source, name), _place(content, source), kind)


def _hour_of(source: Source, name: str) -> float:
    """The hour of a day at which its values hold: of states the analysis hour, of means the middle of what they are
    taken over."""
    try:
        is_mean = registry.variable(name).cell_methods == "time: mean"
    except RegistryError:
        is_mean = False
    end = source.hour or 24
    return (end if source.kind == "run" and not source.is_free else 24) - 12.0 if is_mean else float(end)


def _lines_of(content: Content, source: Source, quantity: str, cell: int) -> list[Line]:
    kind = "truth" if source.kind == "truth" else "free" if source.is_free else "analysis"
    found = []
    if quantity in source.variables:
        found.append(_line(content, source, quantity, cell, kind))
    if quantity + FORECAST_SUFFIX in source.variables:
        found.append(_line(content, source, quantity + FORECAST_SUFFIX, cell, "forecast"))
    if not found:
        found += [
            _predicted(content, source, name, cell) for name in _observations_of(source, quantity) if name == quantity
        ]
    return found


def _predicted(content: Content, source: Source, name: str, cell: int) -> Line:
    """The forecast of an observation that a run did not store: the observation minus its innovation."""
    innovation = _line(content, source, f"innovation_{name}", cell, "forecast")
    times, arrays = read_observations(content.root, name, Block(0, cell, cell + 1))
    ends = instants(innovation.days, source.hour)
    observed = values_of_windows(times, good_values(arrays), ends, source.hour)[:, 0]
    return Line(
        innovation.label, innovation.days, observed - innovation.values, innovation.hour, innovation.place, "forecast"
    )


def _forecast_line(content: Content, source: Source, quantity: str, choice: Choice) -> Line:
    """The forecast that starts on the chosen day."""
    place = int(np.flatnonzero(source.days == choice.day)[0])
    region = {AXIS: slice(place, place + 1), "cell": slice(choice.cell, choice.cell + 1)}
    values = read_region(content.root, source.path, quantity, region, dims=(AXIS, LEAD, "cell"))[0, :, 0]
    days = choice.day + np.arange(1, source.leads + 1)
    return Line(
        f"{source.name} from {choice.day}", days, values.astype(np.float64), 9.0, len(content.runs) + 1, "analysis"
    )


def _station_lines(content: Content, quantity: str, cell: int, sources: list[Source]) -> list[Line]:
    found = []
    for station in (station for station in content.stations if station.cell == cell):
        path = f"insitu/{station.network}"
        there = {
            *variable_names(content.root, path, "station", "time"),
            *variable_names(content.root, path, "time", "station"),
        }
        for name in sorted(name for name in there if MODEL_NAMES.get(name, name) == quantity):
            stored = content.reader.days_of(path)
            days = np.arange(stored[0], stored[-1] + _DAY)
            values = content.reader.daily(path, name, days, slice(station.index, station.index + 1), "station")[:, 0]
            deep = f", {station.depth:g} m" if station.depth is not None else ""
            found.append(Line(f"station {station.code}{deep}", days, values, 12.0, len(content.runs) + 2, "station"))
    return found


def _observations_of(source: Source, quantity: str) -> list[str]:
    """Kinds of observations that a run compared with a quantity."""
    names = [name.removeprefix("innovation_") for name in source.variables if name.startswith("innovation_")]
    return [name for name in names if MODEL_EQUIVALENT.get(name, name) == quantity]


def _codes(content: Content, source: Source, name: str, cell: int) -> tuple[Days, np.ndarray] | None:
    """What became of the observations of each window of a run; of several overpasses, of the best of them."""
    if f"quality_{name}" not in source.variables:
        return None
    codes = read_region(content.root, source.path, f"quality_{name}", {"cell": slice(cell, cell + 1)})
    days = content.reader.days_of(source.path)
    codes = codes[: len(days)].reshape(len(days), -1)
    used = (codes == Quality.USED).any(axis=1)
    return days, np.where(used, Quality.USED, codes.max(axis=1))


def _innovations(content: Content, source: Source, name: str, cell: int) -> Points:
    line = _line(content, source, f"innovation_{name}", cell, "analysis")
    codes = np.full(len(line.days), Quality.USED, dtype=np.int8)
    if (found := _codes(content, source, name, cell)) is not None:
        codes[(found[0] - line.days[0]).astype(np.int64)] = found[1]
    there = np.isfinite(line.values)
    return Points(f"{name} of {source.name}", line.times[there], line.values[there], codes[there])


def _as_model_sees(innovation: Points, forecast: Line, name: str, source: Source) -> Points:
    """Observations of another unit in the model's, as the filter compared them: forecast and innovation."""
    place = np.searchsorted(forecast.times, innovation.times)
    values = forecast.values[place] + innovation.values
    return Points(f"{name} observed, rescaled by {source.name}", innovation.times, values, innovation.codes)


def _observed(content: Content, name: str, cell: int, sources: list[Source]) -> Points:
    """What was observed, with the code of the producer or, of what that lets pass, of the first run to compare it."""
    times, arrays = read_observations(content.root, name, Block(0, cell, cell + 1))
    values = np.asarray(arrays["value"], dtype=np.float64)[:, 0]
    moments = np.broadcast_to(times if times.ndim == 1 else times[:, 0], values.shape)
    codes = np.asarray(arrays["quality"])[:, 0].copy() if "quality" in arrays else np.zeros(values.shape, dtype=np.int8)
    there = np.isfinite(values) & ~np.isnat(moments)
    values, moments, codes = values[there], moments[there], codes[there]
    assimilated = False
    for source in sources:
        found = _codes(content, source, name, cell)
        if found is not None and len(moments):
            ends = instants(found[0], source.hour)
            window = np.searchsorted(ends, moments, side="left")
            inside = (window < len(ends)) & (moments > ends[0] - _DAY)
            passed = inside & (codes == Quality.USED)
            codes[passed] = found[1][window[passed]]
            codes[~inside & (codes == Quality.USED)] = Quality.NOT_ASSIMILATED
            assimilated = True
            break
    return Points(f"{name} observed", moments, values, codes, assimilated)


# --- soil profile ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """A soil variable against depth on a day: `depths` (m) of the middles of the layers; values (layer,) by source."""

    name: str
    long_name: str
    unit: str
    depths: Array
    values: Mapping[str, Array]
    places: Mapping[str, int]


def profile_at(content: Content, choice: Choice) -> Profile | None:
    """The soil profile of the chosen cell and day: temperature if a temperature is shown, else liquid water; None where
    no source has two layers of it."""
    base = "TG" if quantity_of(content, choice).startswith("TG") else "WG"
    sources = compared(content, choice)
    layers = sorted({layer for source in sources for layer in _layers(source, base)})
    if len(layers) < 2:
        return None
    entry = registry.variable(base)
    middles = (np.concatenate([[0.0], LAYER_BOTTOMS[:-1]]) + LAYER_BOTTOMS) / 2.0
    values: dict[str, Array] = {}
    places: dict[str, int] = {}
    for source in sources:
        there = _layers(source, base)
        column = np.full(len(layers), np.nan)
        for layer in there:
            name = f"{base}{layer}"
            one = content.reader.daily(source.path, name, np.array([choice.day]), slice(choice.cell, choice.cell + 1))
            column[layers.index(layer)] = one[0, 0]
        if np.isfinite(column).any():
            values[source.name], places[source.name] = column, _place(content, source)
    return Profile(base, entry.long_name, entry.unit, middles[np.array(layers) - 1], values, places)


def _layers(source: Source, base: str) -> list[int]:
    return sorted(
        int(name.removeprefix(base))
        for name in source.variables
        if name.removeprefix(base).isdigit() and name.startswith(base)
    )


# --- to take away ------------------------------------------------------------------------------------------------


def map_dataset(content: Content, shown: Map) -> xr.Dataset:
    """A map with its coordinates: over latitude and longitude, or over cells where they are on no grid."""
    latitude, longitude = (xr.DataArray(axis, dims="cell") for axis in content.centres)
    attributes = {"long_name": shown.long_name, "units": shown.unit or "1"}
    cells = xr.Dataset({shown.name: ("cell", shown.values, attributes)})
    rows, columns = (len(np.unique(np.round(axis, 6))) for axis in content.centres)
    if rows * columns <= 4 * len(latitude):
        found = to_grid(cells, latitude, longitude)
    else:
        found = cells.assign_coords(latitude=latitude, longitude=longitude)
    found["latitude"].attrs.update(units="degrees_north", standard_name="latitude")
    found["longitude"].attrs.update(units="degrees_east", standard_name="longitude")
    return found.assign_attrs(_attributes(content, shown.title))


def map_table(content: Content, shown: Map) -> pd.DataFrame:
    """A map as a table: a row a cell."""
    latitude, longitude = content.centres
    column = f"{shown.name} ({shown.unit})" if shown.unit else shown.name
    return pd.DataFrame(
        {"cell": np.arange(len(latitude)), "latitude": latitude, "longitude": longitude, column: shown.values}
    )


def series_table(series: CellSeries) -> pd.DataFrame:
    """All series of a cell as one table: what, series, time (UTC), value, unit and quality code, one row a value."""
    parts = []
    for what, lines in (("value", series.lines), ("increment", series.increments)):
        parts += [
            pd.DataFrame({"what": what, "series": one.label, "time": one.times, "value": one.values}) for one in lines
        ]
    for what, points in (("observation", series.observed), ("innovation", series.innovations)):
        parts += [
            pd.DataFrame(
                {
                    "what": what,
                    "series": one.label,
                    "time": one.times,
                    "value": one.values,
                    "quality": one.codes,
                    "meaning": one.meanings,
                }
            )
            for one in points
        ]
    columns = ["what", "series", "time", "value", "unit", "quality", "meaning"]
    if not parts:
        return pd.DataFrame(columns=columns)
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True).assign(unit=series.unit)
    table = table.reindex(columns=columns).dropna(subset=["value"]).reset_index(drop=True)
    return table.astype({"quality": "Int64"})


def series_dataset(content: Content, series: CellSeries) -> xr.Dataset:
    """All series of a cell as a dataset, each with its own times."""
    found = {}
    for what, drawn in (
        ("", series.lines),
        ("increment_", series.increments),
        ("", series.observed),
        ("innovation_", series.innovations),
    ):
        for one in drawn:
            name = what + "".join(sign if sign.isalnum() else "_" for sign in one.label)
            time = f"time_{name}"
            attributes = {"long_name": f"{one.label} {series.long_name}", "units": series.unit or "1"}
            found[name] = xr.DataArray(
                one.values, {time: one.times.astype("datetime64[ns]")}, (time,), attrs=attributes
            )
            if isinstance(one, Points):
                flags = {
                    "flag_values": np.array([*Quality], dtype=np.int8),
                    "flag_meanings": " ".join(q.name.lower() for q in Quality),
                }
                found[f"quality_{name}"] = xr.DataArray(one.codes.astype(np.int8), dims=(time,), attrs=flags)
    place = {"latitude": series.latitude, "longitude": series.longitude, "cell": series.cell}
    return xr.Dataset(found, attrs=_attributes(content, f"{series.quantity} of cell {series.cell}")).assign_coords(
        place
    )


def _attributes(content: Content, title: str) -> dict[str, Any]:
    synthetic = {"synthetic": "true"} if content.synthetic else {}
    return {"Conventions": "CF-1.11", "title": title, **synthetic}
