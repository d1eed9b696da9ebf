"""Snow fractions of ground and vegetation, and the albedo of snow (SURFEX isba_snow_frac.F90, SNOW3LALB)."""

from ldas.landmodel.compile import science
from ldas.landmodel.lanes import any_lane, maximum, minimum, sqrt

_FULL_COVER_DEPTH = 0.01  # m of snow hide bare ground (XDCRN_EXPL)
_ALBEDO_AGING_TIME = 60.0  # days (XVAGING_NOGLACIER)
BAND_WEIGHTS = (0.71, 0.21, 0.08)


@science
def total_snow(column, options):
    """Snow mass (kg m-2) and depth (m) of the pack."""
    mass = column.snow_water_equivalent[0]
    for layer in range(1, options.snow_layers):
        mass = mass + column.snow_water_equivalent[layer]
    depth = mass * 0.0
    if any_lane(mass > 0.0):
        for layer in range(options.snow_layers):
            depth = depth + column.snow_water_equivalent[layer] / column.snow_density[layer]
    return mass, depth


@science
def snow_fractions(column, work, options):
    """Shares of the surface under snow (1): bare ground, vegetation, all; mass and depth of the pack are kept.
    Source: docs/science/snow.md, section 1."""
    mass, depth = total_snow(column, options)
    work.snow_mass = mass
    work.snow_depth = depth
    ground = depth * 0.0
    leaves = ground
    if any_lane(mass > 0.0):
        ground = minimum(1.0, depth / _FULL_COVER_DEPTH)
        # the floor keeps the density of no snow defined
        density = minimum(maximum(mass / maximum(1.0e-6, depth), 50.0), 750.0)
        leaves = minimum(mass / (mass + density * 5.0 * work.vegetation_roughness), ground)
    fraction = work.vegetation_fraction
    work.snow_fraction_ground = ground
    work.snow_fraction_vegetation = leaves
    work.snow_fraction = (1.0 - fraction) * ground + fraction * leaves


@science
def optical_grain_size(density, age):
    """Optical grain diameter (m) from density (kg m-3) and age (days)."""
    squared = density * density
    return minimum(2.796e-3, 1.6e-4 + 1.1e-13 * squared * squared + 0.5e-4 * minimum(15.0, age))


@science
def band_albedos(density, age, pressure):
    """Albedo of snow in three bands (1) from density and age of its first layer and air pressure (Pa)."""
    size = optical_grain_size(density, age)
    root = sqrt(size)
    aging = (0.2 / _ALBEDO_AGING_TIME) * minimum(maximum(pressure * (1.0 / 87000.0), 0.5), 1.5)
    first = minimum(0.92, 0.96 - 1.58 * root)
    first = maximum(0.6, first - aging * minimum(365.0, age))
    second = maximum(0.3, 0.9 - 15.4 * root)
    limited = minimum(2.3e-3, size)
    third = maximum(0.0, 346.3 * limited - 32.31 * sqrt(limited) + 0.88)
    return first, second, third


@science
def broadband_albedo(first, second, third):
    """Albedo over all bands (1)."""
    return BAND_WEIGHTS[0] * first + BAND_WEIGHTS[1] * second + BAND_WEIGHTS[2] * third
