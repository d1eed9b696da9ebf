"""`ldas report`: from a store to its page."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldas.pipeline.errors import ExecutionError, PipelineError, StoreError, StoreInUseError
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.evaluation.plan import configuration_of
from ldas.pipeline.evaluation.scores import Scores
from ldas.pipeline.report import consistency_section, forecast_section, sections, system_sections
from ldas.pipeline.report.answer import answer
from ldas.pipeline.report.document import Document, Section
from ldas.pipeline.report.interactive import interactive_part
from ldas.pipeline.report.numbers import report_numbers
from ldas.pipeline.report.page import as_html, as_markdown, write_tables
from ldas.pipeline.report.sources import Sources, listed
from ldas.pipeline.store.location import Location, as_location
from ldas.pipeline.store.provenance import code_version, name_of

if TYPE_CHECKING:
    from distributed import Client

PAGE = "index.html"
MARKDOWN = "report.md"
LARGEST_PAGE = 10_000_000  # bytes, unless its pictures are larger
OTHER_BYTES = 300_000  # tables, sentences, configuration


@dataclass(frozen=True)
class Report:
    """What was written, and the report as Markdown for a terminal; `numbers` is what `--json` writes."""

    page: Path
    tables: tuple[Path, ...]
    markdown: str
    numbers: dict[str, Any]


def write_report(
    url: str | Path | Location,
    out: Path | None = None,
    json_path: Path | None = None,
    markdown: bool = False,
    *,
    experiments: Sequence[str] | None = None,
    client: "Client | None" = None,
) -> Report:
    """Evaluates a run and writes `index.html`, `tables/*.csv` and, if asked, `report.md` and the numbers as JSON.

    Args:
        experiments: runs to compare (default: all of the store).
        out: folder (default: `<store>_report` beside a local store, in the working folder for a remote one). The scores
            go to the group `scores` of the store, or are thrown away after the report where the store may not be
            written, or another command is writing it.
        client: Dask client to evaluate with; without one the blocks are done here one after the other.

    Raises:
        EvaluationError: if there is no run.
        StoreError: if there is no store.
        PipelineError: if the folder cannot be written.
    """
    location = as_location(url)
    folder = out if out is not None else default_folder(location)
    if folder.exists() and not folder.is_dir():  # found out before the evaluation, which may take hours
        raise PipelineError(f"the report cannot be written: {folder}: not a folder")
    with tempfile.TemporaryDirectory(prefix="ldas-scores-") as spare:
        sources = Sources(_scored(location, Path(spare) / "scores.zarr", experiments, client))
        document = make_document(sources)
        numbers = report_numbers(sources)
    text = as_markdown(document)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / PAGE
        page.write_text(as_html(document), encoding="utf-8")
        tables = write_tables(document, folder / "tables")
        if markdown:
            (folder / MARKDOWN).write_text(text, encoding="utf-8")
        if json_path is not None:
            json_path.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"the report cannot be written: {error.filename or folder}: {error.strerror}") from error
    return Report(page, tuple(tables), text, numbers)


def default_folder(location: Location) -> Path:
    """Where the report of a store goes."""
    return location.beside("_report")


def _scored(location: Location, spare: Path, experiments: Sequence[str] | None, client: "Client | None") -> Scores:
    if location.has_versions:
        return evaluate(location, experiments=experiments, scores=spare)
    try:
        return evaluate(location, experiments=experiments, client=client)
    except (PermissionError, StoreError, ExecutionError) as error:
        if not isinstance(error, PermissionError | StoreInUseError) and not isinstance(
            error.__cause__, PermissionError
        ):
            raise
        return evaluate(location, experiments=experiments, scores=spare, client=client)


def make_document(sources: Sources) -> Document:
    """All sections that have something to show."""
    makers = (
        sections.overview,
        system_sections.domain,
        sections.backscatter,
        sections.leaf_area,
        sections.soil_moisture,
        sections.towers,
        sections.truth,
        forecast_section.forecasts,
        system_sections.operator,
        system_sections.analysis,
        consistency_section.consistency,
        system_sections.water,
        system_sections.run,
    )
    made: list[Section] = [maker(sources) for maker in makers]
    scores, plan = sources.scores, sources.plan
    answered, notes = answer(sources), list(scores.notes)
    pictures = [picture for section in made for picture in section.pictures]
    if answered is not None:
        pictures += [picture for verdict in answered.verdicts for picture in verdict.pictures]
    interactive = interactive_part(sources, LARGEST_PAGE - OTHER_BYTES - sum(len(picture.uri) for picture in pictures))
    if interactive is None and answered is not None and answered.verdicts:
        notes.append("The interactive part is left out: with it, this page would be too large.")
    configuration = configuration_of(sources.root, plan)
    name = str(configuration.get("name") or default_folder(scores.location).name.removesuffix("_report"))
    facts = {
        "experiments": listed([experiment.name for experiment in plan.experiments]),
        "compared": f"{plan.days[0]} to {plan.days[-1]} ({len(plan.days)} days)",
        "store": name_of(scores.location.url),
        "software": f"ldas {code_version()}",
    }
    if configuration.get("description"):
        facts = {"about": str(configuration["description"]), **facts}
    return Document(
        title=f"{name}: evaluation",
        synthetic=sources.synthetic,
        facts=facts,
        notes=notes,
        sections=[section for section in made if not section.is_empty],
        answer=answered,
        interactive=interactive,
    )
