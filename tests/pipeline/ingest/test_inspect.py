"""`ldas ingest inspect`: every real file is recognised or its reason given; wrong files have their problem named."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.ingest import inspect_file
from tests.pipeline.ingest import samples
from tests.support import shared

FOLDERS = ("era5", "ascat", "cgls", "insitu", "lai", "land_params", "ldas", "site_flux")
# Files that no reader of ingestion takes, each with its reason in docs/ingestion.md.
NOT_PRODUCTS = {
    "FR-Aqui_FR-Aqui_fraye_static_variables.csv",
    "CDP_1996-1997_daily_obs.nc",
    "CDP_1996-1997_hourly_obs.nc",
    "CDP_soil_properties_2012.csv",
    "CalLMIP_FR-Pue_daily_aggregated_2000-2014_FLUXNET2015_Flux.nc",
    "CalLMIP_template_output_DK-Sor.nc",
    "FLX_FR-Pue_FLUXNET2015_FULLSET_MM_2007-2014_2-3.csv",
    "FR_Pue_May_2012_halfhourly.csv",
    "HAPEX_1986_parameters.json",
    "plumber2_benchmark_scores_europe.csv",
    "plumber2_monthly_climatology_europe.csv",
}


def test_every_shared_file_has_a_source_or_a_documented_reason():
    data = shared("data")
    files = sorted(path for folder in FOLDERS for path in (data / folder).rglob("*") if path.is_file())
    assert len(files) > 35
    documentation = (Path(__file__).parents[3] / "docs" / "ingestion.md").read_text()
    for path in files:
        report = inspect_file(path)
        assert path.name in documentation, f"{path.name} is not in docs/ingestion.md"
        if path.name in NOT_PRODUCTS:
            assert not report.source
        else:
            assert report.source, str(report)
            assert report.problem is None
            assert report.product
        json.loads(report.to_json())


def test_a_report_says_what_a_file_holds(tmp_path):
    path = tmp_path / "era5.nc"
    samples.era5_dataset().to_netcdf(path)
    report = inspect_file(path)
    assert (report.product, report.source, report.times) == ("ERA5", "era5", 30)
    assert (report.first, report.last) == ("2015-03-01T00:00 UTC", "2015-03-02T05:00 UTC")
    assert report.places["south"] == 44.25
    assert {item.name: item.unit for item in report.variables}["tp"] == "m"
    text = str(report)
    assert "read by: ldas ingest era5" in text
    assert "t2m [K] 30 time x 4 latitude x 5 longitude" in text
    assert json.loads(report.to_json())["variables"][0]["name"] == "t2m"


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (lambda p: samples.write_new_layout(samples.era5_dataset(), p / "x.nc"), "era5"),
        (lambda p: samples.write_cell_file(p / "x.nc"), "ascat"),
        (lambda p: samples.write_cgls(p / "x.nc"), "cgls"),
        (lambda p: samples.write_cgls(p / "x.nc", "LAI"), "cgls"),
    ],
)
def test_made_files_are_recognised(tmp_path, make, source):
    report = inspect_file(make(tmp_path))
    assert report.source == source
    assert report.problem is None


def test_flags_of_a_product_are_listed(tmp_path):
    report = inspect_file(samples.write_cgls(tmp_path / "x.nc"))
    assert any("SWI_001: 241 242 251 252 253 254 = ExceedingMin" in flag for flag in report.quality_flags)


def test_other_mimics_and_archives_are_recognised(tmp_path):
    from tests.pipeline.ingest.test_alma import arco_mimic, site_dataset
    from tests.pipeline.ingest.test_ismn import write_ceop, write_sensor
    from tests.pipeline.ingest.test_land_surfex import write_output, write_pgd

    site_dataset().to_netcdf(tmp_path / "site.nc")
    found = {
        "arco": inspect_file(arco_mimic(tmp_path)),
        "alma": inspect_file(tmp_path / "site.nc"),
        "surfex-land": inspect_file(write_pgd(tmp_path / "PGD.nc")),
        "surfex-run": inspect_file(write_output(tmp_path / "ISBA.nc")),
        "ismn": inspect_file(write_sensor(tmp_path)),
    }
    assert {name: report.source for name, report in found.items()} == {name: name for name in found}
    assert found["ismn"].quality_flags == ("C02: 1 values", "G: 47 values")
    assert len(inspect_file(write_ceop(tmp_path / "old.stm")).variables) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"CDF\x01" + b"\x00" * 20, "truncated or damaged"),
        (b"\x89HDF\r\n\x1a\n" + b"\x00" * 20, "truncated or damaged"),
        (b"GRIB" + b"\x00" * 30, "GRIB file is truncated"),
        (b"BUFR" + b"\x00" * 30, "BUFR file is truncated"),
        (b"<html>login</html>", "a web page, perhaps"),
        (b"", "no format that ldas reads: empty"),
    ],
)
def test_files_that_are_no_products_say_why(tmp_path, content, problem):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    report = inspect_file(path)
    assert not report.source
    assert problem in (report.problem or "")
    assert "problem:" in str(report)


def test_absent_files_gaps_and_foreign_variables(tmp_path):
    assert inspect_file(tmp_path / "absent").problem == "there is no such file"
    silent = inspect_file(Path("http://127.0.0.1:9/archive.zarr"))
    assert silent.path == "http://127.0.0.1:9/archive.zarr"
    assert "cannot be opened" in (silent.problem or "")
    path = tmp_path / "gap.nc"
    samples.era5_dataset().drop_isel(time=[5]).to_netcdf(path)
    assert "2015-03-01T04:00 UTC is followed by 2015-03-01T06:00 UTC" in (inspect_file(path).problem or "")
    other = tmp_path / "other.nc"
    xr.Dataset({"salinity": ("x", np.ones(3))}).to_netcdf(other)
    assert "no product that ldas reads" in (inspect_file(other).problem or "")


def test_inspect_on_the_command_line(tmp_path):
    from typer.testing import CliRunner

    from ldas.pipeline.cli import WRONG_INPUT, app

    path, report = samples.write_cgls(tmp_path / "swi.nc"), tmp_path / "report.json"
    done = CliRunner().invoke(app, ["ingest", "inspect", str(path), "--json", str(report)])
    assert done.exit_code == 0
    assert "read by: ldas ingest cgls" in done.stdout
    assert json.loads(report.read_text())["source"] == "cgls"
    path.write_text("no product")
    done = CliRunner().invoke(app, ["ingest", "inspect", str(path), "--json", str(report)])
    assert done.exit_code == WRONG_INPUT
    assert "no format that ldas reads" in json.loads(report.read_text())["problem"]
