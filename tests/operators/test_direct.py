import numpy as np
import pytest

from ldas.operators import DirectOperator
from ldas.operators.errors import PredictorShapeError
from ldas.operators.testing import ObservationOperatorContract

CELLS = [4, 7, 9]


class TestSurfaceSoilMoisture(ObservationOperatorContract):
    @pytest.fixture
    def operator(self):
        return DirectOperator.surface_soil_moisture(CELLS)

    @pytest.fixture
    def predictors(self):
        return np.random.default_rng(0).uniform(0.05, 0.45, (3, 8, 1))

    def test_is_the_soil_moisture_itself(self, operator, predictors):
        np.testing.assert_array_equal(operator.predict(predictors), predictors[..., 0])
        np.testing.assert_array_equal(operator.jacobian(predictors), np.ones_like(predictors))
        assert (operator.predictor_names, operator.output_name, operator.output_unit) == (("WG2",), "ssm", "m3 m-3")
        assert operator.usable.all()


class TestLeafAreaIndex(ObservationOperatorContract):
    @pytest.fixture
    def operator(self):
        return DirectOperator.leaf_area_index(CELLS)

    @pytest.fixture
    def predictors(self):
        return np.random.default_rng(0).uniform(0.3, 5.0, (3, 8, 1))


@pytest.mark.parametrize("cell_ids", [[1, 1], [-1, 2], [0.5, 1.0], [[1, 2]]])
def test_cells_need_distinct_identities(cell_ids):
    with pytest.raises(PredictorShapeError, match="cell_ids must"):
        DirectOperator.leaf_area_index(cell_ids)
