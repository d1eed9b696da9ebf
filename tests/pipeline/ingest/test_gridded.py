"""Gridded CF products by configuration. No real file of these products is at hand: all files here are SYNTHETIC, made
after the products' documentation (ESA CCI soil moisture, SMAP L3, VODCA, TROPOSIF)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from ldas.assim.quality import Quality
from ldas.pipeline.errors import ConfigurationError, IngestError
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store.arrays import open_dataset
from ldas.pipeline.store.location import Location

Keys = dict[str, Any]
LATITUDE = np.array([44.375, 44.125, 43.875])  # from north to south
LONGITUDE = np.array([0.125, 0.375, 0.625, 0.875])
POINTS = {"points": [[44.125, 0.375], [43.875, 0.875]]}
PIXELS = ((1, 1), (2, 3))  # of the points
VALUES = 0.1 + 0.01 * np.arange(24.0).reshape(2, 3, 4)


def esa_cci(folder: Path, **change: Any) -> Keys:
    """Two days of soil moisture with flags: 0 good, 1 snow or frozen."""
    sm = np.float32(VALUES)
    sm[1, 1, 1] = -9999.0
    flag = np.zeros((2, 3, 4), dtype="int8")
    flag[0, 2, 3] = 1
    dims, meanings = ("time", "lat", "lon"), {"flag_values": np.array([0, 1], "int8"), "flag_meanings": "good snow"}
    clock = {"units": "days since 1970-01-01 00:00:00", "calendar": "standard"}
    fill = {"_FillValue": np.float32(-9999.0)}
    dataset = xr.Dataset(
        {
            "sm": (dims, sm, {"units": "m3 m-3", **fill}),
            "sm_uncertainty": (dims, np.float32(0.1 * VALUES), {"units": "m3 m-3", **fill}),
            "flag": (dims, flag, meanings),
        },
        coords={
            "time": ("time", np.array([16000, 16001]), clock),
            "lat": ("lat", LATITUDE, {"units": "degrees_north"}),
            "lon": ("lon", LONGITUDE, {"units": "degrees_east"}),
        },
    )
    for name, attributes in change.items():
        dataset[name].attrs = {**dataset[name].attrs, **attributes}
    dataset.to_netcdf(folder / "cci.nc", encoding={name: {"_FillValue": None} for name in ("time", "lat", "lon")})
    return {
        "files": [str(folder / "cci.nc")],
        "variable": "sm",
        "group": "ssm",
        "error": {"variable": "sm_uncertainty"},
        "flags": [{"variable": "flag", "keep": [0], "code": "masked_frozen"}],
        "cells": POINTS,
    }


def smap(folder: Path) -> Keys:
    """The morning of one day on a grid whose coordinates are fields, undefined outside the swath."""
    latitude, longitude = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    latitude, longitude = latitude.copy(), longitude.copy()
    latitude[:, 0] = longitude[:, 0] = -9999.0
    latitude[0], longitude[0] = -9999.0, -9999.0
    flag = np.zeros((3, 4), dtype="uint16")
    flag[2, 3] = 0b1000  # only bit 0, retrieval not recommended, counts
    flag[1, 1] = 0b0001
    dims = ("y", "x")
    xr.Dataset(
        {
            "soil_moisture": (dims, np.float32(VALUES[0]), {"units": "cm**3/cm**3", "_FillValue": np.float32(-9999.0)}),
            "retrieval_qual_flag": (dims, flag, {"_FillValue": np.uint16(65534)}),
            "latitude": (dims, np.float32(latitude), {"units": "degrees_north"}),
            "longitude": (dims, np.float32(longitude), {"units": "degrees_east"}),
        }
    ).to_netcdf(folder / "SMAP_L3_SM_P_20150401_R18290_001.h5", group="Soil_Moisture_Retrieval_Data_AM")
    return {
        "files": [str(folder / "*.h5")],
        "file_group": "Soil_Moisture_Retrieval_Data_AM",
        "variable": "soil_moisture",
        "group": "ssm",
        "date": "file_name",
        "flags": [{"variable": "retrieval_qual_flag", "reject_bits": [0]}],
        "error": {"size": 0.04},
        "method": "nearest",
        "cells": POINTS,
    }


def smap_evening(folder: Path) -> Keys:
    """Brightness temperatures of an evening: names with `_pm`, centroids beside the coordinates, a flag left unset."""
    latitude, longitude = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    flag = np.array([[0] * 4, [0, 0b100, 0, 0], [0, 0, 0, 65534]], dtype="uint16")
    dims, fill = ("y", "x"), {"_FillValue": np.float32(-9999.0)}
    degrees = {"units": "degrees"}
    xr.Dataset(
        {
            "latitude_centroid_pm": (dims, np.float32(latitude + 0.01 * longitude), degrees),
            "longitude_centroid_pm": (dims, np.float32(longitude + 0.01 * latitude), degrees),
            "latitude_pm": (dims, np.float32(latitude), degrees),
            "longitude_pm": (dims, np.float32(longitude), degrees),
            "tb_v_corrected_pm": (dims, np.float32(250.0 + 100.0 * VALUES[0]), {"units": "Kelvin", **fill}),
            "tb_qual_flag_v_pm": (dims, flag, {"_FillValue": np.uint16(65534)}),
        }
    ).to_netcdf(folder / "SMAP_L3_SM_P_E_20150401_R19240_001.h5", group="Soil_Moisture_Retrieval_Data_PM")
    return {
        "files": [str(folder / "*.h5")],
        "file_group": "Soil_Moisture_Retrieval_Data_PM",
        "variable": "tb_v_corrected_pm",
        "group": "tbv",
        "date": "file_name",
        "flags": [{"variable": "tb_qual_flag_v_pm", "reject_bits": [0]}],
        "error": {"size": 3.0},
        "cells": {"points": [*POINTS["points"], [44.375, 0.125]]},
    }


def cube(folder: Path, zarr_format: Any) -> Keys:
    """Composites of eight days with a further dimension, in Zarr, and a text that is not looked at."""
    values = np.stack([VALUES, 2.0 * VALUES], axis=1)
    times = np.array(["2015-04-01", "2015-04-09"], dtype="datetime64[ns]")
    dims = ("time", "band", "lat", "lon")
    dataset = xr.Dataset(
        {"sif": (dims, values, {"units": "mW/m2/sr/nm"})}, coords={"time": times, "lat": LATITUDE, "lon": LONGITUDE}
    )
    if zarr_format == 2:
        dataset["name"] = "band", np.array(["red", "far red"], dtype=object)
    dataset.to_zarr(folder / "cube.zarr", zarr_format=zarr_format, consolidated=False)
    keys = {"files": [str(folder / "cube.zarr")], "variable": "sif", "group": "sif", "select": {"band": 1}}
    return {**keys, "days": 8, "cells": POINTS}


def ingest(folder: Path, keys: Keys) -> xr.Dataset:
    file = folder / "product.yaml"
    file.write_text(yaml.safe_dump({"store": {"url": str(folder / "store")}, **keys}), encoding="utf-8")
    (written,) = run_ingest("gridded", file)
    return open_dataset(Location(str(folder / "store")), written.group).load()


def test_esa_cci_soil_moisture(tmp_path: Path) -> None:
    found = ingest(tmp_path, esa_cci(tmp_path))
    assert found["value"].attrs["units"] == "m3 m-3"
    expected = np.array([[VALUES[0, 1, 1], np.nan], [np.nan, VALUES[1, 2, 3]]], dtype=np.float32)
    np.testing.assert_array_equal(found["value"], expected)
    np.testing.assert_allclose(found["uncertainty"][0, 0], 0.1 * VALUES[0, 1, 1], rtol=1e-6)
    codes = [[Quality.USED, Quality.MASKED_FROZEN], [Quality.MISSING, Quality.USED]]
    np.testing.assert_array_equal(found["quality"], codes)
    # A mean over a day is labelled with its end.
    assert found["time"].to_numpy().astype("datetime64[D]").astype(str).tolist() == ["2013-10-23", "2013-10-24"]


def test_smap_l3_with_bits_and_coordinates_in_fields(tmp_path: Path) -> None:
    found = ingest(tmp_path, smap(tmp_path))
    np.testing.assert_array_equal(found["value"], np.array([[np.nan, VALUES[0, 2, 3]]], dtype=np.float32))
    np.testing.assert_allclose(found["uncertainty"][0, 1], 0.04)
    assert found["nominal_time"].to_numpy()[0] == np.datetime64("2015-04-01")


def test_smap_l3_brightness_temperature_of_the_evening(tmp_path: Path) -> None:
    found = ingest(tmp_path, smap_evening(tmp_path))
    expected = np.float32([[250.0 + 100.0 * VALUES[0, 1, 1], np.nan, 250.0 + 100.0 * VALUES[0, 0, 0]]])
    np.testing.assert_array_equal(found["value"], expected)
    assert found["quality"].to_numpy()[0].tolist() == [Quality.USED, Quality.MASKED_PRODUCT_FLAG, Quality.USED]
    assert found["value"].attrs["units"] == "K"


def test_vodca_optical_depth_without_units_or_errors(tmp_path: Path) -> None:
    """A day a file, one band; nothing says what the unit is."""
    dims, clock = ("time", "lat", "lon"), {"units": "days since 1970-01-01"}
    for day in (0, 1):
        vod = np.float32(2.0 * VALUES[[day]])
        vod[0, 1, 1] = np.nan if day else vod[0, 1, 1]
        times = ("time", np.array([16000 + day]), clock)
        coordinates = {"time": times, "lat": LATITUDE, "lon": LONGITUDE}
        xr.Dataset({"vod": (dims, vod)}, coords=coordinates).to_netcdf(tmp_path / f"X-band_2013-10-2{2 + day}.nc")
    keys = {"files": [str(tmp_path / "X-band_*.nc")], "variable": "vod", "group": "vod", "cells": POINTS}
    with pytest.raises(IngestError, match="vod has no units, vod is stored in '1': give `unit`"):
        ingest(tmp_path, keys)
    found = ingest(tmp_path, {**keys, "unit": "1"})
    expected = np.float32([[2.0 * VALUES[0, 1, 1], 2.0 * VALUES[0, 2, 3]], [np.nan, 2.0 * VALUES[1, 2, 3]]])
    np.testing.assert_array_equal(found["value"], expected)
    assert np.isnan(found["uncertainty"]).all()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_zarr_cube_of_composites(tmp_path: Path, zarr_format: int) -> None:
    found = ingest(tmp_path, cube(tmp_path, zarr_format))
    expected = np.array([[2.0 * VALUES[time][pixel] for pixel in PIXELS] for time in (0, 1)], dtype=np.float32)
    np.testing.assert_array_equal(found["value"], expected)
    bounds = found["time_bnds"].to_numpy().astype("datetime64[D]").astype(str).tolist()
    assert bounds == [["2015-04-01", "2015-04-09"], ["2015-04-09", "2015-04-17"]]


def test_factor_and_period(tmp_path: Path) -> None:
    keys = esa_cci(tmp_path, sm={"units": "kg m-2"}, sm_uncertainty={"units": "kg m-2"})
    with pytest.raises(IngestError, match="sm has units 'kg m-2', ssm is stored in 'm3 m-3': give `unit`"):
        ingest(tmp_path, keys)
    found = ingest(tmp_path, {**keys, "factor": 2.0, "offset": 0.1, "period": {"start": "2013-10-23T00:00"}})
    assert found.sizes["time"] == 1
    np.testing.assert_allclose(found["value"][0, 1], 0.1 + 2.0 * VALUES[1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(found["uncertainty"][0, 1], 0.2 * VALUES[1, 2, 3], rtol=1e-6)  # no offset in an error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variable": "ssm"}, "no variable ssm; the file has: .*sm_uncertainty"),
        ({"flags": [{"variable": "QA", "keep": [0]}]}, "no variable QA; the file has"),
        ({"error": {"variable": "noise"}}, "no variable noise; the file has"),
        ({"unit": "percent"}, "sm has units 'percent', ssm is stored in 'm3 m-3'"),
        ({"flags": [{"variable": "sm", "keep": [0]}], "unit": ""}, "sm has no units"),
        ({"time": "t"}, "no variable t; the file has"),
        ({"covers": "bounds"}, "time has no bounds, which `covers: bounds` asks for"),
        ({"date": "file_name"}, "no date such as 20150610 in the file's name"),
        ({"period": {"start": "2020-01-01T00:00"}}, "none of the times of 1 files lies in the period"),
        ({"cells": {"points": [[10.0, 10.0]]}}, "no pixel lies in a target cell"),
    ],
)
def test_a_product_without_what_the_configuration_says(tmp_path: Path, change: Keys, said: str) -> None:
    with pytest.raises(IngestError, match=said):
        ingest(tmp_path, {**esa_cci(tmp_path), **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"group": "unheard_of"}, "unheard_of"),
        ({"flags": [{"variable": "flag"}]}, "exactly one of `keep`, `reject_bits`, `at_least`, `at_most`"),
        ({"error": {"variable": "noise", "size": 1.0}}, "exactly one of `variable`, `size`"),
        ({"covers": "instant", "days": 8}, "`days` has no effect"),
        ({"offset": 1.0}, "`offset` belongs to `factor`"),
    ],
)
def test_a_configuration_that_cannot_be_meant(tmp_path: Path, change: Keys, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ingest(tmp_path, {**esa_cci(tmp_path), **change})


def test_a_grid_that_is_none_is_refused(tmp_path: Path) -> None:
    keys = smap(tmp_path)
    file = next(tmp_path.glob("*.h5"))
    with xr.open_dataset(file, group=keys["file_group"], mask_and_scale=False) as opened:
        turned = opened.load()
    turned["latitude"][1] += 0.01 * np.arange(4)
    turned.to_netcdf(file, group=keys["file_group"])
    with pytest.raises(IngestError, match="latitude differs within a row of the grid"):
        ingest(tmp_path, keys)


def test_code_in_a_zarr_store_is_not_run(tmp_path: Path) -> None:
    """An array that says it needs pickle to be read is not read."""
    keys = cube(tmp_path, 2)
    document = tmp_path / "cube.zarr" / "sif" / ".zarray"
    document.write_text(json.dumps({**json.loads(document.read_text()), "filters": [{"id": "pickle"}]}))
    with pytest.raises(IngestError, match="not a Zarr group that can be read"):
        ingest(tmp_path, keys)


def test_a_target_without_an_error_is_refused() -> None:
    run = {"name": "a", "observations": [{"name": "vod", "operator": "of_vod"}]}
    content = {"name": "x", "store": {"url": "s"}, "period": {"start": "2007-01-01", "end": "2007-12-31"}}
    with pytest.raises(ValueError, match="vod has no default error: give one"):
        ExperimentConfig.model_validate({**content, "assimilation": [run]})


def weather_service(folder: Path, name: str, unit: str, values: Any, times: list[str]) -> Keys:
    """A field of an analysis at some instants."""
    dataset = xr.Dataset(
        {name: (("time", "lat", "lon"), values, {"units": unit})},
        coords={"time": np.array(times, dtype="datetime64[ns]"), "lat": LATITUDE, "lon": LONGITUDE},
    )
    dataset.to_netcdf(folder / "analysis.nc")
    return {"files": [str(folder / "analysis.nc")], "variable": name, "cells": POINTS}


@pytest.mark.parametrize(
    ("group", "unit", "factor", "offset"),
    [
        ("snow_depth", "cm", 0.01, 0.0),
        ("swe", "m of water equivalent", 1000.0, 0.0),
        ("swe", "kg m**-2", 1.0, 0.0),
        ("t2m", "degC", 1.0, 273.15),
        ("hu2m", "%", 0.01, 0.0),
        ("q2m", "g kg-1", 0.001, 0.0),
    ],
)
def test_snow_and_air_in_the_units_of_weather_services(
    tmp_path: Path, group: str, unit: str, factor: float, offset: float
) -> None:
    keys = weather_service(tmp_path, "x", unit, VALUES, ["2015-01-10", "2015-01-11"])
    found = ingest(tmp_path, {**keys, "group": group})
    expected = [[VALUES[day][pixel] * factor + offset for pixel in PIXELS] for day in (0, 1)]
    np.testing.assert_allclose(found["value"], expected, rtol=1e-6)


def test_instants_keep_their_hour(tmp_path: Path) -> None:
    values = np.concatenate([VALUES, VALUES + 1.0]) + 280.0
    values[1, 1, 1] = np.nan
    times = ["2015-01-10T06", "2015-01-10T12", "2015-01-10T18:30", "2015-01-12T00"]
    keys = weather_service(tmp_path, "t2m", "K", values, times)
    keys |= {"group": "t2m", "covers": "instant", "overpasses_per_day": 3}
    found = ingest(tmp_path, keys)
    assert found["value"].dims == ("time", "overpass", "cell")
    assert found["nominal_time"].to_numpy().astype("datetime64[D]").astype(str).tolist() == [
        f"2015-01-{day}" for day in (10, 11, 12)
    ]
    np.testing.assert_array_equal(found["overpass_hour"][0], [[6.0, 6.0], [18.5, 12.0], [np.nan, 18.5]])
    first = np.float32([[values[0][PIXELS[0]], values[0][PIXELS[1]]], [values[2][PIXELS[0]], values[1][PIXELS[1]]]])
    np.testing.assert_array_equal(found["value"][0, :2], first)
    assert np.isnan(found["value"][1]).all()
    with pytest.raises(IngestError, match="overpasses_per_day is 2, but a cell has 3 overpasses on 2015-01-10"):
        ingest(tmp_path, {**keys, "overpasses_per_day": 2, "store": {"url": str(tmp_path / "other")}})
    with pytest.raises(ConfigurationError, match="belongs to `covers: instant`"):
        ingest(tmp_path, {**keys, "covers": "days"})


SECONDS = {"pixel_time": "tb_time_seconds", "pixel_time_origin": "2000-01-01T11:58:55.816", "overpasses_per_day": 2}


def smap_times(folder: Path, brightness: Keys) -> None:
    """Adds when each pixel was seen to the file of an evening, as seconds from J2000 and as text: 17:30 and later, the
    evening before in a corner, unknown in two pixels."""
    (file,) = folder.glob("*.h5")
    with xr.open_dataset(file, group=brightness["file_group"], mask_and_scale=False) as opened:
        dataset = opened.load()
    minute = 10 * np.arange(12.0).reshape(3, 4)
    times = np.datetime64("2015-04-01T17:30", "ms") + (60 * minute).astype("timedelta64[s]")
    times[:2, 2:] = np.datetime64("2015-03-31T23:45", "ms")
    seconds = (times - np.datetime64("2000-01-01T11:58:55.816", "ms")) / np.timedelta64(1, "s")
    text = np.array([[f"{time}Z" for time in row] for row in times.astype(str)])
    seconds[2, 2:], text[2, 2:] = -9999.0, "N/A"
    dims = ("y", "x")
    dataset["tb_time_seconds"] = dims, seconds, {"units": "seconds", "_FillValue": -9999.0}
    dataset["tb_time_utc"] = dims, text
    dataset.to_netcdf(file, group=brightness["file_group"])


@pytest.mark.parametrize("times", [SECONDS, {"pixel_time": "tb_time_utc", "overpasses_per_day": 2}])
def test_pixels_of_smap_l3_keep_their_hour(tmp_path: Path, times: Keys) -> None:
    """A mean of pixels has their mean time; what was seen at an unknown time is left out; a day is that of UTC."""
    points = [[44.25, 0.25], [44.25, 0.75], [43.75, 0.25], [43.75, 0.75]]
    keys = {**smap_evening(tmp_path), "cells": {"points": points}, "cell_size": 0.5, "flags": [], **times}
    smap_times(tmp_path, keys)
    found = ingest(tmp_path, keys)
    assert found["value"].dims == ("time", "overpass", "cell")
    assert found["nominal_time"].to_numpy().astype("datetime64[D]").astype(str).tolist() == ["2015-03-31", "2015-04-01"]
    nothing = np.nan
    np.testing.assert_allclose(found["overpass_hour"][0, 0], [nothing, 23.75, nothing, nothing])
    first, third = 17.5 + (0 + 10 + 40 + 50) / 4.0 / 60.0, 17.5 + (80 + 90) / 2.0 / 60.0
    np.testing.assert_allclose(found["overpass_hour"][1, 0], [first, nothing, third, nothing], rtol=1e-6)
    np.testing.assert_allclose(found["value"][1, 0, 0], 250.0 + 100.0 * VALUES[0, :2, :2].mean(), rtol=1e-6)
    assert np.isnan(found["overpass_hour"][:, 1]).all()
    assert "1 values without a time near their date are left out" in str(found.attrs["notes"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pixel_time_origin": None}, "holds numbers with units 'seconds', which are no dates: give `pixel_time_ori"),
        ({"pixel_time_origin": "1970-01-01T00:00"}, "none of 12 values has a time within 2 days of its date"),
        ({"pixel_time": "when"}, "no variable when; the file has: .*tb_time_seconds"),
        ({"overpasses_per_day": None}, "it needs `overpasses_per_day` and no `covers`"),
        ({"pixel_time": None, "overpasses_per_day": None}, "`pixel_time_origin` belongs to `pixel_time`"),
    ],
)
def test_times_of_pixels_that_cannot_be_read(tmp_path: Path, change: Keys, said: str) -> None:
    points = [[latitude, longitude] for latitude in LATITUDE.tolist() for longitude in LONGITUDE.tolist()]
    keys = {**smap_evening(tmp_path), "flags": [], "cells": {"points": points}, **SECONDS, **change}
    smap_times(tmp_path, keys)
    with pytest.raises((ConfigurationError, IngestError), match=said):
        ingest(tmp_path, {name: value for name, value in keys.items() if value is not None})
