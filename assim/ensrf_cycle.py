"""The ensemble square root filter behind the same protocol as the simplified EKF (Bonan et al. 2020).

The algebra is in `ensrf`. Between cycles the state carries the ensemble on its member axis. What Bonan et al. (2020)
used in detail could not be confirmed; sizes and memories of the perturbations are this project's own defaults, those
of the forcing are usual in land data assimilation (for example Reichle et al. 2007, doi:10.1029/2006JD008033).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ldas.assim import ensrf_analysis
from ldas.assim.controls import DEFAULT_CONTROLS, ControlVector, ObservedState, checked_controls
from ldas.assim.ensrf_analysis import member_mean
from ldas.assim.errors import FilterConfigurationError
from ldas.assim.filter import (
    CycleResult,
    FilterOfCells,
    LandModel,
    Window,
    finite_cells,
    keep_columns,
    masked_outputs,
    undefined_in,
)
from ldas.assim.innovations import (
    compared,
    equivalent,
    masks_of_rows,
    predicted_at_end,
    predictors,
    screened_by_sensitivity,
)
from ldas.assim.masks import FrozenRule
from ldas.assim.noise import autoregressive, centred
from ldas.assim.observation_covariance import covariance_of_rows
from ldas.assim.observations import ObservationType, WindowObservations, checked_observations
from ldas.assim.overpasses import Row, observation_rows, states_of_rows, with_states, without_states
from ldas.assim.quality import Quality
from ldas.landmodel import Forcing, OutputRequest, Parameters, State
from ldas.landmodel.array_types import BoolArray

# Numbers of the random series; stored runs depend on them: never renumber. Layer l of soil moisture is l, LAI is 0,
# SWE 15.
INITIAL_SERIES, FORCING_SERIES = 1000, 2000
EPOCH = np.datetime64("1970-01-01", "s")
FORCING_CORRELATION = np.array([[1.0, -0.8, 0.5], [-0.8, 1.0, -0.5], [0.5, -0.5, 1.0]])
"""Between precipitation, shortwave and longwave radiation (Reichle et al. 2007)."""


@dataclass(frozen=True)
class EnSRFConfiguration:
    """Options of the ensemble square root filter.

    members; seed: of all random series; controls, leaf_biomass, frozen_rule, snow_threshold: as in
    `SEKFConfiguration`. Additive noise on soil moisture, once a day: surface_noise (WG1, WG2) and deep_noise as
    fractions of COFSWI; lai_noise: relative; control_memory_days: of their autoregressive series. initial_surface,
    initial_deep, initial_lai: the same for the first ensemble. precipitation_noise and shortwave_noise: standard
    deviation of lognormal factors of mean 1; longwave_noise: W m-2; forcing_memory_days. One number a day serves all
    patches of a cell.
    """

    members: int = 20
    seed: int = 0
    controls: tuple[str, ...] = DEFAULT_CONTROLS
    surface_noise: float = 0.10
    deep_noise: float = 0.03
    lai_noise: float = 0.03
    control_memory_days: float = 3.0
    initial_surface: float = 0.4
    initial_deep: float = 0.2
    initial_lai: float = 0.2
    precipitation_noise: float = 0.5
    shortwave_noise: float = 0.3
    longwave_noise: float = 20.0
    forcing_memory_days: float = 1.0
    leaf_biomass: Literal["BSLAI", "legacy"] = "BSLAI"
    frozen_rule: FrozenRule = "every_patch"
    snow_threshold: float = 0.0

    def __post_init__(self) -> None:
        """Raises FilterConfigurationError for options that cannot be meant."""
        checked_controls(self.controls)
        if self.members < 2:
            raise FilterConfigurationError(f"an ensemble needs at least 2 members, got {self.members}")
        for name in (
            "surface_noise", "deep_noise", "lai_noise", "control_memory_days", "initial_surface", "initial_deep",
            "initial_lai", "precipitation_noise", "shortwave_noise", "longwave_noise", "forcing_memory_days",
        ):  # fmt: skip
            size = getattr(self, name)
            if not (np.isfinite(size) and size >= 0.0):
                raise FilterConfigurationError(f"{name} must be zero or positive, got {size}")

    @property
    def model_runs(self) -> int:
        """See `FilterConfiguration`."""
        return self.members

    @property
    def carried(self) -> tuple[str, ...]:
        """See `FilterConfiguration`: one restart a member."""
        return tuple(f"-member-{number:02d}" for number in range(self.members))

    def make(self, observation_types: Sequence[ObservationType], cell_ids: ArrayLike) -> "EnsembleSquareRootFilter":
        """See `FilterConfiguration`."""
        return EnsembleSquareRootFilter(self, observation_types, cell_ids)


def _series_number(control: str) -> int:
    """Number of a control variable's random series."""
    others = {"LAI": 0, "SWE": 15}
    return others[control] if control in others else int(control.removeprefix("WG"))


class EnsembleSquareRootFilter(FilterOfCells):
    """The EnSRF for a set of cells: a perturbed ensemble over 24 h windows, its covariances instead of B."""

    def __init__(
        self, configuration: EnSRFConfiguration, observation_types: Sequence[ObservationType], cell_ids: ArrayLike
    ) -> None:
        """cell_ids (cell,): identity of each cell, which seeds its random numbers; see `FilterOfCells`."""
        super().__init__(configuration.controls, configuration.leaf_biomass, observation_types, cell_ids)
        self.configuration = configuration

    def initial_state(self, parameters: Parameters, state: State) -> State:
        """An ensemble (column, member, ...) around the state of a single run."""
        options = self.configuration
        ensemble = state.members(options.members)
        sizes = options.initial_surface, options.initial_deep, options.initial_lai
        return self._with_noise(self.controls_of(parameters), ensemble, 0, INITIAL_SERIES, 0.0, *sizes)

    def carried_states(self, state: State) -> tuple[State, ...]:
        """See `Filter`: the members."""
        return tuple(state.member(number) for number in range(self.configuration.members))

    def resumed_state(self, states: Sequence[State]) -> State:
        """See `Filter`."""
        return State(*(np.stack(values, axis=1) for values in zip(*states, strict=True)))

    def _with_noise(
        self,
        controls: ControlVector,
        ensemble: State,
        day: int,
        first_series: int,
        memory_days: float,
        surface: float,
        deep: float,
        lai: float,
    ) -> State:
        """The ensemble with noise added to its control variables, inside their bounds."""
        options = self.configuration
        series = [first_series + _series_number(name) for name in controls.names]
        noise = centred(autoregressive(options.seed, self.cell_ids, day, options.members, series, memory_days))
        size = np.array([surface if name in ("WG1", "WG2") else deep for name in controls.names])
        scale = np.where(
            controls.is_lai, lai * ensemble.leaf_area_index[..., None], size * controls.dynamic_range[:, None, None]
        )
        scale = np.where(controls.is_snow, 0.0, scale)  # it differs among members as snowfall and melt do
        return controls.add(ensemble, controls.limited(ensemble, scale * noise[controls.cell]))

    def _perturbed_forcing(self, forcing: Forcing, day: int) -> list[Forcing]:
        """The forcing of every member: one factor for rain and snow, one for shortwave, one longwave shift a day."""
        options = self.configuration
        series = [FORCING_SERIES, FORCING_SERIES + 1, FORCING_SERIES + 2]
        white = autoregressive(options.seed, self.cell_ids, day, options.members, series, options.forcing_memory_days)
        noise = centred(white @ np.linalg.cholesky(FORCING_CORRELATION).T)
        # A lognormal factor of mean 1 and standard deviation s has sigma^2 = ln(1 + s^2); the mean is made exactly 1.
        spread = np.sqrt(np.log1p(np.array([options.precipitation_noise, options.shortwave_noise]) ** 2))
        factor = np.exp(spread * noise[:, :, :2])
        factor /= member_mean(factor)[:, None]
        return [
            forcing._replace(
                Rainf=np.asarray(forcing.Rainf) * factor[:, member, 0],
                Snowf=np.asarray(forcing.Snowf) * factor[:, member, 0],
                SWdown=np.asarray(forcing.SWdown) * factor[:, member, 1],
                LWdown=np.asarray(forcing.LWdown) + options.longwave_noise * noise[:, member, 2],
            )
            for member in range(options.members)
        ]

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
        """Forecast of the ensemble over the window and analysis at its end: see `Filter.cycle`.

        state has a member axis (from `initial_state` or the last cycle); outputs are means over the ensemble.
        """
        options = self.configuration
        given = checked_observations(observations, self.observation_types, self.cell_ids.size)
        controls = self.controls_of(model.parameters)
        day = int((window.start - EPOCH) // np.timedelta64(1, "D"))
        noise = options.surface_noise, options.deep_noise, options.lai_noise
        ensemble = self._with_noise(controls, state, day, 0, options.control_memory_days, *noise)
        rows = observation_rows(self.observation_types, given, window)
        request = with_states(rows, controls.cell, output)
        ends, outputs = [], []
        for member, member_forcing in enumerate(self._perturbed_forcing(window.forcing, day)):
            end, output_of_member = window.run(model, ensemble.member(member), forcing=member_forcing, output=request)
            ends.append(end)
            outputs.append(output_of_member)
        excluded = np.zeros(self.cell_ids.shape, dtype=bool) if set_aside is None else set_aside
        forecast = State(*(np.stack(values, axis=1) for values in zip(*ends, strict=True)))
        # A cell that blew up gives NaN and infinities here; it is found, coded and set aside, so NumPy need not warn.
        with np.errstate(invalid="ignore", over="ignore"):
            stacked = {name: np.stack([member[name] for member in outputs], axis=2) for name in outputs[0]}
            observed = states_of_rows(rows, forecast, stacked)
            result = self._analysed(controls, state, forecast, rows, observed, excluded)
            means = {name: member_mean(values.swapaxes(1, 2)) for name, values in without_states(stacked).items()}
        return result._replace(outputs=masked_outputs(means, result.set_aside[controls.cell]))

    def _analysed(
        self,
        controls: ControlVector,
        start: State,
        ensemble: State,
        rows: Sequence[Row],
        observed: Sequence[State | ObservedState],
        set_aside: BoolArray,
    ) -> CycleResult:
        """The analysis at the end of a window, from the ensemble's end states (column, member, ...) and the states
        that the rows are compared with."""
        options = self.configuration
        forecast = State(*(member_mean(values) for values in ensemble))
        finite = finite_cells(controls, start, ensemble) & ~set_aside
        best_guess = [state.map(member_mean) if isinstance(state, ObservedState) else forecast for state in observed]
        masks = masks_of_rows(controls, best_guess, finite, options.frozen_rule, options.snow_threshold)
        equivalents = [
            equivalent(row.kind.operator, predictors(controls, state, row))
            for row, state in zip(rows, observed, strict=True)
        ]
        means = [prediction._replace(predicted=member_mean(prediction.predicted)) for prediction in equivalents]
        members = ensemble.leaf_area_index.shape[1]
        predicted = np.full((controls.cells, members, len(rows)), np.nan)
        for number, prediction in enumerate(equivalents):
            predicted[..., number] = prediction.predicted
        y = compared(rows, means, masks, controls.cell_dynamic_range)
        y = screened_by_sensitivity(y, np.asarray(np.isfinite(predicted).all(axis=1)))
        used = y.quality == Quality.USED

        dense = controls.to_cells(controls.values(ensemble)).swapaxes(1, 2)
        dense = np.where(finite[:, None, None, None], dense, 0.0)
        analysis = ensrf_analysis.analyse(
            dense.reshape(*dense.shape[:2], -1),
            np.where(used[:, None], predicted, 0.0),
            y.observation,
            covariance_of_rows(rows, y.sigma, used, self.observation_types, self.error_correlations),
            used,
        )
        increment = controls.limited(
            ensemble, controls.to_columns(analysis.increment.reshape(dense.shape).swapaxes(1, 2))
        )
        analysed = controls.add(ensemble, increment)
        best = State(*(member_mean(values) for values in analysed))

        kept = ~finite[controls.cell]
        change = member_mean(analysis.predicted_increment)
        # The window is not run again: inside it the change is that of the members' equivalents.
        at_end = np.array([row.step is None for row in rows], dtype=bool)
        linear = y.predicted + change
        of_members = member_mean(predicted_at_end(controls, analysed, rows))
        return CycleResult(
            state=keep_columns(kept, start, analysed),
            forecast=undefined_in(kept, forecast),
            analysis=undefined_in(kept, best),
            outputs={},
            observation=y.observation,
            predicted=y.predicted,
            predicted_analysis=np.where(at_end, predicted_at_end(controls, best, rows), linear),
            innovation=y.innovation,
            residual=y.observation - np.where(at_end, of_members, linear),
            linear_residual=np.where(used, y.innovation - change, np.nan),
            observation_variance=y.sigma**2,
            background_variance=analysis.background_variance,
            degrees_of_freedom=analysis.degrees_of_freedom,
            chi_square=analysis.chi_square,
            used_count=used.sum(axis=1),
            quality=y.quality,
            increment=member_mean(increment),
            jacobian=None,
            set_aside=~finite,
        )
