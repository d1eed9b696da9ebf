"""Water on the leaves: wet fraction, interception and drip (SURFEX wet_leaves_frac.F90, hydro_veg.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.lanes import any_lane, exp, log, maximum, minimum, where

_DRIP_THRESHOLD = 0.01  # kg m-2 of rain in the step (X001)


@science
def wet_leaf_fraction(column, parameters, work):
    """Wet share of the leaves (1) and the capacity of the interception reservoir (kg m-2).
    Source: docs/science/interception_runoff.md, section 1."""
    leaf_area = work.leaf_area_index
    capacity = parameters.interception_coefficient * work.vegetation_fraction * leaf_area
    work.interception_capacity = capacity
    wet = capacity * 0.0
    if any_lane(column.intercepted_water > 0.0):
        holds = capacity > 0.0
        size = where(holds, capacity, 1.0)
        water = minimum(column.intercepted_water, capacity)
        # dry leaves: the logarithm of the tiny floor gives a share that the last line sets to 0
        low = exp((2.0 / 3.0) * log(maximum(water / size, 1.0e-300)))
        slenderness = 1.0 + 2.0 * leaf_area
        high = water / ((1.0 - slenderness) * water + slenderness * size)
        tall = minimum(maximum(2.0 * work.roughness - 1.0, 0.0), 1.0)
        wet = where(holds & (water > 0.0), minimum(1.0, (1.0 - tall) * low + tall * high), 0.0)
    work.wet_fraction = wet


@science
def subgrid_drip(water, capacity, rain, fraction_raining, step):
    """Water falling from the leaves over the step (kg m-2 s-1) where rain is spread unevenly over the cell (CRAIN=SGH).

    Source: docs/science/interception_runoff.md, section 3. Where the first guess empties the leaves their content is
    exactly 0 (OWN rule: the source decides there by rounding).
    """
    drips = (rain > _DRIP_THRESHOLD / step) & (water > 0.0)
    safe_rain = where(drips, rain, 1.0)
    rate = safe_rain * exp(fraction_raining * (water - capacity) / (safe_rain * step))
    limit = water / step
    if step <= 300.0:
        return where(drips, minimum(rate, limit), 0.0)
    left = where(rate < limit, water - step * rate, 0.0)
    half = 0.5 * step
    rate_half = safe_rain * exp(fraction_raining * (water - capacity) / (safe_rain * half))
    left_half = where(rate_half < water / half, water - half * rate_half, 0.0)
    left = where(left > 0.0, left, left_half)
    rate = minimum(safe_rain * exp(fraction_raining * (left - capacity) / (safe_rain * step)), limit)
    return where(drips & (left > 0.0), rate, 0.0)


@science
def intercept_rain(column, work, flux, options, rain):
    """Update of the reservoir by the rain on the snow-free part (kg m-2 s-1) and by evaporation; returns the rain that
    reaches the ground (kg m-2 s-1)."""
    step = options.step
    fraction = work.vegetation_fraction
    capacity = work.interception_capacity
    caught = fraction * rain
    water = column.intercepted_water - step * (work.wet_canopy_loss - caught)
    shortage = minimum(0.0, water / step)
    water = maximum(0.0, water)
    drip = water * 0.0
    if options.drip_subgrid > 0:
        drip = subgrid_drip(water, capacity, caught, work.raining_fraction, step)
        water = water - step * drip
        shortage = shortage + minimum(0.0, water / step)
        water = maximum(0.0, water)
    drip = drip + maximum(0.0, (water - capacity) / step)
    column.intercepted_water = minimum(water, capacity)
    flux.DRIP = drip + shortage
    return (1.0 - fraction) * rain + drip + shortage
