"""The sections of a report about the system: domain, operator, analysis, water, and the run itself."""

import numpy as np
import pandas as pd
import xarray as xr

from ldas.pipeline.errors import count
from ldas.pipeline.evaluation.architectures import stored_architectures
from ldas.pipeline.evaluation.tables import median, patch_name
from ldas.pipeline.report import sentences
from ldas.pipeline.report.document import Picture, Section, Table, picture
from ldas.pipeline.report.maps import cell_map
from ldas.pipeline.report.run_facts import accepted_lines, estimated_table, failure_lines, provenance_texts
from ldas.pipeline.report.series import bars, boxes, mean_and_spread
from ldas.pipeline.report.sources import Sources, axis_label, words

OBSERVATION_ERROR_DB = 0.33  # of ASCAT sigma40, Corchia et al. (2023)
LEAST_PATCH_SHARE = 0.02  # of the domain: patches below are not mapped


def domain(sources: Sources) -> Section:
    """Figure 1: elevation and patch fractions."""
    section = Section("domain", "Domain")
    latitude, longitude = sources.centres
    fractions = sources.land("patch_fraction")
    elevation = sources.land("elevation")
    text = f"{count(sources.plan.cells, 'cell')}"
    if sources.plan.cells == 1:
        text = f"One cell at {sentences.place(latitude[0], longitude[0])}"
    elif sources.has_map:
        text += f" {sentences.span(latitude.min(), latitude.max(), longitude.min(), longitude.max())}"
    if fractions is not None:
        shares = np.nan_to_num(fractions).mean(axis=0)
        largest = int(shares.argmax())
        text += f"; the largest part of the land is {patch_name(largest)} ({sentences.percent(float(shares[largest]))})"
    section.sentences.append(text + ".")
    if not sources.has_map:
        return section
    if elevation is not None:
        figure = cell_map(
            latitude, longitude, elevation, title="Elevation", label="elevation (m)", stations=sources.station_marks
        )
        caption = "Figure 1. Elevation of the cells, with the stations."
        section.pictures.append(picture(figure, caption, "Map of elevation"))
    if fractions is not None:
        shares = np.nan_to_num(fractions).mean(axis=0)
        for patch in np.flatnonzero(shares >= LEAST_PATCH_SHARE):
            name = patch_name(int(patch))
            figure = cell_map(
                latitude,
                longitude,
                fractions[:, patch],
                title=name.capitalize(),
                label="part of the cell",
                limits=(0.0, max(float(np.nanmax(fractions[:, patch])), 0.05)),
            )
            section.pictures.append(picture(figure, f"Part of the cell covered by {name}.", f"Map of {name}"))
    return section


def operator(sources: Sources) -> Section:
    """Figures 2, 3 and 4."""
    section = Section("operator", "Observation operator")
    for name, (labels, rmsd, chosen) in stored_architectures(sources.root).items():
        figure = boxes(
            list(rmsd),
            labels,
            title="Training error by architecture",
            label="RMSD (dB)",
            x_label="neurons of the hidden layers",
            bold=chosen,
            level=(OBSERVATION_ERROR_DB, f"observation error {OBSERVATION_ERROR_DB} dB"),
        )
        caption = (
            f"Figure 2. RMSD of the operator {name} in training, by architecture: minimum, quartiles and maximum over "
            "the cells. Bold: the one that is used."
        )
        section.pictures.append(picture(figure, caption, "Box plots of the training error by architecture"))
    if not sources.scores.has("operator"):
        return section
    scores = sources.scores.dataset("operator")
    unit = "dB"
    for window in ("training", "test"):
        if f"rmsd_{window}" in scores:
            values = scores[f"rmsd_{window}"].values
            section.sentences.append(_window_sentence(window, values, scores[f"r_{window}"].values, unit))
    if "predictor_loss" in scores:
        names = [str(name) for name in scores["predictor"].values]
        losses = [median(scores["predictor_loss"].sel(predictor=name).values) for name in names]
        section.sentences.append(sentences.predictors(names, losses, unit))
    if sources.has_map:
        _operator_maps(sources, section)
    return section


def _window_sentence(window: str, rmsd: np.ndarray, r: np.ndarray, unit: str) -> str:
    finite = rmsd[np.isfinite(rmsd)]
    if not finite.size:
        return f"The operator has no score in the {window} period."
    text = (
        f"With observed leaf area index, the operator predicts the backscatter of the {window} period with a median "
        f"RMSD of {sentences.with_unit(median(finite), unit)} (R {sentences.number(median(r), 2)})"
    )
    if finite.size > 1:
        text += f"; it is below 0.4\u00a0{unit} in {sentences.percent(float((finite < 0.4).mean()))} of the cells"
    return text + "."


def _operator_maps(sources: Sources, section: Section) -> None:
    scores = sources.scores.dataset("operator")
    latitude, longitude = sources.centres
    if "predictor_loss" in scores:
        highest = max(float(np.nanmax(scores["predictor_loss"].values, initial=0.0)), 0.01)
        for name in scores["predictor"].values:
            figure = cell_map(
                latitude,
                longitude,
                scores["predictor_loss"].sel(predictor=name).values.astype(float),
                title=f"{name} held at its mean",
                label="rise of RMSD (dB)",
                limits=(0.0, highest),
            )
            caption = f"Figure 3. Rise of the training RMSD when {name} is held at its mean."
            section.pictures.append(picture(figure, caption, f"Map of the sensitivity to {name}"))
    for window in ("test", "training"):
        if f"rmsd_{window}" in scores:
            values = scores[f"rmsd_{window}"].values.astype(float)
            figure = cell_map(
                latitude,
                longitude,
                values,
                title=f"Operator, {window} period",
                label="RMSD (dB)",
                stations=sources.station_marks,
            )
            caption = f"Figure 4. RMSD of the operator with observed LAI in the {window} period. Hatched: no score."
            section.pictures.append(picture(figure, caption, f"Map of the operator's RMSD in the {window} period"))
            break


def analysis(sources: Sources) -> Section:
    """Innovations, increments and quality codes."""
    section = Section("analysis", "Innovations and increments")
    for experiment in sources.plan.experiments:
        if not experiment.is_analysis or not sources.scores.has(f"daily_{experiment.name}"):
            continue
        daily = sources.scores.dataset(f"daily_{experiment.name}")
        for observation in experiment.assimilated:
            unit = words("WG2" if observation in ("swi", "ssm") else observation)[1]
            name = f"innovations_{experiment.name}_{observation}"
            if sources.scores.has(name):
                found = sources.scores.dataset(name)
                mean, deviation = (median(found[part].values) for part in ("mean", "standard_deviation"))
                section.sentences.append(sentences.innovations(experiment.name, observation, unit, mean, deviation))
                section.sentences.append(sentences.whiteness(observation, median(found["lag_one_correlation"].values)))
                if "observation_variance" in found:
                    kinds = ("observation_variance", "background_variance")
                    variances = [median(found[kind].values) for kind in kinds]
                    section.sentences.append(sentences.estimated_errors(observation, unit, *variances))
                if "bounded_days" in found:
                    counts = found["bounded_days"].values
                    section.sentences.append(sentences.estimated_bias(experiment.name, observation, counts))
            section.pictures += _daily(sources, daily, experiment.name, f"innovation_{observation}", unit)
            section.pictures += _daily(sources, daily, experiment.name, f"bias_{observation}", unit)
            section.pictures += _daily(sources, daily, experiment.name, f"r_scale_{observation}", "1")
        if sources.scores.has(f"consistency_{experiment.name}"):
            ratio = median(sources.scores.dataset(f"consistency_{experiment.name}")["chi_square"].values)
            section.sentences.append(sentences.chi_square(experiment.name, ratio))
        for control in experiment.controls:
            if control in ("WG2", "LAI") or len(experiment.controls) <= 3:
                unit = words(control)[1]
                section.pictures += _daily(sources, daily, experiment.name, f"increment_{control}", unit)
    _quality(sources, section)
    return section


def _daily(sources: Sources, daily: xr.Dataset, experiment: str, name: str, unit: str) -> list[Picture]:
    if f"{name}_mean" not in daily or not np.isfinite(daily[f"{name}_mean"].values).any():
        return []
    kind, _, what = name.replace("r_scale", "factor of R", 1).partition("_")
    figure = mean_and_spread(
        sources.plan.days,
        daily[f"{name}_mean"].values,
        daily[f"{name}_spread"].values,
        title=f"{experiment}: {kind} of {what}",
        label=axis_label(kind, unit),
    )
    caption = (
        f"{kind[0].upper()}{kind[1:]} of {what} in {experiment}: daily mean over the cells and one standard deviation."
    )
    return [picture(figure, caption, f"Time series of the {kind} of {what}", wide=True)]


def _quality(sources: Sources, section: Section) -> None:
    rows = []
    for experiment in sources.plan.experiments:
        if not sources.scores.has(f"quality_{experiment.name}"):
            continue
        counts = sources.scores.dataset(f"quality_{experiment.name}")
        codes = [str(code) for code in counts["code"].values]
        for name, values in counts.data_vars.items():
            by_code = {code: int(value) for code, value in zip(codes, values.values, strict=True) if value}
            section.sentences.append(sentences.quality(experiment.name, str(name), by_code))
            rows += [
                {
                    "experiment": experiment.name,
                    "observation": str(name),
                    "quality": code.replace("_", " "),
                    "cell-days": value,
                    "part": value / sum(by_code.values()),
                }
                for code, value in by_code.items()
            ]
    if rows:
        caption = "Fate of the observations: cell-days by quality code"
        section.tables.append(Table(caption, pd.DataFrame(rows), "quality_codes"))


def water(sources: Sources) -> Section:
    """Where the water went."""
    section = Section("water", "Water balance")
    terms: dict[str, dict[str, float]] = {}
    for name in sources.experiments:
        if not sources.scores.has(f"balance_{name}"):
            continue
        found = sources.scores.dataset(f"balance_{name}")
        mine = {str(term): float(np.nanmean(values)) for term, values in found.items() if np.isfinite(values).any()}
        if not mine:
            continue
        section.sentences.append(sentences.water(name, mine))
        for term, value in mine.items():
            terms.setdefault(term, {})[name] = value
    if terms:
        order = ("precipitation", "added_by_analysis", "evapotranspiration", "drainage", "runoff", "storage_change")
        terms = {term: terms[term] for term in (*order, *terms) if term in terms}
        figure = bars(
            terms,
            title="Water balance",
            label=f"{sentences.shown_unit(sentences.AMOUNT)} per year, mean over the cells",
        )
        section.pictures.append(picture(figure, "Terms of the water balance.", "Bars of the water balance terms"))
        rows = [{"term": term.replace("_", " "), **values} for term, values in terms.items()]
        section.tables.append(
            Table(
                f"Water balance, {sentences.shown_unit(sentences.AMOUNT)} per year", pd.DataFrame(rows), "water_balance"
            )
        )
    return section


def run(sources: Sources) -> Section:
    """What is done, run time, data volumes, configuration and provenance."""
    section = Section("run", "The run")
    status = sources.status
    if not status.empty:
        section.sentences.append(_status_sentence(status))
        seconds = status["task time (s)"]  # stages may have run side by side: their run times do not add up
        if seconds.notna().any():
            longest = str(status["run"].iloc[int(seconds.argmax())])
            took = f"The tasks of all stages took {sentences.with_unit(float(seconds.sum()), 's')} together"
            section.sentences.append(f"{took}, most of it those of {sentences.named(longest)}.")
        section.tables.append(
            Table("Cell-periods by status, time of each stage, and of its tasks together", status, "status")
        )
    section.sentences += failure_lines(sources.root)
    section.sentences += accepted_lines(sources.root, sources.experiments)
    estimated = estimated_table(sources.root)
    if not estimated.empty:
        names = ", ".join(dict.fromkeys(estimated["variable"]))
        section.sentences.append(f"Not all of the weather was measured: {names}, in part or throughout.")
        section.tables.append(Table("Weather that was not measured", estimated, "estimated_forcing"))
    volumes = sources.volumes
    if not volumes.empty:
        stored, memory = float(volumes["stored (MB)"].sum()), float(volumes["in memory (MB)"].sum())
        section.sentences.append(
            f"The store takes {sentences.number(stored)} MB for {sentences.number(memory)} MB of numbers."
        )
        section.tables.append(Table("Data volumes", volumes, "volumes"))
    section.texts += provenance_texts(sources.root, sources.experiments)
    return section


def _status_sentence(status: pd.DataFrame) -> str:
    undone = {str(row["run"]): int(row["not started"] + row["started"]) for _, row in status.iterrows()}
    failed = {str(row["run"]): int(row["failed"]) for _, row in status.iterrows() if row["failed"]}
    left = [name for name, number in undone.items() if number]
    if not left and not failed:
        return "All stages are complete."
    parts = []
    if left:
        parts.append(f"not finished: {', '.join(left)}")
    if failed:
        parts.append(f"with failed cells: {', '.join(failed)}")
    return f"The run is incomplete ({'; '.join(parts)}): this report shows what is there."
