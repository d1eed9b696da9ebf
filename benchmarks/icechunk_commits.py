"""Very many small tasks into an Icechunk repository: how many commits they make, and how many bytes they write.

Nothing is deleted from a repository while it is written, so its size afterwards is what was written. What would have
been necessary is what is left when all superseded versions are expired and collected: each chunk once, and one
version's lists of them. The tasks write four arrays of noise, a kilobyte each, and keep the ledger; real ones write
more, so this is the worst case.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scaling import Seconds  # noqa: E402
from ldas.pipeline.execution.cluster import connected  # noqa: E402
from ldas.pipeline.execution.run_stages import run_stages  # noqa: E402
from ldas.pipeline.execution.stage import Stage, prepare  # noqa: E402
from ldas.pipeline.settings.execution import ClusterConfig  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.arrays import open_store, write_region  # noqa: E402
from ldas.pipeline.store.icechunk_store import VISIBLE  # noqa: E402
from ldas.pipeline.store.ledger import Block, Period, day_axis  # noqa: E402
from ldas.pipeline.store.location import Location  # noqa: E402
from ldas.pipeline.store.template import ArraySpec, create_template  # noqa: E402

START = np.datetime64("2007-01-01", "s")
ARRAYS = ("w", "x", "y", "z")


@dataclass(frozen=True)
class Small(Stage):
    """Blocks of few cells, a day a period: a kilobyte an array and task."""

    days: int = 1

    def periods(self) -> Sequence[Period]:
        """See `Stage.periods`."""
        return ledger.periods_of(START, self.days, 1)

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        return {"cells": self.cells, "days": self.days}

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""
        create_template(
            root,
            f"runs/{self.name}",
            {name: ArraySpec(("time", "cell"), "float64") for name in ARRAYS},
            coordinates={
                "time": (("time",), day_axis(START, self.days)),
                "cell": (("cell",), np.arange(self.cells)),
            },
            chunks={"time": 1, "cell": self.cells_per_block},
        )

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        noise = np.random.default_rng([block.index, period.index]).random((len(ARRAYS), 1, block.cells))
        region = {"time": period.days, "cell": block.region}
        write_region(root, f"runs/{self.name}", dict(zip(ARRAYS, noise, strict=True)), region)
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def memory_bytes(self, cells: int) -> int:
        """See `Stage.memory_bytes`."""
        return 8 * len(ARRAYS) * cells


def bytes_in(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(folder: Path, tasks: int, periods: int, cells_per_block: int) -> dict[str, Any]:
    """The run, its commits, and the bytes before and after all but the last version is collected."""
    location = Location(f"icechunk+file://{folder}")
    stage = Small("small", location, tasks // periods * cells_per_block, cells_per_block, periods)
    prepare(stage)
    listener = Seconds()
    began = time.perf_counter()
    with connected(ClusterConfig(workers=2, processes=True)) as client:
        if not run_stages([stage], client, tasks_in_flight=lambda: 6, retries=0, listener=listener)["small"].complete:
            raise RuntimeError("tasks failed")
    seconds = time.perf_counter() - began
    if not ledger.is_complete(open_store(location), "small"):
        raise RuntimeError("the version that readers see is not complete")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(folder)))
    versions = list(repository.ancestry(branch=VISIBLE))
    written = bytes_in(folder)
    now = datetime.now(UTC)
    repository.expire_snapshots(older_than=now)
    repository.garbage_collect(now)
    necessary = bytes_in(folder)
    return {
        "tasks": listener.tasks,
        "commits": len(versions) - 1,  # the first version is the empty repository
        "written_bytes": written,
        "necessary_bytes": necessary,
        "ratio_to_necessary": written / necessary,
        "seconds": seconds,
        "tasks_per_second": listener.tasks / seconds,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--periods", type=int, default=1, help="tasks of a block, one after the other")
    parser.add_argument("--cells-per-block", type=int, default=128)
    parser.add_argument("--folder", help="where the repository goes, for the time of the benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        figures = measure(Path(name) / "versions", chosen.tasks, chosen.periods, chosen.cells_per_block)
    print(
        f"{figures['tasks']} tasks in {figures['commits']} commits (wanted: at most 200), "
        f"{figures['written_bytes'] / 2**20:.1f} MiB written, {figures['ratio_to_necessary']:.3f} times what is "
        f"necessary (wanted: at most 1.05); {figures['tasks_per_second']:.0f} tasks a second"
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
