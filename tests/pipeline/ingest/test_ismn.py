"""ISMN: the three layouts, flags, depths, hours to days; real stations against the text itself."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import ismn, run_ingest
from ldas.pipeline.ingest.config import Period
from ldas.pipeline.store.arrays import decode_labels, open_dataset
from tests.pipeline.ingest import samples
from tests.support import shared


def config(**change: Any) -> ismn.IsmnConfig:
    return ismn.IsmnConfig(**{"files": ("unused",), **change})


def write_sensor(
    folder: Path, depth: float = 0.05, layout: str = "header_values", station: str = "Own", flag: str = "G"
) -> Path:
    """48 hours of one sensor: 0.20 at day 1, 0.30 at day 2; hour 3 of day 1 has a bad flag and a wild value."""
    place = folder / "NET" / station
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"NET_NET_{station}_sm_{depth:.6f}_{depth:.6f}_Probe_20100101_20100102.stm"
    times = pd.date_range("2010-01-01", periods=48, freq="h")
    lines = []
    if layout == "header_values":
        lines.append(f"NET NET {station} 44.00000 1.00000 120.00 {depth:.4f} {depth:.4f} Probe")
    for hour, time in enumerate(times):
        value, code = (0.99, "C02") if hour == 3 else (0.2 if hour < 24 else 0.3, flag)
        stamp = time.strftime("%Y/%m/%d %H:%M")
        if layout == "header_values":
            lines.append(f"{stamp} {value:.4f} {code} M")
        else:
            place_and_depth = f"44.00000 1.00000 120.00 {depth:.2f} {depth:.2f}"
            lines.append(f"{stamp} {stamp} NET NET {station} {place_and_depth} {value:.4f} {code} M")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("layout", ["header_values", "ceop_sep"])
def test_a_sensor_becomes_daily_means_of_good_hours(tmp_path, layout):
    path = write_sensor(tmp_path, layout=layout)
    result = ismn.read([path], config())
    np.testing.assert_allclose(result["soil_moisture"], [[0.2, 0.3]], rtol=1e-6)
    assert result.attrs["network"] == "NET"
    assert result["code"].to_numpy().tolist() == ["Own"]
    assert float(result["depth"][0]) == 0.05
    hourly = ismn.read([path], config(resolution="hourly"))
    assert hourly.sizes["time"] == 48
    assert np.isnan(hourly["soil_moisture"][0, 3])


def write_ceop(path: Path) -> Path:
    """The old layout: three depths in one file, temperature beside soil moisture."""
    lines = []
    for hour in range(24):
        stamp = f"2010/01/01 {hour:02d}:00"
        for depth, value in ((0.05, 0.25), (0.10, 0.30), (0.20, -999.99)):
            lines.append(f"{stamp} {stamp} NET NET Old 44.0 1.0 120.0 - {depth:.2f} 12.0 U {value:.4f} U")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_old_layout_with_all_depths_in_a_file(tmp_path):
    path = write_ceop(tmp_path / "NET_NET_Old.stm")
    assert [sensor.depth[0] for sensor in ismn.read_file(path)] == [0.05, 0.1]
    result = ismn.read([path], config(flags=("U",), depth=0.10))
    np.testing.assert_allclose(result["soil_moisture"], [[0.3]], rtol=1e-6)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[5][:40]]))
    with pytest.raises(IngestError, match=r"line 6: .* fields, expected 16: is it cut off"):
        ismn.read([path], config(flags=("U",)))


def test_the_sensor_nearest_to_the_depth_is_taken_of_each_station(tmp_path):
    paths = [write_sensor(tmp_path, depth) for depth in (0.05, 0.1, 0.3)]
    paths.append(write_sensor(tmp_path, 0.1, station="Deep"))
    result = ismn.read(paths, config(depth=0.05, depth_tolerance=0.05))
    assert result["code"].to_numpy().tolist() == ["Deep", "Own"]
    np.testing.assert_allclose(result["depth"], [0.1, 0.05])
    with pytest.raises(IngestError, match=r"no sensor within 0\.02 m of 0\.5 m; there are"):
        ismn.read(paths, config(depth=0.5))


def test_flags_periods_and_wild_values(tmp_path):
    path = write_sensor(tmp_path)
    with pytest.raises(
        IngestError, match=r"no value in the period has an accepted flag \(U\); the file has G: 47, C02: 1"
    ):
        ismn.read([path], config(flags=("U",)))
    with pytest.raises(IngestError, match="no value in the period"):
        ismn.read([path], config(period=Period(start="2011-01-01")))
    short = ismn.read([path], config(period=Period(end="2010-01-01T05:00"), least_hours=5))
    np.testing.assert_allclose(short["soil_moisture"], [[0.2]], rtol=1e-6)
    few = ismn.read([path], config(period=Period(end="2010-01-02T05:00"), least_hours=12))
    assert np.isnan(few["soil_moisture"][0, 1])
    path.write_text(path.read_text().replace("0.3000 G", "30.0 G"))
    with pytest.raises(IngestError, match=r"soil moisture is 30\.0 at 2010-01-02 00:00:00, expected 0 to 1"):
        ismn.read([path], config())


def test_files_that_are_no_data_are_named(tmp_path):
    place = tmp_path / "NET" / "Own"
    place.mkdir(parents=True)
    bad = place / "NET_NET_Own_sm_0.050000_0.050000_Probe_20100101_20100102.stm"
    bad.write_text("")
    with pytest.raises(IngestError, match="the file is empty"):
        ismn.read([bad], config())
    bad.write_text("this is\nno data\n")
    with pytest.raises(IngestError, match="not readable as ISMN data"):
        ismn.read([bad], config())
    with pytest.raises(IngestError, match="none of the 1 files holds soil moisture"):
        ismn.read([tmp_path / "x.csv"], config())
    doubled = write_sensor(tmp_path)
    lines = doubled.read_text().splitlines()
    doubled.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(IngestError, match="times must increase; 2010-01-02 23:00:00"):
        ismn.read([doubled], config())


def test_an_absent_library_says_what_to_install(tmp_path, monkeypatch):
    path = write_sensor(tmp_path)
    monkeypatch.setitem(sys.modules, "ismn.filehandlers", None)
    with pytest.raises(IngestError, match=r"needs the library ismn, .*pip install 'ldas\[ingest\]'"):
        ismn.read([path], config())


def test_several_networks_need_a_name(tmp_path):
    a = write_sensor(tmp_path / "a")
    b = write_sensor(tmp_path / "b", station="Two")
    target = b.parents[2] / "OTHER" / "Two"
    target.mkdir(parents=True)
    moved = b.rename(target / b.name.replace("NET_NET", "OTHER_OTHER"))
    moved.write_text(moved.read_text().replace("NET NET", "OTHER OTHER"))
    with pytest.raises(IngestError, match=r"several networks \(NET, OTHER\)"):
        ismn.read([a, moved], config())
    assert ismn.read([a, moved], config(network="both")).attrs["network"] == "both"


def test_stations_in_a_store(tmp_path):
    write_sensor(tmp_path)
    settings = samples.write_config(tmp_path / "c.yaml", files=["NET/*/*.stm"], store={"url": "store.zarr"})
    (done,) = run_ingest("ismn", settings)
    assert done.group == "insitu/NET"
    stored = open_dataset(tmp_path / "store.zarr", "insitu/NET").load()
    assert decode_labels(stored["code"]).tolist() == ["Own"]


def write_record(
    root: Path,
    network: str,
    station: str,
    start: str,
    days: int,
    value: float,
    *,
    sensor: str = "Probe",
    flag: str = "G",
    folder: str | None = None,
    latitude: float = 44.5,
) -> str:
    """A synthetic hourly record of one value (layout header_values); returns a pattern that finds all records."""
    place = root / "ISMN" / (folder or network) / station
    place.mkdir(parents=True, exist_ok=True)
    times = pd.date_range(start, periods=24 * days, freq="h")
    name = f"{network}_{network}_{station}_sm_0.050000_0.050000_{sensor}_{times[0]:%Y%m%d}_{times[-1]:%Y%m%d}.stm"
    rows = [f"{network} {network} {station} {latitude:.5f} -0.90000 80.00 0.0500 0.0500 {sensor}"]
    rows += [f"{time:%Y/%m/%d %H:%M} {value:10.4f} {flag} M" for time in times]
    (place / name).write_text("\n".join(rows) + "\n")
    return "ISMN/**/*.stm"


def ingest(folder: Path, **change: Any) -> Any:
    content = {"files": ["ISMN/**/*.stm"], "store": {"url": "store.zarr"}, **change}
    return run_ingest("ismn", samples.write_config(folder / "c.yaml", **content))


def stored(folder: Path, network: str) -> dict[str, list[float]]:
    """Values of each station."""
    group = open_dataset(folder / "store.zarr", f"insitu/{network}").load()
    values = group["soil_moisture"].transpose("station", "time").to_numpy()
    return {
        str(code): row.astype(float).round(4).tolist()
        for code, row in zip(decode_labels(group["code"]), values, strict=True)
    }


def test_of_a_replaced_sensor_the_one_that_measured_in_the_period(tmp_path):
    write_record(tmp_path, "NETC", "S1", "2015-01-01", 40, 0.1, sensor="EC5")
    write_record(tmp_path, "NETC", "S1", "2015-02-15", 20, 0.3, sensor="5TM")
    write_record(tmp_path, "NETC", "S1", "2015-02-15", 30, 0.5, sensor="Broken", flag="D01")
    (done,) = ingest(tmp_path, period={"start": "2015-02-20", "end": "2015-02-22T23:00"})
    assert stored(tmp_path, "NETC") == {"S1": [0.3, 0.3, 0.3]}
    assert done.notes == ()


def test_a_sensor_replaced_within_the_period(tmp_path):
    write_record(tmp_path, "NETC", "S1", "2015-01-01", 3, 0.1, sensor="EC5")
    write_record(tmp_path, "NETC", "S1", "2015-01-03", 4, 0.3, sensor="5TM")
    (done,) = ingest(tmp_path)
    assert stored(tmp_path, "NETC") == {"S1": [0.3, 0.3, 0.3, 0.3]}  # the longer record alone
    assert done.notes == (
        "S1: 5TM is stored; EC5 at the same depth, with 72 values from 2015-01-01 to 2015-01-03, is not "
        "(`sensors: joined`)",
    )
    ingest(tmp_path, sensors="joined", network="joined")
    assert stored(tmp_path, "joined") == {"S1": [0.1, 0.1, 0.3, 0.3, 0.3, 0.3]}
    group = open_dataset(tmp_path / "store.zarr", "insitu/joined")
    assert group.attrs["instruments"] == ["5TM + EC5"]
    assert group.attrs["ingests"][0]["configuration"]["sensors"] == "joined"


def test_a_record_in_two_downloads_is_one_sensor(tmp_path):
    write_record(tmp_path, "NETC", "S1", "2015-01-01", 3, 0.1)
    write_record(tmp_path, "NETC", "S1", "2015-01-03", 2, 0.3)
    (done,) = ingest(tmp_path)
    assert stored(tmp_path, "NETC") == {"S1": [0.1, 0.1, 0.3, 0.3]}
    assert done.notes == ()


def test_a_station_without_accepted_values_does_not_stop_the_others(tmp_path):
    write_record(tmp_path, "NETA", "Old", "2007-01-01", 3, 0.2)
    write_record(tmp_path, "NETA", "Bad", "2015-01-01", 3, 0.2, flag="D01")
    write_record(tmp_path, "NETA", "New", "2015-01-01", 3, 0.4)
    (done,) = ingest(tmp_path, period={"start": "2015-01-01", "end": "2015-12-31"})
    assert stored(tmp_path, "NETA") == {"New": [0.4, 0.4, 0.4]}
    assert done.notes == ("NETA: 2 of 3 stations without a value in the period: Bad, Old",)


def test_stations_of_the_same_name_in_two_networks(tmp_path):
    write_record(tmp_path, "NETA", "Grignon", "2015-01-01", 2, 0.1, latitude=48.8)
    write_record(tmp_path, "NETB", "Grignon", "2015-01-01", 2, 0.4, latitude=43.1)
    assert [done.group for done in ingest(tmp_path)] == ["insitu/NETA", "insitu/NETB"]
    assert stored(tmp_path, "NETA") == {"Grignon": [0.1, 0.1]}
    assert stored(tmp_path, "NETB") == {"Grignon": [0.4, 0.4]}
    ingest(tmp_path, network="all")
    assert stored(tmp_path, "all") == {"NETA.Grignon": [0.1, 0.1], "NETB.Grignon": [0.4, 0.4]}
    np.testing.assert_allclose(open_dataset(tmp_path / "store.zarr", "insitu/all")["latitude"], [48.8, 43.1])


def test_the_network_is_that_of_the_text_not_of_the_folder(tmp_path):
    write_record(tmp_path, "NETA", "S1", "2015-01-01", 2, 0.1, folder="my download")
    write_record(tmp_path, "NETB", "S1", "2015-01-01", 2, 0.4, folder="my download")
    assert [done.group for done in ingest(tmp_path)] == ["insitu/NETA", "insitu/NETB"]
    assert stored(tmp_path, "NETB") == {"S1": [0.4, 0.4]}


def test_an_append_keeps_the_stations_and_leaves_no_hole(tmp_path):
    write_record(tmp_path, "NETA", "A", "2015-01-01", 2, 0.1)
    write_record(tmp_path, "NETA", "B", "2015-01-01", 2, 0.2)
    ingest(tmp_path)
    write_record(tmp_path, "NETA", "B", "2015-01-04", 2, 0.3)
    write_record(tmp_path, "NETA", "C", "2015-01-04", 2, 0.4)
    (done,) = ingest(tmp_path, append=True, files=["ISMN/**/*20150104*.stm"])
    assert done.notes == ("NETA: stations that the stored group does not have are left out: C",)
    nan = np.nan
    np.testing.assert_equal(stored(tmp_path, "NETA"), {"A": [0.1, 0.1, nan, nan, nan], "B": [0.2, 0.2, nan, 0.3, 0.3]})


def write_hours(folder: Path, station: str, start: str, values: list[float], freq: str = "h") -> None:
    """Hours (or shorter steps) of one sensor, a file of its own for each start."""
    place = folder / "ISMN" / "NETA" / station
    place.mkdir(parents=True, exist_ok=True)
    lines = [f"NETA NETA {station} 44.00000 1.00000 120.00 0.0500 0.0500 Probe"]
    for time, value in zip(pd.date_range(start, periods=len(values), freq=freq), values, strict=True):
        lines.append(f"{time:%Y/%m/%d %H:%M} {value:.4f} G M")
    path = place / f"NETA_NETA_{station}_sm_0.050000_0.050000_Probe_{start.replace(':', '')}.stm"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("hours", [6, 14])  # of the day in the first file: no mean of it is stored, or one is
def test_a_day_split_over_two_files_has_the_mean_of_its_hours(tmp_path, hours):
    for station in ("A", "B"):
        write_hours(tmp_path, station, "2015-01-01T00", [0.1] * 24 + [0.2] * hours)
    ingest(tmp_path)
    write_hours(tmp_path, "A", f"2015-01-02T{hours:02d}", [0.3] * (24 - hours) + [0.4] * 24)
    before = stored(tmp_path, "NETA")
    with pytest.raises(IngestError, match=rf"begins at 2015-01-02T{hours:02d}:00, within the day with which insitu"):
        ingest(tmp_path, append=True, files=[f"ISMN/**/*2015-01-02T{hours:02d}.stm"])
    np.testing.assert_equal(stored(tmp_path, "NETA"), before)
    (done,) = ingest(tmp_path, append=True)
    assert (done.first, done.sizes["time"]) == ("2015-01-03T00:00 UTC", 1)
    found = stored(tmp_path, "NETA")
    mean = (0.2 * hours + 0.3 * (24 - hours)) / 24
    np.testing.assert_allclose(found["A"], [0.1, mean, 0.4], atol=1e-4)
    np.testing.assert_allclose(found["B"], [0.1, 0.2 if hours == 14 else np.nan, np.nan], atol=1e-6)
    with pytest.raises(IngestError, match=r"insitu/NETA of .* ends at 2015-01-03T00:00 UTC, and the files hold"):
        ingest(tmp_path, append=True)


def test_the_mean_of_a_split_day_may_be_kept(tmp_path):
    write_hours(tmp_path, "A", "2015-01-01T00", [0.1] * 24 + [0.2] * 14)
    ingest(tmp_path)
    write_hours(tmp_path, "A", "2015-01-02T14", [0.3] * 10 + [0.4] * 24)
    ingest(tmp_path, append=True, files=["ISMN/**/*T14.stm"], period={"start": "2015-01-03"})
    np.testing.assert_allclose(stored(tmp_path, "NETA")["A"], [0.1, 0.2, 0.4], atol=1e-6)


@pytest.mark.parametrize(("resolution", "hour"), [("hourly", 6), ("daily", 0)])
def test_an_hour_split_over_two_files_has_the_mean_of_its_records(tmp_path, resolution, hour):
    """Every ten minutes from 12 UTC; the files meet in an hour of the second day, and both hold its record at :20."""
    write_hours(tmp_path, "A", "2015-01-01T12", [0.1] * 6 * (12 + hour) + [0.2] * 3, "10min")
    ingest(tmp_path, resolution=resolution)
    before = stored(tmp_path, "NETA")
    write_hours(tmp_path, "A", f"2015-01-02T{hour:02d}:20", [0.2] + [0.3] * (3 + 6 * (47 - hour)), "10min")
    second = {"append": True, "resolution": resolution, "files": ["ISMN/**/*20.stm"]}
    within = "hour" if resolution == "hourly" else "day"
    with pytest.raises(IngestError, match=rf"begins at 2015-01-02T0{hour}:20, within the {within} with which insitu"):
        ingest(tmp_path, **second)
    np.testing.assert_equal(stored(tmp_path, "NETA"), before)
    ingest(tmp_path, append=True, resolution=resolution)
    hours = [0.1] * (12 + hour) + [0.25] + [0.3] * (47 - hour)
    expected = hours if resolution == "hourly" else [0.1, np.mean(hours[12:36]), 0.3]
    np.testing.assert_allclose(stored(tmp_path, "NETA")["A"], expected, atol=1e-4)


def test_an_hourly_record_that_is_not_on_the_hour_continues(tmp_path):
    """The second download begins half an hour into the last stored day, with the first record of it."""
    write_hours(tmp_path, "A", "2015-01-01T00:30", [0.1] * 24 + [0.2] * 14)
    ingest(tmp_path)
    write_hours(tmp_path, "A", "2015-01-02T00:30", [0.2] * 14 + [0.3] * 34)
    ingest(tmp_path, append=True, files=["ISMN/**/*2015-01-02T0030.stm"])
    np.testing.assert_allclose(stored(tmp_path, "NETA")["A"], [0.1, (14 * 0.2 + 10 * 0.3) / 24, 0.3], atol=1e-4)


def test_values_out_of_range_may_be_missing(tmp_path):
    write_record(tmp_path, "NETA", "A", "2015-01-01", 1, 30.0)
    write_record(tmp_path, "NETA", "A", "2015-01-02", 1, 0.2)
    with pytest.raises(IngestError, match="expected 0 to 1 m3 m-3; `out_of_range: missing`"):
        ingest(tmp_path)
    ingest(tmp_path, out_of_range="missing")
    assert stored(tmp_path, "NETA") == {"A": [0.2]}


def test_real_sensors_that_follow_each_other(tmp_path):
    """Silver Sword (SCAN) at 5 cm: A to 2010-06-10, B to 2016-03, C, then D from 2018-01-26."""
    folder = shared("data/hawaii/SCAN/SilverSword/SCAN_SCAN_SilverSword_static_variables.csv").parent
    paths = sorted(folder.glob("*_sm_0.05*_Hydraprobe-Analog-[BC]_*.stm"))
    period = Period(start="2015-12-01", end="2017-10-10T23:00")
    common = {"depth": 0.0508, "period": period, "resolution": "hourly"}
    text = {}
    for path in paths:
        words = [line.split() for line in path.read_text().splitlines()[1:]]
        text[path] = {f"{w[0]} {w[1]}": float(w[2]) for w in words if w[3] == "G" and w[1].endswith(":00")}
    for sensors, members in (("best", paths[:1]), ("joined", paths)):
        result = ismn.read(paths, config(sensors=sensors, **common))
        assert result.attrs["network"] == "SCAN"
        times = pd.DatetimeIndex(result["time"].to_numpy()).strftime("%Y/%m/%d %H:%M")
        found = dict(zip(times, result["soil_moisture"].to_numpy()[0], strict=True))
        expected = {
            time: value
            for path in reversed(members)
            for time, value in text[path].items()
            if "2015/12/01" <= time < "2017/10/11"
        }
        assert np.isfinite(list(found.values())).sum() == len(expected)
        for time, value in expected.items():
            assert found[time] == pytest.approx(value, abs=1e-6)


# folder -> accepted flag, column of the value, header lines
REAL = {
    "ceop_sep/FR_Aqui/fraye": ("G", 12, 0),
    "ceop_sep/SMOSMANIA/Narbonne": ("U", 12, 0),
    "header_values/SMOSMANIA/Narbonne": ("U", 2, 1),
    "header_values/RSMN/Adamclisi": ("G", 2, 1),
}


@pytest.mark.parametrize("name", list(REAL))
def test_real_sensors_against_the_text_itself(name):
    flag, column, header = REAL[name]
    (path,) = shared(f"data/insitu/{name}").glob("*_sm_*.stm")
    result = ismn.read([path], config(flags=(flag,), resolution="hourly"))
    lines = path.read_text().splitlines()[header:]
    words = [line.split() for line in lines if line.strip()]
    values = {f"{w[0]} {w[1]}": float(w[column]) for w in words if w[column + 1] == flag}
    times = pd.DatetimeIndex(result["time"].to_numpy()).strftime("%Y/%m/%d %H:%M")
    stored = dict(zip(times, result["soil_moisture"].to_numpy()[0], strict=True))
    for time, value in values.items():
        if time.endswith(":00"):
            assert stored[time] == pytest.approx(value, abs=1e-6)
    assert np.isfinite(list(stored.values())).sum() == len({time[:13] for time in values})


def test_the_real_old_layout_against_the_text_itself():
    path = shared("data/insitu/ceop/SMOSMANIA/SMOSMANIA_SMOSMANIA_NBN_20100304_20130801.stm")
    sensors = ismn.read_file(path)
    assert [sensor.depth[0] for sensor in sensors] == [0.05, 0.1, 0.2, 0.3]
    words = [line.split() for line in path.read_text().splitlines()]
    for sensor in sensors:
        expected = [float(w[14]) for w in words if float(w[11]) == sensor.depth[0] and float(w[14]) > -900]
        np.testing.assert_array_equal(sensor.data["soil_moisture"], expected)
    assert (sensors[0].latitude, sensors[0].longitude) == (43.15, 2.9567)
