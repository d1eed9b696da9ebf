"""The command line: results and exit status; wrong input is one message, never a traceback."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ldas.pipeline.errors import PipelineError
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.arrays import existing_array, open_store
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import exists
from tests.helpers.program import program
from tests.helpers.small_store import EXPERIMENT, write_experiment
from tests.support import REPOSITORY

Ldas = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ldas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ldas:
    """Calls the program as the console script does; gives exit status, output and error output."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        status = program(*arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out, captured.err

    return call


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A small synthetic experiment that has not been run."""
    path = tmp_path / "experiment.yaml"
    write_experiment(path)
    return path


def test_check_run_status_and_run_again(ldas: Ldas, experiment: Path) -> None:
    folder = experiment.parent
    assert ldas("check", str(experiment))[0] == 0
    status, out, _ = ldas("check", str(experiment), "--json", str(folder / "check.json"))
    assert status == 0
    assert "will be continued" not in out
    assert {row["state"] for row in json.loads((folder / "check.json").read_text())} == {"ok"}
    status, _, err = ldas("run", str(experiment), "--workers", "1", "--json", str(folder / "run.json"))
    assert status == 0, err
    assert "open_loop: done in" in err
    assert json.loads((folder / "run.json").read_text()) == {"open_loop": {"cells_set_aside": 0, "failures": {}}}
    status, _, err = ldas("run", str(experiment))
    assert status == 0
    assert "2 tasks, 2 done before" in err
    assert ldas("status", str(experiment), "--json", str(folder / "status.json"))[0] == 0
    (row,) = json.loads((folder / "status.json").read_text())
    assert (row["name"], row["tasks"], row["done"]) == ("open_loop", 2, 2)
    experiment.write_text(EXPERIMENT + "model: {runoff: DT92}\n", encoding="utf-8")
    status, _, err = ldas("run", str(experiment))
    assert status == 2
    assert "model.runoff: 'WSAT' in the store, 'DT92' now" in err


def test_a_forcing_that_is_too_short_is_refused_before_the_run(ldas: Ldas, experiment: Path) -> None:
    long = EXPERIMENT.replace("2007-01-04", "2007-01-09")  # the forcing ends on the 5th
    experiment.write_text(long, encoding="utf-8")
    status, out, _ = ldas("check", str(experiment))
    assert status == 2
    assert "2007-01-01 00 UTC to 2007-01-10 00 UTC needed" in out
    status, _, err = ldas("run", str(experiment))
    assert status == 2
    assert "the period needs 2007-01-01T00 to 2007-01-10T00" in err
    assert sorted(open_store(load_experiment(experiment).location)) == ["forcing", "land"]


def test_blocks_set_aside_show_in_the_exit_status(ldas: Ldas, experiment: Path) -> None:
    location = load_experiment(experiment).location
    tair = existing_array(open_store(location, "a"), "forcing", "Tair")
    tair[7, 0] = 1000.0
    status, _, err = ldas("run", str(experiment))
    assert status == 3
    assert "set aside" in err
    status, out, _ = ldas("status", str(experiment), "--blocks", "--json", str(experiment.parent / "status.json"))
    assert status == 0
    assert "open_loop, block 0" in out
    assert "Tair" in out
    (row,) = json.loads((experiment.parent / "status.json").read_text())
    assert [block["state"] for block in row["blocks"]] == ["failed", "done"]
    assert re.search(r"open_loop\W+0\W+0 to 0\W+0\W+failed", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "absent.yaml"), "absent.yaml: cannot be read"),
        (("run", "absent.yaml"), "absent.yaml: cannot be read"),
        (("status", "absent.yaml"), "absent.yaml: cannot be read"),
        (("run",), "Missing argument"),
        (("run", "{good}", "--workers", "0"), "--workers"),
        (("run", "{good}", "--address", "tcp://127.0.0.1:9", "--workers", "2"), "no Dask scheduler"),
        (("status", "{fresh}"), "nothing has been run yet"),
        (("check", "--no-such-option", "{good}"), "No such option"),
        (("nonsense",), "No such command"),
        (("check", "{good}", "--json", "/nowhere/x.json"), "/nowhere/x.json: cannot be written"),
        (("train", "--table", "absent.nc"), "absent.nc"),
        (("train", "--table", "absent.nc", "--hidden", "many"), "whole numbers separated by commas"),
        (("conformance", "/nowhere"), "/nowhere"),
        (("site", "absent.yaml", "--out", "out.nc"), "absent.yaml: cannot be read"),
        (("twin", "absent.yaml"), "absent.yaml: cannot be read"),
        (("twin", "{good}", "--from-run", "nature"), "nature"),
        (("analyse", "--table", "absent.nc"), "absent.nc"),
        (("analyse", "--table", "absent.nc", "--error", "-0.33"), "sizes must be positive"),
        (("report", "/nowhere"), "no store at /nowhere"),
        (("report", "absent.yaml"), "absent.yaml: cannot be read"),
        (("demo", "--out", "/proc/nowhere"), "/proc/nowhere: cannot be written"),
        (("ingest", "era5"), "needs --config FILE"),
        (("ingest", "inspect"), "needs the file"),
        (("ingest", "nonsense", "--config", "{good}"), "unknown source 'nonsense'"),
    ],
)
def test_wrong_input_is_one_message(
    ldas: Ldas, experiment: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr("ldas.pipeline.execution.cluster.CONNECT_TIMEOUT_S", 1)
    fresh = experiment.parent / "fresh.yaml"
    fresh.write_text(EXPERIMENT.replace("url: store", "url: fresh"), encoding="utf-8")
    filled = [argument.format(good=experiment, fresh=fresh) for argument in arguments]
    status, _, err = ldas(*filled)
    assert status == 2, err
    assert message in err


def test_a_mistake_of_ours_is_told_from_one_of_the_users(
    ldas: Ldas, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("ldas.pipeline.commands.status.experiment_status", broken)
    status, _, err = ldas("status", str(experiment))
    assert status == 1
    assert "ZeroDivisionError: oops" in err
    details = Path(next(word for word in err.split() if "ldas-error-" in word))
    assert "Traceback" in details.read_text(encoding="utf-8")
    details.unlink()


def test_markup_in_a_message_is_shown_as_it_is(ldas: Ldas, experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise PipelineError("[red]a/b[/x] [bold")

    monkeypatch.setattr("ldas.pipeline.commands.status.experiment_status", broken)
    status, _, err = ldas("status", str(experiment))
    assert status == 2
    assert "[red]a/b[/x] [bold" in err


def test_schema_and_version(ldas: Ldas) -> None:
    status, out, _ = ldas("schema")
    assert status == 0
    assert json.loads(out)["title"] == "ExperimentConfig"
    assert ldas("--version")[1].startswith("0.")


def test_help_comes_at_once() -> None:
    """No numerical library is imported for it."""
    began = time.perf_counter()
    code = "import sys, ldas.pipeline.cli; print([m for m in ('numpy', 'numba', 'xarray', 'dask') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - began < 20


def test_the_installed_program_runs(experiment: Path) -> None:
    program = Path(sys.executable).with_name("ldas")
    done = subprocess.run([program, "check", experiment], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [program, "check", experiment.with_name("absent.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert exists(Location(str(experiment.parent / "store")))
