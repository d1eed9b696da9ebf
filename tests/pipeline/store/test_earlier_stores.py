"""Stores written by an earlier version open, resume and extend: the promise of the store format.

`data/stores_d0208ce.tar.xz` holds three stores written by commit d0208ce, with the files that made them, all
synthetic: `own` (made-up land, weather and observations; spin-up, open loop, operator, two assimilations), `twin`, and
`swi` (a soil water index ingested with `append: true`, and the file of the two days that follow).
`data/extended_d0208ce.json` has the hashes of the arrays of `own` after that commit had extended it to 20 April 2007.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import filter_states, run_ingest
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_run, open_store
from ldas.pipeline.store.location import as_location
from ldas.pipeline.twin.stages import twin_stages
from tests.helpers.runs import run_here
from tests.helpers.toy import Silence

DATA = Path(__file__).parent / "data"
LATER_END = "2007-04-20"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three stores, in another folder than the one that they were made in."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(DATA / "stores_d0208ce.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def without_report(path: Path, **period: str) -> ExperimentConfig:
    """An experiment file, with another period where one is given."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["report"] = False
    content["period"].update(period)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_experiment(path)


def test_every_group_opens(earlier: Path) -> None:
    tree = open_run(earlier / "own" / "store.zarr", everything=True)
    groups = {"land", "forcing", "observations", "operators", "runs", "restarts", "ledger", "scores"}
    assert groups <= set(tree.children)
    ekf = tree["runs/ekf"].load()
    assert ekf.sizes["time"] == 14
    assert str(ekf["time"].values[0])[:10] == "2007-04-02"
    assert np.isfinite(ekf["LAI"].values).all()
    assert set(open_run(earlier / "twin" / "store.zarr")["runs"].children) == {"EKF", "open_loop"}


def test_a_finished_run_has_nothing_left_to_do(earlier: Path, tmp_path: Path) -> None:
    shutil.copytree(earlier / "own", tmp_path / "own")
    config = without_report(tmp_path / "own" / "experiment.yaml")
    before = array_hashes(config.location)
    runs = [row for row in check_experiment(config) if row.what in ("open_loop", "ekf", "ensemble")]
    assert [row.detail for row in runs] == ["will be continued"] * 3
    assert run_experiment(config, Silence()).complete
    assert array_hashes(config.location) == before


def test_bit_identical_when_extended(earlier: Path, tmp_path: Path) -> None:
    shutil.copytree(earlier / "own", tmp_path / "own")
    config = without_report(tmp_path / "own" / "experiment.yaml", end=LATER_END)
    assert run_experiment(config, Silence()).complete
    found = array_hashes(config.location)
    expected = json.loads((DATA / "extended_d0208ce.json").read_text(encoding="utf-8"))
    assert {name: found.get(name) for name in expected} == expected
    for name in ("open_loop", "ekf"):  # that version did not say when the states are
        run = open_run(config.location)[f"runs/{name}"].to_dataset()
        np.testing.assert_array_equal(run["LAI"]["instant_time"], run["time"] + np.timedelta64(9, "h"))
        begin = run["time"] - np.timedelta64(15, "h") if name == "ekf" else run["time"]
        np.testing.assert_array_equal(run["time_bnds"], np.stack([begin, begin + np.timedelta64(1, "D")], axis=1))
        assert run["LAI"].attrs["comment"].endswith("at 09 UTC of the day")
    root = open_store(config.location)
    assert all(ledger.is_complete(root, name) for name in ("open_loop", "ekf", "ensemble"))


def test_an_earlier_soil_water_index_is_never_continued_from_nothing(earlier: Path, tmp_path: Path) -> None:
    """It has no state of its filter: the right index where the files allow it, else one message with the way on."""
    folder, group = tmp_path / "swi", "observations/swi"
    shutil.copytree(earlier / "swi", folder)
    location = as_location(folder / "store.zarr")
    before = array_hashes(location)

    def settings(files: list[str], **change: object) -> Path:
        content = yaml.safe_load((earlier / "swi" / "c.yaml").read_text(encoding="utf-8"))
        (folder / "c.yaml").write_text(yaml.safe_dump({**content, "files": files, **change}), encoding="utf-8")
        return folder / "c.yaml"

    with pytest.raises(
        IngestError, match=r"give the files of the stored days \(.* to .*\) too, with `period: \{start: "
    ):
        run_ingest("ascat", settings(["later.nc"]))
    assert array_hashes(location) == before
    stored = open_dataset(location, group).load()
    following = str(stored["time"].to_numpy()[-1] + np.timedelta64(1, "D"))[:10]
    run_ingest("ascat", settings(["first.nc", "later.nc"], period={"start": following}))
    run_ingest("ascat", settings(["first.nc", "later.nc"], store={"url": "again.zarr"}))
    found, again = array_hashes(location), array_hashes(as_location(folder / "again.zarr"))  # as one ingest of both
    # which has the day as `nominal_time`, and its end as the label
    assert found.pop(f"{group}/time") == again.pop(f"{group}/nominal_time")
    assert found.items() <= again.items()
    assert again.keys() - found.keys() == {f"{group}/{name}" for name in ("time", "time_bnds", "bnds")}
    assert filter_states.state_of(location, group, open_dataset(location, group)) is not None
    assert open_dataset(location, group).sizes["time"] == stored.sizes["time"] + 2


def test_bit_identical_when_a_twin_is_extended(earlier: Path, tmp_path: Path) -> None:
    """It kept no state of nature: it is made again from its beginning, the same, with the new days behind."""
    shutil.copytree(earlier / "twin", tmp_path / "twin")
    config = without_report(tmp_path / "twin" / "experiment.yaml", end="2007-01-21")
    groups = ("forcing", "truth", "observations/sigma40", "observations/swi", "insitu/smosmania_twin")
    before = {path: open_dataset(config.location, path).load() for path in groups}
    assert config.twin is not None
    for stage in twin_stages(config, config.twin):
        run_here(stage)
    for path, old in before.items():
        new = open_dataset(config.location, path).load()
        assert new.sizes["time"] == old.sizes["time"] + (24 if path == "forcing" else 1)
        for name in old.variables:
            there = new[name].isel(time=slice(old.sizes["time"])) if "time" in old[name].dims else new[name]
            np.testing.assert_array_equal(there.to_numpy(), old[name].to_numpy(), err_msg=f"{path}/{name}")


def test_a_moved_twin_has_nothing_left_to_do(earlier: Path, tmp_path: Path) -> None:
    """Though its ledger names the folder that it was made in."""
    shutil.copytree(earlier / "twin", tmp_path / "twin")
    config = without_report(tmp_path / "twin" / "experiment.yaml")
    stored = ledger.stored_identity(open_store(config.location), "twin_observations")
    assert stored["source.store"] == "/tmp/fix/twin/store.zarr"
    before = array_hashes(config.location)
    assert run_experiment(config, Silence()).complete
    assert array_hashes(config.location) == before
