"""The outlines of the synthetic region (geography.yaml), and distances to them."""

from functools import cache
from importlib.resources import as_file, files
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ldas.landmodel.array_types import Array
from ldas.pipeline.settings.yaml_file import StrictModel, load_model
from ldas.pipeline.twin.fields import KM_PER_DEGREE, ORIGIN, Places

Point = tuple[float, float]

_EAST_KM = KM_PER_DEGREE * float(np.cos(np.deg2rad(ORIGIN[0])))


class WaterBody(StrictModel):
    """A round lake."""

    name: str
    centre: Point
    radius: float


class Plain(StrictModel):
    """Ground level: rises eastwards from the coast, lower by a part where the climate is Mediterranean."""

    at_the_coast: float
    rise_per_km: float
    from_longitude: float
    mediterranean_lowering: float


class Ridge(StrictModel):
    """Mountains along a line of (latitude, longitude, height)."""

    name: str
    width: float
    line: tuple[tuple[float, float, float], ...]


class Dome(StrictModel):
    """A round mountain."""

    name: str
    centre: Point
    height: float
    radius: float


class Town(StrictModel):
    """Built area (km2) around a centre."""

    name: str
    centre: Point
    area: float


class Landscape(StrictModel):
    """Soil and cover around a centre, with radii to east and north."""

    name: str
    centre: Point
    radius: Point
    clay: float
    sand: float
    cover: dict[int, float]


class River(StrictModel):
    """A line of (latitude, longitude)."""

    name: str
    line: tuple[Point, ...]


class CropsGiveWay(StrictModel):
    """Heights above the plain (m) from which crops begin to give way to forest, and from which there are none."""

    begin: float
    full: float


class MediterraneanClimate(StrictModel):
    """Longitudes (rising) and latitudes (falling off) between which the weight goes from 0 to 1."""

    longitude: Point
    latitude: Point


class Station(StrictModel):
    """A station for soil moisture."""

    name: str
    place: Point


class Geography(StrictModel):
    """See geography.yaml."""

    atlantic_coast: tuple[Point, ...]
    mediterranean_coast: tuple[Point, ...]
    water_bodies: tuple[WaterBody, ...]
    plain: Plain
    ridges: tuple[Ridge, ...]
    domes: tuple[Dome, ...]
    complexity_scale: float
    relief_per_height: float
    random_height: float
    towns: tuple[Town, ...]
    town_radius: float
    background: float
    landscapes: tuple[Landscape, ...]
    river_width: float
    river_crops: dict[int, float]
    rivers: tuple[River, ...]
    crops_give_way: CropsGiveWay
    random_cover: float
    random_texture: float
    smallest_share: float
    mediterranean_climate: MediterraneanClimate
    stations: dict[str, Station]
    subsets: dict[str, tuple[str, ...]]


@cache
def geography() -> Geography:
    """The committed region."""
    with as_file(files("ldas.pipeline.twin").joinpath("geography.yaml")) as path:
        return load_model(path, Geography)


def distance_km(places: Places, point: Point) -> Array:
    """Distance of places from a point, km."""
    north, east = _to_km(places, point)
    return np.hypot(north, east)


def elliptic_distance(places: Places, centre: Point, radius: Point) -> Array:
    """Distance from a centre in units of the radii to east and north."""
    north, east = _to_km(places, centre)
    return np.hypot(east / radius[0], north / radius[1])


def distance_to_line(places: Places, line: tuple[tuple[float, ...], ...]) -> tuple[Array, Array]:
    """Distance (km) from the nearest segment of a line, and the line's third value there (0 where it has none)."""
    nearest = np.full(len(places), np.inf)
    value = np.zeros(len(places))
    for start, end in pairwise(line):
        north, east = _to_km(places, (start[0], start[1]))
        along_north = KM_PER_DEGREE * (end[0] - start[0])
        along_east = _EAST_KM * (end[1] - start[1])
        part = np.clip((north * along_north + east * along_east) / (along_north**2 + along_east**2), 0.0, 1.0)
        distance = np.hypot(north - part * along_north, east - part * along_east)
        closer = distance < nearest
        nearest = np.where(closer, distance, nearest)
        if len(start) > 2:
            value = np.where(closer, (1.0 - part) * start[2] + part * end[2], value)
    return nearest, value


def is_sea(places: Places, outlines: Geography) -> npt.NDArray[np.bool_]:
    """Whether places lie west of the Atlantic coast or east of the Mediterranean one."""
    west, east = (np.array(line) for line in (outlines.atlantic_coast, outlines.mediterranean_coast))
    beyond_west = places.longitude < np.interp(places.latitude, west[:, 0], west[:, 1])
    return np.asarray(beyond_west | (places.longitude > np.interp(places.latitude, east[:, 0], east[:, 1])))


def smooth_step(values: Array, edges: Point) -> Array:
    """0 below the first edge, 1 above the second (or the other way round where the edges fall), smooth between."""
    part = np.clip((values - edges[0]) / (edges[1] - edges[0]), 0.0, 1.0)
    return part * part * (3.0 - 2.0 * part)


def mediterranean_weight(places: Places, outlines: Geography) -> Array:
    """Weight of the Mediterranean climate, (cell,) 0..1."""
    limits = outlines.mediterranean_climate
    east, north = smooth_step(places.longitude, limits.longitude), smooth_step(places.latitude, limits.latitude)
    return east * (1.0 - north)


def _to_km(places: Places, point: Point) -> tuple[Array, Array]:
    return KM_PER_DEGREE * (places.latitude - point[0]), _EAST_KM * (places.longitude - point[1])
