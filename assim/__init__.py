"""Filters that correct the land model with observations: pure functions on arrays, cell by cell."""

from ldas.assim.ensrf_cycle import EnsembleSquareRootFilter, EnSRFConfiguration
from ldas.assim.errors import (
    AssimilationError,
    AssimilationWindowError,
    FilterConfigurationError,
    ObservationInputError,
)
from ldas.assim.filter import CycleResult, Filter, FilterConfiguration, LandModel, Window
from ldas.assim.observations import ObservationError, ObservationType, WindowObservations
from ldas.assim.quality import QUALITY_MEANING, Quality
from ldas.assim.sekf_cycle import SEKFConfiguration, SimplifiedEKF

__all__ = [
    "QUALITY_MEANING",
    "AssimilationError",
    "AssimilationWindowError",
    "CycleResult",
    "EnSRFConfiguration",
    "EnsembleSquareRootFilter",
    "Filter",
    "FilterConfiguration",
    "FilterConfigurationError",
    "LandModel",
    "ObservationError",
    "ObservationInputError",
    "ObservationType",
    "Quality",
    "SEKFConfiguration",
    "SimplifiedEKF",
    "Window",
    "WindowObservations",
]
