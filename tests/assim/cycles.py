"""Three small cells, their observation types and values: what the tests of whole cycles share."""

import numpy as np

from ldas.assim import testing as toy
from ldas.assim.observations import ObservationError, ObservationType
from ldas.operators.direct import DirectOperator

CELLS, PATCHES = [0, 0, 0, 1, 1, 2], [1, 7, 10, 2, 4, 3]
FRACTIONS = [0.2, 0.5, 0.3, 0.4, 0.6, 1.0]


def three_cells():
    parameters = toy.parameters(CELLS, PATCHES, FRACTIONS)
    return parameters, toy.state(parameters), toy.forcing(3)


def lai_type(cells=(0, 1, 2), error=None, **options):
    error = error or ObservationError("relative", 0.2)
    return ObservationType("lai", DirectOperator.leaf_area_index(cells), error, **options)


def ssm_type(cells=(0, 1, 2), error=None, **options):
    error = error or ObservationError("absolute", 0.05)
    return ObservationType("ssm", DirectOperator.surface_soil_moisture(cells), error, **options)


def sigma_type(cells=(0, 1, 2), sigma=0.33, **options):
    return ObservationType("sigma40", toy.Backscatter(cells), ObservationError("absolute", sigma), **options)


def assert_same_bits(state, other):
    for name, a, b in zip(state._fields, state, other, strict=True):
        assert a.tobytes() == b.tobytes(), name


def random_transition(seed=1):
    return np.eye(15) * 0.7 + np.random.default_rng(seed).uniform(0.0, 0.03, (15, 15))
