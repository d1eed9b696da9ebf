"""Tables of ASCAT backscatter with ISBA states, one file a cell: an open loop and observations to train on."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.config import ObservationConfig, OverpassesPerDay
from ldas.pipeline.ingest.grid import Cells, wrap
from ldas.pipeline.ingest.observations import (
    DAY,
    Daily,
    Overpasses,
    observation_dataset,
    overpasses_of_days,
    ranks,
)
from ldas.pipeline.ingest.surfex import output_names
from ldas.pipeline.settings.assimilation import Name, state_name
from ldas.pipeline.tables.once_a_day import changes_once_a_day, warnings_of_table

DEFAULT_VARIABLES = ("TG1", "TG2", "TG3", "WG1", "WG2", "WG3", "LAI", "BIOMASS1")


class CollocatedConfig(ObservationConfig):
    """`ldas ingest collocated`: makes `runs/<run>` and `observations/<observation>`."""

    run: Name = "open_loop"
    observation: Name = "sigma40"
    variables: tuple[str, ...] = Field(default=DEFAULT_VARIABLES, description="registry names; those that are there")
    lai_per_leaf_biomass: float | None = Field(
        default=None, gt=0, description="m2 kg-1: LAI from leaf biomass where a file has no LAI"
    )
    overpasses_per_day: OverpassesPerDay = None


def read(paths: list[Path], config: CollocatedConfig) -> tuple[xr.Dataset, xr.Dataset]:
    """The run and the observations over (time daily, cell); a day's overpasses are averaged, in both alike.

    With `overpasses_per_day` the observations keep their hour, and the run has its states at the overpasses too, as the
    open loop stores them (`<variable>_<observation>`).

    Attribute `notes` of both: a warning for each file in which variables that change once a day differ between two rows
    of a day (`ldas.pipeline.tables.once_a_day`).

    Raises:
        IngestError: a file without place, time or backscatter; two files of one place.
    """
    tables = [_read_table(path, config) for path in paths]
    places = [(table.attrs["latitude"], table.attrs["longitude"]) for table in tables]
    if len(set(places)) != len(places):
        raise IngestError(f"two of the files hold the same place: {', '.join(str(path) for path in paths)}")
    names = [name for name in config.variables if any(name in table for table in tables)]
    if config.lai_per_leaf_biomass is not None and "LAI" not in names:
        names.append("LAI")
    first = min(table.index[0] for table in tables)
    last = max(table.index[-1] for table in tables)
    days = pd.date_range(first.normalize(), last.normalize(), freq="D")
    daily = [table.groupby(_days_of(table)) for table in tables]
    means = [group.mean().reindex(days) for group in daily]
    counts = np.stack([group["sig"].count().reindex(days, fill_value=0).to_numpy() for group in daily], axis=1)
    cells = Cells(np.array([place[0] for place in places]), wrap(np.array([place[1] for place in places])))
    times = days.to_numpy().astype("datetime64[ns]")
    run = xr.Dataset(
        {
            name: (
                ("time", "cell"),
                np.stack([_column(mean, name, config) for mean in means], axis=1).astype(np.float32),
                registry.attributes(name),
            )
            for name in names
        },
        coords={"time": times, **cells.coordinates()},
    ).assign(time_bnds=(("time", "bnds"), np.stack([times, times + DAY], axis=1)))
    for name in names:
        values = run[name].to_numpy()
        registry.check_range(name, values, where="collocated", allow_missing=True)
    if config.overpasses_per_day is not None:
        kept, states = _at_overpasses(tables, paths, names, times, config)
        run = run.assign(states)
        return _with_notes(run, _observed(kept, cells, config), tables, paths)
    sigma = np.stack([mean["sig"].to_numpy() for mean in means], axis=1)
    noise = np.stack([_noise(table, days) for table in tables], axis=1)
    code = np.where(counts > 0, Quality.USED, Quality.MISSING).astype(np.int8)
    means_of_days = Daily(np.asarray(times + DAY), sigma, noise, code, counts.astype(np.int64), None, begin=times)
    return _with_notes(run, _observed(means_of_days, cells, config), tables, paths)


def _observed(daily: Daily, cells: Cells, config: CollocatedConfig) -> xr.Dataset:
    """The group of observations."""
    return observation_dataset(config.observation, daily, cells, "dB", "normalised backscatter at 40 degrees incidence")


def _at_overpasses(
    tables: list[pd.DataFrame], paths: list[Path], names: list[str], days: Times, config: CollocatedConfig
) -> tuple[Daily, dict[str, xr.DataArray]]:
    """The overpasses of all tables at their own hour, and the states at them, (day, overpass, cell)."""
    for table, path in zip(tables, paths, strict=True):
        if (table.index == _days_of(table)).all():
            raise IngestError(
                f"{path}: its times are dates without hour, so no overpass has one: leave overpasses_per_day out"
            )
    most, whole = config.overpasses_per_day or 1, pd.concat([table.dropna(subset="sig") for table in tables])
    place = np.repeat(np.arange(len(tables)), [table["sig"].count() for table in tables])
    time = whole.index.to_numpy().astype("datetime64[ns]")
    noise = whole["sig_noise"].to_numpy() if "sig_noise" in whole else np.full(len(whole), np.nan)
    passes = Overpasses(place, time, whole["sig"].to_numpy(), noise, np.zeros(len(whole), dtype=np.int8))
    kept = overpasses_of_days(passes, len(tables), days, most)
    day = ((time - days[0]) // DAY).astype(np.int64)
    where = day, ranks(passes, day, days, most), place
    states = {}
    for name in names:
        values = np.full(kept.value.shape, np.nan, dtype=np.float32)
        values[where] = _column(whole, name, config)
        states[state_name(name, config.observation)] = xr.DataArray(
            values, dims=("time", "overpass", "cell"), attrs=registry.attributes(name)
        )
    return kept, states


def _with_notes(
    run: xr.Dataset, observed: xr.Dataset, tables: list[pd.DataFrame], paths: list[Path]
) -> tuple[xr.Dataset, xr.Dataset]:
    """Both, with what has to be said of the tables."""
    notes = [f"{path.name}: {note}" for path, table in zip(paths, tables, strict=True) for note in table.attrs["notes"]]
    if notes:
        run.attrs["notes"] = observed.attrs["notes"] = notes
    return run, observed


def _days_of(table: pd.DataFrame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(table.index).normalize()


def _column(mean: pd.DataFrame, name: str, config: CollocatedConfig) -> Array:
    if name in mean:
        return mean[name].to_numpy(dtype=np.float64)
    if name == "LAI" and config.lai_per_leaf_biomass is not None and "BIOMASS1" in mean:
        return mean["BIOMASS1"].to_numpy(dtype=np.float64) * config.lai_per_leaf_biomass
    return np.full(len(mean), np.nan)


def _noise(table: pd.DataFrame, days: pd.DatetimeIndex) -> Array:
    """Standard deviation of the daily mean of independent errors; missing where the file has none."""
    if "sig_noise" not in table:
        return np.full(len(days), np.nan)
    groups = (table["sig_noise"] ** 2).groupby(_days_of(table))
    return (np.sqrt(groups.sum(min_count=1)) / groups.count()).reindex(days).to_numpy(dtype=np.float64)


def _read_table(path: Path, config: CollocatedConfig) -> pd.DataFrame:
    """One file as a table by time: `sig`, `sig_noise` and the registry names that it has."""
    with files.open_netcdf(path) as dataset:
        time = files.values(files.variable(dataset, "time", path), path)
        if time.dtype.kind != "M" or time.ndim != 1:
            raise IngestError(f"{path}: time must be one axis of dates, got {time.dtype} with shape {time.shape}")
        columns = {
            "sig": files.values(files.in_units(files.variable(dataset, "sig", path), {"dB": (1, 0)}, path), path)
        }
        if "sig_noise" in dataset:
            columns["sig_noise"] = files.values(dataset["sig_noise"], path)
        wanted = (*config.variables, "BIOMASS1")
        for name in wanted:
            stored = next((item for item in output_names(name) if item in dataset.variables), None)
            if stored is not None:
                columns[name] = files.values(dataset[stored], path)
        rows = {
            str(name): files.values(dataset[name], path)
            for name in dataset.data_vars
            if changes_once_a_day(str(name)) and dataset[name].shape == time.shape
        }
        place = {}
        for name in ("latitude", "longitude"):
            short = name[:3]
            place[name] = float(files.values(files.variable(dataset, short, path), path))
    columns = {name: _in_range(name, values, config, path) for name, values in columns.items()}
    # Two overpasses of one date, where the file has dates only, share an index value: both count.
    table = pd.DataFrame(columns, index=pd.DatetimeIndex(time, name="time")).sort_index(kind="stable").astype(float)
    start, end = config.period.start, config.period.end
    table = table.loc[pd.Timestamp(start) if start else None : pd.Timestamp(end) if end else None]
    if table.empty:
        raise IngestError(f"{path}: no row lies in the period")
    table.attrs.update(place, notes=warnings_of_table(rows, time))
    return table


def _in_range(name: str, values: npt.NDArray[Any], config: CollocatedConfig, path: Path) -> Array:
    """Values that the quantity can have; another one stops, or is missing."""
    limits = None if name == "sig_noise" else registry.variable("sigma40" if name == "sig" else name).valid_range
    low, high = limits or (-np.inf, np.inf)
    numbers = values.astype(np.float64)
    outside = (numbers < low) | (numbers > high)
    if outside.any() and config.out_of_range == "raise":
        raise IngestError(
            f"{path}: {name} is {numbers[outside][0]:g}, expected {low:g} to {high:g} ({int(outside.sum())} such "
            "values); `out_of_range: missing` treats such values as missing"
        )
    return np.where(outside, np.nan, numbers)
