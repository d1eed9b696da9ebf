"""The page of a calibration: parameters, fit, kept-back years, sensitivity."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ldas.landmodel.array_types import Array, BoolArray, Days, IntArray
from ldas.pipeline import registry
from ldas.pipeline.calibration.observations import within
from ldas.pipeline.calibration.results import CALIBRATED, SITE, Results
from ldas.pipeline.errors import PipelineError
from ldas.pipeline.report.document import Document, Picture, Section, Table, picture
from ldas.pipeline.report.page import as_html, as_markdown, write_tables
from ldas.pipeline.report.run_facts import estimated_table
from ldas.pipeline.report.sentences import number, percent
from ldas.pipeline.report.series import Line, monthly_means, time_series
from ldas.pipeline.report.style import colour, new_figure, styled
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.provenance import code_version

_COLUMNS = 4  # of the picture of parameters
_DAYS_PER_POINT = 10  # daily fluxes of years would hide each other


def write_report(results: Results, folder: Path) -> Path:
    """Writes `index.html`, `report.md` and `tables/*.csv` into a folder, which is made; the page.

    Raises:
        PipelineError: where they cannot be written.
    """
    document = _document(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "index.html"
        page.write_text(as_html(document), encoding="utf-8")
        (folder / "report.md").write_text(as_markdown(document), encoding="utf-8")
        write_tables(document, folder / "tables")
    except OSError as error:
        raise PipelineError(f"the report cannot be written: {error.filename or folder}: {error.strerror}") from error
    return page


def _document(results: Results) -> Document:
    case = results.calibration.case
    method = case.method
    facts = {
        "site": results.calibration.site.name,
        "calibrated with": f"{', '.join(case.variables)}, {case.calibration.start} to {case.calibration.end}",
        "kept back": f"{case.kept_back.start} to {case.kept_back.end}",
        "method": f"ES-MDA, {method.assimilations} assimilations, {method.ensemble_size} members, seed {method.seed}",
        "software": f"ldas {code_version()}",
    }
    if case.description:
        facts = {"about": case.description, **facts}
    notes = [f"{results.set_aside} members failed and were set aside"] if results.set_aside else []
    sections = [_parameters(results), _fit(results), _series(results), _sensitivity(results), _made_from(results)]
    return Document(f"{case.name}: calibration", case.synthetic, facts, notes, sections)


def _parameters(results: Results) -> Section:
    table = results.parameter_table()
    calibrated = dict(zip(table["parameter"], table["calibrated"], strict=True))
    yaml = "parameters: {" + ", ".join(f"{name}: {value:.6g}" for name, value in calibrated.items()) + "}"
    narrow = table.loc[table["spread left"] < 0.5, "parameter"]
    sentence = f"The observations halve the spread of {len(narrow)} of {len(table)} parameters: {', '.join(narrow)}."
    if narrow.empty:
        sentence = "The observations halve the spread of no parameter."
    return Section(
        "parameters",
        "Parameters",
        sentences=[
            sentence,
            "Calibrated is the middle of the posterior; sd is the standard deviation of the members. Both hold only if "
            "the model and the errors of the observations are as assumed.",
        ],
        pictures=[
            picture(
                _histograms(results),
                "Prior (grey) and posterior (blue) members, the site's own value (dashed) and the calibrated one.",
                "Histograms of each parameter before and after the calibration",
                wide=True,
            )
        ],
        tables=[Table("Parameters before and after, in SURFEX's units", table, "parameters")],
        texts=[("Calibrated parameters for the site file", yaml)],
    )


def _histograms(results: Results) -> Figure:
    names = list(results.calibration.priors)
    count = -(-len(names) // _COLUMNS)
    with styled(axes__grid=False):
        height = 0.8 + 1.7 * count
        figure = new_figure(9.0, height)
        figure.subplots_adjust(left=0.04, right=0.98, bottom=0.5 / height, hspace=0.75, wspace=0.2)
        grid = figure.subplots(count, _COLUMNS, squeeze=False).ravel()
        for i, (axes, name) in enumerate(zip(grid, names, strict=False)):
            prior = results.calibration.priors[name]
            edges = np.linspace(prior.low, prior.high, 31)
            axes.hist(results.prior[:, i], edges, density=True, color="#c8c8c8")
            axes.hist(results.posterior[:, i], edges, density=True, color=colour(0), alpha=0.75)
            axes.axvline(results.site_values[name], color="black", linestyle="--", linewidth=1.0)
            axes.axvline(results.calibrated[i], color=colour(1), linewidth=1.0)
            axes.set_title(name)
            axes.set_yticks([])
            axes.locator_params(axis="x", nbins=4)
        for axes in grid[len(names) :]:
            axes.remove()
    return figure


def _fit(results: Results) -> Section:
    reduction = results.kept_back_reduction()
    window = within(results.calibration.days, results.calibration.case.kept_back)
    before, after = (results.misfit(run, window) for run in (SITE, CALIBRATED))
    change = "lowers" if reduction > 0 else "raises"
    sentences = [
        f"On the kept-back days the calibration {change} the misfit by {percent(abs(reduction))}, from "
        f"{number(before)} to {number(after)} (mean squared difference in units of the observation error)."
    ]
    sentences += [
        f"{name}: {percent(results.covered(name, 'kept_back'))} of the kept-back observations lie within the 95 % "
        "interval of the posterior's spread and the observation error."
        for name in results.calibration.case.variables
    ]
    return Section(
        "fit",
        "Fit",
        sentences=sentences,
        tables=[
            Table("Scores by period, daily values in the registry's units", results.score_table(), "scores"),
            Table("Misfit by year, all observations", results.year_table(), "years"),
        ],
    )


def _series(results: Results) -> Section:
    pictures: list[Picture] = []
    days = results.calibration.days
    for series in results.calibration.observed:
        entry = registry.variable(series.variable)
        label = f"{series.variable} ({entry.unit})"
        runs = {name: values for name, values in results.runs(series.variable).items() if name in (SITE, CALIBRATED)}
        window = within(days, results.calibration.case.kept_back)
        used = series.used(window)
        observed = np.where(used, series.value, np.nan)
        lines = [Line(name, values[window], index) for index, (name, values) in enumerate(runs.items())]
        starts, (observed_means, *means) = _means(days[window], observed[window], *(line.values for line in lines))
        averaged = [Line(line.label, values, line.index) for line, values in zip(lines, means, strict=True)]
        pictures.append(
            picture(
                time_series(starts, averaged, observed_means, title=series.variable, label=label),
                f"Kept-back period, means over {_DAYS_PER_POINT} days: runs of all days, observations as there are.",
                f"{series.variable} ({entry.long_name}) of both runs and observed, over the kept-back period",
                wide=True,
            )
        )
        months = days.astype("datetime64[M]").astype(int) % 12
        cycle = [Line(line.label, _by_month(runs[line.label], used, months), line.index) for line in lines]
        pictures.append(
            picture(
                monthly_means(cycle, _by_month(observed, used, months), title=series.variable, label=label),
                "Kept-back days with an observation, mean of each month.",
                f"Mean year of {series.variable}",
            )
        )
    return Section("series", "Kept-back years", pictures=pictures)


def _means(days: Days, *series: Array) -> tuple[Days, list[Array]]:
    """First days and means of `_DAYS_PER_POINT` days each; NaN where no day has a value."""
    frame = pd.DataFrame(dict(enumerate(series)))
    means = frame.groupby(np.arange(len(days)) // _DAYS_PER_POINT).mean()
    return days[::_DAYS_PER_POINT], [means[column].to_numpy() for column in means]


def _by_month(values: Array, used: BoolArray, months: IntArray) -> Array:
    return np.asarray(pd.Series(values[used]).groupby(months[used]).mean().reindex(range(12)))


def _sensitivity(results: Results) -> Section:
    effect = results.effect["effect"].to_numpy()
    variables = results.calibration.case.variables
    frame = pd.DataFrame(effect, columns=[f"effect on {name}" for name in variables])
    frame.insert(0, "parameter", list(results.calibration.priors))
    return Section(
        "sensitivity",
        "Sensitivity",
        sentences=[
            "Root mean square change of the predictions between the bounds of each parameter, the others at the site's "
            "values, in units of the observation error."
        ],
        tables=[Table("Effect of each parameter", frame, "sensitivity")],
    )


def _made_from(results: Results) -> Section:
    """Weather that was not measured, and the provenance."""
    made = results.calibration.attributes()["provenance"]
    section = Section("made-from", "Made from", texts=[("Provenance", json.dumps(made, indent=2, ensure_ascii=False))])
    store = results.calibration.site.forcing.store
    estimated = estimated_table(open_store(store)) if store is not None else pd.DataFrame()
    if not estimated.empty:
        names = ", ".join(dict.fromkeys(estimated["variable"]))
        section.sentences.append(f"Not all of the weather was measured: {names} were estimated, wholly or in part.")
        section.tables.append(Table("Weather that was not measured", estimated, "estimated_forcing"))
    return section
