"""The weather at one place: stations, half-hourly tables, EPW files, ERA5 at a point; gaps, estimates, bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.errors import ConfigurationError, IngestError
from ldas.pipeline.forcing import estimation, physics
from ldas.pipeline.forcing.check import forcing_problems
from ldas.pipeline.forcing.estimated import estimates_of
from ldas.pipeline.ingest import epw, half_hourly, run_ingest, station
from ldas.pipeline.report.run_facts import estimated_table
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.yaml_file import validate
from ldas.pipeline.store.arrays import open_dataset, open_store
from tests.pipeline.ingest import place_samples, samples
from tests.support import shared

PLACE = {"latitude": 44.0, "longitude": 1.0, "elevation": 100.0}
COLUMNS = {"temperature": {"name": "TA", "unit": "degC"}, "precipitation": {"name": "P", "unit": "mm"}}
FILL = {"action": "fill", "hours": 3}


def config(**keys: Any) -> station.StationConfig:
    return station.StationConfig.model_validate(
        {"files": ["unused"], "place": PLACE, "columns": COLUMNS, "utc_offset_h": 0, **keys}
    )


def marks(forcing: xr.Dataset, variable: str) -> list[tuple[str, float]]:
    return [(item.method, item.share) for item in estimates_of(forcing.attrs) if item.variable == variable]


def without(path: Path, *hours: int, column: int = 1) -> Path:
    """Values of a table's column taken out."""
    lines = path.read_text().splitlines()
    for hour in hours:
        words = lines[hour + 1].split(",")
        words[column] = "-9999"
        lines[hour + 1] = ",".join(words)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rain_and_temperature_become_forcing_with_estimates_that_are_marked(tmp_path):
    place_samples.write_table(tmp_path / "a.csv")
    keys = {"place": PLACE, "columns": COLUMNS, "utc_offset_h": 0, "wind": list(range(1, 13))}
    run_ingest("station", samples.write_config(tmp_path / "c.yaml", store={"url": "s.zarr"}, files=["a.csv"], **keys))
    forcing = open_dataset(tmp_path / "s.zarr", "forcing").load()
    assert forcing_problems(forcing) == []
    times = place_samples.hours()
    np.testing.assert_allclose(forcing["Tair"][:, 0], place_samples.temperature(times) + 273.15, rtol=1e-6)
    np.testing.assert_allclose(forcing["Rainf"][:, 0], np.where(np.arange(72) == 5, 1e-3, 0.0), rtol=1e-6)
    assert (forcing["Wind"] == 6.0).all()  # June
    mean = float(place_samples.temperature(times).mean()) + 273.15
    assert forcing["PSurf"][0, 0] == pytest.approx(estimation.pressure_at(100.0, mean), rel=1e-6)
    vapour = physics.vapour_pressure(forcing["Qair"][30, 0], forcing["PSurf"][30, 0])
    assert vapour == pytest.approx(physics.saturation_vapour_pressure(283.15), rel=1e-5)
    shortwave = forcing["SWdown"].to_numpy()[:, 0].reshape(3, 24)
    wet, dry = shortwave[0].sum(), shortwave[1].sum()
    assert wet / dry == pytest.approx(0.75, abs=0.01)
    made = {item.variable: (item.method, item.source, item.share) for item in estimates_of(forcing.attrs)}
    assert set(made) == {"Qair", "Wind", "PSurf", "SWdown", "LWdown", "CO2air", "Snowf"}
    assert made["Wind"] == ("estimated as a climatology by month", "configuration: wind", 1.0)
    assert made["SWdown"][1:] == ("Thornton and Running 1999", 1.0)


def test_check_and_report_say_what_was_not_measured(tmp_path):
    path = place_samples.write_table(tmp_path / "a.csv", WS=3.0)
    columns = {**COLUMNS, "wind": {"name": "WS", "unit": "m s-1"}}
    keys = {"place": PLACE, "columns": columns, "utc_offset_h": 0}
    store = {"url": str(tmp_path / "s.zarr")}
    run_ingest("station", samples.write_config(tmp_path / "c.yaml", store=store, files=[str(path)], **keys))
    land = {"place": PLACE, "clay": 0.2, "sand": 0.4, "patch_fraction": {4: 1.0}}
    run_ingest("site", samples.write_config(tmp_path / "l.yaml", store=store, **land))
    period = {"start": "2011-06-01", "end": "2011-06-02"}
    experiment = validate({"name": "a", "store": store, "period": period}, ExperimentConfig, source="test")
    rows = {row.what: row for row in check_experiment(experiment)}
    assert {what for what, row in rows.items() if row.state != "ok"} == set()
    assert rows["forcing SWdown: not measured"].detail == (
        "SWdown, 100 % of the hours: estimated from the daily range of temperature, the rain and the sun's height "
        "(Thornton and Running 1999)"
    )
    assert not any(what.startswith("forcing Wind") for what in rows)
    table = estimated_table(open_store(experiment.location))
    assert set(table["variable"]) == {"Qair", "PSurf", "SWdown", "LWdown", "CO2air", "Snowf"}
    assert (table["share of the hours (%)"] == 100.0).all()


def test_the_dew_point_of_a_dry_place_by_aridity(tmp_path):
    path = place_samples.write_table(tmp_path / "a.csv", P=0.0, RH=np.where(np.arange(72) < 24, 60.0, -9999.0))
    columns = {**COLUMNS, "relative_humidity": {"name": "RH", "unit": "%"}}
    usual, arid = (
        station.read([path], config(columns=columns, **keys)) for keys in ({}, {"dew_point_depression": "aridity"})
    )
    vapour = physics.vapour_pressure(arid["Qair"][:, 0].to_numpy(), arid["PSurf"][:, 0].to_numpy())
    lowest, span = 283.15, 5.0
    dew_point = lowest * (-0.127 + 1.121 * 0.94884 + 0.0006 * span)  # no rain at all: the driest that the formula tells
    assert vapour[48] == pytest.approx(physics.saturation_vapour_pressure(dew_point), rel=1e-3)
    np.testing.assert_array_equal(arid["Qair"][:24], usual["Qair"][:24])  # measured
    assert (arid["SWdown"].sum() > usual["SWdown"].sum()).item()  # drier air lets more through
    (made,) = (item for item in estimates_of(arid.attrs) if item.variable == "Qair")
    assert (made.source, made.share) == ("Kimball et al. 1997", pytest.approx(48 / 72))
    assert made.method.endswith("less a depression by potential evaporation and annual precipitation")


def test_what_was_measured_is_kept_and_only_its_missing_hours_are_estimated(tmp_path):
    times = place_samples.hours()
    relative = np.where(np.arange(72) < 18, -9999.0, 60.0)
    path = place_samples.write_table(
        tmp_path / "a.csv", RH=relative, WS=7.2, SW=np.where(np.arange(72) % 24 == 12, 3.6, 0)
    )
    columns = {
        **COLUMNS,
        "relative_humidity": {"name": "RH", "unit": "%"},
        "wind": {"name": "WS", "unit": "km h-1"},
        "shortwave": {"name": "SW", "unit": "MJ m-2"},
    }
    forcing = station.read([path], config(columns=columns, gaps=FILL))
    assert (forcing["Wind"] == 2.0).all()
    assert marks(forcing, "Wind") == []
    assert forcing["SWdown"][36, 0] == pytest.approx(1000.0)
    vapour = physics.vapour_pressure(forcing["Qair"][:, 0].to_numpy(), forcing["PSurf"][:, 0].to_numpy())
    saturation = physics.saturation_vapour_pressure(place_samples.temperature(times) + 273.15)
    np.testing.assert_allclose(vapour[18:], 0.6 * saturation[18:], rtol=1e-9)
    ((method, share),) = marks(forcing, "Qair")
    assert method.startswith("estimated with the dew point")
    assert share == pytest.approx(18 / 72)
    # The clouds of the longwave are those of the measured shortwave: overcast but for one hour.
    black = estimation.STEFAN_BOLTZMANN * forcing["Tair"][36, 0] ** 4
    assert 0.9 < forcing["LWdown"][36, 0] / black < 1.0


def test_a_netcdf_file_with_its_units_and_a_local_clock(tmp_path):
    times = place_samples.hours().astype("datetime64[ns]")
    xr.Dataset(
        {
            "T": ("time", place_samples.temperature(times) + 273.15, {"units": "K"}),
            "rain": ("time", np.full(72, 1e-4), {"units": "kg m-2 s-1"}),
        },
        coords={"time": times},
    ).to_netcdf(tmp_path / "a.nc")
    columns = {"temperature": {"name": "T"}, "precipitation": {"name": "rain"}}
    forcing = station.read([tmp_path / "a.nc"], config(columns=columns, utc_offset_h=-10))
    assert forcing["time"].to_numpy()[0] == np.datetime64("2011-06-01T10:00")
    assert float(forcing["Tair"][0, 0]) == pytest.approx(283.15)
    assert float(forcing["Rainf"].mean()) == pytest.approx(1e-4)


def test_short_gaps_are_interpolated_and_long_ones_come_from_the_nearest_other_year(tmp_path):
    times = np.concatenate([place_samples.hours("2011-06-01T00:00"), place_samples.hours("2012-06-01T00:00")])
    path = place_samples.write_table(tmp_path / "a.csv", times, P=np.where(np.arange(144) == 72 + 40, 7.2, 0.0))
    without(without(path, 10, 11), *range(40, 50))
    without(path, *range(38, 48), column=2)
    policy = {**FILL, "other_year_days": 1}
    period = {"start": "2011-06-01T00:00", "end": "2011-06-03T23:00"}
    forcing = station.read([path], config(gaps=policy, period=period))
    expected = place_samples.temperature(times[:72]) + 273.15
    expected[10:12] = np.interp([10, 11], [9, 12], expected[[9, 12]])
    np.testing.assert_allclose(forcing["Tair"][:, 0], expected, rtol=1e-9)  # the other year has the same course
    assert forcing["Rainf"][40, 0] == pytest.approx(7.2 / 3600)
    assert [share for _, share in marks(forcing, "Tair")] == pytest.approx([2 / 72, 10 / 72])
    assert marks(forcing, "Rainf") == [
        ("the same hours of the nearest other year that has them", pytest.approx(10 / 72))
    ]


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ({}, "Tair is missing for 10 h from 2011-06-02T16:00 UTC; .* up to 0 h .*: set gaps.action to fill, with"),
        (FILL, "Tair is missing for 10 h from .* up to 3 h and takes up to 0 days from another year: raise gaps.hours"),
        ({**FILL, "other_year_days": 5}, "Tair is missing at 2011-06-02T16:00 UTC, and so it is in every other year"),
    ],
)
def test_a_gap_longer_than_the_policy_is_refused(tmp_path, gaps, message):
    path = without(place_samples.write_table(tmp_path / "a.csv"), *range(40, 50))
    with pytest.raises(IngestError, match=message):
        station.read([path], config(gaps=gaps))


def test_units_and_time_zone_have_to_be_stated(tmp_path):
    path = place_samples.write_table(tmp_path / "a.csv")
    bare = {"temperature": {"name": "TA"}, "precipitation": {"name": "P", "unit": "mm"}}
    with pytest.raises(
        IngestError, match=r"the unit of TA \(temperature\) is not stated: give columns.temperature.unit"
    ):
        station.read([path], config(columns=bare))
    with pytest.raises(IngestError, match=r"unit 'furlong' of the precipitation is not known; known are .*mm"):
        station.read([path], config(columns={**COLUMNS, "precipitation": {"name": "P", "unit": "furlong"}}))
    with pytest.raises(IngestError, match=r"the time zone is not stated \(first time 2011-06-01 00:00:00\)"):
        station.read([path], config(utc_offset_h=None))
    zoned = place_samples.write_table(tmp_path / "b.csv", zone="+02:00")
    assert station.read([zoned], config(utc_offset_h=None))["time"].to_numpy()[0] == np.datetime64("2011-05-31T22:00")
    with pytest.raises(IngestError, match="no RAIN in the file; it has time, TA, P"):
        station.read([path], config(columns={**COLUMNS, "precipitation": {"name": "RAIN", "unit": "mm"}}))
    with pytest.raises(IngestError, match="give `place`"):
        station.read([path], config(place=None))
    humidity = {"relative_humidity": {"name": "P", "unit": "%"}, "precipitation": COLUMNS["precipitation"]}
    with pytest.raises(IngestError, match=r"no Tair \(air temperature, K\): air temperature and precipitation must be"):
        station.read([path], config(columns=humidity))
    twice = {name: {"name": "P", "unit": "hPa"} for name in ("vapour_pressure", "vapour_pressure_deficit")}
    with pytest.raises(IngestError, match=r"humidity is given twice \(vapour_pressure, vapour_pressure_deficit\)"):
        station.read([path], config(columns={**COLUMNS, **twice}))


def test_a_clock_that_is_no_whole_hours_ahead_of_utc(tmp_path):
    """As in India or Nepal: the full hours lie between those of the record."""
    path = place_samples.write_table(tmp_path / "a.csv")
    forcing = station.read([path], config(utc_offset_h=5.75))
    assert forcing["time"].to_numpy()[0] == np.datetime64("2011-05-31T19:00")  # the first record is of 18:15
    celsius = place_samples.temperature(place_samples.hours())
    np.testing.assert_allclose(forcing["Tair"][:, 0], 273.15 + 0.25 * celsius[:-1] + 0.75 * celsius[1:], rtol=1e-12)
    rain = np.zeros(71)
    rain[4:6] = 0.75e-3, 0.25e-3  # 45 minutes of the wet hour, and 15
    np.testing.assert_allclose(forcing["Rainf"][:, 0], rain, rtol=1e-9)


def test_a_sensor_that_changes_is_refused_or_noted(tmp_path):
    path = place_samples.write_table(tmp_path / "a.csv", S=np.where(np.arange(72) < 30, "old", "new"))
    text = "the sensor changes 1 times: old from 2011-06-01T00:00, new from 2011-06-02T06:00"
    with pytest.raises(IngestError, match=f"{text}; a change of sensor may be a jump"):
        station.read([path], config(sensor="S"))
    assert station.read([path], config(sensor="S", sensors="joined")).attrs["notes"][0] == text
    ismn = place_samples.write_ismn(tmp_path, instruments=("HMP", "CS215"))
    bare = {"place": None, "columns": {}, "utc_offset_h": None}
    with pytest.raises(IngestError, match="air_temperature of Place comes from 2 sensors: HMP from 2011-06-01 to"):
        station.read(ismn, config(**bare))
    joined = station.read(ismn, config(**bare, sensors="joined"))
    times = place_samples.hours()
    np.testing.assert_allclose(joined["Tair"][:, 0], place_samples.temperature(times) + 273.15, atol=1e-4)
    assert joined["Rainf"][5, 0] == pytest.approx(1e-3)


def test_keys_that_cannot_be_meant_are_refused():
    for keys, message in (
        ({"wind": [1.0, 2.0]}, "a climatology has 12 numbers"),
        ({"wind": -1.0}, "must not be negative"),
        ({"dew_point_depression": "dry"}, "Input should be 'aridity'"),
        ({"append": True}, "ingest all files at once"),
        ({"gaps": {"other_year_days": 3}}, "belongs to the action `fill`"),
    ):
        with pytest.raises(ValueError, match=message):
            config(**keys)


def test_the_weather_moved_to_another_height_is_called_so(tmp_path):
    path = place_samples.write_table(tmp_path / "a.csv")
    to = {"latitude": 44.1, "longitude": 1.1, "elevation": 1100.0}
    here, moved = station.read([path], config()), station.read([path], config(moved_to=to))
    np.testing.assert_allclose(moved["Tair"], here["Tair"] - 6.5, rtol=1e-12)
    np.testing.assert_allclose(moved["Rainf"] + moved["Snowf"], here["Rainf"] + here["Snowf"], rtol=1e-12)
    assert moved["PSurf"][0, 0] == pytest.approx(estimation.pressure_at(1100.0, float(moved["Tair"].mean())))
    assert moved["latitude"].item() == 44.1
    assert marks(moved, "Tair") == [("moved by +1000 m with 6.5 K km-1", 1.0)]


def test_half_hours_of_fluxnet_or_icos_become_hours(tmp_path):
    path = place_samples.write_half_hours(tmp_path / "HH.csv", LW_IN_F=-9999)
    keys = {"files": ["unused"], "place": PLACE, "utc_offset_h": 1}
    forcing = half_hourly.read([path], half_hourly.HalfHourlyConfig.model_validate(keys))
    assert forcing_problems(forcing) == []
    assert forcing["time"].to_numpy()[0] == np.datetime64("2011-06-01T00:00")  # the first half hour ends at 00:30 local
    assert float(forcing["Rainf"].max()) == pytest.approx(3.6 / 3600.0)  # 3.6 mm in a half hour of that hour
    assert (
        forcing["Rainf"].to_numpy()[:, 0].argmax() == 5
    )  # half hour from 05:00 local, 04:00 UTC: ends in the hour to 05
    assert (forcing["PSurf"] == 98000.0).all()
    assert marks(forcing, "Tair") == [("gap-filled by the producer", pytest.approx(0.2, abs=0.01))]
    assert [method[:9] for method, _ in marks(forcing, "LWdown")] == ["estimated"]
    with pytest.raises(ValueError, match="utc_offset_h"):
        half_hourly.HalfHourlyConfig.model_validate({"files": ["unused"], "place": PLACE})
    (tmp_path / "other.csv").write_text("TIMESTAMP_START,TA_F\n201106010000,1\n")
    with pytest.raises(IngestError, match="no columns TIMESTAMP_START and TIMESTAMP_END"):
        half_hourly.read_table(tmp_path / "other.csv")


def test_a_typical_year_is_repeated_with_its_leap_day(tmp_path):
    path = place_samples.write_epw(tmp_path / "a.epw", wind=4.0)
    keys = {"files": ["unused"], "period": {"start": "2012-02-28T00:00", "end": "2013-03-01T00:00"}}
    forcing = epw.read([path], epw.EpwConfig.model_validate(keys))
    assert forcing_problems(forcing) == []
    assert forcing.sizes == {"time": 367 * 24 + 1, "cell": 1}
    february = forcing["Tair"].sel(time=slice("2012-02-28T00:00", "2012-02-29T23:00"))
    np.testing.assert_allclose(february[:24], february[24:], rtol=1e-12)  # 29 February has the hours of the 28th
    # At 11 UTC the file's hour 12 ends: 15 degC, and 5 more in February.
    assert forcing["Tair"].sel(time="2012-02-29T11:00").item() == pytest.approx(273.15 + 20.0)
    assert forcing["Tair"].sel(time="2012-03-02T11:00").item() == pytest.approx(273.15 + 15.0)
    rain = forcing["Rainf"].to_numpy()[:, 0]
    assert rain[rain > 0] == pytest.approx([1e-3])
    assert forcing["time"].to_numpy()[rain.argmax()] == np.datetime64("2013-01-02T05:00")  # 06 of the local clock
    assert forcing.attrs["notes"][0].startswith("wind is 4 all year: a template's number")
    assert (forcing["Wind"] == 2.0).all()
    assert marks(forcing, "Tair") == [("the file's year, repeated in every year of the period", 1.0)]
    dry = place_samples.write_epw(tmp_path / "b.epw", rain=None)
    with pytest.raises(IngestError, match=r"the file has no precipitation .*no_rain: dry"):
        epw.read([dry], epw.EpwConfig.model_validate(keys))
    with pytest.raises(IngestError, match=r"give period.start and period.end"):
        epw.read([path], epw.EpwConfig(files=("unused",)))
    path.write_text("\n".join(path.read_text().splitlines()[:4000]) + "\n")
    with pytest.raises(IngestError, match="month 6, day 16, hour 9 is missing: a whole year is needed"):
        epw.read([path], epw.EpwConfig.model_validate(keys))


def test_the_record_of_silver_sword(tmp_path):
    """Real rain and temperature of two years, with the documented gaps."""
    folder = shared("data/hawaii/SCAN/SilverSword")
    (tmp_path / "SCAN" / "SilverSword").mkdir(parents=True)
    paths = []
    for original in (*folder.glob("*_p_*"), *folder.glob("*_ta_*")):
        paths.append(tmp_path / "SCAN" / "SilverSword" / original.name)
        lines = original.read_text().splitlines(keepends=True)
        paths[-1].write_text(
            "".join([lines[0], *(line for line in lines if line.startswith(("2012", "2013", "2014")))])
        )
    keys = {"files": ["unused"], "period": {"start": "2014-06-01T00:00", "end": "2014-12-31T00:00"}}
    with pytest.raises(IngestError, match=r"missing for 5.6 days from 2014-09-04T04:00 UTC.*other_year_days"):
        station.read(paths, station.StationConfig.model_validate({**keys, "gaps": {"action": "fill", "hours": 6}}))
    policy = {"action": "fill", "hours": 6, "other_year_days": 400}
    forcing = station.read(paths, station.StationConfig.model_validate({**keys, "gaps": policy}))
    assert forcing_problems(forcing) == []
    assert forcing["Tair"].sel(time="2014-06-01T00:00").item() == pytest.approx(_measured(paths[1], "2014/06/01 00:00"))
    # In the gap of a year the hours are those of the year before.
    assert forcing["Tair"].sel(time="2014-12-01T12:00").item() == pytest.approx(_measured(paths[1], "2013/12/01 12:00"))


def _measured(path: Path, time: str) -> float:
    (line,) = (line for line in path.read_text().splitlines() if line.startswith(time))
    return float(line.split()[2]) + 273.15


def test_a_wrong_configuration_is_a_message_with_its_line(tmp_path):
    path = samples.write_config(tmp_path / "c.yaml", store={"url": "s.zarr"}, files=["a.csv"], stamp="middle")
    with pytest.raises(ConfigurationError, match="stamp"):
        run_ingest("station", path)
