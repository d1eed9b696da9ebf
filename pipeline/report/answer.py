"""The first screen of a report: whether assimilation helped, for which variable, where, when, and how sure that is."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ldas.landmodel.array_types import Array
from ldas.pipeline.evaluation.plan import JUDGED, Comparison, Experiment, Series, primary
from ldas.pipeline.evaluation.tables import median, patch_name
from ldas.pipeline.report import answer_words as words
from ldas.pipeline.report.answer_words import Gain
from ldas.pipeline.report.document import Answer, Picture, Verdict, picture
from ldas.pipeline.report.maps import SMALL_MAP_WIDTH, cell_map, colour_limits
from ldas.pipeline.report.sections import HEADLINES, REFERENCES
from ldas.pipeline.report.sentences import named
from ldas.pipeline.report.series import gain_by_month
from ldas.pipeline.report.sources import Sources

LEAST_CELLS_OF_PATCH = 3  # that a dominant patch must have to be named
HIGHEST_PERCENT = 100.0


@dataclass(frozen=True)
class _Judged:
    """One variable: what it is compared with, the series of the experiment, and numbers about its gain."""

    key: str
    comparison: Comparison
    series: Series
    gain: Gain
    cells: Array  #: gain of each cell
    surely_worse: np.ndarray  #: cells whose limits lie below zero
    months: xr.Dataset  #: quartiles over the cells, `time`


def answer(sources: Sources) -> Answer | None:
    """The answer about the first experiment that assimilates; None where none does."""
    experiment = next((one for one in sources.plan.experiments if one.is_analysis), None)
    if experiment is None:
        return None
    found = [one for key in JUDGED if (one := _judge(sources, experiment, key)) is not None]
    if not found:
        return Answer([words.unknown(experiment.name, sources.plan.open_loop)], [], "")
    best = max(found, key=lambda one: one.gain.median)
    sentences = [
        words.did_it_help(experiment.name, experiment.assimilated, [one.gain for one in found]),
        words.where([one.gain for one in found], best.gain.what, _by_patch(sources, best)),
        words.when(best.gain.what, best.months["time"].values, best.months["month_median"].values),
    ]
    return Answer([text for text in sentences if text], _verdicts(sources, found), _caption(sources, experiment, found))


_QUARTILES = ("month_q25", "month_median", "month_q75")


def _judge(sources: Sources, experiment: Experiment, key: str) -> _Judged | None:
    """A judged variable of an experiment, or None where there is none, or no cell has both scores."""
    comparison = sources.judged_comparison(key)
    if comparison is None or not sources.scores.has(f"gain_{comparison.name}"):  # without an open loop there is none
        return None
    series = next((one for one in primary(comparison.series) if one.experiment == experiment.name), None)
    facts = sources.judgement(comparison, key, experiment.name)
    if series is None or facts.get(f"{key}_nic_median") is None or not np.isfinite(facts[f"{key}_nic_median"]):
        return None
    score = JUDGED[key][0]
    before = sources.judgement(comparison, key, str(sources.plan.open_loop))
    limit = {name: sources.scores.score(comparison, f"nic_{score}_{name}", series) for name in ("low", "high")}
    gain = Gain(
        what=HEADLINES[key][0],
        reference=REFERENCES.get(comparison.reference_path, comparison.reference_path),
        score="R" if score == "r" else "RMSD",
        unit="1" if score == "r" else comparison.unit,
        median=facts[f"{key}_nic_median"],
        low=facts[f"{key}_nic_low"],
        high=facts[f"{key}_nic_high"],
        level=facts[f"{key}_median"],
        level_before=before[f"{key}_median"],
        cells=facts[f"{key}_cells"],
        improved=round(facts[f"{key}_improved_fraction"] * facts[f"{key}_cells"]),
        worsened=round(facts[f"{key}_worsened_fraction"] * facts[f"{key}_cells"]),
        surely_improved=facts[f"{key}_surely_improved_cells"],
        surely_worsened=facts[f"{key}_surely_worsened_cells"],
    )
    months = sources.scores.dataset(f"gain_{comparison.name}").sel(series=series.label)
    cells = sources.scores.score(comparison, f"nic_{score}", series)
    return _Judged(key, comparison, series, gain, cells, limit["high"] < 0.0, months)


def _by_patch(sources: Sources, one: _Judged) -> dict[str, float]:
    """Median gain of the cells of each dominant patch that has enough of them."""
    fractions = sources.land("patch_fraction")
    if fractions is None:
        return {}
    dominant = np.nan_to_num(fractions).argmax(axis=1)
    there = np.isfinite(one.cells)
    medians = {}
    for patch in np.unique(dominant[there]):
        chosen = there & (dominant == patch)
        if chosen.sum() >= LEAST_CELLS_OF_PATCH:
            medians[patch_name(int(patch))] = median(one.cells[chosen])
    return medians


def _verdicts(sources: Sources, found: list[_Judged]) -> list[Verdict]:
    """One for each variable; their maps share a scale, and so do their months."""
    limits = colour_limits(100.0 * np.concatenate([one.cells for one in found]), diverging=True)
    most = min(limits[1], HIGHEST_PERCENT)
    spread = 100.0 * np.concatenate([one.months[name].values for one in found for name in _QUARTILES])
    finite = np.clip(spread[np.isfinite(spread)], -HIGHEST_PERCENT, HIGHEST_PERCENT)
    heights = (min(finite.min(), 0.0), max(finite.max(), 0.0)) if finite.size else (-1.0, 1.0)
    verdicts = []
    for one in found:
        pictures: list[Picture] = []
        if sources.has_map:
            pictures.append(_where(sources, one, most))
        if one.months.sizes["time"] > 1:
            pictures.append(_when(one, heights))
        gain = one.gain
        tone = {words.HELPED: "better", words.HARMED: "worse"}.get(gain.verdict, "")
        verdicts.append(Verdict(gain.what, gain.verdict, tone, words.headline(gain), words.details(gain), pictures))
    return verdicts


def _where(sources: Sources, one: _Judged, most: float) -> Picture:
    figure = cell_map(
        *sources.centres,
        100.0 * one.cells,
        title="Where",
        label="error removed (%)",
        diverging=True,
        limits=(-most, most),
        better="more",
        worse=one.surely_worse,
        width=SMALL_MAP_WIDTH,
    )
    alt = f"Map of the share of the error of {one.gain.what} that is removed, median {words.signed(one.gain.median)}"
    return picture(figure, "", alt)


def _when(one: _Judged, heights: tuple[float, float]) -> Picture:
    months = one.months
    quartiles = [100.0 * months[name].values for name in _QUARTILES]
    figure = gain_by_month(months["time"].values, *quartiles, heights=heights, title="When", label="error removed (%)")
    return picture(figure, "", f"Bars by month of the share of the error of {one.gain.what} that is removed")


def _caption(sources: Sources, experiment: Experiment, found: list[_Judged]) -> str:
    parts = [
        "Share of the open loop's error that assimilation removes from the 24 h forecast, which the observations of "
        "that day have not corrected yet.",
    ]
    if sources.plan.cells > 1:
        parts.append("Numbers: the median of the cells' own shares.")
    if sources.has_map:
        parts.append("Maps: blue better, red worse, crosses worse beyond chance, grey outside the cells.")
    parts.append(
        "Bars: median over the cells, lines: their middle half." if sources.plan.cells > 1 else "Bars: each month."
    )
    parts.append("Intervals: 95 %, from drawing months with replacement; beyond chance: such an interval excludes 0.")
    others = [one.name for one in sources.plan.experiments if one.is_analysis and one != experiment]
    if others:
        parts.append(f"Below, the same numbers for {', '.join(named(name) for name in others)}.")
    return " ".join(parts)
