"""A store that is moved is the same store: nothing in it depends on, or names, the place where it lies."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_store
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.provenance import provenance, scrubbed, without_places
from tests.helpers.program import program
from tests.helpers.runs import run_stage
from tests.helpers.toy import Silence, ToyStage
from tests.pipeline.ingest import samples
from tests.pipeline.twin.support import nature_file

PLACE = "HIDDEN_PLACE"
EXPERIMENT: dict[str, Any] = {
    "name": "moved",
    "description": "synthetic",
    "synthetic": True,
    "store": {"url": "store.zarr"},
    "twin": {"seed": 1, "subset": "demo", "nature": "nature.yaml"},
    "period": {"start": "2007-01-07", "end": "2007-01-10"},
    "output": {"mean": ["LE"], "instant": ["WG2", "TG2", "LAI"]},
    "assimilation": [{"name": "EKF", "observations": [{"name": "lai"}]}],
    "execution": {"cells_per_block": 4},
}


def named_in(folder: Path, text: str = PLACE) -> list[str]:
    """Files below the folder that hold the text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return [str(path.relative_to(folder)) for path in files if text.encode() in path.read_bytes()]


@pytest.mark.parametrize("prefix", ["", pytest.param("icechunk+file://", marks=pytest.mark.long)])
def test_a_finished_run_that_is_moved_is_done_and_names_no_place(tmp_path: Path, prefix: str) -> None:
    """With its report, scores, restarts and the comparison with the truth."""
    first, second = tmp_path / PLACE, tmp_path / "second"
    first.mkdir()
    nature_file(first)
    content = {**EXPERIMENT, "store": {"url": f"{prefix}store.zarr"}}
    if prefix:  # every commit takes time, and the report is that of the other
        content |= {"assimilation": [], "report": False}
    (first / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert program("run", str(first / "run.yaml")) == 0
    for folder in ("store.zarr", *(() if prefix else ("store_report",))):
        assert named_in(first / folder) == []
        assert named_in(first / folder, str(Path.home() / "")) == []
    before = array_hashes(load_experiment(first / "run.yaml").location)
    first.rename(second)
    moved = load_experiment(second / "run.yaml")
    rows = second / "rows.json"
    assert program("check", str(second / "run.yaml"), "--json", str(rows)) == 0
    assert program("run", str(second / "run.yaml"), "--json", str(rows)) == 0
    after = array_hashes(moved.location)
    assert {name: after[name] for name in after if "seconds" not in name} == {
        name: before[name] for name in before if "seconds" not in name
    }


def test_an_ingest_names_its_files_and_goes_on_from_another_place(tmp_path: Path) -> None:
    first, second = tmp_path / PLACE, tmp_path / "second"
    first.mkdir()
    samples.era5_dataset(times=samples.hours("2015-03-01T00:00", 60)).to_netcdf(first / "era5.nc")

    def ingest(folder: Path, start: str, end: str) -> None:
        config = samples.write_config(
            folder / "era5.yaml",
            files=[str(folder / "era5.nc")],
            store={"url": str(folder / "store.zarr")},
            scratch=str(folder),
            cells={"points": [[44.625, -0.9], [44.3, -0.125]]},
            period={"start": start, "end": end},
            append=True,
        )
        run_ingest("era5", config)

    ingest(first, "2015-03-01T00:00", "2015-03-01T23:00")
    assert named_in(first / "store.zarr") == []
    forcing = open_dataset(first / "store.zarr", "forcing")
    assert forcing.attrs["ingests"][0]["configuration"]["files"] == ["era5.nc"]
    assert list(forcing.attrs["ingests"][0]["inputs"]) == ["era5.nc"]
    first.rename(second)
    ingest(second, "2015-03-02T00:00", "2015-03-02T11:00")
    assert open_dataset(second / "store.zarr", "forcing").sizes["time"] == 36
    assert named_in(second / "store.zarr", "second") == named_in(second / "store.zarr", "seconds since")


class Failing(ToyStage):
    """Fails as a file system does, with the place in its message."""

    def compute(self, root: Any, block: Block, period: Period) -> Any:
        """See Stage."""
        raise RuntimeError(f"{self.location.url}/land: cannot read '{Path(self.location.url).parent}/x.nc' of ~me/y/z")


def test_a_failure_is_stored_without_the_place(tmp_path: Path, threads: Any) -> None:
    stage = Failing("toy", Location(str(tmp_path / PLACE / "store")), cells=3, cells_per_block=3)
    prepare(stage)
    run_stage(stage, threads, tasks_in_flight=1, retries=0, listener=Silence())
    assert ledger.failures(open_store(stage.location), "toy") == {
        0: "2007-01-01 to 2007-01-08: RuntimeError: store/land: cannot read 'x.nc' of z"
    }
    assert named_in(tmp_path / PLACE) == []


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("/home/me/data/x.nc", "x.nc"),
        ("~/data/my files/x*.nc", "x*.nc"),
        ("file:///home/me/x.nc", "x.nc"),
        (Path("/home/me/x.nc"), "x.nc"),
        ("data/x.nc", "data/x.nc"),
        ("s3://bucket/x.nc", "s3://bucket/x.nc"),
        ("m3 m-3, or kg/m2", "m3 m-3, or kg/m2"),
    ],
)
def test_paths_are_stored_without_their_folders(given: Any, stored: str) -> None:
    assert scrubbed(given) == stored
    configuration = {"files": [given], "store": {"url": "/home/me/store"}, "twin": {"from_url": "s3://mine/a/b.zarr"}}
    kept = provenance(configuration)["provenance"]["configuration"]
    assert kept == {"files": [stored], "twin": {"from_url": "b.zarr"}}


def test_messages_without_places() -> None:
    text = "s3://mine/run/land: no 'clay' in /home/me/a.nc, see https://me:x@host/page?k=1 (10 kg/m2/s)"
    said = "run/land: no 'clay' in a.nc, see https://host/page (10 kg/m2/s)"
    assert without_places(text, "s3://mine/run") == said
