"""The sections of a report that compare runs with observations, stations and truth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ldas.pipeline.evaluation.blocks import BY_OVERPASS
from ldas.pipeline.evaluation.plan import JUDGED, Comparison, Series, primary
from ldas.pipeline.evaluation.stations import Station, monthly_cycle, observations_of, run_at
from ldas.pipeline.evaluation.tables import (
    median,
    patch_table,
    places,
)
from ldas.pipeline.report import sentences
from ldas.pipeline.report.document import Picture, Section, Table, picture
from ldas.pipeline.report.maps import cell_map, colour_limits
from ldas.pipeline.report.series import Line, boxes_by_month, monthly_means, time_series
from ldas.pipeline.report.sources import Sources, axis_label, running_mean, shown_flux, words

LONGEST_DAILY = 1500  # days of fluxes that can still be told apart in a figure; longer series are smoothed
SMOOTHED_DAYS = 30
MOST_SERIES = 4  # stations whose series are drawn: those where the open loop is furthest from the observations
Mapped = tuple[np.ndarray, tuple[float, float] | None]  #: values (cell,) and the limits of their colours
REFERENCES = {
    "observations/sigma40": "the observed backscatter",
    "observations/lai": "the observed leaf area index",
    "observations/swi": "the observed soil water index",
    "observations/ssm": "the observed surface soil moisture",
    "truth": "the truth",
}
# Key of the summary -> the quantity in words, its unit.
HEADLINES = {
    "sigma40_rmsd": ("backscatter", "dB"),
    "lai_rmsd": ("leaf area index", "m2 m-2"),
    "ssm_r": ("surface soil moisture", ""),
}


def overview(sources: Sources) -> Section:
    """The numbers that an experiment is judged by, and one sentence for each."""
    section = Section("overview", "At a glance")
    rows = []
    for key, (what, unit) in HEADLINES.items():
        comparison = sources.judged_comparison(key)
        if comparison is None:
            continue
        section.sentences += _sentences(sources, comparison, key, what)
        for name in sources.experiments:
            facts = sources.summary[name]
            improved = facts.get(f"{key}_improved_fraction")
            rows.append(
                {
                    "score": f"{'R' if key.endswith('_r') else 'RMSD'} of {what}",
                    "unit": unit or "1",
                    "reference": comparison.reference_path,
                    "experiment": name,
                    "median": facts[f"{key}_median"],
                    "median of the analyses": facts.get(f"{key}_analysis_median"),
                    "cells improved": improved,
                    "NIC": facts.get(f"{key}_nic_median"),
                }
            )
    if rows:
        numbers = ("median", "median of the analyses", "cells improved", "NIC")
        frame = pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))
        caption = (
            "Median scores over the cells: of the 24 h forecasts before each analysis, and of the analyses. NIC: "
            "normalised information contribution of the forecasts, 1 all and 0 nothing of what the open loop lacks"
        )
        section.tables.append(Table(caption, frame, "overview"))
    return section


def backscatter(sources: Sources) -> Section:
    """Table 3 and Figure 5."""
    section = Section("backscatter", "Backscatter")
    _observed(sources, section, "sigma40_rmsd", ("sigma40_observations",), "table3_backscatter", "5")
    by_overpass = f"sigma40_observations{BY_OVERPASS}"
    if by_overpass in sources.scores.groups:
        section.tables.append(_overpass_table(sources.scores.dataset(by_overpass)))
    return section


def _overpass_table(scores: xr.Dataset) -> Table:
    """Scores of every overpass by itself, medians over the cells."""
    rows = [
        {
            "experiment": label,
            "overpasses": median(scores["n"].to_numpy()[number]),
            "RMSD": median(scores["rmsd"].to_numpy()[number]),
            "R": median(scores["r"].to_numpy()[number]),
        }
        for number, label in enumerate(scores["series"].to_numpy())
    ]
    caption = (
        "Every overpass by itself, medians over the cells (dB). An experiment that does not keep overpasses apart has "
        "one value for those of a window"
    )
    return Table(caption, pd.DataFrame(rows), "table_overpasses")


def leaf_area(sources: Sources) -> Section:
    """Table 4, Figures 6 and 7."""
    section = Section("leaf-area-index", "Leaf area index")
    _observed(sources, section, "lai_rmsd", ("lai_observations",), "table4_leaf_area_index", "6")
    section.pictures += _series_pictures(sources, "LAI", "lai", "7")
    return section


def soil_moisture(sources: Sources) -> Section:
    """Figures 8 and 9."""
    section = Section("soil-moisture", "Surface soil moisture")
    _observed(sources, section, "ssm_r", ("swi_observations", "ssm_observations"), "table_soil_moisture", "8")
    for name in sources.scores.groups:
        if name.startswith("station_") and name.endswith("_soil_moisture"):
            section.pictures += _monthly_boxes(sources, sources.scores.dataset(name))
    return section


def truth(sources: Sources) -> Section:
    """Every variable against the nature run of a twin experiment."""
    section = Section("truth", "Against the truth")
    rows = []
    for comparison in sources.plan.comparisons:
        if comparison.reference_path != "truth":
            continue
        for series in primary(comparison.series):
            scores = {n: median(sources.scores.score(comparison, n, series)) for n in ("bias", "rmsd", "r")}
            rows.append(
                {
                    "variable": comparison.variable,
                    "unit": comparison.unit,
                    "experiment": series.label,
                    "bias": scores["bias"],
                    "RMSD": scores["rmsd"],
                    "R": scores["r"],
                }
            )
    if not rows:
        return section
    section.tables.append(Table("Medians over the cells of the scores against the truth", pd.DataFrame(rows), "truth"))
    section.sentences.append(
        "The truth is the nature run of the twin experiment, which no experiment has seen but through its noisy "
        "observations."
    )
    for key, name in (("lai_rmsd", "LAI_truth"), ("ssm_r", "WG2_truth")):
        _observed(sources, section, key, (name,), "", "")
    return section


def _observed(
    sources: Sources, section: Section, key: str, comparisons: tuple[str, ...], file: str, figure: str
) -> Section:
    """A judged quantity: a sentence and maps per experiment, the station table, the table of dominant patches."""
    comparison = sources.scores.comparison(*comparisons)
    if comparison is None:
        return section
    section.sentences += _sentences(sources, comparison, key, HEADLINES[key][0])
    reference = REFERENCES.get(comparison.reference_path, comparison.reference_path)
    table = sources.score_table(comparison.name)
    if file and table is not None and not table.empty:
        rmsd = f"RMSD in {sentences.shown_unit(comparison.unit)}; " if comparison.same_unit else ""
        caption = (
            f"Scores against {reference} at the stations ({rmsd}d: experiment minus open loop; all on the same days)"
        )
        section.tables.append(Table(caption, table, file))
        fractions = sources.land("patch_fraction")
        if fractions is not None and sources.plan.cells > 1:
            patches = patch_table(sources.scores, comparison, xr.DataArray(fractions, dims=("cell", "patch")))
            section.tables.append(Table("Medians over the cells of each dominant patch", patches, f"{file}_by_patch"))
    if sources.has_map:
        section.pictures += _maps(sources, comparison, key, reference, figure)
    return section


def _sentences(sources: Sources, comparison: Comparison, key: str, what: str) -> list[str]:
    reference = REFERENCES.get(comparison.reference_path, comparison.reference_path)
    score, unit = ("R", "1") if JUDGED[key][0] == "r" else ("RMSD", comparison.unit)
    open_loop, others = sources.analysed(comparison)

    def facts(series: Series) -> dict[str, Any]:
        return sources.judgement(comparison, key, series.experiment)

    def worded(series: Series) -> str:
        return f"24 h forecast of {what}" if series.kind == "forecast" else what

    if open_loop is None or not others:
        return [
            sentences.alone(
                series.experiment,
                what=worded(series),
                reference=reference,
                score=score,
                unit=unit,
                median=facts(series)[f"{key}_median"],
                cells=sources.plan.cells,
            )
            for series in others or ([open_loop] if open_loop else [])
        ]
    level = facts(open_loop)[f"{key}_median"]
    return [
        sentences.against_open_loop(
            series.experiment,
            facts(series),
            key,
            what=worded(series),
            reference=reference,
            score=score,
            unit=unit,
            open_loop=level,
        )
        for series in others
    ]


def _maps(sources: Sources, comparison: Comparison, key: str, reference: str, figure: str) -> list[Picture]:
    """The score of each experiment (where it has a figure number), and its difference from the open loop."""
    open_loop, others = sources.analysed(comparison)
    shown = others or ([open_loop] if open_loop else [])
    score = _mapped(comparison, key)[0]
    levels = {series.label: sources.scores.score(comparison, score, series) for series in shown}
    before = None if open_loop is None else sources.scores.score(comparison, score, open_loop)
    changes = {} if before is None else {name: values - before for name, values in levels.items()}
    # One scale for all experiments, so that their maps can be compared.
    of_levels = colour_limits(np.concatenate(list(levels.values())), diverging=False) if levels else None
    of_changes = colour_limits(np.concatenate(list(changes.values())), diverging=True) if changes else None
    pictures = []
    for series in shown:
        if figure or not others:
            drawn = (levels[series.label], of_levels)
            pictures.append(_score_map(sources, comparison, key, series, drawn, f"against {reference}", figure))
        if open_loop is not None and series != open_loop:
            drawn, pair = (changes[series.label], of_changes), (series, open_loop)
            pictures.append(_change_map(sources, comparison, key, pair, drawn, f"against {reference}", figure))
    return pictures


def _score_map(
    sources: Sources, comparison: Comparison, key: str, series: Series, mapped: Mapped, against: str, figure: str
) -> Picture:
    _, title, unit = _mapped(comparison, key)
    values, limits = mapped
    drawn = cell_map(
        *sources.centres,
        values,
        title=f"{series.label}: {title}",
        label=axis_label(title, unit),
        limits=limits,
        stations=sources.station_marks,
    )
    caption = f"{_figure(figure, 'a')}{title} of {series.label} {against}. Hatched: no score."
    return picture(drawn, caption, f"Map of the {title} of {series.label}, median {sentences.number(median(values))}")


def _change_map(
    sources: Sources,
    comparison: Comparison,
    key: str,
    pair: tuple[Series, Series],
    mapped: Mapped,
    against: str,
    figure: str,
) -> Picture:
    score, title, unit = _mapped(comparison, key)
    after, before = pair
    change, limits = mapped
    drawn = cell_map(
        *sources.centres,
        change,
        title=f"{after.label} minus {before.label}: {title}",
        label=axis_label(f"difference of {title}", unit),
        diverging=True,
        limits=limits,
        better="less" if score == "rmsd" else "more",
        worse=change > 0 if score == "rmsd" else change < 0,
        stations=sources.station_marks,
    )
    subject = f"{title} of {after.label} {against}, minus that of {before.label}"
    caption = f"{_figure(figure, 'b')}{subject}. Blue: better; crosses: worse."
    return picture(drawn, caption, f"Map of the change of {title}, median {sentences.number(median(change))}")


def _mapped(comparison: Comparison, key: str) -> tuple[str, str, str]:
    """Score, its title and unit."""
    return ("r", "R", "1") if key.endswith("_r") else ("rmsd", "RMSD", comparison.unit)


def _figure(number: str, letter: str) -> str:
    return f"Figure {number}{letter}. " if number else ""


def _series_pictures(sources: Sources, variable: str, observation: str, figure: str) -> list[Picture]:
    """Series of all experiments with the observations, at the stations' cells (or the first cell)."""
    path = f"observations/{observation}"
    comparison = next((c for c in sources.plan.comparisons if c.reference_path == path), None)
    if comparison is None:
        return []
    known = places(sources.scores)
    some = len(known) > MOST_SERIES
    which = (
        f" (one of the {MOST_SERIES} of {len(known)} places with the largest RMSD before assimilation)" if some else ""
    )
    pictures = []
    for name, cell in _furthest(sources, comparison, known) or [("cell 0", 0)]:
        place = slice(cell, cell + 1)
        lines = []
        for experiment in sources.plan.experiments:
            if variable in experiment.variables:
                stored = experiment.stored_name(variable, "forecast")
                values = sources.reader.daily(f"runs/{experiment.name}", stored, sources.plan.days, place)[:, 0]
                lines.append(Line(experiment.name, values, sources.index(experiment.name)))
        observed = sources.reader.usable_observations(observation, sources.plan.days, place, sources.plan.hour)[:, 0]
        long_name, unit = words(variable)
        pictures.append(
            picture(
                time_series(
                    sources.plan.days, lines, observed, title=f"{long_name} at {name}", label=axis_label(variable, unit)
                ),
                f"Figure {figure}. {long_name.capitalize()} at {name}{which}: observations and 24 h forecasts.",
                f"Time series of {long_name} at {name}: {len(lines)} experiments and "
                f"{int(np.isfinite(observed).sum())} observations",
                wide=True,
            )
        )
    return pictures


def _furthest(sources: Sources, comparison: Comparison, known: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The places (name, cell) where the run that is shown first has the largest RMSD, in their old order."""
    rmsd = sources.scores.score(comparison, "rmsd", comparison.series[0])
    order = sorted(known, key=lambda place: -np.nan_to_num(rmsd[place[1]]))[:MOST_SERIES]
    return [place for place in known if place in order]


def _monthly_boxes(sources: Sources, scores: xr.Dataset) -> list[Picture]:
    if "r_by_month" not in scores or not np.isfinite(scores["r_by_month"].values).any():
        return []
    groups = []
    for series in _shown(sources, scores):
        values = scores["r_by_month"].sel(series=series.label).transpose("year", "station", "month").values
        groups.append(Line(series.label, values.reshape(-1, 12), sources.index(series.experiment)))
    number = int(np.isfinite(scores["r_by_month"].values).any(axis=0).sum())
    figure = boxes_by_month(groups, title="R with in-situ soil moisture, per month", label="R")
    return [
        picture(
            figure,
            f"Figure 9. R between the stations of {scores.attrs['network']} and surface soil moisture, per month: "
            f"minimum, quartiles and maximum over {number} station-months with at least ten days.",
            "Box plots of monthly correlations with in-situ soil moisture",
            wide=True,
        )
    ]


def _shown(sources: Sources, scores: xr.Dataset) -> list[Series]:
    """Series of a station's scores that are compared first."""
    labels = set(scores["series"].values.tolist())
    return [series for name in sources.experiments for series in (Series(name, "forecast"),) if series.label in labels]


def towers(sources: Sources) -> Section:
    """What stations measure: soil moisture, fluxes and leaf area."""
    section = Section("stations", "Stations")
    table = sources.station_table
    if table.empty:
        return section
    section.tables.append(Table("All stations, variables and experiments", _in_shown_units(table), "stations"))
    for name in sources.scores.groups:
        if not name.startswith("station_"):
            continue
        scores = sources.scores.dataset(name)
        variable = str(scores.attrs["variable"])
        if variable == "soil_moisture":
            section.sentences.append(_in_situ_sentence(sources, scores))
            continue
        for place in range(min(scores.sizes["station"], MOST_SERIES)):
            section.sentences.append(_tower_sentence(sources, scores.isel(station=place), variable))
            section.pictures += _tower_pictures(sources, scores.isel(station=place), variable)
    section.pictures.sort(key=lambda drawn: not drawn.wide)  # series first, then the mean years side by side
    if any(table["variable"].isin(["LE", "H"])):
        section.sentences.append(
            "Measured turbulent fluxes rarely close the energy balance: where LE and H are measured, part of a model's "
            "bias against them is theirs (names with CORR are corrected for it). Days are those of the station's "
            "record; model days are UTC, and those of assimilation runs the 24 h from analysis to analysis that lie "
            "mostly in that day."
        )
    return section


def _in_situ_sentence(sources: Sources, scores: xr.Dataset) -> str:
    shown = _shown(sources, scores)
    r = {series.experiment: scores["r"].sel(series=series.label).values for series in shown}
    before = r.get(str(sources.plan.open_loop))
    others = {} if before is None else {name: values for name, values in r.items() if name != sources.plan.open_loop}
    return sentences.in_situ(
        str(scores.attrs["network"]),
        {name: median(values) for name, values in r.items()},
        {name: int((values > before).sum()) for name, values in others.items()},
        int(np.isfinite(np.stack(list(r.values()))).any(axis=0).sum()),
    )


def _in_shown_units(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.copy()
    for variable in shown["variable"].unique():
        rows = shown["variable"] == variable
        for column in ("bias", "RMSD", "ubRMSD"):
            values, unit = shown_flux(str(variable), shown.loc[rows, column].to_numpy(dtype=np.float64))
            shown.loc[rows, column] = values
            shown.loc[rows, "unit"] = unit
    return shown


def _tower_sentence(sources: Sources, scores: xr.Dataset, variable: str) -> str:
    rows, unit = {}, ""
    for series in _shown(sources, scores):
        one = scores.sel(series=series.label)
        values, unit = shown_flux(variable, np.array([float(one["rmsd"])]))
        rows[series.label] = (float(values[0]), float(one["r"]))
    known = {name: rmsd for name, (rmsd, _) in rows.items() if np.isfinite(rmsd)}
    site = str(scores["code"].item())
    if not known:
        return f"{variable} at {site} has too few common days with the runs."
    return sentences.tower(variable, site, min(known, key=lambda name: known[name]), rows, unit)


def _tower_pictures(sources: Sources, scores: xr.Dataset, variable: str) -> list[Picture]:
    code, network = str(scores["code"].item()), str(scores.attrs["network"])
    station = next((s for s in sources.scores.stations if s.code == code and s.network == network), None)
    if station is None:
        return []
    observed, unit = shown_flux(variable, observations_of(sources.reader, sources.plan, station, variable))
    lines = [
        Line(series.label, _modelled(sources, scores, series, station), sources.index(series.experiment))
        for series in _shown(sources, scores)
    ]
    days = sources.plan.days
    title, label = f"{variable} at {code}", axis_label(variable.replace("_", " "), unit)
    there = np.isfinite(observed)
    cycles = [Line(one.label, monthly_cycle(days, np.where(there, one.values, np.nan)), one.index) for one in lines]
    long = len(days) > LONGEST_DAILY
    shown = [replace(one, values=running_mean(one.values, SMOOTHED_DAYS)) for one in lines] if long else lines
    points = running_mean(observed, SMOOTHED_DAYS) if long else observed
    means = f"means over {SMOOTHED_DAYS} days" if long else "daily"
    return [
        picture(
            time_series(days, shown, points, title=title, label=label, observed_label="measured"),
            f"{variable} at {code}, {means}.",
            f"Time series of {variable} at {code}",
            wide=True,
        ),
        picture(
            monthly_means(cycles, monthly_cycle(days, observed), title=title, label=label, observed_label="measured"),
            f"Mean annual cycle of {variable} at {code}, on the days with measurements.",
            f"Mean annual cycle of {variable} at {code}",
        ),
    ]


def _modelled(sources: Sources, scores: xr.Dataset, series: Series, station: Station) -> np.ndarray:
    values = run_at(sources.reader, sources.plan, series, str(scores.attrs["model"]), station)
    return shown_flux(str(scores.attrs["variable"]), values)[0]
