"""Opening product files so that every way in which a file can be wrong becomes one clear message."""

import glob
import hashlib
import importlib
import os
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.ingest.errors import IngestError

Times = npt.NDArray[np.datetime64]

CLASSIC = (b"CDF\x01", b"CDF\x02")
CLASSIC_64_BIT_DATA = b"CDF\x05"
HDF5 = b"\x89HDF"
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive, whatever its name: unpack it, and give the files that are in it",
    b"\x1f\x8b": "compressed with gzip, whatever its name: unpack it",
    b"GRIB": "GRIB, whatever its name",
    b"BUFR": "BUFR, whatever its name",
    b"<": "a web page, such as the provider's login or an error: download the file again",
}
_LONGEST_HEADER = 256  # bytes before the first message of a WMO bulletin
# What the NetCDF libraries raise for files that are no NetCDF, truncated or damaged inside.
READING_ERRORS = (OSError, ValueError, TypeError, RuntimeError, KeyError, IndexError, EOFError)


def library(name: str) -> Any:
    """A library of the extra `ingest`, imported when it is needed; IngestError with what to install otherwise."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # ecCodes without its C library is a RuntimeError
        package = name.partition(".")[0]
        raise IngestError(
            f"reading this needs the library {package}, which cannot be used here ({error}): pip install 'ldas[ingest]'"
        ) from error


def expand(patterns: Sequence[str], folder: Path) -> list[Path]:
    """The files that paths and patterns (`*`, `**`) name, relative to `folder`, sorted, each once.

    :raises IngestError: for a pattern that names no file
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        full = str(beside(folder, pattern))
        matches = [full] if Path(full).exists() else sorted(glob.glob(full, recursive=True))
        if not matches:
            raise IngestError(f"{full}: no such file, and no file matches it as a pattern")
        found.update(dict.fromkeys(Path(match) for match in matches))
    return list(found)


def beside(folder: Path, name: str) -> Path:
    """The file of a name in a configuration: relative to the folder of that, `~` is the home folder."""
    return folder / Path(name).expanduser()


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def distinct_names(paths: Sequence[Path]) -> dict[str, Path]:
    """A name for each file: its own, or with the folders that tell it from others of the same name."""
    counts = Counter(path.name for path in paths)
    named = {}
    for path in paths:
        alike = [str(other.resolve()) for other in paths if other.name == path.name]
        base = os.path.commonpath(alike) if counts[path.name] > 1 else str(path.resolve().parent)
        named[Path(os.path.relpath(path.resolve(), base)).as_posix()] = path
    return named


def magic(path: Path) -> bytes:
    """The first four bytes, which tell the format."""
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise IngestError(f"{path}: cannot be read ({error.strerror})") from error


def what_begins_with(head: bytes) -> str:
    """What a file is that is none of the formats one would expect, by its first bytes, and what to do about it."""
    if not head:
        return "empty: download it again"
    for begin, words in _OTHER_KINDS.items():
        if head.startswith(begin):
            return words
    return f"something else (it begins with {head!r})"


def holds_messages(path: Path, marker: bytes) -> bool:
    """Whether a file is a row of messages that begin with `marker` (GRIB, BUFR), perhaps behind a bulletin header."""
    try:
        with path.open("rb") as file:
            return marker in file.read(_LONGEST_HEADER)
    except OSError as error:
        raise IngestError(f"{path}: cannot be read ({error.strerror})") from error


def open_netcdf(path: Path, chunks: Any = None, **options: Any) -> xr.Dataset:
    """A NetCDF file as a lazy dataset.

    Classic files are read by SciPy, because the NetCDF library silently gives zeros for what a truncated classic file
    has lost; the others by the NetCDF library, whose HDF5 finds a truncated file at opening.

    :raises IngestError: no NetCDF, truncated, or with times that cannot be decoded
    """
    head = magic(path)
    if head not in (*CLASSIC, CLASSIC_64_BIT_DATA, HDF5):
        raise IngestError(f"{path}: not a NetCDF file but {what_begins_with(head)}")
    engine: Any = "scipy" if head in CLASSIC else "netcdf4"
    try:
        return xr.open_dataset(path, engine=engine, chunks=chunks, **options)
    except READING_ERRORS as error:
        raise IngestError(f"{path}: the file is truncated or damaged, download it again: {error}") from error


def values(array: xr.DataArray, path: Path) -> npt.NDArray[Any]:
    """The values of an array; a file that breaks while it is read is named.

    :raises IngestError: naming file and variable
    """
    try:
        return np.asarray(array.values)
    except READING_ERRORS as error:
        raise IngestError(
            f"{path}: variable {array.name} cannot be read, the file is truncated or damaged: {error}"
        ) from error


def variable(dataset: xr.Dataset, name: Hashable, path: Path) -> xr.DataArray:
    """A variable that must be there; IngestError with the names that are there otherwise."""
    if name not in dataset.variables:
        there = ", ".join(str(item) for item in dataset.variables)
        raise IngestError(f"{path}: no variable {name}; the file has: {there or 'none'}")
    return dataset[name]


def in_units(array: xr.DataArray, accepted: Mapping[str, tuple[float, float]], path: Path) -> xr.DataArray:
    """The array times factor plus offset, by its `units` attribute.

    :param accepted: unit as files write it -> (factor, offset)
    :raises IngestError: no units attribute, or one that is not among the accepted
    """
    unit = str(array.attrs.get("units", "(none)"))
    if unit not in accepted:
        raise IngestError(
            f"{path}: {array.name} has units {unit!r}, expected {' or '.join(repr(item) for item in accepted)}; "
            "check that it is the right variable, or correct the attribute"
        )
    factor, offset = accepted[unit]
    return array if (factor, offset) == (1.0, 0.0) else array * factor + offset


def utc_times(dataset: xr.Dataset, name: str, path: Path) -> Times:
    """The time coordinate as datetime64[ns], strictly increasing.

    :raises IngestError: another calendar than the standard one, undefined, repeated or unordered times
    """
    coordinate = variable(dataset, name, path)
    times = np.atleast_1d(values(coordinate, path))
    if times.dtype.kind != "M":
        calendar = coordinate.encoding.get("calendar") or coordinate.attrs.get("calendar") or "unknown"
        if times.dtype == object and times.size:
            calendar = getattr(times.reshape(-1)[0], "calendar", calendar)
        raise IngestError(
            f"{path}: {name} has the calendar {calendar!r}, or units that are no dates; expected the standard calendar"
        )
    check_increasing(times, path)
    return times.astype("datetime64[ns]")


def check_increasing(times: Times, source: object) -> None:
    """IngestError naming the first time that is undefined, repeated or out of order."""
    if np.isnat(times).any():
        raise IngestError(f"{source}: time {int(np.argmax(np.isnat(times)))} is undefined (NaT)")
    steps = np.diff(times)
    wrong = np.flatnonzero(steps <= np.timedelta64(0, "ns"))
    if wrong.size:
        i = int(wrong[0])
        what = "is there twice" if times[i] == times[i + 1] else "is out of order"
        raise IngestError(f"{source}: times must increase; {instant(times[i + 1])} {what} ({wrong.size} such times)")


def instant(time: np.datetime64) -> str:
    """`2010-06-01T13:00 UTC`."""
    return f"{np.datetime_as_string(time, unit='m')} UTC"
