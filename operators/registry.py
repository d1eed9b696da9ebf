"""All operator classes by the name under which they are stored."""

from collections.abc import Callable

from ldas.operators.direct import DirectOperator
from ldas.operators.errors import OperatorFormatError
from ldas.operators.neural import NeuralOperator
from ldas.operators.protocol import ObservationOperator, OperatorArrays
from ldas.operators.water_cloud import WaterCloudOperator

_READERS: dict[str, Callable[[OperatorArrays], ObservationOperator]] = {
    NeuralOperator.KIND: NeuralOperator.from_arrays,
    WaterCloudOperator.KIND: WaterCloudOperator.from_arrays,
    DirectOperator.KIND: DirectOperator.from_arrays,
}


def from_arrays(stored: OperatorArrays) -> ObservationOperator:
    """The operator of whatever class that `to_arrays` took apart; OperatorFormatError for an unknown kind."""
    if stored.kind not in _READERS:
        raise OperatorFormatError(f"unknown kind of operator {stored.kind!r}, known are {', '.join(sorted(_READERS))}")
    return _READERS[stored.kind](stored)
