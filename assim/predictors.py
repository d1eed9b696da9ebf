"""What operators may be given: state variables as grid means, and the season."""

import numpy as np

from ldas.assim.controls import ControlVector, ObservedState, diagnosed, variable_unit
from ldas.assim.errors import FilterConfigurationError
from ldas.assim.sekf_analysis import grid_mean
from ldas.landmodel import State, quantities
from ldas.landmodel.array_types import Array, Times

SEASON = ("DOY_COS", "DOY_SIN")
"""Cosine and sine of the time of year, two predictors that no state has: 1 and 0 at the turn of the year."""
SCREEN_LEVEL = ("T2M", "Q2M", "HU2M")
"""Temperature and humidity at 2 m, which no state has: the land model diagnoses them at the hour of an observation."""
_INTERCEPTED = "WR"
_UNITS = {quantity.surfex or quantity.name: quantity.unit for quantity in (*quantities.STATE, *quantities.FLUXES)}
_TURN_OF_YEAR = np.datetime64("2001-01-01", "s")
_YEAR_S = 365.2425 * 86400.0


def predictor_unit(name: str) -> str:
    """Unit of a predictor: a state variable (`variable_unit`), WR, one of SCREEN_LEVEL or of SEASON.

    Raises:
        FilterConfigurationError: an unknown name.
    """
    if name in SEASON:
        return "1"
    if name == _INTERCEPTED or name in SCREEN_LEVEL:
        return _UNITS[name]
    try:
        return variable_unit(name)
    except FilterConfigurationError as error:
        others = ", ".join((*SCREEN_LEVEL, *SEASON))
        raise FilterConfigurationError(f"{error}, WR (intercepted water), {others}") from error


def season(name: str, times: Times | np.datetime64) -> Array:
    """A predictor of SEASON at some times (UTC), of their shape; smooth over leap years."""
    turns = (np.asarray(times, dtype="datetime64[s]") - _TURN_OF_YEAR) / np.timedelta64(1, "s") / _YEAR_S
    return np.asarray((np.cos if name == SEASON[0] else np.sin)(2.0 * np.pi * turns))


def patches_of(controls: ControlVector, state: State | ObservedState, name: str) -> Array:
    """A predictor that the model has, as (cell, 12[, member]), zero where it is undefined."""
    if name in SCREEN_LEVEL:
        return controls.to_cells(diagnosed(state, name))
    if name != _INTERCEPTED:
        return controls.patches_of(state, name)
    if isinstance(state, ObservedState):
        raise FilterConfigurationError("WR is no predictor of overpasses, only of observations at the window's end")
    return controls.to_cells(np.asarray(state.intercepted_water))


def predictor(controls: ControlVector, state: State | ObservedState, name: str, times: Times | np.datetime64) -> Array:
    """A predictor of the cells, (cell[, member]).

    Args:
        times: at which the state is, one or (cell,).
    """
    if name not in SEASON:
        return grid_mean(controls.fraction, patches_of(controls, state, name))
    members = state.leaf_area_index.shape[1:]
    values = np.broadcast_to(season(name, times), (controls.cells,)).reshape(-1, *(1 for _ in members))
    return np.broadcast_to(values, (controls.cells, *members)).copy()
