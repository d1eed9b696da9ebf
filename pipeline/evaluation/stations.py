"""Stations: where they lie among the cells, and how the runs compare with what they measure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ldas.landmodel.array_types import Array, Days
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.evaluation import metrics
from ldas.pipeline.evaluation.blocks import common_days, place_of
from ldas.pipeline.evaluation.plan import Plan, Series, series_with
from ldas.pipeline.evaluation.reading import Reader, attributes, cell_centres, group_names, variable_names
from ldas.pipeline.store import cf
from ldas.pipeline.store.arrays import existing_array, existing_group, has_group, read_region

DEFAULT_SPACING = 0.25  # degrees: how far apart cells are taken to be where there is only one
SHALLOWEST_DEPTH = 0.06  # m: sensors down to here are compared with the model's surface layer
LEAST_QUALITY = 0.5  # part of a day that was measured or well gap-filled, below which a flux is not compared
# Variable of a station -> the model variable it is compared with, where the names differ.
MODEL_NAMES = {"soil_moisture": "WG2", "LE_CORR": "LE", "H_CORR": "H", "GPP_DT": "GPP"}
_SAME_UNITS = {"kg CO2 m-2 s-1": "kg m-2 s-1"}


@dataclass(frozen=True)
class Station:
    """A station of a network; `cell` is None where it lies outside the domain."""

    network: str
    index: int
    code: str
    latitude: float
    longitude: float
    depth: float | None
    cell: int | None


def find_stations(root: zarr.Group) -> list[Station]:
    """All stations of all networks, from west to east, each with the cell it lies in."""
    stations = []
    if not has_group(root, "land"):
        return []
    latitude, longitude = cell_centres(root)
    for network in group_names(root, "insitu"):
        path = f"insitu/{network}"
        group = existing_group(root, path)
        north, east = (
            read_region(root, path, n, dims=("station",)).astype(np.float64) for n in ("latitude", "longitude")
        )
        codes = _codes(root, path, len(north))
        depths = read_region(root, path, "depth") if "depth" in group else None
        stored = read_region(root, path, "cell") if "cell" in group else None
        for index in range(len(north)):
            if stored is not None:
                cell = int(stored[index]) if 0 <= stored[index] < len(latitude) else None
            else:
                cell = cell_at(float(north[index]), float(east[index]), latitude, longitude)
            depth = None if depths is None else float(depths[index])
            stations.append(Station(network, index, codes[index], float(north[index]), float(east[index]), depth, cell))
    return sorted(stations, key=lambda station: station.longitude)


def _codes(root: zarr.Group, path: str, number: int) -> list[str]:
    if "code" not in existing_group(root, path):
        return [f"{path.removeprefix('insitu/')} {index}" for index in range(number)]
    array = existing_array(root, path, "code")
    labels = array.attrs.get("labels")
    values = np.asarray(array[...])
    return [str(labels[int(value)]) if isinstance(labels, list) else str(value) for value in values]


def cell_at(latitude: float, longitude: float, cells_north: Array, cells_east: Array) -> int | None:
    """The cell whose square a point lies in; None outside all of them."""
    half = grid_spacing(cells_north, cells_east) / 2.0
    apart_east = np.abs((cells_east - longitude + 180.0) % 360.0 - 180.0)
    apart_north = np.abs(cells_north - latitude)
    tolerance = 1e-6  # degrees: coordinates may be stored in single precision
    inside = np.flatnonzero((apart_north <= half + tolerance) & (apart_east <= half + tolerance))
    return int(inside[np.argmin(np.hypot(apart_north[inside], apart_east[inside]))]) if len(inside) else None


def grid_spacing(latitude: Array, longitude: Array) -> float:
    """Smallest distance between rows or columns of cells, degrees; DEFAULT_SPACING for a single cell."""
    steps = [np.diff(np.unique(np.round(axis[np.isfinite(axis)], 4))) for axis in (latitude, longitude)]
    smallest = [float(step.min()) for step in steps if len(step)]
    return min(smallest) if smallest else DEFAULT_SPACING


def evaluate_stations(reader: Reader, plan: Plan, notes: list[str]) -> dict[str, xr.Dataset]:
    """Scores per (series, station) for every network and variable: `station_<network>_<variable>` -> dataset.

    Soil moisture has `r_by_month` too: R of every station, year and month (series, year, month, station).
    """
    root, stations = reader.root, find_stations(reader.root)
    outside = [station.code for station in stations if station.cell is None]
    if outside:
        notes.append(f"Stations outside the domain are left out: {', '.join(outside)}.")
    results = {}
    for network in group_names(root, "insitu"):
        inside = [station for station in stations if station.network == network and station.cell is not None]
        for variable in _station_variables(root, f"insitu/{network}") if inside else ():
            found = _evaluate_variable(reader, plan, network, variable, inside, notes)
            if found is not None:
                results[f"station_{network}_{variable}"] = found
    return results


def _station_variables(root: zarr.Group, path: str) -> list[str]:
    names = {*variable_names(root, path, "station", "time"), *variable_names(root, path, "time", "station")}
    return sorted(name for name in names if not name.endswith("_quality"))


def _evaluate_variable(
    reader: Reader, plan: Plan, network: str, variable: str, stations: Sequence[Station], notes: list[str]
) -> xr.Dataset | None:
    model_name = MODEL_NAMES.get(variable, variable)
    series = series_with(plan.experiments, model_name)
    problem = _unit_problem(reader.root, f"insitu/{network}", variable, model_name)
    if problem:
        notes.append(problem)
    if not series or problem:
        return None
    if variable == "soil_moisture":
        deep = [station.code for station in stations if station.depth is not None and station.depth > SHALLOWEST_DEPTH]
        if deep:
            notes.append(f"Sensors below {SHALLOWEST_DEPTH} m are not compared: {', '.join(deep)}.")
        stations = [station for station in stations if station.code not in deep]
    if not stations:
        return None
    observed = np.stack([observations_of(reader, plan, station, variable) for station in stations], axis=-1)
    runs = [[run_at(reader, plan, one, model_name, station) for station in stations] for one in series]
    values = np.array(runs).transpose(0, 2, 1)
    observed = np.where(common_days(values, observed), observed, np.nan)
    time = plan.days.astype("datetime64[ns]")
    unit = {"units": registry.variable(model_name).unit}
    model = xr.DataArray(values, dims=("series", "time", "station"), coords={"time": time}, attrs=unit)
    reference = xr.DataArray(observed, dims=("time", "station"), coords={"time": time}, attrs=unit)
    result = metrics.scores(model, reference)
    if variable == "soil_moisture":
        result["r_by_month"] = r_by_station_month(model, reference)
    place = place_of(plan.open_loop, series)
    if place is not None:
        result = result.merge(metrics.information_contributions(result, place))
    result.attrs.update(network=network, variable=variable, model=model_name)
    return result.transpose("series", ..., "station").assign_coords(
        series=np.array([one.label for one in series], dtype=object),
        code=("station", np.array([station.code for station in stations], dtype=object)),
        cell=("station", np.array([station.cell for station in stations])),
    )


def _unit_problem(root: zarr.Group, path: str, variable: str, model_name: str) -> str:
    """Why a station's variable cannot be compared, or an empty text."""
    try:
        expected = registry.variable(model_name).unit
    except RegistryError:
        return f"{path}/{variable} has no counterpart in the model and is not compared."
    unit = str(existing_array(root, path, variable).attrs.get("units", expected))
    if cf.conversion(_SAME_UNITS.get(unit, unit), expected) == (1.0, 0.0):
        return ""
    return f"{path}/{variable} is in {unit!r}, {model_name} in {expected!r}: it is not compared."


def observations_of(reader: Reader, plan: Plan, station: Station, variable: str) -> Array:
    """Daily means of what a station measured (day,), without the days that were mostly gap-filled."""
    path, place = f"insitu/{station.network}", slice(station.index, station.index + 1)
    values = reader.daily(path, variable, plan.days, place, "station")[:, 0]
    quality = f"{variable}_quality"
    if quality in existing_group(reader.root, path):
        part = reader.daily(path, quality, plan.days, place, "station")[:, 0]
        values[~(part >= LEAST_QUALITY)] = np.nan
    return values


def run_at(reader: Reader, plan: Plan, series: Series, variable: str, station: Station) -> Array:
    """A series at a station's cell, (day,)."""
    assert station.cell is not None
    name = plan.experiment(series.experiment).stored_name(variable, series.kind)
    labels = plan.experiment(series.experiment).labels(name, plan.days)
    return reader.daily(f"runs/{series.experiment}", name, labels, slice(station.cell, station.cell + 1))[:, 0]


def r_by_station_month(model: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """R of each month of each year (series, station, year, month), at least MINIMUM_PAIRS_R pairs; Figure 9."""
    years = np.unique(reference["time"].dt.year.values)
    by_year = []
    for year in years:
        inside = (reference["time"].dt.year == year).values
        part = metrics.scores_by_month(model.isel(time=inside), reference.isel(time=inside), names=("r",))
        by_year.append(part["r"])
    return xr.concat(by_year, dim=xr.DataArray(years, dims="year", name="year"))


def monthly_cycle(days: Days, values: Array) -> Array:
    """Mean of each calendar month (12,), NaN without any value."""
    month = days.astype("datetime64[M]").astype(int) % 12
    means = np.full(12, np.nan)
    for index in range(12):
        part = values[(month == index) & np.isfinite(values)]
        if part.size:
            means[index] = part.mean()
    return means


def is_synthetic(root: zarr.Group) -> bool:
    """Whether any group says that its data are synthetic."""
    paths = ["", "land", "forcing", "truth"]
    paths += [f"{parent}/{name}" for parent in ("observations", "insitu", "runs") for name in group_names(root, parent)]
    for path in paths:
        found: Mapping[str, Any] = attributes(root, path) if path else root.attrs.asdict()
        configuration = found.get("provenance", {}).get("configuration", {})
        if found.get("synthetic") or configuration.get("synthetic"):
            return True
    return False
