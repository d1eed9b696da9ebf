"""Errors of the observation operators. Each names what was expected, what came, where, and what to do."""

from ldas.landmodel.errors import LdasError


class OperatorError(LdasError):
    """An observation operator cannot be trained, used or read as asked."""


class PredictorShapeError(OperatorError, ValueError):
    """Arrays whose shapes do not fit the operator or each other."""


class PredictorUnitError(OperatorError, ValueError):
    """Values that cannot be in the unit the operator works with."""


class NonFinitePredictorError(OperatorError, ValueError):
    """NaN or infinite predictors where an operator is to be applied."""


class OperatorMismatchError(OperatorError):
    """An operator made for other cells, predictors or units than the run asks for."""


class OperatorFormatError(OperatorError):
    """Stored operator arrays that are incomplete, altered, or of another kind or version."""


class OperatorOptionError(OperatorError, ValueError):
    """Training options that make no sense, alone or together."""


class UntrainedOperatorError(OperatorError):
    """An operator that is asked for predictions before it was fitted."""


class DuplicateTimesError(OperatorError, ValueError):
    """Training samples that carry the same time twice."""


class EmptyTrainingWindowError(OperatorError, ValueError):
    """A training window in which no cell has a single sample."""
