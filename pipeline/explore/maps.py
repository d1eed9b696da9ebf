"""The map of a choice: its values, read for all cells, and what they are."""

from dataclasses import dataclass

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.explore.choice import Choice
from ldas.pipeline.explore.content import LAND, SCORES, Content, Source
from ldas.pipeline.stages.forecast import AXIS, LEAD
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.store.arrays import existing_array, open_lazily, read_region

_SIGNED = ("linear_residual_", "innovation_", "residual_", "increment_")
_MORE_IS_BETTER = ("r", "kge", "anomaly_r", "nic_r", "nic_rmsd")
_JUDGING = (*_MORE_IS_BETTER, "rmsd", "ubrmsd")
_ABBREVIATIONS = {"r": "R", "rmsd": "RMSD", "ubrmsd": "ubRMSD", "kge": "KGE", "nic": "NIC", "n": "number"}


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
    measure = score_words(choice.measure)
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
    if choice.less:
        long_name = f"{long_name}; blue: better" if choice.measure in _JUDGING else long_name
    signed = bool(choice.less) or choice.measure.startswith(("bias", "nic_", "mean"))
    better = choice.measure in _MORE_IS_BETTER
    return Map(
        np.asarray(values.values, dtype=np.float64), choice.measure, title + lead, long_name, unit, signed, better
    )


def score_words(name: str) -> str:
    """A score as it is read: `rmsd_test` as `RMSD test`."""
    return " ".join(_ABBREVIATIONS.get(part, part) for part in name.split("_"))


def described(content: Content, path: str, name: str) -> tuple[str, str]:
    """Long name and unit of a stored array: of the registry, or its own."""
    observed = path.removeprefix("observations/") if path.startswith("observations/") else ""
    try:
        entry = registry.variable(observed if name in ("value", "uncertainty") else name)
    except RegistryError:
        stored = existing_array(content.root, path, name).attrs.asdict()
        return str(stored.get("long_name", name.replace("_", " "))), str(stored.get("units", ""))
    return (f"uncertainty of {entry.long_name}" if name == "uncertainty" else entry.long_name), entry.unit


def cell_at_click(latitude: Array, longitude: Array, north: float, east: float) -> int:
    """The cell nearest to a place (degrees), as seen on a map."""
    narrow = np.cos(np.deg2rad(north))
    return int(np.argmin(np.hypot(latitude - north, narrow * (longitude - east))))
