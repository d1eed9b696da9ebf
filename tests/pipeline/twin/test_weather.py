"""The weather: monthly statistics of the records, coherence, conservation, and forcing that the checks let through."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.pipeline.forcing import physics
from ldas.pipeline.forcing.check import check_forcing
from ldas.pipeline.twin.climate import ATLANTIC, MEDITERRANEAN, by_month
from ldas.pipeline.twin.daily_weather import Variation, daily_weather
from ldas.pipeline.twin.derive_statistics import monthly
from ldas.pipeline.twin.hourly_weather import hourly_weather
from tests.pipeline.twin.support import GRID, climate, latent, part, sites

YEARS = 30
START, STOP = np.datetime64("1985-01-01"), np.datetime64("2015-01-01")
# Largest departure, in any of 12 months, of 30 years of weather from the table: three standard errors of a monthly mean
# of days that are correlated (temperature 0.3 K, pressure 110 Pa), and what the distributions used cannot follow.
TOLERANCE = {
    "temperature": 1.0,  # K
    "temperature_deviation": 0.6,  # K
    "temperature_wet_minus_dry": 1.2,  # K
    "wet_share": 0.08,
    "wind": 0.25,  # m s-1
    "pressure": 330.0,  # Pa
    "clearness_dry": 0.035,
    "clearness_wet": 0.045,
    "humidity_dry": 0.04,
    "humidity_wet": 0.05,
    "emissivity_dry": 0.012,
    "emissivity_wet": 0.015,
}
RELATIVE_TOLERANCE = {"range_dry": 0.2, "range_wet": 0.5}


def daily_table(weather: dict[str, np.ndarray], times: pd.DatetimeIndex, cell: int) -> pd.DataFrame:
    """What `derive_statistics.monthly` takes, from hours."""
    hours = pd.DataFrame({name: values[:, cell] for name, values in weather.items()}, index=times)
    vapour = physics.vapour_pressure(hours["Qair"].to_numpy(), hours["PSurf"].to_numpy())
    hours = hours.assign(vapour=vapour)
    whole = hours.iloc[:-1]
    days = (
        whole.resample("D")
        .mean()
        .rename(columns={"SWdown": "SW", "LWdown": "LW", "Tair": "T", "PSurf": "P", "Wind": "wind"})
    )
    days["range"] = whole["Tair"].resample("D").max() - whole["Tair"].resample("D").min()
    fallen = (hours["Rainf"] + hours["Snowf"]).shift(-1).iloc[:-1] * 3600.0  # of the hour that begins at the record
    return days.assign(rain=fallen.resample("D").sum())


@pytest.fixture(scope="module")
def long_record() -> dict[str, pd.DataFrame]:
    weather = hourly_weather(latent(sites(), seed=11), START, STOP)
    times = pd.date_range(START, STOP, freq="h")
    return {site: daily_table(weather, times, cell) for cell, site in enumerate((ATLANTIC, MEDITERRANEAN))}


@pytest.mark.parametrize("site", [ATLANTIC, MEDITERRANEAN])
def test_monthly_statistics_are_those_of_the_records(long_record: dict[str, pd.DataFrame], site: str) -> None:
    made = monthly(site, long_record[site])
    for name, tolerance in TOLERANCE.items():
        difference = np.abs(made[name].to_numpy() - by_month(site, name))
        assert difference.max() <= tolerance, (name, difference.argmax() + 1, difference.max())
    for name, tolerance in RELATIVE_TOLERANCE.items():
        ratio = made[name].to_numpy() / by_month(site, name)
        assert np.abs(ratio - 1.0).max() <= tolerance, (name, ratio)


@pytest.mark.parametrize("site", [ATLANTIC, MEDITERRANEAN])
def test_rain_of_the_year_and_of_its_seasons(long_record: dict[str, pd.DataFrame], site: str) -> None:
    days = long_record[site]["rain"]
    lengths = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    expected = by_month(site, "wet_share") * by_month(site, "wet_amount") * lengths
    made = days.groupby(pd.DatetimeIndex(days.index).month).sum().to_numpy() / YEARS
    assert made.sum() == pytest.approx(expected.sum(), rel=0.10)
    # The standard error of a month's rain over 30 years is up to a sixth of it.
    np.testing.assert_allclose(made, expected, rtol=0.5)
    assert np.corrcoef(made, expected)[0, 1] > 0.8


def test_wet_days_follow_each_other_as_in_the_record(long_record: dict[str, pd.DataFrame]) -> None:
    wet = long_record[MEDITERRANEAN]["rain"] >= 1.0
    assert float(wet[wet.shift(1, fill_value=False)].mean()) > 1.4 * float(wet.mean())


def test_blocks_and_periods_give_the_same_bits() -> None:
    place = climate(GRID, np.linspace(0.0, 1.0, len(GRID)), np.linspace(0.0, 900.0, len(GRID)))
    start, stop = np.datetime64("2008-12-10"), np.datetime64("2009-01-20")
    whole = hourly_weather(latent(place), start, stop)
    for cells in (slice(0, 1), slice(5, 18), slice(len(GRID) - 3, len(GRID))):
        block = hourly_weather(latent(part(place, cells)), start, stop)
        for name, values in block.items():
            assert values.tobytes() == np.ascontiguousarray(whole[name][:, cells]).tobytes(), name
    later = hourly_weather(latent(place), np.datetime64("2008-12-28"), np.datetime64("2009-01-05"))
    first = 24 * 18
    for name, values in later.items():
        assert values.tobytes() == np.ascontiguousarray(whole[name][first : first + len(values)]).tobytes(), name


def test_seeds_give_other_weather() -> None:
    span = np.datetime64("2009-06-01"), np.datetime64("2009-06-03")
    one, other = (hourly_weather(latent(sites(), seed), *span) for seed in (1, 2))
    assert all((one[name] != other[name]).any() for name in ("Tair", "Qair", "Wind", "SWdown", "PSurf"))


def test_the_forcing_passes_the_checks() -> None:
    place = climate(GRID, np.linspace(0.0, 1.0, len(GRID)), np.linspace(0.0, 1900.0, len(GRID)))
    weather = hourly_weather(latent(place), np.datetime64("2011-01-01"), np.datetime64("2012-01-01"))
    times = np.datetime64("2011-01-01", "ns") + np.arange(365 * 24 + 1) * np.timedelta64(3600, "s")
    stored = {name: (("time", "cell"), values.astype(np.float32)) for name, values in weather.items()}
    check_forcing(xr.Dataset(stored, coords={"time": times}), GRID.latitude, GRID.longitude)
    assert float(weather["Snowf"][:, -1].sum()) > float(weather["Snowf"][:, 0].sum())  # more snow higher up
    assert float(weather["Tair"][:, 0].mean() - weather["Tair"][:, -1].mean()) > 6.0
    snow = weather["Snowf"] > 0
    assert weather["Tair"][snow].max() < 273.16 + 8.0  # rain and snow part between 0 and 2 degrees of the hour's mean


def test_hours_keep_the_days() -> None:
    days = np.arange(np.datetime64("2010-03-01"), np.datetime64("2010-04-01"))
    source = latent(sites())
    daily = daily_weather(source, np.arange(days[0] - 2, days[-1] + 4))
    hourly = hourly_weather(source, days[0], days[-1] + 1)

    def means(name: str) -> np.ndarray:
        return hourly[name][:-1].reshape(len(days), 24, 2).mean(axis=1)

    inner = slice(2, 2 + len(days))
    solar = np.abs(means("Tair") - daily.temperature[inner])
    # The daily course is a sum of cosines of solar time: over 24 records it is zero but for the length of solar days.
    assert solar.max() < 0.01
    np.testing.assert_allclose(means("PSurf"), daily.pressure[inner], rtol=1e-12)
    fallen = (hourly["Rainf"] + hourly["Snowf"])[1:].reshape(len(days), 24, 2).sum(axis=1) * 3600.0
    np.testing.assert_allclose(fallen, daily.precipitation[inner], rtol=1e-9)
    night = hourly["SWdown"][np.arange(0, 24 * len(days), 24)]  # 00 UTC
    assert float(night.max()) == 0.0


def test_weather_is_coherent_in_space() -> None:
    days = np.arange(np.datetime64("2010-01-01"), np.datetime64("2012-01-01"))
    daily = daily_weather(latent(climate(GRID)), days)
    distance = np.hypot(GRID.east_km[:, None] - GRID.east_km, GRID.north_km[:, None] - GRID.north_km)
    near, far = (distance > 0) & (distance < 60), distance > 300

    def correlation(values: np.ndarray, pairs: np.ndarray) -> float:
        month = days.astype("datetime64[M]").astype(int) % 12
        anomaly = values - np.stack([values[month == m].mean(axis=0) for m in range(12)])[month]
        return float(np.corrcoef(anomaly.T)[pairs].mean())

    for name in ("temperature", "precipitation", "clearness", "vapour_pressure", "wind", "pressure"):
        values = getattr(daily, name)
        assert correlation(values, near) > 0.7, name
        assert correlation(values, near) > correlation(values, far) + 0.05, name
    assert correlation(daily.temperature, far) > correlation(daily.precipitation, far)


def test_a_variation_is_another_draw_with_the_same_statistics() -> None:
    days = np.arange(np.datetime64("2005-01-01"), np.datetime64("2015-01-01"))
    source = latent(sites())
    same = type(source)(source.seed, source.settings, source.climate, Variation("n", {"rain": 1.0}))
    varied = type(source)(source.seed, source.settings, source.climate, Variation("n", {"rain": 0.9, "clearness": 0.9}))
    one, other = daily_weather(source, days), daily_weather(varied, days)
    assert daily_weather(same, days).precipitation.tobytes() == one.precipitation.tobytes()
    for cell in range(2):
        assert 0.5 < np.corrcoef(one.precipitation[:, cell], other.precipitation[:, cell])[0, 1] < 0.95
    np.testing.assert_allclose(other.precipitation.mean(axis=0), one.precipitation.mean(axis=0), rtol=0.15)
    np.testing.assert_allclose(other.clearness.mean(axis=0), one.clearness.mean(axis=0), rtol=0.03)
    assert other.pressure.tobytes() == one.pressure.tobytes()
