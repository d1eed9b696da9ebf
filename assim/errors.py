"""Errors of the assimilation. Each names what was expected, what came, where, and what to do."""

from ldas.landmodel.errors import LdasError


class AssimilationError(LdasError):
    """Base of every error of the filters, their observations and their diagnostics."""


class FilterConfigurationError(AssimilationError, ValueError):
    """Options that no filter can work with: unknown control variable, negative error, unknown predictor."""


class ObservationInputError(AssimilationError, ValueError):
    """Observations of the wrong shape, of an unknown type, or with a negative error variance."""


class AssimilationWindowError(AssimilationError, ValueError):
    """A window that the forcing does not cover, or that does not start at the analysis hour."""
