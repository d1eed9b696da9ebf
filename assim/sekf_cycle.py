"""The simplified extended Kalman filter: one cycle from a state and a window's observations to the next state.

The equations are in `sekf_analysis`; here is where their terms come from: perturbed runs of the land model, observation
operators, error models, and where the increments go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ldas.assim import sekf_analysis
from ldas.assim.controls import DEFAULT_CONTROLS, ControlVector, ObservedState, checked_controls
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
    Comparison,
    Equivalent,
    compared,
    equivalent,
    masks_of_rows,
    predicted_at_end,
    predictors,
    screened_by_sensitivity,
)
from ldas.assim.masks import FrozenRule
from ldas.assim.observation_covariance import covariance_of_rows
from ldas.assim.observations import ObservationType, WindowObservations, checked_observations
from ldas.assim.overpasses import Row, observation_rows, states_of_rows, with_states, without_states
from ldas.assim.predictors import SEASON, patches_of
from ldas.assim.quality import Quality
from ldas.landmodel import OutputRequest, Parameters, State
from ldas.landmodel.array_types import Array, BoolArray

BackgroundReading = Literal["A", "B", "C"]
SOIL_MOISTURE_ERRORS: dict[BackgroundReading, tuple[float, float]] = {
    "A": (0.04, 0.02),
    "B": (0.04, 0.02),
    "C": (0.4, 0.2),
}
"""Background errors of the surface layers (WG1, WG2) and of those below, as each reading writes them."""


@dataclass(frozen=True)
class SEKFConfiguration:
    """Options of the simplified EKF.

    controls: any subset of LAI, SWE and WG1..WG14. perturbation: relative sizes t (LAI, SWE: of themselves; WG: of
    COFSWI), 1e-3, 0.1 and 1e-4 where not given. background: how the published B (0.04 m3 m-3 for WG2, 0.02 below) is
    read, because the papers call it scaled by the dynamic range and give no formula:
        A  error x COFSWI / typical_range (default; typical_range 0.10 m3 m-3, or the domain's mean COFSWI),
        B  error in m3 m-3 as it is,
        C  error as a fraction of COFSWI (0.4 and 0.2; SODA's own numbers, 0.15 and 0.2, are such fractions).
    soil_moisture_error: errors by control variable, where they are not the defaults of the reading.
    lai_error: relative error of LAI from 2 m2 m-2 on (0.4 m2 m-2 below). snow_error: relative error of SWE.
    leaf_biomass: kg m-2 of leaf biomass that go with an LAI increment, BSLAI of the patch or SODA's legacy vector.
    frozen_rule, snow_threshold (kg m-2): see `masks`.
    """

    controls: tuple[str, ...] = DEFAULT_CONTROLS
    perturbation: Mapping[str, float] = field(default_factory=dict)
    background: BackgroundReading = "A"
    typical_range: float = 0.10
    soil_moisture_error: Mapping[str, float] = field(default_factory=dict)
    lai_error: float = 0.2
    snow_error: float = 0.3
    leaf_biomass: Literal["BSLAI", "legacy"] = "BSLAI"
    frozen_rule: FrozenRule = "every_patch"
    snow_threshold: float = 0.0

    def __post_init__(self) -> None:
        """Raises FilterConfigurationError for options that cannot be meant."""
        checked_controls(self.controls)
        for what, sizes in (("perturbation", self.perturbation), ("soil_moisture_error", self.soil_moisture_error)):
            for name, size in sizes.items():
                if name not in self.controls or not (np.isfinite(size) and size > 0.0):
                    raise FilterConfigurationError(
                        f"{what}: {name} = {size}; expected positive numbers for control variables {self.controls}"
                    )
        sizes = {name: getattr(self, name) for name in ("typical_range", "lai_error", "snow_error")}
        if self.background not in SOIL_MOISTURE_ERRORS or not all(size > 0.0 for size in sizes.values()):
            raise FilterConfigurationError(
                f"background must be A, B or C with positive {', '.join(sizes)}, got {self.background!r}, "
                f"{', '.join(map(str, sizes.values()))}"
            )

    @property
    def model_runs(self) -> int:
        """See `FilterConfiguration`: the forecast and one perturbed run a control variable."""
        return 1 + len(self.controls)

    @property
    def carried(self) -> tuple[str, ...]:
        """See `FilterConfiguration`: a single run."""
        return ("",)

    def make(self, observation_types: Sequence[ObservationType], cell_ids: ArrayLike) -> "SimplifiedEKF":
        """See `FilterConfiguration`."""
        return SimplifiedEKF(self, observation_types, cell_ids)

    def relative_perturbation(self) -> dict[str, float]:
        """Relative size t by control variable."""
        usual = {"LAI": 1e-3, "SWE": 0.1}  # why so much of SWE: docs/science/sekf.md, section 3
        return {name: self.perturbation.get(name, usual.get(name, 1e-4)) for name in self.controls}

    def soil_moisture_sigma(self, dynamic_range: Array) -> Array:
        """Background errors of soil moisture (m3 m-3), (..., control), from COFSWI (...); zero for LAI and SWE."""
        surface, below = SOIL_MOISTURE_ERRORS[self.background]
        errors = {name: surface if name in ("WG1", "WG2") else below for name in self.controls}
        errors = {**errors, **self.soil_moisture_error, "LAI": 0.0, "SWE": 0.0}
        scale = {"A": dynamic_range / self.typical_range, "B": np.ones_like(dynamic_range), "C": dynamic_range}
        return np.asarray(np.array([errors[name] for name in self.controls]) * scale[self.background][..., None])


class SimplifiedEKF(FilterOfCells):
    """The SEKF of LDAS-Monde for a set of cells: fixed B, finite-difference Jacobians over 24 h windows."""

    def __init__(
        self, configuration: SEKFConfiguration, observation_types: Sequence[ObservationType], cell_ids: ArrayLike
    ) -> None:
        """cell_ids (cell,): identity of each cell; see `FilterOfCells`."""
        super().__init__(configuration.controls, configuration.leaf_biomass, observation_types, cell_ids)
        self.configuration = configuration

    def initial_state(self, parameters: Parameters, state: State) -> State:
        """The state itself: this filter keeps a single run."""
        return state

    def carried_states(self, state: State) -> tuple[State, ...]:
        """See `Filter`."""
        return (state,)

    def resumed_state(self, states: Sequence[State]) -> State:
        """See `Filter`."""
        return states[0]

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
        """Forecast over the window, perturbed members where they are needed, analysis at the end.

        See `Filter.cycle`. Where no observation passes the screening against the forecast, nothing is perturbed.
        """
        given = checked_observations(observations, self.observation_types, self.cell_ids.size)
        controls = self.controls_of(model.parameters)
        relative_size = self.configuration.relative_perturbation()
        excluded = np.zeros(self.cell_ids.shape, dtype=bool) if set_aside is None else set_aside
        rows = observation_rows(self.observation_types, given, window)
        forecast, outputs = window.run(model, state, output=with_states(rows, controls.cell, output))
        # A cell that blew up gives NaN and infinities here; it is found, coded and set aside, so NumPy need not warn.
        with np.errstate(invalid="ignore", over="ignore"):
            finite = finite_cells(controls, state, forecast) & ~excluded
            observed = states_of_rows(rows, forecast, outputs)
            options = self.configuration
            masks = masks_of_rows(controls, observed, finite, options.frozen_rule, options.snow_threshold)
            equivalents = _equivalents(controls, observed, rows)
            y = compared(rows, equivalents, masks, controls.cell_dynamic_range)
            perturbed = (y.quality == Quality.USED).any(axis=1)[controls.cell]
            eps = np.where(perturbed[:, None], controls.perturbation(state, relative_size), 0.0)
            responses = observed
            if perturbed.any():
                members = controls.perturbed_members(state, relative_size)
                request = with_states(rows, controls.cell, None)
                ends, at = window.run(model, members, where=eps != 0.0, output=request)
                responses = states_of_rows(rows, ends, at)
            jacobian = observation_jacobian(controls, observed, responses, eps, rows, equivalents)
            result = self._analysed(controls, state, forecast, rows, y, jacobian, finite)
        return result._replace(outputs=masked_outputs(without_states(outputs), result.set_aside[controls.cell]))

    def window_jacobian(
        self,
        model: LandModel,
        state: State,
        window: Window,
        *,
        factor: float = 1.0,
        central: bool = False,
    ) -> Array:
        """H (cell, observation, 12, control) of the observation types at a window's end, with perturbations `factor`
        times the configured ones.

        For choosing and checking perturbation sizes; `cycle` returns the Jacobian that it used.

        Args:
            model: the land model.
            state: of the window's start.
            window: its forcing.
            factor: size of the perturbations, in units of the configured ones.
            central: mean of forward and backward differences.
        """
        controls = self.controls_of(model.parameters)
        nothing = checked_observations({}, self.observation_types, self.cell_ids.size)
        rows = observation_rows(self.observation_types, nothing, window)
        request = with_states(rows, controls.cell, None)
        forecast, outputs = window.run(model, state, output=request)
        observed = states_of_rows(rows, forecast, outputs)
        equivalents = _equivalents(controls, observed, rows)
        sides = []
        for sign in (1.0, -1.0) if central else (1.0,):
            sizes = {name: sign * factor * t for name, t in self.configuration.relative_perturbation().items()}
            ends, at = window.run(model, controls.perturbed_members(state, sizes), output=request)
            perturbation = controls.perturbation(state, sizes)
            responses = states_of_rows(rows, ends, at)
            sides.append(observation_jacobian(controls, observed, responses, perturbation, rows, equivalents))
        return np.asarray(sum(sides[1:], sides[0]) / len(sides))

    def _analysed(
        self,
        controls: ControlVector,
        start: State,
        forecast: State,
        rows: Sequence[Row],
        y: Comparison,
        jacobian: Array,
        finite: BoolArray,
    ) -> CycleResult:
        """The analysis at the end of a window, from the forecast there, the screened observations and the Jacobian.

        Args:
            finite: (cell,), False in cells that are set aside.
        """
        y = screened_by_sensitivity(y, np.asarray(np.isfinite(jacobian).all(axis=(2, 3))))
        used = y.quality == Quality.USED

        H = np.where(used[:, :, None, None], jacobian, 0.0)
        R = covariance_of_rows(rows, y.sigma, used, self.observation_types, self.error_correlations)
        d = np.where(used, y.innovation, 0.0)
        B = np.where(finite[:, None, None], self._background_variance(controls, forecast), 0.0)
        analysis = sekf_analysis.analyse(H, B, R, d)
        increment = controls.limited(forecast, controls.to_columns(analysis.increment))
        analysed = controls.add(forecast, increment)

        kept = ~finite[controls.cell]
        at_end = np.array([row.step is None for row in rows], dtype=bool)
        predicted_analysis = predicted_at_end(controls, analysed, rows)
        if not at_end.all():  # the window is not run again, so inside it the change is the linear one
            linear = y.predicted + sekf_analysis.linear_change(jacobian, controls.to_cells(increment))
            predicted_analysis = np.where(at_end, predicted_analysis, linear)
        return CycleResult(
            state=keep_columns(kept, start, analysed),
            forecast=undefined_in(kept, forecast),
            analysis=undefined_in(kept, analysed),
            outputs={},
            observation=y.observation,
            predicted=y.predicted,
            predicted_analysis=predicted_analysis,
            innovation=y.innovation,
            residual=y.observation - predicted_analysis,
            linear_residual=np.where(used, d - sekf_analysis.linear_change(H, controls.to_cells(increment)), np.nan),
            observation_variance=y.sigma**2,
            background_variance=analysis.background_variance,
            degrees_of_freedom=analysis.degrees_of_freedom,
            chi_square=analysis.chi_square,
            used_count=used.sum(axis=1),
            quality=y.quality,
            increment=increment,
            jacobian=jacobian,
            set_aside=~finite,
        )

    def _background_variance(self, controls: ControlVector, forecast: State) -> Array:
        """The diagonal of B, (cell, 12, control)."""
        variance = sekf_analysis.background_variance(
            lai=controls.patches_of(forecast, "LAI"),
            soil_moisture_error=controls.to_cells(self.configuration.soil_moisture_sigma(controls.dynamic_range)),
            is_lai=controls.is_lai,
            present=controls.to_cells(controls.present) > 0.0,
            lai_relative_error=self.configuration.lai_error,
        )
        if controls.is_snow.any():
            error = self.configuration.snow_error * controls.patches_of(forecast, "SWE")
            variance = np.where(controls.is_snow, (error * error)[..., None], variance)
        return variance


def _equivalents(
    controls: ControlVector, states: Sequence[State | ObservedState], rows: Sequence[Row]
) -> list[Equivalent]:
    """What the operators make of the state that each row is compared with."""
    return [
        equivalent(row.kind.operator, predictors(controls, state, row)) for row, state in zip(rows, states, strict=True)
    ]


def observation_jacobian(
    controls: ControlVector,
    forecasts: Sequence[State | ObservedState],
    perturbed: Sequence[State | ObservedState],
    perturbation: Array,
    rows: Sequence[Row],
    equivalents: Sequence[Equivalent],
) -> Array:
    """H (cell, observation, 12, control) by the chain rule through grid means and operators
    (docs/science/sekf.md, section 4); 0 where nothing was perturbed, NaN where the operator cannot be applied.

    H_k = sum_i dh_k/dX_i f_p (X_i,p[run l] - X_i,p[control]) / eps_p,l.

    Args:
        controls: the control vector of the columns.
        forecasts: the state (column, ...) that each row is compared with, of the control run.
        perturbed: those of the perturbed runs (column, control, ...); not read where nothing was perturbed.
        perturbation: eps (column, control).
        rows: the rows of the analysis.
        equivalents: of each row, from `forecasts`.
    """
    eps = controls.to_cells(perturbation)
    response: dict[tuple[int, str], Array] = {}
    jacobian = np.zeros((controls.cells, len(rows), *eps.shape[1:]))
    nothing = None if eps.any() else np.zeros_like(eps)
    for number, (row, prediction) in enumerate(zip(rows, equivalents, strict=True)):
        for index, name in enumerate(row.kind.operator.predictor_names):
            if name in SEASON:
                continue  # no state changes it
            key = id(forecasts[number]), name
            if nothing is None and key not in response:
                control, member = (patches_of(controls, states[number], name) for states in (forecasts, perturbed))
                response[key] = sekf_analysis.window_jacobian(controls.fraction, control, member, eps)
            change = response[key] if nothing is None else nothing
            jacobian[:, number] += prediction.jacobian[:, index, None, None] * change
    return jacobian
