"""A report as one HTML file that needs nothing else, as Markdown for terminals, and its tables as CSV."""

from importlib.resources import files
from pathlib import Path

import jinja2

from ldas.pipeline.report.document import Document, Table

SYNTHETIC = "The data behind this report are synthetic: made by the software, not measured."


def as_html(document: Document) -> str:
    """The page. Whatever comes from a store is escaped; the page may load nothing and run nothing from elsewhere."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(
        files("ldas.pipeline.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(document=document, synthetic_text=SYNTHETIC) + "\n"


def as_markdown(document: Document) -> str:
    """Sentences and tables, without pictures."""
    lines = [f"# {document.title}", ""]
    if document.synthetic:
        lines += [f"**{SYNTHETIC}**", ""]
    lines += [f"- {name}: {value}" for name, value in document.facts.items()]
    lines += ["", *(f"> {note}" for note in document.notes)] if document.notes else [""]
    for section in document.sections:
        lines += ["", f"## {section.title}", ""]
        lines += section.sentences
        for table in section.tables:
            lines += ["", *_table(table)]
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    """Columns padded to one width, so that the table reads well unrendered too."""
    rows = [table.columns, *table.rows]
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in clean) for column in range(len(table.columns))]
    lines = []
    for row in clean:
        cells = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, table.numeric, strict=True)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    marks = [
        "-" * (width - 1) + ":" if numeric and width > 1 else "-" * width
        for width, numeric in zip(widths, table.numeric, strict=True)
    ]
    return [table.caption, "", lines[0], "| " + " | ".join(marks) + " |", *lines[1:]]


def write_tables(document: Document, folder: Path) -> list[Path]:
    """One CSV file per table that has a name, with all digits; the files that were written."""
    written = []
    for section in document.sections:
        for table in section.tables:
            if table.file and not table.frame.empty:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{table.file}.csv"
                table.frame.to_csv(path, index=False)
                written.append(path)
    return written
