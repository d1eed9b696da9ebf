"""Hydraulic and thermal constants of a soil from its texture (SURFEX mode_soil.F90), and the vertical grid."""

from itertools import pairwise

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.landmodel.errors import LandModelError

LAYER_BOTTOMS = np.array([0.01, 0.04, 0.10, 0.20, 0.40, 0.60, 0.80, 1.00, 1.50, 2.00, 3.00, 5.00, 8.00, 12.00])
_INTERMEDIATE_DEPTHS = (1.25, 1.50, 1.75, 2.00, 2.25, 2.50, 2.75, 3.00, 3.50, 4.00, 4.50, 5.00, 5.50)
_MOVED_BOTTOMS: dict[float, dict[int, float]] = {
    1.25: {9: 1.25},
    1.75: {9: 1.25, 10: 1.75},
    2.25: {10: 2.25},
    2.5: {11: 2.5},
    2.75: {11: 2.75},
    3.5: {11: 3.5},
    4.0: {12: 4.0},
    4.5: {12: 4.5},
    5.5: {12: 5.5},
}
"""Depths that move layer bottoms (1-based layer numbers); the last one named is the lowest moist layer."""


def hydraulic_properties(clay: Array, sand: Array, pedotransfer: str) -> dict[str, Array]:
    """Constants of layers with given clay and sand fractions (1).

    CH78: Noilhan and Lacarrère 1995 after Clapp and Hornberger 1978; CO84: Cosby et al. 1984;
    docs/science/soil_parameters.md, sections 3 and 4.
    Returns porosity wsat, wilting point, field capacity w33 at -33 kPa (m3 m-3), exponent b, air-entry potential psisat
    (m), saturated conductivity Ksat (m s-1), dry and solid thermal conductivity (W m-1 K-1).
    """
    if pedotransfer == "CH78":
        porosity = 0.001 * (494.305 - 108.0 * sand)
        wilting = 0.0371342 * np.sqrt(100.0 * clay)
        capacity = (
            0.2298915119
            - 0.4062575773 * sand
            + 0.0874218705 * clay
            + 0.2942558675 * np.cbrt(sand)
            + 0.0413771051 * np.cbrt(clay)
        )
        exponent = 13.7 * clay + 3.501
        entry = -0.01 * 10.0 ** (1.85 - 0.88 * sand)
        conductivity = 1.0e-6 * 10.0 ** (
            1.61874 - 5.81989 * clay - 0.0907123 * sand + 5.29268 * clay**2 + 1.20332 * sand**2
        )
    else:
        porosity = 0.505 - 0.142 * sand - 0.037 * clay
        wilting = 0.15333 - 0.147 * sand + 0.33 * clay - 0.102 * clay**2
        capacity = (
            0.2016592588
            - 0.5785747196 * sand
            + 0.1113006987 * clay
            + 0.4305771483 * np.cbrt(sand)
            - 0.0080618093 * np.cbrt(clay)
        )
        exponent = 3.10 + 15.7 * clay - 0.3 * sand
        entry = -0.01 * 10.0 ** (1.54 - 0.95 * sand + 0.63 * (1.0 - sand - clay))
        conductivity = 0.0254 * 10.0 ** (-0.6 + 1.26 * sand - 0.64 * clay) / 3600.0
    quartz = 0.038 + 0.95 * sand
    other = np.where(quartz > 0.20, 2.0, 3.0)
    dry_density = (1.0 - porosity) * 2700.0
    return {
        "porosity": porosity,
        "wilting_point": wilting,
        "field_capacity": capacity,
        "retention_exponent": exponent,
        "entry_potential": entry,
        "hydraulic_conductivity": conductivity,
        "dry_conductivity": (0.135 * dry_density + 64.7) / (2700.0 - 0.947 * dry_density),
        "solid_conductivity": 7.7**quartz * other ** (1.0 - quartz),
    }


def dynamic_range(clay: Array | float) -> Array:
    """COFSWI (m3 m-3): the force-restore field capacity of CH78 minus the wilting point, by which SODA scales
    perturbations and errors whatever the pedotransfer functions. Clay fraction (1) of the first layer."""
    percent = 100.0 * np.asarray(clay, dtype=np.float64)
    return 0.001 * (89.0467 * percent**0.3496 - 37.1342 * percent**0.5)


def soil_grid(depth: float) -> tuple[Array, int]:
    """Layer bottoms (m) and number of moist layers of a soil of some depth (m) (soilgrid.F90;
    docs/science/soil_parameters.md, section 1)."""
    if depth <= 1.1:
        water_depth = min(1.0, depth)
    elif depth <= 1.25:
        water_depth = 1.25
    elif depth <= 5.5:
        water_depth = 5.5
        for upper, lower in pairwise(_INTERMEDIATE_DEPTHS):
            if upper < depth <= lower:
                water_depth = upper if depth < 0.8 * upper + 0.2 * lower else lower
    else:
        water_depth = 8.0 if depth <= 8.0 else 12.0
    bottoms = LAYER_BOTTOMS.copy()
    if water_depth in _MOVED_BOTTOMS:
        moved = _MOVED_BOTTOMS[water_depth]
        for layer, bottom in moved.items():
            bottoms[layer - 1] = bottom
        return bottoms, max(moved)
    distance = np.abs(bottoms[1:] - water_depth)
    nearest = int(np.flatnonzero(distance <= distance.min() + 1e-9)[-1])  # ties go to the deeper layer
    return bottoms, nearest + 2


def cumulative_root_fraction(depth: Array, root_depth: float, extinction: float, linear: float) -> Array:
    """Share of the roots (1) above depths (m): Jackson et al. 1996 with a linear part
    (docs/science/soil_parameters.md, section 2)."""
    if root_depth <= 0.0:
        return np.zeros_like(depth)
    profile = (1.0 - extinction ** (100.0 * depth)) / (1.0 - extinction ** (100.0 * root_depth))
    return linear * np.minimum(1.0, depth / root_depth) + (1.0 - linear) * np.minimum(1.0, profile)


def runoff_depth(bottoms: Array, moist_layers: int, roots: Array, depth: float) -> float:
    """Depth (m) over which DT92 looks at saturation: the first bottom with 90 % of the roots, or 0.6 m."""
    if roots[-1] <= 0.0:
        return min(0.6, depth)
    reached = np.flatnonzero(roots >= 0.90)
    return float(bottoms[min(int(reached[0]), moist_layers - 1)])


def check_texture(clay: Array, sand: Array) -> None:
    """Refuse textures that no soil has.

    Raises:
        LandModelError: naming column, layer and value.
    """
    for name, values in (("clay", clay), ("sand", sand)):
        bad = ~((values >= 0.01) & (values <= 0.99))
        if bad.any():
            column, layer = (int(i) for i in np.argwhere(bad)[0])
            value = float(values[column, layer])
            hint = " (is it in percent?)" if value > 1.0 else ""
            raise LandModelError(
                f"{name} of column {column}, layer {layer + 1}: expected a fraction 0.01 to 0.99, got {value!r}{hint}"
            )
    total = clay + sand
    if (total > 1.0 + 1e-9).any():
        column, layer = (int(i) for i in np.argwhere(total > 1.0 + 1e-9)[0])
        raise LandModelError(
            f"clay + sand of column {column}, layer {layer + 1}: expected at most 1, got "
            f"{float(total[column, layer])!r}"
        )
