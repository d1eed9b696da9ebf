"""Where an observation must not be believed: static masks of a cell, and frozen soil and snow in the model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ldas.assim.controls import ControlVector, ObservedState
from ldas.assim.errors import FilterConfigurationError
from ldas.assim.quality import CodeArray, Quality
from ldas.assim.sekf_analysis import grid_mean
from ldas.landmodel import State
from ldas.landmodel.array_types import Array, BoolArray

MELTING_POINT = 273.15  # K
FrozenRule = Literal["every_patch", "any_patch"]


@dataclass(frozen=True)
class MaskThresholds:
    """Largest values at which a cell is kept. The paper gives none; these are the usual ones of ASCAT soil moisture
    (topographic complexity 20 %, wetland 5 %) and our own for urban area.

    topography: complexity (0-1); water, urban: cover fractions (0-1).
    """

    topography: float = 0.20
    water: float = 0.05
    urban: float = 0.20

    def __post_init__(self) -> None:
        """Raises FilterConfigurationError for a threshold outside 0 to 1."""
        for name in ("topography", "water", "urban"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise FilterConfigurationError(
                    f"mask threshold {name} is a fraction from 0 to 1, got {getattr(self, name)}; is it in percent?"
                )


def static_mask(topography: Array, water: Array, urban: Array, thresholds: MaskThresholds | None = None) -> CodeArray:
    """One code per cell, USED (0) where it is kept: (cell,) complexity, water and urban fractions (0-1).

    A cell whose fraction is unknown (NaN) is masked: nothing says that it may be kept.
    """
    limits = thresholds or MaskThresholds()
    codes = np.full(np.shape(topography), Quality.USED, dtype=np.int8)
    codes[~(urban <= limits.urban)] = Quality.MASKED_URBAN
    codes[~(water <= limits.water)] = Quality.MASKED_WATER
    codes[~(topography <= limits.topography)] = Quality.MASKED_TOPOGRAPHY
    return codes


def frozen_soil(controls: ControlVector, state: State | ObservedState, rule: FrozenRule = "every_patch") -> BoolArray:
    """(cell,) whether the soil of layer 2 (0.01-0.04 m) is frozen.

    every_patch: ice in all patches of the cell (SODA); any_patch: ice in at least one, or a mean temperature below
    freezing (the masking of frozen soil for backscatter).
    """
    ice = state.soil_ice[:, 1] > 0.0
    if rule == "every_patch":
        return ~controls.any_column(~ice)
    temperature = grid_mean(controls.fraction, controls.patches_of(state, "TG2"))
    return controls.any_column(ice) | (temperature < MELTING_POINT)


def snow_cover(controls: ControlVector, state: State | ObservedState, threshold: float = 0.0) -> BoolArray:
    """(cell,) whether any patch carries more snow than `threshold` (kg m-2)."""
    amount = state.snow_water_equivalent.sum(axis=-1)
    return controls.any_column(amount > threshold)
