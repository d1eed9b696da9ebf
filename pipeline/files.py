"""Opening product files so that every way in which a file can be wrong becomes one clear message."""

import atexit
import glob
import hashlib
import importlib
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from xarray.backends import BackendEntrypoint, NetCDF4BackendEntrypoint, ScipyBackendEntrypoint

from ldas.landmodel.array_types import Times
from ldas.pipeline.errors import IngestError

CLASSIC = (b"CDF\x01", b"CDF\x02")
CLASSIC_64_BIT_DATA = b"CDF\x05"
HDF5 = b"\x89HDF"
NETCDF = (*CLASSIC, CLASSIC_64_BIT_DATA, HDF5)
NODATA = -9999.0
LARGEST = 1e15  # no quantity of any source is larger; the fill values of NetCDF and of models are
_LONGEST_LINE = 1 << 16
_LONGEST_HEADER = 256  # bytes before the first message of a WMO bulletin
# What the NetCDF libraries raise for files that are not NetCDF, truncated or damaged inside.
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


@cache
def eccodes() -> Any:
    """The library ecCodes, which keeps to itself what it would print: its errors are raised."""
    with suppress(ImportError):  # before it: it brings a PROJ that all others in the process would find first
        importlib.import_module("pyproj")
    module = library("eccodes")
    nowhere = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lasts
    atexit.register(nowhere.close)
    module.codes_context_set_logging(nowhere)
    return module


def expand(patterns: Sequence[str], folder: Path) -> list[Path]:
    """The files that paths and patterns (`*`, `**`) name, relative to `folder`, sorted, each once.

    Raises:
        IngestError: a pattern that names no file.
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
    """SHA-256 of a file's bytes; of a folder, such as a Zarr store, that of the names and checksums of its files."""
    if path.is_dir():
        inside = sorted(item for item in path.rglob("*") if item.is_file())
        lines = (f"{item.relative_to(path).as_posix()} {checksum(item)}\n" for item in inside)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
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


def holds_messages(path: Path, marker: bytes) -> bool:
    """Whether a file is a row of messages that begin with `marker` (GRIB, BUFR), perhaps behind a bulletin header."""
    try:
        with path.open("rb") as file:
            return marker in file.read(_LONGEST_HEADER)
    except OSError as error:
        raise IngestError(f"{path}: cannot be read ({error.strerror})") from error


class Foreign(NamedTuple):
    """A kind of file that no source reads: how it begins (bytes and first line), and what to do about it."""

    name: str
    begins: Callable[[bytes, str], bool]
    text: str


_EMPTY = Foreign("empty file", lambda head, line: not head, "empty; download it again")
_ZIP = Foreign(
    "zip archive",
    lambda head, line: head[:2] == b"PK",
    "a zip archive of {names}, as the Climate Data Store delivers under any name; unzip it and give the files inside, "
    "all of them",
)
_BROKEN_ZIP = Foreign(
    "damaged zip archive", _ZIP.begins, "a zip archive that is truncated or damaged; download it again"
)
FOREIGN = (
    _EMPTY,
    _ZIP,
    _BROKEN_ZIP,
    Foreign("gzip", lambda head, line: head[:2] == b"\x1f\x8b", "compressed with gzip; unpack it"),
    Foreign(
        "HDF4",
        lambda head, line: head == b"\x0e\x03\x13\x01",
        "HDF4, which is not read; order the file as NetCDF or CSV from AppEEARS, or convert it",
    ),
    Foreign(
        "web page",
        lambda head, line: line[:1] == "<",
        "a web page, perhaps the error message of a download; download it again",
    ),
)


def first_lines(path: Path, count: int = 2) -> list[str]:
    """The first lines as text, fewer where there are no more."""
    with path.open("rb") as file:
        lines = [file.readline(_LONGEST_LINE) for _ in range(count)]
    return [line.decode("utf-8", "replace").lstrip("\ufeff").strip() for line in lines if line]


def foreign(path: Path) -> Foreign | None:
    """The kind of a file that no source reads; None where it is none of those known."""
    head, line = magic(path), "".join(first_lines(path, 1))
    kind = next((kind for kind in FOREIGN if kind.begins(head, line)), None)
    if kind is not _ZIP:
        return kind
    if not zipfile.is_zipfile(path):
        return _BROKEN_ZIP
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return kind._replace(text=kind.text.format(names=", ".join(names[:4]) + (" ..." if len(names) > 4 else "")))


def beginning(path: Path) -> str:
    """What a file is that is of no format that a reader expects, and what to do about it."""
    head = magic(path)
    kind = foreign(path)
    if kind is not None:
        return kind.text
    if head in (b"GRIB", b"BUFR"):
        return f"{head.decode()}, whatever its name"
    if head in NETCDF:
        return "NetCDF, whatever its name"
    line = "".join(first_lines(path, 1))
    return f"it begins with {line[:60]!r}" if line.isprintable() and line else f"it begins with {head!r}"


def open_netcdf(path: Path, chunks: Any = None, **options: Any) -> xr.Dataset:
    """A NetCDF file as a lazy dataset.

    Classic files are read by SciPy, because the NetCDF library silently gives zeros for what a truncated classic file
    has lost; the others by the NetCDF library, whose HDF5 finds a truncated file at opening.

    Raises:
        IngestError: not NetCDF, truncated, or with times that cannot be decoded.
    """
    head = magic(path)
    if head not in NETCDF:
        raise IngestError(f"{path}: not a NetCDF file: {beginning(path)}")
    # By class: to find an engine by its name, xarray imports those of all packages.
    engine: type[BackendEntrypoint] = ScipyBackendEntrypoint if head in CLASSIC else NetCDF4BackendEntrypoint
    try:
        return xr.open_dataset(path, engine=engine, chunks=chunks, **options)
    except READING_ERRORS as error:
        if isinstance(error, ValueError) and _opens(path, engine):
            raise IngestError(f"{path}: the file is whole, but xarray cannot represent it: {error}") from error
        raise IngestError(f"{path}: the file is truncated or damaged, download it again: {error}") from error


def _opens(path: Path, engine: type[BackendEntrypoint]) -> bool:
    """Whether the library itself, without xarray, opens a NetCDF file."""
    by_scipy = engine is ScipyBackendEntrypoint
    opened = library("scipy.io").netcdf_file if by_scipy else library("netCDF4").Dataset
    try:
        with opened(str(path)):
            return True
    except READING_ERRORS:
        return False


def values(array: xr.DataArray, path: Path) -> npt.NDArray[Any]:
    """The values of an array; a file that breaks while it is read is named.

    Raises:
        IngestError: what cannot be read; names file and variable.
    """
    try:
        return np.asarray(array.values)
    except READING_ERRORS as error:
        raise IngestError(
            f"{path}: variable {array.name} cannot be read, the file is truncated or damaged: {error}"
        ) from error


def loaded(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """The dataset in memory; a file that breaks while it is read is named.

    Raises:
        IngestError: what cannot be read; names the file.
    """
    try:
        return dataset.load()
    except READING_ERRORS as error:
        raise IngestError(f"{path}: cannot be read, the file is truncated or damaged: {error}") from error


def variable(dataset: xr.Dataset, name: Hashable, path: Path) -> xr.DataArray:
    """A variable that must be there; IngestError with the names that are there otherwise."""
    if name not in dataset.variables:
        there = ", ".join(str(item) for item in dataset.variables)
        raise IngestError(f"{path}: no variable {name}; the file has: {there or 'none'}")
    return dataset[name]


def in_units(array: xr.DataArray, accepted: Mapping[str, tuple[float, float]], path: Path) -> xr.DataArray:
    """The array times factor plus offset, by its `units` attribute.

    Args:
        accepted: unit as files write it -> (factor, offset).

    Raises:
        IngestError: no units attribute, or one that is not among the accepted.
    """
    unit = str(array.attrs.get("units", "(none)"))
    if unit not in accepted:
        raise IngestError(
            f"{path}: {array.name} has units {unit!r}, expected {' or '.join(repr(item) for item in accepted)}; "
            "check that it is the right variable, or correct the attribute"
        )
    factor, offset = accepted[unit]
    return array if (factor, offset) == (1.0, 0.0) else array * factor + offset


def without_nodata(array: xr.DataArray) -> xr.DataArray:
    """The array with NaN for the numbers that stand for no data where a file does not say so: -9999, 1e20, 9.97e36."""
    return array.where((array != NODATA) & (abs(array) < LARGEST))


def utc_times(dataset: xr.Dataset, name: str, path: Path) -> Times:
    """The time coordinate as datetime64[ns], strictly increasing.

    Raises:
        IngestError: another calendar than the standard one, undefined, repeated or unordered times.
    """
    coordinate = variable(dataset, name, path)
    times = np.atleast_1d(values(coordinate, path))
    if times.dtype.kind != "M":
        calendar = coordinate.encoding.get("calendar") or coordinate.attrs.get("calendar") or "unknown"
        if times.dtype == object and times.size:
            calendar = getattr(times.reshape(-1)[0], "calendar", calendar)
        raise IngestError(
            f"{path}: {name} has the calendar {calendar!r}, or units that are not dates; expected the standard calendar"
        )
    check_increasing(times, path)
    return times.astype("datetime64[ns]")


def dates_of(text: "pd.Series[str]", form: str | None, expected: str, where: object) -> pd.DatetimeIndex:
    """Dates of a text table, without time zone (UTC where the text has one).

    Args:
        form: as of `strptime`; None: ISO 8601.
        expected: `form` as a user knows it.

    Raises:
        IngestError: a value that is not a date; names the first.
    """
    dates = pd.to_datetime(text, format=form or "ISO8601", utc=True, errors="coerce")
    wrong = text[dates.isna().to_numpy()]
    if len(wrong):
        raise IngestError(f"{where}: {str(wrong.iloc[0])!r} is not a date (expected {expected})")
    return pd.DatetimeIndex(dates).tz_localize(None)


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


def preferred(
    times: Times, versions: npt.NDArray[np.int8], where: object, origins: Sequence[object]
) -> npt.NDArray[np.intp]:
    """Which records to take, in time order: of an hour with final and preliminary data the final ones.

    Args:
        origins: of each record, for the message.

    Raises:
        IngestError: an hour that is there twice, but not once final (1) and once preliminary (5).
    """
    order = np.lexsort((versions, times))
    same = np.append(False, times[order][1:] == times[order][:-1])
    for second in np.flatnonzero(same):
        a, b = order[second - 1], order[second]
        if versions[a] == versions[b] or versions[a] == 0:
            raise IngestError(
                f"{where} at {instant(times[b])} is there twice ({origins[a]}; {origins[b]}): give each hour once"
            )
    return order[~same]


def instant(time: np.datetime64) -> str:
    """`2010-06-01T13:00 UTC`."""
    return f"{np.datetime_as_string(time, unit='m')} UTC"
