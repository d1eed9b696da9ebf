"""What every observation operator must do, as tests: a test class inherits this one and gives an operator.

Example:
    >>> class TestMine(ObservationOperatorContract):
    ...     @pytest.fixture
    ...     def operator(self):
    ...         return MyOperator(cell_ids=[3, 1, 2])
    ...     @pytest.fixture
    ...     def predictors(self):
    ...         return valid_predictors  # (cell, sample, predictor), an even number of samples
"""

import pickle

import numpy as np
import pytest

from ldas.operators.arrays import content_hash
from ldas.operators.checks import require
from ldas.operators.errors import (
    NonFinitePredictorError,
    OperatorFormatError,
    OperatorMismatchError,
    PredictorShapeError,
    PredictorUnitError,
)
from ldas.operators.protocol import ObservationOperator, OperatorArrays
from ldas.operators.registry import from_arrays

# A value that no quantity in the unit can have, as it comes from the usual other unit.
IN_ANOTHER_UNIT = {"m3 m-3": 31.0, "K": 14.0, "m2 m-2": 40.0}
STEP = {"m3 m-3": 1e-6, "K": 1e-4, "m2 m-2": 1e-5}


class ObservationOperatorContract:
    """Subclasses define the fixtures `operator` (all cells usable) and `predictors` (cell, sample, predictor)."""

    @pytest.fixture
    def operator(self) -> ObservationOperator:
        """An operator of at least two cells, all usable."""
        raise NotImplementedError

    @pytest.fixture
    def predictors(self) -> np.ndarray:
        """Valid predictors (cell, sample, predictor)."""
        raise NotImplementedError

    def test_is_an_observation_operator(self, operator: ObservationOperator) -> None:
        assert isinstance(operator, ObservationOperator)
        assert len(operator.predictor_names) == len(operator.predictor_units) > 0
        assert operator.output_name
        assert operator.output_unit
        assert operator.usable.dtype == bool
        assert operator.usable.shape == operator.cell_ids.shape

    def test_finite_output_for_valid_input(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        output, jacobian = operator.predict(predictors), operator.jacobian(predictors)
        assert output.shape == predictors.shape[:-1]
        assert jacobian.shape == predictors.shape
        assert output.dtype == jacobian.dtype == np.float64
        assert np.isfinite(output).all()
        assert np.isfinite(jacobian).all()

    def test_jacobian_against_central_finite_differences(
        self, operator: ObservationOperator, predictors: np.ndarray
    ) -> None:
        jacobian = operator.jacobian(predictors)
        for index, unit in enumerate(operator.predictor_units):
            step = np.zeros(predictors.shape[-1])
            step[index] = STEP[unit]
            difference = operator.predict(predictors + step) - operator.predict(predictors - step)
            np.testing.assert_allclose(jacobian[..., index], difference / (2.0 * STEP[unit]), rtol=1e-6, atol=1e-6)

    def test_any_axes_between_cell_and_predictor(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        flat = operator.predict(predictors)
        cells, samples, count = predictors.shape
        deep = predictors.reshape(cells, 2, samples // 2, count)
        np.testing.assert_array_equal(operator.predict(deep), flat.reshape(cells, 2, samples // 2))
        assert operator.jacobian(deep).shape == deep.shape
        np.testing.assert_array_equal(operator.predict(predictors[:, 0]), flat[:, 0])
        assert operator.predict(predictors[:, :0]).shape == (cells, 0)

    def test_batch_equals_single(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        output, jacobian = operator.predict(predictors), operator.jacobian(predictors)
        for cell in range(predictors.shape[0]):
            one = operator.select([cell])
            for sample in (0, predictors.shape[1] - 1):
                x = predictors[cell : cell + 1, sample]
                np.testing.assert_array_equal(one.predict(x), output[cell : cell + 1, sample])
                np.testing.assert_array_equal(one.jacobian(x), jacobian[cell : cell + 1, sample])

    def test_select_by_positions_and_by_mask(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        last_first = operator.select([len(operator.cell_ids) - 1, 0])
        assert last_first.cell_ids.tolist() == [operator.cell_ids[-1], operator.cell_ids[0]]
        np.testing.assert_array_equal(last_first.predict(predictors[[-1, 0]]), operator.predict(predictors)[[-1, 0]])
        mask = np.arange(len(operator.cell_ids)) == 1
        assert operator.select(mask).cell_ids.tolist() == [operator.cell_ids[1]]

    def test_no_cell_at_all_is_no_mistake(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        nothing = operator.select(np.zeros(len(operator.cell_ids), dtype=bool))
        assert nothing.predict(predictors[:0]).shape == predictors[:0].shape[:-1]
        assert nothing.jacobian(predictors[:0]).shape == predictors[:0].shape

    def test_input_is_left_as_it_was(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        before = predictors.copy()
        operator.predict(predictors)
        operator.jacobian(predictors)
        np.testing.assert_array_equal(predictors, before)
        assert not np.shares_memory(operator.predict(predictors), predictors)

    def test_save_and_load_exactly(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        stored = operator.to_arrays()
        again = from_arrays(stored)
        assert type(again) is type(operator)
        assert content_hash(again.to_arrays()) == content_hash(stored)
        np.testing.assert_array_equal(again.predict(predictors), operator.predict(predictors))
        np.testing.assert_array_equal(again.jacobian(predictors), operator.jacobian(predictors))
        assert again.predictor_names == operator.predictor_names
        assert again.predictor_units == operator.predictor_units
        assert (again.output_name, again.output_unit) == (operator.output_name, operator.output_unit)
        for name, array in stored.arrays.items():
            assert len(stored.dimensions[name]) == array.ndim, name

    def test_travels_between_processes(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        again = pickle.loads(pickle.dumps(operator))  # noqa: S301 - its own bytes
        np.testing.assert_array_equal(again.predict(predictors), operator.predict(predictors))

    def test_wrong_shape(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        for wrong in (predictors[..., :-1], predictors[1:], predictors[0, 0], 0.3):
            for method in (operator.predict, operator.jacobian):
                with pytest.raises(PredictorShapeError, match=operator.predictor_names[0]):
                    method(wrong)

    def test_wrong_unit(self, operator: ObservationOperator, predictors: np.ndarray) -> None:
        for index, (name, unit) in enumerate(zip(operator.predictor_names, operator.predictor_units, strict=True)):
            wrong = predictors.copy()
            wrong[1, 0, index] = IN_ANOTHER_UNIT[unit]
            for method in (operator.predict, operator.jacobian):
                with pytest.raises(PredictorUnitError, match=rf"{name} .*{unit}.*cell {operator.cell_ids[1]}:"):
                    method(wrong)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_non_finite_input(self, operator: ObservationOperator, predictors: np.ndarray, value: float) -> None:
        wrong = predictors.copy()
        wrong[1, 0, -1] = value
        message = rf"{operator.predictor_names[-1]} .*1 NaN or infinite.*cell {operator.cell_ids[1]}"
        for method in (operator.predict, operator.jacobian):
            with pytest.raises(NonFinitePredictorError, match=message):
                method(wrong)

    def test_an_operator_for_something_else_is_refused(self, operator: ObservationOperator) -> None:
        require(
            operator,
            cell_ids=operator.cell_ids,
            predictor_names=operator.predictor_names,
            predictor_units=operator.predictor_units,
            output_name=operator.output_name,
            output_unit=operator.output_unit,
        )
        for difference in (
            {"cell_ids": operator.cell_ids + 1_000},
            {"cell_ids": operator.cell_ids[::-1]},
            {"cell_ids": operator.cell_ids[:1]},
            {"predictor_names": ("WG3", *operator.predictor_names[1:])},
            {"predictor_units": ("percent", *operator.predictor_units[1:])},
            {"output_name": "brightness_temperature"},
            {"output_unit": "1"},
        ):
            with pytest.raises(OperatorMismatchError, match="the run asks for"):
                require(operator, **difference)

    def test_incomplete_or_altered_arrays_are_refused(self, operator: ObservationOperator) -> None:
        stored = operator.to_arrays()
        for name in stored.arrays:
            rest = {other: array for other, array in stored.arrays.items() if other != name}
            with pytest.raises(OperatorFormatError, match=name):
                from_arrays(stored._replace(arrays=rest))
        for name in stored.attributes:
            attributes = {other: value for other, value in stored.attributes.items() if other != name}
            with pytest.raises(OperatorFormatError):
                from_arrays(stored._replace(attributes=attributes))
        with pytest.raises(OperatorFormatError, match="format version 99"):
            from_arrays(stored._replace(attributes={**stored.attributes, "format_version": 99}))
        with pytest.raises(OperatorFormatError, match="unknown kind"):
            from_arrays(stored._replace(kind="crystal_ball"))
        with pytest.raises(OperatorFormatError, match="expected a stored"):
            type(operator).from_arrays(OperatorArrays("crystal_ball", {}, {}, {}))

    def test_hash_sees_every_array_and_attribute(self, operator: ObservationOperator) -> None:
        stored = operator.to_arrays()
        original = content_hash(stored)
        for name, array in stored.arrays.items():
            if array.size == 0:
                continue
            changed = array.copy()
            changed.flat[0] = 1 if changed.flat[0] != 1 else 2
            assert content_hash(stored._replace(arrays={**stored.arrays, name: changed})) != original, name
        for name in stored.attributes:
            assert content_hash(stored._replace(attributes={**stored.attributes, name: "other"})) != original, name
