"""ASCAT backscatter and soil moisture: H SAF climate data records (cell files) and Level 2 swaths (NetCDF, BUFR)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field, model_validator

from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array, IntArray, Times
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import ascat_swath, grid
from ldas.pipeline.ingest.ascat_swath import FlagLimits, Measurements
from ldas.pipeline.ingest.config import CellsConfig, ObservationConfig, OverpassesPerDay
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.ingest.observations import (
    DAY,
    Daily,
    Overpasses,
    combined,
    daily_means,
    day_axis,
    days_of,
    observation_dataset,
    overpasses_of_days,
    passes_at_cells,
)
from ldas.pipeline.ingest.packed import unpack
from ldas.pipeline.ingest.point_weights import point_weights
from ldas.pipeline.ingest.swi import FilterState, soil_water_index_series
from ldas.pipeline.settings.assimilation import Name

UNITS = {"sigma40": "dB", "ssm": "1", "swi": "1"}
LONG_NAMES = {
    "sigma40": "normalised backscatter at 40 degrees incidence",
    "ssm": "surface soil moisture as degree of saturation",
    "swi": "soil water index",
}
BETWEEN_OVERPASSES = np.timedelta64(20, "m")  # at least: the next orbit comes after 100 minutes
NOT_USABLE = 4  # bit of proc_flag: backscatter not usable
SURFACE_STATE = {2: Quality.MASKED_FROZEN, 3: Quality.MASKED_SNOW, 4: Quality.MASKED_FROZEN}
CONFIDENCE = {2: Quality.MASKED_TOPOGRAPHY, 4: Quality.MASKED_WATER}  # bits of conf_flag
LOW_CONFIDENCE_SOIL_MOISTURE = 8 | 16  # bits of conf_flag: noise above 50 %, sensitivity below 1 dB


class AscatConfig(ObservationConfig):
    """`ldas ingest ascat`."""

    quantity: Literal["sigma40", "ssm", "swi"] = "sigma40"
    group: Name | None = Field(default=None, description="name below `observations`; default: the quantity")
    cells: CellsConfig
    method: Literal["nearest", "bilinear", "inverse_distance"] = Field(
        default="nearest", description="from the product's points to the cells; bilinear for cell files only"
    )
    radius_km: float = Field(default=25.0, gt=0, description="a point further from a cell's centre is not used")
    grid: str | None = Field(
        default=None, description="the product's grid file: only the cell files that the target cells need are read"
    )
    swi_days: float = Field(default=1.0, gt=0, description="characteristic time T of the soil water index, days")
    limits: FlagLimits = FlagLimits()
    overpasses_per_day: OverpassesPerDay = None

    @model_validator(mode="after")
    def _not_filtered(self) -> Self:
        if self.quantity == "swi" and self.overpasses_per_day is not None:
            raise ValueError(
                "overpasses_per_day belongs to sigma40 and ssm: the soil water index is a daily series, compared at "
                "the end of the window"
            )
        return self


@dataclass(frozen=True)
class CellFile:
    """One cell file: places (location,) and measurements (n,) with the index of their location."""

    latitude: Array
    longitude: Array
    location_id: IntArray
    location: IntArray
    measurements: Measurements


@dataclass(frozen=True)
class Places:
    """Overpasses at places of the product (`location`) or of the group (`cell`), and how cells are made from them.

    `identifier` (place,) tells a place from others in all files; `index` and `weight` (cell, n) as in `combined`, None
    where the places are the cells.
    """

    kind: str
    passes: Overpasses
    identifier: IntArray
    weights: tuple[IntArray, Array] | None

    def at_cells(self, passes: Overpasses, days: Times, most: int | None) -> Daily:
        """Daily means at the cells; or up to `most` overpasses a day at their own hour."""
        if most is None:
            return self.daily(passes, days)
        if self.weights is None:
            return overpasses_of_days(passes, len(self.identifier), days, most)
        index, weight = self.weights
        return overpasses_of_days(passes_at_cells(passes, index, weight, BETWEEN_OVERPASSES), len(index), days, most)

    def daily(self, passes: Overpasses, days: Times) -> Daily:
        """Daily means at the cells."""
        means = daily_means(passes, len(self.identifier), days)
        return means if self.weights is None else combined(means, *self.weights)


def read(paths: list[Path], cells: Cells, config: AscatConfig, folder: Path) -> xr.Dataset:
    """Observations by day over (time[, overpass], cell); see `observations.observation_dataset`.

    Args:
        folder: what `config.grid` is relative to.

    Raises:
        IngestError: a file that is not an ASCAT product, a quantity it does not have, no point near any cell.
    """
    return read_after(paths, cells, config, folder)[0]


def read_after(
    paths: list[Path],
    cells: Cells,
    config: AscatConfig,
    folder: Path,
    stored: xr.Dataset | None = None,
    past: FilterState | None = None,
) -> tuple[xr.Dataset, FilterState | None]:
    """As `read`, to be appended to a stored group; with the state of the soil water index after it.

    Without `period.start` the days begin where the stored ones end, so that days without overpass leave no hole.

    Args:
        stored: the group that is there.
        past: where its filter stands; None where an earlier version wrote it: then the files must hold the stored days
            too, and give the stored index.
    """
    swath = [ascat_swath.is_swath(path) for path in paths]
    if any(swath) and not all(swath):
        raise IngestError("cell files and swath files cannot be mixed in one ingest: run two, into two groups")
    if not all(swath) and config.grid is not None:
        paths = needed_cell_files(paths, files.beside(folder, config.grid), cells, config.radius_km)
    places = _from_swaths(paths, cells, config) if all(swath) else _from_cell_files(paths, cells, config)
    passes = places.passes
    notes: list[str] = []
    state = None
    if not len(passes.time):
        raise IngestError(f"no point of the {len(paths)} files near the target cells has an observation")
    last = None if stored is None else days_of(stored)[-1]
    start = config.period.start
    if start is None and last is not None and passes.time.min() >= last + DAY:
        start = last + DAY
    days = day_axis(passes.time, start, config.period.end)
    if not len(days):
        raise IngestError(
            f"no observation lies in the period; the files hold {files.instant(passes.time.min())} to "
            f"{files.instant(passes.time.max())}"
        )
    if config.quantity == "swi":
        passes, state = soil_water_index_series(
            passes, places.kind, places.identifier, config.swi_days, days[-1] + DAY, past
        )
        if stored is not None and past is None:
            _check_recomputed(places.daily(passes, _all_days(stored)), stored)
        late = 0 if past is None or last is None else int((passes.time < last + DAY).sum())
        if late:
            notes.append(
                f"{late} overpasses of stored days came after these days were stored: the filter takes them from now "
                "on, the stored days stay as they are"
            )
    dataset = observation_dataset(
        config.quantity,
        places.at_cells(passes, days, config.overpasses_per_day),
        cells,
        UNITS[config.quantity],
        LONG_NAMES[config.quantity],
        **({"characteristic_days": config.swi_days} if config.quantity == "swi" else {}),
    )
    if notes:
        dataset.attrs["notes"] = [*dataset.attrs.get("notes", ()), *notes]
    return dataset, state


def _all_days(stored: xr.Dataset) -> Times:
    return day_axis(days_of(stored), None, None)


def _check_recomputed(daily: Daily, stored: xr.Dataset) -> None:
    """IngestError unless the index made from the files is the stored one: else it would forget what it has seen."""
    rows = np.searchsorted(daily.begin, days_of(stored))
    before = np.where(stored["quality"].to_numpy() == Quality.USED, stored["value"].to_numpy(), np.nan)
    now = np.where(daily.quality[rows] == Quality.USED, daily.value[rows], np.nan)
    if not np.allclose(before, now, rtol=0.0, atol=1e-5, equal_nan=True):
        first, last = days_of(stored)[[0, -1]]
        following = last + DAY
        raise IngestError(
            "an earlier version of ldas made the stored soil water index and did not keep where its filter stood: give "
            f"the files of the stored days ({first} to {last}) too, with `period: {{start: {following}}}`, or ingest "
            "all files into another store or group"
        )


def read_cell_file(path: Path, limits: FlagLimits | None = None) -> CellFile:
    """An H SAF cell file: a ragged array, contiguous or indexed, with padding rows.

    Those of the WARP5 grid (H113, H119 and their like) and of the Fibonacci grid (H121, H139 ...).

    Args:
        limits: of the percentages that files of the Fibonacci grid have.

    Raises:
        IngestError: no ragged array, or row sizes that do not add up (a truncated file).
    """
    with files.open_netcdf(path, mask_and_scale=False) as dataset:
        fibonacci = ascat_swath.is_fibonacci(dataset)
        places = ("lat", "lon") if "lat" in dataset.variables or not fibonacci else ("latitude", "longitude")
        for name in (*places, "location_id", "time"):
            files.variable(dataset, name, path)
        latitude, longitude = (unpack(dataset[name], path).values for name in places)
        ids = files.values(dataset["location_id"], path).astype(np.int64)
        time = files.values(dataset["time"], path)
        if time.dtype.kind != "M":
            raise IngestError(f"{path}: time has units that are not dates")
        used = np.abs(latitude) <= 90.0  # padding rows carry the fill value of the NetCDF library
        location = _location_of_each(dataset, used, len(time), path)
        remap = np.cumsum(used) - 1
        time = time.astype("datetime64[ns]")
        if fibonacci:
            content = ascat_swath.fibonacci_content(dataset, path)
            measurements = ascat_swath.measurements_of(content, time, limits or FlagLimits())
        else:
            measurements = _cell_measurements(dataset, time, path)
    return CellFile(latitude[used], longitude[used], ids[used], remap[location], measurements)


def _location_of_each(dataset: xr.Dataset, used: npt.NDArray[np.bool_], observations: int, path: Path) -> IntArray:
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
    raise IngestError(
        f"{path}: neither row_size nor locationIndex, so no time series as ragged array: known are cell files of H SAF "
        "(H113, H119, H121, H139 and their like) and swaths (NetCDF, BUFR)"
    )


def _cell_measurements(dataset: xr.Dataset, time: npt.NDArray[np.datetime64], path: Path) -> Measurements:
    size = len(time)

    def number(name: str, units: dict[str, tuple[float, float]]) -> Array:
        if name not in dataset:
            return np.full(size, np.nan)
        # In the precision of earlier versions, so that what is appended to their stores continues them to the bit.
        decoded = files.in_units(xr.decode_cf(dataset[[name]], decode_times=False)[name], units, path)
        known = np.isfinite(unpack(dataset[name], path).values)
        return np.where(known, files.values(decoded, path).astype(np.float64), np.nan)

    def flag(name: str) -> IntArray:
        if name not in dataset:
            return np.zeros(size, dtype=np.int64)
        return np.nan_to_num(unpack(dataset[name], path).values).astype(np.int64)  # missing: nothing known to be wrong

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

    Raises:
        IngestError: a needed file is not among the paths.
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
    by_number: dict[int, list[Path]] = {}
    for path in paths:
        digits = "".join(c if c.isdigit() else " " for c in path.stem).split()
        if digits:
            by_number.setdefault(int(digits[-1]), []).append(path)
    missing = sorted(needed - by_number.keys())
    if missing:
        raise IngestError(
            f"the target cells need the cell files {', '.join(f'{item:04d}' for item in missing)}, which are not among "
            f"the {len(paths)} files given"
        )
    if not needed:
        raise IngestError(f"{grid_path}: no land point within {radius_km} km of any target cell")
    return [path for item in sorted(needed) for path in by_number[item]]


def _chosen(measurements: Measurements, config: AscatConfig, place: IntArray, where: object) -> Overpasses:
    """The measurements of one quantity that are there, as overpasses."""
    quantity = config.quantity
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
    if config.out_of_range == "missing":
        low, high = registry.variable(quantity).valid_range or (-np.inf, np.inf)
        there &= (value >= low) & (value <= high)
    return Overpasses(place, measurements.time, value, noise, code).only(there)


def _from_cell_files(paths: list[Path], cells: Cells, config: AscatConfig) -> Places:
    parts: list[Overpasses] = []
    row_of: dict[int, int] = {}  # location -> place
    latitudes: list[float] = []
    longitudes: list[float] = []
    seen: dict[int, list[tuple[np.datetime64, np.datetime64, Path]]] = {}
    for path in paths:
        content = read_cell_file(path, config.limits)
        for row, number in enumerate(content.location_id.tolist()):
            if number not in row_of:
                row_of[number] = len(row_of)
                latitudes.append(content.latitude[row])
                longitudes.append(content.longitude[row])
        _check_spans(content, path, seen)
        rows = np.array([row_of[number] for number in content.location_id.tolist()], dtype=np.int64)
        parts.append(_chosen(content.measurements, config, rows[content.location], path))
    passes = Overpasses.joined(parts)
    index, weight = point_weights(np.array(latitudes), np.array(longitudes), cells, config.method, config.radius_km)
    if (index < 0).all():
        raise IngestError(f"no point of the {len(paths)} cell files lies within {config.radius_km} km of a target cell")
    # Only the points that a cell takes from: their numbers are then the places.
    used, places = np.unique(index[index >= 0], return_inverse=True)
    place_of = np.full(len(row_of), -1, dtype=np.int64)
    place_of[used] = np.arange(len(used))
    place = place_of[passes.place]
    near = np.full(index.shape, -1, dtype=np.int64)
    near[index >= 0] = places
    passes = Overpasses(place, passes.time, passes.value, passes.uncertainty, passes.quality).only(place >= 0)
    return Places("location", passes, np.array(list(row_of), dtype=np.int64)[used], (near, weight))


def _check_spans(
    content: CellFile, path: Path, seen: dict[int, list[tuple[np.datetime64, np.datetime64, Path]]]
) -> None:
    """IngestError where two files have one location at one time: it would count twice. A later part is welcome."""
    order = np.lexsort((content.measurements.time, content.location))
    borders = np.searchsorted(content.location[order], np.arange(len(content.location_id) + 1))
    for row, number in enumerate(content.location_id.tolist()):
        times = content.measurements.time[order[borders[row] : borders[row + 1]]]
        if not len(times):
            continue
        for first, last, other in seen.setdefault(number, []):
            if other != path and times[0] <= last and times[-1] >= first:
                raise IngestError(
                    f"{path}: location {number} is also in {other}, at overlapping times; give one file of each cell, "
                    "of one product"
                )
        seen[number].append((times[0], times[-1], path))


def _from_swaths(paths: list[Path], cells: Cells, config: AscatConfig) -> Places:
    if config.method == "bilinear":
        raise IngestError("swaths have no fixed grid: use method nearest or inverse_distance")
    parts: list[tuple[Path, Overpasses]] = []
    for path in paths:
        swath = ascat_swath.read_swath(path, config.limits)
        measurements = swath.measurements
        values = measurements.sigma40 if config.quantity == "sigma40" else measurements.soil_moisture
        if not np.isfinite(values).any():  # a swath over the sea
            continue
        nodes = _chosen(measurements, config, np.arange(len(values)), path)
        latitude, longitude = swath.latitude[nodes.place], swath.longitude[nodes.place]
        for one in _overpasses(nodes.time):
            index, weight = point_weights(latitude[one], longitude[one], cells, config.method, config.radius_km)
            parts.append((path, _at_cells(nodes.only(one), index, weight)))
    if not any(len(part.time) for _, part in parts):
        raise IngestError(f"no node of the {len(paths)} swaths lies within {config.radius_km} km of a target cell")
    _check_once(parts)
    passes = Overpasses.joined([part for _, part in parts])
    passes = passes.only(np.argsort(passes.time, kind="stable"))
    return Places("cell", passes, np.arange(len(cells)), None)


def _overpasses(time: Times) -> list[IntArray]:
    """The nodes of each overpass in a file: one that joins several swaths sees a place more than once."""
    if not len(time):
        return []
    order = np.argsort(time, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(time[order]) > BETWEEN_OVERPASSES) + 1)


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


def _at_cells(nodes: Overpasses, index: IntArray, weight: Array) -> Overpasses:
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
