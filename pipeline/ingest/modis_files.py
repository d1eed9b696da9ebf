"""MODIS leaf area index as services deliver it: NetCDF (AppEEARS, MODISTools), tables of points, subsets as text.

* AppEEARS NetCDF: on its sinusoidal grid (`xdim`, `ydim`) or geographic; its times say `calendar: julian`.
* AppEEARS CSV of points: values are scaled, their classes of what is not vegetation (249 to 255) are not.
* ORNL DAAC's web service: one line a band and date (`MOD15A2H.A2004001.h17v04....Lai_500m,...`), packed values row by
  row from the northwest; or the table that the R package MODISTools makes of it, one line a pixel.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ldas.landmodel.array_types import Array
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.packed import PackedOptions, unpack

SPHERE_M = 6371007.181  # radius of the sinusoidal grid of MODIS
HALF_WORLD_M = np.pi * SPHERE_M
PIXELS_AROUND = {"500m": 86400, "1km": 43200}  # pixels of the grid along the equator
LARGEST = 10.0  # m2 m-2: packed 100
LARGEST_PACKED = 100
SCALE = 0.1
NOT_GOOD = 1  # bit 0 of FparLai_QC: not the main algorithm's good quality
QUALITY = "FparLai_QC"
PIXEL_TABLE, POINTS, SUBSET_LINES = "table of pixels (MODISTools)", "table of points (AppEEARS)", "subset (ORNL DAAC)"
_SUBSET = re.compile(r"^Lat(-?[\d.]+)Lon(-?[\d.]+)Samp(\d+)Line(\d+)$", re.IGNORECASE)
_ACQUIRED = re.compile(r"^A(\d{7})$")


class Scene(NamedTuple):
    """One date: leaf area index of pixels (n,), m2 m-2 (NaN: not usable), and their places."""

    time: np.datetime64
    values: Array
    latitude: Array
    longitude: Array
    notes: tuple[str, ...] = ()


def scenes(path: Path, variable: str, scale: float | None, options: PackedOptions) -> Iterator[Scene]:
    """The dates of a file, in any of the layouts.

    Args:
        scale: of the stored numbers; None: the file's, or that of the product's packed numbers.

    Raises:
        IngestError: none of the layouts, no such variable, numbers of unknown scale.
    """
    if files.magic(path) in files.NETCDF:
        yield from _netcdf(path, variable, scale, options)
        return
    kind = files.foreign(path)
    if kind is not None:
        raise IngestError(f"{path}: no file of MODIS that is read: {kind.text}")
    layout = text_layout(files.first_lines(path))
    if layout == PIXEL_TABLE:
        yield from _pixel_table(path, variable, scale)
    elif layout == POINTS:
        yield from _points(path, variable)
    else:
        yield from _subset_lines(path, variable, scale)


def text_layout(lines: Sequence[str]) -> str:
    """Which layout a text is in by its first lines: `PIXEL_TABLE`, `POINTS`, `SUBSET_LINES`, or none ("")."""
    words = [[word.strip().strip('"') for word in line.split(",")] for line in lines]
    if not words:
        return ""
    if {"calendar_date", "band", "pixel", "value", "xllcorner"} <= set(words[0]):
        return PIXEL_TABLE
    if {"Latitude", "Longitude", "Date"} <= set(words[0]):
        return POINTS
    return SUBSET_LINES if any(_SUBSET.match(word) for row in words for word in row) else ""


def pixel_places(dataset: xr.Dataset, path: Path) -> tuple[Array, Array]:
    """Latitude and longitude of every pixel, from the file or from its sinusoidal coordinates (m)."""
    if "lat" in dataset.variables and "lon" in dataset.variables:
        latitude = files.values(dataset["lat"], path).astype(np.float64)
        longitude = files.values(dataset["lon"], path).astype(np.float64)
        if latitude.ndim == 1:
            latitude, longitude = np.meshgrid(latitude, longitude, indexing="ij")
        return latitude, longitude
    names = ("xdim", "ydim") if "xdim" in dataset.variables else ("x", "y")
    x, y = (files.values(files.variable(dataset, name, path), path).astype(np.float64) for name in names)
    return sinusoidal_to_geographic(*np.meshgrid(x, y))


def sinusoidal_to_geographic(x: Array, y: Array) -> tuple[Array, Array]:
    """Latitude and longitude, degrees, of sinusoidal coordinates, m."""
    latitude = np.rad2deg(y / SPHERE_M)
    return latitude, np.rad2deg(x / (SPHERE_M * np.cos(np.deg2rad(latitude))))


# --- NetCDF ------------------------------------------------------------------------------------------------------


def _netcdf(path: Path, variable: str, scale: float | None, options: PackedOptions) -> Iterator[Scene]:
    with files.open_netcdf(path, mask_and_scale=False) as dataset:
        times = dates(dataset, path)
        array = files.variable(dataset, variable, path)
        if "time" not in array.dims or array.ndim != 3:
            raise IngestError(f"{path}: {variable} has dimensions {array.dims}, expected time and two of the grid")
        array = _scaled(array, scale, path)
        latitude, longitude = pixel_places(dataset, path)
        rows = next((name for name in ("lat", "ydim", "y") if name in array.dims), str(array.dims[1]))
        array = array.transpose("time", rows, ...)
        quality = dataset[QUALITY].transpose("time", rows, ...) if QUALITY in dataset else None
        for index, time in enumerate(times):
            found = unpack(array.isel(time=index), path, (0.0, LARGEST), options)
            values, notes = found.values, list(found.notes)
            if quality is None:
                notes.append(f"{variable}: there is no {QUALITY} in the files: the quality of pixels is not looked at")
            else:
                flags = files.values(quality.isel(time=index), path).astype(np.int64)
                values = np.where(flags & NOT_GOOD, np.nan, values)
            yield Scene(time, values.reshape(-1), latitude.reshape(-1), longitude.reshape(-1), tuple(notes))


def _scaled(array: xr.DataArray, scale: float | None, path: Path) -> xr.DataArray:
    """The variable with the attributes of the product, where the file has none; IngestError for an unknown scale."""
    known = array.attrs.get("scale_factor")
    if scale is None and known is None and array.dtype.kind not in "iu":
        raise IngestError(
            f"{path}: {array.name} is {array.dtype} without scale factor, expected the product's packed integers; "
            "`scale: 1` for values in m2 m-2, `scale: 0.1` for packed ones"
        )
    factor = scale if scale is not None else float(known) if known is not None else SCALE
    attributes = {**array.attrs, "scale_factor": factor}
    if not {"valid_range", "valid_max"} & attributes.keys():
        # 249 to 255 are classes of what is not vegetation.
        attributes["valid_range"] = [0, round(LARGEST / factor)]
    return array.assign_attrs(attributes)


def dates(dataset: xr.Dataset, path: Path) -> npt.NDArray[np.datetime64]:
    """The dates. AppEEARS counts days from 2000-01-01 and calls that the Julian calendar: the dates are Gregorian."""
    coordinate = files.variable(dataset, "time", path)
    times = np.atleast_1d(files.values(coordinate, path))
    if times.dtype == object and getattr(times[0], "calendar", "") == "julian":
        times = np.array([item.isoformat() for item in times], dtype="datetime64[ns]")
        files.check_increasing(times, path)
        return times
    return files.utc_times(dataset, "time", path)


# --- text --------------------------------------------------------------------------------------------------------


def _physical(packed: Array, flags: Array | None, scale: float) -> Array:
    """Leaf area index of packed numbers; NaN for classes and, where flags are known, for pixels that are not good."""
    values = np.where((packed >= 0) & (packed <= round(LARGEST / scale)), packed * scale, np.nan)
    return values if flags is None else np.where(flags.astype(np.int64) & NOT_GOOD, np.nan, values)


def _no_quality(variable: str, flags: Array | None) -> tuple[str, ...]:
    if flags is not None:
        return ()
    return (f"{variable}: there is no {QUALITY} in the files: the quality of pixels is not looked at",)


def _corner_places(x: float, y: float, size: float, rows: int, columns: int) -> tuple[Array, Array]:
    """Places of the pixels, row by row from the northwest, of a subset whose southwestern corner is x, y (m)."""
    east = x + (np.arange(columns) + 0.5) * size
    north = y + (rows - np.arange(rows) - 0.5) * size
    latitude, longitude = sinusoidal_to_geographic(*np.meshgrid(east, north))
    return latitude.reshape(-1), longitude.reshape(-1)


def _pixel_table(path: Path, variable: str, scale: float | None) -> Iterator[Scene]:
    """MODISTools: one line a pixel and band, packed values."""
    table = _table(path)
    if variable not in set(table["band"]):
        raise IngestError(f"{path}: no band {variable}; the file has: {', '.join(sorted(set(table['band'])))}")
    for (date, _), part in table.groupby(["calendar_date", "site" if "site" in table else "xllcorner"]):
        bands = {str(name): band.sort_values("pixel") for name, band in part.groupby("band")}
        wanted = bands.get(variable)
        if wanted is None:
            continue
        first = wanted.iloc[0]
        rows, columns = int(first["nrows"]), int(first["ncols"])
        flags = bands[QUALITY]["value"].to_numpy(dtype=np.float64) if QUALITY in bands else None
        if len(wanted) != rows * columns or (flags is not None and len(flags) != len(wanted)):
            raise IngestError(f"{path}: {date} has {len(wanted)} pixels, expected {rows} x {columns}: is it cut off?")
        values = _physical(wanted["value"].to_numpy(dtype=np.float64), flags, scale or SCALE)
        x, y, size = (float(first[name]) for name in ("xllcorner", "yllcorner", "cellsize"))
        yield Scene(
            np.datetime64(str(date), "ns"),
            values,
            *_corner_places(x, y, size, rows, columns),
            _no_quality(variable, flags),
        )


def _points(path: Path, variable: str) -> Iterator[Scene]:
    """AppEEARS: one line a point and date, scaled values with classes that are not scaled."""
    table = _table(path)
    columns = {
        name: [item for item in table.columns if item == name or item.endswith(f"_{name}")]
        for name in (variable, QUALITY)
    }
    if len(columns[variable]) != 1:
        there = ", ".join(columns[variable]) or "none"
        raise IngestError(f"{path}: one column of {variable} is expected, found {there}: give the table of one product")
    for date, part in table.groupby("Date"):
        try:
            time = np.datetime64(str(date), "ns")
        except ValueError as error:
            raise IngestError(f"{path}: {date!r} is not a date as AppEEARS writes it (2004-01-09)") from error
        flags = part[columns[QUALITY][0]].to_numpy(dtype=np.float64) if columns[QUALITY] else None
        values = _physical(part[columns[variable][0]].to_numpy(dtype=np.float64), flags, 1.0)
        latitude, longitude = (part[name].to_numpy(dtype=np.float64) for name in ("Latitude", "Longitude"))
        yield Scene(time, values, latitude, longitude, _no_quality(variable, flags))


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise IngestError(f"{path}: cannot be read as a table: {error}") from error


def _subset_lines(path: Path, variable: str, scale: float | None) -> Iterator[Scene]:
    """ORNL DAAC: one line a band and date, with the corner of the subset before it or only its centre in it."""
    found: dict[str, dict[str, tuple[Array, tuple[Array, Array]]]] = {}
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            words = [word.strip().strip('"') for word in line.split(",")]
            centre = next((place for place, word in enumerate(words) if _SUBSET.match(word)), None)
            if centre is None:
                if number == 1 or not line.strip():  # a header
                    continue
                raise IngestError(
                    f"{path}, line {number}: no subset of ORNL DAAC (Lat..Lon..Samp..Line..): {line[:60]!r}"
                )
            date, band = words[centre - 1], words[centre - 3].rpartition(".")[2]
            if _ACQUIRED.match(date) is None:
                raise IngestError(f"{path}, line {number}: {date!r} is not a date such as A2004001")
            if band in (variable, QUALITY):
                found.setdefault(date, {})[band] = _subset(words, centre, band, f"{path}, line {number}")
    if not any(variable in bands for bands in found.values()):
        raise IngestError(f"{path}: no line of the band {variable} of a MODIS product is in the file")
    for date, bands in sorted(found.items()):
        if variable in bands:
            packed, places = bands[variable]
            flags = bands[QUALITY][0] if QUALITY in bands else None
            time = np.datetime64(f"{date[1:5]}-01-01", "ns") + np.timedelta64(int(date[5:]) - 1, "D")
            yield Scene(time, _physical(packed, flags, scale or SCALE), *places, _no_quality(variable, flags))


def _subset(words: list[str], centre: int, band: str, where: str) -> tuple[Array, tuple[Array, Array]]:
    """Values of one line and the places of its pixels."""
    match = _SUBSET.match(words[centre])
    assert match is not None  # that is how the centre was found
    latitude, longitude, columns, rows = float(match[1]), float(match[2]), int(match[3]), int(match[4])
    count = rows * columns
    if len(words) < centre + 2 + count:
        raise IngestError(f"{where}: {len(words) - centre - 2} values, expected {rows} x {columns}: is it cut off?")
    binary = band == QUALITY and all(re.fullmatch(r"[01]{8}", word) for word in words[-count:])
    try:
        values = np.array([int(word, 2) if binary else float(word) for word in words[-count:]], dtype=np.float64)
        before = [float(word) for word in words[: centre - 3]]
    except ValueError as error:
        raise IngestError(f"{where}: a value is not a number: {error}") from error
    if len(before) == 5:  # rows, columns, corner, pixel size
        return values, _corner_places(before[2], before[3], before[4], rows, columns)
    around = next((number for name, number in PIXELS_AROUND.items() if words[centre - 3].endswith(name)), None)
    size = 2.0 * HALF_WORLD_M / (around or PIXELS_AROUND["500m"])
    y = np.deg2rad(latitude) * SPHERE_M
    x = np.deg2rad(longitude) * SPHERE_M * np.cos(np.deg2rad(latitude))
    west = np.floor((x + HALF_WORLD_M) / size) - columns // 2
    north = np.floor((HALF_WORLD_M / 2.0 - y) / size) - rows // 2
    return values, _corner_places(
        west * size - HALF_WORLD_M, HALF_WORLD_M / 2.0 - (north + rows) * size, size, rows, columns
    )
