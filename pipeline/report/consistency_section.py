"""The section of a report on whether filters know their errors, and what each observation type is worth."""

import numpy as np
import pandas as pd
import xarray as xr

from ldas.pipeline.evaluation.metrics import SEASONS
from ldas.pipeline.evaluation.plan import JUDGED, Experiment, primary
from ldas.pipeline.evaluation.tables import median
from ldas.pipeline.report import sentences
from ldas.pipeline.report.document import Picture, Section, Table, picture
from ldas.pipeline.report.maps import cell_map
from ldas.pipeline.report.sections import HEADLINES, REFERENCES
from ldas.pipeline.report.series import Line, by_step, found_against_expected
from ldas.pipeline.report.sources import Sources, axis_label, words
from ldas.pipeline.settings.assimilation import MODEL_VARIABLE, left_out_name

WHITE = 0.2  # correlation of successive innovations below which they count as white
CONSISTENT = (0.9, 1.1)  # chi-square of errors that count as right
_LAGS = (1, 2, 5, 10)
CAPTIONS = {
    "whiteness": "Correlation of innovations with those of one, two, ... observations before, medians over the cells; "
    "white innovations have none",
    "chi_square": "Chi-square by season, medians over the cells: 1 where the errors are consistent, more where they "
    "are too small",
    "spread_and_skill": "Spread: the error that the filter gives its forecasts of the observation (root of HBHᵀ). "
    "Skill: the one that innovations show if the observation error is right. Only windows with one used observation; "
    "medians over the cells",
    "degrees_of_freedom": "Degrees of freedom for signal, tr(HK). Influence: of one used observation on the analysis, "
    "0 none and 1 all; part: of the experiment's sum",
    "leave_one_out": "What each observation type is worth: the experiment, and the same without the type; medians over "
    "the cells",
    "triple_collocation": "Triple collocation of soil moisture: errors of open loop, satellite and station, none taken "
    "as the truth, in the unit of the open loop. R: correlation with the unknown truth",
}


def consistency(sources: Sources) -> Section:
    """Whiteness, chi-square by season, spread against skill, what each observation is worth, triple collocation."""
    section = Section("consistency", "Does the filter know its errors?")
    found = {
        (experiment.name, observation): sources.scores.dataset(name)
        for experiment in sources.plan.experiments
        for observation in experiment.assimilated
        if sources.scores.has(name := f"innovations_{experiment.name}_{observation}")
    }
    left_out = {left_out_name(one.name, name) for one in sources.plan.experiments for name in one.assimilated}
    section.sentences += _said({key: scores for key, scores in found.items() if key[0] not in left_out})
    tables = {
        "whiteness": _whiteness_table(found),
        "chi_square": _chi_square_table(sources),
        "spread_and_skill": _spread_table(found),
        "degrees_of_freedom": _influence_table(found),
        "leave_one_out": _left_out_table(sources),
        "triple_collocation": _triple_table(sources),
    }
    section.tables += [Table(CAPTIONS[name], table, name) for name, table in tables.items() if not table.empty]
    for observation in dict.fromkeys(name for _, name in found):
        mine = {experiment: scores for (experiment, name), scores in found.items() if name == observation}
        section.pictures += _pictures(sources, observation, mine)
        section.pictures += _maps(sources, observation, {name: mine[name] for name in mine if name not in left_out})
    return section


def _said(found: dict[tuple[str, str], xr.Dataset]) -> list[str]:
    said = []
    for (experiment, observation), scores in found.items():
        lag_one = scores["lag_one_correlation"].values
        lag_one = lag_one[np.isfinite(lag_one)]
        if lag_one.size:
            said.append(sentences.white_cells(experiment, observation, lag_one, WHITE))
        if "spread" in scores and scores["used"].values.any():
            spread, skill = median(scores["spread"].values), _of_most(scores["skill"].values)
            said.append(sentences.spread(experiment, observation, _unit(observation), spread, skill))
    return said


def _unit(observation: str) -> str:
    return words(MODEL_VARIABLE.get(observation, observation))[1]


def _whiteness_table(found: dict[tuple[str, str], xr.Dataset]) -> pd.DataFrame:
    rows = []
    for (experiment, observation), scores in found.items():
        lagged, first = scores["lag_correlation"], scores["lag_one_correlation"].values
        rows.append(
            {
                "experiment": experiment,
                "observation": observation,
                **{f"{lag} before": median(lagged.sel(lag=lag).values) for lag in _LAGS},
                "cells below 0.2": _part(np.abs(first) < WHITE, first),
            }
        )
    return pd.DataFrame(rows)


def _part(true: np.ndarray, values: np.ndarray) -> float:
    """Part of the finite values for which something is true."""
    there = np.isfinite(values)
    return float(true[there].mean()) if there.any() else float("nan")


def _chi_square_table(sources: Sources) -> pd.DataFrame:
    rows = []
    for experiment in sources.plan.experiments:
        if sources.scores.has(f"consistency_{experiment.name}"):
            scores = sources.scores.dataset(f"consistency_{experiment.name}")
            whole, by_season = scores["chi_square"].values, scores["chi_square_season"].values
            rows.append(
                {
                    "experiment": experiment.name,
                    "all": median(whole),
                    **{name: median(by_season[place]) for place, name in enumerate(SEASONS)},
                    "cells within 0.9 to 1.1": _part((whole >= CONSISTENT[0]) & (whole <= CONSISTENT[1]), whole),
                }
            )
    return pd.DataFrame(rows)


def _spread_table(found: dict[tuple[str, str], xr.Dataset]) -> pd.DataFrame:
    rows = []
    for (experiment, observation), scores in found.items():
        if "spread" in scores and np.isfinite(scores["spread"].values).any():
            spread, skill = median(scores["spread"].values), _of_most(scores["skill"].values)
            rows.append(
                {
                    "experiment": experiment,
                    "observation": observation,
                    "unit": _unit(observation),
                    "spread": spread,
                    "skill": skill,
                    "ratio": spread / skill if skill > 0.0 else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def _of_most(values: np.ndarray) -> float:
    """Median of the cells that have a value, if they are at least half of them."""
    return median(values) if np.isfinite(values).mean() >= 0.5 else float("nan")


def _influence_table(found: dict[tuple[str, str], xr.Dataset]) -> pd.DataFrame:
    sums = {
        key: float(np.nansum(scores["influence"].values * scores["used"].values))
        for key, scores in found.items()
        if "influence" in scores
    }
    rows = []
    for (experiment, observation), freedom in sums.items():
        used = int(found[experiment, observation]["used"].values.sum())
        whole = sum(other for (name, _), other in sums.items() if name == experiment)
        if used:
            rows.append(
                {
                    "experiment": experiment,
                    "observation": observation,
                    "used": used,
                    "influence": freedom / used,
                    "degrees of freedom": freedom,
                    "part": freedom / whole if whole > 0.0 else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def _left_out_table(sources: Sources) -> pd.DataFrame:
    rows, names = [], set(sources.experiments)
    for experiment in sources.plan.experiments:
        for observation in experiment.assimilated:
            without = left_out_name(experiment.name, observation)
            if without in names:
                rows += [_row(sources, experiment, observation, without, key) for key in HEADLINES]
    return pd.DataFrame([row for row in rows if row])


def _row(sources: Sources, experiment: Experiment, observation: str, without: str, key: str) -> dict[str, object]:
    """A variable that experiments are judged by: with all types, and without one."""
    comparison, (score, less_is_better, _) = sources.judged_comparison(key), JUDGED[key]
    if comparison is None:
        return {}
    series = {one.experiment: one for one in primary(comparison.series)}
    if experiment.name not in series or without not in series:
        return {}
    whole, less = (sources.scores.score(comparison, score, series[name]) for name in (experiment.name, without))
    loss = less - whole if less_is_better else whole - less
    return {
        "experiment": experiment.name,
        "without": observation,
        "score": f"{'RMSD' if score == 'rmsd' else 'R'} of {HEADLINES[key][0]}",
        "unit": HEADLINES[key][1] or "1",
        "reference": REFERENCES.get(comparison.reference_path, comparison.reference_path),
        "with all": median(whole),
        "without it": median(less),
        "cells worse without": _part(loss > 0.0, loss),
    }


def _triple_table(sources: Sources) -> pd.DataFrame:
    rows = []
    for name in sources.scores.groups:
        if not name.startswith("triple_"):
            continue
        scores = sources.scores.dataset(name)
        for place in range(scores.sizes["station"]):
            one = scores.isel(station=place)
            for label in scores["series"].values:
                rows.append(
                    {
                        "station": str(one["code"].item()),
                        "series": str(label),
                        "N": int(one["n"]),
                        "R": float(one["r"].sel(series=label)),
                        "error": float(one["scaled_error"].sel(series=label)),
                        "unit": words("WG2")[1],
                    }
                )
    return pd.DataFrame(rows)


def _pictures(sources: Sources, observation: str, found: dict[str, xr.Dataset]) -> list[Picture]:
    """Of one observation type: correlations by lag, and what is found against what is expected."""
    pictures: list[Picture] = []
    lags = [
        Line(name, np.array([median(values) for values in scores["lag_correlation"].values]), sources.index(name))
        for name, scores in found.items()
    ]
    lags = [one for one in lags if np.isfinite(one.values).any()]
    if lags:
        figure = by_step(
            lags,
            title=f"Innovations of {observation}",
            label="correlation",
            x_label="observations before",
            zero=True,
        )
        said = ", ".join(f"{one.label} {sentences.number(one.values[0], 2)}" for one in lags)
        caption = f"Correlation of innovations of {observation} with earlier ones of the cell, median over the cells."
        pictures.append(picture(figure, caption, f"Correlation by lag; of successive ones: {said}"))
    expected = [
        (Line(name, _root_mean_square(scores["expected"]), sources.index(name)), _root_mean_square(scores["found"]))
        for name, scores in found.items()
        if "expected" in scores and np.isfinite(scores["expected"].values).any()
    ]
    if expected:
        figure = found_against_expected(
            expected,
            title=f"Spread and skill: {observation}",
            label=axis_label("expected", _unit(observation)),
            y_label=axis_label("found", _unit(observation)),
        )
        caption = (
            f"Innovations of {observation}: their root mean square against what spread and observation error "
            "imply. The days of each cell are in five equal parts, from the smallest expected value to the largest. On "
            "the black line the filter knows its errors; above it, they are too small."
        )
        pictures.append(picture(figure, caption, f"Innovations of {observation} against what is expected of them"))
    return pictures


def _maps(sources: Sources, observation: str, found: dict[str, xr.Dataset]) -> list[Picture]:
    """Correlation of successive innovations of one observation type, a map for each experiment."""
    pictures = []
    for name, scores in found.items():
        values = scores["lag_one_correlation"].values.astype(float)
        if sources.has_map and np.isfinite(values).any():
            figure = cell_map(
                *sources.centres,
                values,
                title=f"{name}: {observation}",
                label="correlation",
                diverging=True,
                limits=(-0.5, 0.5),
            )
            caption = f"Correlation of successive innovations of {observation} in {name}. Hatched: too few."
            pictures.append(picture(figure, caption, f"Map of the whiteness of innovations of {observation}"))
    return pictures


def _root_mean_square(values: xr.DataArray) -> np.ndarray:
    """Over the cells, (quintile,)."""
    return np.asarray(np.sqrt((values.astype(float) ** 2).mean("cell").values))
