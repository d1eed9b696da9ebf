"""No key of a calibration file without effect: another value of each key shows in what is calibrated or written."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
import zarr

from ldas.landmodel.errors import LdasError
from ldas.pipeline.calibration.case import CalibrationCase, CalibrationExecution, load_calibration
from ldas.pipeline.calibration.observations import days_of, read_observed
from ldas.pipeline.calibration.results import read_results
from ldas.pipeline.calibration.rounds import Calibration, Round, rounds
from ldas.pipeline.commands.calibrate import run_calibration
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import Block
from tests.helpers.toy import Silence
from tests.pipeline.settings.test_effects import Elsewhere, shown_elsewhere, with_value
from tests.pipeline.settings.test_every_key import keys

MEMBERS = 10
SITE: dict[str, Any] = {
    "name": "formula weather", "latitude": 43.6, "longitude": 1.4, "clay": 0.25, "sand": 0.4, "vegetation": "C3",
    "initial_state": {"TG": 281.0, "LAI": 2.0}, "start": "1986-01-01T12:00", "days": 5,
    "forcing": {"formula": "rain", "records_per_loop": 480},
}  # fmt: skip
LE: dict[str, Any] = {"variable": "LE", "file": "tower.csv", "column": "LE", "unit": "W m-2", "error": {"absolute": 3}}
GROUP = {**{name: LE[name] for name in ("variable", "column", "unit", "error")}, "group": "insitu/a", "station": "a"}
CASE: dict[str, Any] = {
    "name": "x", "store": {"url": "store.zarr"}, "site": "site.yaml", "utc_offset_h": 12,
    "parameters": {"GMES": {"low": 1e-3, "high": 5e-3}},
    "observations": [LE],
    "calibration": {"start": "1986-01-02", "end": "1986-01-03"},
    "kept_back": {"start": "1986-01-05", "end": "1986-01-06"},
    "method": {"assimilations": 1, "ensemble_size": MEMBERS},
}  # fmt: skip
NORMAL = {"parameters": {"GMES": {"low": 1e-3, "high": 5e-3, "prior": "normal", "standard_deviation": 1e-3}}}
ERROR = {"observations": [{**LE, "error": {"absolute": 3, "column": "LE_UC"}}]}
CARBON = {"observations": [{**LE, "variable": "NEE", "unit": "gC m-2 d-1"}]}
CALIBRATE = "calibration/test_calibrate.py"
PAGE = Elsewhere(CALIBRATE, "test_the_command_writes_the_page_again_and_the_figures")
NAMES = Elsewhere(CALIBRATE, "test_files_of_callmip_have_the_names_of_its_template")
FIRST = Elsewhere("settings/test_calibration_effects.py", "test_ingestions_come_first")
# Key: another value, and what stands beside it.
TABLE: dict[str, tuple[Any, dict[str, Any]] | Elsewhere] = {
    "name": ("other", {}),
    "description": PAGE,
    "synthetic": PAGE,
    "store.url": ("other.zarr", {}),
    "store.options": ({"auto_mkdir": True}, {}),
    "ingest.source": FIRST,
    "ingest.config": FIRST,
    "ingest.makes": FIRST,
    "site": ("warmer.yaml", {}),
    "utc_offset_h": (-12, {"kept_back": {"start": "1986-01-05", "end": "1986-01-05"}}),
    "spin_up_repetitions": (1, {}),
    "parameters.low": (2e-3, {}),
    "parameters.high": (4e-3, {}),
    "parameters.prior": ("log_uniform", {}),
    "parameters.mean": (2e-3, NORMAL),
    "parameters.standard_deviation": (5e-4, NORMAL),
    "observations.variable": ("H", {}),
    "observations.file": ("other.csv", {}),
    "observations.group": ("insitu/b", {"observations": [GROUP]}),
    "observations.station": ("b", {"observations": [GROUP]}),
    "observations.column": ("H", {}),
    "observations.unit": ("umol m-2 s-1", CARBON),
    "observations.error.column": ("H_UC", ERROR),
    "observations.error.absolute": (5, {}),
    "observations.error.relative": (0.2, {}),
    "observations.error.correlation_days": (4, {}),
    "observations.time_column": ("LATER", {}),
    "calibration.start": ("1986-01-03", {}),
    "calibration.end": ("1986-01-04", {}),
    "kept_back.start": ("1986-01-04", {}),
    "kept_back.end": ("1986-01-05", {}),
    "method.assimilations": (2, {}),
    "method.ensemble_size": (12, {}),
    "method.seed": (1, {}),
    "callmip.site": NAMES,
    "callmip.scenario": NAMES,
    "execution.members_per_batch": (4, {}),
    "execution.retries": Elsewhere("settings/test_calibration_effects.py", "test_a_failed_batch_is_tried_again"),
}
ONLY_ONE_VALUE = {"method.kind"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites, two tables of SYNTHETIC fluxes, and a store with two stations in each of two groups."""
    folder = tmp_path_factory.mktemp("case")
    warmer = {**SITE, "initial_state": {"TG": 283.0, "LAI": 2.0}}
    for name, site in (("site", SITE), ("warmer", warmer)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(site))
    days = pd.date_range("1985-12-30", periods=12)
    random = np.random.default_rng(1)
    for name in ("tower", "other"):
        table = pd.DataFrame({"TIMESTAMP": days, "LATER": days + pd.Timedelta(days=1)})
        for column in ("LE", "H"):
            table[column] = random.normal(20.0, 5.0, len(days))
            table[f"{column}_UC"] = random.uniform(2.0, 5.0, len(days))
        table.to_csv(folder / f"{name}.csv", index=False)
    root = open_store(folder / "store.zarr", "a")
    for name in ("a", "b"):
        fluxes = xr.Dataset(
            {"LE": (("station", "time"), random.normal(20.0, 5.0, (2, len(days))), {"units": "W m-2"})},
            coords={"time": days, "code": ("station", ["a", "b"])},
        )
        write_group(root, f"insitu/{name}", fluxes)
    return folder


def written(folder: Path, sections: Mapping[str, Any]) -> Path:
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump({**CASE, **sections}))
    return path


def shown(folder: Path, sections: Mapping[str, Any]) -> bytes:
    """Where a calibration is kept and how it is cut, and its numbers: parameters, predictions, scores."""
    case, site = load_calibration(written(folder, sections))
    days = days_of(site, case.utc_offset_h)
    priors = {name: settings.distribution(3e-3) for name, settings in case.parameters.items()}
    calibration = Calibration(case, site, days, tuple(read_observed(case, days)), priors, {})
    root = zarr.create_group(zarr.storage.MemoryStore())
    write_group(root, calibration.group("sensitivity"), xr.Dataset())
    numbers: list[Any] = []
    for one in rounds(calibration):
        one.create(root)
        one.compute(root, Block(0, 0, one.cells), one.periods()[0])
        numbers += [one.group, one.cells_per_block, *(part.tolist() for part in one.pairs(root))]
    found = read_results(root, calibration, dict.fromkeys(priors, 3e-3), ())
    numbers += [found.prior.tolist(), found.posterior.tolist(), found.score_table().to_csv()]
    return pickle.dumps((case.location.url, case.location.options, numbers))


def test_every_key_has_an_entry() -> None:
    """Those of the cluster are the experiment's, and their table is in test_execution_effects.py."""
    schema = CalibrationCase.model_json_schema()
    found = set(keys(schema, schema["$defs"]))
    of_cluster = {key for key in found if key.startswith("execution.cluster.")}
    assert CalibrationExecution.model_fields["cluster"].annotation is ClusterConfig
    assert set(TABLE) | ONLY_ONE_VALUE == found - of_cluster
    shown_elsewhere(TABLE)


@pytest.fixture(scope="module")
def before(folder: Path) -> dict[str, bytes]:
    """What shows without the other values; computed twice, for what differs by itself could show nothing."""
    kept = {str(entry[1]): shown(folder, entry[1]) for entry in TABLE.values() if isinstance(entry, tuple)}
    assert kept["{}"] == shown(folder, {})
    return kept


@pytest.mark.parametrize("key", [key for key, entry in TABLE.items() if isinstance(entry, tuple)])
def test_another_value_shows(folder: Path, before: dict[str, bytes], key: str) -> None:
    entry = TABLE[key]
    assert isinstance(entry, tuple)
    usual = {**CASE, **entry[1]}
    other = with_value(usual, key.replace("parameters.", "parameters.GMES."), entry[0])
    assert shown(folder, other) != before[str(entry[1])]


def test_ingestions_come_first(folder: Path) -> None:
    """Source and configuration are used, and what a step makes is not made again; the case stops after that."""
    idle = {"observations": [{**LE, "column": "none"}]}
    step = {"source": "tower", "config": "none.yaml", "makes": "insitu/c"}
    for change, text in (
        ({}, "none.yaml"),
        ({"config": "other.yaml"}, "other.yaml"),
        ({"source": "towers"}, "towers"),
        ({"makes": "insitu/a"}, "no column none"),
    ):
        with pytest.raises(LdasError, match=text):
            run_calibration(written(folder, {**idle, "ingest": [{**step, **change}]}), Silence())


def test_a_failed_batch_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def fails(stage: Round, *task: Any) -> np.ndarray:
        attempts.append(stage.number)
        raise RuntimeError("no memory left")

    monkeypatch.setattr(Round, "compute", fails)
    execution = {"members_per_batch": MEMBERS, "retries": 1, "cluster": {"workers": 1}}
    result = run_calibration(written(folder, {"execution": execution}), Silence())
    assert attempts == [0, 0]  # twice, and no round after it
    assert "no memory left" in result.outcomes["x_round_0"].failures[0]
