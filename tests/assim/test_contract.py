"""Both filters keep the contract that the package ships."""

import pytest

from ldas.assim import EnSRFConfiguration, SEKFConfiguration
from ldas.assim.testing import FilterContract


class TestSimplifiedEKF(FilterContract):
    @pytest.fixture
    def options(self) -> SEKFConfiguration:
        return SEKFConfiguration()


class TestEnsembleSquareRootFilter(FilterContract):
    @pytest.fixture
    def options(self) -> EnSRFConfiguration:
        return EnSRFConfiguration(members=6, seed=2)
