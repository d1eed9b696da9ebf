"""MODIS leaf area index as services deliver it: the same synthetic pixels in every layout give the same values."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.assim.quality import Quality
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import grid, modis, run_ingest
from ldas.pipeline.ingest.config import CellsConfig, Region
from ldas.pipeline.ingest.modis_files import scenes
from ldas.pipeline.store.arrays import open_dataset
from tests.pipeline.ingest import samples
from tests.support import shared

SIZE = 2 * np.pi * 6371007.181 / 86400  # m: pixels of 500 m
CENTRE = (44.62, -1.11)
REGION = CellsConfig(region=Region(south=44.5, north=44.75, west=-1.25, east=-1.0))
CELLS = grid.target_cells(REGION)
DATES = ("2004-01-01", "2004-01-09")
# 3 x 3 pixels, row by row from the northwest: two classes, one that is not good, six good ones.
PACKED = {DATES[0]: [10, 12, 14, 249, 255, 90, 20, 22, 24], DATES[1]: [30, 30, 30, 253, 253, 90, 30, 30, 36]}
QUALITY = [0, 2, 0, 157, 157, 97, 0, 0, 32]
EXPECTED = [1.7, 3.1]


def corner() -> tuple[float, float]:
    """Southwestern corner of the 3 x 3 pixels of the grid around the centre, m."""
    y = np.deg2rad(CENTRE[0]) * 6371007.181
    x = np.deg2rad(CENTRE[1]) * 6371007.181 * np.cos(np.deg2rad(CENTRE[0]))
    half = np.pi * 6371007.181
    west, south = np.floor((x + half) / SIZE) - 1, np.floor((y + half) / SIZE) - 1
    return float(west * SIZE - half), float(south * SIZE - half)


def modistools(path: Path, quality: bool = True) -> Path:
    """The table of the R package MODISTools."""
    x, y = corner()
    rows = []
    for date, packed in PACKED.items():
        for band, values in (("Lai_500m", packed), ("FparLai_QC", QUALITY))[: 1 + quality]:
            for pixel, value in enumerate(values, start=1):
                rows.append(
                    {
                        "xllcorner": f"{x:.2f}", "yllcorner": f"{y:.2f}", "cellsize": 463.312716527778, "nrows": 3,
                        "ncols": 3, "band": band, "units": "m^2/m^2", "scale": 0.1, "latitude": CENTRE[0],
                        "longitude": CENTRE[1], "site": "own", "product": "MOD15A2H", "start": DATES[0],
                        "end": DATES[1], "complete": True, "modis_date": "A2004001", "calendar_date": date,
                        "tile": "h17v04", "proc_date": 2015111111111, "pixel": pixel, "value": value,
                    }
                )  # fmt: skip
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def subset_lines(path: Path, corners: bool = False, band: bool = False, binary: bool = False) -> Path:
    """Lines of ORNL DAAC's web service: packed values, the bands of a date one after the other."""
    x, y = corner()
    lines = []
    for date, packed in PACKED.items():
        day = f"A2004{pd.Timestamp(date).day_of_year:03d}"
        for name, values in (("FparLai_QC", QUALITY), ("Lai_500m", packed)):
            words = [f"MOD15A2H.{day}.h17v04.006.2015111111111.{name}", "MOD15A2H", day]
            words += [f"Lat{CENTRE[0]}Lon{CENTRE[1]}Samp3Line3", "2015111111111"]
            words += [name] if band else []
            words += [f"{value:08b}" if binary and name == "FparLai_QC" else str(value) for value in values]
            lines.append(",".join([*(["3", "3", f"{x}", f"{y}", f"{SIZE}"] if corners else []), *words]))
    path.write_text("\n".join(lines) + "\n")
    return path


def points(path: Path) -> Path:
    """AppEEARS: scaled values, but 249 to 255 as they are."""
    places = pixel_places()
    rows = []
    for date, packed in PACKED.items():
        for number, (value, quality) in enumerate(zip(packed, QUALITY, strict=True)):
            rows.append(
                {
                    "ID": f"p{number}", "Latitude": places[0][number], "Longitude": places[1][number], "Date": date,
                    "MODIS_Tile": "h17v04", "MOD15A2H_061_LaiStdDev_500m": 248.0,
                    "MOD15A2H_061_Lai_500m": value / 10 if value <= 100 else float(value),
                    "MOD15A2H_061_FparLai_QC": float(quality), "MOD15A2H_061_FparLai_QC_MODLAND": "0b0",
                }
            )  # fmt: skip
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def axes() -> tuple[np.ndarray, np.ndarray]:
    x, y = corner()
    return x + SIZE * (np.arange(3) + 0.5), y + SIZE * (3 - np.arange(3) - 0.5)


def pixel_places() -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(*axes())
    latitude = np.rad2deg(y / 6371007.181)
    return latitude.reshape(-1), np.rad2deg(x / (6371007.181 * np.cos(np.deg2rad(latitude)))).reshape(-1)


def netcdf(
    path: Path, *, names: tuple[str, str] = ("xdim", "ydim"), order: tuple[str, ...] = (), **change: Any
) -> Path:
    """AppEEARS on the sinusoidal grid; its times say that they are Julian."""
    x, y = axes()
    dims = ("time", names[1], names[0])
    attributes: dict[str, Any] = {
        "_FillValue": np.uint8(255),
        "scale_factor": 0.1,
        "add_offset": 0.0,
        "valid_min": np.uint8(0),
    }
    attributes |= {"valid_max": np.uint8(100), "units": "m^2/m^2", **change}
    attributes = {name: value for name, value in attributes.items() if value is not None}
    packed = np.array(list(PACKED.values()), dtype="uint8").reshape(2, 3, 3)
    quality = np.broadcast_to(np.array(QUALITY, dtype="uint8").reshape(3, 3), (2, 3, 3))
    time = {"units": "days since 2000-01-01 00:00:00", "calendar": "julian"}
    dataset = xr.Dataset(
        {"Lai_500m": (dims, packed, attributes), "FparLai_QC": (dims, quality, {"_FillValue": np.uint8(255)})},
        coords={"time": ("time", [1461, 1469], time), names[0]: x, names[1]: y},
    )
    dataset.transpose(*(order or dims)).to_netcdf(path)
    return path


def config(**change: Any) -> modis.ModisConfig:
    return modis.ModisConfig(**{"files": ("unused",), "cells": REGION, "least_fraction": 0.3, **change})


LAYOUTS = {
    "modistools": lambda folder: modistools(folder / "a.csv"),
    "ornl": lambda folder: subset_lines(folder / "a.csv"),
    "ornl with bands": lambda folder: subset_lines(folder / "a.csv", band=True, binary=True),
    "ornl with corners": lambda folder: subset_lines(folder / "a.asc", corners=True),
    "appeears points": lambda folder: points(folder / "a.csv"),
    "appeears": lambda folder: netcdf(folder / "a.nc"),
    "columns first": lambda folder: netcdf(folder / "a.nc", order=("xdim", "ydim", "time")),
    "a range in m2 m-2": lambda folder: netcdf(folder / "a.nc", valid_min=0.0, valid_max=10.0),
    "no attributes": lambda folder: netcdf(
        folder / "a.nc", names=("x", "y"), _FillValue=None, valid_min=None, valid_max=None, scale_factor=None
    ),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_gives_the_same_values(tmp_path, layout):
    result = modis.read([LAYOUTS[layout](tmp_path)], CELLS, config())
    assert result["nominal_time"].to_numpy().astype("datetime64[D]").astype(str).tolist() == list(DATES)
    np.testing.assert_allclose(result["value"][:, 0], EXPECTED, rtol=1e-6)
    np.testing.assert_array_equal(result["count"][:, 0], [6, 6])
    assert "notes" not in result.attrs or "quality" not in str(result.attrs["notes"])


def test_places_of_a_subset_by_its_centre_are_those_of_its_corner(tmp_path):
    by_corner = next(scenes(subset_lines(tmp_path / "a.csv", corners=True), "Lai_500m", None, config()))
    by_centre = next(scenes(subset_lines(tmp_path / "b.csv"), "Lai_500m", None, config()))
    table = next(scenes(modistools(tmp_path / "c.csv"), "Lai_500m", None, config()))
    for scene in (by_centre, table):
        np.testing.assert_allclose(scene.latitude, by_corner.latitude, atol=1e-6)
        np.testing.assert_allclose(scene.longitude, by_corner.longitude, atol=1e-6)
    np.testing.assert_allclose(by_corner.latitude, pixel_places()[0], atol=1e-9)
    assert abs(by_centre.latitude[4] - CENTRE[0]) < 0.5 * SIZE / 111e3


def test_without_quality_it_is_said(tmp_path):
    result = modis.read([modistools(tmp_path / "a.csv", quality=False)], CELLS, config())
    np.testing.assert_array_equal(result["count"][:, 0], [7, 7])
    assert result.attrs["notes"] == [
        "Lai_500m: there is no FparLai_QC in the files: the quality of pixels is not looked at"
    ]


def test_subsets_of_several_places_are_averaged_together(tmp_path):
    here = modistools(tmp_path / "a.csv")
    table = pd.read_csv(here)
    table["xllcorner"] += 3 * SIZE
    table["site"] = "east"
    table.loc[table["band"] == "Lai_500m", "value"] = 50
    table.to_csv(tmp_path / "b.csv", index=False)
    result = modis.read([here, tmp_path / "b.csv"], CELLS, config())
    np.testing.assert_array_equal(result["count"][:, 0], [12, 12])
    np.testing.assert_allclose(result["value"][:, 0], [(1.7 + 5.0) / 2, (3.1 + 5.0) / 2], rtol=1e-6)
    again = tmp_path / "again.csv"
    again.write_bytes(here.read_bytes())
    with pytest.raises(IngestError, match=r"again\.csv: 2004-01-01T00:00 UTC is also in .*a\.csv"):
        modis.read([here, again], CELLS, config())


def test_a_store_from_a_table_and_its_continuation(tmp_path):
    points(tmp_path / "a.csv")
    content = {"files": ["a.csv"], "store": {"url": "s.zarr"}, "cells": {"points": [[44.625, -1.125]]}}
    run_ingest("modis", samples.write_config(tmp_path / "c.yaml", **content, period={"end": "2004-01-05"}))
    later = samples.write_config(tmp_path / "c.yaml", **content, period={"start": "2004-01-06"}, append=True)
    run_ingest("modis", later)
    stored = open_dataset(tmp_path / "s.zarr", "observations/lai").load()
    np.testing.assert_allclose(stored["value"][:, 0], EXPECTED, rtol=1e-6)
    assert (stored["quality"] == Quality.USED).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and so on", "a zip archive that is truncated or damaged"),
        (b"\x0e\x03\x13\x01 and so on", "HDF4, which is not read; order the file as NetCDF or CSV from AppEEARS"),
        (b"a,b\n1,2\n", r"line 2: no subset of ORNL DAAC"),
        (
            b"ID,Latitude,Longitude,Date,MOD13Q1_NDVI\np,44,1,2004-01-01,0.5\n",
            "one column of Lai_500m is expected, found none",
        ),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(IngestError, match=message):
        modis.read([tmp_path / "a.csv"], CELLS, config())


def test_a_line_that_is_cut_off_is_named(tmp_path):
    path = subset_lines(tmp_path / "a.csv")
    path.write_text(path.read_text()[:-8])
    with pytest.raises(IngestError, match=r"line 4: 7 values, expected 3 x 3: is it cut off"):
        modis.read([path], CELLS, config())


def test_the_real_landes_as_a_table_of_the_same_pixels(tmp_path):
    """The real pixels, written as MODISTools gives them: the values of the NetCDF file."""
    path = shared("data/lai/MOD15A2H_arcachon_2004.nc")
    with xr.open_dataset(path, mask_and_scale=False) as raw:
        part = raw.isel(time=slice(0, 3)).load()
    x, y = part["x"].to_numpy(), part["y"].to_numpy()
    size = float(x[1] - x[0])
    rows, columns = len(y), len(x)
    pixels = np.arange(1, rows * columns + 1)
    tables = [
        pd.DataFrame({"pixel": pixels, "value": part["Lai_500m"][index].to_numpy().reshape(-1)}).assign(
            xllcorner=x[0] - size / 2, yllcorner=y[-1] - size / 2, cellsize=size, nrows=rows, ncols=columns,
            band="Lai_500m", calendar_date=str(part["time"].to_numpy()[index])[:10],
        )
        for index in range(3)
    ]  # fmt: skip
    pd.concat(tables).to_csv(tmp_path / "a.csv", index=False)
    table = modis.read([tmp_path / "a.csv"], CELLS, config())
    whole = modis.read([path], CELLS, config())
    np.testing.assert_allclose(table["value"], whole["value"][:3], rtol=1e-6)
    np.testing.assert_array_equal(table["count"], whole["count"][:3])
