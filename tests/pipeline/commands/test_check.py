"""`ldas check`: gaps, ranges and units of forcing and observations as rows of a table, before anything is computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store.arrays import existing_array, open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.location import Location
from tests.helpers.small_store import make_synthetic_store


def experiment(path: Path, **sections: Any) -> ExperimentConfig:
    """An experiment of three days on a store in a folder."""
    period = {"start": "2007-01-01", "end": "2007-01-03"}
    return ExperimentConfig.model_validate(
        {"name": "small", "store": {"url": str(path)}, "period": period, "report": False, **sections}
    )


def test_check_lists_gaps_ranges_and_units_of_forcing_and_observations(tmp_path: Path) -> None:
    path = tmp_path / "store"
    make_synthetic_store(Location(str(path)), cells=3, days=4)
    root = open_store(str(path), "a")
    day = np.array(["2007-01-01", "2007-01-02"], dtype="datetime64[s]")
    value = xr.DataArray(np.full((2, 3), 1.5), dims=("time", "cell"), attrs={"units": "m2 m-2"})
    observed = xr.Dataset({"value": value, "quality": value.astype("int8") * 0}, coords={"time": day})
    write_group(root, "observations/lai", observed)
    sections = {
        "assimilation": [
            {"name": "a", "start": "2007-01-01", "observations": [{"name": "lai"}, {"name": "swi", "rescale": "none"}]}
        ],
    }

    def found() -> dict[str, tuple[str, str]]:
        return {row.what: (row.state, row.detail) for row in check_experiment(experiment(path, **sections))}

    before = found()
    assert before["forcing values"] == ("ok", "3 cells, 73 records: no gap, ranges and units as expected")
    assert before["observations/lai"] == ("ok", "6 of 6 values usable")
    assert before["observations/swi"] == ("missing", "not in the store")
    arrays = {name: existing_array(root, "forcing", name) for name in ("Tair", "PSurf", "Rainf")}
    arrays["Tair"][10:12, 1] = np.nan
    arrays["Tair"][90, 0] = np.nan  # after the period
    arrays["PSurf"][40, 2] = 980.0
    arrays["Rainf"].attrs["units"] = "mm d-1"
    existing_array(root, "observations/lai", "value")[0, 0] = 150.0
    after = found()
    assert {what for what, (state, _) in after.items() if state == "wrong"} == {
        "forcing Tair: gap",
        "forcing PSurf: impossible",
        "forcing Rainf: unit",
        "observations/lai",
    }
    assert "Tair is nan at 2007-01-01T10:00 UTC, cell 1 (43.25N 1W)" in after["forcing Tair: gap"][1]
    assert "; 2 values in all. `accept: [gap]` in the configuration" in after["forcing Tair: gap"][1]
    assert "looks like hPa" in after["forcing PSurf: impossible"][1]
    assert "has the unit 'mm d-1', expected 'kg m-2 s-1'" in after["forcing Rainf: unit"][1]
    assert "1 of them outside" in after["observations/lai"][1]
    quick = check_experiment(experiment(path, **sections), values=False)
    assert {row.state for row in quick} == {"ok"}


def test_check_says_every_key_that_is_not_as_usual(tmp_path: Path) -> None:
    """In sections, in lists of sections, and nothing of what is as it would be without the file."""
    sections = {
        "accept": ["range", "gap"],
        "model": {"runoff": "DT92"},
        "execution": {"cells_per_block": 2, "retries": 2, "cluster": {"workers": 3}},
        "assimilation": [{"name": "ekf", "observations": [{"name": "lai", "innovation_limit": 3.0}]}],
    }
    said = check_experiment(experiment(tmp_path / "store", **sections), values=False)[0].detail.split("; ")
    assert said[0] == "small: 2007-01-01 to 2007-01-03"
    expected = {
        'accept = ["range", "gap"]', 'model.runoff = "DT92"', "execution.cells_per_block = 2",
        "execution.cluster.workers = 3", 'assimilation.ekf.name = "ekf"',
        'assimilation.ekf.observations.lai.name = "lai"',
        "assimilation.ekf.observations.lai.innovation_limit = 3.0", "report = false",
    }  # fmt: skip
    assert set(said[1:]) == expected


@pytest.mark.parametrize(
    ("sections", "state"),
    [
        ({}, "missing"),
        ({"synthetic": True, "twin": {}}, "ok"),  # the run makes it
        ({"synthetic": True, "twin": {"from_run": "open_loop"}}, "missing"),
    ],
)
def test_a_store_that_the_twin_makes_is_not_missed(sections: dict[str, Any], state: str, tmp_path: Path) -> None:
    rows = check_experiment(experiment(tmp_path / "store", **sections))
    assert (rows[-1].what, rows[-1].state) == ("store", state)


def test_what_a_twin_has_not_is_known_before_it_runs(tmp_path: Path) -> None:
    observed = [{"name": "lai"}, {"name": "t2m"}]
    config = experiment(
        tmp_path / "store",
        synthetic=True,
        twin={"subset": "small"},
        assimilation=[{"name": "ekf", "observations": observed}],
    )
    found = {row.what: (row.state, row.detail) for row in check_experiment(config)}
    assert found["twin"] == ("wrong", "twin.subset 'small' is not known; known are all, stations, crops, demo")
    assert found["observations/t2m"] == ("missing", "the run does not make it")
    assert "observations/lai" not in found


def test_a_twin_that_was_interrupted_is_not_wrong(tmp_path: Path) -> None:
    config = experiment(tmp_path / "store", synthetic=True, twin={"subset": "demo"})
    prepare(next(iter(build_stages(config))))  # land, and the forcing without a value
    rows = check_experiment(config)
    assert {row.state for row in rows} == {"ok"}
    assert [row.detail for row in rows if row.what == "forcing values"] == ["made by the run"]


def test_check_names_what_an_ingestion_lacks(tmp_path: Path) -> None:
    settings = tmp_path / "era5.yaml"
    settings.write_text("files: [absent.nc]\ncells: {points: [[44.0, 1.0]]}\n")
    step = {"source": "era5", "config": str(settings), "makes": "forcing"}
    (_, row, _) = check_experiment(experiment(tmp_path / "store", ingest=[step]))
    assert (row.what, row.state) == ("ingest era5", "wrong")
    assert "absent.nc: no such file" in row.detail
    (tmp_path / "absent.nc").touch()
    assert check_experiment(experiment(tmp_path / "store", ingest=[step]))[1].detail.endswith("era5.yaml, 1 file")
    settings.write_text("files: [absent.nc]\ncell: {points: [[44.0, 1.0]]}\n")
    assert "cell: unknown key" in check_experiment(experiment(tmp_path / "store", ingest=[step]))[1].detail
