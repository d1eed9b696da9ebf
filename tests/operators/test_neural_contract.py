import numpy as np
import pytest

from ldas.operators import NeuralOperator, NeuralOptions
from ldas.operators.testing import ObservationOperatorContract
from tests.operators.synthetic import region


@pytest.fixture(scope="module")
def trained():
    x, y = region()
    return {
        hidden: NeuralOperator(NeuralOptions(hidden=hidden, epochs=10, block_size=8)).fit(
            x, y, cell_ids=np.arange(6) + 40
        )
        for hidden in ((40,), (7, 5))
    }


class TestOneHiddenLayer(ObservationOperatorContract):
    @pytest.fixture
    def operator(self, trained):
        return trained[(40,)]

    @pytest.fixture
    def predictors(self):
        # Other samples than those of the training, far from the edges of what the units allow.
        return region(seed=2, samples=20)[0]


class TestTwoHiddenLayers(TestOneHiddenLayer):
    @pytest.fixture
    def operator(self, trained):
        return trained[(7, 5)]
