"""Evaluation of one block of cells: reads its series, scores them, and returns a few numbers per cell and per day.

Nothing here depends on other cells, so blocks can be done in any order and number; memory is that of one block.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
import zarr

from ldas.assim.predictors import SEASON, season
from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array, Days
from ldas.operators.protocol import ObservationOperator
from ldas.operators.scores import predict_where_observed
from ldas.pipeline.evaluation import balance, metrics
from ldas.pipeline.evaluation.consistency import consistency
from ldas.pipeline.evaluation.forecasts import SCORES as FORECAST_SCORES
from ldas.pipeline.evaluation.forecasts import Forecasts
from ldas.pipeline.evaluation.gain import GainCounts, gains
from ldas.pipeline.evaluation.operator_scores import operator_scores
from ldas.pipeline.evaluation.plan import Comparison, Experiment, Kind, Plan, Series
from ldas.pipeline.evaluation.reading import Reader, mean_of_overpasses, read_operator_part
from ldas.pipeline.stages.forecast import LEAD
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.store.arrays import read_region

#: Codes of a day on which the observation is not to be believed, whatever the model says: no run is scored on it.
MASKED = tuple(
    int(code)
    for code in (
        Quality.OUTSIDE_VALID_RANGE,
        Quality.MASKED_FROZEN,
        Quality.MASKED_SNOW,
        Quality.MASKED_TOPOGRAPHY,
        Quality.MASKED_WATER,
        Quality.MASKED_URBAN,
        Quality.MASKED_PRODUCT_FLAG,
    )
)
BY_OVERPASS = "_by_overpass"
GROUPED_SCORES = ("n", "rmsd", "r")


@dataclass
class DailySum:
    """Sums over cells per day: what mean and spread of a domain are made of when all blocks are added up."""

    total: Array
    squares: Array
    number: Array

    def add(self, other: "DailySum") -> None:
        """Takes in the sums of another block."""
        self.total += other.total
        self.squares += other.squares
        self.number += other.number

    @staticmethod
    def of(values: Array) -> "DailySum":
        """Sums of values (day, cell), NaN left out."""
        there = np.isfinite(values)
        filled = np.where(there, values, 0.0)
        return DailySum(filled.sum(axis=1), (filled**2).sum(axis=1), there.sum(axis=1).astype(np.float64))


@dataclass
class BlockResult:
    """Of one block: datasets per group of `scores` (with a cell dimension), daily sums, counts of codes and gains."""

    scores: dict[str, xr.Dataset] = field(default_factory=dict)
    daily: dict[tuple[str, str], DailySum] = field(default_factory=dict)
    quality: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    gains: dict[str, GainCounts] = field(default_factory=dict)


def evaluate_block(root: zarr.Group, plan: Plan, places: slice) -> BlockResult:
    """All that is computed of the cells `places` (start and stop given)."""
    reader = Reader(root)
    block = CellBlock(reader, plan, places)
    result = BlockResult()
    for comparison in sorted(plan.comparisons, key=lambda one: one.variable):  # the reader still has the same variable
        block.compare(comparison, result)
        if plan.overpass_series(comparison):
            result.scores[f"{comparison.name}{BY_OVERPASS}"] = block.compare_overpasses(comparison)
    for name, (forecasts, comparison) in plan.forecast_comparisons.items():
        result.scores[name] = block.compare_forecasts(forecasts, comparison)
    for experiment in plan.experiments:
        block.diagnose(experiment, result)
        found = balance.water_balance(reader, experiment, plan.days, places)
        if found.data_vars:
            result.scores[f"balance_{experiment.name}"] = found
    if plan.operator is not None and plan.open_loop is not None and block.operator is not None:
        of_operator = operator_scores(reader, plan, block.operator, places)
        if of_operator is not None:
            result.scores["operator"] = of_operator
    return result


class CellBlock:
    """A block of cells with what was read of it so far."""

    def __init__(self, reader: Reader, plan: Plan, places: slice) -> None:
        self.reader, self.plan, self.places = reader, plan, places
        self.time = plan.days.astype("datetime64[ns]")
        self.operator = self._operator()

    def _operator(self) -> ObservationOperator | None:
        if self.plan.operator is None or self.plan.operator_cells is None:
            return None
        return read_operator_part(
            self.reader.root, self.plan.operator, self.plan.operator_cells[self.places], "sigma40"
        )

    def run(self, experiment: str, name: str) -> Array:
        """A stored variable of an experiment, (day, cell)."""
        labels = self.plan.experiment(experiment).labels(name, self.plan.days)
        return self.reader.daily(f"runs/{experiment}", name, labels, self.places)

    def series(self, experiment: Experiment, variable: str, kind: Kind, needed: np.ndarray) -> Array:
        """A variable of a series (day, cell); sigma40 that was not stored is predicted where it is `needed`."""
        name = experiment.stored_name(variable, kind)
        if name in experiment.at_overpasses:
            return mean_of_overpasses(self.at_overpasses(experiment, variable, kind))
        if name in experiment.variables:
            return self.run(experiment.name, name)

        def stored(name: str) -> Array:
            return self.run(experiment.name, experiment.stored_name(name, kind))

        return self.predicted(stored, needed, self.plan.days)

    def predicted(self, predictor: Callable[[str], Array], needed: np.ndarray, days: Days) -> Array:
        """sigma40 (..., cell) where it is `needed`, of predictors of that shape by name, as they are at the analysis
        hour of the `days` (...); NaN without an operator."""
        if self.operator is None:
            return np.full(needed.shape, np.nan)
        cells = needed.shape[-1]
        hold = instants(days, self.plan.hour)[..., None]
        predictors = [
            (np.broadcast_to(season(name, hold), needed.shape) if name in SEASON else predictor(name))
            .reshape(-1, cells)
            .T
            for name in self.operator.predictor_names
        ]
        wanted = np.where(needed, 0.0, np.nan).reshape(-1, cells).T
        return predict_where_observed(self.operator, np.stack(predictors, axis=-1), wanted).T.reshape(needed.shape)

    def at_overpasses(self, experiment: Experiment, variable: str, kind: Kind) -> Array:
        """A variable of an experiment (day, overpass, cell), where there is an observation beside it."""
        names = experiment.stored_name(variable, kind), f"innovation_{variable}"
        path = f"runs/{experiment.name}"
        values, compared = (self.reader.at_overpasses(path, name, self.plan.days, self.places) for name in names)
        return np.where(np.isfinite(compared), values, np.nan)

    def masked(self, experiment: Experiment, observation: str) -> np.ndarray:
        """Days (day, cell) that an experiment found masked: all overpasses, where it keeps them apart."""
        code, path = f"quality_{observation}", f"runs/{experiment.name}"
        if code not in experiment.at_overpasses:
            return np.isin(self.run(experiment.name, code), MASKED)
        codes, compared = (
            self.reader.at_overpasses(path, name, self.plan.days, self.places)
            for name in (code, f"innovation_{observation}")
        )
        seen = np.isfinite(compared)
        return np.asarray(seen.any(axis=1) & (np.isin(codes, MASKED) | ~seen).all(axis=1))

    def compare_overpasses(self, comparison: Comparison) -> xr.Dataset:
        """Scores (series, cell) of every overpass by itself; a run that does not keep them apart has one value for all
        overpasses of a window."""
        name = comparison.observation or ""
        reference = self.reader.usable_overpasses(name, self.plan.days, self.places, self.plan.hour)
        needed = np.asarray(np.isfinite(reference).any(axis=1))
        values = np.full((len(comparison.series), *reference.shape), np.nan)
        for number, series in enumerate(comparison.series):
            experiment = self.plan.experiment(series.experiment)
            code = f"quality_{name}"
            if experiment.stored_name(comparison.variable, series.kind) in experiment.at_overpasses:
                found = self.at_overpasses(experiment, comparison.variable, series.kind)[:, : reference.shape[1]]
                values[number, :, : found.shape[1]] = found
                codes = self.reader.at_overpasses(f"runs/{series.experiment}", code, self.plan.days, self.places)
                reference = np.where(np.isin(codes[:, : reference.shape[1]], MASKED), np.nan, reference)
            else:
                values[number] = self.series(experiment, comparison.variable, series.kind, needed)[:, None]
        values, reference = values.reshape(len(values), -1, values.shape[-1]), reference.reshape(-1, values.shape[-1])
        reference = np.where(common_days(values, reference), reference, np.nan)
        model = xr.DataArray(values, dims=("series", "time", "cell"), attrs={"units": comparison.unit})
        observed = xr.DataArray(reference, dims=("time", "cell"), attrs={"units": comparison.unit})
        return metrics.scores(model, observed).transpose("series", ..., "cell")

    def reference(self, comparison: Comparison) -> Array:
        """The reference (day, cell), without the days that a run found masked."""
        if comparison.observation is None:
            return self.reader.daily(comparison.reference_path, comparison.reference_name, self.plan.days, self.places)
        values = self.reader.usable_observations(comparison.observation, self.plan.days, self.places, self.plan.hour)
        code = f"quality_{comparison.observation}"
        for experiment in self.plan.experiments:
            if code in experiment.variables:
                values[self.masked(experiment, comparison.observation)] = np.nan
        return values

    def one_after_the_other(self, experiment: Experiment, name: str) -> Array:
        """A variable of an experiment (day, cell); the overpasses of a day, where they are apart, follow each other."""
        if name not in experiment.at_overpasses:
            return self.run(experiment.name, name)
        values = self.reader.at_overpasses(f"runs/{experiment.name}", name, self.plan.days, self.places)
        return values.reshape(-1, values.shape[-1])

    def compare(self, comparison: Comparison, result: BlockResult) -> None:
        """Scores (series, cell), per month and per season, all series on the same days; how sure their gain is."""
        reference = self.reference(comparison)
        needed = np.isfinite(reference)
        values = np.stack(
            [
                self.series(self.plan.experiment(series.experiment), comparison.variable, series.kind, needed)
                for series in comparison.series
            ]
        )
        reference = np.where(common_days(values, reference), reference, np.nan)
        model = xr.DataArray(values, dims=("series", "time", "cell"), coords={"time": self.time})
        observed = xr.DataArray(reference, dims=("time", "cell"), coords={"time": self.time})
        unit = comparison.unit if comparison.same_unit else "1"
        model.attrs["units"] = observed.attrs["units"] = unit
        parts = [metrics.scores(model, observed)]
        if comparison.observation is not None:  # a twin has many variables, and their years are no question
            parts.append(_renamed(metrics.scores_by_month(model, observed, names=GROUPED_SCORES), "month"))
            parts.append(_renamed(metrics.scores_by_season(model, observed, names=GROUPED_SCORES), "season"))
        found = xr.merge(parts, combine_attrs="drop_conflicts")
        if not comparison.same_unit:
            meaningless = [n for n in found if str(n).split("_")[0] in ("bias", "rmsd", "ubrmsd", "kge")]
            found = found.drop_vars(meaningless)
        place = place_of(self.plan.open_loop, comparison.series)
        if place is not None:
            found = found.merge(metrics.information_contributions(found, place))
            score = self.plan.judged.get(comparison.name)
            if score is not None and score in found:
                limits, result.gains[comparison.name] = gains(values, reference, self.plan.days, place, score)
                for name, limit in zip(("low", "high"), limits, strict=True):
                    found[f"nic_{score}_{name}"] = (("series", "cell"), limit, {"units": "1"})
        result.scores[comparison.name] = found.transpose("series", ..., "cell")

    def compare_forecasts(self, forecasts: Forecasts, comparison: Comparison) -> xr.Dataset:
        """Scores (series, lead_day, cell) of forecasts and the open loop, on days that the reference and both have."""
        place = (forecasts.valid_days - self.plan.days[0]).astype(np.int64)
        inside = ((place >= 0) & (place < len(self.plan.days)))[..., None]
        place = np.clip(place, 0, len(self.plan.days) - 1)
        reference = self.reference(comparison)
        at = np.where(inside, reference[place], np.nan)
        values = [self.forecast(forecasts, comparison.variable, np.isfinite(at))]
        if self.plan.open_loop is not None:
            experiment = self.plan.experiment(self.plan.open_loop)
            free = self.series(experiment, comparison.variable, "run", np.isfinite(reference))
            values.append(np.where(inside, free[place], np.nan))
        model = xr.DataArray(np.stack(values), dims=("series", LEAD, "time", "cell"))
        observed = xr.DataArray(np.where(np.isfinite(values).all(axis=0), at, np.nan), dims=(LEAD, "time", "cell"))
        model.attrs["units"] = observed.attrs["units"] = comparison.unit if comparison.same_unit else "1"
        names = FORECAST_SCORES if comparison.same_unit else ("n", "r")
        found = metrics.scores(model, observed, names=names).transpose("series", ..., "cell")
        return found.assign_coords({LEAD: np.arange(1, forecasts.leads + 1)})

    def forecast(self, forecasts: Forecasts, variable: str, needed: np.ndarray) -> Array:
        """A variable of forecasts (lead, forecast, cell); sigma40 is predicted where it is `needed`."""

        def stored(name: str) -> Array:
            values = read_region(self.reader.root, forecasts.path, name, {"cell": self.places}).astype(np.float64)
            return values.swapaxes(0, 1)

        if variable in forecasts.variables:
            return stored(variable)
        return self.predicted(stored, needed, forecasts.valid_days)

    def diagnose(self, experiment: Experiment, result: BlockResult) -> None:
        """Innovations and increments of an experiment: daily sums, statistics per cell, quality codes."""
        daily = [f"{kind}_{name}" for kind in ("innovation", "bias", "r_scale") for name in experiment.assimilated]
        daily += ["b_scale", *(f"increment_{control}" for control in experiment.controls)]
        for name in daily:
            if name in experiment.variables:
                result.daily[experiment.name, name] = DailySum.of(self.run(experiment.name, name))
        for observation in experiment.assimilated:
            if (code := f"quality_{observation}") in experiment.variables:
                innovation = self.one_after_the_other(experiment, f"innovation_{observation}")
                codes = self.one_after_the_other(experiment, code)
                if code in experiment.at_overpasses:  # places that no overpass took
                    codes[np.isnan(self.one_after_the_other(experiment, f"overpass_hour_{observation}"))] = np.nan
                # Where nothing was written yet the code is that of a used observation, but there is no innovation.
                written = np.isfinite(codes) & ((codes != int(Quality.USED)) | np.isfinite(innovation))
                known = codes[written].astype(np.int64)
                result.quality[experiment.name, observation] = np.bincount(known, minlength=len(Quality))
        result.scores |= consistency(lambda name: self.one_after_the_other(experiment, name), experiment, self.time)


def place_of(experiment: str | None, series: Sequence[Series]) -> int | None:
    """Place of an experiment's first series among others; None where it has none."""
    return next((place for place, one in enumerate(series) if one.experiment == experiment), None)


def common_days(values: Array, reference: Array) -> np.ndarray:
    """(day, cell) where the reference and all series (series, day, cell) are there.

    A series without data in a cell does not shorten the common days there: it gets no score, the others do.
    """
    present = np.isfinite(values)
    absent = ~present.any(axis=1, keepdims=True)
    return np.isfinite(reference) & (present | absent).all(axis=0)


def _renamed(scores: xr.Dataset, group: str) -> xr.Dataset:
    return scores.rename({name: f"{name}_{group}" for name in GROUPED_SCORES})
