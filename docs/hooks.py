"""What of the documentation is made when the site is built: tables from the code, drawings of the formulas."""

import csv
import html
import logging
import re
from functools import cache
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from pydantic import BaseModel

from ldas.landmodel import quantities
from ldas.pipeline.calibration.case import CalibrationCase
from ldas.pipeline.registry import names, renamed, variable
from ldas.pipeline.settings.experiment import ExperimentConfig, json_schema
from ldas.pipeline.store.provenance import code_version


class _NoReference(logging.Filter):
    """Drops complaints about `(time, column[, member][, layer])`: optional axes, not a cross-reference."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "cross-reference target ', " not in record.getMessage()


def on_config(config: Any) -> None:
    """Before anything is built: the version stands at the foot of every page."""
    config.copyright = f"ldas {code_version()}, Apache-2.0"
    for handler in logging.getLogger("mkdocs").handlers:
        handler.addFilter(_NoReference())


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills `<!-- table: ... -->` in a page."""
    tables = {
        "variables": variables_table,
        "configuration": lambda: configuration_table(ExperimentConfig),
        "calibration": lambda: configuration_table(CalibrationCase),
        "quantities": quantities_table,
        "names": names_table,
        "vegetation": lambda: parameter_table("vegetation.csv"),
        "photosynthesis": lambda: parameter_table("photosynthesis.csv"),
    }
    for name, table in tables.items():
        marker = f"<!-- table: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, table())
    return markdown


_FORMULA = re.compile(r'class="arithmatex">\\([(\[])(.*?)\\[)\]]<', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Draws every formula (LaTeX between dollar signs), so that a page needs no program from elsewhere."""

    def drawn(match: re.Match[str]) -> str:
        latex = " ".join(html.unescape(match[2]).split())
        return f'class="formula">{formula(latex, standing_alone=match[1] == "[")}<'

    return _FORMULA.sub(drawn, content)


@cache
def formula(latex: str, standing_alone: bool) -> str:
    """LaTeX as an SVG element in the size and colour of the text. ValueError for what Matplotlib cannot set."""
    size = 100.0
    typeset = latex.replace(r"\frac", r"\dfrac") if standing_alone else latex
    path = TextPath((0.0, 0.0), f"${typeset}$", size=size, prop=FontProperties(math_fontfamily="stix"))
    drawn = path.vertices[path.codes != TextPath.CLOSEPOLY]
    (left, low), (right, high) = drawn.min(axis=0) - 3.0, drawn.max(axis=0) + 3.0
    # a code stands at every point of its curve; SVG wants its letter once, and counts downward
    letters, parts, before = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}, [], 0
    for (x, y), code in zip(path.vertices.tolist(), path.codes.tolist(), strict=True):
        parts.append((" " if code == before else letters[code]) + ("" if code == 79 else f"{x:.0f} {-y:.0f}"))
        before = code
    return (
        f'<svg role="img" aria-label="{html.escape(latex)}" fill="currentColor" '
        f'viewBox="{left:.0f} {-high:.0f} {right - left:.0f} {high - low:.0f}" '
        f'style="width:{1.1 * (right - left) / size:.3f}em;vertical-align:{1.1 * low / size:.3f}em">'
        f'<path d="{"".join(parts)}"/></svg>'
    )


def on_post_build(config: Any) -> None:
    """Puts the JSON schema of the experiment file beside the pages."""
    (Path(config["site_dir"]) / "experiment.schema.json").write_text(json_schema(), encoding="utf-8")


def variables_table() -> str:
    """The registry of variables."""
    lines = ["| name | unit | meaning | range | dimension |", "|---|---|---|---|---|"]
    for name in names():
        entry = variable(name)
        limits = f"{entry.valid_range[0]:g} to {entry.valid_range[1]:g}" if entry.valid_range else ""
        lines.append(f"| `{name}` | {entry.unit} | {entry.long_name} | {limits} | {entry.axis or ''} |")
    return "\n".join(lines)


def quantities_table() -> str:
    """Everything in the memory of a column of the land model, table by table."""
    lines = []
    for table, entries in vars(quantities).items():
        if not (table.isupper() and isinstance(entries, tuple)):
            continue
        lines += [
            "",
            f"`{table}`",
            "",
            "| name | SURFEX | unit | rows | meaning | accepted | set by |",
            "|" + "---|" * 7,
        ]
        for entry in entries:
            limits = f"{entry.low:g} to {entry.high:g}" if isfinite(entry.low) else ""
            setters = ", ".join(f"`{name}`" for name in entry.set_by.split())
            lines.append(
                f"| `{entry.name}` | {entry.surfex} | {entry.unit} | {entry.rows or ''} | {entry.meaning} | {limits} | "
                f"{setters} |"
            )
    return "\n".join(lines)


def names_table() -> str:
    """What exported variables are called, and what they are made of."""
    lines = ["| CMIP | ALMA | unit | meaning | made of |", "|---|---|---|---|---|"]
    called: dict[tuple[str, str, str], dict[str, str]] = {}
    for table in ("cmip", "alma"):
        for entry in renamed(table):
            signed = [*entry.of.items(), *([(entry.with_ice, 1)] if entry.with_ice else [])]
            stored = " ".join(f"{'+' if sign > 0 else '-'} {name}" for name, sign in signed).removeprefix("+ ")
            called.setdefault((stored, entry.long_name, entry.unit), {})[table] = f"`{entry.name}`"
    for (stored, meaning, unit), name in called.items():
        lines.append(f"| {name.get('cmip', '')} | {name.get('alma', '')} | {unit} | {meaning} | {stored} |")
    return "\n".join(lines)


def parameter_table(name: str) -> str:
    """A file of parameters of the land model as it is."""
    with (files("ldas.landmodel") / "tables" / name).open(encoding="utf-8") as table:
        header, *rows = csv.reader(table)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += [f"| `{parameter}` | " + " | ".join(rest) + " |" for parameter, *rest in rows]
    return "\n".join(lines)


def configuration_table(model: type[BaseModel]) -> str:
    """Every key of a file."""
    schema = model.model_json_schema()
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    _add_keys(schema, schema["$defs"], "", lines)
    return "\n".join(lines)


def _add_keys(schema: dict[str, Any], definitions: dict[str, Any], prefix: str, lines: list[str]) -> None:
    for key, entry in schema["properties"].items():
        inner = _model_of(entry, definitions)
        default = "needed" if key in schema.get("required", ()) else "" if inner else _code(entry.get("default", ""))
        meaning = entry.get("description") or (inner or {}).get("description", "")
        kind = "section" if inner else _type_of(entry)
        lines.append(f"| `{prefix}{key}` | {kind} | {default} | {' '.join(meaning.split())} |")
        if inner:
            _add_keys(inner, definitions, f"{prefix}{key}.", lines)


def _code(value: Any) -> str:
    return f"`{value}`" if value != "" else ""


def _model_of(entry: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    for candidate in (entry, entry.get("items", {}), *entry.get("anyOf", ())):
        if "$ref" in candidate:
            found: dict[str, Any] = definitions[candidate["$ref"].rsplit("/", 1)[1]]
            return found
    return None


def _type_of(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(str(value) for value in entry["enum"])
    if "anyOf" in entry:
        return " or ".join(_type_of(option) for option in entry["anyOf"])
    return str(entry.get("format") or entry.get("type", "any")).replace("null", "nothing")
