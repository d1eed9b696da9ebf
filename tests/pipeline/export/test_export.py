"""`ldas export`: right values in the right places, under the right names, in files that others open and judge."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.commands.export import Request, export_scores, run_export
from ldas.pipeline.export.errors import ExportError
from ldas.pipeline.registry import names, renamed, variable
from ldas.pipeline.settings.metadata import MetadataConfig
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.layout import Grid, Points, layout
from ldas.pipeline.store.lease import held
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.portable import udunits
from tests.helpers.program import program
from tests.pipeline.evaluation.synthetic_store import Synthetic, make_store

SMALL = Synthetic(rows=3, columns=4, days=50, open_loop_days_before=20, stations=False, forcing=False, operator=False)
RIOXARRAY = "ignore:Use `@` matmul:PendingDeprecationWarning"  # its own arithmetic of grids
METADATA = MetadataConfig(
    **dict.fromkeys(set(MetadataConfig.model_fields) - {"keywords", "title"}, "given"),
    title="Made up",
    keywords=("synthetic",),
)  # type: ignore[arg-type]


class Exported(NamedTuple):
    store: Path
    files: dict[str, Path]

    def stored(self, run: str, name: str) -> np.ndarray:
        return np.asarray(open_store(self.store)[f"runs/{run}/{name}"][...])

    def opened(self, name: str) -> xr.Dataset:
        with xr.open_dataset(self.files[name], engine="netcdf4", decode_coords="all") as opened:
            return opened.load()


def by_name(paths: list[Path]) -> dict[str, Path]:
    return {path.name: path for path in paths}


def quiet(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A store of 11 cells on a grid of 12 places, analyses from 2015 on, exported day by day."""
    folder = tmp_path_factory.mktemp("export")
    store = make_store(folder, SMALL)
    return Exported(store, by_name(run_export(Location(str(store)), Request(), folder / "out", message=quiet)))


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one cell 0.1 degrees off the grid."""
    store = make_store(tmp_path_factory.mktemp("points"), SMALL)
    latitude = open_store(store, "a")["land/latitude"]
    latitude[3] = latitude[3] + 0.1  # type: ignore[index]
    return store


# --- places ------------------------------------------------------------------------------------------------------


def test_cells_on_a_grid_with_gaps() -> None:
    latitude, longitude = np.array([42.125, 42.125, 43.125]), np.array([0.125, 0.375, -0.375])
    grid = layout(latitude, longitude)
    assert isinstance(grid, Grid)
    np.testing.assert_allclose(grid.longitude, [-0.375, -0.125, 0.125, 0.375])
    np.testing.assert_allclose(grid.latitude, [42.125, 43.125])  # no cell tells of rows between them
    maps = grid.on_map(np.array([[1.0, 2.0, 3.0]]), np.nan)
    nan = np.nan
    np.testing.assert_array_equal(maps, [[[nan, nan, 1.0, 2.0], [3.0, nan, nan, nan]]])
    assert grid.edges == (41.625, 43.625, -0.5, 0.5)


def test_coordinates_in_single_precision_and_across_the_date_line() -> None:
    rows, columns = np.divmod(np.arange(900 * 30), 30)
    fine = layout((10.0 + rows / 120.0).astype("float32"), (columns / 120.0).astype("float32"))
    assert isinstance(fine, Grid)
    assert fine.shape == (900, 30)
    np.testing.assert_array_equal(fine.place, np.arange(900 * 30))
    fiji = layout(np.array([-17.0, -17.0, -17.0]), np.array([179.5, -180.0, -179.5]))
    assert isinstance(fiji, Grid)
    np.testing.assert_allclose(fiji.longitude, [179.5, 180.0, 180.5])


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [([43.1], [0.2]), ([43.1, 44.7], [0.2, 3.3]), ([43.1, 43.6, 43.71], [0.2, 0.2, 0.7]), ([43.0, 43.0], [1.0, 1.0])],
)
def test_places_that_are_no_grid(latitude: list[float], longitude: list[float]) -> None:
    assert isinstance(layout(np.array(latitude), np.array(longitude)), Points)


# --- values ------------------------------------------------------------------------------------------------------


def test_a_state_is_on_its_day_at_the_analysis_hour(exported: Exported) -> None:
    found, stored = exported.opened("ekf_day_2015.nc"), exported.stored("ekf", "LAI")
    lai = found["lai"].sel(time="2015-01-03 09:00", lat=42.375, lon=-1.625)
    assert float(lai) == stored[2, 5]  # the third day of the analyses; the second row, the second column
    assert np.isnan(found["lai"].sel(lat=42.625, lon=-1.125)).all()  # the corner without a cell
    assert found["lai"].notnull().sum("time").max() == 50


def test_a_mean_is_on_the_day_that_most_of_it_lies_in(exported: Exported) -> None:
    """Of an analysis under the label of a day: the 24 h up to its 09 UTC. Of an open loop: the day itself."""
    analysis, stored = exported.opened("ekf_day_2015.nc"), exported.stored("ekf", "LE")
    row = analysis.sel(time="2015-01-02 09:00")
    assert float(row["hfls"].sel(lat=42.125, lon=-1.875)) == stored[2, 0]  # stored under 3 January
    assert [str(t)[:13] for t in row["time_bnds"].values] == ["2015-01-02T09", "2015-01-03T09"]
    open_loop, stored = exported.opened("open_loop_day_2015.nc"), exported.stored("open_loop", "LE")
    row = open_loop.sel(time="2015-01-02 09:00")
    assert float(row["hfls"].sel(lat=42.125, lon=-1.875)) == stored[21, 0]
    assert [str(t)[:13] for t in row["time_bnds"].values] == ["2015-01-02T00", "2015-01-03T00"]


def test_units_and_sums_of_the_table(exported: Exported) -> None:
    found = exported.opened("open_loop_day_2015.nc").sel(lat=42.125, lon=-1.625, time="2015-01-01 09:00")
    of = {name: exported.stored("open_loop", name)[20, 1] for name in ("GPP", "RUNOFF", "DRAINAGE", "WG2", "TG2")}
    np.testing.assert_allclose(found["gpp"], of["GPP"] * 12.0 / 44.0, rtol=1e-6)
    np.testing.assert_allclose(found["mrro"], of["RUNOFF"] + of["DRAINAGE"], rtol=1e-6)
    np.testing.assert_allclose(found["mrsol"], [of["WG2"] * 30.0], rtol=1e-6)  # kg m-2 in 3 cm
    np.testing.assert_allclose(found["tsl"], [of["TG2"]])
    np.testing.assert_allclose(found["depth_bnds"], [[0.01, 0.04]])
    assert found["mrsol"].attrs["standard_name"] == "liquid_water_content_of_soil_layer"
    assert "ice of these layers is not stored" in found["mrsol"].attrs["comment"]


def test_months(exported: Exported, tmp_path: Path) -> None:
    request = Request(("ekf",), ("Evap", "LAI"), every="month", names="alma")
    files = by_name(run_export(Location(str(exported.store)), request, tmp_path, message=quiet))
    with xr.open_dataset(files["ekf_month_2015.nc"], engine="netcdf4", decode_coords="all") as found:
        january = found.isel(time=0).sel(lat=42.125, lon=-1.875)
        days = {name: exported.stored("ekf", name)[:, 0].astype(float) for name in ("EVAP", "LAI")}
        np.testing.assert_allclose(january["LAI"], days["LAI"][:31].mean(), rtol=1e-6)
        np.testing.assert_allclose(january["Evap"], days["EVAP"][1:32].mean(), rtol=1e-6)
        assert found["LAI"].attrs["cell_methods"] == "time: mean (interval: 1 day comment: of values at 09 UTC)"
        assert [str(t)[:13] for t in january["time_bnds"].values] == ["2015-01-01T09", "2015-02-01T09"]


def test_means_and_maps_piece_by_piece(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large to be in memory at once has the same values."""
    whole = exported.opened("open_loop_day_2015.nc")
    for name, value in (("MOST_VALUES", 130), ("_CHUNK_VALUES", 30)):
        monkeypatch.setattr(f"ldas.pipeline.export.dataset.{name}", value)
    location = Location(str(exported.store))
    daily = by_name(run_export(location, Request(("open_loop",), ("lai",)), tmp_path, message=quiet))
    with xr.open_dataset(daily["open_loop_day_2015.nc"], engine="netcdf4") as found:
        np.testing.assert_array_equal(found["lai"], whole["lai"])
        assert found["lai"].encoding["chunksizes"] == (2, 3, 4)
    monthly = run_export(location, Request(("open_loop",), ("lai",), every="month"), tmp_path, message=quiet)
    with xr.open_dataset(by_name(monthly)["open_loop_month_2015.nc"], engine="netcdf4") as found:
        np.testing.assert_allclose(found["lai"][1], whole["lai"].sel(time="2015-02").mean("time"), rtol=1e-6)


def test_zarr_holds_what_netcdf_holds(exported: Exported, tmp_path: Path) -> None:
    request = Request(("ekf",), format="zarr", names="surfex")
    files = by_name(run_export(Location(str(exported.store)), request, tmp_path, message=quiet))
    with xr.open_zarr(files["ekf_day.zarr"], decode_coords="all") as found:
        assert {str(name) for name in found.data_vars} >= set(open_store(exported.store)["runs/ekf"]) - {"time", "cell"}
        assert found["sigma40"].attrs["valid_range"] == [-35.0, 5.0]
        days = slice("2015-01-01", "2015-12-31")
        np.testing.assert_array_equal(found["LAI"].sel(time=days), exported.opened("ekf_day_2015.nc")["lai"])
        codes = found["quality_sigma40"].sel(time="2015-01-04 09:00", lat=42.125, lon=-1.875)
        assert int(codes) == exported.stored("ekf", "quality_sigma40")[3, 0]
        assert found["WG2"].encoding["coordinates"] == "depth_1_4cm"
        np.testing.assert_allclose(found["depth_1_4cm_bnds"], [0.01, 0.04])


@pytest.mark.filterwarnings(RIOXARRAY)
def test_a_map_for_a_gis(exported: Exported, tmp_path: Path) -> None:
    import rasterio

    location = Location(str(exported.store))
    day = np.datetime64("2015-01-05").astype("O")
    request = Request(("ekf",), ("LAI",), start=day, end=day, names="surfex", format="geotiff")
    files = by_name(run_export(location, request, tmp_path, message=quiet))
    with rasterio.open(files["LAI_ekf_2015-01-05_2015-01-05.tif"]) as raster:
        assert raster.crs.to_epsg() == 4326
        assert raster.bounds == (-2.0, 42.0, -1.0, 42.75)
        (value,) = raster.sample([(-1.875, 42.625)])  # the first cell of the third row
        assert value[0] == exported.stored("ekf", "LAI")[4, 8]
        assert np.isnan(raster.nodata)
        assert raster.tags()["units"] == "m2 m-2"


@pytest.mark.filterwarnings(RIOXARRAY)
def test_a_map_of_a_score(exported: Exported, tmp_path: Path) -> None:
    import rasterio

    root = open_store(exported.store, "a")
    scores = xr.Dataset(
        {"rmsd": (("series", "cell"), np.arange(22, dtype="float32").reshape(2, 11))},
        coords={"series": np.array(["open_loop", "ekf (analysis)"], dtype=object)},
    )
    with pytest.raises(ExportError, match="holds no scores: `ldas report"):
        export_scores(Location(str(exported.store)), "LAI_truth/rmsd", tmp_path, message=quiet)
    write_group(root, "scores/LAI_truth", scores)
    (path,) = export_scores(
        Location(str(exported.store)), "LAI_truth/rmsd", tmp_path, experiments=["ekf"], message=quiet
    )
    assert path.name == "LAI_truth_rmsd_ekf_analysis.tif"
    with rasterio.open(path) as raster:
        (value,) = raster.sample([(-1.625, 42.375)])
        assert value[0] == 11 + 5
    with pytest.raises(ExportError, match=r"no score r2 of LAI_truth; there are: rmsd"):
        export_scores(Location(str(exported.store)), "LAI_truth/r2", tmp_path, message=quiet)


# --- conventions -------------------------------------------------------------------------------------------------


def findings(path: Path, convention: str) -> dict[int, list[str]]:
    """What the compliance-checker says of a file, by weight: 3 errors, 2 warnings, 1 suggestions."""
    from compliance_checker.suite import CheckSuite

    if not CheckSuite.checkers:
        CheckSuite.load_all_available_checkers()
    suite = CheckSuite()
    dataset = suite.load_dataset(str(path))
    results, errors = suite.run_all(dataset, [convention])[convention]
    dataset.close()
    assert not errors
    found: dict[int, list[str]] = {1: [], 2: [], 3: []}
    for result in results:
        passed, possible = result.value if isinstance(result.value, tuple) else (bool(result.value), 1)
        if passed != possible:
            found[result.weight] += result.msgs or [str(result.name)]
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_checker_has_nothing_to_say(exported: Exported, scattered: Path, tmp_path: Path) -> None:
    """Under CF 1.11 nothing at all, under ACDD 1.3 only what suits no model, with metadata given; on points too."""
    location = Location(str(exported.store))
    made = [
        run_export(location, Request(("ekf",)), tmp_path / "a", metadata=METADATA, message=quiet),
        run_export(location, Request(("open_loop",), every="month", names="alma"), tmp_path / "b", message=quiet),
        run_export(Location(str(scattered)), Request(("ekf",)), tmp_path / "c", message=quiet),
    ]
    for files, name in zip(made, ("ekf_day_2015.nc", "open_loop_month_2015.nc", "ekf_day_2015.nc"), strict=True):
        path = by_name(files)[name]
        errors, warnings = (findings(path, "cf:1.11")[weight] for weight in (3, 2))
        assert errors == []
        # A bound of a scalar coordinate has one dimension in CF (7.1); the checker wants two.
        assert [text for text in warnings if "should have at least two dimensions" not in text] == []
        acdd = findings(path, "acdd:1.3")
        assert acdd[3] == []
        missing = {text.removesuffix(" not present") for text in acdd[2]}
        given = {"acknowledgment/acknowledgement", *(set(MetadataConfig.model_fields) - {"references"})}
        assert missing == set() if "a" in path.parts else missing <= given


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_unit_is_that_of_its_standard_name() -> None:
    """In words of UDUNITS, for the registry and for all tables: the checker lets any unit of a pure number pass."""
    import compliance_checker
    from cf_units import Unit

    file = Path(compliance_checker.__file__).parent / "data" / "cf-standard-name-table.xml"
    entries = ElementTree.parse(file).getroot().findall("entry")
    canonical = {entry.get("id"): entry.findtext("canonical_units") for entry in entries}
    known: list[Any] = [variable(name) for name in names()]
    known += [entry for table in ("cmip", "alma") for entry in renamed(table)]
    for entry in known:
        unit = Unit(udunits(entry.unit))
        assert not unit.is_unknown(), entry
        if entry.standard_name is not None:
            assert unit.is_convertible(Unit(canonical[entry.standard_name])), entry
            assert unit.convert(1.0, Unit(canonical[entry.standard_name])) == 1.0 or entry.name == "SNOW_AGE", entry
    assert all(entry.standard_name for table in ("cmip", "alma") for entry in renamed(table))


def test_what_a_file_says_of_itself(exported: Exported, tmp_path: Path) -> None:
    files = run_export(Location(str(exported.store)), Request(("ekf",)), tmp_path, metadata=METADATA, message=quiet)
    with xr.open_dataset(by_name(files)["ekf_day_2015.nc"], engine="netcdf4") as found:
        said = found.attrs
    assert said["title"] == "SYNTHETIC: Made up, ekf"
    assert said["summary"].startswith("These data are synthetic")
    assert "given. Daily values of ekf (analysis)" in said["summary"]
    assert said["keywords"] == "synthetic"
    for key in set(MetadataConfig.model_fields) - {"title", "summary", "keywords"}:
        assert said[key] == "given", key
    assert said["time_coverage_start"] == "2015-01-01T09:00:00Z"
    assert said["geospatial_bounds"] == "POLYGON ((42 -2, 42 -1, 42.75 -1, 42.75 -2, 42 -2))"


def test_the_item_of_a_catalog(exported: Exported) -> None:
    item = json.loads(exported.files["open_loop_day.netcdf.json"].read_text(encoding="utf-8"))
    for key in ("type", "stac_version", "id", "geometry", "bbox", "properties", "links", "assets"):
        assert key in item
    assert item["bbox"] == [-2.0, 42.0, -1.0, 42.75]
    assert item["geometry"]["coordinates"][0][0] == [-2.0, 42.0]
    properties = item["properties"]
    assert properties["datetime"] is None  # as there are start and end
    assert properties["start_datetime"] == "2014-12-12T00:00:00Z"
    assert properties["cube:dimensions"]["lat"]["step"] == 0.25
    assert properties["cube:variables"]["lai"] == {
        "type": "data", "dimensions": ["time", "lat", "lon"], "description": "leaf area index", "unit": "1"
    }  # fmt: skip
    folder = exported.files["open_loop_day.netcdf.json"].parent
    assert all((folder / asset["href"]).is_file() for asset in item["assets"].values())


# --- other programs ----------------------------------------------------------------------------------------------


def output_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: gdal-bin, cdo)")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_gdal_reads_the_same_value_at_a_place(exported: Exported) -> None:
    path = exported.files["ekf_day_2015.nc"]
    place = "-1.625", "42.375"
    read = output_of("gdallocationinfo", "-valonly", "-b", "3", "-wgs84", f"NETCDF:{path}:lai", *place)
    assert np.float32(float(read)) == exported.stored("ekf", "LAI")[2, 5]


def test_cdo_reads_the_same_mean(exported: Exported) -> None:
    path = exported.files["ekf_day_2015.nc"]
    read = output_of(
        "cdo", "-s", "-outputf,%.8g,1", "-remapnn,lon=-1.625/lat=42.375", "-timmean", "-selname,lai", str(path)
    )
    np.testing.assert_allclose(float(read), exported.stored("ekf", "LAI")[:, 5].astype(float).mean(), rtol=1e-6)


# --- bad input ---------------------------------------------------------------------------------------------------


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    store = make_store(tmp_path, Synthetic(**{**vars(SMALL), "incomplete": True, "second_experiment": False}))
    location, said = Location(str(store)), []
    with held(location, "the run of 'other'", said.append):
        files = by_name(run_export(location, Request(("ekf",), ("lai",)), message=said.append))
    with xr.open_dataset(files["ekf_day_2015.nc"], engine="netcdf4") as found:
        assert str(found["time"].values[-1])[:10] == "2015-01-25"
        assert found["lai"].notnull().any(("lat", "lon")).all()
    assert any("is being written by the run of 'other'" in text for text in said)
    assert any("runs/ekf is done in all cells up to 2015-01-25" in text for text in said)
    root = open_store(store, "a")
    root["ledger/ekf/status"][...] = 0  # type: ignore[index]
    with pytest.raises(ExportError, match="no day of runs/ekf is done in all cells yet"):
        run_export(location, Request(("ekf",)), message=quiet)


def test_points_are_time_series_and_no_map(scattered: Path, tmp_path: Path) -> None:
    files = by_name(run_export(Location(str(scattered)), Request(("ekf",)), tmp_path, message=quiet))
    with xr.open_dataset(files["ekf_day_2015.nc"], engine="netcdf4", decode_coords="all") as found:
        assert found.attrs["featureType"] == "timeSeries"
        assert found["lai"].dims == ("cell", "time")
        stored = open_store(scattered)["runs/ekf/LAI"]
        assert float(found["lai"].sel(cell=3, time="2015-01-04 09:00")) == stored[3, 3]  # type: ignore[index]
        assert float(found["lat"][3]) == pytest.approx(42.225)
        assert "mrsol_2" in found
    with pytest.raises(ExportError, match=r"lie on no regular grid .* --format netcdf and zarr"):
        run_export(Location(str(scattered)), Request(("ekf",), ("lai",), format="geotiff"), message=quiet)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variable", "WG9"], "store no WG9; with --names cmip there are: evspsbl, gpp"),
        (["--experiment", "other"], "no run other; there are: ekf, ekf_swi_lai, open_loop"),
        (["--experiment", "ekf", "--start", "2020-01-01"], "has no day from 2020-01-01"),
        (["--experiment", "ekf", "--out", "{out}/ekf/ekf_day_2015.nc"], "ekf_day_2014.nc cannot be written: Not a dir"),
        (["--experiment", "ekf", "--out", "{out}"], "ekf_day_2014.nc exists already: remove it, or choose another"),
    ],
)
def test_wrong_arguments(
    exported: Exported, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = str(exported.files["ekf_day_2015.nc"].parents[1])
    assert program("export", str(exported.store), *(word.format(out=out) for word in arguments)) == 2
    assert message in capsys.readouterr().err


def test_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("export", str(tmp_path / "none.zarr")) == 2
    assert "no store at" in capsys.readouterr().err
