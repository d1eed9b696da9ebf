"""A report before it is a page: sections of sentences, figures and tables."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import pandas as pd
from matplotlib.figure import Figure

from ldas.pipeline.report.sentences import number, percent, shown_unit
from ldas.pipeline.report.style import as_data_uri, as_svg

NO_VALUE = "–"
# Columns of fractions, shown as percent.
PARTS = ("cells improved", "cells below 0.2", "cells within 0.9 to 1.1", "cells worse without", "part")


@dataclass(frozen=True)
class Picture:
    """A figure with its caption and, for those who cannot see it, what it shows. wide: takes a row of its own."""

    caption: str
    alt: str
    svg: bytes
    wide: bool = False

    @property
    def uri(self) -> str:
        """The picture as part of a page."""
        return as_data_uri(self.svg)


def picture(figure: Figure, caption: str, alt: str, *, wide: bool = False) -> Picture:
    """A picture of a figure."""
    return Picture(caption, alt, as_svg(figure), wide)


@dataclass(frozen=True)
class Table:
    """Rows as they are shown. `frame` has the numbers as they are; `file` is the stem of its CSV file."""

    caption: str
    frame: pd.DataFrame
    file: str = ""

    @property
    def columns(self) -> list[str]:
        """Column titles."""
        return [str(column) for column in self.frame.columns]

    @property
    def numeric(self) -> list[bool]:
        """Which columns are numbers, to be set flush right."""
        return [bool(pd.api.types.is_numeric_dtype(self.frame[column])) for column in self.frame]

    @property
    def rows(self) -> list[list[str]]:
        """Cells as text."""
        return [
            [format_cell(column, value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.frame.itertuples(index=False)
        ]


def format_cell(column: str, value: object) -> str:
    """A value as text: correlations with two decimals (three for their differences), other numbers with three digits.

    Differences have their sign.
    """
    if column == "unit":
        return shown_unit(str(value))
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if not isinstance(value, float):
        return NO_VALUE if value is None else str(value)
    if value != value:
        return NO_VALUE
    if column in PARTS:
        return percent(value)
    name = column.split(" ")[-1]
    correlation = name in ("R", "dR", "KGE", "NIC", "before") or column.startswith("R ")
    digits = 3 if name == "dR" else 2
    text = f"{value:.{digits}f}".replace("-", "−") if correlation else number(value)
    if not text.strip("−0."):  # rounded to nothing: no sign
        return text.lstrip("−")
    return f"+{text}" if name.startswith("d") and value > 0 else text


@dataclass
class Section:
    """A part of the report. `key` is its anchor; `sentences` say in words what the numbers say."""

    key: str
    title: str
    sentences: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)  #: (title, text as it is), such as a configuration

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.sentences or self.pictures or self.tables or self.texts)


@dataclass(frozen=True)
class Verdict:
    """What assimilation did to one variable: in two words, as a number, its details, and pictures of where and when.

    tone: `better`, `worse` or nothing, for its colour.
    """

    what: str
    verdict: str
    tone: str
    headline: str
    details: list[str]
    pictures: list[Picture]


@dataclass(frozen=True)
class Answer:
    """The first screen: sentences, one verdict for each variable, and what the pictures show."""

    sentences: list[str]
    verdicts: list[Verdict]
    caption: str


@dataclass(frozen=True)
class InteractivePart:
    """The interactive part: plots and numbers as JSON, the library that draws them and the script that fills them."""

    plots: str
    data: str
    library: str
    script: str
    note: str
    has_map: bool

    @property
    def policy(self) -> str:
        """The scripts that a page with it may run, for its security policy: these two, known by their hashes."""
        digests = (sha256(text.encode("utf-8")).digest() for text in (self.library, self.script))
        return " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)


@dataclass
class Document:
    """A whole report. facts: short lines under the title (what, where, when). notes: what is missing or left out."""

    title: str
    synthetic: bool
    facts: Mapping[str, str]
    notes: list[str]
    sections: list[Section]
    answer: Answer | None = None
    interactive: InteractivePart | None = None
