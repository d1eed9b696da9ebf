"""MODIS leaf area index (MOD15A2H and its like) on the sinusoidal grid, as an alternative LAI source."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from pipeline.assimilation_config import Name
from pipeline.ingest import cgls, files, grid
from pipeline.ingest.cgls import Dated, Row
from pipeline.ingest.config import CellsConfig, ObservationConfig
from pipeline.ingest.errors import IngestError
from pipeline.ingest.grid import Cells
from pipeline.ingest.observations import observation_dataset

Array = npt.NDArray[np.float64]

SPHERE_M = 6371007.181  # radius of the sinusoidal grid of MODIS
LARGEST_VALID = 100  # packed; 249 to 255 are classes of what is not vegetation
SCALE = 0.1
GOOD = 1  # bit 0 of FparLai_QC: not the main algorithm's good quality


class ModisConfig(ObservationConfig):
    """`ldas ingest modis`."""

    variable: str = "Lai_500m"
    group: Name = "lai"
    cells: CellsConfig
    composite_days: int = Field(default=8, ge=1, le=31, description="days of a composite; 4 for MCD15A3H")
    cell_size: float = Field(default=0.25, gt=0, description="degrees: side of the squares of the area average")
    least_fraction: float = Field(default=0.3, ge=0, le=1, description="part of a cell's pixels that must be valid")


def read(paths: list[Path], cells: Cells, config: ModisConfig) -> xr.Dataset:
    """Observations over (time, cell) at the end of each composite; `count` is the number of valid pixels."""
    rows: list[Row] = []
    for path in paths:
        with files.open_netcdf(path, mask_and_scale=False) as dataset:
            rows += _rows_of(dataset, path, cells, config)
    if not rows:
        raise IngestError(f"none of the dates of the {len(paths)} files lies in the period")
    return observation_dataset(
        "lai", cgls.stacked(rows), cells, "m2 m-2", "leaf area index", source_variable=config.variable
    )


def _rows_of(dataset: xr.Dataset, path: Path, cells: Cells, config: ModisConfig) -> list[Row]:
    times = files.utc_times(dataset, "time", path)
    array = files.variable(dataset, config.variable, path)
    if array.dims[0] != "time" or array.ndim != 3:
        raise IngestError(f"{path}: {config.variable} has dimensions {array.dims}, expected time and two of the grid")
    scale = float(array.attrs.get("scale_factor", SCALE))
    if array.dtype.kind not in "iu" or abs(scale - SCALE) > 1e-6:
        raise IngestError(
            f"{path}: {config.variable} is {array.dtype} with scale factor {scale:g}, expected the product's packed "
            f"integers with {SCALE:g}"
        )
    latitude, longitude = pixel_places(dataset, path)
    average = grid.area_average(latitude, longitude, cells, config.cell_size)
    if not average.pixels.size:
        raise IngestError(
            f"{path}: no pixel lies in a target cell; the file covers {latitude.min():.2f} to {latitude.max():.2f} N, "
            f"{longitude.min():.2f} to {longitude.max():.2f} E"
        )
    rows = []
    for index, time in enumerate(times):
        if not cgls.in_period(time, config.period):
            continue
        packed = files.values(array.isel(time=index), path)
        valid = packed <= LARGEST_VALID
        if "FparLai_QC" in dataset:
            valid &= (files.values(dataset["FparLai_QC"].isel(time=index), path).astype(np.int64) & GOOD) == 0
        values = np.where(valid, packed * SCALE, np.nan)
        mean, deviation, count = average.apply(values.reshape(-1).astype(np.float64))
        code = cgls.area_quality(count, average, {}, config.least_fraction)
        dated = Dated(time, time, time + np.timedelta64(config.composite_days, "D"))
        rows.append(Row(dated, path, mean, np.full(deviation.shape, np.nan), code, count))
    return rows


def pixel_places(dataset: xr.Dataset, path: Path) -> tuple[Array, Array]:
    """Latitude and longitude of every pixel, from the file or from its sinusoidal coordinates x and y (m)."""
    if "lat" in dataset.variables and "lon" in dataset.variables:
        latitude = files.values(dataset["lat"], path).astype(np.float64)
        longitude = files.values(dataset["lon"], path).astype(np.float64)
        if latitude.ndim == 1:
            latitude, longitude = np.meshgrid(latitude, longitude, indexing="ij")
        return latitude, longitude
    x = files.values(files.variable(dataset, "x", path), path).astype(np.float64)
    y = files.values(files.variable(dataset, "y", path), path).astype(np.float64)
    return sinusoidal_to_geographic(*np.meshgrid(x, y))


def sinusoidal_to_geographic(x: Array, y: Array) -> tuple[Array, Array]:
    """Latitude and longitude, degrees, of sinusoidal coordinates, m."""
    latitude = np.rad2deg(y / SPHERE_M)
    return latitude, np.rad2deg(x / (SPHERE_M * np.cos(np.deg2rad(latitude))))
