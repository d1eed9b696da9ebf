"""From meteorological fields on a latitude x longitude grid to the nine ALMA variables at target cells.

A source module finds and reads its fields (names, units, layouts); this module does what all sources share. Everything
stays lazy: a field is read in blocks of time when the result is computed.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files as package_files
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest import gaps, grid
from ldas.pipeline.ingest.config import GapPolicy, Period, SnowRule
from ldas.pipeline.ingest.grid import Cells

Fields = dict[str, xr.DataArray]

# What a source provides, each over (time, latitude, longitude). Radiation and precipitation are means over the hour
# that ENDS at their time (as ERA5's accumulations), everything else belongs to the instant.
QUANTITIES = {
    "temperature": "air temperature, K",
    "dew_point": "dew point temperature, K",
    "pressure": "surface pressure, Pa",
    "eastward_wind": "eastward wind, m s-1",
    "northward_wind": "northward wind, m s-1",
    "shortwave": "downward shortwave radiation, W m-2",
    "longwave": "downward longwave radiation, W m-2",
    "precipitation": "rain and snow, kg m-2 s-1",
    "snowfall": "snow, kg m-2 s-1",
}
OPTIONAL = ("snowfall",)
FINAL, PRELIMINARY = 1, 5  # `expver` of a field's hours: ERA5 and ERA5T; 0 where it is not known
HOUR_MEANS = {"shortwave": "SWdown", "longwave": "LWdown"}
HOUR_MEAN = "{}_hour_mean"  # variable of the means over the hour before: what centring needs at an append
RADIATION_NOISE = 1.0  # W m-2, of packing
PRECIPITATION_NOISE = 1e-5  # kg m-2 s-1, likewise


@cache
def _co2_table() -> tuple[Array, Array]:
    text = package_files("ldas.pipeline.ingest").joinpath("co2_annual_mean.csv")
    with text.open(encoding="utf-8") as file:
        table = pd.read_csv(file, comment="#")
    return table["year"].to_numpy(dtype=np.float64), table["ppm"].to_numpy(dtype=np.float64)


def co2_mole_fraction(times: Times) -> Array:
    """Global mean CO2 mole fraction, ppm: NOAA's annual means at mid-year, linear between (co2_annual_mean.csv).

    Raises:
        IngestError: a year outside the table (its first and last value reach half a year further).
    """
    year = times.astype("datetime64[Y]")
    start, end = year.astype("datetime64[s]"), (year + 1).astype("datetime64[s]")
    part = (times.astype("datetime64[s]") - start).astype(np.float64) / (end - start).astype(np.float64)
    years = year.astype(np.int64) + 1970 + part
    known_years, ppm = _co2_table()
    outside = (years < known_years[0]) | (years >= known_years[-1] + 1)
    if outside.any():
        raise IngestError(
            f"the CO2 table has the years {known_years[0]:.0f} to {known_years[-1]:.0f}, not "
            f"{times[int(np.argmax(outside))].astype('datetime64[Y]')}; give co2_ppm in the configuration"
        )
    return np.interp(years, known_years + 0.5, ppm)


def block_records(cells: int, memory_mb: int) -> int:
    """Hours of a block in time: its fields near the cells, and what is made of them, take a quarter of the memory."""
    values = 4 * len(QUANTITIES) + 9  # up to four points of each field around a cell, and the nine variables
    return int(np.clip(memory_mb * 1e6 / 4 / (8 * values * max(cells, 1)), 24, 8784))


def hourly_axis(fields: Mapping[str, xr.DataArray], period: Period, where: object) -> Times:
    """The hours of the period, or else from the first to the last hour that any field has."""
    first = min(field["time"].to_numpy()[0] for field in fields.values())
    last = max(field["time"].to_numpy()[-1] for field in fields.values())
    start = np.datetime64(period.start, "ns") if period.start else first
    end = np.datetime64(period.end, "ns") if period.end else last
    axis = np.arange(start, end + np.timedelta64(1, "ns"), gaps.HOUR, dtype="datetime64[ns]")
    if not len(axis) or end < first or start > last:
        raise IngestError(
            f"{where}: the files hold {first.astype('datetime64[m]')} to {last.astype('datetime64[m]')}, the period is "
            f"{start.astype('datetime64[m]')} to {end.astype('datetime64[m]')}"
        )
    return axis


def to_cells(field: xr.DataArray, cells: Cells, method: str, where: object) -> xr.DataArray:
    """A lazy field (time, latitude, longitude) at the cells, (time, cell)."""
    weights = grid.interpolation_weights(
        field["latitude"].to_numpy(), field["longitude"].to_numpy(), cells, method, where
    )
    box = field.isel(latitude=weights.box_rows, longitude=weights.box_columns)
    box = box.drop_vars(["latitude", "longitude"])
    if box.chunks is not None:
        box = box.chunk({"latitude": -1, "longitude": -1})
    result: xr.DataArray = xr.apply_ufunc(
        weights.apply,
        box,
        input_core_dims=[["latitude", "longitude"]],
        output_core_dims=[["cell"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"cell": len(cells)}},
        keep_attrs=True,
    )
    return result


def _lazily(function: Callable[..., Any], *fields: Any) -> xr.DataArray:
    result: xr.DataArray = xr.apply_ufunc(function, *fields, dask="parallelized", output_dtypes=[np.float64])
    return result


def shifted(field: xr.DataArray, steps: int) -> xr.DataArray:
    """The field `steps` records later, missing where there is none; Dask cannot shift a single record."""
    return xr.full_like(field, np.nan) if field.sizes["time"] == 1 else field.shift(time=steps)


def centred(hour_means: xr.DataArray) -> xr.DataArray:
    """Values at the instants from means over the hour before: the mean of the hours before and after.

    Sums over time stay the same but for the two ends; the last instant, whose following hour is not there, takes the
    hour before it, until an append makes it again. An instant beside a missing hour is missing.
    """
    last = xr.DataArray(np.arange(hour_means.sizes["time"]) == hour_means.sizes["time"] - 1, dims="time")
    return xr.where(last, hour_means, 0.5 * (hour_means + shifted(hour_means, -1)))


def _not_negative(field: xr.DataArray, noise: float) -> xr.DataArray:
    """The field with 0 for small negative numbers: packed files hold -1 packing step at night and in dry hours.

    Larger ones are not noise, and stay for the check of ranges.
    """
    return xr.where((field < 0.0) & (field >= -noise), 0.0, field)


def forcing_at_cells(
    fields: Fields,
    cells: Cells,
    *,
    period: Period,
    policy: GapPolicy,
    snow: SnowRule,
    co2_ppm: float | None,
    method: str,
    radiation: str,
    where: object,
    before: xr.DataArray | None = None,
) -> xr.Dataset:
    """The ALMA variables that the fields allow, lazy, over (time, cell), hourly and complete in time.

    Centred radiation comes with its hourly means (`HOUR_MEAN`), which an append needs to make the last stored instant
    again. The coordinate `preliminary` is true for hours with preliminary data in any field.

    Args:
        fields: some or all of `QUANTITIES`, each on its own grid.
        radiation: `centred` gives instants (see `centred`); `hour_mean` keeps the mean over the hour before.
        before: Tair (cell) of the last stored record, with its time, where these hours follow it.
    """
    axis = hourly_axis(fields, period, where)
    # One more hour, where the files have it, so that the radiation of the last instant is centred too.
    longer = np.append(axis, axis[-1] + gaps.HOUR)
    at_cells: Fields = {}
    for name, field in fields.items():
        has_next = radiation == "centred" and name in HOUR_MEANS and longer[-1] in field["time"].to_numpy()
        wanted = longer if has_next else axis
        complete = gaps.on_axis(field.rename(name), wanted, policy, where)
        at_cells[name] = to_cells(complete, cells, method, where)
    means: Fields = {}
    for name, alma in HOUR_MEANS.items():
        if name in at_cells:
            at_cells[name] = _not_negative(at_cells[name], RADIATION_NOISE)
            if radiation == "centred":
                means[HOUR_MEAN.format(alma)] = at_cells[name].sel(time=axis)
                at_cells[name] = centred(at_cells[name]).sel(time=axis)
    dataset = _alma(at_cells, means, cells, axis, snow, co2_ppm, before)
    versions = [field["time"].to_numpy()[field["expver"].to_numpy() == PRELIMINARY] for field in fields.values()]
    return dataset.assign_coords(preliminary=("time", np.isin(axis, np.concatenate(versions))))


def _alma(
    at: Fields,
    means: Fields,
    cells: Cells,
    axis: Times,
    snow: SnowRule,
    co2_ppm: float | None,
    before: xr.DataArray | None,
) -> xr.Dataset:
    """ALMA variables from the fields at the cells; a variable whose fields are not all there is left out."""
    made: Fields = dict(means)
    if "temperature" in at:
        made["Tair"] = at["temperature"]
    if "pressure" in at:
        made["PSurf"] = at["pressure"]
    if {"dew_point", "pressure"} <= at.keys():
        vapour = _lazily(physics.saturation_vapour_pressure, at["dew_point"])
        made["Qair"] = _lazily(physics.specific_humidity, vapour, at["pressure"])
    if {"eastward_wind", "northward_wind"} <= at.keys():
        made["Wind"] = _lazily(np.hypot, at["eastward_wind"], at["northward_wind"])
    for quantity, alma in HOUR_MEANS.items():
        if quantity in at:
            made[alma] = at[quantity]
    if "precipitation" in at:
        total = _not_negative(at["precipitation"], PRECIPITATION_NOISE)
        solid = _snowfall(at, total, snow, before)
        if solid is not None:
            made["Snowf"] = solid
            made["Rainf"] = total - solid
    if {"Tair", "Qair", "PSurf"} <= made.keys():
        ppm = np.full(len(axis), co2_ppm) if co2_ppm is not None else co2_mole_fraction(axis)
        density = _lazily(physics.air_density, made["Tair"], made["PSurf"], made["Qair"])
        made["CO2air"] = _lazily(physics.co2_density, xr.DataArray(ppm, dims="time", coords={"time": axis}), density)
    dataset = xr.Dataset(
        {
            name: field.transpose("time", "cell").drop_vars([c for c in field.coords if c != "time"])
            for name, field in made.items()
        },
        coords={"time": axis, **cells.coordinates()},
    )
    for name in made.keys() - means.keys():
        dataset[name].attrs = registry.attributes(name)
    return dataset


def _snowfall(at: Fields, total: xr.DataArray, snow: SnowRule, last: xr.DataArray | None) -> xr.DataArray | None:
    """Snow within the total, from the source's snowfall or from the temperature of the hour; None without either."""
    if "snowfall" in at:
        # Interpolation and packing noise must not make more snow than precipitation.
        solid = _not_negative(at["snowfall"], PRECIPITATION_NOISE)
        return xr.where(solid > total, total, solid)
    if "temperature" not in at:
        return None
    temperature = at["temperature"]
    before = shifted(temperature, 1)
    follows = last is not None and last["time"].to_numpy() + gaps.HOUR == temperature["time"].to_numpy()[0]
    if last is not None and follows and last.sizes["cell"] == temperature.sizes["cell"]:
        first = xr.DataArray(np.arange(temperature.sizes["time"]) == 0, dims="time")
        before = xr.where(first, last.drop_vars(list(last.coords)), before)
    hour = xr.where(before.notnull(), 0.5 * (before + temperature), temperature)
    fraction = _lazily(lambda kelvin: physics.snow_fraction(kelvin, snow.all_snow_below, snow.all_rain_above), hour)
    return total * fraction


def require_complete(dataset: xr.Dataset, where: object) -> None:
    """IngestError naming the ALMA variables that could not be made, and what they need."""
    missing = [name for name in registry.names("forcing") if name not in dataset]
    if missing:
        raise IngestError(
            f"{where}: {', '.join(missing)} cannot be made from the fields that were found; needed are "
            + "; ".join(f"{name} ({words})" for name, words in QUANTITIES.items() if name not in OPTIONAL)
        )
