"""Observation operators: from what the land model knows to what a satellite sees, one function per grid cell."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldas.operators.architecture import ARCHITECTURES, search_architectures
    from ldas.operators.cells import cell_ids_from_coordinates
    from ldas.operators.checks import require
    from ldas.operators.direct import DirectOperator
    from ldas.operators.joint import JointOperator
    from ldas.operators.keras_file import export_keras, import_keras
    from ldas.operators.neural import NeuralOperator
    from ldas.operators.options import NeuralOptions
    from ldas.operators.outcome import Outcome
    from ldas.operators.protocol import ObservationOperator
    from ldas.operators.registry import from_arrays
    from ldas.operators.scores import score
    from ldas.operators.sensitivity import predictor_sensitivity
    from ldas.operators.water_cloud import WaterCloudOperator, WaterCloudOptions

_HOMES = {
    "ARCHITECTURES": "architecture",
    "DirectOperator": "direct",
    "JointOperator": "joint",
    "NeuralOperator": "neural",
    "NeuralOptions": "options",
    "ObservationOperator": "protocol",
    "Outcome": "outcome",
    "WaterCloudOperator": "water_cloud",
    "WaterCloudOptions": "water_cloud",
    "cell_ids_from_coordinates": "cells",
    "export_keras": "keras_file",
    "from_arrays": "registry",
    "import_keras": "keras_file",
    "predictor_sensitivity": "sensitivity",
    "require": "checks",
    "score": "scores",
    "search_architectures": "architecture",
}

__all__ = [
    "ARCHITECTURES",
    "DirectOperator",
    "JointOperator",
    "NeuralOperator",
    "NeuralOptions",
    "ObservationOperator",
    "Outcome",
    "WaterCloudOperator",
    "WaterCloudOptions",
    "cell_ids_from_coordinates",
    "export_keras",
    "from_arrays",
    "import_keras",
    "predictor_sensitivity",
    "require",
    "score",
    "search_architectures",
]


def __getattr__(name: str) -> Any:
    """Public names on first use, so that importing one part does not load compilers and optimisers of the others."""
    if name in _HOMES:
        return getattr(import_module(f"ldas.operators.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ldas.operators' has no attribute {name!r}")
