"""The SYNTHETIC globe: the land cells of ERA5 at 0.25 degrees, with the synthetic region's land and a simple weather.

It has the size of the real thing, for runs that show what a year of the globe costs; it says nothing about any place.
Where land is comes from ERA5's land-sea mask (tables/era5_land.txt has source and licence), north of 60S. Soils and
plants are those of the region's cells, one after the other. The weather is made of formulas: the sun of each place, the
seasons of its latitude, waves of some days that travel eastwards and bring clouds, rain and snow. No number depends on
how the work is cut.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import xarray as xr

from ldas.landmodel.array_types import Array, Days, IntArray
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.forcing import physics
from ldas.pipeline.forcing.analytic import CO2
from ldas.pipeline.settings.twin import GlobeConfig, TwinConfig
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES
from ldas.pipeline.twin.climate import STEFAN_BOLTZMANN
from ldas.pipeline.twin.fields import Places, generator
from ldas.pipeline.twin.hourly_weather import ALL_RAIN_ABOVE, ALL_SNOW_BELOW
from ldas.pipeline.twin.land import make_land

HOURS = 24
_STEP = 0.25  # degrees
_PRESSURE = 98_000.0  # Pa
_TILE = 1000  # cells that share a stream of random numbers
_NOISE = 1e-3  # every value has its own, relative: of real fields, too, a codec finds the leading digits only
_EPOCH, _MIDSUMMER = np.datetime64("2000-01-01", "s"), 200.0
_NOISY = ("Tair", "Wind", "SWdown", "LWdown", "precipitation")


@cache
def land_places() -> Places:
    """All land cells, rows from north to south, each from Greenwich eastwards; longitudes from -180 to 180."""
    with files("ldas.pipeline.twin").joinpath("tables/era5_land.npz").open("rb") as file, np.load(file) as table:
        rows, columns = np.nonzero(np.unpackbits(table["land"], axis=1))
    latitude, longitude = 90.0 - _STEP * rows, (_STEP * columns + 180.0) % 360.0 - 180.0
    return Places(latitude.astype(np.float64), longitude.astype(np.float64))


def globe_places(config: GlobeConfig) -> Places:
    """The chosen cells: all, or `globe.cells` of them, evenly spaced.

    Raises:
        ConfigurationError: for more cells than there are.
    """
    everywhere = land_places()
    number = len(everywhere) if config.cells is None else config.cells
    if number > len(everywhere):
        raise ConfigurationError(f"globe.cells: {number}, but the globe has {len(everywhere)} cells with land")
    chosen = np.linspace(0, len(everywhere) - 1, number).astype(np.int64)
    return Places(everywhere.latitude[chosen], everywhere.longitude[chosen])


def globe_land(config: GlobeConfig) -> xr.Dataset:
    """The group `land`: the cells of the twin's region again and again, at the places of the globe."""
    places, region = globe_places(config), make_land(TwinConfig(seed=config.seed))
    land = region.isel(cell=np.arange(len(places)) % region.sizes["cell"])
    land = land.assign_coords(cell=np.arange(len(places)))
    land["latitude"], land["longitude"] = ("cell", places.latitude), ("cell", places.longitude)
    return land.assign_attrs(SYNTHETIC_ATTRIBUTES)


def globe_weather(seed: int, days: Days, places: Places, cells: IntArray) -> dict[str, np.ndarray]:
    """Hourly forcing (record, cell), float32, under its ALMA names: the 24 records of each day from its 00 UTC on.

    Args:
        days: (datetime64[D]) in a row.
        places: of the cells.
        cells: their numbers among those of the globe, which rise: random numbers belong to them.
    """
    fields = {name: np.empty((HOURS * len(days), len(places)), "float32") for name in registry.names("forcing")}
    for number, day in enumerate(days.astype("datetime64[D]")):
        for name, values in _day(seed, day, places, cells).items():
            fields[name][HOURS * number : HOURS * (number + 1)] = values
    return fields


def _day(seed: int, day: np.datetime64, places: Places, cells: IntArray) -> dict[str, Array]:
    """The weather of a day; precipitation of a record is that of the hour before it."""
    times = day.astype("datetime64[s]") + np.arange(HOURS) * np.timedelta64(3600, "s")
    noise = dict(zip(_NOISY, 1.0 + _NOISE * _normal(seed, day, cells), strict=True))
    declination, angle = physics.solar_angles(times, 0.0)
    north = np.sin(np.deg2rad(places.latitude))
    hour_angle = angle[:, None] + np.deg2rad(places.longitude)
    low = np.sqrt(1.0 - north**2) * np.cos(declination)[:, None] * np.cos(hour_angle)
    sun = np.maximum(north * np.sin(declination)[:, None] + low, 0.0)

    since = (times - _EPOCH).astype(np.float64)[:, None] / physics.SECONDS_PER_DAY
    fast = np.sin(2.0 * np.pi * (since / 5.3 - places.longitude / 45.0 + places.latitude / 60.0))
    slow = np.sin(2.0 * np.pi * (since / 17.0 - places.longitude / 90.0 - places.latitude / 40.0))
    cloud = np.maximum(0.7 * fast + 0.3 * slow, 0.0)
    summer = np.cos(2.0 * np.pi * (since - _MIDSUMMER) / 365.2425)  # of the north
    air = 300.0 - 38.0 * north**2 + 20.0 * north * summer + 4.0 * slow + 8.0 * (sun - 0.4)
    air = air * noise["Tair"]
    vapour = (0.55 + 0.3 * cloud) * physics.saturation_vapour_pressure(air)
    precipitation = 5e-4 * np.maximum(cloud - 0.5, 0.0) * noise["precipitation"]
    solid = physics.snow_fraction(air, ALL_SNOW_BELOW, ALL_RAIN_ABOVE)
    return {
        "Tair": air,
        "Qair": physics.specific_humidity(vapour, _PRESSURE),
        "Wind": (3.0 + 2.0 * cloud) * noise["Wind"],
        "PSurf": np.full(air.shape, _PRESSURE),
        "SWdown": 1000.0 * sun * (1.0 - 0.65 * cloud) * noise["SWdown"],
        "LWdown": (0.75 + 0.2 * cloud) * STEFAN_BOLTZMANN * air**4 * noise["LWdown"],
        "Rainf": precipitation * (1.0 - solid),
        "Snowf": precipitation * solid,
        "CO2air": np.full(air.shape, CO2),
    }


def _normal(seed: int, day: np.datetime64, cells: IntArray) -> Array:
    """Normal random numbers (variable, hour, cell) of a day."""
    number = int(day.astype("datetime64[D]").astype(np.int64))
    shape = (len(_NOISY), HOURS, _TILE)
    tiles = np.unique(cells // _TILE)
    drawn = [generator(seed, "globe", number, int(tile)).standard_normal(shape, dtype="float32") for tile in tiles]
    return np.concatenate(drawn, axis=2, dtype=np.float64)[:, :, cells - tiles[0] * _TILE]
