"""The land group: patch fractions from a cover map, soil texture, elevation, and the static masks of the paper."""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from ldas.assim.masks import MaskThresholds, static_mask
from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import covers, grid
from ldas.pipeline.ingest.config import CellsConfig, IngestConfig
from ldas.pipeline.ingest.covers import CoverTable
from ldas.pipeline.ingest.grid import AreaAverage, Cells
from ldas.pipeline.ingest.modis_files import sinusoidal_to_geographic
from ldas.pipeline.ingest.packed import PackedOptions, unpack
from ldas.pipeline.settings.yaml_file import StrictModel

TEXTURE = {
    "1": (1.0, 0.0),
    "kg kg-1": (1.0, 0.0),
    "%": (0.01, 0.0),
    "percent": (0.01, 0.0),
    "% weight": (0.01, 0.0),
    "g kg-1": (0.001, 0.0),
    "g/kg": (0.001, 0.0),
}
METRES = {"m": (1.0, 0.0), "metre": (1.0, 0.0), "meters": (1.0, 0.0)}
FRACTION = {"1": (1.0, 0.0), "(0,1)": (1.0, 0.0), "(0 - 1)": (1.0, 0.0), "%": (0.01, 0.0)}
PARTS = (0.0, 1.0)  # what a fraction can be
HEIGHTS = (-500.0, 9000.0)  # m


class Raster(PackedOptions):
    """A variable of a NetCDF map: on axes of latitude and longitude, with both per pixel, or on a sinusoidal grid."""

    file: str = Field(description="path, relative to the configuration file")
    variable: str
    unit: str | None = Field(default=None, description="instead of the file's units attribute, where it has none")


class CoverMap(StrictModel):
    """A map of classes with the table that says what a class consists of."""

    map: Raster
    kind: Literal["ecoclimap", "classes"] = "classes"
    table: str | None = Field(
        default=None, description="ECOCLIMAP cover file, or CSV class table (left out: IGBP classes)"
    )


class TextureRule(StrictModel):
    """What is done where clay and sand, of two maps, sum to more than 1."""

    clay_and_sand: Literal["raise", "scale"] = Field(
        default="raise", description="clay and sand that sum to more than 1 stop the ingest, or are scaled to 1"
    )

    def checked(self, clay: Array, sand: Array, cells: Cells, notes: list[str]) -> tuple[Array, Array]:
        """Clay and sand as they are, or scaled; IngestError for texture that cannot be."""
        total = clay + sand
        above = total > 1.0 + 1e-6
        if not above.any():
            return clay, sand
        cell = int(np.argmax(total))
        said = f"clay and sand of {cells.name(cell)} sum to {total[cell]:.2f}"
        if self.clay_and_sand == "raise":
            raise IngestError(f"{said}: check the unit of the maps; `clay_and_sand: scale` scales them to 1")
        notes.append(f"{said}: scaled to 1, in {int(above.sum())} cells")
        factor = np.where(above, 1.0 / np.where(above, total, 1.0), 1.0)
        return clay * factor, sand * factor


class StaticMasks(StrictModel):
    """Largest values (0-1) at which a cell is kept (the paper gives none); frozen soil and snow mask in the run."""

    topography: float = Field(default=0.20, ge=0, le=1, description="topographic complexity")
    water: float = Field(default=0.05, ge=0, le=1, description="area fraction of water")
    urban: float = Field(default=0.20, ge=0, le=1, description="area fraction of urban areas")
    drop: bool = Field(default=False, description="leave masked cells out of the cell axis")


class LandConfig(IngestConfig, TextureRule):
    """`ldas ingest land`."""

    cells: CellsConfig
    cell_size: float = Field(default=0.25, gt=0, description="degrees: side of the squares of the averages")
    cover: CoverMap
    clay: Raster | float
    sand: Raster | float
    elevation: Raster | float | None = None
    complexity_full_scale_m: float = Field(
        default=500.0,
        gt=0,
        description="m: standard deviation of elevation at which the topographic complexity is 1 (own choice)",
    )
    land_mask: Raster | None = Field(default=None, description="map of land (1) and sea (0), such as ERA5's")
    least_land: float = Field(default=0.5, ge=0, le=1, description="cells with less land are left out")
    masks: StaticMasks = StaticMasks()


def input_files(config: LandConfig, folder: Path) -> list[Path]:
    """All files that a configuration names."""
    rasters = [config.cover.map, config.clay, config.sand, config.elevation, config.land_mask]
    names = [raster.file for raster in rasters if isinstance(raster, Raster)]
    if config.cover.table is not None:
        names.append(config.cover.table)
    return files.expand(list(dict.fromkeys(names)), folder)


def read(cells: Cells, config: LandConfig, folder: Path) -> xr.Dataset:
    """The land group over (cell) and (cell, patch), float64.

    Raises:
        IngestError: a map that does not cover a cell, classes that the table does not have, wrong units.
    """
    notes: list[str] = []
    if config.land_mask is not None:
        land = _averages(config.land_mask, FRACTION, PARTS, cells, config, folder, notes)[0]
        kept = land >= config.least_land
        notes.append(
            f"{int((~kept).sum())} of {len(cells)} cells left out with less than {config.least_land:g} of land"
        )
        cells = _only(cells, kept)
    fractions, water, urban = patch_fractions(cells, config, folder)
    elevation, spread = _elevation(cells, config, folder, notes)
    complexity = np.clip(spread / config.complexity_full_scale_m, 0.0, 1.0)
    thresholds = MaskThresholds(config.masks.topography, config.masks.water, config.masks.urban)
    mask = static_mask(complexity, water, urban, thresholds)
    bare = ~np.isfinite(fractions).all(axis=1)
    mask[bare & (mask == Quality.USED)] = Quality.MASKED_WATER
    clay, sand = (
        _texture(source, name, cells, config, folder, notes)
        for source, name in ((config.clay, "clay"), (config.sand, "sand"))
    )
    clay, sand = config.checked(clay, sand, cells, notes)
    values = {
        "clay": clay,
        "sand": sand,
        "elevation": elevation,
        "topographic_complexity": complexity,
        "water_fraction": water,
        "urban_fraction": urban,
    }
    dataset = land_dataset(cells, fractions, values, mask)
    without_nature = bare if not config.masks.drop else mask != Quality.USED
    if without_nature.any():
        dataset = dataset.isel(cell=np.flatnonzero(~without_nature))
        why = "masked" if config.masks.drop else "without any vegetation or soil"
        notes.append(f"{int(without_nature.sum())} of {len(cells)} cells left out: {why}")
    if not dataset.sizes["cell"]:
        raise IngestError("no cell is left after the masks; raise their thresholds, or check the maps")
    return dataset.assign_attrs(notes=notes)


def land_dataset(cells: Cells, fractions: Array, values: dict[str, Array], mask: npt.NDArray[np.int8]) -> xr.Dataset:
    """The form of the group `land`."""
    dataset = xr.Dataset(
        {
            "patch_fraction": (("cell", "patch"), fractions, registry.attributes("patch_fraction")),
            "mask": (
                "cell",
                mask,
                {
                    "long_name": "static mask of the cell",
                    "flag_values": [int(code) for code in Quality],
                    "flag_meanings": " ".join(code.name.lower() for code in Quality),
                },
            ),
        },
        coords={**cells.coordinates(), "patch": np.arange(1, covers.PATCHES + 1)},
    )
    for name, value in values.items():
        dataset[name] = ("cell", value, registry.attributes(name))
        registry.check_range(name, value, where="land", allow_missing=name in ("elevation", "topographic_complexity"))
    return dataset


def _only(cells: Cells, kept: npt.NDArray[np.bool_]) -> Cells:
    if not kept.any():
        raise IngestError("no target cell has enough land by the land mask")
    return Cells(cells.latitude[kept], cells.longitude[kept])


def patch_fractions(cells: Cells, config: LandConfig, folder: Path) -> tuple[Array, Array, Array]:
    """Patch fractions (cell, 12) of the part with nature, NaN where there is none; fractions of water and urban area.

    Raises:
        IngestError: a cell without pixels, classes that are not in the table.
    """
    table = _table(config.cover, folder)
    raster = config.cover.map
    path = files.beside(folder, raster.file)
    flat, latitude, longitude = read_raster(raster, None, cells, config.cell_size, path)
    average = _pixels(latitude, longitude, cells, config, path)
    classes = flat[average.pixels]
    row = table.index_of(np.nan_to_num(classes, nan=-1).astype(np.int64))
    known = row >= 0
    unknown = np.unique(classes[~known & np.isfinite(classes)])
    count = np.bincount(average.cell[known], minlength=len(cells))
    if (count == 0).any():
        cell = int(np.argmin(count))
        raise IngestError(
            f"{path}: {raster.variable} has no known class in {cells.name(cell)}; classes that the table lacks: "
            + (", ".join(f"{item:g}" for item in unknown[:20]) or "none")
        )
    where, rows = average.cell[known], row[known]
    tropical = np.abs(cells.latitude) < covers.TROPIC

    def mean(parts: Array) -> Array:
        return np.bincount(where, weights=parts[rows], minlength=len(cells)) / count

    patches = np.stack(
        [
            np.where(tropical, mean(table.tropical_patches[:, patch]), mean(table.patches[:, patch]))
            for patch in range(covers.PATCHES)
        ],
        axis=1,
    )
    nature = patches.sum(axis=1, keepdims=True)
    fractions = np.where(nature > 0, patches / np.where(nature > 0, nature, 1.0), np.nan)
    return fractions, mean(table.water), mean(table.urban)


def _table(cover: CoverMap, folder: Path) -> CoverTable:
    if cover.kind == "ecoclimap":
        if cover.table is None:
            raise IngestError("cover: kind ecoclimap needs `table`, the ECOCLIMAP cover file")
        return covers.read_ecoclimap(files.beside(folder, cover.table))
    return covers.read_class_table(files.beside(folder, cover.table) if cover.table else None)


def _texture(
    source: Raster | float, name: str, cells: Cells, config: LandConfig, folder: Path, notes: list[str]
) -> Array:
    if isinstance(source, float | int):
        return np.full(len(cells), float(source))
    values = _averages(source, TEXTURE, PARTS, cells, config, folder, notes)[0]
    missing = np.flatnonzero(~np.isfinite(values))
    if missing.size:
        raise IngestError(
            f"{source.file}: {name} has no valid pixel in {missing.size} cells, the first {cells.name(int(missing[0]))}"
        )
    return values


def _elevation(cells: Cells, config: LandConfig, folder: Path, notes: list[str]) -> tuple[Array, Array]:
    """Mean elevation and its standard deviation in the cell, m; missing without a map, and then nothing is complex."""
    if config.elevation is None:
        return np.full(len(cells), np.nan), np.zeros(len(cells))
    if not isinstance(config.elevation, Raster):
        return np.full(len(cells), float(config.elevation)), np.zeros(len(cells))
    return _averages(config.elevation, METRES, HEIGHTS, cells, config, folder, notes)


def _averages(
    raster: Raster,
    units: dict[str, tuple[float, float]],
    limits: tuple[float, float],
    cells: Cells,
    config: LandConfig,
    folder: Path,
    notes: list[str],
) -> tuple[Array, Array]:
    """Mean and standard deviation of a map in the cells; a map coarser than the cells is interpolated."""
    path = files.beside(folder, raster.file)
    flat, latitude, longitude = read_raster(raster, units, cells, config.cell_size, path, limits, notes)
    average = grid.area_average(latitude, longitude, cells, config.cell_size)
    mean, deviation, count = average.apply(flat)
    if (count == 0).any():
        index, _ = grid.neighbours(latitude, longitude, cells, 1, 111.0 * config.cell_size * 2)
        nearest = np.where(index[:, 0] >= 0, flat[np.maximum(index[:, 0], 0)], np.nan)
        mean = np.where(count == 0, nearest, mean)
        deviation = np.where(count == 0, 0.0, deviation)
    return mean, deviation


def _pixels(latitude: Array, longitude: Array, cells: Cells, config: LandConfig, path: Path) -> AreaAverage:
    average = grid.area_average(latitude, longitude, cells, config.cell_size)
    empty = np.flatnonzero(average.available == 0)
    if empty.size:
        raise IngestError(
            f"{path}: {empty.size} of {len(cells)} cells have no pixel, the first {cells.name(int(empty[0]))}; the map "
            f"covers {latitude.min():.2f} to {latitude.max():.2f} N, {longitude.min():.2f} to {longitude.max():.2f} E"
        )
    return average


def read_raster(
    raster: Raster,
    units: dict[str, tuple[float, float]] | None,
    cells: Cells,
    margin: float,
    path: Path,
    limits: tuple[float, float] | None = None,
    notes: list[str] | None = None,
) -> tuple[Array, Array, Array]:
    """Values, latitudes and longitudes of the pixels near the cells, flat.

    Args:
        units: accepted units; None for classes.
        limits: what the values can be, in the unit that they are stored in.
        notes: takes what was decided about the attributes.
    """
    with files.open_netcdf(path, mask_and_scale=False) as dataset:
        array = files.variable(dataset, raster.variable, path).squeeze(drop=True)
        if array.ndim != 2:
            raise IngestError(f"{path}: {raster.variable} has dimensions {array.dims}, expected two")
        factor, offset = 1.0, 0.0
        if units is not None:
            if raster.unit is not None:
                array = array.assign_attrs(units=raster.unit)
            files.in_units(array, units, path)
            factor, offset = units[str(array.attrs["units"])]
        row_name, column_name = (next((n for n in names if n in dataset.variables), "") for names in _AXIS_NAMES)
        if row_name and column_name and dataset[row_name].ndim == 1 and dataset[column_name].ndim == 1:
            rows, columns = unpack(dataset[row_name], path).values, unpack(dataset[column_name], path).values
            inside = grid.box_around(rows, columns, cells, margin)
            if not (inside[0].size and inside[1].size):
                raise IngestError(
                    f"{path}: the map covers {rows.min():g} to {rows.max():g} N, {columns.min():g} to "
                    f"{columns.max():g} E, none of it near the target cells"
                )
            ordered = array.transpose(dataset[row_name].dims[0], dataset[column_name].dims[0])
            box = ordered.isel(dict(zip(ordered.dims, inside, strict=True)))
            latitude, longitude = np.meshgrid(rows[inside[0]], columns[inside[1]], indexing="ij")
        elif row_name and column_name:
            box = array
            latitude, longitude = unpack(dataset[row_name], path).values, unpack(dataset[column_name], path).values
        else:
            x = files.values(files.variable(dataset, "x", path), path).astype(np.float64)
            y = files.values(files.variable(dataset, "y", path), path).astype(np.float64)
            box = array.transpose("y", "x")
            latitude, longitude = sinusoidal_to_geographic(*np.meshgrid(x, y))
        own = None if limits is None else ((limits[0] - offset) / factor, (limits[1] - offset) / factor * (1.0 + 1e-6))
        found = unpack(box, path, own, raster)
    if notes is not None:
        notes.extend(f"{path.name}: {note}" for note in found.notes)
    return (found.values * factor + offset).reshape(-1), latitude.reshape(-1), longitude.reshape(-1)


_AXIS_NAMES = (("lat", "latitude", "nav_lat"), ("lon", "longitude", "nav_lon"))
