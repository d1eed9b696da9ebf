"""What every filter is to the rest of the system: one cycle of a window, and what comes out of it."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from assim.controls import ControlVector
from assim.errors import AssimilationWindowError
from assim.observations import ObservationType, WindowObservations
from assim.quality import CodeArray
from assim.sekf import BoolArray, FloatArray
from landmodel import Forcing, OutputRequest, Parameters, State

WINDOW_S = 86400
WINDOW = np.timedelta64(WINDOW_S, "s")


class LandModel(Protocol):
    """A land model as a filter needs it; `landmodel.Isba` is one."""

    @property
    def parameters(self) -> Parameters:
        """Parameters of the columns, with the cell and patch of each."""

    def run(
        self,
        state: State,
        forcing: Forcing,
        *,
        start: np.datetime64,
        step_s: float,
        steps: int,
        forcing_step_s: float,
        output: OutputRequest | None,
        threads: int,
        allow_nonfinite: bool,
        where: BoolArray | None,
    ) -> tuple[State, dict[str, FloatArray]]:
        """The state after `steps` steps and the outputs asked for, with a member axis where the state has one.

        The forcing's first record is at `start`. allow_nonfinite: a column that blows up is returned as it is. where:
        True for the columns and members to run (None: all), shaped like the state's leading axes; the others keep their
        state. What a column or member does must not depend on the others.
        """


class CycleResult(NamedTuple):
    """What one cycle leaves behind. Axes: column, cell, observation (types in the filter's order), control.

    state: start of the next window and the complete restart (with a member axis where the filter keeps an ensemble).
    forecast, analysis: best estimate at the window's end before and after the increments, without member axis, NaN in
    cells set aside.
    outputs: of the forecast over the window (time, column, ...), NaN in cells set aside.
    observation, predicted (Y), predicted_analysis (Y of the analysis), innovation (y - Y), residual (y - Y of the
    analysed state), linear_residual (d - H dx, the one that Desroziers' diagnostics need): (cell, observation), NaN
    where there is none.
    observation_variance: R; background_variance: H B H^T; degrees_of_freedom: H K (cell, observation), 0 where unused.
    chi_square (cell,): d^T S^-1 d over the used observations; used_count (cell,): how many they are.
    quality (cell, observation): codes of `Quality`. increment (column, control): after limits.
    jacobian: H (cell, observation, patch, control) of the SEKF, 0 in a cell where no observation passed the screening
    against the forecast (nothing is perturbed there); None for a filter that has none.
    set_aside (cell,): True where the state turned non-finite now or was set aside before; such a cell keeps the
    state it had at the start of the window.
    """

    state: State
    forecast: State
    analysis: State
    outputs: dict[str, FloatArray]
    observation: FloatArray
    predicted: FloatArray
    predicted_analysis: FloatArray
    innovation: FloatArray
    residual: FloatArray
    linear_residual: FloatArray
    observation_variance: FloatArray
    background_variance: FloatArray
    degrees_of_freedom: FloatArray
    chi_square: FloatArray
    used_count: NDArray[np.int64]
    quality: CodeArray
    increment: FloatArray
    jacobian: FloatArray | None
    set_aside: BoolArray


class Filter(Protocol):
    """A filter: interchangeable in the assimilation stage."""

    @property
    def observation_types(self) -> tuple[ObservationType, ...]:
        """The observation types, in the order of every observation axis."""

    @property
    def control_names(self) -> tuple[str, ...]:
        """The control variables, in the order of every control axis."""

    def initial_state(self, parameters: Parameters, state: State) -> State:
        """The filter's first state from that of a single run (column, ...): itself, or an ensemble around it."""

    def cycle(
        self,
        model: LandModel,
        state: State,
        forcing: Forcing,
        start: np.datetime64 | str,
        observations: Mapping[str, WindowObservations],
        *,
        step_s: int = 1800,
        output: OutputRequest | None = None,
        forcing_start: np.datetime64 | str | None = None,
        forcing_step_s: int = 3600,
        threads: int = 1,
        set_aside: BoolArray | None = None,
    ) -> CycleResult:
        """Forecast over [start, start + 24 h) and analysis at its end.

        observations: by name of their type, all belonging to (start, start + 24 h]. forcing_start: time of the
        forcing's first record, `start` by default; it may go beyond the window. threads: of
        the model. set_aside (cell,): cells no longer analysed, from the last result.
        """


def forcing_of_window(
    start: np.datetime64 | str,
    forcing: Forcing,
    forcing_start: np.datetime64 | str | None,
    forcing_step_s: int,
    analysis_hour: int,
) -> tuple[np.datetime64, Forcing]:
    """Start of the window, and the forcing's records from there to the window's end.

    Raises AssimilationWindowError unless the hour is the analysis hour and the forcing has the window's records.
    """
    begin: np.datetime64 = np.array([start], dtype="datetime64[s]")[0]
    first: np.datetime64 = begin if forcing_start is None else np.array([forcing_start], dtype="datetime64[s]")[0]
    time_of_day = begin - begin.astype("datetime64[D]")
    if time_of_day != np.timedelta64(analysis_hour, "h"):
        raise AssimilationWindowError(
            f"a window starts at the analysis hour, {analysis_hour:02d}:00 UTC, but {begin} was asked for; start from "
            "a restart of that hour or change analysis_hour_utc"
        )
    step = np.timedelta64(forcing_step_s, "s")
    records = np.shape(forcing.Tair)[0]
    last = first + (records - 1) * step
    if begin < first or begin + WINDOW > last:
        raise AssimilationWindowError(
            f"the window {begin} to {begin + WINDOW} is not inside the forcing, whose {records} records every "
            f"{forcing_step_s} s go from {first} to {last}; give forcing for the whole assimilation period"
        )
    if (begin - first) % step or WINDOW % step:
        raise AssimilationWindowError(
            f"the forcing has no record at {begin}: its records are every {forcing_step_s} s from {first}; choose an "
            "analysis hour at which it has one"
        )
    window = slice((begin - first) // step, (begin - first + WINDOW) // step + 1)
    return begin, Forcing(*(np.asarray(values)[window] for values in forcing))


def run_window(
    model: LandModel,
    state: State,
    forcing: Forcing,
    *,
    start: np.datetime64,
    step_s: int,
    forcing_step_s: int,
    output: OutputRequest | None,
    threads: int,
    where: BoolArray | None = None,
) -> tuple[State, dict[str, FloatArray]]:
    """The model over the 24 h from `start`, where the forcing begins; what blows up there is returned as it is.

    where: see `LandModel.run`.
    """
    return model.run(
        state,
        forcing,
        start=start,
        step_s=step_s,
        steps=WINDOW_S // step_s,
        forcing_step_s=forcing_step_s,
        output=output,
        threads=threads,
        allow_nonfinite=True,
        where=where,
    )


def finite_cells(controls: ControlVector, start: State, end: State) -> BoolArray:
    """(cell,) False where a number of the state turned non-finite in the window, or a control variable is not finite.

    What is undefined (NaN) from the start, such as snow layers that do not exist, does not count.
    """
    values = controls.values(end)
    broken = np.asarray(~np.isfinite(values).reshape(values.shape[0], -1).all(axis=1))
    for before, after in zip(start, end, strict=True):
        finite = np.isfinite(after)
        if not finite.all():  # hardly ever: the start is looked at only then
            turned = np.isfinite(before) & ~finite
            broken = broken | turned.reshape(turned.shape[0], -1).any(axis=1)
    return ~controls.any_column(broken)


def keep_columns(columns: BoolArray, kept: State, other: State) -> State:
    """`kept` in the columns that are True, `other` elsewhere."""
    if not columns.any():
        return other
    pairs = zip(kept, other, strict=True)
    return State(*(np.where(columns.reshape((-1,) + (1,) * (old.ndim - 1)), old, new) for old, new in pairs))


def undefined_in(columns: BoolArray, state: State) -> State:
    """The state with NaN in the columns that are True."""
    if not columns.any():
        return state
    return keep_columns(columns, State(*(np.full_like(values, np.nan) for values in state)), state)


def masked_outputs(outputs: Mapping[str, FloatArray], columns: BoolArray) -> dict[str, FloatArray]:
    """Outputs (time, column, ...) with NaN in the columns that are True."""
    if not columns.any():
        return dict(outputs)
    masked = {name: values.copy() for name, values in outputs.items()}
    for values in masked.values():
        values[:, columns] = np.nan
    return masked
