"""What every filter is to the rest of the system: one cycle of a window, and its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.assim.controls import ControlsOfModel, ControlVector
from ldas.assim.errors import AssimilationWindowError
from ldas.assim.observations import ObservationType, WindowObservations, checked_types, correlations_of_types
from ldas.assim.quality import CodeArray
from ldas.landmodel import Forcing, OutputRequest, Parameters, State
from ldas.landmodel.array_types import Array, BoolArray

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
    ) -> tuple[State, dict[str, Array]]:
        """The state after `steps` steps and the outputs asked for, with a member axis where the state has one.

        The forcing's first record is at `start`. What a column or member does must not depend on the others.

        Args:
            allow_nonfinite: a column that blows up is returned as it is.
            where: True for the columns and members to run (None: all), shaped like the state's leading axes; the others
                keep their state.
        """


@dataclass(frozen=True)
class Window:
    """The 24 h that one cycle of a filter covers: from `start` to the analysis at `end`.

    forcing: its records from `start` to `end`, both included, every `forcing_step_s` seconds; step_s: time step of the
    model; threads: of the model. Make one with `Window.cut` from forcing that is longer.
    """

    start: np.datetime64
    forcing: Forcing
    step_s: int = 1800
    forcing_step_s: int = 3600
    threads: int = 1

    @property
    def end(self) -> np.datetime64:
        """Time of the analysis."""
        return self.start + WINDOW

    @classmethod
    def cut(
        cls,
        forcing: Forcing,
        start: np.datetime64 | str,
        *,
        forcing_start: np.datetime64 | str | None = None,
        step_s: int = 1800,
        forcing_step_s: int = 3600,
        threads: int = 1,
    ) -> "Window":
        """The window that begins at `start`, cut from forcing whose first record is at `forcing_start` (or `start`).

        Raises:
            AssimilationWindowError: if the forcing does not have a record at the start and at the end.
        """
        begin: np.datetime64 = np.array([start], dtype="datetime64[s]")[0]
        first: np.datetime64 = begin if forcing_start is None else np.array([forcing_start], dtype="datetime64[s]")[0]
        step = np.timedelta64(forcing_step_s, "s")
        records = np.shape(forcing.Tair)[0]
        last = first + (records - 1) * step
        if begin < first or begin + WINDOW > last:
            raise AssimilationWindowError(
                f"the window {begin} to {begin + WINDOW} is not inside the forcing, whose {records} records every "
                f"{forcing_step_s} s run from {first} to {last}; give forcing for the whole assimilation period"
            )
        if (begin - first) % step or WINDOW % step:
            raise AssimilationWindowError(
                f"the forcing has no record at {begin}: its records are every {forcing_step_s} s from {first}; choose "
                "an analysis hour at which it has one"
            )
        part = slice((begin - first) // step, (begin - first + WINDOW) // step + 1)
        return cls(begin, Forcing(*(np.asarray(values)[part] for values in forcing)), step_s, forcing_step_s, threads)

    def run(
        self,
        model: LandModel,
        state: State,
        *,
        forcing: Forcing | None = None,
        output: OutputRequest | None = None,
        where: BoolArray | None = None,
    ) -> tuple[State, dict[str, Array]]:
        """The model over the window; what blows up there is returned as it is.

        Args:
            forcing: in place of the window's own, such as a member's.
            where: see `LandModel.run`.
        """
        return model.run(
            state,
            self.forcing if forcing is None else forcing,
            start=self.start,
            step_s=self.step_s,
            steps=WINDOW_S // self.step_s,
            forcing_step_s=self.forcing_step_s,
            output=output,
            threads=self.threads,
            allow_nonfinite=True,
            where=where,
        )


class CycleResult(NamedTuple):
    """What one cycle leaves behind. Axes: column, cell, observation (types in the filter's order, the overpasses of one
    type one after the other), control.

    state: start of the next window and the complete restart (with a member axis where the filter keeps an ensemble).
    forecast, analysis: best estimate at the window's end before and after the increments, without member axis, NaN in
    cells set aside.
    outputs: of the forecast over the window (time, column, ...), NaN in cells set aside.
    observation, predicted (Y), predicted_analysis (Y of the analysis), innovation (y - Y), residual (y - Y of the
    analysed state; of an overpass, inside the window, y - Y - H dx), linear_residual (d - H dx, which Desroziers'
    diagnostics need): (cell, observation), NaN where there is none.
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
    outputs: dict[str, Array]
    observation: Array
    predicted: Array
    predicted_analysis: Array
    innovation: Array
    residual: Array
    linear_residual: Array
    observation_variance: Array
    background_variance: Array
    degrees_of_freedom: Array
    chi_square: Array
    used_count: NDArray[np.int64]
    quality: CodeArray
    increment: Array
    jacobian: Array | None
    set_aside: BoolArray


class FilterConfiguration(Protocol):
    """Options of a filter, and the filter made with them: all that the assimilation stage knows of it beforehand."""

    @property
    def controls(self) -> tuple[str, ...]:
        """The control variables, in the order of every control axis."""

    @property
    def model_runs(self) -> int:
        """Runs of the model in a window, at most: what its cost and memory follow from."""

    @property
    def carried(self) -> tuple[str, ...]:
        """What the states carried from window to window are called, as appended to the run's name in restarts: one
        empty name, or one a member."""

    def make(self, observation_types: Sequence[ObservationType], cell_ids: ArrayLike) -> "Filter":
        """The filter of some cells; operators for other cells raise OperatorMismatchError."""


class FilterOfCells:
    """What the filters of this package share: observation types and control variables of a set of cells."""

    def __init__(
        self,
        controls: tuple[str, ...],
        leaf_biomass: Literal["BSLAI", "legacy"],
        observation_types: Sequence[ObservationType],
        cell_ids: ArrayLike,
    ) -> None:
        """cell_ids (cell,): identity of each cell; operators for other cells raise OperatorMismatchError."""
        self.cell_ids = np.asarray(cell_ids, dtype=np.int64)
        self.observation_types = checked_types(observation_types, self.cell_ids)
        self.error_correlations = correlations_of_types(self.observation_types, self.cell_ids.size)
        self.control_names = controls
        self._controls = ControlsOfModel(self.cell_ids.size, controls, leaf_biomass)

    def controls_of(self, parameters: Parameters) -> ControlVector:
        """The control vector of the model's columns."""
        return self._controls.of(parameters)


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

    def carried_states(self, state: State) -> tuple[State, ...]:
        """The states (column, ...) to store as restarts, in the order of `FilterConfiguration.carried`."""

    def resumed_state(self, states: Sequence[State]) -> State:
        """Inverse of `carried_states`."""

    def cycle(
        self,
        model: LandModel,
        state: State,
        window: Window,
        observations: Mapping[str, WindowObservations],
        *,
        output: OutputRequest | None = None,
        set_aside: BoolArray | None = None,
    ) -> CycleResult:
        """Forecast over the window and analysis at its end.

        Args:
            model: the land model.
            state: of the window's start, from `initial_state` or the last result.
            window: its times and forcing.
            observations: by name of their type, all belonging to (start, end].
            output: what the forecast puts out.
            set_aside: (cell,), cells that are no longer analysed, from the last result.
        """


def finite_cells(controls: ControlVector, start: State, end: State) -> BoolArray:
    """(cell,) False where a number of the state turned non-finite in the window, or a control variable is not finite.

    What is undefined (NaN) from the start, such as snow layers that do not exist, does not count.
    """
    values = controls.values(end)
    broken = np.asarray(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
    for before, after in zip(start, end, strict=True):
        finite = np.isfinite(after)
        if not finite.all():  # hardly ever: the start is looked at only then
            turned = np.isfinite(before) & ~finite
            broken = broken | turned.any(axis=tuple(range(1, turned.ndim)))
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


def masked_outputs(outputs: Mapping[str, Array], columns: BoolArray) -> dict[str, Array]:
    """Outputs (time, column, ...) with NaN in the columns that are True."""
    if not columns.any():
        return dict(outputs)
    masked = {name: values.copy() for name, values in outputs.items()}
    for values in masked.values():
        values[:, columns] = np.nan
    return masked
