"""Stores with versions (Icechunk): a stage is seen when it is complete; the same bytes as without versions."""

import json
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import icechunk
import numpy as np
import pytest
import zarr
from distributed import Client

import ldas.pipeline.cli
from ldas.pipeline.errors import StoreError
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.run_stages import Outcome, run_stages
from ldas.pipeline.execution.signals import Interrupted
from ldas.pipeline.execution.stage import prepare, run_task
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import (
    array_hashes,
    has_group,
    open_dataset,
    open_run,
    open_store,
    read_region,
    write_region,
)
from ldas.pipeline.store.icechunk_store import IN_PROGRESS, VISIBLE, Uncommitted, committed, published, unfinished
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import exists
from tests.helpers.runs import run_stage
from tests.helpers.s3_server import S3Server
from tests.helpers.small_store import make_synthetic_store
from tests.helpers.toy import Silence, ToyStage, toy

EXPERIMENT = """\
name: small
store: {url: "STORE"}
period: {start: 2007-01-01, end: 2007-01-02}
output: {mean: [LE], instant: [WG2]}
execution: {cells_per_block: 1}
report: false
"""


def location_in(folder: Path) -> Location:
    """A repository in a folder."""
    return Location(f"icechunk+file://{folder / 'versions'}")


def run(stage: ToyStage, client: Client) -> Outcome:
    """Prepares and runs it."""
    prepare(stage)
    return run_stage(stage, client, tasks_in_flight=4, retries=1, listener=Silence())


def run_and_commit(stage: ToyStage, block: int, periods: Sequence[Period]) -> None:
    """Tasks of one block, as a run has them done."""
    uncommitted = Uncommitted(stage.location)
    for period in periods:
        before = uncommitted.base(block)
        uncommitted.add(block, run_task(stage, ledger.blocks_of(12, 3)[block], period, before=before).changes)
    uncommitted.commit()


def messages(location: Location, branch: str) -> list[str]:
    """What was committed to a branch, the last one first."""
    storage = icechunk.local_filesystem_storage(location.url.partition("://")[2])
    return [item.message for item in icechunk.Repository.open(storage).ancestry(branch=branch)]


def test_bit_identical_to_a_plain_store(toy_truth: dict[str, str], threads: Client, tmp_path: Path) -> None:
    location = location_in(tmp_path)
    assert run(toy(location), threads).complete
    assert array_hashes(location) == toy_truth
    expected = read_region(open_store(location), "runs/toy", "x")
    np.testing.assert_array_equal(open_dataset(location, "runs/toy")["x"].values, expected)
    np.testing.assert_array_equal(open_run(location)["runs/toy"]["x"].values, expected)
    assert len(messages(location, VISIBLE)) == 1 + 1 + 3 + 1  # the repository, prepared, four tasks a commit, finished
    assert messages(location, VISIBLE)[0] == "toy: finished"


def test_bit_identical_from_two_processes(toy_truth: dict[str, str], tmp_path: Path) -> None:
    """What each of them wrote is committed together, and what one of them that is killed had begun is not."""
    location, kill_file = location_in(tmp_path), tmp_path / "kill"
    kill_file.touch()
    with connected(ClusterConfig(workers=2, processes=True)) as client:
        assert run(toy(location, kill_file=str(kill_file)), client).complete
    assert not kill_file.exists()
    assert array_hashes(location) == toy_truth
    assert len(messages(location, VISIBLE)) == 1 + 1 + 3 + 1


def test_bit_identical_on_an_s3_server(
    toy_truth: dict[str, str], threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = S3Server()
    try:
        boto3.client("s3", region_name="us-east-1", **server.location_options).create_bucket(Bucket="versions")
        location = Location("icechunk+s3://versions/a/run", {**server.location_options, "region": "us-east-1"})
        assert run(toy(location), threads).complete
        assert array_hashes(location) == toy_truth
    finally:
        server.stop()


def test_a_stage_is_seen_as_a_whole_or_not_at_all(toy_truth: dict[str, str], threads: Client, tmp_path: Path) -> None:
    """And a run that was killed goes on from its last commit."""
    location = location_in(tmp_path)
    with published(location, "made"):
        open_store(location, "a").create_group("land")
    stage = toy(location)
    prepare(stage)
    run_and_commit(stage, 1, stage.periods()[:2])
    before = Uncommitted(location).base(1)
    assert run_task(stage, ledger.blocks_of(12, 3)[1], stage.periods()[2], before=before).cells == 3  # and then: killed
    assert [name for name, _ in open_store(location).groups()] == ["land"]
    with unfinished(location):
        status = ledger.statuses(open_store(location), "toy")
    assert (status == ledger.DONE).sum() == 2 * 3
    listener = Silence()
    prepare(stage)
    assert run_stage(stage, threads, tasks_in_flight=4, retries=1, listener=listener).complete
    assert listener.done_before == 2
    assert array_hashes(location) == toy_truth


@dataclass(frozen=True)
class Doubled(ToyStage):
    """Twice what the toy wrote for the same cells."""

    needs: ClassVar[tuple[str, ...]] = ()
    follows: ClassVar[tuple[str, ...]] = ("toy",)

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See Stage."""
        region = {"time": period.days, "cell": block.region}
        time.sleep(self.seconds)
        write_region(root, f"runs/{self.name}", {"x": 2.0 * read_region(root, "runs/toy", "x", region)}, region)
        return np.full(block.cells, ledger.DONE, dtype="int8")


def test_a_block_sees_what_it_follows_before_that_is_committed(threads: Client, tmp_path: Path) -> None:
    """Blocks of another size; a stage of 100 tasks is committed in 50 parts."""
    location = location_in(tmp_path)
    first = toy(location, cells=20, cells_per_block=1, days=5, days_per_period=1)
    stages = [replace(Doubled(**vars(first)), name="doubled", cells_per_block=3, days_per_period=5), first]
    options: dict[str, Any] = {"tasks_in_flight": lambda: 2, "retries": 0, "listener": Silence()}
    assert all(outcome.complete for outcome in run_stages(reversed(stages), threads, **options).values())
    root = open_store(location)
    np.testing.assert_array_equal(
        read_region(root, "runs/doubled", "x"), 2.0 * read_region(root, "runs/toy", "x"), strict=True
    )
    said = messages(location, VISIBLE)
    assert said.count("2 tasks") >= 50
    assert len(said) <= 62


class Fruitless(ToyStage):
    """A stage that cannot be finished."""

    needs: ClassVar[tuple[str, ...]] = ()

    def finish(self, root: zarr.Group) -> None:
        """See Stage."""
        raise StoreError("nothing to be had")


def test_what_follows_a_stage_that_cannot_be_finished_does_not_undo_that(threads: Client, tmp_path: Path) -> None:
    """The tasks that were in flight began with what that stage had written."""
    location = location_in(tmp_path)
    first = Fruitless(**vars(toy(location, cells=4, cells_per_block=2, days=1, days_per_period=1)))
    second = Doubled(**{**vars(first), "name": "doubled", "seconds": 1.0})
    options: dict[str, Any] = {"tasks_in_flight": lambda: 8, "retries": 0, "listener": Silence()}
    outcomes = run_stages([first, second], threads, **options)
    assert outcomes["toy"].failures == {0: "2007-01-01 to 2007-01-02: StoreError: nothing to be had"}
    with unfinished(location):
        assert (ledger.statuses(open_store(location), "toy") == ledger.FAILED).all()


def test_what_was_done_when_a_signal_came_is_committed(threads: Client, tmp_path: Path) -> None:
    stage = toy(location_in(tmp_path))
    prepare(stage)
    listener = Silence()

    def stop(name: str, result: Any) -> None:
        listener.results.append(result)
        if len(listener.results) == 3:
            raise Interrupted(15)

    listener.task_done = stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        run_stage(stage, threads, tasks_in_flight=4, retries=1, listener=listener)
    with unfinished(stage.location):
        status = ledger.statuses(open_store(stage.location), "toy")
    assert (status == ledger.DONE).sum() == 3 * 3
    assert messages(stage.location, IN_PROGRESS)[0] == "3 tasks"


def test_a_task_that_fails_leaves_nothing(tmp_path: Path) -> None:
    stage = toy(location_in(tmp_path))
    prepare(stage)
    before = messages(stage.location, IN_PROGRESS)

    def fail_after_writing() -> None:
        with committed(stage.location, "never"):
            stage.compute(open_store(stage.location, "a"), ledger.blocks_of(12, 3)[0], stage.periods()[0])
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_after_writing()
    assert messages(stage.location, IN_PROGRESS) == before


def test_a_block_set_aside_keeps_the_stage_from_being_seen(
    toy_truth: dict[str, str], threads: Client, tmp_path: Path
) -> None:
    location = location_in(tmp_path)
    outcome = run(toy(location, bad_blocks=(1,)), threads)
    assert list(outcome.failures) == [1]
    assert not exists(location)
    with unfinished(location):
        root = open_store(location)
        assert "cheese" in ledger.failures(root, "toy")[1]
        assert (ledger.statuses(root, "toy") == ledger.DONE).sum() == 3 * 9
    assert run(toy(location), threads).complete
    assert array_hashes(location) == toy_truth


def test_an_earlier_stage_that_is_run_again_does_not_show_a_later_one_in_progress(
    threads: Client, tmp_path: Path
) -> None:
    location = location_in(tmp_path)
    first = toy(location)
    assert run(first, threads).complete
    later = ToyStage("later", location, cells=12, cells_per_block=3)
    prepare(later)
    run_and_commit(later, 0, later.periods()[:1])
    assert run(first, threads).complete
    assert ledger.experiments(open_store(location)) == ["toy"]
    assert run(later, threads).complete
    assert ledger.experiments(open_store(location)) == ["later", "toy"]


def test_what_is_ingested_while_a_stage_is_in_progress_waits_for_it(threads: Client, tmp_path: Path) -> None:
    location = location_in(tmp_path)
    prepare(toy(location))
    with published(location, "made"):
        open_store(location, "a").create_group("land")
    assert not exists(location)
    run(toy(location), threads)
    assert has_group(open_store(location), "land")


def test_an_experiment_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "experiment.yaml"
    hashes = []
    status = ["status", "--json", str(tmp_path / "status.json")]
    for url, commands in (
        ("plain", [["run"], status]),
        ("icechunk+file://versions", [["check"], ["run"], ["run"], status]),
    ):
        path.write_text(EXPERIMENT.replace("STORE", url), encoding="utf-8")
        location = load_experiment(path).location
        assert location.url.endswith(f"{tmp_path}/{url.removeprefix('icechunk+file://')}")
        with published(location, "synthetic input"):
            make_synthetic_store(location, cells=2, days=2)
        for arguments in commands:
            monkeypatch.setattr(sys, "argv", ["ldas", arguments[0], str(path), *arguments[1:]])
            with pytest.raises(SystemExit) as end:
                ldas.pipeline.cli.main()
            assert not end.value.code, arguments
        (row,) = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
        assert (row["tasks"], row["done"]) == (2, 2)
        hashes.append(array_hashes(location))
    hashes = [{name: value for name, value in found.items() if "seconds" not in name} for found in hashes]
    assert hashes[0] == hashes[1]


def test_writes_that_belong_to_no_commit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="written by `ldas run` and `ldas ingest` only"):
        open_store(location_in(tmp_path), "a")
    assert list(tmp_path.iterdir()) == []


def test_repositories_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at icechunk"):
        open_store(location_in(tmp_path))
    assert list(tmp_path.iterdir()) == []
    for url in ("icechunk+gs://bucket/x", "icechunk://x", "icechunk+memory://x"):
        with pytest.raises(StoreError, match="cannot be opened through"):
            Location(url)


def test_a_repository_of_a_newer_format_is_not_taken_for_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that Icechunk 2.0.0a4 wrote; nothing is written to it."""
    with tarfile.open(Path(__file__).parent / "data" / "icechunk_2.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT.replace("STORE", "icechunk+file://repository"), encoding="utf-8")
    before = {file: file.read_bytes() for file in (tmp_path / "repository").rglob("*") if file.is_file()}
    for command in ("status", "check", "run"):
        monkeypatch.setattr(sys, "argv", ["ldas", command, str(path)])
        with pytest.raises(SystemExit) as end:
            ldas.pipeline.cli.main()
        assert end.value.code == 2, command
        said = capsys.readouterr().err
        assert "this repository uses Icechunk v2 format" in said, command
        assert f"written by another version of Icechunk than {icechunk.__version__}" in said, command
        assert "nothing has been run" not in said
    assert {file: file.read_bytes() for file in (tmp_path / "repository").rglob("*") if file.is_file()} == before


def test_a_change_of_another_writer_is_said(tmp_path: Path) -> None:
    """A commit that cannot be put after the one that came between."""
    location = location_in(tmp_path)
    prepare(toy(location))
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(location.url.partition("://")[2]))
    with (  # noqa: PT012 - the error comes at the end of the inner block
        pytest.raises(StoreError, match="another writer changed the same part of the store; what was committed before"),
        committed(location, "ours"),
    ):
        open_store(location, "a").attrs["changed"] = "by us"
        session = repository.writable_session(IN_PROGRESS)
        zarr.open_group(session.store, mode="a").attrs["changed"] = "by another"
        session.commit("theirs")
    assert messages(location, IN_PROGRESS)[0] == "theirs"


def test_a_repository_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "versions").write_text("a file", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be made: File exists"):
        prepare(toy(location_in(tmp_path)))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icechunk", None)
    with pytest.raises(StoreError, match=r"pip install 'ldas\[icechunk\]'"):
        prepare(toy(location_in(tmp_path)))
