"""The series of a cell, and its soil profile: what is read of it, source by source."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ldas.assim.quality import QUALITY_MEANING, Quality
from ldas.landmodel.array_types import Array, Days, Times
from ldas.landmodel.soil_properties import LAYER_BOTTOMS
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.evaluation.plan import FORECAST_SUFFIX, MODEL_EQUIVALENT, OTHER_UNIT
from ldas.pipeline.evaluation.reading import variable_names
from ldas.pipeline.evaluation.stations import MODEL_NAMES
from ldas.pipeline.explore.choice import Choice
from ldas.pipeline.explore.content import Content, Source
from ldas.pipeline.stages.forecast import AXIS, LEAD
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.observations import (
    good_values,
    read_observations,
    values_of_windows,
)
from ldas.pipeline.store.arrays import read_region
from ldas.pipeline.store.ledger import Block

_FAMILIES = ("linear_residual_", "innovation_", "residual_", "increment_", "quality_", "dfs_")
_DAY = np.timedelta64(1, "D")
TRUTH = -1
"""In place of the number of a run's colour."""


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
        after = np.timedelta64(round(3600 * self.hour), "s")
        return np.asarray(self.days.astype("datetime64[s]") + after, dtype="datetime64[s]")


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
                observed.append(_as_model_sees(found, forecast, name))
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
    return content.runs.index(source) if source.kind == "run" else TRUTH


def _line(content: Content, source: Source, name: str, cell: int, kind: str) -> Line:
    days = np.arange(source.days[0], source.days[-1] + _DAY)
    values = content.reader.daily(source.path, name, days, slice(cell, cell + 1))[:, 0]
    label = f"{source.name} forecast" if kind == "forecast" else source.name
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


def _as_model_sees(innovation: Points, forecast: Line, name: str) -> Points:
    """Observations of another unit in the model's, as the filter compared them: forecast and innovation."""
    place = np.searchsorted(forecast.times, innovation.times)
    values = forecast.values[place] + innovation.values
    return Points(f"{name} observed, rescaled", innovation.times, values, innovation.codes)


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
