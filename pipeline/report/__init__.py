"""Report: a run's tables, figures and interpretation as one page, as Markdown and as JSON."""

from ldas.pipeline.report import font_cache  # noqa: F401  (before Matplotlib is imported)
from ldas.pipeline.report.write import Report, write_report

__all__ = ["Report", "write_report"]
