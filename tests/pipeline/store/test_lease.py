"""One store, one writer: real processes that start at once, are killed, are stopped, and find the store taken."""

import json
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import s3fs
import xarray as xr
import yaml
from distributed import Client

from ldas.pipeline.errors import LeaseLostError, StoreError, StoreInUseError
from ldas.pipeline.execution.stage import prepare, run_task
from ldas.pipeline.store import conditional, lease, ledger
from ldas.pipeline.store.arrays import array_hashes, open_run, open_store
from ldas.pipeline.store.conditional import Content
from ldas.pipeline.store.lease import NAME, Record, held, holder
from ldas.pipeline.store.location import Location
from tests.helpers import lease_writers as writers
from tests.helpers.lease_writers import LOST, REFUSED, WROTE, somebody_writes, start, statuses, wait_for
from tests.helpers.program import program
from tests.helpers.s3_server import S3Server
from tests.helpers.synthetic_store import make_store
from tests.helpers.toy import toy

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nobody", "AWS_DEFAULT_REGION": "us-east-1"}
EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "store": {"url": "store"},
    "period": {"start": "2007-04-01", "end": "2007-04-02"},
    "output": {"mean": ["LE"], "instant": ["WG2"]},
    "report": False,
}
SITE = """\
store: {url: store}
place: {latitude: 43, longitude: 1}
clay: 0.3
sand: 0.3
patch_fraction: {1: 1.0}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """An S3 server that honours conditions."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        server = S3Server()
        yield server
        server.stop()


def in_bucket(server: S3Server, name: str, prefix: str = "s3") -> Location:
    """A place in a new bucket."""
    s3fs.S3FileSystem(**server.location_options, skip_instance_cache=True).mkdir(name)
    return Location(f"{prefix}://{name}/store", dict(server.location_options))


@pytest.fixture(params=["file", "icechunk+file", "s3", "icechunk+s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A new store of each kind."""
    if "s3" in request.param:
        return in_bucket(request.getfixturevalue("server"), re.sub(r"\W", "", request.node.name)[-40:], request.param)
    return Location(f"{request.param}://{tmp_path / 'store'}")


def started_at_once(location: Location, folder: Path, number: int, **settings: Any) -> list[int | None]:
    """Exit status of as many writers, of which the one that holds the lease waits for the others to end."""
    settings["environment"] = CREDENTIALS
    begin, end = folder / "begin", folder / "end"
    processes = [start(writers.write_until, location, str(begin), str(end), **settings) for _ in range(number)]
    begin.touch()
    last = time.monotonic() + 60
    while sum(process.is_alive() for process in processes) > 1 and time.monotonic() < last:
        time.sleep(0.01)
    end.touch()
    found = statuses(processes)
    begin.unlink()
    end.unlink()
    return found


def test_of_many_that_start_at_once_one_writes(location: Location, tmp_path: Path) -> None:
    number = 20 if "file" in location.protocol else 5
    found = started_at_once(location, tmp_path, number)
    assert sorted(found) == [WROTE] + (number - 1) * [REFUSED]
    assert holder(location) is None
    if location.protocol == "file":
        assert not (tmp_path / "store").exists()  # made for the lease, and nothing was written


def test_nothing_is_written_beside_the_files_of_a_user(tmp_path: Path) -> None:
    folder, file, new = tmp_path / "papers", tmp_path / "paper.tex", tmp_path / "disk"
    folder.mkdir()
    for path in (file, folder / "a.tex"):
        path.write_text("text")
    for place, said in ((folder, r"is no store, and the folder holds other things \(a.tex\)"), (file, "is a file")):
        with pytest.raises(StoreError, match=said), held(Location(str(place)), "a test"):
            pass
        with pytest.raises(StoreError, match=said):
            open_store(place, "a")
    assert [path.name for path in folder.iterdir()] == ["a.tex"]
    (new / "lost+found").mkdir(parents=True)  # a file system of its own
    with held(Location(str(new)), "a test"):
        open_store(new, "a")


def test_of_two_that_make_the_folder_the_one_that_writes_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        conditional.FolderFile(tmp_path / "store" / NAME, lambda text: text, lambda file, text: None) for _ in range(2)
    )
    rename = os.rename

    def after_the_first(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        assert first.create("first") == "first"
        rename(source, target)

    monkeypatch.setattr(os, "rename", after_the_first)
    assert second.create("second") is None
    first.remove()
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_take_over_a_dead_one_one_writes(location: Location, tmp_path: Path) -> None:
    number = 20 if "file" in location.protocol else 5
    (status,) = statuses([start(writers.die_holding, location, environment=CREDENTIALS)])
    assert status == -signal.SIGKILL
    left = holder(location)
    assert left is not None
    assert left.has_ended
    assert sorted(started_at_once(location, tmp_path, number)) == [WROTE] + (number - 1) * [REFUSED]
    assert holder(location) is None
    if location.protocol == "file":
        assert not list((tmp_path / "store").iterdir())


@pytest.mark.parametrize("ignored", [("IF_MATCH",), ("IF_MATCH", "IF_NONE_MATCH")])
def test_a_server_that_does_not_look_at_conditions(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch, ignored: tuple[str, ...]
) -> None:
    """As two of three small S3 servers: of those who write at once, the last wins, and the others see it."""
    location = in_bucket(server, f"unconditional{len(ignored)}")
    with server.set(conditions_ignored=ignored) as faults:
        statuses([start(writers.die_holding, location, environment=CREDENTIALS, settle_s=0.1)])
        found = started_at_once(location, tmp_path, 4, settle_s=1.0)
        assert sorted(found) == [WROTE] + 3 * [REFUSED]
        assert faults.ignored
        monkeypatch.setattr(conditional, "SETTLE_S", 0.1)
        file = conditional.S3File(f"{location.url}/{NAME}", location.options)
        first = file.create("first")
        assert first is not None
        seen = Content("first", first)
        second = file.take("second", file.read() or seen)
        assert second is not None
        assert file.renew("first again", seen) is None  # who was replaced does not replace
        assert file.take("third", seen) is None
        assert file.read() == Content("second", second)
        file.remove()
        assert file.read() is None
        assert file.renew("second again", Content("second", second)) is None
        assert file.read() is None


def test_two_runs_at_once_are_one(toy_truth: dict[str, str], tmp_path: Path) -> None:
    location = Location(str(tmp_path / "store"))
    assert sorted(statuses([start(writers.run_toy, location) for _ in range(3)])) == [WROTE, REFUSED, REFUSED]
    assert array_hashes(location) == toy_truth
    assert not list((tmp_path / "store").glob(f"{NAME}*"))


def test_a_killed_holder_is_replaced_at_once(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "store"))
    statuses([start(writers.die_holding, location)])
    said: list[str] = []
    began = time.monotonic()
    with held(location, "the next", said.append):
        assert time.monotonic() - began < 5 < lease.EXPIRY_S
        now = holder(location)
        assert now is not None
        assert (now.writer, now.process) == ("the next", os.getpid())
    assert len(said) == 1
    assert re.search(r"left by the killed test on .+ \(process \d+\) since .+, which ended .*: taken over", said[0])


def test_a_holder_stopped_for_longer_than_the_expiry_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Location(str(tmp_path / "store"))
    process = start(writers.count_up, location, str(tmp_path / "ready"), 1, expiry_s=1.0)
    wait_for(tmp_path / "ready")
    assert process.pid is not None
    monkeypatch.setattr(lease, "EXPIRY_S", 1.0)
    time.sleep(1.1)
    said: list[str] = []
    with held(location, "the next", said.append):
        assert "watching up to 1 s for a sign of life" in said[0]
        open_store(location, "a")["x"][:] = -1  # type: ignore[index]
        os.kill(process.pid, signal.SIGCONT)
        assert statuses([process]) == [LOST]
        assert open_store(location)["x"][0] == -1  # type: ignore[index]
        now = holder(location)
        assert now is not None
        assert now.writer == "the next"
    assert holder(location) is None


def test_a_holder_that_writes_for_longer_than_the_expiry_keeps_the_store(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "store"))
    process = start(writers.count_up, location, str(tmp_path / "ready"), expiry_s=0.6)
    wait_for(tmp_path / "ready")
    time.sleep(1.0)
    with pytest.raises(StoreInUseError, match="is being written by the counting test on"), held(location, "the next"):
        pass
    process.kill()


def test_a_holder_on_another_machine(tmp_path: Path) -> None:
    """Refused when its file changes within the expiry, whatever its clock says; else replaced."""
    location = Location(str(tmp_path))
    file, end = tmp_path / NAME, threading.Event()
    record = replace(Record.of_this_process("a run"), machine="another", host="node7", expiry_s=0.9, seen="2001-01-01")
    file.write_text(record.as_text(), encoding="utf-8")

    def renew() -> None:
        number = 0
        while not end.wait(0.15):
            number += 1
            file.write_text(replace(record, renewals=number).as_text(), encoding="utf-8")

    thread = threading.Thread(target=renew)
    thread.start()
    with pytest.raises(StoreInUseError, match="written by a run on node7"), held(location, "the next"):
        pass
    end.set()
    thread.join()
    said: list[str] = []
    with held(location, "the next", said.append):
        assert "its process cannot be seen from here" in said[0]
        assert "taken over" in said[1]


def test_a_lease_that_was_cut_off_while_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY_S", 0.3)
    for text in ("", '{"owner": "x"', "[1]"):
        (tmp_path / NAME).write_text(text, encoding="utf-8")
        with held(Location(str(tmp_path)), "the next"):
            pass
    assert not list(tmp_path.iterdir())


def test_a_starter_killed_while_it_took_over_is_replaced(tmp_path: Path) -> None:
    """Its claim on the dead holder is a lease too."""
    location = Location(str(tmp_path / "store"))
    statuses([start(writers.die_holding, location)])
    dead = holder(location)
    assert dead is not None
    claim = tmp_path / "store" / f"{NAME}.{dead.owner}"
    claim.write_text(replace(dead, owner="f" * 32, writer="a starter").as_text(), encoding="utf-8")
    with held(location, "the next"):
        assert [path.name for path in (tmp_path / "store").iterdir()] == [NAME]


def test_readers_see_a_store_as_if_nobody_held_it(threads: Client, tmp_path: Path) -> None:
    make_store(tmp_path / "store", cells=2, days=2)
    location = Location(str(tmp_path / "store"))
    before = array_hashes(location)
    files = sorted(path for path in (tmp_path / "store").rglob("*"))
    with somebody_writes(location, tmp_path), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (tmp_path / "store" / NAME).exists()
        assert array_hashes(location) == before
        assert sorted(open_store(location).keys()) == ["forcing", "land", "observations"]
        assert set(open_run(location).children) == {"forcing", "land", "observations"}
        assert set(xr.open_dataset(str(tmp_path / "store"), group="land", engine="zarr", consolidated=False)) != set()
    assert sorted(path for path in (tmp_path / "store").rglob("*")) == files


def test_a_lease_says_no_more_than_host_and_process(tmp_path: Path) -> None:
    with held(Location(str(tmp_path)), "the run of 'x'"):
        text = (tmp_path / NAME).read_text(encoding="utf-8")
    assert set(json.loads(text)) == {
        "owner", "writer", "host", "process", "started", "machine", "since", "seen", "expiry_s", "renewals"
    }  # fmt: skip
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


def test_the_commands_refuse_a_store_that_is_written_and_reports_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_store(tmp_path / "store", cells=2, days=2)
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT), encoding="utf-8")
    site = tmp_path / "site.yaml"
    site.write_text(SITE, encoding="utf-8")
    assert program("run", str(path)) == 0
    capsys.readouterr()
    location = Location(str(tmp_path / "store"))
    before = array_hashes(location)
    with somebody_writes(location, tmp_path) as process:
        for command in (["run", str(path)], ["twin", str(path)], ["ingest", "site", "--config", str(site)]):
            assert program(*command) == 2, command
            assert f"is being written by the test on {os.uname().nodename} (process {process.pid}) since 2" in (
                capsys.readouterr().err
            )
        assert program("status", str(path)) == 0
        assert f"written by the test on {os.uname().nodename} (process {process.pid})" in capsys.readouterr().out
        rows = tmp_path / "rows.json"
        assert program("check", str(path), "--json", str(rows)) == 0
        (row,) = [row for row in json.loads(rows.read_text(encoding="utf-8")) if row["what"] == "writer"]
        assert row["detail"].startswith(f"the test on {os.uname().nodename} (process {process.pid}) since 2")
        assert program("report", str(tmp_path / "store"), "--out", str(tmp_path / "page")) == 0
        assert (tmp_path / "page" / "index.html").exists()
        assert array_hashes(location) == before
    assert program("run", str(path)) == 0


def test_a_task_that_outlives_its_run_writes_nothing(tmp_path: Path) -> None:
    """Its lease is gone, or another run's."""
    location = Location(str(tmp_path / "store"))
    stage = toy(location)
    prepare(stage)
    before = array_hashes(location)
    block = ledger.blocks_of(12, 3)[0]
    with pytest.raises(LeaseLostError, match="was written by another run meanwhile"):
        run_task(stage, block, stage.periods()[0], owner=("0" * 32, 60.0))
    with somebody_writes(location, tmp_path), pytest.raises(LeaseLostError, match="now written by the test"):
        run_task(stage, block, stage.periods()[0], owner=("1" * 32, 60.0))
    assert array_hashes(location) == before


def test_a_task_writes_on_a_worker_while_its_run_holds_the_lease(tmp_path: Path, processes: Client) -> None:
    location = Location(str(tmp_path / "store"))
    stage = toy(location)
    prepare(stage)
    block = ledger.blocks_of(12, 3)[0]
    with held(location, "the run"):
        owner = lease.owner_of(location)
        assert processes.submit(run_task, stage, block, stage.periods()[0], owner=owner, pure=False).result().cells == 3
    late = processes.submit(
        run_task, stage, block, stage.periods()[1], wait_s=lease.EXPIRY_S / 6 / 100, owner=("2" * 32, 60.0), pure=False
    )
    with pytest.raises(LeaseLostError):
        late.result()
