"""A small land model with a known answer, on the land model's own states; and what every filter must do, as tests.

Example:
    >>> class TestMine(FilterContract):
    ...     @pytest.fixture
    ...     def options(self):
    ...         return MyConfiguration()
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import ArrayLike

from ldas import landmodel
from ldas.assim.errors import ObservationInputError
from ldas.assim.filter import CycleResult, Filter, FilterConfiguration, Window
from ldas.assim.observations import ObservationError, ObservationType, WindowObservations
from ldas.assim.quality import Quality
from ldas.landmodel import Forcing, OutputRequest, Parameters, State
from ldas.landmodel.array_types import Array, BoolArray
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH
from ldas.operators.direct import DirectOperator
from ldas.operators.errors import OperatorMismatchError
from ldas.operators.protocol import DEFAULT_PREDICTORS, ObservationOperator

LAYERS = 14
START = "2015-01-01T09"


def parameters(cell: ArrayLike, patch: Sequence[int], fraction: ArrayLike, clay: ArrayLike = 0.25) -> Parameters:
    """Columns of the standard patches."""
    vegetation = [VEGETATION_OF_PATCH[number - 1] for number in patch]
    return landmodel.columns(vegetation, cell, patch, fraction, clay=clay, sand=0.40, latitude=44.0, longitude=0.5)


def state(parameters: Parameters, seed: int = 0) -> State:
    """A plausible random state."""
    random = np.random.default_rng(seed)
    columns = parameters.columns
    moist = np.arange(LAYERS) < parameters.moist_layers[:, None]
    water = np.where(moist, random.uniform(0.15, 0.40, (columns, LAYERS)), 0.0)
    temperature = random.uniform(278.0, 300.0, (columns, LAYERS))
    return landmodel.initial_state(parameters, temperature, water, random.uniform(1.1, 5.0, columns))


def forcing(cells: int, hours: int = 24, seed: int = 0) -> Forcing:
    """Hourly forcing for `cells`; rain in some hours."""
    random = np.random.default_rng(seed)
    shape = (hours + 1, cells)
    values = dict.fromkeys(Forcing._fields, np.ones(shape))
    values["Tair"] = random.uniform(280.0, 295.0, shape)
    values["SWdown"] = random.uniform(0.0, 800.0, shape)
    values["LWdown"] = random.uniform(250.0, 400.0, shape)
    values["Rainf"] = np.where(random.uniform(size=shape) < 0.2, 1e-4, 0.0)
    values["Snowf"] = np.zeros(shape)
    return Forcing(**values)


class LinearModel:
    """x(t + 24 h) = M x(t) + b for x = (LAI, WG1..WG14) of every column; the rest stays as it is.

    transition (15, 15) or (column, 15, 15) and drift (column, 15) act on what is defined; the leaf biomass follows LAI.
    """

    def __init__(self, parameters: Parameters, transition: Array | None = None, drift: Array | None = None) -> None:
        self.parameters = parameters
        columns = parameters.columns
        shape = (columns, 1 + LAYERS, 1 + LAYERS)
        self.transition = np.broadcast_to(np.eye(1 + LAYERS) if transition is None else transition, shape)
        self.drift = np.zeros((columns, 1 + LAYERS)) if drift is None else drift
        moist = np.arange(LAYERS) < parameters.moist_layers[:, None]
        self.defined = np.concatenate([parameters.vegetated[:, None] > 0.5, moist], axis=1)
        self.starts: list[np.datetime64] = []  # of all runs
        self.shapes: list[tuple[int, ...]] = []
        self.where: list[BoolArray | None] = []

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
        where: BoolArray | None = None,
    ) -> tuple[State, dict[str, Array]]:
        """See `LandModel.run`."""
        assert np.shape(forcing.Tair)[0] == steps * step_s / forcing_step_s + 1
        self.starts.append(start)
        lai = state.leaf_area_index
        self.shapes.append(lai.shape)
        self.where.append(where)
        x = np.concatenate([lai[..., None], state.soil_water], axis=-1)
        columns: tuple[Any, ...] = (slice(None), None) if x.ndim == 3 else (slice(None),)
        new = np.einsum("cij,c...j->c...i", self.transition, x) + self.drift[columns]
        new = np.where(self.defined[columns], new, 0.0)
        biomass = state.biomass.copy()
        biomass[..., 0] *= np.where(lai > 0.0, new[..., 0] / np.where(lai > 0.0, lai, 1.0), 1.0)
        end = State(*(values.copy() for values in state))
        end = end._replace(leaf_area_index=new[..., 0].copy(), soil_water=new[..., 1:].copy(), biomass=biomass)
        if where is not None:
            assert where.shape == lai.shape
            shaped = (where.reshape(where.shape + (1,) * (old.ndim - where.ndim)) for old in state)
            end = State(*(np.where(w, new, old) for w, new, old in zip(shaped, end, state, strict=True)))
        return end, {"LAI": end.leaf_area_index[None].copy(), "WG": end.soil_water[None].copy()}


class Backscatter:
    """A smooth nonlinear operator of WG2, TG2 and LAI (dB), with `usable` open to the tests."""

    predictor_names = DEFAULT_PREDICTORS
    predictor_units = ("m3 m-3", "K", "m2 m-2")
    output_name, output_unit = "sigma40", "dB"

    def __init__(self, cell_ids: ArrayLike) -> None:
        self.cell_ids = np.asarray(cell_ids)
        self.usable = np.ones(self.cell_ids.size, dtype=bool)

    def predict(self, predictors: Array) -> Array:
        """See `ObservationOperator`."""
        wg2, tg2, lai = np.moveaxis(predictors, -1, 0)
        return np.asarray(-14.0 + 12.0 * wg2 + 0.02 * (tg2 - 285.0) + 0.4 * np.tanh(lai - 2.0))

    def jacobian(self, predictors: Array) -> Array:
        """See `ObservationOperator`."""
        lai = predictors[..., 2]
        slopes = [np.full_like(lai, 12.0), np.full_like(lai, 0.02), 0.4 / np.cosh(lai - 2.0) ** 2]
        return np.stack(slopes, axis=-1)

    def select(self, cells: Any) -> "Backscatter":
        """See `ObservationOperator`."""
        part = Backscatter(self.cell_ids[cells])
        part.usable = self.usable[cells]
        return part


def observed(**values: ArrayLike) -> dict[str, WindowObservations]:
    """Observations of a window by the name of their type, (cell,) each."""
    return {name: WindowObservations(np.asarray(value, dtype=float)) for name, value in values.items()}


class FilterContract:
    """What the assimilation stage relies on. Subclasses define the fixture `options`, with LAI and WG2 as controls.

    Three cells of one to three patches; sigma40 by a smooth operator, LAI and surface soil moisture observed directly.
    """

    cell, patch, fraction = (0, 0, 0, 1, 1, 2), (1, 7, 10, 2, 4, 3), (0.2, 0.5, 0.3, 0.4, 0.6, 1.0)
    values = observed(sigma40=[-11.0, -9.5, np.nan], lai=[2.0, np.nan, 1.4], ssm=[0.25, 0.31, 0.2])

    @pytest.fixture
    def options(self) -> FilterConfiguration:
        """The configuration of the filter."""
        raise NotImplementedError

    def types(self, cells: Sequence[int] = (0, 1, 2), size: float | None = None) -> list[ObservationType]:
        """The observation types of some cells, with errors of the usual sizes or all of one."""
        errors = {"sigma40": 0.33, "lai": 0.3, "ssm": 0.05}
        operators: dict[str, ObservationOperator] = {
            "sigma40": cast(ObservationOperator, Backscatter(cells)),  # all that a filter uses of one
            "lai": DirectOperator.leaf_area_index(cells),
            "ssm": DirectOperator.surface_soil_moisture(cells),
        }
        return [
            ObservationType(name, operators[name], ObservationError("absolute", size or errors[name]))
            for name in operators
        ]

    def start(self, method: Filter) -> tuple[LinearModel, State, Window]:
        """A model of three cells, the filter's first state and a window."""
        columns = parameters(self.cell, self.patch, self.fraction)
        return LinearModel(columns), method.initial_state(columns, state(columns)), Window.cut(forcing(3), START)

    def cycle(self, method: Filter, observations: dict[str, WindowObservations], **more: Any) -> CycleResult:
        """One cycle from the start."""
        return method.cycle(*self.start(method), observations, **more)

    def test_shapes_and_codes(self, options: FilterConfiguration) -> None:
        result = self.cycle(options.make(self.types(), [0, 1, 2]), self.values)
        columns, controls = len(self.cell), len(options.controls)
        for name in ("observation", "predicted", "predicted_analysis", "innovation", "residual", "linear_residual",
                     "observation_variance", "background_variance", "degrees_of_freedom", "quality"):  # fmt: skip
            assert getattr(result, name).shape == (3, 3), name
        assert result.increment.shape == (columns, controls)
        assert result.chi_square.shape == result.used_count.shape == result.set_aside.shape == (3,)
        missing = np.isnan(np.stack([self.values[kind.name].value for kind in self.types()], axis=1))
        assert ((result.quality == Quality.MISSING) == missing).all()
        assert (result.quality[~missing] == Quality.USED).all()
        assert result.used_count.tolist() == (~missing).sum(axis=1).tolist()
        for best in (result.forecast, result.analysis):
            assert best.leaf_area_index.shape == (columns,)

    def test_an_observation_moves_the_state_towards_it(self, options: FilterConfiguration) -> None:
        result = self.cycle(options.make(self.types(), [0, 1, 2]), self.values)
        used = result.quality == Quality.USED
        assert (np.abs(result.residual[used]).sum()) < np.abs(result.innovation[used]).sum()
        assert (result.degrees_of_freedom[used] >= 0.0).all()
        assert (result.degrees_of_freedom.sum(axis=1) > 0.0).all()
        assert (result.chi_square > 0.0).all()

    def test_without_observations_the_analysis_is_the_forecast(self, options: FilterConfiguration) -> None:
        result = self.cycle(options.make(self.types(), [0, 1, 2]), {})
        assert (result.quality == Quality.MISSING).all()
        assert (result.increment == 0.0).all()
        for name, a, b in zip(State._fields, result.forecast, result.analysis, strict=True):
            assert a.tobytes() == b.tobytes(), name

    def test_observations_with_huge_errors_change_nothing(self, options: FilterConfiguration) -> None:
        deaf = self.cycle(options.make(self.types(size=1e20), [0, 1, 2]), self.values)
        silent = self.cycle(options.make(self.types(), [0, 1, 2]), {})
        for name, a, b in zip(State._fields, deaf.state, silent.state, strict=True):
            assert a.tobytes() == b.tobytes(), name

    def test_estimated_errors_of_observations_are_used(self, options: FilterConfiguration) -> None:
        method = options.make(self.types(), [0, 1, 2])
        plain = self.cycle(method, self.values)
        scale, added = np.array([0.5, 2.0, 3.0]), np.array([0.0, 0.1, 0.2])
        given = {name: item._replace(error_scale=scale, bias_variance=added) for name, item in self.values.items()}
        result = self.cycle(method, given)
        expected = scale[:, None] * plain.observation_variance + added[:, None]
        np.testing.assert_allclose(result.observation_variance, expected, rtol=1e-12)
        assert (result.degrees_of_freedom[0] > plain.degrees_of_freedom[0])[plain.quality[0] == Quality.USED].all()

    def test_a_cell_does_not_depend_on_its_neighbours(self, options: FilterConfiguration) -> None:
        whole = self.cycle(options.make(self.types(), [0, 1, 2]), self.values)
        model, first, window = self.start(options.make(self.types(), [0, 1, 2]))
        for cell in range(3):
            of = np.flatnonzero(np.array(self.cell) == cell)
            own = parameters(np.zeros(len(of), int), [self.patch[i] for i in of], [self.fraction[i] for i in of])
            part = Window.cut(Forcing(*(np.asarray(values)[:, [cell]] for values in window.forcing)), START)
            given = {name: WindowObservations(item.value[[cell]]) for name, item in self.values.items()}
            alone = options.make(self.types([cell]), [cell]).cycle(LinearModel(own), first.take(of), part, given)
            for name, a, b in zip(State._fields, alone.state, whole.state.take(of), strict=True):
                assert a.tobytes() == b.tobytes(), (cell, name)
            np.testing.assert_array_equal(alone.increment, whole.increment[of])
        assert model.parameters.columns == len(self.cell)

    def test_the_same_again_and_input_left_as_it_was(self, options: FilterConfiguration) -> None:
        method = options.make(self.types(), [0, 1, 2])
        model, first, window = self.start(method)
        before = [values.copy() for values in first]
        once, again = (method.cycle(model, first, window, self.values) for _ in range(2))
        for a, b, c, d in zip(once.state, again.state, first, before, strict=True):
            assert a.tobytes() == b.tobytes()
            assert c.tobytes() == d.tobytes()

    def test_carried_states_resume_to_the_last_bit(self, options: FilterConfiguration) -> None:
        method = options.make(self.types(), [0, 1, 2])
        result = self.cycle(method, self.values)
        carried = method.carried_states(result.state)
        assert len(carried) == len(options.carried) == len(set(options.carried))
        assert all(one.leaf_area_index.shape == (len(self.cell),) for one in carried)
        for name, a, b in zip(State._fields, method.resumed_state(carried), result.state, strict=True):
            assert a.tobytes() == b.tobytes(), name
        assert options.model_runs >= len(carried)

    def test_a_cell_set_aside_keeps_its_state(self, options: FilterConfiguration) -> None:
        method = options.make(self.types(), [0, 1, 2])
        _, first, _ = self.start(method)
        result = self.cycle(method, self.values, set_aside=np.array([False, True, False]))
        lost = np.array(self.cell) == 1
        assert result.set_aside.tolist() == [False, True, False]
        for name, a, b in zip(State._fields, result.state, first, strict=True):
            assert a[lost].tobytes() == b[lost].tobytes(), name
        assert np.isnan(result.analysis.leaf_area_index[lost]).all()
        assert (result.increment[lost] == 0.0).all()
        assert np.isfinite(result.analysis.leaf_area_index[~lost]).all()

    def test_observations_that_do_not_fit_are_refused(self, options: FilterConfiguration) -> None:
        method = options.make(self.types(), [0, 1, 2])
        with pytest.raises(ObservationInputError, match="3 cells"):
            self.cycle(method, observed(sigma40=[-11.0]))
        with pytest.raises(ObservationInputError, match="unknown type"):
            self.cycle(method, observed(vod=[1.0, 1.0, 1.0]))
        with pytest.raises(OperatorMismatchError):
            options.make(self.types([4, 5, 6]), [0, 1, 2])
