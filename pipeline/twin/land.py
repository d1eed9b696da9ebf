"""The synthetic land: elevation, texture, patches and masks of the grid, and the cells that pass the masks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from ldas.assim.masks import MaskThresholds, static_mask
from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.evaluation.stations import cell_at
from ldas.pipeline.ingest.config import CellsConfig, Region
from ldas.pipeline.ingest.grid import target_cells
from ldas.pipeline.settings.twin import TwinConfig
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES
from ldas.pipeline.twin.climate import Climate
from ldas.pipeline.twin.fields import KM_PER_DEGREE, Modes, Places
from ldas.pipeline.twin.geography import (
    Geography,
    distance_km,
    distance_to_line,
    elliptic_distance,
    geography,
    is_sea,
    mediterranean_weight,
    smooth_step,
)

PATCHES = 12
ROCK_AND_URBAN, BARE, CROPS = 2, 1, (7, 8, 9)
_FINE = 8  # points of a cell along each side, for coasts and relief
_PAIRS = 24
TEXTURE_LENGTH_KM, COVER_LENGTH_KM, HEIGHT_LENGTH_KM = 45.0, 35.0, 30.0


def make_land(config: TwinConfig) -> xr.Dataset:
    """The group `land`: the cells of the grid that pass the masks (rows from south to north), or a subset of them.

    Raises:
        ConfigurationError: a subset that is not known, or has no cell that passes the masks.
    """
    whole = whole_grid(config)
    kept = (whole["mask"] == Quality.USED).to_numpy()
    if config.subset != "all":
        kept &= _in_subset(config, whole)
    if not kept.any():
        raise ConfigurationError("twin: no cell passes the masks; choose higher thresholds in twin.masks")
    land = whole.isel(cell=np.flatnonzero(kept)).drop_vars("mask")
    attributes = {
        **SYNTHETIC_ATTRIBUTES,
        "masks": f"topography <= {config.masks.topography}, water <= {config.masks.water}, "
        f"urban <= {config.masks.urban}: {int((whole['mask'] == Quality.USED).sum())} of {whole.sizes['cell']} cells",
        "subset": config.subset,
    }
    return land.assign_coords(cell=np.arange(land.sizes["cell"])).assign_attrs(attributes)


def whole_grid(config: TwinConfig) -> xr.Dataset:
    """Land of every cell of the grid, sea and mountains too, with its code `mask` (ldas.assim.quality, 0: kept)."""
    outlines, places = geography(), grid_places(config)
    heights = _heights(config, outlines, places)
    urban = _urban(outlines, places, config.region.step)
    clay, sand = _texture(config, outlines, places)
    limits = MaskThresholds(config.masks.topography, config.masks.water, config.masks.urban)
    above = np.maximum(heights.elevation - _plain(outlines, places), 0.0)
    return xr.Dataset(
        {
            "latitude": ("cell", places.latitude),
            "longitude": ("cell", places.longitude),
            "elevation": ("cell", heights.elevation),
            "clay": ("cell", clay),
            "sand": ("cell", sand),
            "patch_fraction": (("cell", "patch"), _cover(config, outlines, places, above, urban)),
            "topographic_complexity": ("cell", heights.complexity),
            "water_fraction": ("cell", heights.water),
            "urban_fraction": ("cell", urban),
            "mask": ("cell", static_mask(heights.complexity, heights.water, urban, limits)),
        },
        coords={"cell": np.arange(len(places)), "patch": np.arange(1, PATCHES + 1)},
    )


def grid_places(config: TwinConfig) -> Places:
    """Centres of the grid's cells."""
    cells = target_cells(CellsConfig(region=Region(**config.region.model_dump())))
    return Places(cells.latitude, cells.longitude)


def climate_of(land: xr.Dataset) -> Climate:
    """The climate of some cells of the land."""
    places = Places(land["latitude"].to_numpy().astype(np.float64), land["longitude"].to_numpy().astype(np.float64))
    return Climate(places, land["elevation"].to_numpy().astype(np.float64), mediterranean_weight(places, geography()))


def require_subset(config: TwinConfig) -> None:
    """ConfigurationError for a subset that is not known, with those that are."""
    known = ("all", *geography().subsets)
    if config.subset not in known:
        raise ConfigurationError(f"twin.subset '{config.subset}' is not known; known are {', '.join(known)}")


def _in_subset(config: TwinConfig, whole: xr.Dataset) -> npt.NDArray[np.bool_]:
    require_subset(config)
    outlines = geography()
    chosen = np.zeros(whole.sizes["cell"], dtype=bool)
    for code in outlines.subsets[config.subset]:
        latitude, longitude = whole["latitude"].to_numpy(), whole["longitude"].to_numpy()
        cell = cell_at(*outlines.stations[code].place, latitude, longitude)
        if cell is not None:
            chosen[cell] = True
    return chosen


@dataclass(frozen=True)
class _Heights:
    elevation: Array
    complexity: Array
    water: Array


def _plain(outlines: Geography, places: Places) -> Array:
    plain = outlines.plain
    from_coast = np.maximum(places.longitude - plain.from_longitude, 0.0) * KM_PER_DEGREE * np.cos(np.deg2rad(44.0))
    lowered = 1.0 - plain.mediterranean_lowering * mediterranean_weight(places, outlines)
    return (plain.at_the_coast + plain.rise_per_km * from_coast) * lowered


def _mountains(outlines: Geography, places: Places) -> Array:
    """Height above the plain, m."""
    total = np.zeros(len(places))
    for ridge in outlines.ridges:
        distance, height = distance_to_line(places, ridge.line)
        total = np.maximum(total, height * np.exp(-((distance / ridge.width) ** 2)))
    for dome in outlines.domes:
        total = total + dome.height * np.exp(-((distance_km(places, dome.centre) / dome.radius) ** 2))
    return total


def _heights(config: TwinConfig, outlines: Geography, places: Places) -> _Heights:
    """Means over the cells' fine points: height, its spread, and the part that is water."""
    offsets = config.region.step * ((np.arange(_FINE) + 0.5) / _FINE - 0.5)
    north, east = (part.reshape(-1) for part in np.meshgrid(offsets, offsets, indexing="ij"))
    fine = Places((places.latitude[:, None] + north).reshape(-1), (places.longitude[:, None] + east).reshape(-1))
    modes = Modes(config.seed, "land height", HEIGHT_LENGTH_KM, _PAIRS)
    above = _mountains(outlines, fine) * np.exp(outlines.random_height * modes.constant(fine))
    wet = is_sea(fine, outlines)
    for body in outlines.water_bodies:
        wet |= distance_km(fine, body.centre) < body.radius
    shape = (len(places), _FINE * _FINE)
    height = np.where(wet, 0.0, _plain(outlines, fine) + above).reshape(shape)
    above = np.where(wet, 0.0, above).reshape(shape)
    spread = np.hypot(height.std(axis=1), outlines.relief_per_height * above.mean(axis=1))
    return _Heights(
        height.mean(axis=1),
        np.minimum(spread / outlines.complexity_scale, 1.0),
        wet.reshape(shape).mean(axis=1),
    )


def _urban(outlines: Geography, places: Places, step: float) -> Array:
    """Built fraction: a town's area spread as a Gaussian over the cells, its sum kept."""
    cell_area = (step * KM_PER_DEGREE) ** 2 * np.cos(np.deg2rad(places.latitude))
    built = np.zeros(len(places))
    for town in outlines.towns:
        weight = np.exp(-((distance_km(places, town.centre) / outlines.town_radius) ** 2))
        if weight.sum() > 0.0:
            built += town.area * weight / max(weight.sum(), float(weight.max()))
    return np.minimum(built / cell_area, 1.0)


def _landscape_weights(outlines: Geography, places: Places) -> Array:
    """(landscape, cell), adding up to 1."""
    weights = np.stack(
        [np.exp(-(elliptic_distance(places, item.centre, item.radius) ** 2)) for item in outlines.landscapes]
    )
    weights[0] *= outlines.background
    return weights / weights.sum(axis=0)


def _texture(config: TwinConfig, outlines: Geography, places: Places) -> tuple[Array, Array]:
    weights = _landscape_weights(outlines, places)
    parts = []
    for name in ("clay", "sand"):
        mean = sum(weights[i] * getattr(item, name) for i, item in enumerate(outlines.landscapes))
        modes = Modes(config.seed, f"land {name}", TEXTURE_LENGTH_KM, _PAIRS)
        # 3 % at least: the pedotransfer functions know no soil without clay or sand.
        parts.append(np.maximum(mean + outlines.random_texture * modes.constant(places), 0.03))
    excess = np.maximum((parts[0] + parts[1]) / 0.95, 1.0)  # 5 % silt at least
    return parts[0] / excess, parts[1] / excess


def _cover(config: TwinConfig, outlines: Geography, places: Places, above: Array, urban: Array) -> Array:
    """Patch fractions (cell, 12)."""
    weights = _landscape_weights(outlines, places)
    cover = np.zeros((len(places), PATCHES))
    for i, item in enumerate(outlines.landscapes):
        total = sum(item.cover.values())
        for patch, share in item.cover.items():
            cover[:, patch - 1] += weights[i] * share / total
    nearest = np.min([distance_to_line(places, river.line)[0] for river in outlines.rivers], axis=0)
    near = np.exp(-((nearest / outlines.river_width) ** 2))
    for patch, share in outlines.river_crops.items():
        cover[:, patch - 1] += share * near
    given_way = smooth_step(above, (outlines.crops_give_way.begin, outlines.crops_give_way.full))
    for patch in CROPS:
        lost = cover[:, patch - 1] * given_way
        cover[:, patch - 1] -= lost
        cover[:, 4 - 1] += 0.5 * lost
        cover[:, 10 - 1] += 0.5 * lost
    for patch in range(1, PATCHES + 1):
        modes = Modes(config.seed, f"land patch {patch}", COVER_LENGTH_KM, _PAIRS)
        cover[:, patch - 1] *= np.exp(outlines.random_cover * modes.constant(places))
    cover /= cover.sum(axis=1, keepdims=True)
    cover[cover < outlines.smallest_share] = 0.0
    cover /= cover.sum(axis=1, keepdims=True)
    built = np.where(urban >= outlines.smallest_share, urban, 0.0)
    cover *= (1.0 - built)[:, None]
    cover[:, ROCK_AND_URBAN - 1] += built
    return cover / cover.sum(axis=1, keepdims=True)
