"""Where the water of each cell went: rates per year over the period that is compared."""

import numpy as np
import xarray as xr
import zarr

from ldas.landmodel.array_types import Array, Days
from ldas.landmodel.soil_properties import LAYER_BOTTOMS
from ldas.pipeline import registry
from ldas.pipeline.evaluation.plan import Experiment
from ldas.pipeline.evaluation.reading import Reader
from ldas.pipeline.stages.land import forcing_times, read_forcing
from ldas.pipeline.store.arrays import existing_group, has_group

SECONDS_PER_DAY = 86400.0
DAYS_PER_YEAR = 365.25
WATER_DENSITY = 1000.0  # kg m-3
DAYS_AT_A_TIME = 366  # of hourly forcing: what is in memory at once does not grow with the period
OUTGOING = {"evapotranspiration": "EVAP", "drainage": "DRAINAGE", "runoff": "RUNOFF"}


def water_balance(reader: Reader, experiment: Experiment, days: Days, places: slice) -> xr.Dataset:
    """Terms of the water balance (cell,) in kg m-2 per year, over the days on which the experiment has values.

    precipitation (from the forcing), evapotranspiration, drainage, runoff, added_by_analysis (increments of soil
    moisture and snow) and storage_change (of the whole soil, where TOTAL_SOIL_WATER is stored, and snow).
    A term that is not stored is absent. residual: what is left, where all terms are there.
    """
    path = f"runs/{experiment.name}"

    def rate(name: str) -> Array:
        return mean_per_year(reader.daily(path, name, days, places))

    terms = {name: rate(variable) for name, variable in OUTGOING.items() if variable in experiment.variables}
    present = np.isfinite(reader.daily(path, "EVAP", days, places)) if "EVAP" in experiment.variables else None
    if present is not None and has_precipitation(reader.root):
        terms["precipitation"] = _precipitation(reader.root, days, places, present)
    water = [control for control in experiment.controls if registry.base_name(control) in ("WG", "SWE")]
    if water:
        terms["added_by_analysis"] = _added(reader, path, water, days, places)
    if {"TOTAL_SOIL_WATER", "SWE"} <= experiment.variables:
        soil, snow = (reader.daily(path, name, days, places) for name in ("TOTAL_SOIL_WATER", "SWE"))
        terms["storage_change"] = _change_per_year(soil + snow)
    everything = {*OUTGOING, "precipitation", "storage_change"}
    if everything <= set(terms):
        gained = terms["precipitation"] + terms.get("added_by_analysis", 0.0)
        lost = sum(terms[name] for name in OUTGOING)
        terms["residual"] = gained - lost - terms["storage_change"]
    unit = {"units": "kg m-2 yr-1"}
    return xr.Dataset({name: ("cell", np.asarray(values), unit) for name, values in sorted(terms.items())})


def has_precipitation(root: zarr.Group) -> bool:
    """Whether the store keeps the rain and snow that the runs were driven by."""
    if not has_group(root, "forcing"):
        return False
    group = existing_group(root, "forcing")
    return bool(group.attrs.get("complete", True)) and {"Rainf", "Snowf", "time"} <= set(group.array_keys())


def mean_per_year(values: Array) -> Array:
    """Mean over the days (day, cell) that are there of a rate per second, as an amount per year; NaN without any."""
    there = np.isfinite(values)
    number = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return mean * SECONDS_PER_DAY * DAYS_PER_YEAR


def _precipitation(root: zarr.Group, days: Days, places: slice, present: np.ndarray) -> Array:
    """Rain and snow of the days on which the run has values; a record belongs to the interval that ends at it."""
    times = forcing_times(root)
    cells = places.stop - places.start
    total, number = np.zeros(cells), np.zeros(cells)
    second = np.timedelta64(1, "s")
    for start in range(0, len(days), DAYS_AT_A_TIME):
        part = days[start : start + DAYS_AT_A_TIME].astype("datetime64[s]")
        bounds = [part[0] + second, part[-1] + np.timedelta64(86400, "s") + second]
        first, last = np.searchsorted(times, bounds)
        records = slice(int(first), int(last))
        fallen = np.zeros((int(last - first), cells))
        for name in ("Rainf", "Snowf"):
            fallen += read_forcing(root, name, records, places)
        day = ((times[first:last] - second).astype("datetime64[D]") - days[0]).astype(np.int64)
        counts = present[day] & np.isfinite(fallen)
        total += np.where(counts, fallen, 0.0).sum(axis=0)
        number += counts.sum(axis=0)
    mean = np.divide(total, number, out=np.full(cells, np.nan), where=number > 0)
    return mean * SECONDS_PER_DAY * DAYS_PER_YEAR


def _added(reader: Reader, path: str, controls: list[str], days: Days, places: slice) -> Array:
    """Water that the increments of soil moisture and snow put in (or, negative, took out)."""
    thickness = np.diff(LAYER_BOTTOMS, prepend=0.0)
    total = np.zeros(places.stop - places.start)
    for control in controls:
        layer = registry.variable(control).layer
        increment = np.nan_to_num(reader.daily(path, f"increment_{control}", days, places))  # no analysis adds nothing
        total += increment.sum(axis=0) * (1.0 if layer is None else thickness[layer - 1] * WATER_DENSITY)
    return total / len(days) * DAYS_PER_YEAR


def _change_per_year(stored: Array) -> Array:
    """Difference of the last and the first value of each cell, per year between them."""
    there = np.isfinite(stored)
    first: np.ndarray = there.argmax(axis=0)
    last: np.ndarray = len(stored) - 1 - there[::-1].argmax(axis=0)
    cell = np.arange(stored.shape[1])
    years = (last - first) / DAYS_PER_YEAR
    change = np.asarray(stored[last, cell] - stored[first, cell])
    return np.divide(change, years, out=np.full(change.shape, np.nan), where=years > 0)
