"""All operator classes by their kind: those of this package, and those of others (entry points `ldas.operators`)."""

from typing import cast

from ldas.operators.direct import DirectOperator
from ldas.operators.errors import OperatorFormatError
from ldas.operators.extensions import ExtensionError, extension
from ldas.operators.joint import JointOperator
from ldas.operators.neural import NeuralOperator
from ldas.operators.pooled import PooledOperator
from ldas.operators.protocol import ObservationOperator, OperatorArrays, TrainableOperator
from ldas.operators.water_cloud import WaterCloudOperator

GROUP = "ldas.operators"
OWN: dict[str, type[TrainableOperator]] = {
    NeuralOperator.KIND: NeuralOperator,
    PooledOperator.KIND: PooledOperator,
    WaterCloudOperator.KIND: WaterCloudOperator,
    DirectOperator.KIND: DirectOperator,
}
NEEDS = (
    *("KIND", "OPTIONS", "for_observation", "fit", "reasons", "predict", "jacobian", "select", "usable", "cell_ids"),
    *("predictor_names", "predictor_units", "output_name", "output_unit", "to_arrays", "from_arrays"),
)


def operator_class(kind: str) -> type[TrainableOperator]:
    """The class of a kind of operator.

    Raises:
        ExtensionError: an unknown kind, and what is no operator.
    """
    if kind in OWN:
        return OWN[kind]
    found = extension(GROUP, kind, NEEDS, tuple(sorted(OWN)))
    if kind != found.KIND:
        raise ExtensionError(f"entry point {kind} ({GROUP}): its operator says KIND {found.KIND!r}; both must agree")
    return cast(type[TrainableOperator], found)


def from_arrays(stored: OperatorArrays) -> ObservationOperator:
    """The operator of whatever class that `to_arrays` took apart; OperatorFormatError for an unknown kind."""
    if stored.kind == JointOperator.KIND:  # no kind of the experiment file: a network of several observations is neural
        return JointOperator.from_arrays(stored)
    try:
        found = operator_class(stored.kind)
    except ExtensionError as error:
        raise OperatorFormatError(f"unknown kind of operator: {error}") from error
    return found.from_arrays(stored)
