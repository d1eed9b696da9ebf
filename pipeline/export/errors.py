"""The error of exporting."""

from ldas.pipeline.errors import PipelineError


class ExportError(PipelineError):
    """Something that a store does not hold, or that cannot be written in the form that was asked for."""
