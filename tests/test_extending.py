"""The guide `docs/extending.md` is a package that works: its contracts hold, and a run uses its parts."""

import json
import os
import re
import subprocess
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from ldas.operators.extensions import extension
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import source_names
from ldas.pipeline.ingest.run import source_of_another_package
from ldas.pipeline.settings.experiment import ExperimentConfig, json_schema
from ldas.pipeline.store.arrays import existing_group, open_store, read_region
from ldas.pipeline.store.operator_store import read_operator
from tests.helpers.synthetic_store import experiment, make_store
from tests.helpers.toy import Silence
from tests.support import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
TRAINING = {"start": "2007-04-01", "end": "2007-04-20"}
LINE = {"name": "line", "kind": "linear", "training": TRAINING, "options": {"minimum_samples": 8}}


def install(folder: Path, entry_points: str, files: dict[str, str]) -> Path:
    """A package as an installer leaves it: its files, and the list of its entry points."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    information = folder / "mine-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    return folder


def guide_package(folder: Path) -> Path:
    """The package of the guide."""
    blocks = dict(re.findall(r'```\w+ title="(.*?)"\n(.*?)```', GUIDE, flags=re.DOTALL))
    entry_points = blocks.pop("pyproject.toml").replace("project.entry-points.", "").replace('"', "")
    return install(folder, entry_points, {"mine/__init__.py": "", **blocks})


def on_the_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed, for this test only."""
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, name)
    invalidate_caches()
    extension.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the guide, installed."""
    on_the_path(guide_package(tmp_path / "packages"), monkeypatch)
    return tmp_path


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ldas` with the packages of a folder."""
    return subprocess.run(
        [sys.executable, "-m", "ldas.pipeline.program", *arguments],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_contracts_hold_for_the_package_of_the_guide(tmp_path: Path) -> None:
    folder = guide_package(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert not re.search(r"skipped|failed|error", done.stdout)


def test_a_run_trains_and_assimilates_with_them(installed: Path) -> None:
    path = installed / "store"
    make_store(path, cells=3, days=24)
    observed = [{"name": "sigma40", "operator": "line"}, {"name": "lai"}]
    run = {"start": "2007-04-02", "end": "2007-04-06", "observations": observed, "filter": "inflated"}
    runs = [{**run, "name": f"by_{size}", "options": {"inflation": size}} for size in (1.0, 2.0)]
    config = experiment(path, operators=[LINE], assimilation=runs, execution={"cluster": {"workers": 1}})
    assert run_experiment(config, Silence()).complete
    root = open_store(str(path))
    stored = read_operator(root, "line", predictor_names=("WG2", "LAI"), output_name="sigma40", output_unit="dB")
    assert existing_group(root, "operators/line").attrs["kind"] == "linear"
    assert existing_group(root, "runs/by_2.0").attrs["controls"] == ["LAI", "WG2", "WG3", "WG4"]
    assert stored.usable.all()
    free = np.stack([read_region(root, "runs/open_loop", name)[2].astype(float) for name in ("WG2", "LAI")], axis=-1)
    for name in ("by_1.0", "by_2.0"):
        forecast = read_region(root, f"runs/{name}", "sigma40_forecast")[0]
        np.testing.assert_allclose(forecast, stored.predict(free[:, None])[:, 0], rtol=1e-5)
    small, large = (np.abs(read_region(root, f"runs/{name}", "increment_WG2")[0]) for name in ("by_1.0", "by_2.0"))
    assert (large > small).any()
    assert (large >= small).all()


def test_check_says_that_its_filter_has_to_use_correlated_errors(installed: Path) -> None:
    pair = {"between": ["swi", "lai"], "size": 0.3}
    run = {"name": "a", "observations": [{"name": "swi"}, {"name": "lai"}], "error_correlations": [pair]}
    config = experiment(installed / "store", assimilation=[run, {**run, "name": "b", "filter": "inflated"}])
    said = {row.what: row.detail for row in check_experiment(config) if "correlated" in row.detail}
    assert said["assimilation a"] == "correlated errors: swi and lai 0.3"
    assert "filter: inflated is of another package" in said["assimilation b"]


def test_a_source_of_the_package_is_listed_and_ingests(installed: Path) -> None:
    assert source_names()["table"] == "leaf area index of single places from CSV tables"
    (installed / "lai.csv").write_text("latitude,longitude,date,lai\n43.0,0.5,2015-05-01,2.5\n", encoding="utf-8")
    (installed / "table.yaml").write_text("files: [lai.csv]\nstore: {url: store}\n", encoding="utf-8")
    done = program(installed / "packages", "ingest", "table", "--config", str(installed / "table.yaml"))
    assert done.returncode == 0, done.stderr
    assert read_region(open_store(str(installed / "store")), "observations/lai", "value").tolist() == [[2.5]]


def test_the_schema_has_the_options_of_the_package(installed: Path) -> None:
    schema = json.loads(json_schema())
    usual = {"name": "x", "store": {"url": "s"}, "period": {"start": "2007-04-01", "end": "2007-04-24"}}
    run = {"name": "a", "observations": [{"name": "lai"}], "filter": "inflated"}
    jsonschema.validate(
        {**usual, "operators": [LINE], "assimilation": [{**run, "options": {"inflation": 2.0}}]}, schema
    )
    for wrong in (
        {"operators": [{**LINE, "options": {"minimum_sample": 8}}]},
        {"assimilation": [{**run, "options": {"inflation": "much"}}]},
    ):
        with pytest.raises(jsonschema.ValidationError, match=r"minimum_sample|much"):
            jsonschema.validate({**usual, **wrong}, schema)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"operators": [{**LINE, "options": {"minimum_sample": 8}}]}, "options minimum_sample: unknown; known: minim"),
        ({"operators": [{**LINE, "options": {"minimum_samples": "many"}}]}, "minimum_samples: Input should be a valid"),
        ({"operators": [{**LINE, "neural": {"seed": 1}}]}, "`neural` belongs to kind: neural, the kind is linear"),
        ({"assimilation": [{"filter": "inflated", "options": {"x": 1}}]}, "options x: unknown; known: inflation"),
        ({"assimilation": [{"filter": "inflated", "ensrf": {}}]}, "`ensrf` belongs to filter: ensrf, it is inflated"),
    ],
)  # fmt: skip
def test_options_of_a_package_are_checked(installed: Path, sections: dict[str, Any], said: str) -> None:
    for run in sections.get("assimilation", []):
        run |= {"name": "run", "observations": [{"name": "lai"}]}
    with pytest.raises(ValueError, match=said):
        experiment(installed / "store", **sections)


BROKEN = {
    "mine/__init__.py": "",
    "mine/part.py": "class Part:\n    KIND = 'linear'\n    def predict(self, x): return x\n",
    "mine/fails.py": "import no_such_module_at_all\n",
}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("mine.part:Part", ["lacks", "fit", "jacobian", "from_arrays"]),
        ("mine.part:Absent", ["cannot be loaded", "Absent"]),
        ("mine.fails:Part", ["cannot be loaded", "no_such_module_at_all"]),
    ],
)
def test_what_is_no_operator_filter_or_source_is_refused(
    value: str, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = "".join(f"[ldas.{group}]\nlinear = {value}\n" for group in ("operators", "filters", "sources"))
    folder = install(tmp_path / "packages", groups, BROKEN)
    content: dict[str, Any] = {"name": "x", "store": {"url": "s"}, "period": TRAINING, "operators": [LINE]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = program(folder, "check", str(tmp_path / "x.yaml"))
    message = " ".join((done.stdout + done.stderr).split())
    assert (done.returncode, "Traceback" in message) == (2, False), message
    for part in said:
        assert part in message
    on_the_path(folder, monkeypatch)
    run = {"name": "run", "filter": "linear", "observations": [{"name": "lai"}]}
    with pytest.raises(ValueError, match=said[0]):
        ExperimentConfig.model_validate({**content, "operators": [], "assimilation": [run]})
    with pytest.raises(IngestError, match=said[0]):
        source_of_another_package("linear")
