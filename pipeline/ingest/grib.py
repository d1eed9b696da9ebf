"""GRIB files of gridded fields: their messages by variable and valid time, read lazily by ecCodes.

A field is found by its valid time, whatever the base time and step of its forecast: amounts of one day come from
forecasts of two days.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError

GRIB = b"GRIB"
MISSING = 1e36  # what ecCodes is told to give where a bitmap says that there is no value
_GRID = (
    *("gridType", "Ni", "Nj", "latitudeOfFirstGridPointInDegrees", "latitudeOfLastGridPointInDegrees"),
    *("longitudeOfFirstGridPointInDegrees", "longitudeOfLastGridPointInDegrees", "iScansNegatively"),
    *("jPointsAreConsecutive", "alternativeRowScanning"),
)


class _Message(NamedTuple):
    """One field of a file. `version` is 1 for final data, 5 for preliminary, 0 where the file does not say."""

    time: np.datetime64
    version: int
    offset: int
    length: int
    origin: str  #: base time and step, for messages


class _Field(NamedTuple):
    """What the messages of one variable share."""

    name: str
    unit: str
    long_name: str
    level: str
    member: int
    grid: tuple[Any, ...]


def is_grib(path: Path) -> bool:
    """Whether a file holds GRIB messages."""
    return files.holds_messages(path, GRIB)


def open_grib(path: Path) -> list[xr.Dataset]:
    """The fields of a file, lazy, each a dataset of one variable over (time, latitude, longitude), in time order.

    A variable on several levels, or of several ensemble members, is there as often. The coordinate `expver` along time
    is 1 where a value is final (ERA5), 5 where it is preliminary (ERA5T), 0 where the file does not say; of an hour
    with both, the final one is taken.

    Raises:
        IngestError: truncated or damaged, another grid than a regular one, an hour twice.
    """
    return [_dataset(path, field, messages) for field, messages in _messages(path).items()]


def _messages(path: Path) -> dict[_Field, list[_Message]]:
    eccodes = files.eccodes()
    found: dict[_Field, list[_Message]] = {}
    try:
        with path.open("rb") as file:
            while (handle := eccodes.codes_grib_new_from_file(file, headers_only=True)) is not None:
                try:
                    field, message = _headers(eccodes, handle)
                finally:
                    eccodes.codes_release(handle)
                found.setdefault(field, []).append(message)
    except (OSError, ValueError, eccodes.CodesInternalError) as error:
        raise IngestError(f"{path}: the GRIB file is truncated, damaged or of an unknown kind: {error}") from error
    if not found:
        raise IngestError(f"{path}: there is no readable GRIB message in the file")
    return found


def _headers(eccodes: Any, handle: int) -> tuple[_Field, _Message]:
    def get(key: str, default: Any = "") -> Any:
        try:
            return eccodes.codes_get(handle, key)
        except eccodes.KeyValueNotFoundError:
            return default

    day, clock, version = get("validityDate"), get("validityTime"), str(get("expver"))
    text = f"{day:08d}{clock:04d}"
    time = np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:]}", "ns")
    name = str(get("cfVarName", "unknown"))
    field = _Field(
        name if name not in ("unknown", "~") else f"param{get('paramId')}",
        str(get("units")),
        str(get("name")),
        f"{get('typeOfLevel')} {get('level')}".strip(),
        int(get("number", 0) or 0),
        tuple(get(key) for key in _GRID),
    )
    origin = f"{get('dataDate')} {int(get('dataTime', 0)):04d} UTC, step {get('stepRange')}"
    number = int(version) if version.isdigit() else 0
    return field, _Message(time, number, int(get("offset")), int(get("totalLength")), origin)


def _dataset(path: Path, field: _Field, messages: list[_Message]) -> xr.Dataset:
    times = np.array([message.time for message in messages], dtype="datetime64[ns]")
    versions = np.array([message.version for message in messages], dtype=np.int8)
    order = files.preferred(times, versions, f"{path}: {field.name}", [message.origin for message in messages])
    latitude, longitude = _axes(path, field)
    values = _Values(path, [messages[i] for i in order], (len(order), len(latitude), len(longitude)))
    attributes = {"units": field.unit, "long_name": field.long_name}
    variable = xr.Variable(
        ("time", "latitude", "longitude"), indexing.LazilyIndexedArray(values), attributes, fastpath=True
    )
    coordinates = {
        "time": times[order],
        "latitude": latitude,
        "longitude": longitude,
        "expver": ("time", versions[order]),
    }
    return xr.Dataset({field.name: variable}, coords=coordinates)


def _axes(path: Path, field: _Field) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    kind, columns, rows, first_row, last_row, first_column, last_column, westward, by_column, snake = field.grid
    if kind != "regular_ll" or by_column or snake:
        raise IngestError(
            f"{path}: {field.name} is on a grid {kind!r} or in an order that ldas does not read; ask the provider for "
            "a regular latitude-longitude grid"
        )
    if not westward and last_column < first_column:
        last_column += 360.0
    elif westward and last_column > first_column:
        last_column -= 360.0
    ends = (first_row, last_row, rows), (first_column, last_column, columns)
    latitude, longitude = (np.linspace(*axis).round(6).astype(np.float64) for axis in ends)
    return latitude, longitude


class _Values(BackendArray):
    """Values of messages as an array (time, latitude, longitude) that xarray reads piece by piece."""

    def __init__(self, path: Path, messages: list[_Message], shape: tuple[int, int, int]) -> None:
        self.path, self.messages, self.shape = path, messages, shape
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.float64]:
        numbers = np.arange(self.shape[0])[key[0]]
        rows, columns = (np.arange(size)[part] for size, part in zip(self.shape[1:], key[1:], strict=True))
        grid = np.ix_(np.atleast_1d(rows), np.atleast_1d(columns))
        result = np.empty((np.size(numbers), np.size(rows), np.size(columns)))
        with self.path.open("rb") as file:
            for place, number in enumerate(np.atleast_1d(numbers)):
                result[place] = self._decoded(file, self.messages[number])[grid]
        kept = tuple(slice(None) if np.ndim(part) else 0 for part in (numbers, rows, columns))
        return result[kept]

    def _decoded(self, file: Any, message: _Message) -> npt.NDArray[np.float64]:
        eccodes = files.eccodes()
        file.seek(message.offset)
        handle = eccodes.codes_new_from_message(file.read(message.length))
        try:
            eccodes.codes_set(handle, "missingValue", MISSING)
            values = eccodes.codes_get_values(handle)
        finally:
            eccodes.codes_release(handle)
        return np.where(values == MISSING, np.nan, values).reshape(self.shape[1:])
