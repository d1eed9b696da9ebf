"""Filters that correct the land model with observations: pure functions on arrays, cell by cell."""

from assim.ensemble_filter import EnsembleSquareRootFilter, EnSRFConfiguration
from assim.errors import (
    AssimilationError,
    AssimilationWindowError,
    FilterConfigurationError,
    ObservationInputError,
)
from assim.filter import CycleResult, Filter, FilterConfiguration, LandModel, Window
from assim.observations import ObservationError, ObservationType, WindowObservations
from assim.quality import QUALITY_MEANING, Quality
from assim.simplified_ekf import SEKFConfiguration, SimplifiedEKF

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
