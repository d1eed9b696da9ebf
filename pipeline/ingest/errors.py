"""The error of ingestion: a product file that cannot be turned into the store's form, and what to do about it."""

from pipeline.errors import PipelineError


class IngestError(PipelineError):
    """A product file, its contents or an ingest configuration that cannot be used.

    The message names the file, the variable and, where there is one, the hour; it says what was expected and what came.
    """
