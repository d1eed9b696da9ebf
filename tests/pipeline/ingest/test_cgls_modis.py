"""Copernicus SWI, SSM, LAI and MODIS LAI: flags, averages, dates; mimics for SWI-001 and GEOV1 LAI, real files else."""

from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from ldas.assim.quality import Quality
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import cgls, grid, modis, modis_files, run_ingest
from ldas.pipeline.ingest.config import CellsConfig, Period, Region
from ldas.pipeline.store.arrays import open_dataset
from tests.pipeline.ingest import samples
from tests.support import shared

REGION = CellsConfig(region=Region(south=44.0, north=44.5, west=0.0, east=0.5))
CELLS = grid.target_cells(REGION)


def config(**change: Any) -> cgls.CglsConfig:
    return cgls.CglsConfig(**{"files": ("unused",), "variable": "SWI_001", "cells": REGION, **change})


def test_swi_001_mimic_with_flags_quality_and_counts(tmp_path):
    path = samples.write_cgls(tmp_path / "swi.nc")
    result = cgls.read([path], CELLS, config())
    # Rows 0-3 are the northern cells: packed 100..103, of 16 pixels one is water in the northwest.
    north_west = (16 * 101.5 - 100.0) / 15.0 * 0.5 / 100.0
    np.testing.assert_allclose(result["value"][0, 2], north_west, rtol=1e-6)
    np.testing.assert_allclose(result["value"][0, 3], 101.5 * 0.005, rtol=1e-6)
    np.testing.assert_array_equal(result["count"][0], [16, 15, 15, 16])
    assert (result["quality"] == Quality.USED).all()
    assert np.isnan(result["uncertainty"]).all()
    strict = cgls.read([path], CELLS, config(least_quality=50.0))
    np.testing.assert_array_equal(strict["count"][0], [16, 15, 11, 12])  # row 2 has a quality of 10 %


def test_too_few_pixels_take_the_most_frequent_flag(tmp_path):
    path = samples.write_cgls(tmp_path / "swi.nc")
    with xr.open_dataset(path, mask_and_scale=False) as raw:
        spoiled = raw.load()
    spoiled["SWI_001"][0, :4, :4] = 251
    spoiled["SWI_001"][0, :4, 4:] = 253
    spoiled["SWI_001"][0, 4:, :4] = 255
    spoiled["SWI_001"][0, 4:, 4] = 255
    spoiled.to_netcdf(tmp_path / "flags.nc")
    result = cgls.read([tmp_path / "flags.nc"], CELLS, config(least_fraction=0.9))
    np.testing.assert_array_equal(
        result["quality"][0],
        [Quality.MISSING, Quality.MASKED_PRODUCT_FLAG, Quality.MASKED_WATER, Quality.MASKED_TOPOGRAPHY],
    )


def test_geov1_lai_mimic_with_its_error_layer(tmp_path):
    path = samples.write_cgls(tmp_path / "lai.nc", "LAI", "2015-06-10T00:00")
    result = cgls.read([path], CELLS, config(variable="LAI"))
    np.testing.assert_allclose(result["value"][0, 3], 101.5 / 30.0, rtol=1e-6)
    np.testing.assert_allclose(result["uncertainty"][0, 3], 0.5, rtol=1e-6)
    assert result["value"].attrs["units"] == "m2 m-2"


def test_several_dates_bilinear_and_a_store(tmp_path):
    for day in (3, 1, 2):
        samples.write_cgls(tmp_path / f"swi_{day}.nc", time=f"2015-06-0{day}T12:00")
    settings = samples.write_config(
        tmp_path / "cgls.yaml",
        files=["swi_*.nc"],
        variable="SWI_001",
        store={"url": "store.zarr"},
        cells={"points": [[44.25, 0.25]]},
        method="bilinear",
        period={"end": "2015-06-02T23:00"},
    )
    (done,) = run_ingest("cgls", settings)
    assert done.group == "observations/swi"
    result = open_dataset(tmp_path / "store.zarr", "observations/swi").load()
    np.testing.assert_array_equal(result["time"], np.array(["2015-06-01T12", "2015-06-02T12"], dtype="datetime64[ns]"))
    np.testing.assert_allclose(result["value"], 103.5 * 0.005, rtol=1e-6)  # between row 3 (103) and row 4 (104)
    text = settings.read_text()
    settings.write_text(
        text.replace("end:", "start:").replace("2015-06-02T23:00", "2015-06-03T00:00") + "append: true\n"
    )
    (again,) = run_ingest("cgls", settings)
    assert again.appended
    assert open_dataset(tmp_path / "store.zarr", "observations/swi").sizes["time"] == 3
    with pytest.raises(IngestError, match="only later times can be appended"):
        run_ingest("cgls", settings)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"units": "m"}, {}, r"a\.nc: SWI_001 has units 'm', expected '%'"),
        ({}, {"variable": "SWI_010"}, r"a\.nc: no variable SWI_010; the file has: SWI_001"),
        ({}, {"variable": "NDVI"}, "belongs to no known Copernicus product"),
        ({}, {"period": Period(start="2016-01-01")}, "none of the 1 files lies in the period"),
        (
            {},
            {"cells": CellsConfig(region=Region(south=50, north=51, west=0, east=1))},
            r"a\.nc: no pixel lies in a target cell; the file covers 44",
        ),
    ],
)
def test_wrong_files_are_named(tmp_path, change, settings, message):
    path = samples.write_cgls(tmp_path / "a.nc", **change)
    chosen = config(**settings)
    with pytest.raises(IngestError, match=message):
        cgls.read([path], grid.target_cells(chosen.cells), chosen)


def test_a_date_twice_is_refused(tmp_path):
    paths = [samples.write_cgls(tmp_path / name) for name in ("a.nc", "b.nc")]
    with pytest.raises(IngestError, match=r"b\.nc: 2015-06-01T12:00 UTC is also in .*a\.nc"):
        cgls.read(paths, CELLS, config())


def test_a_range_in_physical_units_loses_no_pixel_and_is_said(tmp_path):
    path = samples.write_cgls(tmp_path / "lai.nc", "LAI", valid_range=np.array([0.0, 7.0]))
    result = cgls.read([path], CELLS, config(variable="LAI"))
    np.testing.assert_allclose(result["value"][0, 3], 101.5 / 30.0, rtol=1e-6)
    np.testing.assert_array_equal(result["count"][0], [16, 15, 15, 16])
    assert [note for note in result.attrs["notes"] if "read in physical units" in note]


def without(path: Any, *names: str, **attributes: Any) -> Any:
    """A file again, without some variables or with other attributes of its variable."""
    with xr.open_dataset(path, mask_and_scale=False, decode_times=False) as raw:
        dataset = raw.load().drop_vars([name for name in names if name in raw.variables])
    for name in dataset.data_vars:
        for key, value in attributes.items():
            if value is None:
                dataset[name].attrs.pop(key, None)
            else:
                dataset[name].attrs[key] = value
    dataset = dataset.isel(time=0) if "time" in dataset.dims and "time" in names else dataset
    dataset.to_netcdf(path)
    return path


def test_files_without_time_are_dated_by_their_name(tmp_path):
    names = ("c_gls_SWI_201506011200_GLOBE_ASCAT_V3.1.1.nc", "c_gls_SWI_201506021200_GLOBE_ASCAT_V3.1.1.nc")
    paths = [without(samples.write_cgls(tmp_path / name), "time") for name in names]
    result = cgls.read(paths, CELLS, config())
    assert result["nominal_time"].to_numpy().astype(str).tolist() == [
        f"2015-06-0{day}T12:00:00.000000000" for day in (1, 2)
    ]
    own = without(samples.write_cgls(tmp_path / "lai_v2_20150610.nc"), "time")
    with pytest.raises(IngestError, match=r"no variable time, and no date in the file's name .*`date: file_name`"):
        cgls.read([own], CELLS, config())
    for date in ("file_name", "2015-06-10"):
        result = cgls.read([own], CELLS, config(date=date))
        assert str(result["nominal_time"].to_numpy()[0])[:10] == "2015-06-10"
    with pytest.raises(IngestError, match="is that of one file, but there are 2"):
        cgls.read(paths, CELLS, config(date="2015-06-10"))
    with pytest.raises(IngestError, match="neither `file_name` nor a date"):
        cgls.read([own], CELLS, config(date="June"))


@pytest.mark.parametrize(
    ("variable", "unit", "factor"),
    [
        ("SWI_001", "Percent", 0.01),
        ("SWI_001", "percentage", 0.01),
        ("LAI", "m^2 m^-2", 1.0),
        ("LAI", "m²/m²", 1.0),
        ("LAI", "m**2 m**-2", 1.0),
        ("LAI", "-", 1.0),
    ],
)
def test_spellings_of_units(tmp_path, variable, unit, factor):
    path = samples.write_cgls(tmp_path / "a.nc", variable, units=unit)
    result = cgls.read([path], CELLS, config(variable=variable))
    scale = 1 / 30 if variable == "LAI" else 0.5
    np.testing.assert_allclose(result["value"][0, 3], 101.5 * scale * factor, rtol=1e-6)


def test_a_unit_from_the_configuration(tmp_path):
    path = samples.write_cgls(tmp_path / "a.nc", units="vol")
    with pytest.raises(IngestError, match=r"SWI_001 has units 'vol', expected '%'.*`unit` gives it"):
        cgls.read([path], CELLS, config())
    result = cgls.read([path], CELLS, config(unit="%"))
    np.testing.assert_allclose(result["value"][0, 3], 101.5 * 0.005, rtol=1e-6)
    with pytest.raises(IngestError, match=r"SWI_001 is 5\d.* expected 0 to 1 "):
        cgls.read([path], CELLS, config(unit="1"))


def test_undeclared_nodata_is_never_stored(tmp_path):
    bare = {"_FillValue": None, "missing_value": None, "valid_range": None, "flag_values": None, "flag_meanings": None}
    path = without(samples.write_cgls(tmp_path / "a.nc", "LAI"), "LAI_ERR", **bare)
    with xr.open_dataset(path, mask_and_scale=False, decode_times=False) as raw:
        dataset = raw.load()
    dataset["LAI"][0, 0, 0] = 255  # with 1/30: 8.5, a possible LAI
    dataset.to_netcdf(path)
    result = cgls.read([path], CELLS, config(variable="LAI"))
    np.testing.assert_array_equal(result["count"][0], [16, 15, 15, 16])
    np.testing.assert_allclose(result["value"][0, 2], (16 * 101.5 - 100.0) / 15.0 / 30.0, rtol=1e-6)
    assert [note for note in result.attrs["notes"] if "255, which the files do not declare" in note]
    taken = cgls.read([path], CELLS, config(variable="LAI", nodata=()))
    np.testing.assert_array_equal(taken["count"][0], [16, 16, 16, 16])


@pytest.mark.parametrize(
    ("pattern", "variable"), [("*SWI1km*", "SWI_005"), ("*SWI1km*", "SWI_040"), ("*SSM1km*", "ssm")]
)
def test_real_files_against_the_netcdf_library(pattern, variable):
    folder = shared("data/cgls/c_gls_SWI1km_201706011200_CEURO_SCATSAR_V1.0.1.nc").parent
    paths = sorted(folder.glob(pattern))
    region = CellsConfig(region=Region(south=42.0, north=44.5, west=-0.5, east=2.5))
    cells = grid.target_cells(region)
    result = cgls.read(paths, cells, config(variable=variable, cells=region))
    assert result.sizes["time"] == 2
    seen = 0
    for index, path in enumerate(paths):
        with netCDF4.Dataset(path) as raw:
            raw.set_auto_maskandscale(False)
            packed, latitude, longitude = raw[variable][0].astype(float), raw["lat"][:], raw["lon"][:]
        values = np.where(packed <= 200, packed * 0.5 / 100.0, np.nan)
        for cell in range(0, len(cells), 7):
            rows = np.abs(latitude - cells.latitude[cell]) < 0.125
            columns = np.abs(longitude - cells.longitude[cell]) < 0.125
            part = values[np.ix_(rows, columns)]
            good = part[np.isfinite(part)]
            assert int(result["count"][index, cell]) == good.size
            if good.size:
                assert float(result["value"][index, cell]) == pytest.approx(good.mean(), abs=1e-6)
                seen += 1
    assert seen >= 3


def modis_config(**change: Any) -> modis.ModisConfig:
    return modis.ModisConfig(**{"files": ("unused",), "cells": REGION, **change})


def test_modis_mimic_on_sinusoidal_axes(tmp_path):
    latitude, longitude = np.meshgrid(44.5 - 0.05 * (np.arange(10) + 0.5), 0.05 * (np.arange(10) + 0.5), indexing="ij")
    packed = np.full((2, 10, 10), 25, dtype="uint8")
    packed[1, :5] = 253
    dataset = xr.Dataset(
        {
            "Lai_500m": (("time", "y", "x"), packed),
            "FparLai_QC": (("time", "y", "x"), np.zeros((2, 10, 10), dtype="uint8")),
            "lat": (("y", "x"), latitude),
            "lon": (("y", "x"), longitude),
        },
        coords={"time": np.array(["2004-01-01", "2004-01-09"], dtype="datetime64[ns]")},
    )
    dataset["FparLai_QC"][0, 9, 9] = 1
    dataset["Lai_500m"][0, 9, 9] = 90
    path = tmp_path / "modis.nc"
    dataset.to_netcdf(path)
    result = modis.read([path], CELLS, modis_config())
    np.testing.assert_allclose(result["value"][0], 2.5, rtol=1e-6)  # the bad pixel of 9.0 does not count
    np.testing.assert_array_equal(result["count"][0], [25, 24, 25, 25])
    np.testing.assert_array_equal(result["quality"][1], [0, 0, Quality.MISSING, Quality.MISSING])
    with pytest.raises(IngestError, match="no variable Lai"):
        modis.read([path], CELLS, modis_config(variable="Lai"))
    dataset.assign(Lai_500m=0.1 * dataset["Lai_500m"]).to_netcdf(tmp_path / "scaled.nc")
    with pytest.raises(IngestError, match=r"scaled\.nc: Lai_500m is float64 .* expected the product's packed integers"):
        modis.read([tmp_path / "scaled.nc"], CELLS, modis_config())


def test_sinusoidal_coordinates_invert():
    x, y = np.array([-111426.693642, 0.0]), np.array([4984086.543681, 0.0])
    latitude, longitude = modis_files.sinusoidal_to_geographic(x, y)
    np.testing.assert_allclose(np.deg2rad(latitude) * modis_files.SPHERE_M, y, rtol=1e-12)
    np.testing.assert_allclose(latitude[0], 44.8229, atol=1e-3)
    np.testing.assert_allclose(longitude[0], -1.4128, atol=2e-3)


def test_real_modis_lai_of_the_landes():
    path = shared("data/lai/MOD15A2H_arcachon_2004.nc")
    region = CellsConfig(region=Region(south=44.5, north=44.75, west=-1.25, east=-1.0))
    cells = grid.target_cells(region)
    result = modis.read([path], cells, modis_config(cells=region))
    with netCDF4.Dataset(path) as raw:
        raw.set_auto_maskandscale(False)
        inside = (np.abs(raw["lat"][:] - 44.625) < 0.125) & (np.abs(raw["lon"][:] + 1.125) < 0.125)
        packed = raw["Lai_500m"][:][:, inside].astype(float)
    expected = [np.mean(row[row <= 100]) * 0.1 for row in packed]
    np.testing.assert_allclose(result["value"][:, 0], expected, rtol=1e-5)
    assert result.sizes["time"] == 46
    # The file's own latitudes and longitudes are those of its sinusoidal axes.
    with xr.open_dataset(path) as raw:
        bare = raw.drop_vars(["lat", "lon"]).load()
        own = raw["lat"].to_numpy(), raw["lon"].to_numpy()
    np.testing.assert_allclose(modis_files.pixel_places(bare, path), own, atol=1e-6)
