"""`ldas recipe`: requests for the region and period of an experiment, and configurations that the ingestion accepts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ldas.pipeline.cli import app
from ldas.pipeline.commands.recipe import write_recipe
from ldas.pipeline.errors import ConfigurationError, PipelineError
from ldas.pipeline.ingest.grid import target_cells
from ldas.pipeline.ingest.land import LandConfig
from ldas.pipeline.ingest.run import SOURCES
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.settings.yaml_file import load_model
from tests.helpers.synthetic_store import make_store

REGION = (43.0, 44.0, -1.0, 0.5)
POINT = "place: {latitude: 43.7414, longitude: 3.5958}\n"


def experiment(folder: Path, **more: Any) -> Path:
    """An experiment over the turn of a year that assimilates everything."""
    observations = [{"name": "sigma40", "operator": "neural"}, {"name": "swi", "rescale": "linear"}, {"name": "lai"}]
    days = {
        "training": {"start": "2019-12-31", "end": "2020-01-01"},
        "test": {"start": "2020-01-01", "end": "2020-01-02"},
    }
    content = {
        "name": "own",
        "store": {"url": "own.zarr"},
        "period": {"start": "2019-12-31", "end": "2020-07-02"},
        "operators": [{"name": "neural", "observation": "sigma40", "lai": "lai", **days}],
        "assimilation": [{"name": "EKF", "observations": observations}],
        **more,
    }
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def recipe(path: Path, **options: Any) -> Path:
    """The folder of the recipe of an experiment."""
    out = path.parent / "data"
    write_recipe(load_experiment(path), path.parent, out, **{"region": None, "step": 0.25, **options})
    return out


def loaded(out: Path) -> dict[str, Any]:
    """The group that each step makes, with its configuration as the ingestion reads it."""
    steps = yaml.safe_load((out / "ingest.yaml").read_text(encoding="utf-8"))
    return {step["makes"]: load_model(out.parent / step["config"], SOURCES[step["source"]].config) for step in steps}


def test_every_configuration_is_one_of_the_ingestion(tmp_path: Path) -> None:
    out = recipe(experiment(tmp_path), region=REGION, step=0.5)
    configs = loaded(out)
    observations = {f"observations/{name}" for name in ("sigma40", "lai", "swi")}
    assert set(configs) == {"land", "forcing", "insitu/NETWORK", *observations}
    land = configs["land"]
    assert isinstance(land, LandConfig)
    cells = target_cells(land.cells)
    assert sorted(set(cells.latitude)) == [43.25, 43.75]
    assert sorted(set(cells.longitude)) == [-0.75, -0.25, 0.25]
    assert land.cell_size == configs["observations/lai"].cell_size == 0.5
    period = configs["forcing"].period
    assert (str(period.start), str(period.end)) == ("2019-12-31 00:00:00", "2020-07-03 00:00:00")
    assert str(configs["observations/swi"].period.end)[:10] == "2020-07-02"
    # The steps are those of an experiment file.
    steps = yaml.safe_load((out / "ingest.yaml").read_text(encoding="utf-8"))
    assert len(load_experiment(experiment(tmp_path, ingest=steps)).ingest) == 6


def test_requests_cover_region_and_period(tmp_path: Path) -> None:
    out = recipe(experiment(tmp_path), region=(43.1, 44.1, -1.0, 0.5))
    requests = json.loads((out / "cds.json").read_text(encoding="utf-8"))
    instants = [item["request"] for item in requests if item["target"].startswith("era5/instants_")]
    assert len(requests) == 2 * len(instants) == 2 * 8
    days = [(item["year"][0], item["month"][0], day) for item in instants for day in item["day"]]
    assert days[0] == ("2019", "12", "30")  # a day before, and one after the last
    assert days[-1] == ("2020", "07", "03")
    assert len(days) == len(set(days)) == 187
    for item in requests:
        assert item["dataset"] == "reanalysis-era5-single-levels"
        assert item["request"]["area"] == [44.5, -1.25, 42.75, 0.75]  # on ERA5's points, one further on each side
    names = {name for item in requests for name in item["request"]["variable"]}
    assert len(names) == 9
    lai = json.loads((out / "clms_lai.json").read_text(encoding="utf-8"))
    assert [item["dataset_id"] for item in lai] == [
        "EO:CLMS:DAT:CLMS_GLOBAL_LAI_1KM_V2_10DAILY_NETCDF",
        "EO:CLMS:DAT:CLMS_GLOBAL_LAI_300M_V1_10DAILY_NETCDF",
    ]
    assert [(item["start"][:10], item["end"][:10]) for item in lai] == [
        ("2019-12-31", "2020-06-30"),
        ("2020-07-01", "2020-07-02"),  # the ingestion refuses two maps of a date
    ]
    assert lai[0]["bbox"] == [-1.0, 43.1, 0.5, 44.1]
    soil = (out / "soilgrids.sh").read_text(encoding="utf-8")
    assert "COVERAGEID=clay_0-5cm_mean" in soil
    assert "SUBSET=long(-1.01,0.51)&SUBSET=lat(43.09,44.11)" in soil
    page = (out / "README.md").read_text(encoding="utf-8")
    # 187 days of 24 hours at 8 x 9 points, 9 variables of 4 bytes
    assert "11.6 MB as float32 (8 x 9 points, 187 days, 9 variables)" in page
    assert "`metop_a` 2019-12-31 to 2020-07-02, `metop_b` 2019-12-31 to 2020-07-02, `metop_c`" in page
    compile((out / "download_cds.py").read_text(encoding="utf-8"), "download_cds.py", "exec")


def test_a_place_of_an_ingest_is_asked_for_as_a_point(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(f"{POINT}patch_fraction: {{4: 1.0}}\nclay: 0.3\nsand: 0.3\n", encoding="utf-8")
    step = {"source": "site", "config": "site.yaml", "makes": "land"}
    out = recipe(experiment(tmp_path, ingest=[step], operators=[], assimilation=[]))
    (item,) = json.loads((out / "cds.json").read_text(encoding="utf-8"))
    assert item["dataset"] == "reanalysis-era5-single-levels-timeseries"
    assert item["request"]["location"] == {"latitude": 43.7414, "longitude": 3.5958}
    assert item["request"]["date"] == ["2019-12-30/2020-07-03"]
    configs = loaded(out)
    assert set(configs) == {"land", "forcing", "insitu/NETWORK"}  # nothing is assimilated
    assert configs["forcing"].files == ("era5/*.csv",)


def test_land_that_is_there_is_not_asked_for(tmp_path: Path) -> None:
    make_store(tmp_path / "own.zarr", cells=3, days=2)
    assert {"land", "forcing"} - set(loaded(recipe(experiment(tmp_path)))) == {"land"}


def test_what_cannot_be_done_is_said_in_one_message(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    with pytest.raises(ConfigurationError, match=r"region of experiment 'own' is not known: .* give --region"):
        recipe(path)
    with pytest.raises(ConfigurationError, match=r"--region 43 44.1 -1 0.5: south, north: 43.0 to 44.1 is not a whole"):
        recipe(path, region=(43.0, 44.1, -1.0, 0.5))
    with pytest.raises(ConfigurationError, match="179 to 181 degrees east crosses 180 degrees"):
        recipe(path, region=(43.0, 44.0, 179.0, 181.0))
    assert not (tmp_path / "data").exists()
    command = ["recipe", str(path), "--region", "43", "44", "-1", "0.5"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert f"begin with {tmp_path / 'data_own' / 'README.md'}" in done.output
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, PipelineError)
    assert "data_own is not empty: give a new folder (--out)" in str(again.exception)
