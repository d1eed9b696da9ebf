"""ISBA-A-gs, the land surface model of SURFEX, for many columns on plain arrays."""

from ldas.landmodel.errors import LandModelError, LdasError
from ldas.landmodel.forcing import Forcing
from ldas.landmodel.isba import Isba
from ldas.landmodel.options import Options
from ldas.landmodel.outputs import OutputRequest
from ldas.landmodel.parameters import Parameters, aggregate, columns, columns_from_fractions
from ldas.landmodel.state import State, cold_start, initial_state

__all__ = [
    "Forcing",
    "Isba",
    "LandModelError",
    "LdasError",
    "Options",
    "OutputRequest",
    "Parameters",
    "State",
    "aggregate",
    "cold_start",
    "columns",
    "columns_from_fractions",
    "initial_state",
]
