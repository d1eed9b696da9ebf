"""From time-major to cell-major, out of core: `cubed`'s rechunk, whose memory is bounded, and checked before it starts.

Archives are chunked by time, the store by cell. Reading one cell's years from a time-major archive touches all of it,
so the data go through a scratch folder: written block by block in time, then rechunked by cubed, which plans how many
passes a given memory needs. (`rechunker`, which cubed's algorithm comes from, still needs Zarr 2.)
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.ingest import files
from pipeline.ingest.errors import IngestError

RESERVED_MB = 250  # what Python with its libraries takes before any data; cubed adds it to what a task needs


@contextmanager
def scratch_folder(parent: str | None) -> Iterator[Path]:
    """A new empty folder for intermediate data, removed at the end, whatever happens."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="ldas-ingest-", dir=parent))
    except OSError as error:
        raise IngestError(f"no scratch folder can be made in {parent or tempfile.gettempdir()}: {error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_space(folder: Path, needed_bytes: int) -> None:
    """IngestError unless the scratch folder's disk has room for the data."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise IngestError(
            f"{folder}: {free / 1e9:.1f} GB free, {needed_bytes / 1e9:.1f} GB needed for intermediate data; set "
            "`scratch` to a folder on a larger disk"
        )


def rechunk(
    sources: Mapping[str, Path],
    target: Path,
    chunks: tuple[int, ...],
    folder: Path,
    memory_mb: int,
) -> dict[str, Path]:
    """Rechunks Zarr arrays on disk within `memory_mb` of data in memory.

    :param sources: name -> folder of a Zarr array; all of one shape
    :param target: folder that gets one array a name
    :param chunks: chunk shape of the results
    :param folder: scratch folder for cubed's intermediate arrays
    :returns: name -> folder of the rechunked array
    :raises IngestError: chunks that cannot be made within the memory
    """
    cubed = files.library("cubed")
    settings: dict[str, Any] = {
        "work_dir": str(folder / "cubed"),
        "allowed_mem": (memory_mb + RESERVED_MB) * 1_000_000,
        "reserved_mem": RESERVED_MB * 1_000_000,
    }
    made = {}
    for name, path in sources.items():
        # One array at a time: the intermediate data of one are gone before the next begins.
        array = cubed.from_zarr(str(path), spec=cubed.Spec(**settings))
        shape = tuple(min(size, chunk) for size, chunk in zip(array.shape, chunks, strict=True))
        try:
            cubed.to_zarr(cubed.rechunk(array, shape), str(target / name))
        except ValueError as error:
            raise IngestError(
                f"{name}: chunks {shape} cannot be made with memory_mb {memory_mb}: {error}; raise memory_mb or choose "
                "smaller shards"
            ) from error
        shutil.rmtree(folder / "cubed", ignore_errors=True)
        made[name] = target / name
    return made


def create_time_major(folder: Path, name: str, shape: tuple[int, int], block: int) -> zarr.Array:
    """A scratch array (time, cell) of float32 that takes blocks of `block` records."""
    return zarr.create_array(
        store=str(folder / name),
        shape=shape,
        chunks=(min(block, shape[0]), shape[1]),
        dtype="float32",
        compressors=None,
        fill_value=np.nan,
    )


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(os.path.getsize(Path(base) / file) for base, _, names in os.walk(folder) for file in names)
