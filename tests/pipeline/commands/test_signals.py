"""SIGINT and SIGTERM end every command: one line, 128 + the number, no process left; started again, the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ldas.pipeline.execution.signals import MESSAGE, SIGNALS
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.arrays import array_hashes
from tests.helpers.program import program
from tests.helpers.small_store import EXPERIMENT, make_synthetic_store, write_experiment
from tests.pipeline.execution.test_keeper import eventually
from tests.pipeline.twin.support import nature_file
from tests.support import REPOSITORY

INT, TERM = signal.SIGINT, signal.SIGTERM
LDAS = [sys.executable, "-m", "ldas.pipeline.program"]


def fresh(*command: str | Path, folder: Path) -> subprocess.Popen[bytes]:
    """A program in a group of processes of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with (folder / "stderr").open("w") as err, (folder / "stdout").open("w") as out:
        return subprocess.Popen(
            [str(word) for word in command], cwd=folder, env=environment, stdout=out, stderr=err, process_group=0
        )


class Forked:
    """The same, of a process that has imported everything."""

    def __init__(self, server: subprocess.Popen[str], *words: str | Path, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.pid = int(self.answer(json.dumps([str(folder), [str(word) for word in words]])))

    def answer(self, line: str) -> str:
        """What the server says to a line."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        print(line, file=self.server.stdin, flush=True)
        return self.server.stdout.readline()

    def poll(self) -> int | None:
        """See `subprocess.Popen`; until it is waited for, 0 for any end."""
        return 0 if Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("Z") else None

    def wait(self, timeout: float = 30.0) -> int:
        """See `subprocess.Popen`."""
        eventually(lambda: self.poll() is not None, timeout)
        return int(self.answer(""))

    def send_signal(self, number: int) -> None:
        """See `subprocess.Popen`."""
        os.kill(self.pid, number)


class Started:
    """A program that has been started in a folder."""

    def __init__(self, process: subprocess.Popen[bytes] | Forked, folder: Path) -> None:
        self.process, self.errors = process, folder / "stderr"

    def said(self) -> str:
        """All of its error output so far."""
        return self.errors.read_text(encoding="utf-8")

    def others(self) -> list[int]:
        """The other processes of its group that are alive."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != self.process.pid:
                try:
                    state, _, group = (folder / "stat").read_text().rpartition(") ")[2].split()[:3]
                except OSError:
                    continue
                if int(group) == self.process.pid and state != "Z":
                    found.append(int(folder.name))
        return found

    def ended_by(self, number: int, within: float = 30.0) -> None:
        """It ends as documented, and nothing of it is left."""
        assert self.process.wait(timeout=within) == 128 + number, self.said()
        assert self.said().splitlines()[-1] == MESSAGE.format(name=signal.Signals(number).name)
        assert "Traceback" not in self.said()
        eventually(lambda: not self.others(), 10.0)


Start = Callable[..., Started]
Fork = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts programs in the folder of the test; none is left at its end."""
    started: list[Started] = []

    def new(*command: str | Path) -> Started:
        started.append(Started(fresh(*command, folder=tmp_path), tmp_path))
        return started[-1]

    yield new
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything."""
    command = [sys.executable, "-m", "tests.helpers.paused_program", "--serve"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def fork(server: subprocess.Popen[str], tmp_path: Path) -> Iterator[Fork]:
    """Has it wait at the n-th call of a function."""
    forked: list[int] = []

    def new(where: str, number: int, *arguments: str | Path) -> Started:
        marker = tmp_path / "here"
        words = (where, str(number), marker, *arguments)
        started = Started(Forked(server, *words, folder=tmp_path), tmp_path)
        forked.append(started.process.pid)
        eventually(lambda: marker.exists() or started.process.poll() is not None)
        assert marker.exists(), started.said()
        return started

    yield new
    for process in forked:
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A small experiment that has not been run."""
    write_experiment(tmp_path / "experiment.yaml")
    return tmp_path / "experiment.yaml"


@pytest.mark.parametrize(
    ("where", "arguments"),
    [
        ("ldas.pipeline.commands.check:check_experiment", ("check", "experiment.yaml")),
        ("ldas.pipeline.commands.status:experiment_status", ("status", "experiment.yaml")),
        ("ldas.pipeline.commands.demo:run_experiment", ("demo", "--out", "demo")),
        ("ldas.pipeline.site.run:run_site", ("site", "case.yaml", "--out", "out.nc")),
        ("ldas.pipeline.site.conformance:run_conformance", ("conformance",)),
        ("ldas.pipeline.tables.train:run_training_command", ("train", "--table", "a.nc")),
        ("ldas.pipeline.tables.analyse:run_analysis_command", ("analyse", "--table", "a.nc")),
        ("ldas.pipeline.ingest:inspect_file", ("ingest", "inspect", "a.nc")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_every_command(fork: Fork, experiment: Path, where: str, arguments: tuple[str, ...]) -> None:
    running = fork(where, 1, *arguments)
    running.process.send_signal(TERM)
    running.ended_by(TERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_is_imported(start: Start, experiment: Path, number: int) -> None:
    """As soon as signals are taken, before anything is imported."""
    running = start(*LDAS, "run", experiment)
    status = Path(f"/proc/{running.process.pid}/status")

    def taken() -> bool:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        return bool(int(line.split()[1], 16) >> (signal.SIGHUP - 1) & 1)  # the last that is taken

    eventually(taken, every=0.001)
    running.process.send_signal(number)
    running.ended_by(number)


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("ldas.pipeline.store.ledger:create", 1),  # in the main thread: templates without a ledger
        ("ldas.pipeline.store.ledger:mark", 2),  # in a worker's thread: a task is written, but not marked as done
        ("ldas.pipeline.execution.run_stages:open_store", 2),  # in the main thread, at the end of the stage
    ],
)
def test_a_run_in_threads(fork: Fork, experiment: Path, tmp_path: Path, where: str, call: int) -> None:
    assert program("run", str(other_store(experiment))) == 0
    running = fork(where, call, "run", experiment)
    running.process.send_signal(TERM)
    running.ended_by(TERM)
    assert program("run", str(experiment)) == 0
    assert array_hashes(str(tmp_path / "store")) == array_hashes(str(tmp_path / "undisturbed"))


def other_store(experiment: Path) -> Path:
    """The same experiment on a copy of its store."""
    folder = experiment.parent
    shutil.copytree(folder / "store", folder / "undisturbed")
    path = folder / "undisturbed.yaml"
    path.write_text(experiment.read_text().replace("url: store", "url: undisturbed"), encoding="utf-8")
    return path


@pytest.mark.parametrize("number", [pytest.param(INT, marks=pytest.mark.long), TERM])
def test_a_run_in_processes(start: Start, tmp_path: Path, number: int) -> None:
    """The signal reaches all processes, as Ctrl-C in a terminal and the end of a job of Slurm do."""
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text(EXPERIMENT + "open_loop: {name: open_loop}\n", encoding="utf-8")
    make_synthetic_store(load_experiment(experiment).location, cells=40, days=4)
    running = start(*LDAS, "run", experiment, "--processes", "--workers", "2")
    eventually(lambda: "40 tasks, 0 done before" in running.said())
    assert len(running.others()) >= 2
    os.killpg(running.process.pid, number)
    running.ended_by(number)


def test_a_second_signal_is_not_discussed(fork: Fork, experiment: Path) -> None:
    """Nor is what swallows the first one."""
    running = fork("ldas.pipeline.commands.check:check_experiment", -1, "check", experiment)
    running.process.send_signal(TERM)
    time.sleep(0.5)
    assert running.process.poll() is None
    running.process.send_signal(INT)
    running.ended_by(INT, within=2.0)


def test_what_swallows_a_signal_is_ended(fork: Fork, experiment: Path) -> None:
    running = fork("ldas.pipeline.commands.check:check_experiment", -1, "check", experiment)
    running.process.send_signal(TERM)
    running.ended_by(TERM, within=10.0)  # before `docker stop` kills it


def test_process_1_of_a_container(start: Start, experiment: Path, tmp_path: Path) -> None:
    """In a namespace of processes, where signals without a handler are passed over."""
    alone = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no user make a namespace of processes")
    marker = tmp_path / "here"
    at = [
        sys.executable,
        "-m",
        "tests.helpers.paused_program",
        "ldas.pipeline.commands.check:check_experiment",
        "1",
        str(marker),
    ]
    running = start(*alone, *at, "check", experiment)
    eventually(marker.exists)
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    (first,) = [int(child) for child in children]
    os.kill(first, TERM)
    running.ended_by(TERM)


def test_an_ingestion(fork: Fork, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        "place: {latitude: 43.74, longitude: 3.6, utc_offset_h: 1}\nclay: 0.3\nsand: 0.4\npatch_fraction: {10: 1.0}\n"
        f"store: {{url: {tmp_path / 'store'}}}\n",
        encoding="utf-8",
    )
    running = fork("ldas.pipeline.store.groups:_write_variable", 2, "ingest", "site", "--config", "site.yaml")
    running.process.send_signal(INT)
    running.ended_by(INT)
    assert program("ingest", "site", "--config", str(tmp_path / "site.yaml")) == 0
    disturbed = array_hashes(str(tmp_path / "store"))
    shutil.rmtree(tmp_path / "store")
    assert program("ingest", "site", "--config", str(tmp_path / "site.yaml")) == 0
    assert array_hashes(str(tmp_path / "store")) == disturbed


@pytest.mark.long
def test_a_twin(fork: Fork, tmp_path: Path) -> None:
    nature_file(tmp_path, spin_up_years=0)
    text = (
        "name: small\nsynthetic: true\nstore: {url: store}\nperiod: {start: 2007-04-01, end: 2007-04-10}\n"
        "twin: {subset: demo, nature: nature.yaml}\nexecution: {cells_per_block: 8}\n"
    )
    for name in ("store", "undisturbed"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("url: store", f"url: {name}"), encoding="utf-8")
    running = fork("ldas.pipeline.twin.stages:write_region", 2, "twin", "store.yaml")
    running.process.send_signal(TERM)
    running.ended_by(TERM)
    for name in ("store", "undisturbed"):
        assert program("twin", str(tmp_path / f"{name}.yaml")) == 0
    assert array_hashes(str(tmp_path / "store")) == array_hashes(str(tmp_path / "undisturbed"))


@pytest.mark.long
def test_a_report(fork: Fork, experiment: Path, tmp_path: Path) -> None:
    assert program("run", str(experiment)) == 0
    assert program("report", str(tmp_path / "store"), "--out", str(tmp_path / "expected")) == 0
    running = fork("ldas.pipeline.report.write:write_tables", 1, "report", "store", "--out", "page")
    running.process.send_signal(TERM)
    running.ended_by(TERM)
    assert program("report", str(tmp_path / "store"), "--out", str(tmp_path / "page")) == 0
    assert (tmp_path / "page" / "index.html").read_bytes() == (tmp_path / "expected" / "index.html").read_bytes()
