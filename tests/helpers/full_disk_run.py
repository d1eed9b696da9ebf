"""The toy on a disk of 192 KiB that fills up, and one that becomes read-only: full_disk_run.py FOLDER; it may mount."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.run_stages import stop_if_hopeless
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_store, read_region
from tests.helpers.runs import run_stage
from tests.helpers.toy import Silence, toy


def mount(folder: Path, options: str) -> None:
    """A file system in memory, or other options of the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)


def extension(disk: Path, run: Callable[[int], bool], fails: Callable[[], None]) -> None:
    """Of a run of ten days, with little room left: readers keep these days, and the next command adds the others."""
    assert run(10)
    before = open_dataset(str(disk / "growing"), "runs/toy").load()
    mount(disk, f"remount,size={sum(os.stat(file).st_blocks // 2 for file in disk.rglob('*')) + 40}k")
    fails()
    assert open_dataset(str(disk / "growing"), "runs/toy").load().equals(before)
    mount(disk, "remount,size=8m")
    assert run(20)


def main() -> None:
    """Prints what the runs say and the hash of x at the end."""
    disk, reference = Path(sys.argv[1]) / "disk", Path(sys.argv[1]) / "reference"
    disk.mkdir()
    mount(disk, "size=192k")
    with connected(ClusterConfig(workers=2)) as client:

        def run(path: Path, **settings: int) -> bool:
            stage = toy(path, **settings)
            try:
                prepare(stage)
            except OSError as error:  # of the driver, as in `ldas run`
                stop_if_hopeless(stage.location, error)
                raise
            return run_stage(stage, client, tasks_in_flight=4, retries=2, listener=Silence()).complete

        def fails(path: Path = disk / "store") -> None:
            try:
                run(path)
            except ExecutionError as error:
                print(error)
            else:
                sys.exit("the run went through")

        assert run(reference)
        fails()
        root = open_store(str(disk / "store"))
        done = ledger.statuses(root, "toy") == ledger.DONE
        assert 0 < done.sum() < done.size, done
        x, expected = (read_region(open_store(str(path)), "runs/toy", "x") for path in (disk / "store", reference))
        for number, period in enumerate(toy(disk).periods()):
            assert (x[period.days, done[number]] == expected[period.days, done[number]]).all()
        mount(disk, "remount,size=8m,ro")
        fails()
        mount(disk, "remount,size=8m,rw")
        assert run(disk / "store")
        extension(disk, lambda days: run(disk / "growing", days=days), lambda: fails(disk / "growing"))
        assert array_hashes(str(disk / "growing")) == array_hashes(str(reference))
    assert array_hashes(str(disk / "store")) == array_hashes(str(reference))
    print("the same bytes")


if __name__ == "__main__":
    main()
