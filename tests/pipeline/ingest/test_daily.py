"""Daily FLUXNET records: conservation, the real half hours of Puechabon, bad tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest import daily, fluxnet
from ldas.pipeline.ingest.config import DisaggregationOptions, Place
from tests.support import shared

PUECHABON = Place(latitude=43.7414, longitude=3.5958, elevation=270.0, utc_offset_h=1)
DAILY_FILE = "data/site_flux/FLX_FR-Pue_FLUXDATAKIT_FULLSET_DD_2000_2014_2-3.csv"


def daily_values(days: int = 4, start: str = "2010-06-01", **change: object) -> xr.Dataset:
    """A small daily record with every variable, values that differ from day to day."""
    step = np.arange(days, dtype=float)
    values = {
        "temperature": 288.0 + step,
        "temperature_min": 281.0 + step,
        "temperature_max": 296.0 + step,
        "temperature_daytime": 290.0 + step,
        "shortwave": 200.0 + 10 * step,
        "longwave": 320.0 + step,
        "vapour_pressure_deficit": 600.0 + 50 * step,
        "wind": 3.0 + 0 * step,
        "pressure": 98000.0 + 100 * step,
        "precipitation": np.where(step % 2 == 0, 0.0, 12.5),
        "co2": 390.0 + 0 * step,
    }
    values.update(change)  # type: ignore[arg-type]
    return xr.Dataset(
        {name: ("time", np.broadcast_to(value, days).astype(float)) for name, value in values.items()},
        coords={"time": pd.date_range(start, periods=days).to_numpy()},
    )


def day_means(series: xr.DataArray) -> np.ndarray:
    """Means over the 24 records 00:00 .. 23:00 of each local day (the record starts at a local midnight)."""
    return series.to_numpy()[:-1, 0].reshape(-1, 24).mean(axis=1)


def vapour_pressure_deficit(forcing: xr.Dataset) -> xr.DataArray:
    saturation = physics.saturation_vapour_pressure(forcing["Tair"])
    return (0 * forcing["Tair"]) + saturation - physics.vapour_pressure(forcing["Qair"], forcing["PSurf"])


def assert_conserves(values: xr.Dataset, forcing: xr.Dataset) -> None:
    np.testing.assert_allclose(day_means(forcing["Tair"]), values["temperature"], rtol=1e-13)
    np.testing.assert_allclose(day_means(forcing["SWdown"]), values["shortwave"], rtol=1e-12)
    np.testing.assert_allclose(day_means(forcing["LWdown"]), values["longwave"], rtol=1e-12)
    np.testing.assert_allclose(day_means(forcing["Wind"]), values["wind"], rtol=1e-12)
    np.testing.assert_allclose(day_means(forcing["PSurf"]), values["pressure"], rtol=1e-13)
    np.testing.assert_allclose(
        day_means(vapour_pressure_deficit(forcing)), values["vapour_pressure_deficit"], rtol=1e-10, atol=1e-8
    )
    density = physics.air_density(forcing["Tair"], forcing["PSurf"], forcing["Qair"])
    ppm = forcing["CO2air"] / density * physics.MOLAR_MASS_DRY_AIR / physics.MOLAR_MASS_CO2 * 1e6
    np.testing.assert_allclose(day_means(ppm), values["co2"], rtol=1e-12)
    water = (forcing["Rainf"] + forcing["Snowf"]).to_numpy()[1:, 0].reshape(-1, 24).sum(axis=1) * 3600.0
    np.testing.assert_allclose(water, values["precipitation"], rtol=1e-12, atol=1e-14)
    assert float(forcing["Rainf"].min()) >= 0.0
    assert float(forcing["Snowf"].min()) >= 0.0


def test_a_small_record_is_conserved_and_meets_minimum_and_maximum():
    values = daily_values()
    forcing = daily.disaggregate(values, PUECHABON)
    assert forcing.sizes == {"time": 4 * 24 + 1, "cell": 1}
    assert forcing["time"].to_numpy()[0] == np.datetime64("2010-05-31T23:00")  # local midnight is 23 UTC
    assert_conserves(values, forcing)
    by_day = forcing["Tair"].to_numpy()[:-1, 0].reshape(-1, 24)
    np.testing.assert_allclose(by_day.min(axis=1), values["temperature_min"], rtol=1e-13)
    np.testing.assert_allclose(by_day.max(axis=1), values["temperature_max"], rtol=1e-13)
    assert 4 <= by_day[1].argmin() <= 7
    assert 13 <= by_day[1].argmax() <= 16
    night = physics.cosine_zenith(forcing["time"].to_numpy(), PUECHABON.latitude, PUECHABON.longitude) < 0
    assert (forcing["SWdown"].to_numpy()[night] == 0.0).all()
    assert forcing["Rainf"].attrs["units"] == "kg m-2 s-1"


@settings(max_examples=60, deadline=None)
@given(
    temperature=st.floats(250.0, 305.0),
    below=st.floats(1.0, 10.0),
    above=st.floats(1.0, 10.0),
    dryness=st.floats(0.0, 0.9),
    rain=st.floats(1e-3, 200.0),
    latitude=st.floats(-60.0, 60.0),
    start=st.dates(pd.Timestamp("1950-01-01").date(), pd.Timestamp("2050-01-01").date()),
    seed=st.integers(0, 2**31),
)
def test_any_possible_day_is_conserved(temperature, below, above, dryness, rain, latitude, start, seed):
    values = daily_values(
        days=2,
        start=str(start),
        temperature=temperature,
        temperature_min=temperature - below,
        temperature_max=temperature + above,
        vapour_pressure_deficit=dryness * physics.saturation_vapour_pressure(temperature),
        precipitation=rain,
    )
    place = Place(latitude=latitude, longitude=-77.0, utc_offset_h=-5)
    assert_conserves(values, daily.disaggregate(values, place, DisaggregationOptions(seed=seed)))


def test_amplitude_from_the_daytime_mean_where_minimum_and_maximum_repeat_the_mean():
    values = daily_values()
    flat = values.assign(temperature_min=values["temperature"], temperature_max=values["temperature"])
    forcing = daily.disaggregate(flat, PUECHABON)
    assert_conserves(flat, forcing)
    by_day = forcing["Tair"].to_numpy()[:-1, 0].reshape(-1, 24)
    # 5 and 20 h local time enclose daylight in June; the sunrise hours 5 and 20 count with the part that is light.
    time = forcing["time"].to_numpy()[:-1].reshape(-1, 24)
    solar_hour, day_length = daily._solar_hour(time.astype("datetime64[s]"), PUECHABON)
    weight = daily._daylight_weight(solar_hour, day_length)
    np.testing.assert_allclose(weight.sum(axis=1), day_length[:, 0], atol=0.01)
    daytime = (weight * by_day).sum(axis=1) / weight.sum(axis=1)
    np.testing.assert_allclose(daytime, flat["temperature_daytime"], rtol=1e-13)


def test_amplitude_from_radiation_grows_with_radiation_and_keeps_the_mean():
    values = daily_values(shortwave=np.array([50.0, 120.0, 250.0, 330.0])).drop_vars(
        ["temperature_min", "temperature_max", "temperature_daytime"]
    )
    forcing = daily.disaggregate(values, PUECHABON, DisaggregationOptions(temperature_cycle="radiation"))
    assert_conserves(values, forcing)
    span = np.ptp(forcing["Tair"].to_numpy()[:-1, 0].reshape(-1, 24), axis=1)
    assert (np.diff(span) > 0).all()
    with pytest.raises(IngestError, match=r"2010-06-01.*TMIN_F_MDS.*temperature_cycle: radiation"):
        daily.disaggregate(values, PUECHABON)


def test_rain_is_seeded_by_day_not_by_the_record():
    whole = daily.disaggregate(daily_values(days=6), PUECHABON)
    part = daily.disaggregate(daily_values(days=6).isel(time=slice(3, 6)), PUECHABON)
    np.testing.assert_array_equal(whole["Rainf"][73:], part["Rainf"][1:])
    other = daily.disaggregate(daily_values(days=6), PUECHABON, DisaggregationOptions(seed=1))
    assert (whole["Rainf"] != other["Rainf"]).any()
    twice = daily.disaggregate(daily_values(days=6), PUECHABON)
    xr.testing.assert_identical(whole, twice)


def test_precipitation_is_snow_below_and_rain_above_the_limits():
    cold = daily.disaggregate(
        daily_values(temperature=265.0, temperature_min=260.0, temperature_max=270.0, vapour_pressure_deficit=50.0),
        PUECHABON,
    )
    assert float(cold["Rainf"].max()) == 0.0
    assert float(cold["Snowf"].sum()) > 0.0
    warm = daily.disaggregate(daily_values(), PUECHABON)
    assert float(warm["Snowf"].max()) == 0.0


def test_contradicting_days_are_named():
    with pytest.raises(IngestError, match=r"2010-06-01.*no daily course has the mean"):
        daily.disaggregate(daily_values(temperature=280.0, temperature_min=281.0, temperature_max=296.0), PUECHABON)
    with pytest.raises(IngestError, match=r"vapour pressure deficit of 2010-06-01.*hPa expected"):
        daily.disaggregate(daily_values(vapour_pressure_deficit=60000.0), PUECHABON)
    with pytest.raises(IngestError, match="precipitation of 2010-06-01 is negative"):
        daily.disaggregate(daily_values(precipitation=-1.0), PUECHABON)


HEADER = "TIMESTAMP,P_F,TA_F_MDS,TMIN_F_MDS,TMAX_F_MDS,SW_IN_F_MDS,LW_IN_F_MDS,VPD_F_MDS,WS_F,PA_F,CO2_F_MDS,LAI"
ROWS = [
    "20100101,0.5,8.0,4.0,12.0,80,300,2.0,2.0,98.0,390,1.5",
    "20100102,0.0,9.0,5.0,13.0,90,305,2.5,2.1,98.1,390,1.5",
    "20100103,2.0,7.0,3.0,11.0,70,295,1.5,2.2,98.2,390,NA",
]


def write_table(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "FLX_XX-Own_FLUXNET2015_FULLSET_DD_2010-2010_1-3.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_in_fluxnet_units_becomes_si(tmp_path):
    path = write_table(tmp_path, ROWS)
    values = fluxnet.read_daily_forcing(path)
    assert values["pressure"].to_numpy()[0] == 98000.0
    assert values["vapour_pressure_deficit"].to_numpy()[0] == 200.0
    assert values["temperature_min"].to_numpy()[0] == 277.15
    forcing = daily.fluxnet_daily_forcing(path, PUECHABON)
    assert_conserves(values, forcing)
    observed = fluxnet.read_observations(path)
    assert observed["LAI"].to_numpy()[0] == 1.5
    assert np.isnan(observed["LAI"].to_numpy()[2])
    assert list(observed.data_vars) == ["LAI"]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([ROWS[0], ROWS[2]], HEADER, "1 days are missing, the first 2010-01-02"),
        ([ROWS[0], ROWS[0]], HEADER, "2010-01-01 is repeated"),
        (
            [ROWS[0].replace("20100101", "20101301")],
            HEADER,
            r"'20101301' is not a date \(expected YYYYMMDD\)$",
        ),
        ([ROWS[0].replace("20100101", "2010-1-1")], HEADER, "TIMESTAMP must be a day"),
        ([ROWS[0].replace(",300,", ",-9999,"), *ROWS[1:]], HEADER, "LW_IN_F_MDS is missing on 1 of 3.*2010-01-01"),
        (ROWS, HEADER.replace("PA_F", "PA"), "column PA_F"),
        (ROWS, HEADER.replace("TIMESTAMP", "DATE"), "no column TIMESTAMP"),
        ([row[:6] + row[8:] for row in ROWS[:1]], HEADER, "monthly table cannot"),
    ],
)
def test_bad_tables_are_refused_with_column_and_day(tmp_path, rows, header, message):
    with pytest.raises(IngestError, match=message):
        fluxnet.read_daily_forcing(write_table(tmp_path, rows, header))


def test_short_gaps_are_filled_only_on_request_and_never_for_rain(tmp_path):
    rows = [ROWS[0], ROWS[1].replace(",305,", ",NA,"), ROWS[2]]
    path = write_table(tmp_path, rows)
    assert fluxnet.read_daily_forcing(path, max_gap_days=1)["longwave"].to_numpy()[1] == pytest.approx(297.5)
    rows[1] = ROWS[1].replace("20100102,0.0", "20100102,NA")
    with pytest.raises(IngestError, match="P_F is missing"):
        fluxnet.read_daily_forcing(write_table(tmp_path, rows), max_gap_days=1)


def test_puechabon_is_conserved_over_fifteen_years():
    path = shared(DAILY_FILE)
    values = fluxnet.read_daily_forcing(path)
    assert values.sizes["time"] == 5479
    forcing = daily.fluxnet_daily_forcing(path, PUECHABON)
    assert_conserves(values, forcing)
    raw = pd.read_csv(path)
    np.testing.assert_allclose(values["pressure"], raw["PA_F"] * 1000.0)
    observed = fluxnet.read_observations(path)
    np.testing.assert_allclose(observed["LAI"], raw["LAI"])
    # 1 gC m-2 d-1 is 1e-3 x 44/12 / 86400 kg CO2 m-2 s-1
    np.testing.assert_allclose(observed["GPP"], raw["GPP_NT_VUT_REF"] * 44.0 / 12.0 / 86.4e6, rtol=1e-12)
    assert observed.attrs["averaging"] == "day"
    monthly = fluxnet.read_observations(shared("data/site_flux/FLX_FR-Pue_FLUXNET2015_FULLSET_MM_2007-2014_2-3.csv"))
    assert monthly.attrs["averaging"] == "month"
    # Two releases of the same record: the months of the one are the means of the days of the other.
    means = observed["LE"].sel(time=slice("2007", "2014")).resample(time="MS").mean()
    np.testing.assert_allclose(means, monthly["LE"], atol=0.5)


@pytest.mark.parametrize(
    ("cycle", "rmsd", "r", "daily_range"), [("daytime_mean", 1.31, 0.969, 6.78), ("radiation", 1.42, 0.963, 9.99)]
)
def test_puechabon_hours_against_the_real_half_hours_of_may_2012(cycle, rmsd, r, daily_range):
    """The real record is independent of the daily one. The figures are those of docs/ingestion.md."""
    real = pd.read_csv(shared("data/site_flux/FR_Pue_May_2012_halfhourly.csv"))
    options = DisaggregationOptions(temperature_cycle=cycle)
    forcing = daily.fluxnet_daily_forcing(shared(DAILY_FILE), PUECHABON, options)
    hours = forcing.sel(time=slice("2012-04-30T23:00", "2012-05-31T22:00")).isel(cell=0)
    assert hours.sizes["time"] == 31 * 24

    def at_full_hours(column: str) -> np.ndarray:
        """Half-hour means to instants: the mean of the half hours before and after."""
        values = real[column].to_numpy()
        return 0.5 * (values[1:-1:2] + values[2::2])

    temperature = hours["Tair"].to_numpy()[1:] - 273.15
    difference = temperature - at_full_hours("Tair")
    assert abs(difference.mean()) < 0.01
    assert np.sqrt((difference**2).mean()) == pytest.approx(rmsd, abs=0.005)
    assert np.corrcoef(temperature, at_full_hours("Tair"))[0, 1] == pytest.approx(r, abs=5e-4)
    spans = [
        np.ptp(hours["Tair"].to_numpy().reshape(31, 24), axis=1),
        np.ptp(real["Tair"].to_numpy().reshape(31, 48), axis=1),
    ]
    np.testing.assert_allclose(np.mean(spans, axis=1), [daily_range, 9.95], atol=0.01)
    deficit = vapour_pressure_deficit(hours).to_numpy()[1:] / 1000.0
    assert np.sqrt(((deficit - at_full_hours("VPD")) ** 2).mean()) == pytest.approx(
        {"daytime_mean": 0.255, "radiation": 0.225}[cycle], abs=5e-4
    )
    light = at_full_hours("PPFD")
    measured = np.isfinite(light)
    assert measured.sum() > 670
    shortwave = hours["SWdown"].to_numpy()[1:]

    def agreement(series: np.ndarray) -> float:
        return float(np.corrcoef(series[measured], light[measured])[0, 1])

    assert agreement(shortwave) == pytest.approx(0.965, abs=5e-4)
    # The clock is right: shifting it by an hour either way agrees less.
    for shift in (-1, 1):
        assert agreement(np.roll(shortwave, shift)) < agreement(shortwave)
    wind = hours["Wind"].to_numpy()[1:]
    assert np.corrcoef(wind, at_full_hours("wind"))[0, 1] == pytest.approx(0.79, abs=0.005)
    # Rain: the same days' totals, and about as many wet hours as really fell.
    total = real.groupby("doy")["precip"].sum().to_numpy()
    fallen = forcing["Rainf"].sel(time=slice("2012-05-01T00:00", "2012-05-31T23:00")).to_numpy().reshape(31, 24)
    np.testing.assert_allclose(fallen.sum(axis=1) * 3600.0, total, atol=0.01)
    real_wet = (real["precip"].to_numpy().reshape(-1, 2).sum(axis=1) > 0).sum()
    # The events follow Caumont (Atlantic); Mediterranean rain is shorter.
    assert ((fallen > 0).sum(), real_wet) == (74, 50)
