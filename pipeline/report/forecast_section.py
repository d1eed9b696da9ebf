"""The section of a report on forecasts: skill by lead day, beside the open loop's."""

import numpy as np
import pandas as pd

from ldas.landmodel.array_types import Array
from ldas.pipeline.evaluation.forecasts import Forecasts
from ldas.pipeline.evaluation.plan import JUDGED, Comparison
from ldas.pipeline.evaluation.tables import median
from ldas.pipeline.report import sentences
from ldas.pipeline.report.document import Picture, Section, Table, picture
from ldas.pipeline.report.sections import HEADLINES, REFERENCES
from ldas.pipeline.report.series import Line, by_step
from ldas.pipeline.report.sources import Sources, axis_label

_TITLES = {"n": "N", "bias": "bias", "rmsd": "RMSD", "r": "R"}


def forecasts(sources: Sources) -> Section:
    """Forecasts from the analyses against observations and truth."""
    section = Section("forecasts", "Forecasts from the analyses")
    for name, (one, comparison) in sources.plan.forecast_comparisons.items():
        for key in HEADLINES:
            if sources.judged_comparison(key) == comparison:
                section.sentences.append(_sentence(sources, name, one, comparison, key))
                section.pictures.append(_picture(sources, name, one, comparison, key))
    table = forecast_table(sources)
    if not table.empty:
        caption = (
            "Scores by days from the analysis, medians over the cells; the open loop on the same days. R needs "
            "at least ten forecasts"
        )
        section.tables.append(Table(caption, table, "forecasts"))
    return section


def forecast_table(sources: Sources) -> pd.DataFrame:
    """One row for each forecast, reference and lead day: medians over the cells, of the open loop too.

    Against observations, and against the truth where that is what experiments are judged by.
    """
    rows = []
    judged = [sources.judged_comparison(key) for key in HEADLINES]
    for name, (one, comparison) in sources.plan.forecast_comparisons.items():
        if comparison.observation is None and comparison not in judged:
            continue
        for lead in range(one.leads):
            row: dict[str, object] = {
                "forecasts": one.name,
                "variable": comparison.variable,
                "unit": comparison.unit,
                "reference": comparison.reference_path,
                "day": lead + 1,
            }
            for score, title in _TITLES.items():
                values = {label: _by_lead(sources, name, score, label) for label in sources.plan.forecast_labels(one)}
                row[title] = int(values[one.name][lead]) if score == "n" else values[one.name][lead]
                if sources.plan.open_loop is not None and score != "n":
                    row[f"{sources.plan.open_loop} {title}"] = values[sources.plan.open_loop][lead]
            rows.append(row)
    return pd.DataFrame(rows)


def _by_lead(sources: Sources, group: str, score: str, label: str) -> Array:
    """Medians over the cells of a score (lead,); NaN for one that means nothing in these units."""
    found = sources.scores.dataset(group)
    if score not in found:
        return np.full(found.sizes["lead_day"], np.nan)
    return np.array([median(values) for values in found[score].sel(series=label).to_numpy()])


def _sentence(sources: Sources, group: str, one: Forecasts, comparison: Comparison, key: str) -> str:
    score, open_loop = JUDGED[key][0], sources.plan.open_loop
    return sentences.forecast(
        one.name,
        one.from_run,
        what=HEADLINES[key][0],
        reference=REFERENCES.get(comparison.reference_path, comparison.reference_path),
        score=_TITLES[score],
        unit=HEADLINES[key][1],
        values=_by_lead(sources, group, score, one.name),
        open_loop=None if open_loop is None else _by_lead(sources, group, score, open_loop),
    )


def _picture(sources: Sources, group: str, one: Forecasts, comparison: Comparison, key: str) -> Picture:
    score, (what, unit) = JUDGED[key][0], HEADLINES[key]
    labels = sources.plan.forecast_labels(one)
    indices = {one.name: sources.index(one.from_run), sources.plan.open_loop: 0}
    lines = [Line(label, _by_lead(sources, group, score, label), indices[label]) for label in reversed(labels)]
    title = f"{_TITLES[score]} of {what}"
    figure = by_step(lines, title=f"{one.name}: {title}", label=axis_label(_TITLES[score], unit))
    reference = REFERENCES.get(comparison.reference_path, comparison.reference_path)
    caption = f"{title} against {reference} by days from the analysis of {one.from_run}, median over the cells."
    first, last = (sentences.number(lines[-1].values[place]) for place in (0, -1))
    return picture(figure, caption, f"{title} of {one.name}: {first} on day 1, {last} on day {one.leads}")
