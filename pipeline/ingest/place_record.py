"""Records of the weather at one place, some variables of which were not measured, as complete hourly forcing.

A reader (`station`, `epw`, `half_hourly`) gives what its files hold as a record: a dataset over (time, cell = 1) in UTC
with some of `QUANTITIES`. Here its gaps are closed by the configured policy, half hours become hours, and what is
missing is estimated (`ldas.pipeline.forcing.estimation`). Every value that was not measured is counted in the forcing's
attribute `estimated` (`ldas.pipeline.forcing.estimated`).
"""

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field, model_validator

from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.files import instant
from ldas.pipeline.forcing import estimation, physics
from ldas.pipeline.forcing.estimated import ESTIMATED, Estimate
from ldas.pipeline.ingest import alma, forcing_fields, gaps
from ldas.pipeline.ingest.config import FilesConfig, ForcingConfig, GapPolicy, SnowRule
from ldas.pipeline.settings.yaml_file import StrictModel

# What a record may hold; the first two it must. `Rainf` is all precipitation.
QUANTITIES = {
    "Tair": "air temperature, K",
    "Rainf": "precipitation, kg m-2 s-1",
    "vapour_pressure": "vapour pressure, Pa",
    "PSurf": "air pressure, Pa",
    "Wind": "wind speed, m s-1",
    "SWdown": "downward shortwave radiation, W m-2",
    "LWdown": "downward longwave radiation, W m-2",
    "CO2": "mole fraction of carbon dioxide, ppm",
}
NEEDED = ("Tair", "Rainf")
_ALMA = {"vapour_pressure": "Qair", "CO2": "CO2air"}
MONTHS = 12
Depression = float | tuple[float, ...] | Literal["aridity"]
WET_DAY = 0.1  # kg m-2 of precipitation that make a day a rainy one


class PlaceGaps(GapPolicy):
    """What is done about missing values of one place.

    fill: linear in time over at most `hours` in a row. What is missing longer: temperature and precipitation come from
    the same hours of another year, the nearest that has them, over at most `other_year_days` in a row; other variables
    are estimated.
    """

    other_year_days: int = Field(
        default=0, ge=0, description="longest gap of temperature and rain that another year fills, days"
    )

    @model_validator(mode="after")
    def _other_years_belong_to_fill(self) -> Self:
        if self.other_year_days and self.action != "fill":
            raise ValueError("`other_year_days` belongs to the action `fill`")
        return self


class MovedTo(StrictModel):
    """Another place near by that gets the weather of the station."""

    latitude: float = Field(ge=-90, le=90, description="degrees north")
    longitude: float = Field(ge=-180, le=180, description="degrees east")
    elevation: float = Field(description="m above sea level")


class PlaceConfig(ForcingConfig, FilesConfig):
    """What the ingests of the weather at one place share."""

    gaps: PlaceGaps = PlaceGaps()
    snow: SnowRule = SnowRule()
    wind: float | tuple[float, ...] = Field(
        default=estimation.USUAL_WIND,
        description="m s-1, where it was not measured: a constant, or a climatology of 12 months",
    )
    dew_point_depression: Depression = Field(
        default=0.0,
        description="K, where humidity was not measured: how far the dew point is below the daily minimum of "
        "temperature, a constant or a climatology of 12 months; aridity: by potential evaporation and annual "
        "precipitation",
    )
    co2_ppm: float | None = Field(default=None, gt=0, description="where it was not measured; default: table by year")
    moved_to: MovedTo | None = Field(
        default=None, description="run this place with the weather of the station, moved by the difference in height"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for name in ("wind", "dew_point_depression"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != MONTHS:
                raise ValueError(f"{name}: a climatology has 12 numbers, January first, got {len(value)}")
        if np.min(self.wind) < 0.0:
            raise ValueError(f"wind: must not be negative, got {self.wind}")
        if self.append:
            raise ValueError(
                "append: estimates depend on the days around them and fillings on other years: ingest all files at "
                "once into another store"
            )
        return self


class Marks:
    """Which values were not measured: counted by variable, method and source."""

    def __init__(self) -> None:
        self.list: list[Estimate] = []

    def add(self, name: str, where: npt.NDArray[np.bool_], method: str, source: str) -> None:
        """The values of a variable (its ALMA name, or a name of `QUANTITIES`) at `where` were made in this way."""
        if where.any():
            self.list.append(Estimate(_ALMA.get(name, name), method, source, float(where.mean())))


def completed(record: xr.Dataset, elevation: float, stamp: str, config: PlaceConfig, where: object) -> xr.Dataset:
    """The nine ALMA variables, hourly over (time, cell = 1), complete, with the attribute `estimated`.

    Args:
        record: some of `QUANTITIES` over (time, cell = 1), UTC, equally spaced times of which some may be missing; its
            attribute `estimated` may hold marks of the producer.
        elevation: of the station, m.
        stamp: what a time of the record means, as in `alma.to_hourly`.

    Raises:
        IngestError: temperature or rain that are not there, or missing for longer than the policy fills.
    """
    missing = [f"{name} ({QUANTITIES[name]})" for name in NEEDED if name not in record]
    if missing:
        raise IngestError(f"{where}: no {', no '.join(missing)}: air temperature and precipitation must be measured")
    marks = Marks()
    marks.list += record.attrs.get(ESTIMATED, [])
    filled = _at_full_hours(_without_gaps(record, config, marks, where))
    hourly = alma.to_hourly(filled, stamp, config.period, GapPolicy(), where)
    place = (float(record["latitude"].item()), float(record["longitude"].item()))
    if config.moved_to is not None:
        hourly = _moved(hourly, elevation, config.moved_to, marks)
        place, elevation = (config.moved_to.latitude, config.moved_to.longitude), config.moved_to.elevation
    series = {str(name): hourly[name].to_numpy()[:, 0] for name in hourly.data_vars}
    made = _estimated(series, hourly["time"].to_numpy(), place, elevation, config, marks)
    return xr.Dataset(
        {
            name: (("time", "cell"), made[name][:, None], registry.attributes(name))
            for name in registry.names("forcing")
        },
        coords={"time": hourly["time"], "latitude": ("cell", [place[0]]), "longitude": ("cell", [place[1]])},
        attrs={ESTIMATED: [item.stored() for item in marks.list], "notes": [str(item) for item in marks.list]},
    )


# --- gaps ----------------------------------------------------------------------------------------------------------


def _without_gaps(record: xr.Dataset, config: PlaceConfig, marks: Marks, where: object) -> xr.Dataset:
    """The record on a complete axis of the period, its gaps closed as the policy says; other ones stay missing."""
    times = record["time"].to_numpy().astype("datetime64[ns]")
    if len(times) < 2:
        raise IngestError(f"{where}: {len(times)} record(s) in time, at least two are needed")
    step = np.median(np.diff(times).astype(np.int64)).astype("timedelta64[ns]")
    first, last = times[0], times[-1]
    if config.period.start is not None:
        first = times[0] - np.ceil((times[0] - np.datetime64(config.period.start, "ns")) / step) * step
    if config.period.end is not None:
        last = times[-1] + np.ceil((np.datetime64(config.period.end, "ns") - times[-1]) / step) * step
    axis = np.arange(min(first, times[0]), max(last, times[-1]) + step, step).astype("datetime64[ns]")
    beside = ~np.isin(times, axis)
    if beside.any():
        raise IngestError(
            f"{where}: times are not equally spaced: {instant(times[int(np.argmax(beside))])} is not a multiple of "
            f"{step.astype('timedelta64[s]').astype(int)} s after {instant(times[0])}"
        )
    wanted = (axis >= first) & (axis <= last)
    complete = record.assign_coords(time=times).reindex(time=axis)
    for name in map(str, record.data_vars):
        values = complete[name].to_numpy()[:, 0].copy()
        _fill(name, values, axis, wanted, config.gaps, marks, where)
        complete[name] = (("time", "cell"), values[:, None], record[name].attrs)
    return complete.isel(time=np.flatnonzero(wanted))


def _at_full_hours(record: xr.Dataset) -> xr.Dataset:
    """An hourly record of a clock that is not whole hours ahead of UTC, linear in time at the full hours.

    For precipitation that is exact: a share of each hour's mean, as long as the part of it that counts.
    """
    times = record["time"].to_numpy()
    first = times[0].astype("datetime64[h]")
    if first == times[0] or times[1] - times[0] != gaps.HOUR:
        return record
    hours = np.arange(first + np.timedelta64(1, "h"), times[-1], gaps.HOUR).astype("datetime64[ns]")
    weight = float((hours[0] - times[0]) / gaps.HOUR)
    parts = {
        name: (field.dims, (1.0 - weight) * field.to_numpy()[:-1] + weight * field.to_numpy()[1:], field.attrs)
        for name, field in record.data_vars.items()
    }
    return xr.Dataset(parts, coords={**record.drop_vars("time").coords, "time": hours})


def _fill(
    name: str,
    values: Array,
    axis: Times,
    wanted: npt.NDArray[np.bool_],
    policy: PlaceGaps,
    marks: Marks,
    where: object,
) -> None:
    """Closes the gaps of one variable in place."""
    step_h = float((axis[1] - axis[0]) / gaps.HOUR)
    missing = np.isnan(values)
    interpolated, other = np.zeros_like(missing), np.zeros_like(missing)
    for gap in _runs(missing & wanted):
        inside = gap[0] > 0 and gap[-1] < len(values) - 1 and not missing[gap[0] - 1] and not missing[gap[-1] + 1]
        if inside and len(gap) * step_h <= policy.hours:
            interpolated[gap] = True
            continue
        if name not in NEEDED:
            continue
        days = len(gap) * step_h / 24.0
        if days > policy.other_year_days:
            longer = f"raise gaps.{'other_year_days' if days > 1 else 'hours'}"
            way_on = longer if policy.action == "fill" else "set gaps.action to fill, with gaps.hours"
            raise IngestError(
                f"{where}: {name} is missing for {_length(len(gap) * step_h)} from {instant(axis[gap[0]])}; the gap "
                f"policy interpolates up to {policy.hours} h and takes up to {policy.other_year_days} days from "
                f"another year: {way_on}, or choose another period"
            )
        other[gap] = True
    known = np.flatnonzero(~missing)
    values[interpolated] = np.interp(np.flatnonzero(interpolated), known, values[known])
    if other.any():
        values[other] = _of_other_years(values, axis, other, name, where)
    marks.add(name, interpolated[wanted], "interpolated in time between measurements", f"gaps: hours {policy.hours}")
    source = f"gaps: other_year_days {policy.other_year_days}"
    marks.add(name, other[wanted], "the same hours of the nearest other year that has them", source)


def _runs(missing: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    where = np.flatnonzero(missing)
    return [run for run in np.split(where, np.flatnonzero(np.diff(where) > 1) + 1) if len(run)]


def _length(hours: float) -> str:
    return f"{hours:g} h" if hours <= 48 else f"{hours / 24.0:.1f} days"


def _of_other_years(values: Array, axis: Times, wanted: npt.NDArray[np.bool_], name: str, where: object) -> Array:
    """Measured values at the same date and hour of the nearest other year; 29 February is 28 February elsewhere."""
    place = {time: index for index, time in enumerate(axis.astype("datetime64[s]").tolist())}
    years = axis.astype("datetime64[Y]").astype(int) + 1970
    distances = sorted(
        (shift for shift in range(years[0] - years[-1], years[-1] - years[0] + 1) if shift), key=lambda y: (abs(y), y)
    )
    measured = ~np.isnan(values) & ~wanted
    result = []
    for time in axis[wanted].astype("datetime64[s]").tolist():
        for shift in distances:
            day = 28 if (time.month, time.day) == (2, 29) else time.day
            index = place.get(time.replace(year=time.year + shift, day=day))
            if index is not None and measured[index]:
                result.append(values[index])
                break
        else:
            raise IngestError(
                f"{where}: {name} is missing at {time:%Y-%m-%dT%H:%M} UTC, and so it is in every other year"
            )
    return np.array(result)


# --- another place -------------------------------------------------------------------------------------------------


def _moved(hourly: xr.Dataset, elevation: float, to: MovedTo, marks: Marks) -> xr.Dataset:
    """The weather at another height: temperature by the lapse rate, pressure by the hydrostatic equation."""
    difference = to.elevation - elevation
    moved = hourly.copy()
    temperature = hourly["Tair"].to_numpy()
    moved["Tair"] = hourly["Tair"].copy(data=temperature - estimation.LAPSE_RATE * difference)
    if "PSurf" in hourly:
        mean = float(temperature.mean())
        factor = estimation.pressure_at(to.elevation, mean - estimation.LAPSE_RATE * difference)
        moved["PSurf"] = hourly["PSurf"] * (factor / estimation.pressure_at(elevation, mean))
    for name in map(str, hourly.data_vars):
        how = {
            "Tair": f"moved by {difference:+g} m with {1000 * estimation.LAPSE_RATE:g} K km-1",
            "PSurf": f"moved by {difference:+g} m with the hydrostatic equation",
        }
        there = np.isfinite(hourly[name].to_numpy()[:, 0])
        marks.add(name, there, how.get(name, f"that of the station {-difference:+g} m from the place"), "moved_to")
    return moved


# --- estimates -----------------------------------------------------------------------------------------------------


def _estimated(
    series: dict[str, Array],
    time: Times,
    place: tuple[float, float],
    elevation: float,
    config: PlaceConfig,
    marks: Marks,
) -> dict[str, Array]:
    """The nine ALMA variables, (record,): what the series hold, and estimates where they hold nothing."""
    temperature, precipitation = series["Tair"], series["Rainf"]
    days = estimation.solar_days(time, place[1])
    month = time.astype("datetime64[M]").astype(int) % MONTHS
    unknown = np.full(len(time), np.nan)

    def known(name: str, estimate: Array | float, method: str, source: str) -> Array:
        """A series, with the estimate where it has no value."""
        values = series.get(name, unknown)
        missing = np.isnan(values)
        marks.add(name, missing, f"estimated {method}", source)
        return np.where(missing, estimate, values)

    pressure = known(
        "PSurf",
        estimation.pressure_at(elevation, float(temperature.mean())),
        f"from the height of {elevation:g} m and the mean temperature",
        "hydrostatic equation",
    )
    saturation = physics.saturation_vapour_pressure(temperature)
    low, high = (estimation.by_day(temperature, days, function) for function in (np.minimum, np.maximum))
    rainy = estimation.by_day(precipitation, days, np.add) * physics.SECONDS_PER_HOUR >= WET_DAY
    clouds = estimation.cloud_transmittance(low, high, rainy)[days]
    if config.dew_point_depression == "aridity":
        at_minimum = estimation.vapour_pressure(temperature, days)
        first = estimation.clear_sky(time, place[0], place[1], pressure, at_minimum) * clouds
        radiation = series.get("SWdown", unknown)
        radiation = np.where(np.isnan(radiation), first, radiation)
        aridity = estimation.aridity_depression(temperature, precipitation, radiation, pressure, days)
        depression = aridity[days]
    else:
        depression = _by_month(config.dew_point_depression, month)
    vapour = np.minimum(
        known(
            "vapour_pressure",
            estimation.vapour_pressure(temperature, days, depression),
            f"with the dew point at the daily minimum of temperature{_less(config.dew_point_depression)}",
            "Kimball et al. 1997" if config.dew_point_depression == "aridity" else "Running et al. 1987",
        ),
        saturation,
    )
    clear = estimation.clear_sky(time, place[0], place[1], pressure, vapour)
    shortwave = known(
        "SWdown",
        clear * clouds,
        "from the daily range of temperature, the rain and the sun's height",
        "Thornton and Running 1999",
    )
    longwave = known(
        "LWdown",
        estimation.longwave(temperature, vapour, estimation.cloud_cover(shortwave, clear, days)),
        "from temperature, humidity and the cloud cover that the shortwave tells",
        "Brutsaert 1975, Crawford and Duchon 1999",
    )
    usual = config.wind == estimation.USUAL_WIND
    wind = known(
        "Wind",
        _by_month(config.wind, month),
        "as a climatology by month" if isinstance(config.wind, tuple) else f"as a constant of {config.wind:g} m s-1",
        "Allen et al. 1998" if usual else "configuration: wind",
    )
    given = config.co2_ppm is not None
    measured = not np.isnan(series.get("CO2", unknown)).any()  # the table by year may not reach there
    by_year = unknown if given or measured else forcing_fields.co2_mole_fraction(time)
    ppm = known(
        "CO2",
        np.full(len(time), config.co2_ppm) if given else by_year,
        "as a constant" if given else "as the global annual mean",
        "configuration: co2_ppm" if given else "NOAA",
    )
    before = np.concatenate([temperature[:1], temperature[:-1]])
    rule = config.snow
    solid = physics.snow_fraction(0.5 * (before + temperature), rule.all_snow_below, rule.all_rain_above)
    limits = f"{rule.all_snow_below:g} to {rule.all_rain_above:g} K"
    marks.add(
        "Snowf", np.ones(len(time), dtype=bool), f"estimated as part of the precipitation, {limits}", "air temperature"
    )
    humidity = physics.specific_humidity(vapour, pressure)
    return {
        "Tair": temperature,
        "Qair": humidity,
        "Wind": wind,
        "PSurf": pressure,
        "SWdown": shortwave,
        "LWdown": longwave,
        "Rainf": precipitation * (1.0 - solid),
        "Snowf": precipitation * solid,
        "CO2air": physics.co2_density(ppm, physics.air_density(temperature, pressure, humidity)),
    }


def _by_month(value: float | tuple[float, ...], month: npt.NDArray[np.int64]) -> Array:
    return np.asarray(np.broadcast_to(np.asarray(value, dtype=np.float64), MONTHS)[month])


def _less(depression: Depression) -> str:
    if depression == "aridity":
        return " less a depression by potential evaporation and annual precipitation"
    if isinstance(depression, tuple):
        return " less a depression by month"
    return f" less {depression:g} K" if depression else ""
