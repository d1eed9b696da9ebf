"""What a store lets one compare: its experiments, the period they share, and what each can be compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import zarr

from ldas.landmodel.array_types import Days
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.evaluation.errors import EvaluationError
from ldas.pipeline.evaluation.forecasts import Forecasts, find_forecasts
from ldas.pipeline.evaluation.reading import (
    Reader,
    attributes,
    cell_centres,
    group_names,
    operator_names,
    operator_positions,
    variable_names,
)
from ldas.pipeline.settings.assimilation import MODEL_VARIABLE, SCREEN_OBSERVATIONS
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import existing_group, has_group, read_region
from ldas.pipeline.store.operator_store import matches_overpasses

Kind = Literal["run", "forecast", "analysis"]
FORECAST_SUFFIX = "_forecast"
# Name of an observation group -> the model variable it is compared with.
# (what is predicted at the hours of the observations bears their name)
MODEL_EQUIVALENT = {"sigma40": "sigma40", **MODEL_VARIABLE, **{name: name for name in SCREEN_OBSERVATIONS}}
# Observations of the same content in another unit: only what does not depend on units is compared.
OTHER_UNIT = frozenset({"swi"})
MOST_VALUES = 1_500_000  # series x days x cells read at a time: 12 MB in double precision, a dozen such arrays at once
# What an experiment is judged by: key -> (score, whether less is better, references in order of preference). Truth is
# the first where there is one (a twin experiment), except for backscatter, which is judged as the satellite sees it.
JUDGED = {
    "sigma40_rmsd": ("rmsd", True, ("sigma40_observations", "sigma40_truth")),
    "lai_rmsd": ("rmsd", True, ("LAI_truth", "lai_observations")),
    "ssm_r": ("r", False, ("WG2_truth", "swi_observations", "ssm_observations")),
}
_FAMILIES = ("innovation_", "residual_", "quality_", "increment_")


@dataclass(frozen=True)
class Experiment:
    """One run of the store. `days`: its axis; `assimilated`: observation types it has innovations of.

    at_overpasses: those of the variables that are stored for each overpass of a window.
    flux_shift: days between the label of a mean and the UTC day that most of it lies in. Means of an assimilation run
    are over the 24 h up to the analysis hour: at 09 UTC they belong to the day before.
    """

    name: str
    days: Days
    variables: frozenset[str]
    assimilated: tuple[str, ...]
    controls: tuple[str, ...]
    flux_shift: int = 0
    at_overpasses: frozenset[str] = frozenset()

    @property
    def is_analysis(self) -> bool:
        """Whether observations were assimilated."""
        return bool(self.assimilated)

    def stored_name(self, variable: str, kind: Kind) -> str:
        """Name of the array that holds a variable; the forecast is the variable itself where nothing was analysed."""
        forecast = variable + FORECAST_SUFFIX
        return forecast if kind == "forecast" and forecast in self.variables else variable

    def has_hours_of_truth(self, variable: str) -> bool:
        """Whether a value stands for the hours of a UTC day, as in a nature run: not so for means of shifted days."""
        return not self.flux_shift or registry.variable(variable).cell_methods != "time: mean"

    def labels(self, variable: str, days: Days) -> Days:
        """The labels under which the values of these days are stored."""
        is_mean = registry.variable(variable.removesuffix(FORECAST_SUFFIX)).cell_methods == "time: mean"
        return days - np.timedelta64(self.flux_shift, "D") if is_mean else days


@dataclass(frozen=True)
class Series:
    """What is scored: a variable of an experiment as it ran (`run`), or its 24 h forecasts and its analyses."""

    experiment: str
    kind: Kind

    @property
    def label(self) -> str:
        """Name of the series: that of the experiment for what is compared first, with `(analysis)` for the other."""
        return f"{self.experiment} (analysis)" if self.kind == "analysis" else self.experiment


@dataclass(frozen=True)
class Comparison:
    """A variable of all series against one reference.

    reference_path, reference_name: where it is stored. same_unit: False where only correlations mean something.
    observation: the observation type whose quality codes tell which days are masked, or None.
    """

    name: str
    variable: str
    unit: str
    reference_path: str
    reference_name: str
    same_unit: bool
    observation: str | None
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Plan:
    """Everything an evaluation does, before it reads a value.

    days: the common period. hour: analysis hour (UTC). operator: name of the one that predicts sigma40 where a run did
    not store it. notes: for the reader (left out, missing, only a part).
    """

    experiments: tuple[Experiment, ...]
    open_loop: str | None
    days: Days
    hour: int
    cells: int
    cells_per_block: int
    comparisons: tuple[Comparison, ...]
    operator: str | None
    operator_cells: np.ndarray | None  #: place of each cell among those of the operator
    notes: tuple[str, ...] = ()
    forecasts: tuple[Forecasts, ...] = ()

    @property
    def forecast_comparisons(self) -> dict[str, tuple[Forecasts, Comparison]]:
        """Forecasts and what they are compared with, by name of the group of their scores: whatever the run that they
        start from is compared with, as far as they have the variable."""
        found = {}
        for forecasts in self.forecasts:
            for one in self.comparisons:
                predictable = one.variable == "sigma40" and self.operator is not None and "LAI" in forecasts.variables
                of_run = any(series.experiment == forecasts.from_run for series in one.series)
                if of_run and (one.variable in forecasts.variables or predictable):
                    found[f"forecasts_{forecasts.name}_{one.name}"] = forecasts, one
        return found

    def forecast_labels(self, forecasts: Forecasts) -> list[str]:
        """What is scored by lead day: the forecasts, and the open loop where there is one."""
        return [forecasts.name, *([] if self.open_loop is None else [self.open_loop])]

    def overpass_series(self, comparison: Comparison) -> tuple[Series, ...]:
        """The series of a comparison to be scored by overpass: all, if a run keeps overpasses apart; else none."""
        name = comparison.observation
        apart = any(f"innovation_{name}" in experiment.at_overpasses for experiment in self.experiments)
        return comparison.series if name is not None and apart else ()

    def comparison(self, *names: str) -> Comparison | None:
        """The first comparison of these names that is made."""
        made = {comparison.name: comparison for comparison in self.comparisons}
        return next((made[name] for name in names if name in made), None)

    @property
    def judged(self) -> dict[str, str]:
        """Names of the comparisons that experiments are judged by, each with its score."""
        found = ((self.comparison(*names), score) for score, _, names in JUDGED.values())
        return {comparison.name: score for comparison, score in found if comparison is not None}

    def experiment(self, name: str) -> Experiment:
        """An experiment by its name."""
        return next(experiment for experiment in self.experiments if experiment.name == name)


def make_plan(root: zarr.Group, experiments: Sequence[str] | None = None) -> Plan:
    """Looks at the groups of a store.

    Args:
        experiments: runs to compare (default: all).

    Raises:
        EvaluationError: if there is no run, or one that was asked for is not there.
    """
    there = [name for name in group_names(root, "runs") if "time" in existing_group(root, f"runs/{name}")]
    unknown = sorted(set(experiments or ()) - set(there))
    if not there or unknown:
        raise EvaluationError(
            f"no run {', '.join(unknown)} in {root.store}; there are: {', '.join(there) or 'none'}. "
            "`ldas run EXPERIMENT.yaml` makes them"
        )
    found = [_experiment(root, name) for name in there if experiments is None or name in experiments]
    open_loop = _open_loop(found)
    found.sort(key=lambda experiment: (experiment.name != open_loop, experiment.name))
    notes: list[str] = []
    compared, days = _common_period(found, notes)
    for experiment in compared:
        notes += _completeness(root, experiment.name)
        notes += _notes_of_ingestion(root, experiment)
    operator, operator_cells = _operator(root, notes)
    cells = len(read_region(root, "runs/" + compared[0].name, "cell"))
    comparisons = tuple(_comparisons(root, compared, operator, notes))
    forecasts = find_forecasts(root, [experiment.name for experiment in compared])
    for one in forecasts:
        notes += _completeness(root, one.name)
    return Plan(
        experiments=tuple(compared),
        open_loop=open_loop,
        days=days,
        hour=analysis_hour(root, compared[0].name),
        cells=cells,
        cells_per_block=_cells_per_block(root, compared, comparisons, forecasts, len(days), cells),
        comparisons=comparisons,
        operator=operator,
        operator_cells=operator_cells,
        notes=tuple(notes),
        forecasts=forecasts,
    )


def _experiment(root: zarr.Group, name: str) -> Experiment:
    path = f"runs/{name}"
    apart = variable_names(root, path, "time", "overpass", "cell")
    variables = [*variable_names(root, path, "time", "cell"), *apart]
    hour = analysis_hour(root, name)
    assimilated = tuple(v.removeprefix("innovation_") for v in variables if v.startswith("innovation_"))
    return Experiment(
        name=name,
        days=Reader(root).days_of(path),
        variables=frozenset(variables),
        assimilated=assimilated,
        controls=tuple(v.removeprefix("increment_") for v in variables if v.startswith("increment_")),
        flux_shift=-1 if assimilated and 0 < hour < 12 else 0,
        at_overpasses=frozenset(apart),
    )


def analysis_hour(root: zarr.Group, experiment: str) -> int:
    """Hour (UTC) at which a run's states are stored; 0 where it does not say."""
    return int(attributes(root, f"runs/{experiment}").get("analysis_hour_utc", 0))


def _open_loop(experiments: Sequence[Experiment]) -> str | None:
    """The run without observations that the others are compared with: `open_loop` if there are several."""
    free = [experiment.name for experiment in experiments if not experiment.is_analysis]
    if "open_loop" in free:
        return "open_loop"
    return free[0] if free else None


def _common_period(experiments: Sequence[Experiment], notes: list[str]) -> tuple[list[Experiment], Days]:
    """Experiments that share days with the first one, and those days."""
    compared: list[Experiment] = []
    first, last = experiments[0].days[0], experiments[0].days[-1]
    for experiment in experiments:
        begin, end = max(first, experiment.days[0]), min(last, experiment.days[-1])
        if begin > end:
            notes.append(
                f"{experiment.name} ({experiment.days[0]} to {experiment.days[-1]}) shares no day with "
                f"{compared[0].name} ({first} to {last}) and is left out."
            )
            continue
        first, last = begin, end
        compared.append(experiment)
    spans = {(str(experiment.days[0]), str(experiment.days[-1])) for experiment in compared}
    if len(spans) > 1:
        each = ", ".join(f"{e.name} {e.days[0]} to {e.days[-1]}" for e in compared)
        notes.append(f"The experiments have different periods ({each}): only {first} to {last} is compared.")
    return compared, np.arange(first, last + np.timedelta64(1, "D"))


def _completeness(root: zarr.Group, name: str) -> list[str]:
    """What the ledger says is not done."""
    if name not in ledger.experiments(root):
        return []
    statuses = ledger.statuses(root, name)
    notes = []
    undone = (statuses != ledger.DONE) & (statuses != ledger.SET_ASIDE)
    if undone.any():
        cells = int(undone.any(axis=0).sum())
        notes.append(
            f"{name} is incomplete: {undone.mean():.0%} of its cell-periods, in {cells} of "
            f"{statuses.shape[1]} cells, are not done. What is missing is left out, not filled."
        )
    aside = int((statuses[-1] == ledger.SET_ASIDE).sum())
    if aside:
        notes.append(f"{aside} cells of {name} were set aside by the model.")
    return notes


def _notes_of_ingestion(root: zarr.Group, experiment: Experiment) -> list[str]:
    """Notes made when a run was ingested, each once."""
    records = attributes(root, f"runs/{experiment.name}").get("ingests", ())
    notes = dict.fromkeys(note for record in records for note in record.get("notes", ()))
    return [f"{experiment.name}: {note}" for note in notes]


def _operator(root: zarr.Group, notes: list[str]) -> tuple[str | None, np.ndarray | None]:
    """The operator for sigma40 that was made for all cells of the store, with the place of each cell in it."""
    if not has_group(root, "land"):
        return None, None
    latitude, longitude = cell_centres(root)
    usable = {}
    for name in operator_names(root, "sigma40"):
        positions = operator_positions(root, name, latitude, longitude)
        if positions is None:
            notes.append(f"The operator {name} was made for other cells and is not used.")
        else:
            usable[name] = positions
    if not usable:
        return None, None
    # Daily states are what it is applied to: one that was trained on those of overpasses comes last.
    chosen = min(usable, key=lambda name: matches_overpasses(root, name))
    if len(usable) > 1:
        notes.append(f"Of the operators {', '.join(usable)} for sigma40, {chosen} is used.")
    return chosen, usable[chosen]


def _cells_per_block(
    root: zarr.Group,
    experiments: Sequence[Experiment],
    comparisons: Sequence[Comparison],
    forecasts: Sequence[Forecasts],
    days: int,
    cells: int,
) -> int:
    """A stored shard's width, or as many of its chunks as keep a block's arrays small."""
    shard = max(_cells_per_shard(root, experiment.name) for experiment in experiments)
    series = max((len(comparison.series) for comparison in comparisons), default=1)
    values = max(days * series, *(2 * one.valid_days.size for one in forecasts), 1)
    most = max(1, MOST_VALUES // values)
    return max(1, min(shard, most if most < 16 else most // 16 * 16, cells))


def _cells_per_shard(root: zarr.Group, name: str) -> int:
    """Width of the stored shards: blocks of that width read each object once."""
    path = f"runs/{name}"
    widths = [1]
    for variable in variable_names(root, path, "time", "cell"):
        array = root[path][variable]  # type: ignore[index]
        widths.append(int((array.shards or array.chunks)[1]))  # type: ignore[union-attr]
    return max(widths)


def _comparisons(
    root: zarr.Group, experiments: Sequence[Experiment], operator: str | None, notes: list[str]
) -> list[Comparison]:
    comparisons = []
    for name in group_names(root, "observations"):
        if name not in MODEL_EQUIVALENT:
            notes.append(f"observations/{name} has no counterpart in the model and is not compared.")
            continue
        variable = MODEL_EQUIVALENT[name]
        series = series_with(experiments, variable, operator)
        if series:
            entry = registry.variable(variable)
            comparisons.append(
                Comparison(
                    f"{name}_observations",
                    variable,
                    entry.unit,
                    f"observations/{name}",
                    "value",
                    name not in OTHER_UNIT,
                    name,
                    series,
                )
            )
    if has_group(root, "truth"):
        for variable in variable_names(root, "truth", "time", "cell"):
            if not _is_known(variable):
                continue
            series = series_with([e for e in experiments if e.has_hours_of_truth(variable)], variable, operator)
            if series:
                unit = registry.variable(variable).unit
                comparisons.append(
                    Comparison(f"{variable}_truth", variable, unit, "truth", variable, True, None, series)
                )
    return comparisons


def _is_known(variable: str) -> bool:
    try:
        registry.variable(variable)
    except RegistryError:
        return False
    return not variable.startswith(_FAMILIES)


def series_with(experiments: Sequence[Experiment], variable: str, operator: str | None = None) -> tuple[Series, ...]:
    """Series of the experiments that have a variable, or for sigma40 what an operator predicts it from."""
    series = []
    for experiment in experiments:
        predictable = variable == "sigma40" and operator is not None and "LAI" in experiment.variables
        if variable not in experiment.variables and not predictable:
            continue
        stored = "LAI" if variable not in experiment.variables else variable
        both = stored + FORECAST_SUFFIX in experiment.variables
        kinds: tuple[Kind, ...] = ("forecast", "analysis") if both else ("run",)
        series += [Series(experiment.name, kind) for kind in kinds]
    return tuple(series)


def primary(series: Sequence[Series]) -> list[Series]:
    """The series that are compared first: every experiment as it ran, or its 24 h forecasts."""
    return [one for one in series if one.kind != "analysis"]


def configuration_of(root: zarr.Group, plan: Plan) -> dict[str, object]:
    """Configuration in the provenance of the last experiment that has one."""
    for experiment in reversed(plan.experiments):
        found = attributes(root, f"runs/{experiment.name}").get("provenance", {}).get("configuration", {})
        if found:
            return dict(found)
    return {}
