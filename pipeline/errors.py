"""Errors of the pipeline: configuration, stores, variables, execution, files."""

from ldas.landmodel.errors import LdasError


class PipelineError(LdasError):
    """Anything in configuration, data, store or execution that a user can put right."""


class ConfigurationError(PipelineError):
    """An experiment file that is not valid, or that differs from the one which made the store."""


class RegistryError(PipelineError):
    """A variable that the registry does not know, or values outside its valid range."""


class StoreError(PipelineError):
    """A store that cannot be opened, has another form, or would be damaged by the write that was asked for."""


class StoreInUseError(StoreError):
    """A store that another command is writing."""


class LeaseLostError(StoreError):
    """A store that another writer took over, as this one was not heard of for too long."""


class ExecutionError(PipelineError):
    """A run that cannot start or continue: memory, scheduler, full disk."""


class IngestError(PipelineError):
    """A product file, its contents or an ingest configuration that cannot be used.

    The message names the file, the variable and, where there is one, the hour; it says what was expected and what came.
    """


def count(amount: int, what: str) -> str:
    """An amount as messages and reports say it: `1 cell`, `247 cells`."""
    return f"{amount:,} {what}{'' if amount == 1 else 's'}".replace(",", " ")
