"""ISMN: the three layouts, flags, depths, hours to days; real stations against the text itself."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.ingest import ismn, run_ingest
from pipeline.ingest.config import Period
from pipeline.ingest.errors import IngestError
from pipeline.store import decode_labels, open_dataset
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
