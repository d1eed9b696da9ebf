"""Comparison of the land model with reference outputs: `ldas conformance [DIR]`.

Every case runs once, free, from its initial state. The reference's states are read by the comparison only.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ldas import landmodel
from ldas.landmodel.array_types import Array
from ldas.pipeline import registry
from ldas.pipeline.site.columns import ColumnRun, Outputs, prepare
from ldas.pipeline.site.reference_cases import ReferenceCase, read_cases
from ldas.pipeline.site.reference_files import ReferenceTable, read_table

DAYS_PER_SEGMENT = 31
MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # of the years without 29 February of the formula weather

# Values at the end of an interval; everything else is a mean over it.
STATES = (
    *("TG", "WG", "WGI", "WR", "LAI", "BIOMASS", "RESP_BIOMASS", "ANDAY", "ANFM", "RESA", "TS", "TSRAD"),
    *("SNOW_SWE", "SNOW_RHO", "SNOW_HEAT", "SNOW_AGE", "SNOW_ALBEDO"),
)
MEANS = (
    *(
        "RN",
        "H",
        "LE",
        "LEI",
        "GFLUX",
        "LEG",
        "LEGI",
        "LEV",
        "LER",
        "LETR",
        "LES",
        "EVAP",
        "RUNOFF",
        "DRAINAGE",
        "DRIP",
    ),
    *("SNOWMELT", "GPP", "RESP_AUTO", "RECO", "AN", "SWUP", "LWUP", "CD", "CH", "RI", "HALSTEAD"),
    *("ALBEDO", "PSN", "VEG", "EMIS", "Z0VEG", "Z0EFF", "Z0H", "SWE", "SNOW_DEPTH", "T2M"),
)
# Largest difference at any time that the land model must reach (units of the registry).
TOLERANCES = {
    "TG": 1e-4,
    "WG": 1e-6,
    "WGI": 1e-6,
    "LAI": 1e-5,
    "BIOMASS": 1e-6,
    "RN": 0.01,
    "H": 0.01,
    "LE": 0.01,
    "GFLUX": 0.01,
    "GPP": 1e-11,
    "SWE": 1e-3,
    "T2M": 1e-4,
}
# CRAIN = SGH decides the drip of some rain steps by the last bit of the intercepted water, and the reference took
# either way (docs/science/interception_runoff.md, section 3): a free run with the rule
# given there leaves it by these amounts (docs/conformance.md).
DRIP_TOLERANCES = {
    **{"TG": 5e-3, "WG": 2e-4, "WGI": 2e-4, "LAI": 4e-3, "LER": 1.5, "LEV": 1.5},
    **dict.fromkeys(("RN", "H", "LE", "GFLUX", "LEG", "LETR"), 0.6),
}


@dataclass(frozen=True)
class Row:
    """Difference of one variable (and layer, from 1) from the reference over one kind of stored values of a case.

    `period`: `steps`, `daily_mean`, `daily_end`, `monthly_mean`, `monthly_end` or a 48-hour window. `rmsd` and
    `max_abs` in `unit`; `r` is undefined (None) where the reference does not vary.
    """

    case: str
    period: str
    variable: str
    layer: int | None
    unit: str
    rmsd: float
    max_abs: float
    r: float | None
    count: int

    def as_json(self) -> dict[str, Any]:
        """The row as it is written with `--json`."""
        return {name: value for name, value in vars(self).items() if name != "count"}


def default_folder() -> Path:
    """The shared reference folder: below LDAS_SHARED, or beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get("LDAS_SHARED", beside)) / "reference" / "surfex"


def run_conformance(
    folder: Path,
    json_path: Path | None = None,
    docs_path: Path | None = None,
    console: Console | None = None,
    threads: int = 1,
) -> list[Row]:
    """Runs every case of a folder and prints how far the land model is from the reference.

    Args:
        folder: with `cases.json`, or formula-driven cases, or both (subfolder `analytic`).
        json_path: file for the rows.
        docs_path: Markdown file for the table.

    Raises:
        ConformanceError: a folder that cannot be used.
    """
    rows = compare(read_cases(folder), threads)
    if json_path is not None:
        json_path.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n", encoding="utf-8")
    if docs_path is not None:
        docs_path.write_text(markdown(rows), encoding="utf-8")
    (console or Console()).print(summary_table(rows))
    return rows


def compare(cases: Sequence[ReferenceCase], threads: int = 1) -> list[Row]:
    """One free run of every case; cases with the same times, options and kind of forcing go through it together."""
    groups: dict[tuple[object, ...], list[ReferenceCase]] = defaultdict(list)
    for case in cases:
        site = case.site
        driver = (site.forcing.file, site.forcing.records_per_loop)
        groups[(site.options, site.start, site.days, site.time_step_s, case.output_step_s, *driver)].append(case)
    found: dict[str, list[Row]] = {}
    for group in groups.values():
        found |= _compare_group(group, threads)
    return [row for case in cases for row in found[case.site.name]]


def tolerance(row: Row) -> float | None:
    """The largest difference that this row may have; None where nothing is demanded."""
    base = row.variable.split("_")[0] if row.variable not in TOLERANCES else row.variable
    if row.case.endswith("_dt92"):
        return DRIP_TOLERANCES.get(base)
    return TOLERANCES.get(base)


# --- comparison ------------------------------------------------------------------------------------------------------


class _Differences:
    """Pairs of computed and stored values, collected over the segments of a run."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str, int | None, str], list[tuple[Array, Array]]] = defaultdict(list)

    def add(self, period: str, variable: str, layer: int | None, unit: str, computed: Array, stored: Array) -> None:
        """Adds pairs; where the reference is undefined there is nothing to compare with."""
        defined = np.isfinite(stored)
        self._pairs[period, variable, layer, unit].append((computed[defined], stored[defined]))

    def rows(self, case: str) -> list[Row]:
        """The statistics. A computed value that is undefined where the reference is not makes them undefined (NaN)."""
        rows = []
        for (period, variable, layer, unit), pairs in self._pairs.items():
            computed, stored = (np.concatenate(part) for part in zip(*pairs, strict=True))
            if stored.size == 0:
                continue
            difference = computed - stored
            varies = stored.size > 1 and np.ptp(stored) > 0 and np.ptp(computed) > 0
            rows.append(
                Row(
                    case,
                    period,
                    variable,
                    layer,
                    unit,
                    rmsd=float(np.sqrt(np.mean(difference**2))),
                    max_abs=float(np.max(np.abs(difference))),
                    r=float(np.corrcoef(computed, stored)[0, 1]) if varies else None,
                    count=stored.size,
                )
            )
        return rows


def _compare_group(cases: Sequence[ReferenceCase], threads: int) -> dict[str, list[Row]]:
    run = prepare([case.site for case in cases])
    step = cases[0].output_step_s
    monthly = any("monthly" in case.files for case in cases)
    days = _month_lengths(run.cases[0].days) if monthly else _segment_lengths(run.cases[0].days)
    tables = [[read_table(kind, path, case.site) for kind, path in case.files.items()] for case in cases]
    differences = [_Differences() for _ in cases]
    request = landmodel.OutputRequest(mean=MEANS, end=STATES, interval_s=step)
    for segment in run.segments(request, days, threads):
        first = segment.first_interval * step
        for site, of_site in enumerate(tables):
            for table in of_site:
                _compare_segment(table, run, site, segment.outputs, first, step, differences[site])
    return {case.site.name: found.rows(case.site.name) for case, found in zip(cases, differences, strict=True)}


def _segment_lengths(days: int) -> list[int]:
    return [min(DAYS_PER_SEGMENT, days - start) for start in range(0, days, DAYS_PER_SEGMENT)]


def _month_lengths(days: int) -> list[int]:
    months: list[int] = []
    while sum(months) < days:
        months.append(MONTHS[len(months) % 12])
    return months


def _compare_segment(
    table: ReferenceTable, run: ColumnRun, site: int, outputs: Outputs, first: int, step: int, differences: _Differences
) -> None:
    """Compares the rows of a table that end inside a segment beginning `first` seconds after the start."""
    intervals = len(next(iter(outputs.values())))
    last = first + intervals * step
    selected = np.flatnonzero((table.ends > first) & (table.ends <= last))
    if selected.size == 0:
        return
    stop = ((table.ends[selected] - first) // step).astype(int)
    begin = np.maximum(((table.begins[selected] - first) // step).astype(int), 0)
    for column in table.columns:
        values = _site_values(run, site, outputs, column.name, column.vegetation)
        if column.layer is not None and values.ndim > 1:
            values = values[:, column.layer - 1]
        if column.mean:
            computed = np.stack([_mean(values[a:b], column.name) for a, b in zip(begin, stop, strict=True)])
        else:
            computed = values[stop - 1]
        stored = column.values[selected]
        unit = registry.variable(column.name).unit
        label = column.name if column.vegetation is None else f"{column.name}_{column.vegetation}"
        period = f"{table.period}_{'mean' if column.mean else 'end'}" if table.averages else table.period
        if stored.ndim == 1:
            differences.add(period, label, column.layer, unit, computed, stored)
        else:
            for layer in range(stored.shape[1]):
                differences.add(period, label, layer + 1, unit, computed[:, layer], stored[:, layer])


def _mean(values: Array, name: str) -> Array:
    """Mean over intervals; that of the snow albedo over those with snow."""
    if name != "SNOW_ALBEDO":
        return np.asarray(values.mean(axis=0))
    snowy = values[np.isfinite(values)]
    return np.asarray(snowy.mean() if snowy.size else np.nan)


def _site_values(run: ColumnRun, site: int, outputs: Outputs, name: str, vegetation: str | None) -> Array:
    """Values (interval[, layer]) of a site, or of one vegetation type in it."""
    columns = run.columns_of(site)
    if vegetation is not None:
        columns = columns[[list(run.cases[site].fractions).index(vegetation)]]
    values = outputs[name][:, columns]
    if columns.size == 1:
        return values[:, 0]
    weights = run.parameters.fraction[columns]
    # An undefined value (LAI of bare soil) counts 0, as in SURFEX.
    return np.tensordot(np.nan_to_num(values, nan=0.0), weights, axes=(1, 0))


_PAGE_HEAD = """\
# Conformance with SURFEX v8.1

In {close} of {cases} cases the model stays within the tolerance of every variable below ({allowed}){largest}.

Made by `ldas conformance --docs docs/conformance.md`; `--json FILE` gives every row (case, period, variable, layer).

Every case runs freely from its initial state; the reference's states are read for the comparison only. Compared are
fluxes as means over each stored step, day or month, and states at its end. The reference is stored in single precision,
or with 8 digits in the cases driven by formulas, so 2e-5 K, 2e-8 m3 m-3 and 3e-5 W m-2 are its rounding.

`hapex_c3_dt92` is the exception: with CRAIN = SGH the last bit of the intercepted water decides the drip of some rain
steps, and the reference went either way. No rule reproduces that; the table shows how far the results differ.

Not compared: momentum fluxes and intercepted rain, which this model does not put out, and of several patches together
the radiative temperature and roughness, which SURFEX recomputes from aggregated quantities. All runs have their forcing
at 2 m, where the temperature at 2 m (`T2M`) is that of the forcing: this shows no more than the time it belongs to.

Entries are RMSD / largest absolute difference over all layers, pools and times: {units}.
"""


# --- what one sees ---------------------------------------------------------------------------------------------------


def summary_table(rows: Iterable[Row]) -> Table:
    """Per case and variable: the largest RMSD, the largest difference and the lowest R over layers and periods."""
    table = Table("case", "variable", "unit", title="Difference from SURFEX")
    for heading in ("RMSD", "maximum", "R", "allowed"):
        table.add_column(heading, justify="right")
    together: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        together[row.case, row.variable, row.unit].append(row)
    for (case, variable, unit), same in together.items():
        correlations = [row.r for row in same if row.r is not None]
        largest = max(same, key=lambda row: row.max_abs)
        allowed = tolerance(largest)
        beyond = allowed is not None and not largest.max_abs <= allowed
        table.add_row(
            case,
            variable,
            unit,
            f"{max(row.rmsd for row in same):.1e}",
            f"{largest.max_abs:.1e}",
            f"{min(correlations):.9f}" if correlations else "-",
            "-" if allowed is None else f"{allowed:.0e}",
            style="bold red" if beyond else None,
        )
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The table of docs/conformance.md: per case and kind of values RMSD / largest difference of the main variables."""
    names = tuple(TOLERANCES)
    kinds = {
        "steps": "steps",
        "daily_mean": "days",
        "daily_end": "days",
        "monthly_mean": "months",
        "monthly_end": "months",
    }
    together: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        together[row.case, kinds.get(row.period, "48 h windows")][row.variable.split("_")[0]].append(row)
    units = ", ".join(f"{name} {registry.variable(name).unit}" for name in names)
    parts: dict[str, float] = defaultdict(float)  # of the tolerance, the largest of each case
    for row in rows:
        if row.variable in TOLERANCES:
            parts[row.case] = max(parts[row.case], row.max_abs / TOLERANCES[row.variable])
    within = [part for part in parts.values() if part <= 1.0]
    allowed = ", ".join(f"{name} {TOLERANCES[name]:g} {registry.variable(name).unit}" for name in names)
    largest = f"; the largest\ndifference at any time is {max(within):.1g} of it" if within else ""
    lines = [
        _PAGE_HEAD.format(units=units, allowed=allowed, close=len(within), cases=len(parts), largest=largest),
        f"| case | values | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    for (case, kind), variables in together.items():
        entries = []
        for name in names:
            same = [row for row in variables.get(name, []) if row.variable.split("_")[0] == name]
            if not same:
                entries.append("-")
                continue
            square = sum(row.rmsd**2 * row.count for row in same) / sum(row.count for row in same)
            entries.append(f"{np.sqrt(square):.0e} / {max(row.max_abs for row in same):.0e}")
        lines.append(f"| {case} | {kind} | {' | '.join(entries)} |")
    return "\n".join([*lines, ""])
