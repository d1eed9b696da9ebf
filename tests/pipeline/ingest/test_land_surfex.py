"""Land from cover maps; PGD files and ISBA outputs (mimics); the collocated series, one real and three altered."""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.assim.quality import Quality
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import collocated, covers, grid, land, run_ingest, surfex
from ldas.pipeline.ingest.config import CellsConfig, Region
from ldas.pipeline.ingest.land import CoverMap, LandConfig, Raster, StaticMasks
from ldas.pipeline.store.arrays import open_dataset
from tests.pipeline.ingest import samples
from tests.support import shared

REGION = CellsConfig(region=Region(south=44.0, north=44.25, west=0.0, east=0.5))
CELLS = grid.target_cells(REGION)

ECOCLIMAP = """COVER   1
 FRACTION   Town Nature  Water    Sea
        1   0.00   0.00   0.00   1.00

COVER   2
 FRACTION   Town Nature  Water    Sea
        2   0.20   0.80   0.00   0.00
 FRACTION     No   Tebd     C3   Shrb
        2   0.10   0.20   0.50   0.20

COVER   3
 FRACTION   Town Nature  Water    Sea
        3   0.00   0.00   0.00   0.00
"""


def maps(folder: Path) -> None:
    """Maps of 10 x 20 pixels: west cropland, east forest with a column of water; texture and elevation."""
    latitude = 44.25 - 0.025 * (np.arange(10) + 0.5)
    longitude = 0.025 * (np.arange(20) + 0.5)
    igbp = np.full((10, 20), 12, dtype="uint8")
    igbp[:, 10:] = 1
    igbp[:, 19] = 17
    igbp[0, 0] = 255
    height = np.full((10, 20), 100.0)
    height[::2, 10:] = 1100.0
    xr.Dataset(
        {
            "igbp": (("lat", "lon"), igbp),
            "clay": (("lat", "lon"), np.full((10, 20), 250.0), {"units": "g/kg"}),
            "sand": (("lat", "lon"), np.full((10, 20), 40.0), {"units": "%"}),
            "height": (("lat", "lon"), height, {"units": "m"}),
        },
        coords={"lat": latitude, "lon": longitude},
    ).to_netcdf(folder / "maps.nc")


def config(**change: Any) -> LandConfig:
    settings = {
        "cells": REGION,
        "cover": CoverMap(map=Raster(file="maps.nc", variable="igbp")),
        "clay": Raster(file="maps.nc", variable="clay"),
        "sand": Raster(file="maps.nc", variable="sand"),
        "elevation": Raster(file="maps.nc", variable="height"),
        "masks": StaticMasks(water=0.2),
    }
    return LandConfig(**{**settings, **change})


def test_patch_fractions_texture_elevation_and_masks(tmp_path):
    maps(tmp_path)
    result = land.read(CELLS, config(), tmp_path)
    fractions = result["patch_fraction"].to_numpy()
    np.testing.assert_allclose(fractions.sum(axis=1), 1.0)
    np.testing.assert_allclose(fractions[0, [6, 7]], [0.8, 0.2])  # cropland: C3 and C4
    np.testing.assert_allclose(fractions[1, 4], 1.0)  # conifers; water does not count
    np.testing.assert_allclose(result["water_fraction"], [0.0, 0.1])
    np.testing.assert_allclose(result["clay"], 0.25)
    np.testing.assert_allclose(result["sand"], 0.40)
    np.testing.assert_allclose(result["elevation"], [100.0, 600.0])
    np.testing.assert_allclose(result["topographic_complexity"], [0.0, 1.0])  # 500 m of deviation
    np.testing.assert_array_equal(result["mask"], [Quality.USED, Quality.MASKED_TOPOGRAPHY])
    dropped = land.read(CELLS, config(masks=StaticMasks(water=0.2, drop=True)), tmp_path)
    assert dropped.sizes["cell"] == 1
    strict = land.read(CELLS, config(masks=StaticMasks(topography=1.0)), tmp_path)
    np.testing.assert_array_equal(strict["mask"], [Quality.USED, Quality.MASKED_WATER])


def test_land_into_a_store_with_an_ecoclimap_map(tmp_path):
    maps(tmp_path)
    (tmp_path / "covers.txt").write_text(ECOCLIMAP)
    with xr.open_dataset(tmp_path / "maps.nc") as raw:
        both = raw.load()
    cover = np.full((10, 20), 2, dtype="int16")
    cover[:, 15:] = 1
    both["cover"] = (("lat", "lon"), cover)
    both.to_netcdf(tmp_path / "covers.nc")
    settings = samples.write_config(
        tmp_path / "land.yaml",
        store={"url": "store.zarr"},
        cells={"region": {"south": 44.0, "north": 44.25, "west": 0.0, "east": 0.5}},
        cover={"map": {"file": "covers.nc", "variable": "cover"}, "kind": "ecoclimap", "table": "covers.txt"},
        clay=0.3,
        sand=0.4,
    )
    (done,) = run_ingest("land", settings)
    assert done.sizes == {"cell": 2, "patch": 12}
    stored = open_dataset(tmp_path / "store.zarr", "land").load()
    # Cover 2 is nature by 0.8: bare 0.1, broadleaf 0.2 + shrubs 0.2, C3 crops 0.5.
    np.testing.assert_allclose(stored["patch_fraction"][0, [0, 3, 6]], [0.1, 0.4, 0.5])
    np.testing.assert_allclose(stored["urban_fraction"], [0.2, 0.1])
    np.testing.assert_allclose(stored["water_fraction"], [0.0, 0.5])
    assert set(stored.attrs["ingests"][0]["inputs"]) == {"covers.nc", "covers.txt"}


def test_what_maps_do_not_declare_is_no_land(tmp_path):
    """Fill values that nothing declares, a range in physical numbers, texture that sums to more than 1."""
    maps(tmp_path)
    with xr.open_dataset(tmp_path / "maps.nc") as raw:
        bare = raw.load()
    clay = np.full((10, 20), 25, dtype="uint8")  # 0.25
    clay[0, :10] = 255
    bare["clay"] = (("lat", "lon"), clay, {"units": "%", "valid_range": np.array([0.0, 100.0])})
    height = np.round(bare["height"].to_numpy()).astype("int16")
    height[0, 0], height[1, 0] = -9999, 32767
    bare["height"] = (("lat", "lon"), height, {"units": "m"})
    sand = np.full((10, 20), 0.4, dtype="float32")
    sand[3, 3] = 9.96921e36
    bare["sand"] = (("lat", "lon"), sand, {"units": "1"})
    for name in ("clay", "height", "sand"):
        bare[name].encoding = {"_FillValue": None}
    bare.to_netcdf(tmp_path / "bare.nc")
    rasters = {
        "clay": Raster(file="bare.nc", variable="clay"),
        "sand": Raster(file="bare.nc", variable="sand"),
        "elevation": Raster(file="bare.nc", variable="height"),
    }
    result = land.read(CELLS, config(**rasters), tmp_path)
    np.testing.assert_allclose(result["clay"], 0.25)
    np.testing.assert_allclose(result["sand"], 0.40, rtol=1e-6)
    np.testing.assert_allclose(result["elevation"], [100.0, 600.0])
    assert any("bare.nc: height: -9999, which the files do not declare" in note for note in result.attrs["notes"])
    with pytest.raises(IngestError, match=r"bare\.nc: clay is 25 .*expected 0 to 1"):
        land.read(CELLS, config(clay=Raster(file="bare.nc", variable="clay", unit="1", valid_range="ignore")), tmp_path)
    with pytest.raises(IngestError, match=r"sum to 1\.10.*`clay_and_sand: scale`"):
        land.read(CELLS, config(clay=0.7), tmp_path)
    scaled = land.read(CELLS, config(clay=0.7, clay_and_sand="scale"), tmp_path)
    np.testing.assert_allclose(scaled["clay"] + scaled["sand"], 1.0)
    np.testing.assert_allclose(scaled["clay"], 0.7 / 1.1)
    assert any("scaled to 1, in 2 cells" in note for note in scaled.attrs["notes"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cover": CoverMap(map=Raster(file="maps.nc", variable="cover"))}, "no variable cover"),
        ({"clay": Raster(file="maps.nc", variable="height")}, "height has units 'm', expected '1'"),
        ({"clay": 0.7}, r"clay and sand of cell 0 .* sum to 1\.10"),
        ({"cover": CoverMap(map=Raster(file="maps.nc", variable="igbp"), kind="ecoclimap")}, "needs `table`"),
        (
            {"cells": CellsConfig(region=Region(south=50.0, north=50.25, west=0.0, east=0.5))},
            "none of it near the target",
        ),
        (
            {"cells": CellsConfig(region=Region(south=44.0, north=44.5, west=0.0, east=0.5))},
            "2 of 4 cells have no pixel",
        ),
    ],
)
def test_maps_that_do_not_fit_are_named(tmp_path, change, message):
    maps(tmp_path)
    chosen = config(**change)
    with pytest.raises(IngestError, match=message):
        land.read(grid.target_cells(chosen.cells), chosen, tmp_path)


def test_the_tables_sum_to_one_and_say_so_when_they_do_not(tmp_path):
    table = covers.read_class_table()
    np.testing.assert_allclose(table.patches.sum(axis=1) + table.water + table.urban, 1.0)
    np.testing.assert_allclose(table.tropical_patches.sum(axis=1) + table.water + table.urban, 1.0)
    np.testing.assert_array_equal(table.index_of(np.array([17, 99, 0])), [17, -1, 0])
    own = tmp_path / "own.csv"
    own.write_text(
        "class,zone,name,water,urban,"
        + ",".join(f"p{i}" for i in range(1, 13))
        + "\n1,temperate,x"
        + ",0" * 13
        + ",0.9\n"
    )
    with pytest.raises(IngestError, match=r"the parts of class 1 sum to 0\.9"):
        covers.read_class_table(own)
    (tmp_path / "e.txt").write_text(ECOCLIMAP.replace("0.50   0.20", "0.50   0.90"))
    with pytest.raises(IngestError, match=r"vegetation types of cover 2: the fractions sum to 1\.7"):
        covers.read_ecoclimap(tmp_path / "e.txt")
    (tmp_path / "n.txt").write_text("nothing")
    with pytest.raises(IngestError, match="not an ECOCLIMAP cover file"):
        covers.read_ecoclimap(tmp_path / "n.txt")


def test_the_real_ecoclimap_table():
    path = shared("data/land_params/ecoclimapI_covers_param.txt")
    table = covers.read_ecoclimap(path)
    assert len(table.classes) == 220
    np.testing.assert_allclose(table.patches.sum(axis=1) + table.water + table.urban, 1.0, atol=0.011)
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.split()[:2] == ["COVER", "174"])
    nature = float(lines[row + 2].split()[2])
    names = next(line.split()[1:] for line in lines[row + 3 :] if "Tebd" in line)
    values = next(
        line.split()[1:] for line in lines[row + 3 :] if line.split()[:1] == ["174"] and len(line.split()) == 20
    )
    forest = sum(float(v) for n, v in zip(names, values, strict=True) if n in ("Tebd", "Trbd", "Tebe", "Bobd", "Shrb"))
    assert table.patches[table.index_of(np.array([174]))[0], 3] == pytest.approx(nature * forest)


def test_the_real_landes_with_the_real_land_mask():
    folder = shared("data/land_params/MCD12Q1_arcachon_igbp.nc").parents[1]
    region = CellsConfig(region=Region(south=44.5, north=44.75, west=-1.25, east=-1.0))
    chosen = LandConfig(
        cells=region,
        cover=CoverMap(map=Raster(file="land_params/MCD12Q1_arcachon_igbp.nc", variable="IGBP")),
        clay=0.05,
        sand=0.9,
        land_mask=Raster(file="era5/era5_landmask_0.25.nc", variable="land"),
        masks=StaticMasks(water=1.0),
    )
    result = land.read(grid.target_cells(region), chosen, folder)
    with xr.open_dataset(folder / "land_params/MCD12Q1_arcachon_igbp.nc") as raw:
        x, y = np.meshgrid(raw["x"], raw["y"])
        classes = raw["IGBP"].to_numpy()
    latitude = np.rad2deg(y / 6371007.181)
    longitude = np.rad2deg(x / 6371007.181 / np.cos(np.deg2rad(latitude)))
    inside = (np.abs(latitude - 44.625) < 0.125) & (np.abs(longitude + 1.125) < 0.125)
    assert float(result["water_fraction"][0]) == pytest.approx((classes[inside] == 17).mean())
    assert float(result["urban_fraction"][0]) == pytest.approx((classes[inside] == 13).mean())
    assert chosen.land_mask is not None
    cells = grid.target_cells(CellsConfig(region=Region(south=43.0, north=45.0, west=-2.0, east=0.0)))
    path = folder / "era5/era5_landmask_0.25.nc"
    values, latitude, longitude = land.read_raster(chosen.land_mask, land.FRACTION, cells, 0.25, path)
    with netCDF4.Dataset(path) as raw:
        axes = np.asarray(raw["latitude"][:]), np.asarray(raw["longitude"][:])
        mask = np.asarray(raw["land"][:])
    rows, columns = (
        (np.abs(axes[0][None] - latitude[:, None])).argmin(1),
        (axes[1][None] == longitude[:, None]).argmax(1),
    )
    np.testing.assert_array_equal(values, mask[rows, columns])
    assert 0.2 < values.mean() < 0.9
    sea = LandConfig(**{**chosen.model_dump(), "cells": {"points": [[44.6, -5.0]]}})
    with pytest.raises(IngestError, match="no target cell has enough land"):
        land.read(grid.target_cells(sea.cells), sea, folder)


# --- SURFEX ------------------------------------------------------------------------------------------------------


def write_pgd(path: Path, *, patches: bool = True) -> Path:
    """A mimic of a PGD file: 2 x 2 points, one of them sea; patches first, undefined values 1e20."""
    fraction = np.zeros((12, 2, 2))
    fraction[6, 0], fraction[9, 1] = 0.6, 1.0
    fraction[3, 0] = 0.4
    fraction[:, 1, 1] = 1e20
    points = ("yy", "xx")
    dataset = xr.Dataset(
        {
            "REG_LAT": (points, [[44.125, 44.125], [44.375, 44.375]]),
            "REG_LON": (points, [[359.875, 0.125], [359.875, 0.125]]),
            "ZS": (points, [[100.0, 200.0], [300.0, 0.0]]),
            "SSO_STDEV": (points, [[10.0, 250.0], [20.0, 1e20]]),
            "CLAY": (points, [[0.2, 0.3], [0.25, 1e20]]),
            "SAND": (points, [[0.5, 0.4], [0.45, 1e20]]),
            "FRAC_SEA": (points, [[0.0, 0.0], [0.0, 1.0]]),
            "FRAC_WATER": (points, [[0.02, 0.0], [0.0, 0.0]]),
            "FRAC_TOWN": (points, [[0.0, 0.0], [0.3, 0.0]]),
        }
    )
    if patches:
        dataset["PATCH"] = (("Number_of_Patches", *points), fraction)
    else:
        dataset["COVER001"] = (points, [[0.0, 0.0], [0.0, 1.0]])
        dataset["COVER002"] = (points, [[1.0, 1.0], [1.0, 0.0]])
    dataset.to_netcdf(path)
    return path


def test_a_pgd_file_becomes_land(tmp_path):
    path = write_pgd(tmp_path / "PGD.nc")
    chosen = surfex.SurfexLandConfig(files=("unused",))
    result = surfex.read_land(path, chosen, tmp_path)
    assert result.sizes["cell"] == 3
    np.testing.assert_allclose(result["longitude"], [-0.125, 0.125, -0.125])
    np.testing.assert_allclose(result["patch_fraction"][0, [3, 6]], [0.4, 0.6])
    np.testing.assert_allclose(result["patch_fraction"].sum("patch"), 1.0)
    np.testing.assert_allclose(result["topographic_complexity"], [0.02, 0.5, 0.04])
    np.testing.assert_array_equal(result["mask"], [Quality.USED, Quality.MASKED_TOPOGRAPHY, Quality.MASKED_URBAN])
    (tmp_path / "covers.txt").write_text(ECOCLIMAP)
    bare = write_pgd(tmp_path / "PGD2.nc", patches=False)
    by_cover = surfex.read_land(bare, surfex.SurfexLandConfig(files=("u",), ecoclimap="covers.txt"), tmp_path)
    np.testing.assert_allclose(by_cover["patch_fraction"][0, [0, 3, 6]], [0.1, 0.4, 0.5])
    with pytest.raises(IngestError, match=r"no patch fractions .* give `ecoclimap`"):
        surfex.read_land(bare, chosen, tmp_path)
    with xr.open_dataset(path) as raw:
        raw.drop_vars("CLAY").to_netcdf(tmp_path / "noclay.nc")
    with pytest.raises(IngestError, match=r"noclay\.nc: no clay \(CLAY\) in the file: is it a PGD file"):
        surfex.read_land(tmp_path / "noclay.nc", chosen, tmp_path)


def test_undefined_values_of_older_pgd_files(tmp_path):
    """SURFEX before version 8 wrote 999 where a value is not defined, and no attribute says so."""
    path = write_pgd(tmp_path / "PGD.nc")
    with xr.open_dataset(path) as raw:
        old = raw.load().map(lambda array: xr.where(np.abs(array) > 1e19, 999.0, array))
    old.to_netcdf(tmp_path / "old.nc", encoding={name: {"_FillValue": None} for name in old.data_vars})
    chosen = surfex.SurfexLandConfig(files=("unused",))
    assert surfex.read_land(tmp_path / "old.nc", chosen, tmp_path).equals(surfex.read_land(path, chosen, tmp_path))
    old["CLAY"][0, 0] = 20.0
    old.to_netcdf(tmp_path / "percent.nc", encoding={name: {"_FillValue": None} for name in old.data_vars})
    with pytest.raises(IngestError, match=r"percent\.nc: CLAY is 20 .*expected 0 to 1 "):
        surfex.read_land(tmp_path / "percent.nc", chosen, tmp_path)


def write_output(path: Path, step: str = "6h", count: int = 8) -> Path:
    """A mimic of ISBA output over the PGD mimic's points: WG2 per patch, LAI and LE as cell means."""
    times = pd.date_range("2015-01-01T03:00", periods=count, freq=step).to_numpy()
    water = np.full((count, 12, 2, 2), 1e20)
    water[:, 6], water[:, 3], water[:, 9] = 0.2, 0.3, 0.4
    ramp = np.arange(count, dtype=float)[:, None, None]
    xr.Dataset(
        {
            "WG2_ISBA": (("time", "Number_of_Patches", "yy", "xx"), water),
            "LAI_ISBA": (("time", "yy", "xx"), 1.0 + ramp * np.ones((1, 2, 2))),
            "LE_ISBA": (("time", "yy", "xx"), 10.0 * ramp * np.ones((1, 2, 2))),
        },
        coords={"time": times},
    ).to_netcdf(path)
    return path


def test_isba_outputs_become_a_run(tmp_path):
    write_pgd(tmp_path / "PGD.nc")
    write_output(tmp_path / "ISBA.nc")
    settings = samples.write_config(
        tmp_path / "run.yaml",
        files=["ISBA.nc"],
        pgd="PGD.nc",
        store={"url": "store.zarr"},
        variables=["WG2", "LAI", "LE"],
    )
    (done,) = run_ingest("surfex-run", settings)
    assert done.group == "runs/open_loop"
    result = open_dataset(tmp_path / "store.zarr", "runs/open_loop").load()
    np.testing.assert_array_equal(result["time"], np.array(["2015-01-01", "2015-01-02"], dtype="datetime64[ns]"))
    np.testing.assert_allclose(result["WG2"][:, 0], 0.6 * 0.2 + 0.4 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(result["LAI"][:, 0], [2.0, 6.0])  # the record at 09 UTC
    np.testing.assert_allclose(result["LE"][:, 0], [15.0, 55.0])  # the mean of the day
    assert np.isnan(result["WG2"][0, 3])


def test_outputs_that_lack_something_are_named(tmp_path):
    write_pgd(tmp_path / "PGD.nc")
    path = write_output(tmp_path / "ISBA.nc")

    def run(**change: Any) -> xr.Dataset:
        settings = {"files": ("u",), "pgd": "PGD.nc", "variables": ("LAI",), **change}
        return surfex.read_run([path], surfex.SurfexRunConfig(**settings), tmp_path)

    with pytest.raises(IngestError, match=r"no RECO \(RECO or RECO_ISBA or R_ECO or R_ECO_ISBA"):
        run(variables=("RECO",))
    with pytest.raises(IngestError, match="2 days have no value at 12 UTC, the first 2015-01-01"):
        run(hour=12)
    with pytest.raises(IngestError, match="give `pgd`"):
        run(pgd=None)
    with xr.open_dataset(path) as raw:
        spoiled = raw.load()
    (spoiled.assign(LAI_ISBA=spoiled["LAI_ISBA"] * 1000.0)).to_netcdf(path)
    with pytest.raises(IngestError, match=r"ISBA\.nc: LAI_ISBA is .* expected 0 to .*`out_of_range: missing`"):
        run()
    assert surfex.output_names("WG2") == ("WG2", "WG2_ISBA")


def test_the_collocated_series_as_run_and_observations(tmp_path):
    """A test of the format: three of the four series are altered example data whose places are only labels."""
    folder = shared("data/ldas/isba_ascat_43.625N_0.875E_2007-2016.nc").parent
    settings = samples.write_config(
        tmp_path / "c.yaml",
        files=[str(path) for path in sorted(folder.glob("*.nc"))],
        store={"url": "store.zarr"},
        lai_per_leaf_biomass=14.07,
    )
    done = run_ingest("collocated", settings)
    assert [item.group for item in done] == ["runs/open_loop", "observations/sigma40"]
    run = open_dataset(tmp_path / "store.zarr", "runs/open_loop").load()
    observed = open_dataset(tmp_path / "store.zarr", "observations/sigma40").load()
    np.testing.assert_allclose(run["latitude"], [43.625, 44.375, 46.125, 53.375])
    for cell, name in enumerate(sorted(path.name for path in folder.glob("*.nc"))):
        with xr.open_dataset(folder / name) as raw:
            table = raw[["sig", "WG2", "TG2"]].to_dataframe().set_index(raw["time"].to_numpy())
        means = table.groupby(table.index.floor("D")).mean()
        counts = table["sig"].groupby(table.index.floor("D")).count()
        position = run["time"].to_index().get_indexer(means.index)
        np.testing.assert_allclose(run["WG2"].to_numpy()[position, cell], means["WG2"], rtol=1e-6)
        np.testing.assert_allclose(observed["value"].to_numpy()[position, cell], means["sig"], rtol=1e-6)
        np.testing.assert_array_equal(observed["count"].to_numpy()[position, cell], counts)
    assert int((observed["quality"] == 0).sum()) == int((observed["count"] > 0).sum())
    path = folder / "isba_ascat_43.625N_0.875E_2007-2016.nc"
    config = collocated.CollocatedConfig(files=("u",), overpasses_per_day=2)
    run, observed = collocated.read([path], config)
    with xr.open_dataset(path) as raw:
        rows = raw[["sig", "TG1"]].to_dataframe().set_index(raw["time"].to_numpy())
    there = np.isfinite(observed["value"].to_numpy())
    assert there.sum() == rows["sig"].notna().sum()
    times = observed["nominal_time"].to_numpy()[:, None, None] + np.timedelta64(1, "h") * observed["overpass_hour"]
    np.testing.assert_array_equal(times.to_numpy()[there], rows.index.to_numpy())  # 10 and 22 UTC
    np.testing.assert_array_equal(observed["value"].to_numpy()[there], rows["sig"].astype("float32"))
    np.testing.assert_array_equal(run["TG1_sigma40"].to_numpy()[there], rows["TG1"].astype("float32"))
    with pytest.raises(IngestError, match="its times are dates without hour"):
        collocated.read([folder / "isba_ascat_44.375N_0.625E_2007-2016.nc"], config)
    with pytest.raises(IngestError, match="hold the same place"):
        collocated.read([path, path], collocated.CollocatedConfig(files=("u",)))
