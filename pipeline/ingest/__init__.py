"""Ingestion: product files as their providers ship them, to datasets in the store's form. One module a source."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldas.pipeline.ingest.inspect import Report
    from ldas.pipeline.ingest.write import Ingested
    from ldas.pipeline.store.location import Location

__all__ = ["appends", "check_ingest", "inspect_file", "provisional_hours", "revise_group", "run_ingest", "source_names"]


def run_ingest(
    source: str,
    config_path: Path,
    store: "Location | None" = None,
    *,
    continued: bool = False,
    message: Callable[[str], None] = lambda text: None,
) -> "tuple[Ingested, ...]":
    """Runs `ldas ingest SOURCE --config FILE`; see `ldas.pipeline.ingest.run.run_ingest`."""
    from ldas.pipeline.ingest import run  # the readers import much; `ldas --help` must not

    return run.run_ingest(source, config_path, store, continued=continued, message=message)


def check_ingest(source: str, config_path: Path) -> int:
    """Whether an ingest could begin; see `ldas.pipeline.ingest.run.check_ingest`."""
    from ldas.pipeline.ingest import run

    return run.check_ingest(source, config_path)


def inspect_file(path: Path) -> "Report":
    """What a product file holds, or why it is not one; see `ldas.pipeline.ingest.inspect.inspect_file`."""
    from ldas.pipeline.ingest import inspect

    return inspect.inspect_file(path)


def provisional_hours(attributes: Mapping[str, Any]) -> int:
    """How many of the last hours of a forcing the next append makes again; see
    `ldas.pipeline.ingest.run.provisional_hours`."""
    from ldas.pipeline.ingest import run

    return run.provisional_hours(attributes)


def revise_group(source: str, config_path: Path, location: "Location", group: str) -> str | None:
    """Takes over what files have otherwise than the store; see `ldas.pipeline.ingest.revise.revise_group`."""
    from ldas.pipeline.ingest import revise

    return revise.revise_group(source, config_path, location, group)


def source_names() -> dict[str, str]:
    """Names of the sources, each with one line of what it reads."""
    from ldas.pipeline.ingest import run

    return run.source_names()


def appends(source: str, config_path: Path) -> bool:
    """Whether an ingest may append; see `ldas.pipeline.ingest.run.appends`."""
    from ldas.pipeline.ingest import run

    return run.appends(source, config_path)
