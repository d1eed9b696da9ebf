"""The toy on a disk of 192 KiB that fills up, and one that becomes read-only: full_disk_run.py FOLDER; it may mount."""

import subprocess
import sys
from pathlib import Path

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.settings.experiment import ClusterConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_store, read_region
from tests.helpers.runs import run_stage
from tests.helpers.toy import Silence, toy


def mount(folder: Path, options: str) -> None:
    """A file system in memory, or other options of the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)


def main() -> None:
    """Prints what the runs say and the hash of x at the end."""
    disk, reference = Path(sys.argv[1]) / "disk", Path(sys.argv[1]) / "reference"
    disk.mkdir()
    mount(disk, "size=192k")
    with connected(ClusterConfig(workers=2)) as client:

        def run(path: Path) -> bool:
            stage = toy(path)
            prepare(stage)
            return run_stage(stage, client, tasks_in_flight=4, retries=2, listener=Silence()).complete

        def fails() -> None:
            try:
                run(disk / "store")
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
    assert array_hashes(str(disk / "store")) == array_hashes(str(reference))
    print("the same bytes")


if __name__ == "__main__":
    main()
