"""A later end: new days of forcing and observations appear as files, and `ldas run` takes them in and goes on."""

from pathlib import Path

import pytest
import yaml

from ldas.pipeline import registry
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.cycle import run_cycle
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import ConfigurationError, IngestError
from ldas.pipeline.execution.run_stages import Outcome
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store
from tests.helpers.synthetic_store import weather
from tests.helpers.toy import Silence
from tests.pipeline.ingest import samples

FIRST_END, LAST_END = "2007-04-08", "2007-04-14"


def write_files(folder: Path, days: range) -> None:
    """Forcing and LAI of some days of April 2007, as a provider's files; the last one has the record that ends it."""
    hours = slice(24 * (days.start - 1) + (days.start > 1), 24 * (days.stop - 1) + 1)
    forcing = weather(1, days.stop - 1).isel(time=hours)
    for name in forcing.data_vars:
        forcing[name].attrs["units"] = registry.variable(str(name)).unit
    forcing.drop_vars("cell").to_netcdf(folder / f"forcing_{days.start:02d}.nc")
    for day in days[::2]:
        samples.write_cgls(folder / f"lai_{day:02d}.nc", "LAI", f"2007-04-{day:02d}T00:00")


def write_experiment(folder: Path, end: str, append: bool = True) -> ExperimentConfig:
    """One cell, with everything ingested by the run."""
    steps = {
        "land": {
            "place": {"latitude": 44.25, "longitude": 0.25, "elevation": 100},
            "clay": 0.2,
            "sand": 0.4,
            "patch_fraction": {7: 0.6, 10: 0.4},
        },
        "forcing": {"files": ["forcing_*.nc"], "latitude": 44.25, "longitude": 0.25, "append": append},
        "lai": {"files": ["lai_*.nc"], "variable": "LAI", "cells": {"from_group": "land"}, "append": append},
    }
    for name, content in steps.items():
        samples.write_config(folder / f"{name}.yaml", **content)
    content = {
        "name": "growing",
        "store": {"url": "store.zarr"},
        "ingest": [
            {"source": "site", "config": "land.yaml", "makes": "land"},
            {"source": "alma", "config": "forcing.yaml", "makes": "forcing"},
            {"source": "cgls", "config": "lai.yaml", "makes": "observations/lai"},
        ],
        "period": {"start": "2007-04-01", "end": end},
        "output": {"mean": ["LE"], "instant": ["WG2", "LAI"]},
        "assimilation": [{"name": "ekf", "observations": [{"name": "lai"}]}],
        "report": False,
        "execution": {"days_per_period": 5, "cluster": {"workers": 1}},
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_experiment(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of every array of one run over the whole period."""
    folder = tmp_path_factory.mktemp("whole")
    write_files(folder, range(1, 9))
    write_files(folder, range(9, 15))
    assert run_experiment(write_experiment(folder, LAST_END), Silence()).complete
    return array_hashes(str(folder / "store.zarr"))


def test_bit_identical_after_new_days_of_forcing_and_observations(whole: dict[str, str], tmp_path: Path) -> None:
    write_files(tmp_path, range(1, 9))
    assert run_experiment(write_experiment(tmp_path, FIRST_END), Silence()).complete
    assert array_hashes(str(tmp_path / "store.zarr")) != whole
    write_files(tmp_path, range(9, 15))
    later = write_experiment(tmp_path, LAST_END)
    span = next(row for row in check_experiment(later) if row.what == "forcing span")
    assert span.state == "ok"
    assert "ingestion will append" in span.detail
    said: list[str] = []
    result = run_experiment(later, Silence(), message=said.append)
    assert result.complete
    assert result.report is None  # `report: false`
    assert [text.split(":")[0].split(" of ")[0] for text in said] == [
        "appended to forcing",
        "appended to observations/lai",
    ]
    assert array_hashes(str(tmp_path / "store.zarr")) == whole
    root = open_store(str(tmp_path / "store.zarr"))
    for name in ("open_loop", "ekf"):
        assert (ledger.statuses(root, name) == ledger.DONE).all()
        provenance = existing_group(root, f"runs/{name}").attrs["provenance"]
        assert provenance["configuration"]["period"]["end"] == LAST_END  # type: ignore[index, call-overload]
    said.clear()
    assert run_experiment(later, Silence(), message=said.append).complete
    assert said == []
    result = run_cycle(later, Silence(), message=said.append)  # takes over what `ldas run` has made
    assert result.run.outcomes == {"open_loop": Outcome(), "ekf": Outcome()}
    assert said[0] == "growing: analysed from 2007-04-01 to 2007-04-14"
    said.clear()
    samples.write_cgls(tmp_path / "lai_13.nc", "LAI", "2007-04-13T00:00", scale_factor=1 / 20.0)
    assert run_cycle(later, Silence(), message=said.append).replayed == {}
    steps = tuple(step.model_copy(update={"revise": True}) for step in later.ingest[1:])
    revising = later.model_copy(update={"ingest": steps})
    assert run_cycle(revising, Silence(), message=said.append).replayed == {"ekf": 1}
    assert "ekf: 1 of 1 cells again, from 2007-04-13 on" in said


def test_without_new_forcing_nothing_is_begun(tmp_path: Path) -> None:
    write_files(tmp_path, range(1, 9))
    assert run_experiment(write_experiment(tmp_path, FIRST_END), Silence()).complete
    before = array_hashes(str(tmp_path / "store.zarr"))
    for append in (True, False):
        with pytest.raises(ConfigurationError, match=r"forcing .* runs from 2007-04-01.*to 2007-04-09.*append: true"):
            run_experiment(write_experiment(tmp_path, LAST_END, append), Silence())
    assert array_hashes(str(tmp_path / "store.zarr")) == before
    write_files(tmp_path, range(10, 15))
    with pytest.raises(IngestError, match=r"24 in a row from 2007-04-09T01:00 UTC; complete the files"):
        run_cycle(write_experiment(tmp_path, FIRST_END), Silence())
    assert array_hashes(str(tmp_path / "store.zarr")) == before
