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

import numpy as np
import zarr

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError

_EMPTY_CHUNKS = "array.write_empty_chunks"
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
    sources: Mapping[str, Path], chunks: tuple[int, ...], folder: Path, memory_mb: int
) -> dict[str, zarr.Array]:
    """Rechunks Zarr arrays on disk within `memory_mb` of data in memory.

    Args:
        sources: name -> folder of a Zarr array.
        chunks: chunk shape of the results.
        folder: scratch folder, which holds the results too.

    Returns:
        name -> the rechunked array, open for reading and writing.

    Raises:
        IngestError: chunks that cannot be made within the memory.
    """
    # cubed sets this for the whole process, where other arrays are written later.
    with zarr.config.set({_EMPTY_CHUNKS: zarr.config.get(_EMPTY_CHUNKS)}):
        return _rechunked(sources, chunks, folder, memory_mb)


def _rechunked(
    sources: Mapping[str, Path], chunks: tuple[int, ...], folder: Path, memory_mb: int
) -> dict[str, zarr.Array]:
    cubed = files.library("cubed")
    made = {}
    for name, path in sources.items():
        # One after the other, so that each is within the memory; a folder each, so that what is in between can go.
        work = folder / f"cubed-{name}"
        spec = cubed.Spec(
            work_dir=str(work),
            allowed_mem=(memory_mb + RESERVED_MB) * 1_000_000,
            reserved_mem=RESERVED_MB * 1_000_000,
            executor_name="single-threaded",
        )
        array = cubed.from_zarr(str(path), spec=spec)
        shape = tuple(min(size, chunk) for size, chunk in zip(array.shape, chunks, strict=True))
        try:
            result = cubed.rechunk(array, shape)
            # `cubed.to_zarr` would copy the finished array once more, chunk by chunk: three times the work in all.
            # This is how it computes an array without reading it back, and where the array then lies.
            result.compute(_return_in_memory_array=False)
            made[name] = result._zarray.open()
        except ValueError as error:
            raise IngestError(
                f"{name}: chunks {shape} cannot be made with memory_mb {memory_mb}: {error}; raise memory_mb or choose "
                "smaller shards"
            ) from error
        _remove_others(work, made[name])
    return made


def _remove_others(work: Path, kept: zarr.Array) -> None:
    """Removes the intermediate arrays beside a result."""
    for array in work.glob("*/array-*"):
        if array.name != kept.path:
            shutil.rmtree(array, ignore_errors=True)


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
