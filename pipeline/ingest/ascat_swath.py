"""ASCAT Level 2 swaths: EUMETSAT NetCDF, H SAF BUFR (decoded by ecCodes), H SAF NetCDF on the Fibonacci grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array, IntArray
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import grid
from ldas.pipeline.ingest.packed import unpack
from ldas.pipeline.settings.yaml_file import StrictModel

BUFR = b"BUFR"
MISSING_ABOVE = 1e37  # ecCodes gives -1e100 for a missing number, NetCDF libraries 9.97e36
# Numbers up to 2^31 - 1 are BUFR's missing integers.
MISSING_INTEGER = 2147483647
# BUFR keys: rank 4 of backscatter is sigma40 (1 to 3 are the beams, 5 and 6 the dry and wet references).
BUFR_KEYS = {
    "sigma40": "#4#backscatter",
    "sigma40_noise": "#1#estimatedErrorInSigma0At40DegreesIncidenceAngle",
    "soil_moisture": "#1#surfaceSoilMoisture",
    "soil_moisture_noise": "#1#estimatedErrorInSurfaceSoilMoisture",
    "processing_flag": "#1#soilMoistureProcessingFlag",
    "snow": "#1#snowCover",
    "frozen": "#1#frozenLandSurfaceFraction",
    "wetland": "#1#inundationAndWetlandFraction",
    "topography": "#1#topographicComplexity",
}
NETCDF_NAMES = {
    "sigma40": "sigma40",
    "sigma40_noise": "sigma40_error",
    "soil_moisture": "soil_moisture",
    "soil_moisture_noise": "soil_moisture_error",
    "processing_flag": "proc_flag1",
    "snow": "snow_cover_probability",
    "frozen": "frozen_soil_probability",
    "wetland": "wetland_flag",
    "topography": "topography_flag",
}

# Names of the H SAF products on the Fibonacci grid (H29, H121, H129, H139 ...), swaths and cell files alike.
FIBONACCI_NAMES = {
    "sigma40": "backscatter40",
    "sigma40_noise": "backscatter40_noise",
    "soil_moisture": "surface_soil_moisture",
    "soil_moisture_noise": "surface_soil_moisture_noise",
    "processing_flag": "processing_flag",
    "surface_flag": "surface_flag",
    "snow": "snow_cover_probability",
    "frozen": "frozen_soil_probability",
    "wetland": "wetland_fraction",
    "topography": "topographic_complexity",
}
FIBONACCI_UNITS = {
    **{"sigma40": ("db",), "sigma40_noise": ("db",)},
    **dict.fromkeys(("soil_moisture", "soil_moisture_noise"), ("%", "percent", "percentage", "percentsaturation")),
}


class FlagLimits(StrictModel):
    """Largest percentages at which a swath's observation is kept."""

    frozen: float = Field(default=50.0, ge=0, le=100, description="probability of frozen soil, %")
    snow: float = Field(default=50.0, ge=0, le=100, description="probability of snow, %")
    wetland: float = Field(default=50.0, ge=0, le=100, description="inundation and wetland fraction, %")
    topography: float = Field(default=50.0, ge=0, le=100, description="topographic complexity, %")


class Measurements(NamedTuple):
    """ASCAT measurements (n,): backscatter in dB, soil moisture as degree of saturation 0..1, flags as in the product.

    The two `quality` fields are codes of `ldas.assim.quality.Quality`.
    """

    time: npt.NDArray[np.datetime64]
    sigma40: Array
    sigma40_noise: Array
    soil_moisture: Array
    soil_moisture_noise: Array
    surface_state: IntArray
    processing_flag: IntArray
    sigma40_quality: npt.NDArray[np.int8]
    soil_moisture_quality: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Swath:
    """One swath: places (n,) and measurements (n,) of its nodes."""

    latitude: Array
    longitude: Array
    measurements: Measurements


def is_swath(path: Path) -> bool:
    """Whether a file is a Level 2 swath: BUFR, or NetCDF with rows and cells of nodes, or a place for each of them."""
    if files.magic(path) not in files.NETCDF:
        if files.holds_messages(path, BUFR):
            return True
        raise IngestError(f"{path}: neither NetCDF nor BUFR: {files.beginning(path)}")
    with files.open_netcdf(path, decode_times=False, mask_and_scale=False, decode_coords=False) as dataset:
        return is_swath_header(dataset)


def is_swath_header(dataset: xr.Dataset) -> bool:
    """Whether a dataset has rows and cells of nodes, or a place for each of its times."""
    if "numRows" in dataset.dims and "numCells" in dataset.dims:
        return True
    ragged = "row_size" in dataset.variables or "locationIndex" in dataset.variables
    return not ragged and is_fibonacci(dataset) and dataset["location_id"].dims == dataset["time"].dims


def is_fibonacci(dataset: xr.Dataset) -> bool:
    """Whether a dataset has the names of the H SAF products on the Fibonacci grid."""
    names = set(map(str, dataset.variables))
    return {"location_id", "time"} <= names and bool({"backscatter40", "surface_soil_moisture"} & names)


def read_swath(path: Path, limits: FlagLimits) -> Swath:
    """The nodes of a swath; IngestError for a file that is truncated or not an ASCAT soil moisture product."""
    content = _read_bufr(path) if files.holds_messages(path, BUFR) else _read_netcdf(path)
    time = content.pop("time").astype("datetime64[ns]")
    latitude, longitude = content.pop("latitude"), content.pop("longitude")
    return Swath(latitude, grid.wrap(longitude), measurements_of(content, time, limits))


def measurements_of(content: dict[str, Array], time: npt.NDArray[np.datetime64], limits: FlagLimits) -> Measurements:
    """Measurements with their quality, from percentages and flags (`surface_flag`: 0 is usual land)."""
    flag = np.nan_to_num(content["processing_flag"]).astype(np.int64)
    code = np.full(len(time), Quality.USED, dtype=np.int8)
    if "surface_flag" in content:
        code[np.nan_to_num(content["surface_flag"]) != 0] = Quality.MASKED_PRODUCT_FLAG
    for name, limit, quality in (
        ("topography", limits.topography, Quality.MASKED_TOPOGRAPHY),
        ("wetland", limits.wetland, Quality.MASKED_WATER),
        ("snow", limits.snow, Quality.MASKED_SNOW),
        ("frozen", limits.frozen, Quality.MASKED_FROZEN),
    ):
        code[content[name] > limit] = quality  # a missing percentage (NaN) masks nothing
    soil_moisture_code = np.where((flag > 0) & (code == Quality.USED), Quality.MASKED_PRODUCT_FLAG, code)
    return Measurements(
        time=time,
        sigma40=content["sigma40"],
        sigma40_noise=content["sigma40_noise"],
        soil_moisture=content["soil_moisture"] / 100.0,
        soil_moisture_noise=content["soil_moisture_noise"] / 100.0,
        surface_state=np.zeros(len(time), dtype=np.int64),
        processing_flag=flag,
        sigma40_quality=code,
        soil_moisture_quality=soil_moisture_code.astype(np.int8),
    )


def fibonacci_content(dataset: xr.Dataset, path: Path) -> dict[str, Array]:
    """What `measurements_of` needs, from a dataset that was opened without decoding; NaN for what a file lacks."""
    size = dataset["time"].size
    content = {}
    for name, stored in FIBONACCI_NAMES.items():
        if stored not in dataset:
            content[name] = np.full(size, np.nan)
            continue
        unit = str(dataset[stored].attrs.get("units", ""))
        if name in FIBONACCI_UNITS and unit.lower().replace(" ", "") not in FIBONACCI_UNITS[name]:
            expected = " or ".join(FIBONACCI_UNITS[name])
            raise IngestError(
                f"{path}: {stored} has units {unit!r}, expected {expected}: check that it is an H SAF file"
            )
        content[name] = unpack(dataset[stored], path).values.reshape(-1)
    return content


def _read_fibonacci(path: Path) -> dict[str, Any]:
    with files.open_netcdf(path, mask_and_scale=False) as dataset:
        time = files.values(dataset["time"], path)
        if time.dtype.kind != "M":
            raise IngestError(f"{path}: time has units that are not dates")
        content: dict[str, Any] = fibonacci_content(dataset, path)
        for name in ("latitude", "longitude"):
            short = name if name in dataset.variables else name[:3]
            content[name] = unpack(files.variable(dataset, short, path), path).values.reshape(-1)
    return {**content, "time": time}


def _read_netcdf(path: Path) -> dict[str, Any]:
    # Scaled here: the product's valid_max attributes of unsigned variables carry the wrong sign, and variables without
    # _FillValue mark missing values by leaving the valid range.
    with files.open_netcdf(path, mask_and_scale=False, decode_times=False) as dataset:
        if is_fibonacci(dataset):
            return _read_fibonacci(path)
        lines = files.variable(dataset, "utc_line_nodes", path)
        if lines.attrs.get("units") != "seconds since 2000-01-01 00:00:00":
            raise IngestError(f"{path}: utc_line_nodes has units {lines.attrs.get('units')!r}, unknown to this reader")
        shape = (dataset.sizes["numRows"], dataset.sizes["numCells"])
        seconds = files.values(lines, path).astype("timedelta64[s]")
        time = np.broadcast_to((np.datetime64("2000-01-01", "s") + seconds)[:, None], shape).reshape(-1)
        content: dict[str, Any] = {"time": time}
        for name in ("latitude", "longitude"):
            content[name] = _unpacked(files.variable(dataset, name, path), path)
        for name, stored in NETCDF_NAMES.items():
            content[name] = _unpacked(files.variable(dataset, stored, path), path)
    return content


def _unpacked(array: xr.DataArray, path: Path) -> Array:
    """Scaled values, flat; NaN for the fill value, or outside the packed valid range where there is no fill value.

    The range of variables with a fill value is not used: it says that sigma40 lies between -10 and 10 dB.
    """
    packed = files.values(array, path)
    low, high = array.attrs.get("valid_min"), array.attrs.get("valid_max")
    if packed.dtype.kind == "u" or array.attrs.get("_Unsigned") == "true":
        packed = packed.astype(packed.dtype.str.replace("i", "u"))
        width = 2 ** (8 * packed.dtype.itemsize)
        low, high = (None if bound is None else int(bound) % width for bound in (low, high))
    wrong = np.zeros(packed.shape, dtype=bool)
    markers = [array.attrs[name] for name in ("_FillValue", "missing_value") if name in array.attrs]
    for marker in markers:
        wrong |= packed == marker
    if not markers and low is not None and high is not None:
        wrong = (packed < low) | (packed > high)
    values = packed.astype(np.float64) * float(array.attrs.get("scale_factor", 1.0))
    return np.where(wrong, np.nan, values).reshape(-1)


def _read_bufr(path: Path) -> dict[str, Any]:
    eccodes = files.eccodes()
    parts: dict[str, list[Any]] = {name: [] for name in ("time", "latitude", "longitude", *BUFR_KEYS)}
    try:
        with path.open("rb") as file:
            while (message := eccodes.codes_bufr_new_from_file(file)) is not None:
                try:
                    eccodes.codes_set(message, "unpack", 1)
                    _append_message(eccodes, message, parts)
                finally:
                    eccodes.codes_release(message)
    except eccodes.CodesInternalError as error:
        raise IngestError(
            f"{path}: the BUFR file is truncated, damaged, or no ASCAT soil moisture product: {error}"
        ) from error
    if not parts["time"]:
        raise IngestError(f"{path}: there is no BUFR message in the file")
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}


def _append_message(eccodes: Any, message: Any, parts: dict[str, list[Any]]) -> None:
    subsets = int(eccodes.codes_get(message, "numberOfSubsets"))

    def numbers(key: str) -> Array:
        array = np.atleast_1d(np.asarray(eccodes.codes_get_array(message, key), dtype=np.float64))
        array = np.where((np.abs(array) > MISSING_ABOVE) | (array == MISSING_INTEGER), np.nan, array)
        # A value that all subsets share is compressed into one.
        return np.broadcast_to(array, subsets).copy() if array.size == 1 else array

    year, month, day, hour, minute, second = (
        numbers(f"#1#{name}") for name in ("year", "month", "day", "hour", "minute", "second")
    )
    months = ((year - 1970) * 12 + month - 1).astype(np.int64).astype("datetime64[M]")
    seconds = ((day - 1) * 86400 + hour * 3600 + minute * 60 + second).astype(np.int64)
    parts["time"].append(months.astype("datetime64[s]") + seconds.astype("timedelta64[s]"))
    parts["latitude"].append(numbers("#1#latitude"))
    parts["longitude"].append(numbers("#1#longitude"))
    for name, key in BUFR_KEYS.items():
        parts[name].append(numbers(key))
