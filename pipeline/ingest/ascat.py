"""ASCAT backscatter and soil moisture: H SAF climate data records (cell files) and Level 2 swaths (NetCDF, BUFR)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from assim.quality import Quality
from pipeline.assimilation_config import Name
from pipeline.ingest import ascat_swath, files, grid
from pipeline.ingest.ascat_swath import FlagLimits, Measurements
from pipeline.ingest.config import CellsConfig, FilesConfig, Period
from pipeline.ingest.errors import IngestError
from pipeline.ingest.grid import Cells
from pipeline.ingest.observations import Daily, Overpasses, combined, daily_means, day_axis, observation_dataset
from pipeline.ingest.swi import soil_water_index, soil_water_index_error

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

UNITS = {"sigma40": "dB", "ssm": "1", "swi": "1"}
LONG_NAMES = {
    "sigma40": "normalised backscatter at 40 degrees incidence",
    "ssm": "surface soil moisture as degree of saturation",
    "swi": "soil water index",
}
NOT_USABLE = 4  # bit of proc_flag: backscatter not usable
SURFACE_STATE = {2: Quality.MASKED_FROZEN, 3: Quality.MASKED_SNOW, 4: Quality.MASKED_FROZEN}
CONFIDENCE = {2: Quality.MASKED_TOPOGRAPHY, 4: Quality.MASKED_WATER}  # bits of conf_flag
LOW_CONFIDENCE_SOIL_MOISTURE = 8 | 16  # bits of conf_flag: noise above 50 %, sensitivity below 1 dB


class AscatConfig(FilesConfig):
    """`ldas ingest ascat`."""

    quantity: Literal["sigma40", "ssm", "swi"] = "sigma40"
    group: Name | None = Field(default=None, description="name below `observations`; default: the quantity")
    cells: CellsConfig
    period: Period = Period()
    method: Literal["nearest", "bilinear", "inverse_distance"] = Field(
        default="nearest", description="from the product's points to the cells; bilinear for cell files only"
    )
    radius_km: float = Field(default=25.0, gt=0, description="a point further from a cell's centre is not used")
    grid: str | None = Field(
        default=None, description="the product's grid file: only the cell files that the target cells need are read"
    )
    swi_days: float = Field(default=1.0, gt=0, description="characteristic time T of the soil water index, days")
    limits: FlagLimits = FlagLimits()


@dataclass(frozen=True)
class CellFile:
    """One cell file: places (location,) and measurements (n,) with the index of their location."""

    latitude: Array
    longitude: Array
    location_id: Indices
    location: Indices
    measurements: Measurements


def read(paths: list[Path], cells: Cells, config: AscatConfig, folder: Path) -> xr.Dataset:
    """Daily observations over (time, cell); see `observations.observation_dataset`.

    :param folder: what `config.grid` is relative to
    :raises IngestError: a file that is no ASCAT product, a quantity it does not have, no point near any cell
    """
    swath = [ascat_swath.is_swath(path) for path in paths]
    if any(swath) and not all(swath):
        raise IngestError("cell files and swath files cannot be mixed in one ingest: run two, into two groups")
    if all(swath):
        daily = _from_swaths(paths, cells, config)
    else:
        if config.grid is not None:
            paths = needed_cell_files(paths, folder / config.grid, cells, config.radius_km)
        daily = _from_cell_files(paths, cells, config)
    attributes = {"characteristic_days": config.swi_days} if config.quantity == "swi" else {}
    return observation_dataset(
        config.quantity, daily, cells, UNITS[config.quantity], LONG_NAMES[config.quantity], **attributes
    )


def read_cell_file(path: Path) -> CellFile:
    """An H SAF cell file (H113, H119 and their like): a ragged array, contiguous or indexed, with padding rows.

    :raises IngestError: no ragged array, or row sizes that do not add up (a truncated file)
    """
    with files.open_netcdf(path) as dataset:
        for name in ("lat", "lon", "location_id", "time"):
            files.variable(dataset, name, path)
        latitude = files.values(dataset["lat"], path).astype(np.float64)
        longitude = files.values(dataset["lon"], path).astype(np.float64)
        ids = files.values(dataset["location_id"], path).astype(np.int64)
        time = files.values(dataset["time"], path)
        if time.dtype.kind != "M":
            raise IngestError(f"{path}: time has units that are no dates")
        used = np.abs(latitude) <= 90.0  # padding rows carry the fill value of the NetCDF library
        location = _location_of_each(dataset, used, len(time), path)
        remap = np.cumsum(used) - 1
        measurements = _cell_measurements(dataset, time.astype("datetime64[ns]"), path)
    return CellFile(latitude[used], longitude[used], ids[used], remap[location], measurements)


def _location_of_each(dataset: xr.Dataset, used: npt.NDArray[np.bool_], observations: int, path: Path) -> Indices:
    if "row_size" in dataset.variables:
        sizes = np.where(used, files.values(dataset["row_size"], path).astype(np.int64), 0)
        if (sizes < 0).any() or sizes.sum() != observations:
            raise IngestError(
                f"{path}: row_size adds up to {sizes.sum()}, but there are {observations} observations: the file is "
                "truncated, or not a contiguous ragged array"
            )
        return np.repeat(np.arange(len(sizes)), sizes)
    if "locationIndex" in dataset.variables:
        index = files.values(dataset["locationIndex"], path).astype(np.int64)
        if index.size and (index.min() < 0 or index.max() >= len(used) or not used[index].all()):
            raise IngestError(f"{path}: locationIndex points outside the {int(used.sum())} locations")
        return index
    raise IngestError(f"{path}: neither row_size nor locationIndex: not a ragged array of time series")


def _cell_measurements(dataset: xr.Dataset, time: npt.NDArray[np.datetime64], path: Path) -> Measurements:
    size = len(time)

    def number(name: str, units: dict[str, tuple[float, float]]) -> Array:
        if name not in dataset:
            return np.full(size, np.nan)
        return files.values(files.in_units(dataset[name], units, path), path).astype(np.float64)

    def flag(name: str) -> Indices:
        if name not in dataset:
            return np.zeros(size, dtype=np.int64)
        return np.nan_to_num(files.values(dataset[name], path)).astype(np.int64)  # missing: nothing known to be wrong

    decibel = {"dB": (1.0, 0.0)}
    percent = {"percentage": (0.01, 0.0), "degree of saturation (%)": (0.01, 0.0), "%": (0.01, 0.0)}
    surface, processing, confidence = flag("ssf"), flag("proc_flag"), flag("conf_flag")
    code = np.full(size, Quality.USED, dtype=np.int8)
    for bit, quality in CONFIDENCE.items():
        code[(confidence & bit) > 0] = quality
    for state, quality in SURFACE_STATE.items():
        code[surface == state] = quality
    code[(processing & NOT_USABLE) > 0] = Quality.MASKED_PRODUCT_FLAG
    soil_moisture_code = code.copy()
    doubtful = (processing > 0) | ((confidence & LOW_CONFIDENCE_SOIL_MOISTURE) > 0)
    soil_moisture_code[doubtful & (code == Quality.USED)] = Quality.MASKED_PRODUCT_FLAG
    return Measurements(
        time=time,
        sigma40=number("sigma40", decibel),
        sigma40_noise=number("sigma40_noise", decibel),
        soil_moisture=number("sm", percent),
        soil_moisture_noise=number("sm_noise", percent),
        surface_state=surface,
        processing_flag=processing,
        sigma40_quality=code,
        soil_moisture_quality=soil_moisture_code,
    )


def needed_cell_files(paths: list[Path], grid_path: Path, cells: Cells, radius_km: float) -> list[Path]:
    """Those of the cell files whose points, by the grid file, lie near a target cell.

    A cell file's number is the last number of its name: `0165.nc`, `H119_0165.nc`.

    :raises IngestError: a needed file is not among the paths
    """
    with files.open_netcdf(grid_path) as dataset:
        latitude = files.values(files.variable(dataset, "lat", grid_path), grid_path).astype(np.float64)
        longitude = files.values(files.variable(dataset, "lon", grid_path), grid_path).astype(np.float64)
        number = files.values(files.variable(dataset, "cell", grid_path), grid_path).astype(np.int64)
        land = np.ones(len(number), dtype=bool)
        if "land_flag" in dataset:
            land = files.values(dataset["land_flag"], grid_path) == 1
    latitude, longitude, number = latitude[land], longitude[land], number[land]
    index, _ = grid.neighbours(latitude, longitude, cells, 16, radius_km)
    needed = set(number[index[index >= 0]].tolist())
    by_number: dict[int, Path] = {}
    for path in paths:
        digits = "".join(c if c.isdigit() else " " for c in path.stem).split()
        if digits and by_number.setdefault(int(digits[-1]), path) != path:
            raise IngestError(
                f"{path} and {by_number[int(digits[-1])]} are both of cell {digits[-1]}: give files of one product"
            )
    missing = sorted(needed - by_number.keys())
    if missing:
        raise IngestError(
            f"the target cells need the cell files {', '.join(f'{item:04d}' for item in missing)}, which are not among "
            f"the {len(paths)} files given"
        )
    if not needed:
        raise IngestError(f"{grid_path}: no land point within {radius_km} km of any target cell")
    return [by_number[item] for item in sorted(needed)]


def _chosen(measurements: Measurements, quantity: str, place: Indices, where: object) -> Overpasses:
    """The measurements of one quantity that are there, as overpasses."""
    if quantity == "sigma40":
        value, noise = measurements.sigma40, measurements.sigma40_noise
        code = measurements.sigma40_quality
    else:
        value, noise = measurements.soil_moisture, measurements.soil_moisture_noise
        code = measurements.soil_moisture_quality
    if len(value) and not np.isfinite(value).any():
        raise IngestError(
            f"{where}: the product has no {quantity}: H113 and soil moisture NRT products lack backscatter"
        )
    there = np.isfinite(value)
    return Overpasses(place, measurements.time, value, noise, code).only(there)


def _from_cell_files(paths: list[Path], cells: Cells, config: AscatConfig) -> Daily:
    parts, latitudes, longitudes, offset = [], [], [], 0
    owner: dict[int, Path] = {}
    for path in paths:
        content = read_cell_file(path)
        for number in content.location_id.tolist():
            if owner.setdefault(number, path) != path:
                raise IngestError(
                    f"{path}: location {number} is also in {owner[number]}; give one file of each cell, of one product"
                )
        parts.append(_chosen(content.measurements, config.quantity, content.location + offset, path))
        latitudes.append(content.latitude)
        longitudes.append(content.longitude)
        offset += len(content.latitude)
    passes = Overpasses.joined(parts)
    latitude, longitude = np.concatenate(latitudes), np.concatenate(longitudes)
    index, weight = point_weights(latitude, longitude, cells, config.method, config.radius_km)
    if (index < 0).all():
        raise IngestError(f"no point of the {len(paths)} cell files lies within {config.radius_km} km of a target cell")
    if config.quantity == "swi":
        passes = soil_water_index_series(passes, config.swi_days)
    days = day_axis(passes.time, config.period.start, config.period.end)
    return combined(daily_means(passes, offset, days), index, weight)


def _from_swaths(paths: list[Path], cells: Cells, config: AscatConfig) -> Daily:
    if config.method == "bilinear":
        raise IngestError("swaths have no fixed grid: use method nearest or inverse_distance")
    parts: list[tuple[Path, Overpasses]] = []
    for path in paths:
        swath = ascat_swath.read_swath(path, config.limits)
        measurements = swath.measurements
        there = np.isfinite(measurements.sigma40 if config.quantity == "sigma40" else measurements.soil_moisture)
        if not there.any():  # a swath over the sea
            continue
        nodes = _chosen(measurements, config.quantity, np.zeros(len(there), dtype=np.int64), path)
        index, weight = point_weights(
            swath.latitude[there], swath.longitude[there], cells, config.method, config.radius_km
        )
        parts.append((path, _at_cells(nodes, index, weight)))
    if not any(len(part.time) for _, part in parts):
        raise IngestError(f"no node of the {len(paths)} swaths lies within {config.radius_km} km of a target cell")
    _check_once(parts)
    passes = Overpasses.joined([part for _, part in parts])
    passes = passes.only(np.argsort(passes.time, kind="stable"))
    if config.quantity == "swi":
        passes = soil_water_index_series(passes, config.swi_days)
    days = day_axis(passes.time, config.period.start, config.period.end)
    return daily_means(passes, len(cells), days)


def _check_once(parts: list[tuple[Path, Overpasses]]) -> None:
    """IngestError where two swaths have one overpass of a cell: they would count twice in the mean of the day."""
    seen: dict[tuple[int, int], Path] = {}
    for path, passes in parts:
        for key, time in zip(
            zip(passes.place.tolist(), passes.time.astype(np.int64).tolist(), strict=True), passes.time, strict=True
        ):
            if key in seen:
                raise IngestError(f"{path}: the overpass of {files.instant(time)} is also in {seen[key]}")
            seen[key] = path


def _at_cells(nodes: Overpasses, index: Indices, weight: Array) -> Overpasses:
    """One overpass at the cells from the nodes of a swath: the weighted mean of the usable ones, else the nearest."""
    points = np.maximum(index, 0)
    usable = (index >= 0) & (nodes.quality[points] == Quality.USED)
    share = np.where(usable, weight, 0.0)
    total = share.sum(axis=1)
    nearest = points[:, 0]
    scaled = share / np.where(total > 0, total, 1.0)[:, None]
    good = total > 0

    def mean(values: Array) -> Array:
        return np.where(good, (np.where(usable, values[points], 0.0) * scaled).sum(axis=1), values[nearest])

    seen = np.flatnonzero(index[:, 0] >= 0)
    everywhere = Overpasses(
        np.arange(len(index)),
        nodes.time[nearest],
        mean(nodes.value),
        mean(nodes.uncertainty),
        np.where(good, Quality.USED, nodes.quality[nearest]).astype(np.int8),
    )
    return everywhere.only(seen)


def point_weights(
    latitude: Array, longitude: Array, cells: Cells, method: str, radius_km: float
) -> tuple[Indices, Array]:
    """Points and weights of each cell, (cell, n); index -1 where no point lies within the radius.

    `bilinear` needs points in rows of one latitude (as the WARP5 grid has): linear in longitude within the row to the
    south and to the north of the cell, then linear in latitude between the rows.
    """
    if method == "bilinear":
        return _row_weights(latitude, longitude, cells, radius_km)
    number = 1 if method == "nearest" else 4
    index, distance = grid.neighbours(latitude, longitude, cells, number, radius_km)
    inverse = np.where(index >= 0, 1.0 / np.maximum(distance, 0.1), 0.0)  # 0.1 km: a point on the centre has all weight
    total = inverse.sum(axis=1, keepdims=True)
    return index, inverse / np.where(total > 0, total, 1.0)


def _row_weights(latitude: Array, longitude: Array, cells: Cells, radius_km: float) -> tuple[Indices, Array]:
    rows, row_of_point = np.unique(np.round(latitude, 5), return_inverse=True)
    index = np.full((len(cells), 4), -1, dtype=np.int64)
    weight = np.zeros((len(cells), 4))
    members = [np.flatnonzero(row_of_point == row) for row in range(len(rows))]
    members = [points[np.argsort(longitude[points])] for points in members]
    for cell in range(len(cells)):
        upper = int(np.searchsorted(rows, cells.latitude[cell]))
        if upper == 0 or upper == len(rows):
            continue
        to_north = (cells.latitude[cell] - rows[upper - 1]) / (rows[upper] - rows[upper - 1])
        for slot, (row, row_weight) in enumerate(((upper - 1, 1 - to_north), (upper, to_north))):
            points = members[row]
            east = int(np.searchsorted(longitude[points], cells.longitude[cell]))
            if east == 0 or east == len(points):
                continue
            pair = points[east - 1 : east + 1]
            to_east = (cells.longitude[cell] - longitude[pair[0]]) / (longitude[pair[1]] - longitude[pair[0]])
            index[cell, 2 * slot : 2 * slot + 2] = pair
            weight[cell, 2 * slot : 2 * slot + 2] = row_weight * (1 - to_east), row_weight * to_east
    near, _ = grid.neighbours(latitude, longitude, cells, 1, radius_km)
    index[near[:, 0] < 0] = -1
    return index, np.where(index >= 0, weight, 0.0)


def soil_water_index_series(passes: Overpasses, characteristic_days: float) -> Overpasses:
    """The soil water index at every usable observation of each place; the others are left out."""
    good = passes.only(passes.quality == Quality.USED)
    good = good.only(np.lexsort((good.time, good.place)))
    value, error = np.empty_like(good.value), np.empty_like(good.value)
    borders = np.flatnonzero(np.diff(good.place)) + 1
    for part in np.split(np.arange(len(good.place)), borders):
        value[part] = soil_water_index(good.time[part], good.value[part], characteristic_days)
        error[part] = soil_water_index_error(good.time[part], good.uncertainty[part], characteristic_days)
    return Overpasses(good.place, good.time, value, error, good.quality)
