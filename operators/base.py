"""What every operator class shares: its names and units."""

from collections.abc import Sequence

from ldas.operators.errors import OperatorOptionError
from ldas.operators.protocol import Names


class NamedOperator:
    """Holds the names and units an `ObservationOperator` answers for."""

    def __init__(
        self, predictor_names: Sequence[str], predictor_units: Sequence[str], output_name: str, output_unit: str
    ) -> None:
        self._names = Names(tuple(predictor_names), tuple(predictor_units), output_name, output_unit)
        names, units = self._names.predictor_names, self._names.predictor_units
        if not names or len(names) != len(units) or len(set(names)) != len(names):
            raise OperatorOptionError(f"predictors must have distinct names and one unit each, got {names} and {units}")

    @property
    def predictor_names(self) -> tuple[str, ...]:
        """Names of the predictors, in the order of the last axis of a predictor array."""
        return self._names.predictor_names

    @property
    def predictor_units(self) -> tuple[str, ...]:
        """Units of the predictors."""
        return self._names.predictor_units

    @property
    def output_name(self) -> str:
        """Name of the observation."""
        return self._names.output_name

    @property
    def output_unit(self) -> str:
        """Unit of the observation."""
        return self._names.output_unit
