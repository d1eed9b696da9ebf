"""FLUXNET daily records as hourly forcing that conserves them.

Conservation, with X_h the 24 hourly records of a local day (00:00 .. 23:00 local standard time):

* temperature, vapour pressure deficit, longwave, shortwave, wind, pressure, CO2 mole fraction: the mean over X_h is
  the daily mean;
* precipitation: the sum over the records 01:00 .. 24:00 (values belong to the hour that ENDS there) = daily total.

Temperature follows Parton and Logan (1981, Agric. Meteorol. 23, 205-216): a sine by day, an exponential by night. Where
the file has a daily minimum and maximum both are met; where it repeats the mean in their columns (as the FluxDataKit
record of Puechabon does) the amplitude follows from the daytime mean, `TA_DAY_F_MDS`, or from the day's radiation.
Shortwave follows the solar zenith angle; rain falls in seeded events; each is described at its function.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest import forcing_fields, gaps
from ldas.pipeline.ingest.config import DisaggregationOptions, FilesConfig, ForcingConfig, Place
from ldas.pipeline.ingest.fluxnet import read_daily_forcing

# Hours at the end of a forcing that depend on days after it: those of the last day, and the record that closes it.
REPLACED_HOURS = 25

HOURS = 24
LAG_OF_MAXIMUM_H = 1.86  # h after solar noon, Parton and Logan (1981), air temperature at 1.5 m
NIGHT_DECAY = 2.20  # their coefficient b, air temperature at 1.5 m
LEAST_RANGE_K = 0.1  # a smaller difference of maximum and minimum says nothing about the daily cycle
SOLAR_CONSTANT = 1361.0  # W m-2
CLEAR_SKY = 0.72  # transmissivity of the clearest sky, Bristow and Campbell (1984)
RANGE_COEFFICIENT = 0.006  # their B, K-2.4: compromise of HAPEX 1986, Champaign 1998 and Puechabon May 2012
WIND_MAXIMUM_SOLAR_H = 14.5  # May 2012 at Puechabon
WET_HOURS_AT_1_MM = 3.0  # wet hours of a day grow as 3 sqrt(P / mm): HAPEX-MOBILHY 1986, Caumont
WET_HOURS_SPREAD = 0.4  # standard deviation of the logarithm of the number of wet hours
HOURS_PER_SPELL = 3.0  # mean length of a spell of wet hours, HAPEX-MOBILHY 1986


class DailyConfig(ForcingConfig, FilesConfig):
    """`ldas ingest daily`: one FLUXNET daily table."""

    place: Place
    options: DisaggregationOptions = DisaggregationOptions()
    max_gap_days: int = Field(default=0, ge=0, description="longest gap in days that is interpolated, but for rain")
    co2_ppm: float | None = Field(default=None, gt=0, description="where the table has none; default: table by year")


def read(
    paths: list[Path], config: DailyConfig, stored: tuple[np.datetime64, np.datetime64] | None = None
) -> xr.Dataset:
    """Hourly forcing over (time, cell = 1) in the configured period; see `fluxnet_daily_forcing`.

    Args:
        stored: first and last time of the stored forcing that it is appended to: the result may begin with its last
            hours (`REPLACED_HOURS`), made again now that the day after is known.

    Raises:
        IngestError: a table that does not hold the days before as well.
    """
    if len(paths) != 1:
        raise IngestError(f"daily reads one table of one site, {len(paths)} files were given")
    forcing = fluxnet_daily_forcing(paths[0], config.place, config.options, config.max_gap_days, config.co2_ppm)
    start: np.datetime64 | None = None if config.period.start is None else np.datetime64(config.period.start, "ns")
    end = None if config.period.end is None else np.datetime64(config.period.end, "ns")
    if stored is not None and start == stored[1] + gaps.HOUR:
        start = max(stored[0], stored[1] - (REPLACED_HOURS - 1) * gaps.HOUR)
        begins = forcing["time"].to_numpy()[0]
        if begins > max(stored[0], start - np.timedelta64(1, "D")):
            raise IngestError(
                f"{paths[0]}: the stored forcing ends at {files.instant(stored[1])}, and its last day depends on the "
                f"days around it; the table begins at {files.instant(begins)}: give one with two days before as well"
            )
    chosen = forcing.sel(time=slice(start, end))
    if not chosen.sizes["time"]:
        times = forcing["time"].to_numpy()
        raise IngestError(f"{paths[0]}: the table covers {times[0]} to {times[-1]}, nothing of the period")
    return chosen


def fluxnet_daily_forcing(
    path: Path,
    place: Place,
    options: DisaggregationOptions | None = None,
    max_gap_days: int = 0,
    co2_ppm: float | None = None,
) -> xr.Dataset:
    """Hourly ALMA forcing (time UTC, cell = 1) from a FLUXNET daily table: `read_daily_forcing` and `disaggregate`.

    Args:
        co2_ppm: where the table has no CO2; None: NOAA's annual means.
    """
    daily = read_daily_forcing(path, max_gap_days)
    if "co2" not in daily:
        times = daily["time"].to_numpy()
        by_day = np.full(len(times), co2_ppm) if co2_ppm else forcing_fields.co2_mole_fraction(times)
        daily["co2"] = ("time", by_day, {"units": "ppm"})
    return disaggregate(daily, place, options)


def disaggregate(daily: xr.Dataset, place: Place, options: DisaggregationOptions | None = None) -> xr.Dataset:
    """Hourly ALMA forcing from daily values, conserving every daily mean and total (see the module's text).

    Args:
        daily: the variables of `DAILY_FORCING` (temperature_min, _max, _daytime as available), N consecutive days.

    Returns:
        24 N + 1 hourly records (time in UTC, cell = 1), float64; the last closes the last hour and repeats the last
        day's cycle. Rainf and Snowf belong to the hour that ends at their time; the first record's are 0.

    Raises:
        IngestError: a day whose values contradict each other (mean outside minimum and maximum, ...).
    """
    options = options or DisaggregationOptions()
    padded = xr.concat([daily, daily.isel(time=[-1])], dim="time")  # one more day closes the last hour
    days = daily["time"].to_numpy()
    days = np.append(days, days[-1] + np.timedelta64(1, "D"))
    first_hour = days.astype("datetime64[h]") - np.timedelta64(place.utc_offset_h, "h")
    time: Times = np.asarray(first_hour[:, None] + np.arange(HOURS, dtype="timedelta64[h]"), dtype="datetime64[s]")
    value = {str(name): padded[name].to_numpy()[:, None] for name in padded.data_vars}

    temperature = _temperature(value, days, time, place, options)
    pressure = np.broadcast_to(value["pressure"], time.shape)
    vapour = _vapour_pressure(physics.saturation_vapour_pressure(temperature), value["vapour_pressure_deficit"], days)
    humidity = physics.specific_humidity(vapour, pressure)
    density = physics.air_density(temperature, pressure, humidity)
    fields = {
        "Tair": temperature,
        "Qair": humidity,
        "Wind": _wind(value["wind"], time, place, options),
        "PSurf": pressure,
        "SWdown": _shortwave(value["shortwave"], time, place),
        "LWdown": _longwave(value["longwave"], temperature, vapour),
        "CO2air": physics.co2_density(value["co2"], density),
    }
    records = HOURS * daily.sizes["time"] + 1
    hourly = {name: np.asarray(field).reshape(-1)[:records] for name, field in fields.items()}
    rate = _precipitation(daily["precipitation"].to_numpy(), days[:-1], options.seed) / physics.SECONDS_PER_HOUR
    # The hour that ends at record k has the mean temperature of the records k - 1 and k.
    hour_temperature = 0.5 * (hourly["Tair"][:-1] + hourly["Tair"][1:])
    solid = physics.snow_fraction(hour_temperature, options.all_snow_below, options.all_rain_above)
    snow = rate * solid
    hourly["Rainf"] = np.append(0.0, rate - snow)
    hourly["Snowf"] = np.append(0.0, snow)
    dataset = xr.Dataset(
        {name: (("time", "cell"), series[:, None], registry.attributes(name)) for name, series in hourly.items()},
        coords={
            "time": time.reshape(-1)[:records].astype("datetime64[ns]"),
            "latitude": ("cell", [place.latitude]),
            "longitude": ("cell", [place.longitude]),
        },
        attrs={
            **daily.attrs,
            "disaggregation": "Parton and Logan (1981) temperature, solar geometry, seeded rain events",
            "disaggregation_seed": options.seed,
            "utc_offset_h": place.utc_offset_h,
        },
    )
    return dataset


def _solar_hour(time: Times, place: Place) -> tuple[Array, Array]:
    """Solar time of every record, 0..24 h, and the day length of its day, h."""
    _, hour_angle = physics.solar_angles(time, place.longitude)
    solar_hour = (12.0 + hour_angle * 12.0 / np.pi) % 24.0
    noon = time[:, 12:13]
    declination, _ = physics.solar_angles(noon, place.longitude)
    cosine = -np.tan(np.deg2rad(place.latitude)) * np.tan(declination)
    day_length = 24.0 / np.pi * np.arccos(np.clip(cosine, -1.0, 1.0))  # polar day 24 h, polar night 0 h
    return solar_hour, day_length


def _temperature(
    value: dict[str, Array],
    days: Times,
    time: Times,
    place: Place,
    options: DisaggregationOptions,
) -> Array:
    """Hourly temperature, K, (day, 24): daily mean exact, and minimum and maximum, or daytime mean, exact."""
    solar_hour, day_length = _solar_hour(time, place)
    shape = _parton_logan(solar_hour, day_length)
    anomaly = shape - shape.mean(axis=1, keepdims=True)
    trend = _mean_preserving_trend(value["temperature"])

    mean = value["temperature"]
    unknown = np.full_like(mean, np.nan)
    low, high = value.get("temperature_min", unknown), value.get("temperature_max", unknown)
    with_range = (high - low > LEAST_RANGE_K)[:, 0]
    daytime = value.get("temperature_daytime", unknown)
    daylight = _daylight_weight(solar_hour, day_length)
    has_both = (daylight.sum(axis=1) > 0) & (daylight.min(axis=1) < 1)  # neither polar night nor polar day
    known = with_range | (np.isfinite(daytime[:, 0]) & has_both)
    if options.temperature_cycle == "daytime_mean" and not known.all():
        day = days[~known][0]
        raise IngestError(
            f"temperature of {day.astype('datetime64[D]')} has a mean but neither a minimum and maximum that differ "
            f"(TMIN_F_MDS, TMAX_F_MDS) nor a daytime mean (TA_F_DAY): its daily cycle is not known; "
            f"temperature_cycle: radiation estimates it from the shortwave radiation"
        )
    result = np.empty_like(trend)
    if (~with_range).any():
        cycle = ~with_range
        if options.temperature_cycle == "radiation":
            span = _range_from_radiation(value["shortwave"][cycle], time[cycle], place)
            amplitude = span / np.ptp(shape[cycle], axis=1, keepdims=True)
        else:
            weight = daylight[cycle] / daylight[cycle].sum(axis=1, keepdims=True)
            day_anomaly = (weight * anomaly[cycle]).sum(axis=1, keepdims=True)
            day_trend = (weight * trend[cycle]).sum(axis=1, keepdims=True)
            amplitude = (daytime[cycle] - day_trend) / day_anomaly
        result[cycle] = trend[cycle] + amplitude * anomaly[cycle]
    if with_range.any():
        first_guess = (trend + (high - low) * anomaly)[with_range]
        result[with_range] = _fit_range(
            first_guess, mean[with_range], low[with_range], high[with_range], days[with_range]
        )
    return result


def _range_from_radiation(shortwave: Array, time: Times, place: Place) -> Array:
    """Daily temperature range, K, (day, 1), from the transmissivity of the atmosphere (Bristow and Campbell 1984).

    Their relation tau = 0.72 (1 - exp(-B range^2.4)) solved for the range, with one B for all sites.
    """
    days = time[:, 12:13].astype("datetime64[D]")
    since_new_year = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64)
    height = np.maximum(physics.cosine_zenith(time, place.latitude, place.longitude), 0.0).mean(axis=1, keepdims=True)
    top = SOLAR_CONSTANT * (1.0 + 0.033 * np.cos(2.0 * np.pi * since_new_year / 365.0)) * height
    # Beyond 90 % of the clearest sky of the relation the range would grow without bound.
    transmissivity = np.minimum(np.divide(shortwave, top, out=np.zeros_like(top), where=top > 0), 0.9 * CLEAR_SKY)
    return np.asarray((-np.log(1.0 - transmissivity / CLEAR_SKY) / RANGE_COEFFICIENT) ** (1.0 / 2.4))


def _parton_logan(solar_hour: Array, day_length: Array) -> Array:
    """Shape of the daily cycle of temperature, 0 at sunrise and 1 at the maximum (Parton and Logan 1981, eq. 1-2).

    The night's exponential is scaled to reach exactly 0 at sunrise.
    """
    length = np.clip(day_length, 2.0, 22.0)  # near the poles the formula has no night, or no day, left
    sunrise = 12.0 - length / 2.0
    since_sunrise = (solar_hour - sunrise) % 24.0
    by_day = np.sin(np.pi * since_sunrise / (length + 2.0 * LAG_OF_MAXIMUM_H))
    at_sunset = np.sin(np.pi * length / (length + 2.0 * LAG_OF_MAXIMUM_H))
    since_sunset = np.maximum(since_sunrise - length, 0.0)
    decay = (np.exp(-NIGHT_DECAY * since_sunset / (24.0 - length)) - np.exp(-NIGHT_DECAY)) / (1 - np.exp(-NIGHT_DECAY))
    return np.where(since_sunrise <= length, by_day, at_sunset * decay)


def _daylight_weight(solar_hour: Array, day_length: Array) -> Array:
    """Part of the hour around each record (half an hour to each side) when the sun is up, 0..1."""
    from_noon = np.abs(solar_hour - 12.0)
    return np.clip(day_length / 2.0 + 0.5 - from_noon, 0.0, 1.0)


def _mean_preserving_trend(mean: Array) -> Array:
    """Piecewise linear course through the days, continuous at midnight, with each day's mean over 24 records exact.

    Args:
        mean: daily means, (day, 1).

    Returns:
        (day, 24).
    """
    previous = np.concatenate([mean[:1], mean[:-1]])
    following = np.concatenate([mean[1:], mean[-1:]])
    start, end = 0.5 * (previous + mean), 0.5 * (mean + following)
    hour = np.arange(HOURS) / 12.0
    to_start, to_end = np.clip(1.0 - hour, 0.0, 1.0), np.clip(hour - 1.0, 0.0, 1.0)
    to_middle = 1.0 - to_start - to_end
    middle = (HOURS * mean - start * to_start.sum() - end * to_end.sum()) / to_middle.sum()
    return np.asarray(start * to_start + middle * to_middle + end * to_end)


def _fit_range(first_guess: Array, mean: Array, low: Array, high: Array, days: Times) -> Array:
    """A monotone map of each day's course onto [low, high] that has the daily mean: low + range s^p, p by bisection."""
    least, most = first_guess.min(axis=1, keepdims=True), first_guess.max(axis=1, keepdims=True)
    scaled = (first_guess - least) / (most - least)
    wanted = (mean - low) / (high - low)
    lower, upper = np.full_like(wanted, -5.0), np.full_like(wanted, 5.0)  # of ln p
    reachable_most = np.mean(scaled ** np.exp(lower), axis=1, keepdims=True)
    reachable_least = np.mean(scaled ** np.exp(upper), axis=1, keepdims=True)
    bad = ((wanted > reachable_most) | (wanted < reachable_least))[:, 0]
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise IngestError(
            f"temperature of {days[i].astype('datetime64[D]')}: no daily course has the mean {mean[i, 0]:.2f} K with "
            f"the minimum {low[i, 0]:.2f} K and the maximum {high[i, 0]:.2f} K"
        )
    for _ in range(60):  # 10 / 2^60 is below the rounding of ln p
        middle = 0.5 * (lower + upper)
        too_warm = np.mean(scaled ** np.exp(middle), axis=1, keepdims=True) > wanted
        lower = np.where(too_warm, middle, lower)
        upper = np.where(too_warm, upper, middle)
    return np.asarray(low + (high - low) * scaled ** np.exp(0.5 * (lower + upper)))


def _vapour_pressure(saturation: Array, deficit: Array, days: Times) -> Array:
    """Hourly vapour pressure, Pa: constant through the day, limited to saturation, with the daily mean deficit exact.

    With the saturation pressures sorted downwards, k unsaturated hours need e = (sum of the k highest - 24 D) / k,
    and the right k is the one whose e lies between the k-th and the next saturation pressure.
    """
    ordered = -np.sort(-saturation, axis=1)
    count = np.arange(1, HOURS + 1)
    candidate = (np.cumsum(ordered, axis=1) - HOURS * deficit) / count
    # e for k unsaturated hours rises with k as long as the next hour is still unsaturated, so the largest is
    # the right one.
    level = candidate.max(axis=1, keepdims=True)
    vapour = np.minimum(level, saturation)
    bad = (level <= 0.0)[:, 0]
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise IngestError(
            f"vapour pressure deficit of {days[i].astype('datetime64[D]')} ({deficit[i, 0]:.0f} Pa) exceeds the mean "
            f"saturation pressure ({saturation[i].mean():.0f} Pa): check the unit of VPD (hPa expected)"
        )
    return vapour


def _shortwave(mean: Array, time: Times, place: Place) -> Array:
    """Hourly shortwave, W m-2: proportional to the cosine of the solar zenith angle at the record's instant."""
    height = np.maximum(physics.cosine_zenith(time, place.latitude, place.longitude), 0.0)
    total = height.sum(axis=1, keepdims=True)
    polar_night = total == 0.0  # twilight has no direction: spread it over the day
    return np.where(polar_night, mean, mean * HOURS * height / np.where(polar_night, 1.0, total))


def _longwave(mean: Array, temperature: Array, vapour: Array) -> Array:
    """Hourly longwave, W m-2: the day's mean, distributed as the clear-sky emission of Brutsaert (1975)."""
    weight = (vapour / 100.0 / temperature) ** (1.0 / 7.0) * temperature**4
    return np.asarray(mean * weight / weight.mean(axis=1, keepdims=True))


def _wind(mean: Array, time: Times, place: Place, options: DisaggregationOptions) -> Array:
    """Hourly wind speed, m s-1: a cosine whose mean over 24 equal steps is 0."""
    solar_hour = (np.arange(HOURS) - place.utc_offset_h + place.longitude / 15.0)[None, :]
    cycle = np.cos(2.0 * np.pi * (solar_hour - WIND_MAXIMUM_SOLAR_H) / 24.0)
    return np.broadcast_to(mean * (1.0 + options.wind_amplitude * cycle), time.shape)


def _precipitation(total: Array, days: Times, seed: int) -> Array:
    """Hourly precipitation, kg m-2 per hour, flat over all days (hour k of a day ends at k + 1).

    Each wet day has its own random stream, named by the seed and the date, so a day falls the same way in any period.
    The number of wet hours grows with the square root of the total, hours come in spells, amounts are exponential.
    """
    amounts = np.zeros((len(total), HOURS))
    # Days since 0001-01-01, because a random stream's name must not be negative.
    ordinals = days.astype("datetime64[D]").astype(np.int64) + 719162
    if (total < 0).any():
        i = int(np.flatnonzero(total < 0)[0])
        raise IngestError(f"precipitation of {days[i].astype('datetime64[D]')} is negative ({total[i]} kg m-2 d-1)")
    for i in np.flatnonzero(total > 0.0).tolist():
        random = np.random.default_rng([seed, int(ordinals[i])])
        expected = WET_HOURS_AT_1_MM * np.sqrt(total[i]) * np.exp(random.normal(0.0, WET_HOURS_SPREAD))
        wet = int(np.clip(round(expected), 1, HOURS))
        hours = _spells(wet, random)
        weight = random.exponential(size=wet)
        amounts[i, hours] = total[i] * weight / weight.sum()
    return amounts.reshape(-1)


def _spells(wet: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices of `wet` hours of a day, grouped in spells of about `HOURS_PER_SPELL` hours at random places."""
    dry = HOURS - wet
    spells = int(min(max(1, round(wet / HOURS_PER_SPELL)), dry + 1))
    ends = np.sort(random.permutation(np.arange(1, wet))[: spells - 1])
    spell_of_hour = np.searchsorted(ends, np.arange(wet), side="right")
    # A gap of the day holds each spell: spells - 1 gaps between spells have one dry hour at least.
    before = np.sort(random.integers(0, dry - spells + 2, size=spells))
    return np.asarray(np.arange(wet) + before[spell_of_hour] + spell_of_hour, dtype=np.int64)
