"""Physical ranges of parameters, state and forcing. What lies outside stops before anything is computed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landmodel.errors import LandModelError

Array = NDArray[np.float64]


class Range(NamedTuple):
    """Lowest and highest possible value, unit, and the likely mistake behind a value below or above."""

    low: float
    high: float
    unit: str
    below: str = ""
    above: str = ""

    def first_outside(self, values: Array) -> tuple[int, ...] | None:
        """Index of the first value outside; undefined values are outside every range."""
        bad = ~((values >= self.low) & (values <= self.high))
        return tuple(int(i) for i in np.argwhere(bad)[0]) if bad.any() else None

    def message(self, value: float) -> str:
        """What was expected and what came."""
        mistake = self.below if value < self.low else self.above if value > self.high else ""
        hint = f" ({mistake})" if mistake else ""
        return f"expected {self.low:g} to {self.high:g} {self.unit}, got {float(value)!r}{hint}"


PARAMETER_RANGES = {
    "minimum_lai": Range(0.0, 10.0, "m2 m-2"),
    "mesophyll_conductance": Range(1.0e-6, 0.1, "m s-1"),
    "cuticular_conductance": Range(0.0, 0.1, "m s-1"),
    "maximum_deficit": Range(1.0e-4, 1.0, "kg kg-1"),
    "critical_stress": Range(0.01, 0.99, "1"),
    "defensive": Range(0.0, 1.0, "(1: defensive, 0: offensive)"),
    "assimilation_capacity": Range(1.0e-9, 1.0, "kg m-2 s-1"),
    "ci_ratio": Range(0.01, 0.99, "1"),
    "quantum_efficiency": Range(1.0e-10, 1.0e-6, "kg J-1"),
    "compensation_point": Range(0.1, 500.0, "ppm"),
    "optimal_assimilation": Range(1.0e-12, 1.0, "kg kg-1 m s-1"),
    "vegetation_inertia_coefficient": Range(1.0e-6, 1.0e-3, "K m2 J-1"),
    "vegetation_cover": Range(-1.0, 1.0, "(0 to 1, or -1: from the LAI)"),
    "interception_coefficient": Range(0.0, 10.0, "kg m-2"),
    "albedo_soil_near_infrared": Range(0.0, 1.0, "1"),
    "albedo_soil_visible": Range(0.0, 1.0, "1"),
    "albedo_vegetation_near_infrared": Range(0.0, 1.0, "1"),
    "albedo_vegetation_visible": Range(0.0, 1.0, "1"),
    "leaf_biomass_ratio": Range(1.0e-4, 10.0, "kg m-2"),
    "senescence_time": Range(86400.0, 1.0e10, "s", below="is it in days?"),
    "plant_height": Range(0.0, 100.0, "m"),
    "soil_respiration_25": Range(0.0, 1.0e-4, "kg m-2 s-1"),
    "runoff_depth": Range(0.01, 12.0, "m"),
    "air_height": Range(0.1, 200.0, "m"),
    "wind_height": Range(0.1, 200.0, "m"),
    "cell_size": Range(1.0e-3, 1.0e4, "km"),
    "porosity": Range(0.05, 0.95, "m3 m-3"),
    "wilting_point": Range(0.0, 0.95, "m3 m-3"),
    "retention_exponent": Range(1.0, 30.0, "1"),
    "entry_potential": Range(-100.0, -1.0e-6, "m"),
    "hydraulic_conductivity": Range(1.0e-12, 1.0e-1, "m s-1"),
    "dry_conductivity": Range(1.0e-3, 20.0, "W m-1 K-1"),
    "solid_conductivity": Range(1.0e-2, 50.0, "W m-1 K-1"),
}

STATE_RANGES = {
    "soil_temperature": Range(150.0, 360.0, "K", below="is it in deg C? 0 deg C is 273.15 K"),
    "soil_water": Range(0.0, 1.0, "m3 m-3", above="is it in percent?"),
    "soil_ice": Range(0.0, 1.0, "m3 m-3"),
    "intercepted_water": Range(0.0, 100.0, "kg m-2"),
    "snow_water_equivalent": Range(0.0, 1.0e5, "kg m-2"),
    "snow_density": Range(1.0, 1000.0, "kg m-3", below="an empty layer has 50"),
    "snow_heat": Range(-1.0e9, 1.0e8, "J m-3"),
    "snow_age": Range(0.0, 1.0e5, "days"),
    "snow_albedo": Range(0.0, 1.0, "1"),
    "leaf_area_index": Range(0.0, 20.0, "m2 m-2"),
    "biomass": Range(-10.0, 1.0e3, "kg m-2"),
    "respired_biomass": Range(-10.0, 1.0e3, "kg m-2"),
    "daily_net_assimilation": Range(-10.0, 10.0, "kg m-2"),
    "maximum_leaf_assimilation": Range(-1.0, 1.0, "kg kg-1 m s-1"),
    "net_assimilation": Range(-1.0, 1.0, "kg kg-1 m s-1"),
    "latent_heat_flux": Range(-1.0e5, 1.0e5, "W m-2"),
    "aerodynamic_resistance": Range(1.0e-4, 1.0e7, "s m-1"),
}

FORCING_RANGES = {
    "Tair": Range(150.0, 360.0, "K", below="is it in deg C? 0 deg C is 273.15 K"),
    "Qair": Range(0.0, 0.1, "kg kg-1", above="is it in g kg-1, or relative?"),
    "Wind": Range(0.0, 150.0, "m s-1", below="a speed is meant, not a component"),
    "PSurf": Range(3.0e4, 1.2e5, "Pa", below="is it in hPa?"),
    "SWdown": Range(0.0, 2.0e3, "W m-2", above="is it in J m-2?"),
    "LWdown": Range(20.0, 1.0e3, "W m-2", above="is it in J m-2?"),
    "Rainf": Range(0.0, 0.2, "kg m-2 s-1", above="is it in mm per hour or day?"),
    "Snowf": Range(0.0, 0.2, "kg m-2 s-1", above="is it in mm per hour or day?"),
    "CO2air": Range(1.0e-5, 1.0e-2, "kg m-3", above="is it in ppm?"),
}

DEPTH_RANGES = {"DG2": Range(0.01, 12.0, "m"), "DROOT": Range(0.0, 12.0, "m")}
CO2_RATIO_RANGE = Range(1.0e-5, 1.0e-2, "kg kg-1", above="is it in ppm?")


def numbers(values: ArrayLike, name: str) -> Array:
    """Values as float64; raises `LandModelError` for what is no number."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LandModelError(f"{name}: expected numbers, got {values!r} ({error})") from error


def per_column(values: ArrayLike, count: int, name: str) -> Array:
    """(column,) float64 from a number or (column,); raises `LandModelError` for another shape."""
    array = numbers(values, name)
    if array.shape not in ((), (count,)):
        raise LandModelError(f"{name}: expected a number or shape ({count},), got {array.shape}")
    return np.broadcast_to(array, (count,)).copy()


def whole_per_column(values: ArrayLike, count: int, name: str, low: int, high: int) -> NDArray[np.int64]:
    """(column,) whole numbers between two limits; raises `LandModelError` for anything else."""
    array = per_column(values, count, name)
    bad = ~((array >= low) & (array <= high) & (array == np.round(array)))
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise LandModelError(
            f"{name} of column {where}: expected a whole number {low} to {high}, got {float(array[where])!r}"
        )
    return array.astype(np.int64)


def check_fractions(cell: NDArray[np.int64], fraction: Array) -> None:
    """The columns of a cell share it: raises `LandModelError` where they are nothing or more than all of it."""
    bad = ~((fraction > 0.0) & (fraction <= 1.0))
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise LandModelError(
            f"fraction of column {where} (cell {int(cell[where])}): expected more than 0 and at most 1, got "
            f"{float(fraction[where])!r}"
        )
    total = np.bincount(cell, weights=fraction)
    if (total > 1.0 + 1.0e-6).any():
        where = int(np.flatnonzero(total > 1.0 + 1.0e-6)[0])
        raise LandModelError(
            f"fractions of cell {where}: expected that its {int((cell == where).sum())} columns add to at most 1, got "
            f"{float(total[where])!r}"
        )
