"""Execution: the same bytes however the work is spread, interrupted or repeated."""

import dataclasses
import errno
import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from ldas.pipeline.errors import ConfigurationError, ExecutionError
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.run_stages import Outcome, check_memory
from ldas.pipeline.execution.stage import Stage, TaskResult, prepare, run_task
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_store, read_region, write_region
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import FolderStore
from tests.helpers.failing import FailingFileSystem, register
from tests.helpers.runs import run_here, run_stage
from tests.helpers.toy import START, Silence, toy
from tests.support import REPOSITORY


def run(stage: Stage, client: Client, **settings: int) -> tuple[Outcome, Silence]:
    """Prepares and runs a stage."""
    prepare(stage)
    listener = Silence()
    outcome = run_stage(stage, client, listener=listener, **{"tasks_in_flight": 4, "retries": 2, **settings})
    return outcome, listener


def test_bit_identical_one_and_two_workers(toy_truth: dict[str, str], processes: Client, tmp_path: Path) -> None:
    outcome, listener = run(toy(tmp_path / "two"), processes)
    assert outcome.complete
    assert listener.tasks == len(listener.results) == 12
    assert array_hashes(str(tmp_path / "two")) == toy_truth
    with connected(ClusterConfig(workers=1)) as one:
        run(toy(tmp_path / "one"), one, tasks_in_flight=1)
    assert array_hashes(str(tmp_path / "one")) == toy_truth


@pytest.mark.parametrize("size", [1, 7, 64])
def test_bit_identical_block_sizes(toy_truth: dict[str, str], threads: Client, tmp_path: Path, size: int) -> None:
    run(toy(tmp_path / "store", cells_per_block=size), threads)
    assert array_hashes(str(tmp_path / "store")) == toy_truth


def test_values_are_those_of_the_recurrence(threads: Client, tmp_path: Path) -> None:
    run(toy(tmp_path / "store"), threads)
    x = read_region(open_store(str(tmp_path / "store")), "runs/toy", "x")
    expected = [0.1 + 0.8 * np.arange(12) / 12]
    for _ in range(20):
        expected.append(3.9 * expected[-1] * (1.0 - expected[-1]))
    np.testing.assert_array_equal(x, np.array(expected[1:]))


def test_one_changed_value_changes_its_hash_and_no_other(threads: Client, tmp_path: Path) -> None:
    run(toy(tmp_path / "store"), threads)
    before = array_hashes(str(tmp_path / "store"))
    root = open_store(str(tmp_path / "store"), "a")
    x = read_region(root, "runs/toy", "x")
    x[13, 5] = np.nextafter(x[13, 5], 1.0)
    write_region(root, "runs/toy", {"x": x}, {})
    after = array_hashes(str(tmp_path / "store"))
    assert {name for name in before if before[name] != after[name]} == {"runs/toy/x"}


def test_bit_identical_after_a_killed_worker(toy_truth: dict[str, str], processes: Client, tmp_path: Path) -> None:
    kill_file = tmp_path / "kill"
    kill_file.touch()
    outcome, _ = run(toy(tmp_path / "store", kill_file=str(kill_file)), processes)
    assert not kill_file.exists()
    assert outcome.complete
    assert array_hashes(str(tmp_path / "store")) == toy_truth


def test_bit_identical_after_a_preparation_was_cut_short(
    toy_truth: dict[str, str], threads: Client, tmp_path: Path
) -> None:
    """Killed between the ledger's group and its array: the templates are made anew."""
    stage = toy(tmp_path / "store")
    root = open_store(stage.location, "a")
    stage.create(root)
    root.create_group("ledger/toy", attributes={"identity": ledger.flatten(stage.identity())})
    assert ledger.experiments(root) == []
    outcome, _ = run(stage, threads)
    assert outcome.complete
    assert array_hashes(str(tmp_path / "store")) == toy_truth


def test_a_finished_run_is_not_run_again(threads: Client, tmp_path: Path) -> None:
    run(toy(tmp_path / "store"), threads)
    _, listener = run(toy(tmp_path / "store"), threads)
    assert listener.results == []
    assert listener.done_before == 12


def test_bit_identical_when_a_task_is_run_twice(toy_truth: dict[str, str], threads: Client, tmp_path: Path) -> None:
    stage = toy(tmp_path / "store")
    run(stage, threads)
    root = open_store(stage.location, "a")
    block, period = ledger.blocks_of(12, 3)[2], stage.periods()[1]
    ledger.mark(root, "toy", block, period, ledger.STARTED)
    assert not run_task(stage, block, period).skipped
    assert run_task(stage, block, period).skipped
    assert array_hashes(str(tmp_path / "store")) == toy_truth


def test_bit_identical_after_extending(toy_truth: dict[str, str], threads: Client, tmp_path: Path) -> None:
    """Ten days, then ten more: of the second period, cut short by the first end, the four new days are run."""
    run(toy(tmp_path / "store", days=10), threads)
    outcome, listener = run(toy(tmp_path / "store", days=20), threads)
    assert outcome.complete
    assert listener.done_before == 4  # the first period of four blocks
    assert sorted(result.days for result in listener.results) == 4 * [4.0] + 4 * [6.0]
    assert array_hashes(str(tmp_path / "store")) == toy_truth


def test_blocks_that_reached_different_ends_continue_from_their_own(toy_truth: dict[str, str], tmp_path: Path) -> None:
    """Two extensions were cut off, and left two blocks behind."""
    run_here(toy(tmp_path / "store", days=10))
    for end in (11, 13):
        tasks = itertools.count(1)

        def cut_off(result: TaskResult, tasks: Iterator[int] = tasks) -> None:
            if next(tasks) == 4:  # two blocks of two periods
                raise InterruptedError

        with pytest.raises(InterruptedError):
            run_here(toy(tmp_path / "store", days=end), cut_off)
    root = open_store(str(tmp_path / "store"))
    assert [str(stop)[8:10] for stop in ledger.interim_stops(root, "toy")] == ["11", "12"]
    assert open_dataset(str(tmp_path / "store"), "runs/toy").sizes["time"] == 10
    shutil.copytree(tmp_path / "store", tmp_path / "corrected")
    assert run_here(toy(tmp_path / "store")) == 2 * 7 + 2 * 10
    assert array_hashes(str(tmp_path / "store")) == toy_truth
    # Meanwhile the input of a cell of block 1 changed: its states at the old end are of no use.
    instants = np.full(12, np.datetime64("NaT", "s"))
    instants[4] = np.datetime64("2007-01-02")
    ledger.reopen(open_store(str(tmp_path / "corrected"), "a"), "toy", instants)
    assert run_here(toy(tmp_path / "corrected")) == 2 * 7 + 10 + 20
    assert array_hashes(str(tmp_path / "corrected")) == toy_truth


def test_bit_identical_after_an_extension_was_cut_off_anywhere(
    toy_truth: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No write after a random one: templates, data, ledger or what is left at the end. Readers see old days or all,
    also where the earlier end is asked for again, which is refused once anything is longer."""
    small = {"cells": 6}  # the first two blocks
    run_here(toy(tmp_path / "short", days=10, **small))
    run_here(toy(tmp_path / "whole", **small))
    expected = array_hashes(str(tmp_path / "whole"))
    written = 0
    check = FolderStore._check_write

    def counted(store: FolderStore, key: str) -> None:
        nonlocal written
        written += 1
        if written > last:
            raise InterruptedError
        check(store, key)

    monkeypatch.setattr(FolderStore, "_check_write", counted)
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    last, chosen = 10**9, random.Random(seed)
    shutil.copytree(tmp_path / "short", tmp_path / "count")
    run_here(toy(tmp_path / "count", **small))
    everything, moments = written, int(os.environ.get("LDAS_FAULT_MOMENTS", "1"))
    numbers = {chosen.randrange(everything // share) for share in 2 * (1, 1, 4) for _ in range(moments)}
    for number in numbers:  # a third of them while it is prepared
        path = tmp_path / f"cut-{number}"
        shutil.copytree(tmp_path / "short", path)
        last, written = number, 0
        with pytest.raises(InterruptedError):
            run_here(toy(path, **small))
        last = 10**9
        with suppress(ConfigurationError):
            run_here(toy(path, days=10, **small))
        seen = open_dataset(str(path), "runs/toy").load()
        assert seen.sizes["time"] in (10, 20)
        assert np.isfinite(seen["x"]).all()
        # Meanwhile the input of a cell changed.
        ledger.reopen(open_store(str(path), "a"), "toy", np.where(np.arange(6) == 4, START, np.datetime64("NaT")))
        run_here(toy(path, **small))
        assert array_hashes(str(path)) == expected, number


def test_an_earlier_end_is_refused(threads: Client, tmp_path: Path) -> None:
    run(toy(tmp_path / "store"), threads)
    with pytest.raises(ConfigurationError, match=r"period\.days"):
        prepare(toy(tmp_path / "store", days=10))


def test_another_configuration_is_refused_with_its_keys(threads: Client, tmp_path: Path) -> None:
    run(toy(tmp_path / "store"), threads)
    before = array_hashes(str(tmp_path / "store"))
    with pytest.raises(ConfigurationError) as caught:
        prepare(toy(tmp_path / "store", factor=3.8, cells_per_block=4))
    message = str(caught.value)
    assert "factor: 3.9 in the store, 3.8 now" in message
    assert "execution.cells_per_block" in message
    assert "days" not in message
    assert array_hashes(str(tmp_path / "store")) == before


def test_a_bad_block_is_set_aside_and_the_others_go_on(threads: Client, tmp_path: Path) -> None:
    outcome, listener = run(toy(tmp_path / "store", bad_blocks=(1,)), threads)
    assert not outcome.complete
    assert list(outcome.failures) == [1]
    assert "soil made of cheese" in outcome.failures[1]
    assert len(listener.failed) == 1  # an error of the data is not tried again
    root = open_store(str(tmp_path / "store"))
    status = ledger.statuses(root, "toy")
    assert (status[:, 3:6] == [[ledger.FAILED], [ledger.NOT_STARTED], [ledger.NOT_STARTED]]).all()
    assert (np.delete(status, range(3, 6), axis=1) == ledger.DONE).all()
    assert "cheese" in ledger.failures(root, "toy")[1]


def test_bit_identical_after_a_bad_block_was_mended(toy_truth: dict[str, str], threads: Client, tmp_path: Path) -> None:
    run(toy(tmp_path / "store", bad_blocks=(1,)), threads)
    outcome, _ = run(toy(tmp_path / "store"), threads)
    assert outcome.complete
    assert array_hashes(str(tmp_path / "store")) == toy_truth
    assert ledger.failures(open_store(str(tmp_path / "store")), "toy") == {}


def test_a_passing_fault_is_tried_again(toy_truth: dict[str, str], threads: Client, tmp_path: Path) -> None:
    flaky = tmp_path / "flaky"
    flaky.touch()
    outcome, listener = run(toy(tmp_path / "store", flaky_file=str(flaky)), threads)
    assert outcome.complete
    assert listener.failed == []
    assert array_hashes(str(tmp_path / "store")) == toy_truth


def test_never_more_than_the_window_in_flight(threads: Client, tmp_path: Path) -> None:
    most = 0
    submit = threads.submit

    def counting(*arguments: object, **settings: object) -> object:
        nonlocal most
        future = submit(*arguments, **settings)
        most = max(most, sum(state.status == "pending" for state in threads.futures.values()))
        return future

    threads.submit = counting  # type: ignore[method-assign]
    try:
        run(toy(tmp_path / "store", cells_per_block=1), threads, tasks_in_flight=3)
    finally:
        threads.submit = submit  # type: ignore[method-assign]
    assert 1 < most <= 3


def test_memory_is_projected_before_the_start(tmp_path: Path) -> None:
    stage = toy(tmp_path / "store", cells=64, cells_per_block=64, bytes_per_cell=2**20)
    check_memory(stage, worker_memory=2 * 80 * 2**20, threads=2)
    with pytest.raises(ExecutionError, match=r"64 MiB; a worker has 80 MiB.*cells_per_block to 32"):
        check_memory(stage, worker_memory=80 * 2**20, threads=2)
    with pytest.raises(ExecutionError, match="days_per_period"):
        check_memory(dataclasses.replace(stage, bytes_per_cell=2**28), worker_memory=2**27, threads=1)


def test_an_address_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldas.pipeline.execution.cluster.CONNECT_TIMEOUT_S", 1)
    config = ClusterConfig(kind="address", address="tcp://127.0.0.1:9")
    with pytest.raises(ExecutionError, match="no Dask scheduler"), connected(config):
        pass


def test_bit_identical_on_a_store_that_fails_now_and_then(
    toy_truth: dict[str, str], threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the requests fail with 500 or 503."""
    monkeypatch.setattr("ldas.pipeline.store.retry.FIRST_WAIT_S", 0.001)
    register()
    monkeypatch.setattr(FailingFileSystem, "failing_share", 0.1)
    before = FailingFileSystem.failures
    stage = toy(Location("failing://run"))
    outcome, _ = run(stage, threads)
    assert outcome.complete
    assert FailingFileSystem.failures > before + 10
    monkeypatch.setattr(FailingFileSystem, "failing_share", 0.0)
    assert array_hashes("failing://run") == toy_truth


def test_a_full_store_stops_the_run_and_what_was_complete_stays(
    toy_truth: dict[str, str], threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    stage = toy(Location("failing://full"))
    prepare(stage)
    run_task(stage, ledger.blocks_of(12, 3)[0], stage.periods()[0])
    before = array_hashes("failing://full")
    with monkeypatch.context() as patch:
        patch.setattr(FailingFileSystem, "write_error", (errno.ENOSPC, "No space left on device"))
        with pytest.raises(ExecutionError, match=r"No space left.*start the same command again"):
            run_stage(stage, threads, tasks_in_flight=4, retries=2, listener=Silence())
        assert array_hashes("failing://full") == before
    run(stage, threads)
    assert array_hashes("failing://full") == toy_truth


def test_bit_identical_after_a_real_disk_was_full_and_read_only(tmp_path: Path) -> None:
    """On a file system of its own, in a namespace where this user may mount one."""
    alone = ["unshare", "--map-root-user", "--mount"]
    try:
        subprocess.run([*alone, "mount", "-t", "tmpfs", "none", str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets no user mount a file system in a namespace")
    script = [*alone, sys.executable, "-m", "tests.helpers.full_disk_run", str(tmp_path)]
    done = subprocess.run(script, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    full, read_only, extension, same = done.stdout.splitlines()
    assert extension == full.replace("disk/store", "disk/growing")
    assert "cannot be written (No space left on device); what was complete stays readable" in full
    assert "cannot be written (Read-only file system)" in read_only
    assert same == "the same bytes"
