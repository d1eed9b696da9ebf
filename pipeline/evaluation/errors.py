"""Errors of the evaluation."""

from ldas.pipeline.errors import PipelineError


class EvaluationError(PipelineError):
    """Something that cannot be compared: no run, no common period, other units, a file of another form."""
