"""Blocks of lanes for calling single functions of the physics: records filled from columns, or field by field."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel import Options, Parameters, State, run_plan
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.layout import AIR_DTYPE, FLUX_DTYPE, PARAMETER_DTYPE, STATE_DTYPE, WORK_DTYPE


def _filled(dtype: np.dtype, rows: NDArray[np.float64]) -> NDArray[Any]:
    """A record whose lanes are the rows of a (column, value) matrix, repeated from the first where there are fewer."""
    record = np.zeros(1, dtype=dtype)
    lanes = np.arange(WIDTH) % len(rows)
    record.view(np.float64).reshape(-1, WIDTH)[:] = rows[lanes].T
    return record


def parameter_record(parameters: Parameters) -> NDArray[Any]:
    """Parameters of the first `WIDTH` columns."""
    return _filled(PARAMETER_DTYPE, parameters.to_rows())


def state_record(state: State) -> NDArray[Any]:
    """State of the first `WIDTH` columns."""
    return _filled(STATE_DTYPE, state.to_rows())


def _set(record: NDArray[Any], values: dict[str, Any]) -> NDArray[Any]:
    for name, value in values.items():
        field = record[name][0]
        array = np.asarray(value, dtype=np.float64)
        # one number a row is the same in all lanes
        field[:] = array[:, None] if field.ndim == 2 and array.shape == field.shape[:1] else array
    return record


def empty_state(**values: Any) -> NDArray[Any]:
    """State with some fields: a number, one per lane, or one per row."""
    return _set(np.zeros(1, dtype=STATE_DTYPE), values)


def empty_parameters(**values: Any) -> NDArray[Any]:
    """Parameters with some fields, as `empty_state`."""
    return _set(np.zeros(1, dtype=PARAMETER_DTYPE), values)


def air_record(**values: Any) -> NDArray[Any]:
    """Air of a step, as `empty_state`."""
    return _set(np.zeros(1, dtype=AIR_DTYPE), values)


def flux_record() -> NDArray[Any]:
    """Empty fluxes."""
    return np.zeros(1, dtype=FLUX_DTYPE)


def work_record(layers: int = 14, **values: Any) -> NDArray[Any]:
    """Scratch space of columns that all have `layers` moist layers; a thickness brings its inverse along."""
    if "thickness" in values:
        values["inverse_thickness"] = 1.0 / np.asarray(values["thickness"])
    record = np.zeros(1, dtype=WORK_DTYPE)
    record["most_layers"] = layers
    record["fewest_layers"] = layers
    return _set(record, values)


def option_record(options: Options | None = None, step: float = 1800.0, **values: Any) -> NDArray[Any]:
    """Options of a step; `values` set fields of the record itself."""
    record = run_plan.option_record(options or Options(), step, set())
    for name, value in values.items():
        record[name] = value
    return record
