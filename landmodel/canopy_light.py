"""Light in the canopy: three Gauss levels, or the ten layers of Carrer et al. (2013) (LTR_ML)."""

import math

from ldas.landmodel.compile import science
from ldas.landmodel.constants import SOLAR_CONSTANT
from ldas.landmodel.lanes import any_lane, arccos, exp, log, maximum, minimum, where
from ldas.landmodel.leaf import leaf

PAR_FRACTION = 0.48
_MINIMUM_COSINE = 0.01  # the sun is not followed closer to the horizon (source)
_GAUSS_NODES = (0.1127016653792583, 0.5, 0.8872983346207417)
_LEAF_EXTINCTION = 0.9442719
_CARRER_NODES = (0.0, 0.067468317, 0.160295216, 0.283302303, 0.425562831, 0.574437169, 0.716697697, 0.839704784,
                 0.932531683, 0.986953264, 1.0)  # fmt: skip
_UPPER_CANOPY = 0.8
_SINGLE_SCATTERING_ROOT = math.sqrt(1.0 - 0.15)  # PAR
_XI_UPPER = 2.0
_XI_LOWER = 7.0
_K_UPPER = 2.0
_K_LOWER = 1.0


@science
def gauss_canopy_light(node, shortwave, cosine_zenith, leaf_area):
    """Absorbed PAR per leaf area (W m-2) at one of the three Gauss levels (0 lowest).
    Source: docs/science/photosynthesis.md, section 5."""
    cosine = maximum(cosine_zenith, _MINIMUM_COSINE)
    diffuse = 0.25 / (0.25 + cosine)
    above = leaf_area * (1.0 - _GAUSS_NODES[node]) * _LEAF_EXTINCTION
    return (PAR_FRACTION * shortwave) * (
        1.0 - diffuse * (1.0 - exp(-0.8 * above)) - (1.0 - diffuse) * (1.0 - exp(-0.5 * above / cosine))
    )


@science
def diffuse_sky_fraction(shortwave, cosine):
    """Diffuse share of the incoming PAR (1) from the clearness of the sky (Erbs et al. 1982 fit of the source)."""
    clearness = shortwave / (SOLAR_CONSTANT * cosine)
    middle = 0.9511 + clearness * (-0.1604 + clearness * (4.388 + clearness * (-16.64 + clearness * 12.34)))
    transmission = math.exp(-0.1)
    clear = (1.0 - transmission) / (1.0 - (1.0 - cosine) * transmission)
    return where(clearness < 0.22, 1.0 - 0.09 * clearness, where(clearness < 0.8, middle, clear))


@science
def direct_clumping(b, k, xi, zenith):
    """Clumping of the direct beam at a zenith angle (rad)."""
    return 1.0 / (1.0 + b * exp(-k * exp((3.8 - 0.461 * xi) * log(maximum(zenith, 1.0e-10)))))


@science
def carrer_canopy(parameters, air, leaf_area, co2, deficit, mesophyll, capacity, compensation, efficiency, cuticular,
                  ratio, deficit_limit, open_stomata):  # fmt: skip
    """Leaf-mean net assimilation, vapour conductance and dark respiration over ten layers, each with sunlit and
    shaded leaves. Source: docs/science/photosynthesis.md, section 6 (Carrer et al. 2013)."""
    shortwave = air.shortwave
    cosine = maximum(air.cosine_zenith, _MINIMUM_COSINE)
    zenith = arccos(cosine)
    sky = diffuse_sky_fraction(shortwave, cosine)
    root = _SINGLE_SCATTERING_ROOT
    absorption_direct = 1.0 - (1.0 - root) / (1.0 + 2.0 * cosine * root)
    absorption_diffuse = 1.0 - (1.0 - root) / (1.0 + root)
    b_upper = parameters.clumping_upper
    b_lower = parameters.clumping_lower
    albedo = parameters.albedo_vegetation_visible
    floor_area = maximum(leaf_area, 1.0e-4)  # leafless canopies divide by this; their light is 0
    woody = parameters.woody > 0.5
    shading = leaf_area >= parameters.shading_leaf_area
    par = PAR_FRACTION * shortwave
    daylight = any_lane(shortwave > 0.0)
    through = leaf_area * 0.0 + 1.0
    diffuse = minimum(1.0, sky)
    diffuse_above = leaf_area * 0.0
    absorbed_above = leaf_area * 0.0
    assimilation = leaf_area * 0.0
    conductance = leaf_area * 0.0
    respiration = leaf_area * 0.0
    for step in range(10):
        layer = 9 - step
        lower = _CARRER_NODES[layer]
        weight = _CARRER_NODES[layer + 1] - lower
        factor = where(woody, exp(-0.2 * (leaf_area * (1.0 - lower))) / floor_area, 1.0)
        if not daylight:  # every leaf is dark, whatever passes the layers above
            dark = leaf(leaf_area * 0.0, co2, deficit, mesophyll, cuticular, capacity, compensation, efficiency, ratio,
                        deficit_limit, open_stomata, factor)  # fmt: skip
            assimilation = assimilation + weight * dark[0]
            conductance = conductance + weight * dark[1]
            respiration = respiration + weight * dark[2]
            continue
        if lower > _UPPER_CANOPY:
            clumping = direct_clumping(b_upper, _K_UPPER, _XI_UPPER, zenith)
            clumping_diffuse = (1.0 + 0.5 * b_upper) / (1.0 + b_upper)
            gap = exp(-(1.0 - lower) * clumping * leaf_area)
            diffuse = minimum((1.0 - gap) / (1.0 - (1.0 - cosine) * gap) + sky, 1.0)
        else:
            clumping = direct_clumping(b_lower, _K_LOWER, _XI_LOWER, zenith)
            clumping_diffuse = (1.0 + 0.5 * b_lower) / (1.0 + b_lower)
        area = weight * leaf_area
        through = through * (
            (1.0 - diffuse) * exp(-0.5 * absorption_direct * clumping * area / cosine)
            + diffuse * exp(-absorption_diffuse * clumping_diffuse * area)
        )
        absorbed = (1.0 - albedo) * (1.0 - through) * par
        if layer == 0:
            ground = parameters.albedo_soil_visible
            absorbed = absorbed + (1.0 - albedo) * (1.0 - albedo) * ground * (
                1.0 - exp(-absorption_diffuse * clumping_diffuse * leaf_area)
            ) * through * par  # fmt: skip
        per_leaf = maximum(0.0, absorbed - absorbed_above) / (weight * floor_area)
        # a closed canopy lets nothing through: the floor only keeps the division defined
        sunlit = per_leaf * where(shading, (1.0 - diffuse_above) / maximum(through, 1.0e-300) + diffuse_above, 1.0)
        bright = leaf(sunlit, co2, deficit, mesophyll, cuticular, capacity, compensation, efficiency, ratio,
                      deficit_limit, open_stomata, factor)  # fmt: skip
        dark = leaf(per_leaf * diffuse_above, co2, deficit, mesophyll, cuticular, capacity, compensation, efficiency,
                    ratio, deficit_limit, open_stomata, factor)  # fmt: skip
        share = where(shading, through, 1.0)
        # written so that without light, where bright and dark leaves are alike, the share has no part in it
        assimilation = assimilation + weight * (dark[0] + share * (bright[0] - dark[0]))
        conductance = conductance + weight * (dark[1] + share * (bright[1] - dark[1]))
        respiration = respiration + weight * (dark[2] + share * (bright[2] - dark[2]))
        diffuse_above = diffuse
        absorbed_above = absorbed
    return assimilation, conductance, respiration
