"""Out-of-core rechunk of an hourly archive from time-major to cell-major: time, peak memory, a plain copy beside it.

The archive is made on the fly: float32, hourly, chunks of one day over all cells, uncompressed. It is rechunked to the
store's shards (8784 hours x 64 cells) by `ldas.pipeline.ingest.rechunk`, in a process of its own whose peak memory is
read afterwards; then the same bytes are copied file by file. Three times the archive's size must be free on the disk
(source, intermediate array, result). On a shared machine only the processor's seconds are steady.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

# run as a script, this file would hide `ldas.pipeline.ingest.rechunk`'s namesakes: its folder comes first in the path
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

from ldas.pipeline.ingest import rechunk  # noqa: E402

HOURS = 12 * 8766  # the twelve years of the experiment
SHARD = (8784, 64)


def make_archive(folder: Path, gigabytes: float, hours: int) -> tuple[int, int]:
    """A time-major archive of about this size; its shape."""
    cells = max(int(gigabytes * 1e9 / 4 / hours), SHARD[1])
    array = zarr.create_array(
        store=str(folder / "Tair"), shape=(hours, cells), chunks=(24, cells), dtype="float32", compressors=None
    )
    random = np.random.default_rng(0)
    daily = 280.0 + 5.0 * np.sin(2.0 * np.pi * np.arange(24) / 24.0)[:, None]
    place = random.normal(0.0, 3.0, size=cells)[None, :]
    for start in range(0, hours, 24):
        rows = min(24, hours - start)
        # Each block differs, so that neither a file system nor a codec can share what it holds.
        noise = random.normal(0.0, 1.0, size=(rows, 1)) + np.roll(place, start // 24, axis=1)
        array[start : start + rows] = (daily[:rows] + noise).astype("float32")
    return hours, cells


def _rechunk(folder: str, shape: tuple[int, int], memory_mb: int, queue: Any) -> None:
    base = Path(folder)
    began, worked = time.perf_counter(), time.process_time()
    array = rechunk.rechunk({"Tair": base / "Tair"}, SHARD, base, memory_mb)["Tair"]
    os.sync()
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = rechunk.folder_bytes(base / "cubed-Tair")
    queue.put((seconds, processor, peak, size, same_values(base, array)))  # cubed removes its arrays at the end


def same_values(folder: Path, target: zarr.Array, samples: int = 20) -> bool:
    """Whether single days of all cells agree in both archives."""
    source = zarr.open_array(str(folder / "Tair"), mode="r")
    random = np.random.default_rng(1)
    for day in random.integers(source.shape[0] // 24, size=samples).tolist():
        cells = int(random.integers(source.shape[1]))
        rows, columns = slice(24 * day, 24 * day + 24), slice(cells, cells + 200)
        if not np.array_equal(source[rows, columns], target[rows, columns]):
            return False
    return True


def run(gigabytes: float, memory_mb: int, parent: str | None, hours: int = HOURS) -> dict[str, Any]:
    """The figures of one benchmark."""
    with rechunk.scratch_folder(parent) as folder:
        rechunk.check_space(folder, int(3.2 * gigabytes * 1e9))
        began = time.perf_counter()
        shape = make_archive(folder, gigabytes, hours)
        made = time.perf_counter() - began
        size = rechunk.folder_bytes(folder / "Tair")
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=_rechunk, args=(str(folder), shape, memory_mb, queue))
        process.start()
        seconds, processor, peak, target_bytes, same = queue.get()
        process.join()
        shutil.rmtree(folder / "cubed-Tair", ignore_errors=True)
        began, worked = time.perf_counter(), time.process_time()
        shutil.copytree(folder / "Tair", folder / "copy")
        os.sync()
        copied, copy_processor = time.perf_counter() - began, time.process_time() - worked
    return {
        "gigabytes": size / 1e9,
        "shape": list(shape),
        "source_chunks": [24, shape[1]],
        "target_chunks": list(SHARD),
        "memory_mb": memory_mb,
        "seconds_making_the_archive": made,
        "seconds_rechunk": seconds,
        "seconds_copy": copied,
        "processor_seconds_rechunk": processor,
        "processor_seconds_copy": copy_processor,
        "megabytes_per_second_rechunk": size / 1e6 / seconds,
        "megabytes_per_second_copy": size / 1e6 / copied,
        "peak_memory_megabytes": peak / 1e6,
        "target_gigabytes": target_bytes / 1e9,
        "values_agree": same,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20.0, help="size of the archive")
    parser.add_argument("--memory-mb", type=int, default=512, help="memory for data, as memory_mb of an ingest")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the archive and the copies are made")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here")
    options = parser.parse_args()
    figures = run(options.gigabytes, options.memory_mb, options.folder)
    for name, value in figures.items():
        print(f"{name:32s} {value:.1f}" if isinstance(value, float) else f"{name:32s} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
